"""What a figure asks of trained networks beyond their logits on validation and test.

A module of its own, which the lock of code versions covers: the name of an answer leaves defaults out, so that with a
changed default an older answer would pass for the present one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from softlabels.errors import require


@dataclass(frozen=True)
class Probe:
    """What a trained network says about chosen pictures, beyond its logits on val and test.

    The file of a probe (`Layout.probe`) is safetensors with `labels [M]`, `ids [M]`, and for each
    checkpoint c ("last", or "step<n>" for milestones): `logits/c [M, V, K]`; with `what: features` also
    `features/c [M, V, d]`, `head.weight/c [K, d]`, `head.bias/c [K]`. V = max(views, 1); views 0 is the
    unchanged picture.
    """

    split: Literal["train", "val", "test"] = "train"
    what: Literal["logits", "features"] = "logits"
    classes: tuple[int | str, ...] | None = None
    """Class indices or, where the data tell them, names; None: all."""
    per_class: int | None = None
    """The first so many examples of each class, in stored order; None: all."""
    views: int = 0
    checkpoints: Literal["last", "milestones"] = "last"

    @property
    def passes(self) -> int:
        """Forward passes of each picture."""
        return 2 if self.what == "features" else 1

    def file_bytes(self, rows: int, num_classes: int, width: int, picture: int) -> int:
        """Of the answers to `rows` pictures of `picture` bytes, by a network with `width` penultimate activations."""
        return 4 * rows * (num_classes + (width if self.what == "features" else 0))


@dataclass(frozen=True)
class ClassMeans:
    """The mean penultimate activations of each class, at the end of training.

    The file (`Layout.probe`) is safetensors with `labels [K']`, `counts [K']` (images of each) and `means/last [K', d]`
    in fp32: for all classes of ImageNet 8 MB, where the activations themselves would take gigabytes.
    """

    what: Literal["class_means"]
    split: Literal["train", "val", "test"] = "train"
    classes: tuple[int | str, ...] | None = None
    """As `Probe.classes`."""
    per_class: int | None = None
    """As `Probe.per_class`."""
    views, checkpoints = 0, "last"  # fixed, so no keys of a grid
    passes = 1

    def file_bytes(self, rows: int, num_classes: int, width: int, picture: int) -> int:
        """As `Probe.file_bytes`."""
        return (16 + 4 * width) * (num_classes if self.classes is None else len(self.classes))


@dataclass(frozen=True)
class Samples:
    """The first pictures of chosen classes as a network is evaluated on them, before normalisation.

    The file (`Layout.probe`) is safetensors with `labels [M]`, `ids [M]` and `pictures` uint8 `[M, C, H, W]`.
    """

    what: Literal["pictures"]
    classes: tuple[int | str, ...]
    """As `Probe.classes`."""
    split: Literal["train", "val", "test"] = "train"
    per_class: int = 5
    """The first so many of each class, in stored order."""
    views, checkpoints = 0, "last"  # fixed, so no keys of a grid
    passes = 0

    def __post_init__(self) -> None:
        require(len(self.classes) > 0, "classes must name at least one class")
        require(self.per_class > 0, f"per_class must be > 0, not {self.per_class}")

    def file_bytes(self, rows: int, num_classes: int, width: int, picture: int) -> int:
        """As `Probe.file_bytes`."""
        return rows * picture


@dataclass(frozen=True)
class Translations:
    """What a translation network makes of the source sentences of a split: fairseq's beam search.

    The file (`Layout.probe`) is JSON with the keys of `softlabels.metrics.translation.TranslationFile`.
    """

    what: Literal["translations"]
    split: Literal["val", "test"] = "test"
    temperature: float = 1.0
    """T that divides the logits before each step's log-softmax."""
    checkpoint: Literal["last", "best"] = "last"
    beam: int = 4
    lenpen: float = 1.0
    """Exponent of the length that a hypothesis' log-probability is divided by."""
    max_len_a: float = 0.0
    """A hypothesis has at most max_len_a · (source tokens) + max_len_b tokens."""
    max_len_b: int = 200
    sentences: int | None = None
    """The first so many of the split; None: all."""

    def __post_init__(self) -> None:
        require(self.temperature > 0, f"temperature must be > 0, not {self.temperature}")
        require(self.beam > 0 and self.max_len_b > 0, "beam and max_len_b must be > 0")
        require(self.sentences is None or self.sentences > 0, f"sentences must be > 0, not {self.sentences}")

    @property
    def passes(self) -> int:
        """As `Probe.passes`: one for each hypothesis of the beam."""
        return self.beam


@dataclass(frozen=True)
class Tokens:
    """Penultimate activations of a translation network that predicts the tokens of chosen sentences from their prefix.

    The file (`Layout.probe`) is safetensors. Without `tokens`, as one split of a run's `features.safetensors`:
    `<split>/labels [M]`, `<split>/sentences [M]`, `<split>/last [M, d]`, `output/last [V, d]`. With `tokens` it has the
    form of `Probe` with `what: features`: labels (0, 1, … in the order of `tokens`), ids (sentence), `features/last
    [M, 1, d]`, `head.weight/last [len(tokens), d]` and `head.bias/last` (zeros: the output layer has none).
    """

    what: Literal["tokens"]
    split: Literal["train", "val", "test"] = "train"
    sentences: int | None = None
    """The first so many of the split; None: all."""
    tokens: tuple[str, ...] = ()
    """Only where one of these types of the target vocabulary is the next token; none: everywhere."""
    per_token: int | None = None
    """The first so many places of each of `tokens`; None: all."""
    passes = 1

    def __post_init__(self) -> None:
        require(len(set(self.tokens)) == len(self.tokens), "tokens must differ from one another")
        require(self.per_token is None or bool(self.tokens), "per_token has no effect without tokens")
        for name in ("sentences", "per_token"):
            value = getattr(self, name)
            require(value is None or value > 0, f"{name} must be > 0, not {value}")

    @property
    def checkpoints(self) -> Literal["last"]:
        """As `Probe.checkpoints`."""
        return "last"


PictureProbe = Probe | ClassMeans | Samples
AnyProbe = PictureProbe | Translations | Tokens
KINDS: Mapping[str, type[AnyProbe]] = {
    "logits": Probe,
    "features": Probe,
    "class_means": ClassMeans,
    "pictures": Samples,
    "translations": Translations,
    "tokens": Tokens,
}
"""Class of the probes of each `what`."""
