"""The losses of translation runs, on tokens: each computes its gradient together with its value.

Logits of a batch are [N tokens, V types] with V of tens of thousands, so every pass over them counts: one function
holds what automatic differentiation would do in twice as many. Sums over tokens in nats, since fairseq divides by the
number of tokens itself. Symbols: α label smoothing, T temperature of the teacher, Tₛ of the student (T or 1), z logits,
zᵗ the teacher's, p = softmax(z). The definitions are those of `softlabels.losses`; tests hold both against each other.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from softlabels.grid.parts.label_targets import Hard, Smooth
from softlabels.grid.spec import Distill


@dataclass(frozen=True)
class DenseTeacher:
    """The teacher's logits zᵗ, all of them; `logits` is used up."""

    logits: Tensor
    """fp32 [N, V]."""


@dataclass(frozen=True)
class SparseTeacher:
    """The k largest of the teacher's logits."""

    values: Tensor
    """fp32 [N, k]."""
    indices: Tensor
    """int64 [N, k], the types they belong to."""
    lse: Tensor | None
    """log Σ exp(zᵗ/T) over all V types, [N]; None: the kept ones are all there is (renormalised)."""


@dataclass(frozen=True)
class TokenLoss:
    """What is minimised: hard_weight · (LS-)CE(z) + soft_weight · KL(pᵗ(T) ‖ p(Tₛ))."""

    hard_weight: float
    alpha: float = 0.0
    over: Literal["all", "others"] = "all"
    soft_weight: float = 0.0
    """β · [T²] · multiplier, divided by V where the convention averages over types too."""
    teacher_temperature: float = 1.0
    student_temperature: float = 1.0
    matched: bool = False
    """Scale the soft term's gradient to the norm that it has with both temperatures 1 (`Distill.gradient_norm`)."""

    @classmethod
    def of(cls, targets: Hard | Smooth | Distill, vocabulary: int) -> TokenLoss:
        """The loss of a run with V types."""
        if isinstance(targets, Hard):
            return cls(1.0)
        if isinstance(targets, Smooth):
            return cls(1.0, targets.alpha, targets.over)
        T = targets.given_temperature
        weight = targets.beta * targets.multiplier * (T * T if targets.t2 else 1.0)
        return cls(
            targets.weight_of_hard,
            targets.hard_alpha,
            soft_weight=weight / vocabulary if targets.reduction == "mean" else weight,
            teacher_temperature=T,
            student_temperature=T if targets.student_tempered else 1.0,
            matched=targets.gradient_norm == "matched",
        )

    @property
    def argument(self) -> str:
        """As the criterion's `--loss` takes it."""
        return json.dumps(dataclasses.asdict(self))

    def __call__(self, logits: Tensor, labels: Tensor, teacher: DenseTeacher | SparseTeacher | None = None) -> Tensor:
        """The loss, summed over tokens, of logits [N, V] with gold types [N]."""
        loss: Tensor = _Fused.apply(logits, labels, teacher, self)  # type: ignore[no-untyped-call]
        return loss


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, labels: Tensor, teacher: DenseTeacher | SparseTeacher | None, loss: TokenLoss
    ) -> Tensor:
        z = logits.float()
        total = z.new_zeros(())
        gradient: Tensor | None = None
        if loss.hard_weight:
            value, gradient = smoothed_cross_entropy(z, labels, loss.alpha, loss.over)
            total = total + loss.hard_weight * value
            if loss.hard_weight != 1:
                gradient.mul_(loss.hard_weight)
        if loss.soft_weight:
            assert teacher is not None
            at_one = divergence(z, _copied(teacher), 1.0, 1.0)[1].norm() if loss.matched else None
            value, soft = divergence(z, teacher, loss.teacher_temperature, loss.student_temperature)
            total = total + loss.soft_weight * value
            if at_one is not None:
                own = soft.norm()
                soft.mul_(torch.where(own > 0, at_one / own, 1.0))
            gradient = soft.mul_(loss.soft_weight) if gradient is None else gradient.add_(soft, alpha=loss.soft_weight)
        ctx.gradient, ctx.dtype = gradient, logits.dtype
        return total

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None, None]:
        gradient: Tensor = ctx.gradient.mul_(upstream[0])  # in place: it is asked for once
        return gradient.to(ctx.dtype), None, None, None


def smoothed_cross_entropy(
    z: Tensor, labels: Tensor, alpha: float, over: Literal["all", "others"]
) -> tuple[Tensor, Tensor]:
    """H(y_α, p) summed over tokens, and its gradient p − y_α [N, V].

    `all`: y_α = (1 − α)·y + α/V (Müller Sec. 1.1). `others`: 1 − α on the gold type, α/(V − 1) elsewhere (fairseq).
    """
    V = z.shape[1]
    if over == "others":
        alpha = alpha * V / (V - 1)
    gold = labels[:, None]
    p, lse = _softmax(z)
    value = lse.sum() - (1 - alpha) * z.gather(1, gold).sum()
    if alpha:
        value = value - alpha * z.mean(1).sum()
        p.sub_(alpha / V)
    return value, p.scatter_add_(1, gold, p.new_full(gold.shape, alpha - 1))


def divergence(z: Tensor, teacher: DenseTeacher | SparseTeacher, T: float, student_T: float) -> tuple[Tensor, Tensor]:
    """KL(pᵗ(T) ‖ p(Tₛ)) summed over tokens, and its gradient (p(Tₛ) − pᵗ(T)) / Tₛ [N, V]."""
    scaled = z if student_T == 1 else z / student_T
    q, lse = _softmax(scaled)
    if isinstance(teacher, DenseTeacher):
        theirs = teacher.logits if T == 1 else teacher.logits.div_(T)
        p, their_lse = _softmax(theirs)
        value = (lse - their_lse).sum() + theirs.sub_(scaled).mul_(p).sum()
        gradient = q.sub_(p)
    else:
        value, gradient = _sparse(scaled, q, lse, teacher, T)
    return value, gradient if student_T == 1 else gradient.div_(student_T)


def _copied(teacher: DenseTeacher | SparseTeacher) -> DenseTeacher | SparseTeacher:
    """A teacher that may be used up."""
    return DenseTeacher(teacher.logits.clone()) if isinstance(teacher, DenseTeacher) else teacher


def _softmax(z: Tensor) -> tuple[Tensor, Tensor]:
    """softmax(z) [N, V] and log Σ exp(z) [N], the latter from the largest probability: no pass of its own."""
    p = torch.softmax(z, dim=1)
    largest, where = z.max(dim=1)
    return p, largest - p.gather(1, where[:, None])[:, 0].log()


def _sparse(z: Tensor, q: Tensor, lse: Tensor, teacher: SparseTeacher, T: float) -> tuple[Tensor, Tensor]:
    """As `divergence`, of the student's scaled logits, their softmax (used up) and log-normaliser."""
    V, k = z.shape[1], teacher.values.shape[1]
    kept_log_q = z.gather(1, teacher.indices) - lse[:, None]
    scaled = teacher.values / T
    own_lse = torch.logsumexp(scaled, dim=1)
    if teacher.lse is None or k == V:  # with every type kept the two are one
        log_p = scaled - own_lse[:, None]
        p = log_p.exp()
        return (p * (log_p - kept_log_q)).sum(), q.scatter_add_(1, teacher.indices, -p)
    their_lse = torch.maximum(teacher.lse, own_lse)  # rounding must leave no negative mass
    log_p = scaled - their_lse[:, None]
    p = log_p.exp()
    tail = (1 - p.sum(1)).clamp_min(0.0)
    flat = tail / (V - k)
    tail_log_q = z.sum(1) - V * lse - kept_log_q.sum(1)
    value = (p * (log_p - kept_log_q)).sum() + (torch.xlogy(tail, flat) - flat * tail_log_q).sum()
    return value, q.sub_(flat[:, None]).scatter_add_(1, teacher.indices, flat[:, None] - p)
