"""How an image network is trained: optimiser, schedule, augmentation, precision.

Symbols: K classes, N training examples.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import field
from typing import Any, Literal

from pydantic.dataclasses import dataclass

from softlabels.errors import SpecError, require
from softlabels.grid.parse import STRICT

Rate = float
Normalise = Literal["none", "dataset", "per_image", "imagenet"]
"""Network input of images: [0, 1]; minus the mean by the standard deviation of the data set, of each image, or of
ImageNet (the constants of torchvision's weights, whatever the data set)."""


@dataclass(frozen=True, config=STRICT)
class ParameterGroup:
    """Parameters whose name matches `parameters` (a regular expression) and what differs for them."""

    parameters: str
    """Regular expression that the parameters' names match."""
    lr_factor: float = 1.0
    """Factor on the learning rate."""
    weight_decay: float | None = None
    """Their weight decay; None: as of the others."""

    def __post_init__(self) -> None:
        try:
            re.compile(self.parameters)
        except re.error as error:
            raise SpecError(f"optimiser.groups.parameters: {self.parameters!r} is no pattern ({error})") from None
        require(self.lr_factor > 0, "optimiser.groups.lr_factor must be > 0")
        require(self.weight_decay is None or self.weight_decay >= 0, "optimiser.groups.weight_decay must be ≥ 0")


@dataclass(frozen=True, config=STRICT)
class Optimiser:
    """SGD (v ← μ·v + (1 − dampening)·g) or Adam. Weight decay is ½·wd·‖w‖² in the loss, unscaled by `loss_scale`."""

    lr: Rate
    """Learning rate."""
    name: Literal["sgd", "adam"] = "sgd"
    """Kind."""
    momentum: float = 0.0
    """μ."""
    dampening: float = 0.0
    """Dampening of the momentum."""
    nesterov: bool = False
    """Nesterov's momentum."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay rates of Adam."""
    eps: float = 1e-8
    """ε of Adam."""
    weight_decay: float = 0.0
    """½·wd·‖w‖² in the loss."""
    groups: tuple[ParameterGroup, ...] = ()
    """Parameters for which something differs."""

    def __post_init__(self) -> None:
        require(self.lr > 0, f"optimiser.lr must be > 0, not {self.lr}")
        require(0 <= self.momentum < 1, f"optimiser.momentum must lie in [0, 1), not {self.momentum}")
        require(0 <= self.dampening < 1, f"optimiser.dampening must lie in [0, 1), not {self.dampening}")
        require(all(0 <= b < 1 for b in self.betas), f"optimiser.betas must lie in [0, 1), not {list(self.betas)}")
        require(self.eps > 0, f"optimiser.eps must be > 0, not {self.eps}")
        require(self.weight_decay >= 0, "optimiser.weight_decay must be ≥ 0")
        if self.name == "adam":
            require(
                self.momentum == 0 and self.dampening == 0 and not self.nesterov,
                "optimiser.momentum, dampening and nesterov have no effect with adam",
            )
        else:
            require(self.betas == (0.9, 0.999), "optimiser.betas has no effect with sgd")
            require(self.eps == 1e-8, "optimiser.eps has no effect with sgd")
            require(
                self.momentum > 0 or (self.dampening == 0 and not self.nesterov),
                "optimiser.dampening and nesterov have no effect without momentum",
            )


@dataclass(frozen=True, config=STRICT)
class Schedule:
    """Learning-rate factor at each step: `steps` (×factor at each boundary), `linear` or `cosine` to 0,
    `exponential` (×factor after every fraction `every` of the run), `constant`; a linear warm-up comes first."""

    kind: Literal["constant", "steps", "linear", "cosine", "exponential"] = "constant"
    """Shape."""
    boundaries: tuple[float, ...] = ()
    """Fractions of the whole run (below 1), as 0.5; so a scale that shortens a run keeps its shape."""
    factor: float | None = None
    """Steps, exponential: what the rate is multiplied with."""
    every: float | None = None
    """Exponential only: fraction of the run after which the rate is multiplied once."""
    warmup: float = 0.0
    """Fraction of the run."""

    def __post_init__(self) -> None:
        require(all(0 < b < 1 for b in self.boundaries), "schedule.boundaries are fractions of the run in (0, 1)")
        require(0 <= self.warmup < 1, "schedule.warmup is a fraction of the run in [0, 1)")
        needs = {"steps": {"boundaries", "factor"}, "exponential": {"factor", "every"}}.get(self.kind, set())
        for name in ("boundaries", "factor", "every"):
            given = getattr(self, name) not in (None, ())
            require(given or name not in needs, f"schedule.{name} is needed with kind: {self.kind}")
            require(not given or name in needs, f"schedule.{name} has no effect with kind: {self.kind}")
        require(self.factor is None or self.factor > 0, f"schedule.factor must be > 0, not {self.factor}")
        require(self.every is None or 0 < self.every < 1, "schedule.every is a fraction of the run in (0, 1)")


@dataclass(frozen=True, config=STRICT)
class Augment:
    """Random image changes, the same for teacher and student.

    Of images kept as arrays, in this order: pad and crop or shift, flip, rotate, brightness, contrast. `pad`: zero
    padding before a random crop back to size; `crop`: random crop to this side (evaluation: centre crop); `shift`:
    whole-pixel shifts in ±shift, zero fill (the same operation as `pad`, kept apart because the papers name it so).

    Of images kept as files, where `side` is needed: crop to `side`, flip, rotate, grayscale, jitter, each as
    torchvision's transform of that name does it on a decoded image. Without `scale` the crop is the one of
    evaluation: the shorter side to `eval_resize`, then the centre.
    """

    pad: int = 0
    """Zero padding before a random crop back to size."""
    crop: int | None = None
    """Random crop to this side (evaluation: the centre)."""
    shift: int = 0
    """Random shift by at most so many pixels, zero fill."""
    flip: bool = False
    """Random left-right flip."""
    brightness: float = 0.0
    """Maximal change on the 0–255 scale."""
    contrast: tuple[float, float] | None = None
    """Range of the contrast's factor."""
    side: int | None = None
    """Of the views of images kept as files."""
    scale: tuple[float, float] | None = None
    """RandomResizedCrop: range of the crop's share of the area."""
    ratio: tuple[float, float] | None = None
    """RandomResizedCrop: range of the crop's width by height; None: 3/4 to 4/3."""
    rotate: float = 0.0
    """RandomRotation: at most so many degrees either way, black corners; of arrays by nearest neighbours (torchvision's
    default), of files as `rotate_by` says."""
    rotate_by: Literal["bilinear", "nearest"] = "bilinear"
    """RandomRotation: how files are interpolated; bilinear: code of Chandrasegaran et al.; nearest: of Yuan et al."""
    jitter_brightness: float = 0.0
    """ColorJitter: the factor lies in [max(0, 1 − x), 1 + x]; it and that of the contrast come in random order."""
    jitter_contrast: float = 0.0
    """ColorJitter: the same of the contrast."""
    grayscale: float = 0.0
    """RandomGrayscale: its probability."""
    eval_resize: int | None = None
    """The shorter side at evaluation, before the centre crop; None: `side`."""

    def __post_init__(self) -> None:
        require(min(self.pad, self.shift) >= 0, "augment.pad and augment.shift must be ≥ 0")
        require(self.pad == 0 or self.shift == 0, "augment.pad and augment.shift are one operation: give one")
        require(self.crop is None or self.crop > 0, "augment.crop must be > 0")
        require(self.brightness >= 0, "augment.brightness must be ≥ 0")
        require(self.contrast is None or self.contrast[0] <= self.contrast[1], "augment.contrast is [low, high]")
        self._check_files()

    def _check_files(self) -> None:
        default = Augment.__dataclass_fields__
        require(0 <= self.rotate <= 180, f"augment.rotate must lie in [0, 180], not {self.rotate}")
        for name in OF_FILES if self.side is None else OF_ARRAYS:
            reason = (
                "has an effect only on images kept as files, which need augment.side"
                if self.side is None
                else "has no effect on images kept as files (augment.side)"
            )
            require(getattr(self, name) == default[name].default, f"augment.{name} {reason}")
        if self.side is None:
            return
        require(self.side > 0, f"augment.side must be > 0, not {self.side}")
        if self.scale is not None:
            require(0 < self.scale[0] <= self.scale[1] <= 1, "augment.scale is [low, high] in (0, 1]")
        if self.ratio is not None:
            require(self.scale is not None, "augment.ratio has no effect without augment.scale")
            require(0 < self.ratio[0] <= self.ratio[1], "augment.ratio is [low, high], both > 0")
        require(
            self.rotate > 0 or self.rotate_by == "bilinear", "augment.rotate_by has no effect without augment.rotate"
        )
        require(self.jitter_brightness >= 0, "augment.jitter_brightness must be ≥ 0")
        require(self.jitter_contrast >= 0, "augment.jitter_contrast must be ≥ 0")
        require(0 <= self.grayscale <= 1, f"augment.grayscale is a probability, not {self.grayscale}")
        require(
            self.eval_resize is None or self.eval_resize >= self.side,
            f"augment.eval_resize: the centre of {self.side} pixels cannot be cut from {self.eval_resize}",
        )
        # The same views are the same augmentation.
        if self.ratio == RATIO:
            object.__setattr__(self, "ratio", None)
        if self.eval_resize == self.side:
            object.__setattr__(self, "eval_resize", None)

    @property
    def random(self) -> bool:
        """Whether two views of an image can differ."""
        return self != Augment(side=self.side, eval_resize=self.eval_resize)

    def view_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """(C, h, w) of the views of images (C, H, W): what a network is built for."""
        channels, height, width = shape
        side = self.side or self.crop
        return channels, side or height, side or width


RATIO = (3 / 4, 4 / 3)  # torchvision's default
OF_ARRAYS = ("pad", "crop", "shift", "brightness", "contrast")
OF_FILES = ("scale", "ratio", "rotate_by", "jitter_brightness", "jitter_contrast", "grayscale", "eval_resize")


@dataclass(frozen=True, config=STRICT)
class Precision:
    """Arithmetic, fixed per recipe and never chosen by the device."""

    autocast: Literal["none", "bf16"] = "none"
    """Reduced precision of matrix products."""
    channels_last: bool = False
    """Memory layout of images."""


@dataclass(frozen=True, config=STRICT)
class Recipe:
    """How a network is trained. Exactly one of `steps` and `epochs` is given; 0 steps: only measured."""

    batch_size: int
    """Examples per optimiser step."""
    optimiser: Optimiser
    """SGD or Adam."""
    steps: int | None = None
    """Optimiser steps."""
    epochs: float | None = None
    """Passes over the training examples."""
    schedule: Schedule = field(default_factory=Schedule)
    """Learning rate over the run."""
    micro_batch: int | None = None
    """Gradient accumulation: at most this many examples on the device at once."""
    loss_scale: float = 1.0
    """Müller A.1: the cross-entropy term times 3; weight decay and clipping are not scaled with it."""
    clip_norm: float | None = None
    """Largest norm of the gradient."""
    ema: float | None = None
    """Decay of the exponential moving average of the weights; evaluated in place of them."""
    augment: Augment = field(default_factory=Augment)
    """Random changes of images."""
    normalise: Normalise = "none"
    """Network input."""
    eval_every: float = 0.1
    """Fraction of the run between two validations (for `best`); the last step is always one."""
    milestones: tuple[int, ...] = ()
    """Steps at which weights are kept (0: at initialisation)."""
    milestone_every: int | None = None
    """Keep weights every so many steps, from 0 to the last."""
    precision: Precision = field(default_factory=Precision)
    """Arithmetic."""

    def __post_init__(self) -> None:
        require((self.steps is None) != (self.epochs is None), "recipe: give one of steps and epochs")
        require(self.steps is None or self.steps >= 0, "recipe.steps must be ≥ 0")
        require(self.epochs is None or self.epochs > 0, "recipe.epochs must be > 0")
        require(self.batch_size > 0, "recipe.batch_size must be > 0")
        if self.micro_batch is not None:
            require(0 < self.micro_batch < self.batch_size, "recipe.micro_batch must lie in (0, batch_size)")
        require(self.loss_scale > 0, "recipe.loss_scale must be > 0")
        require(self.clip_norm is None or self.clip_norm > 0, "recipe.clip_norm must be > 0")
        require(self.ema is None or 0 < self.ema < 1, "recipe.ema must lie in (0, 1)")
        require(0 < self.eval_every <= 1, "recipe.eval_every is a fraction of the run in (0, 1]")
        require(all(step >= 0 for step in self.milestones), "recipe.milestones are steps, so ≥ 0")
        require(self.milestone_every is None or self.milestone_every > 0, "recipe.milestone_every must be > 0")

    def without_training(self) -> Recipe:
        """What counts where no step is done: how images are shown, and the arithmetic; the rest is settled."""
        return dataclasses.replace(
            self,
            **NO_TRAINING,
            schedule=Schedule(),
            micro_batch=None,
            loss_scale=1.0,
            clip_norm=None,
            ema=None,
            eval_every=0.1,
            milestones=(),
            milestone_every=None,
        )

    def num_steps(self, num_train: int) -> int:
        """Optimiser steps: batches are cut from an endless stream of shuffled epochs of N examples."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return max(1, round(self.epochs * num_train / self.batch_size))

    def num_epochs(self, num_train: int) -> int:
        """Passes over the training set that are begun."""
        return -(-self.num_steps(num_train) * self.batch_size // num_train)

    def keeps(self, step: int) -> bool:
        """Whether weights are kept at a step, if the run comes that far."""
        return step in self.milestones or (self.milestone_every is not None and step % self.milestone_every == 0)

    def all_milestones(self, num_train: int) -> tuple[int, ...]:
        """Every step at which weights are kept, in order."""
        steps = self.num_steps(num_train)
        regular = range(0, steps + 1, self.milestone_every) if self.milestone_every else ()
        return tuple(sorted({*self.milestones, *regular}))


NO_TRAINING: dict[str, Any] = {"batch_size": 1, "optimiser": Optimiser(lr=1.0)}
"""What a recipe must say and what is without effect where `steps` is 0."""
