"""Targets that need no other network: labels, hard or softened, and a network's own moving average.

Symbols: K classes, α label smoothing, T temperature, β weight of the soft targets, p the network's softmax.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic.dataclasses import dataclass

from softlabels.errors import require
from softlabels.grid.parse import STRICT


@dataclass(frozen=True, config=STRICT)
class Hard:
    """Cross-entropy with the labels."""

    kind: Literal["hard"] = "hard"


@dataclass(frozen=True, config=STRICT)
class Smooth:
    """Cross-entropy with smoothed labels.

    `over: all` spreads α over all K classes (Müller Sec. 1.1: true class 1 − α + α/K);
    `over: others` spreads it over the K − 1 wrong ones (Zhang & Sabuncu; code of Yuan et al.).
    """

    alpha: float
    """α in [0, 1); 0 is the same run as hard."""
    over: Literal["all", "others"] = "all"
    """α spread over all K classes, or over the K − 1 wrong ones."""
    log_eps: float = 0.0
    """ε of log(p + ε) in place of log p; 1e-8 as released with Zhang & Sabuncu 2020 (Z-LOG)."""
    kind: Literal["smooth"] = "smooth"

    def __post_init__(self) -> None:
        require(0 <= self.alpha < 1, f"targets.alpha must lie in [0, 1), not {self.alpha}")
        require_log_eps(self.log_eps)
        require(self.alpha > 0 or self.log_eps == 0, "targets.log_eps has no effect on hard labels")


@dataclass(frozen=True, config=STRICT)
class VirtualTeacher:
    """(1 − β)·H(y, p) + β·[T²]·multiplier·KL(pᵈ(T) ‖ p(T or 1)): Tf-KD_reg (Yuan et al. 2020, supplement, S.4 and S.5).

    pᵈ is `correct` on the true class and (1 − correct)/(K − 1) on each other. `softened: equations` tempers it as any
    teacher, `released` takes the softmax of the probabilities themselves; the released code also leaves the student at
    T = 1 and averages over classes (`reduction: mean`), which makes it label smoothing (Y-REG in docs/conventions.md).
    """

    temperature: float
    """T > 0."""
    beta: float
    """β, weight of the virtual teacher, in (0, 1]."""
    correct: float = 0.99
    """Probability of the true class; 0.99 as released."""
    softened: Literal["equations", "released"] = "equations"
    """softmax(log pᵈ / T), or as released softmax(pᵈ / T)."""
    student_tempered: bool = True
    """Whether the student's logits are divided by T too."""
    t2: bool = False
    """Whether the term is multiplied with T²."""
    reduction: Literal["batchmean", "mean"] = "batchmean"
    """Mean over the batch, or over all N·K numbers."""
    multiplier: float = 1.0
    """Factor on the term."""
    kind: Literal["virtual_teacher"] = "virtual_teacher"
    form: ClassVar[Literal["kl"]] = "kl"

    def __post_init__(self) -> None:
        require(self.temperature > 0, f"targets.temperature must be > 0, not {self.temperature}")
        _require_weight(self.beta)
        require(0 < self.correct < 1, f"targets.correct must lie in (0, 1), not {self.correct}")
        require(self.multiplier > 0, f"targets.multiplier must be > 0, not {self.multiplier}")
        if self.temperature == 1:  # the same training is the same run
            object.__setattr__(self, "student_tempered", False)
            object.__setattr__(self, "t2", False)

    @property
    def given_temperature(self) -> float:
        """T, as of `Distill`."""
        return self.temperature


@dataclass(frozen=True, config=STRICT)
class MovingAverage:
    """An exponential moving average of the network in training, by which it is told something of each batch.

    After step t = 1, 2, … its decay is min(1 − 1/(t + 1), `decay`), from the initial weights on. `buffers: batch`, as
    released with Zhang & Sabuncu 2020: parameters alone are averaged, and batch norm takes the statistics of the batch,
    as in training (so does dropout). `averaged`: running statistics are averaged too, and used (Z-EMA in
    docs/conventions.md).
    """

    decay: float = 0.999
    """Largest decay; 0.999 as released."""
    buffers: Literal["batch", "averaged"] = "batch"
    """batch, as released: batch norm by the batch's own statistics; averaged: by averaged running ones."""

    def __post_init__(self) -> None:
        require(0 < self.decay < 1, f"targets.average.decay must lie in (0, 1), not {self.decay}")


@dataclass(frozen=True, config=STRICT)
class BetaSmoothing:
    """Cross-entropy with 1 − β of the label and β of b on its class, (1 − b)/(K − 1) on each other (Zhang & Sabuncu,
    Sec. 6).

    Of a batch of m examples, m draws of b ~ Beta(a, 1) are sorted and dealt out by the rank of the average's
    confidence: its largest probability (the paper), that of the true class (its code), or `random` (App. A.8), which
    needs no average.
    """

    a: float
    """a > 0 of Beta(a, 1)."""
    beta: float = 1.0
    """β, weight of b, in (0, 1]."""
    ranked_by: Literal["max_probability", "true_class", "random"] = "max_probability"
    """By the average's largest probability (the paper), that of the true class (its code), or at random."""
    average: MovingAverage | None = None
    """The moving average; none where ranks are random."""
    log_eps: float = 0.0
    """ε of log(p + ε) in the soft term; 1e-8 as released (Z-LOG)."""
    kind: Literal["beta_smoothing"] = "beta_smoothing"

    def __post_init__(self) -> None:
        require(self.a > 0, f"targets.a of Beta(a, 1) must be above 0, not {self.a}; its mean is a/(a + 1)")
        _require_weight(self.beta)
        require_log_eps(self.log_eps)
        if self.ranked_by == "random":
            require(self.average is None, "targets.average has no effect with ranked_by: random")
        elif self.average is None:
            object.__setattr__(self, "average", MovingAverage())


@dataclass(frozen=True, config=STRICT)
class AverageDistill:
    """(1 − β)·H(y, p) + β·H(p̄(T), p): the network's own moving average p̄ teaches it (Zhang & Sabuncu, App. A.5)."""

    temperature: float
    """T > 0 of the average."""
    beta: float
    """β, weight of the average, in (0, 1]."""
    average: MovingAverage = MovingAverage()
    """The moving average."""
    kind: Literal["ema_distill"] = "ema_distill"
    form: ClassVar[Literal["ce"]] = "ce"
    student_tempered: ClassVar[bool] = False
    t2: ClassVar[bool] = False
    reduction: ClassVar[Literal["batchmean"]] = "batchmean"
    multiplier: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        require(self.temperature > 0, f"targets.temperature must be > 0, not {self.temperature}")
        _require_weight(self.beta)

    @property
    def given_temperature(self) -> float:
        """T, as of `Distill`."""
        return self.temperature


@dataclass(frozen=True, config=STRICT)
class EntropyBonus:
    """H(y, p) − w·H(p): predictions of large entropy are rewarded (predictive-uncertainty regulariser of the code of
    Zhang & Sabuncu)."""

    weight: float
    """w > 0."""
    kind: Literal["entropy_bonus"] = "entropy_bonus"

    def __post_init__(self) -> None:
        require(self.weight > 0, f"targets.weight must be > 0, not {self.weight}; without a bonus the kind is hard")


@dataclass(frozen=True, config=STRICT)
class CustomLoss:
    """A loss of the user's own: `loss` is `package.module:function`, called as `function(logits, labels, weight)` with
    fp32 logits `[B, K]` and labels `[B]`; it returns the mean over the batch. Rename it when you change it."""

    loss: str
    """`package.module:function`."""
    weight: float = 1.0
    """Any number that the loss takes; an axis, say."""
    kind: Literal["own"] = "own"

    def __post_init__(self) -> None:
        require(":" in self.loss, f"targets.loss must be an import path as my_losses:focal, not {self.loss!r}")


LabelTargets = Hard | Smooth | VirtualTeacher | BetaSmoothing | AverageDistill | EntropyBonus | CustomLoss


def average_of(targets: object) -> MovingAverage | None:
    """The moving average that a network is told something by, if there is one."""
    average: MovingAverage | None = getattr(targets, "average", None)
    return average


def require_log_eps(eps: float) -> None:
    """Refuse an ε of log(p + ε) that is no small positive number, nor 0."""
    require(0 <= eps < 1, f"targets.log_eps must lie in [0, 1), not {eps}")


def _require_weight(beta: float) -> None:
    require(0 < beta <= 1, f"targets.beta must lie in (0, 1], not {beta}")
