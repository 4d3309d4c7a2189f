"""The specification of a run: one network trained on one kind of target.

Everything that decides the numbers of a training is a field here, so that equal specs mean equal
runs. A field that equals its default is left out of the canonical form (`to_dict`), so a field
added later does not rename the runs that came before it.

Symbols: K classes, N training examples, α label smoothing, T temperature, β weight of the
distillation term.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from typing import Any, Literal

from softlabels.errors import SpecError

Rate = float


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise SpecError(message)


@dataclass(frozen=True)
class DatasetSpec:
    """A data set and how its training part is split; `name` is a key of `grid.datasets.DATASETS`."""

    name: str
    holdout: int | float | None = None
    """Validation examples taken from training: a count, a fraction, 0 for none; None: as declared."""
    split: Literal["stratified", "last"] = "stratified"
    split_seed: int = 0
    train_limit: int | None = None
    """Keep this many training examples (stratified, seeded) after the split."""
    path: str | None = None
    """Image folder only: the directory with `train/<class>/…` and optionally `val/`, `test/`."""
    sha256: str | None = None
    """Image folder only: declared fingerprint (`softlabels fingerprint`), part of the identity."""
    num_classes: int | None = None
    """Image folder only."""
    image_size: int | None = None
    """Image folder only: shorter side resized to this, centre-cropped square."""
    train_size: int | None = None
    """Image folder only: declared number of training images, for the audit."""

    def __post_init__(self) -> None:
        if self.holdout is not None:
            _require(self.holdout >= 0, f"dataset.holdout must be ≥ 0, not {self.holdout}")
            _require(
                isinstance(self.holdout, int) or self.holdout < 1,
                f"dataset.holdout as a fraction must be below 1, not {self.holdout}",
            )
        for name, least in (("train_limit", 1), ("train_size", 1), ("image_size", 1), ("num_classes", 2)):
            value = getattr(self, name)
            _require(value is None or value >= least, f"dataset.{name} must be at least {least}, not {value}")
        folder_only = ("path", "sha256", "num_classes", "image_size", "train_size")
        given = [name for name in folder_only if getattr(self, name) is not None]
        if self.name == "folder":
            for name in ("path", "num_classes", "image_size"):
                _require(name in given, f"dataset.{name} is needed for an image folder")
        else:
            _require(not given, f"dataset.{', '.join(given)}: has an effect only with name: folder")


@dataclass(frozen=True)
class ModelSpec:
    """A network: a name of `grid.zoo.MODELS`, or an import path `package.module:factory`.

    A factory is called as `factory(num_classes=K, shape=(C, H, W), **options)`.
    """

    name: str
    options: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Hard:
    """Cross-entropy with the labels."""

    kind: Literal["hard"] = "hard"


@dataclass(frozen=True)
class Smooth:
    """Cross-entropy with smoothed labels.

    `over: all` spreads α over all K classes (Müller Sec. 1.1: true class 1 − α + α/K);
    `over: others` spreads it over the K − 1 wrong ones (Zhang & Sabuncu; code of Yuan et al.).
    """

    alpha: float
    over: Literal["all", "others"] = "all"
    kind: Literal["smooth"] = "smooth"

    def __post_init__(self) -> None:
        _require(0 <= self.alpha < 1, f"targets.alpha must lie in [0, 1), not {self.alpha}")


@dataclass(frozen=True)
class UserNetwork:
    """A network trained elsewhere: safetensors weights of a model of the zoo or an import path."""

    model: ModelSpec
    weights: str
    sha256: str
    normalise: Literal["none", "dataset", "per_image"] = "none"


@dataclass(frozen=True)
class UserLogits:
    """Logits computed elsewhere: `.npy` `[N, K]` in the order of the training images of the prepared data."""

    logits: str
    sha256: str


@dataclass(frozen=True)
class Teacher:
    """Who teaches: another run or something of the user's own."""

    run: RunSpec | UserNetwork | UserLogits
    seed: Literal["same"] | int = "same"
    checkpoint: str = "last"

    def __post_init__(self) -> None:
        _require(
            re.fullmatch(r"last|best|step:[1-9][0-9]*", self.checkpoint) is not None,
            f"teacher.checkpoint must be last, best or step:<n>, not {self.checkpoint!r}",
        )
        if not isinstance(self.run, RunSpec):
            # Files of the user's own know neither seeds nor checkpoints.
            _require(
                self.seed == "same" and self.checkpoint == "last",
                "teacher.seed and teacher.checkpoint have no effect on a network or logits of your own",
            )
        elif self.checkpoint.startswith("step:"):
            step, recipe = int(self.checkpoint.removeprefix("step:")), self.run.recipe
            regular = recipe.milestone_every is not None and step % recipe.milestone_every == 0
            _require(
                regular or step in recipe.milestones,
                f"teacher.checkpoint: the teacher keeps no weights at step {step}; "
                "add it to the milestones of its recipe",
            )

    def seed_for(self, student_seed: int) -> int:
        """The seed of the teacher, which also owns the stream of views; files of the user's own have none (0)."""
        if not isinstance(self.run, RunSpec):
            return 0
        return student_seed if self.seed == "same" else self.seed


@dataclass(frozen=True)
class Distill:
    """Distillation: (1 − β)·H(y, p) + β·[T²]·multiplier·D(pᵗ(T), p(T or 1)).

    The conventions that differ between the papers are fields: `student_tempered` and `t2`
    (Müller: neither; Chandrasegaran: both; Zhang: neither), `reduction` and `multiplier` (Yuan's code
    averages the KL over the N·K elements), `form` (cross-entropy or KL: equal gradients, other values).
    """

    teacher: Teacher
    temperature: float
    beta: float = 1.0
    student_tempered: bool = True
    t2: bool = True
    form: Literal["kl", "ce"] = "kl"
    reduction: Literal["batchmean", "mean"] = "batchmean"
    multiplier: float = 1.0
    hard_weight: float | None = None
    """Weight of the hard term; None: 1 − β."""
    hard_alpha: float = 0.0
    """Label smoothing of the hard term, spread over all K classes."""
    views: int | Literal["all"] = "all"
    """Augmented views cached per image; view = epoch mod views."""
    cache: Literal["dense", "online"] = "dense"
    kind: Literal["distill"] = "distill"

    def __post_init__(self) -> None:
        _require(self.temperature > 0, f"targets.temperature must be > 0, not {self.temperature}")
        _require(0 < self.beta <= 1, f"targets.beta must lie in (0, 1], not {self.beta}")
        _require(0 <= self.hard_alpha < 1, f"targets.hard_alpha must lie in [0, 1), not {self.hard_alpha}")
        _require(self.multiplier > 0, f"targets.multiplier must be > 0, not {self.multiplier}")
        _require(self.hard_weight is None or self.hard_weight >= 0, "targets.hard_weight must be ≥ 0")
        _require(self.views == "all" or self.views > 0, f"targets.views must be > 0, not {self.views}")
        _require(
            self.hard_alpha == 0 or self.weight_of_hard > 0,
            "targets.hard_alpha has no effect where the hard term has weight 0",
        )
        if self.temperature == 1:  # the same training, so the same run
            object.__setattr__(self, "student_tempered", False)
            object.__setattr__(self, "t2", False)

    @property
    def weight_of_hard(self) -> float:
        """The weight of the hard term."""
        return 1 - self.beta if self.hard_weight is None else self.hard_weight


@dataclass(frozen=True)
class LogitMatch:
    """Logit regression: (1 − β)·H(y, p) + β·½‖z − zᵗ‖² (Müller A.5), mean or sum over the K logits."""

    teacher: Teacher
    beta: float
    reduction: Literal["mean", "sum"] = "mean"
    views: int | Literal["all"] = "all"
    cache: Literal["dense", "online"] = "dense"
    kind: Literal["logit_match"] = "logit_match"

    def __post_init__(self) -> None:
        _require(0 < self.beta <= 1, f"targets.beta must lie in (0, 1], not {self.beta}")
        _require(self.views == "all" or self.views > 0, f"targets.views must be > 0, not {self.views}")


Targets = Hard | Smooth | Distill | LogitMatch


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters whose name matches `parameters` (a regular expression) and what differs for them."""

    parameters: str
    lr_factor: float = 1.0
    weight_decay: float | None = None

    def __post_init__(self) -> None:
        try:
            re.compile(self.parameters)
        except re.error as error:
            raise SpecError(f"optimiser.groups.parameters: {self.parameters!r} is no pattern ({error})") from None
        _require(self.lr_factor > 0, "optimiser.groups.lr_factor must be > 0")


@dataclass(frozen=True)
class Optimiser:
    """SGD (v ← μ·v + (1 − dampening)·g) or Adam. Weight decay is ½·wd·‖w‖² in the loss, unscaled by `loss_scale`."""

    lr: Rate
    name: Literal["sgd", "adam"] = "sgd"
    momentum: float = 0.0
    dampening: float = 0.0
    nesterov: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    groups: tuple[ParameterGroup, ...] = ()

    def __post_init__(self) -> None:
        _require(self.lr > 0, f"optimiser.lr must be > 0, not {self.lr}")
        _require(0 <= self.momentum < 1, f"optimiser.momentum must lie in [0, 1), not {self.momentum}")
        _require(self.weight_decay >= 0, "optimiser.weight_decay must be ≥ 0")
        if self.name == "adam":
            _require(
                self.momentum == 0 and self.dampening == 0 and not self.nesterov,
                "optimiser.momentum, dampening and nesterov have no effect with adam",
            )
        else:
            _require(self.betas == (0.9, 0.999), "optimiser.betas has no effect with sgd")
            _require(
                self.momentum > 0 or (self.dampening == 0 and not self.nesterov),
                "optimiser.dampening and nesterov have no effect without momentum",
            )


@dataclass(frozen=True)
class Schedule:
    """Learning-rate factor at each step: `steps` (×factor at each boundary), `linear` or `cosine` to 0,
    `exponential` (×factor after every fraction `every` of the run), `constant`; a linear warm-up comes first."""

    kind: Literal["constant", "steps", "linear", "cosine", "exponential"] = "constant"
    boundaries: tuple[float, ...] = ()
    """Fractions of the whole run (below 1), as 0.5; so a scale that shortens a run keeps its shape."""
    factor: float | None = None
    every: float | None = None
    """Exponential only: fraction of the run after which the rate is multiplied once."""
    warmup: float = 0.0
    """Fraction of the run."""

    def __post_init__(self) -> None:
        _require(all(0 < b < 1 for b in self.boundaries), "schedule.boundaries are fractions of the run in (0, 1)")
        _require(0 <= self.warmup < 1, "schedule.warmup is a fraction of the run in [0, 1)")
        needs = {"steps": {"boundaries", "factor"}, "exponential": {"factor", "every"}}.get(self.kind, set())
        for name in ("boundaries", "factor", "every"):
            given = getattr(self, name) not in (None, ())
            _require(given or name not in needs, f"schedule.{name} is needed with kind: {self.kind}")
            _require(not given or name in needs, f"schedule.{name} has no effect with kind: {self.kind}")


@dataclass(frozen=True)
class Augment:
    """Random picture changes, in this order: pad and crop or shift, flip, brightness, contrast.

    `pad`: zero padding before a random crop back to size; `crop`: random crop to this side
    (evaluation: centre crop); `shift`: whole-pixel shifts in ±shift, zero fill (the same operation as
    `pad`, kept apart because the papers name it so).
    """

    pad: int = 0
    crop: int | None = None
    shift: int = 0
    flip: bool = False
    brightness: float = 0.0
    """Maximal change on the 0–255 scale."""
    contrast: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        _require(min(self.pad, self.shift) >= 0, "augment.pad and augment.shift must be ≥ 0")
        _require(self.pad == 0 or self.shift == 0, "augment.pad and augment.shift are one operation: give one")
        _require(self.crop is None or self.crop > 0, "augment.crop must be > 0")
        _require(self.brightness >= 0, "augment.brightness must be ≥ 0")
        _require(self.contrast is None or self.contrast[0] <= self.contrast[1], "augment.contrast is [low, high]")

    @property
    def random(self) -> bool:
        """Whether two views of a picture can differ."""
        return self != Augment()


@dataclass(frozen=True)
class Precision:
    """Arithmetic, fixed per recipe and never chosen by the device."""

    autocast: Literal["none", "bf16"] = "none"
    channels_last: bool = False


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. Exactly one of `steps` and `epochs` is given."""

    batch_size: int
    optimiser: Optimiser
    steps: int | None = None
    epochs: float | None = None
    schedule: Schedule = field(default_factory=Schedule)
    micro_batch: int | None = None
    """Gradient accumulation: at most this many examples on the device at once."""
    loss_scale: float = 1.0
    """Müller A.1: the cross-entropy term times 3; weight decay and clipping are not scaled with it."""
    clip_norm: float | None = None
    ema: float | None = None
    """Decay of the exponential moving average of the weights; evaluated in place of them."""
    augment: Augment = field(default_factory=Augment)
    normalise: Literal["none", "dataset", "per_image"] = "none"
    eval_every: float = 0.1
    """Fraction of the run between two validations (for `best`); the last step is always one."""
    milestones: tuple[int, ...] = ()
    """Steps at which weights are kept (0: at initialisation)."""
    milestone_every: int | None = None
    """Keep weights every so many steps, from 0 to the last."""
    precision: Precision = field(default_factory=Precision)

    def __post_init__(self) -> None:
        _require((self.steps is None) != (self.epochs is None), "recipe: give one of steps and epochs")
        _require(self.steps is None or self.steps > 0, "recipe.steps must be > 0")
        _require(self.epochs is None or self.epochs > 0, "recipe.epochs must be > 0")
        _require(self.batch_size > 0, "recipe.batch_size must be > 0")
        if self.micro_batch is not None:
            _require(0 < self.micro_batch < self.batch_size, "recipe.micro_batch must lie in (0, batch_size)")
        _require(self.loss_scale > 0, "recipe.loss_scale must be > 0")
        _require(self.clip_norm is None or self.clip_norm > 0, "recipe.clip_norm must be > 0")
        _require(self.ema is None or 0 < self.ema < 1, "recipe.ema must lie in (0, 1)")
        _require(0 < self.eval_every <= 1, "recipe.eval_every is a fraction of the run in (0, 1]")
        _require(self.milestone_every is None or self.milestone_every > 0, "recipe.milestone_every must be > 0")

    def num_steps(self, num_train: int) -> int:
        """Optimiser steps: batches are cut from an endless stream of shuffled epochs of N examples."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return max(1, round(self.epochs * num_train / self.batch_size))

    def num_epochs(self, num_train: int) -> int:
        """Passes over the training set that are begun."""
        return -(-self.num_steps(num_train) * self.batch_size // num_train)

    def all_milestones(self, num_train: int) -> tuple[int, ...]:
        """Every step at which weights are kept, in order."""
        steps = self.num_steps(num_train)
        regular = range(0, steps + 1, self.milestone_every) if self.milestone_every else ()
        return tuple(sorted({*self.milestones, *regular}))


@dataclass(frozen=True)
class RunSpec:
    """One network trained on one kind of target; seeds are not part of it."""

    dataset: DatasetSpec
    model: ModelSpec
    targets: Targets
    recipe: Recipe
    task: Literal["image"] = "image"

    def __post_init__(self) -> None:
        if self.targets == Smooth(alpha=0.0) or self.targets == Smooth(alpha=0.0, over="others"):
            object.__setattr__(self, "targets", Hard())
        teacher = teacher_of(self)
        if teacher is not None and isinstance(teacher.run, RunSpec):
            _require(
                teacher.run.dataset == self.dataset,
                "teacher and student must be trained on the same data set and split",
            )
            _require(
                teacher.run.recipe.augment.crop == self.recipe.augment.crop,
                "recipe.augment.crop of teacher and student must be equal: both look at the same picture",
            )
        if teacher is not None and isinstance(teacher.run, UserLogits):
            _require(
                not self.recipe.augment.random and self.targets.cache == "dense",  # type: ignore[union-attr]
                "logits of your own belong to the unchanged images: the student's recipe must have no augment",
            )


def teacher_of(run: RunSpec) -> Teacher | None:
    """The teacher of a distilling run, else None."""
    return getattr(run.targets, "teacher", None)


def to_dict(value: Any) -> Any:
    """A spec as plain JSON values, fields at their default left out (the `kind` of a union is kept)."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        result = {}
        for f in dataclasses.fields(value):
            item = getattr(value, f.name)
            default = f.default if f.default_factory is dataclasses.MISSING else f.default_factory()
            if f.name == "kind" or default is dataclasses.MISSING or item != default:
                result[f.name] = to_dict(item)
        return result
    if isinstance(value, tuple):
        if value and all(isinstance(v, tuple) and len(v) == 2 and isinstance(v[0], str) for v in value):
            return {k: to_dict(v) for k, v in value}  # the options of a model
        return [to_dict(v) for v in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)  # 1 and 1.0 are one value
    return value
