"""What a figure asks of trained networks beyond their logits on validation and test.

A module of its own, which the lock of code versions covers: the name of an answer leaves defaults out, so that with a
changed default an older answer would pass for the present one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from softlabels.errors import require
from softlabels.grid.parse import STRICT, Count

Class = Annotated[int, Field(ge=0)] | str
"""Index, or name where the data tell it."""


@dataclass(frozen=True, config=STRICT)
class Probe:
    """What a trained network says about chosen images, beyond its logits on val and test.

    The file of a probe (`Layout.probe`) is safetensors with `labels [M]`, `ids [M]`, and for each
    checkpoint c ("last", "best" or "step<n>"): `logits/c [M, V, K]`; with `what: features` also
    `features/c [M, V, d]`, `head.weight/c [K, d]`, `head.bias/c [K]`. V = max(views, 1); views 0 is the
    unchanged image.
    """

    split: Literal["train", "val", "test"] = "train"
    """Where the images come from."""
    what: Literal["logits", "features"] = "logits"
    """Logits, or also the penultimate activations and the head."""
    classes: tuple[Class, ...] | None = None
    """Class indices or, where the data tell them, names; None: all."""
    per_class: Count | None = None
    """The first so many examples of each class, in stored order; None: all."""
    views: Annotated[int, Field(ge=0)] = 0
    """Augmented views of each image, 0 for the unchanged one."""
    checkpoints: Annotated[str, Field(pattern=r"^(last|best|milestones|step:[1-9][0-9]*)$")] = "last"
    """Which weights: last, best, step:<n>, a name under the grid's `checkpoints`, or milestones, every step kept."""

    @property
    def passes(self) -> int:
        """Forward passes of each image."""
        return 2 if self.what == "features" else 1

    def file_bytes(self, rows: int, num_classes: int, width: int, image: int) -> int:
        """Of the answers to `rows` images of `image` bytes, by a network with `width` penultimate activations."""
        return 4 * rows * (num_classes + (width if self.what == "features" else 0))


@dataclass(frozen=True, config=STRICT)
class ClassMeans:
    """The mean penultimate activations of each class, at the end of training.

    The file (`Layout.probe`) is safetensors with `labels [K']`, `counts [K']` (images of each) and `means/last [K', d]`
    in fp32: for all classes of ImageNet 8 MB, where the activations themselves would take gigabytes.
    """

    what: Literal["class_means"]
    """Mean activations of each class."""
    split: Literal["train", "val", "test"] = "train"
    """Where the images come from."""
    classes: tuple[Class, ...] | None = None
    """As `Probe.classes`."""
    per_class: Count | None = None
    """As `Probe.per_class`."""
    views, checkpoints = 0, "last"  # fixed, so no keys of a grid
    passes = 1

    def file_bytes(self, rows: int, num_classes: int, width: int, image: int) -> int:
        """As `Probe.file_bytes`."""
        return (16 + 4 * width) * (num_classes if self.classes is None else len(self.classes))


@dataclass(frozen=True, config=STRICT)
class Samples:
    """The first images of chosen classes as a network is evaluated on them, before normalisation.

    The file (`Layout.probe`) is safetensors with `labels [M]`, `ids [M]` and `pictures` uint8 `[M, C, H, W]`.
    """

    what: Literal["pictures"]
    """The images themselves."""
    classes: tuple[Class, ...]
    """As `Probe.classes`."""
    split: Literal["train", "val", "test"] = "train"
    """Where they come from."""
    per_class: int = 5
    """The first so many of each class, in stored order."""
    views, checkpoints = 0, "last"  # fixed, so no keys of a grid
    passes = 0

    def __post_init__(self) -> None:
        require(len(self.classes) > 0, "classes must name at least one class")
        require(self.per_class > 0, f"per_class must be > 0, not {self.per_class}")

    def file_bytes(self, rows: int, num_classes: int, width: int, image: int) -> int:
        """As `Probe.file_bytes`."""
        return rows * image


@dataclass(frozen=True, config=STRICT)
class Translations:
    """What a translation network makes of the source sentences of a split: fairseq's beam search.

    The file (`Layout.probe`) is JSON with the keys of `softlabels.metrics.bleu.TranslationFile`.
    """

    what: Literal["translations"]
    """Beam search."""
    split: Literal["val", "test"] = "test"
    """Whose sentences."""
    temperature: float = 1.0
    """T that divides the logits before each step's log-softmax."""
    checkpoint: Literal["last", "best"] = "last"
    """Which weights."""
    beam: int = 4
    """Hypotheses kept."""
    lenpen: float = 1.0
    """Exponent of the length that a hypothesis' log-probability is divided by."""
    max_len_a: float = 0.0
    """A hypothesis has at most max_len_a · (source tokens) + max_len_b tokens."""
    max_len_b: int = 200
    """See `max_len_a`."""
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


@dataclass(frozen=True, config=STRICT)
class Tokens:
    """Penultimate activations of a translation network that predicts the tokens of chosen sentences from their prefix.

    The file (`Layout.probe`) is safetensors. Without `tokens`, as one split of a run's `features.safetensors`:
    `<split>/labels [M]`, `<split>/sentences [M]`, `<split>/last [M, d]`, `output/last [V, d]`. With `tokens` it has the
    form of `Probe` with `what: features`: labels (0, 1, … in the order of `tokens`), ids (sentence), `features/last
    [M, 1, d]`, `head.weight/last [len(tokens), d]` and `head.bias/last` (zeros: the output layer has none).
    """

    what: Literal["tokens"]
    """Penultimate activations at tokens."""
    split: Literal["train", "val", "test"] = "train"
    """Whose sentences."""
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


ImageProbe = Probe | ClassMeans | Samples


def covers(probe: ImageProbe, checkpoint: str) -> bool:
    """Whether a probe takes the weights at a checkpoint: last, best or step:<n>."""
    return probe.checkpoints == checkpoint or (probe.checkpoints == "milestones" and checkpoint.startswith("step:"))


def tensor_label(checkpoint: str) -> str:
    """What the names of a probe's tensors at a checkpoint end in: last, best or step<n>."""
    return checkpoint.replace(":", "")


AnyProbe = ImageProbe | Translations | Tokens
KINDS: Mapping[str, type[AnyProbe]] = {
    "logits": Probe,
    "features": Probe,
    "class_means": ClassMeans,
    "pictures": Samples,
    "translations": Translations,
    "tokens": Tokens,
}
"""Class of the probes of each `what`."""
