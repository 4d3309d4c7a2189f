"""Soft targets and the losses on them.

All losses are means over the batch of natural-log quantities. Shapes: logits `[B, K]`, labels `[B]`,
probabilities `[B, K]`. Symbols: α label smoothing, T temperature, β distillation weight, z logits,
zᵗ the teacher's, p = softmax(z).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from softlabels.grid.parts.label_targets import (
    AverageDistill,
    BetaSmoothing,
    CustomLoss,
    EntropyBonus,
    Hard,
    Smooth,
    VirtualTeacher,
)
from softlabels.grid.spec import Distill, LogitMatch, Targets
from softlabels.import_string import function

Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def smooth_labels(labels: Tensor, num_classes: int, alpha: float, over: Literal["all", "others"]) -> Tensor:
    """Smoothed one-hot targets `[B, K]`.

    `all`: y(1 − α) + α/K (Müller Sec. 1.1). `others`: 1 − α on the true class and α/(K − 1) elsewhere
    (Zhang & Sabuncu Sec. 5); equal to `all` with α·K/(K − 1) in place of α.
    """
    if over == "others":
        alpha = alpha * num_classes / (num_classes - 1)
    hard = F.one_hot(labels, num_classes).to(torch.get_default_dtype())
    return hard * (1 - alpha) + alpha / num_classes


def log_probabilities(logits: Tensor, eps: float = 0.0) -> Tensor:
    """log(p + ε), `[B, K]`; the code of Zhang & Sabuncu has ε = 1e-8, which bounds the loss where p is 0."""
    return F.log_softmax(logits, dim=1) if eps == 0 else (F.softmax(logits, dim=1) + eps).log()


def soft_cross_entropy(logits: Tensor, targets: Tensor, eps: float = 0.0) -> Tensor:
    """H(q, p) = −Σ_k q_k log(p_k + ε), mean over the batch."""
    return -(targets * log_probabilities(logits, eps)).sum(1).mean()


def virtual_logits(labels: Tensor, num_classes: int, spec: VirtualTeacher) -> Tensor:
    """Logits `[B, K]` of a virtual teacher, log pᵈ; as released its probabilities pᵈ instead (Yuan S.4)."""
    p = torch.full((len(labels), num_classes), (1 - spec.correct) / (num_classes - 1), device=labels.device)
    p.scatter_(1, labels[:, None], spec.correct)
    return p.log() if spec.softened == "equations" else p


def beta_labels(labels: Tensor, num_classes: int, spec: BetaSmoothing, average: Tensor | None) -> Tensor:
    """Beta-smoothed targets `[B, K]` (Zhang & Sabuncu Sec. 6); `average` is the moving average's logits `[B, K]`.

    As `metrics.beta_smoothing`, of draws of torch's CPU generator. Ranked by log-odds, which go on where probabilities
    round to 1; of equals the earlier in the batch ranks lower.
    """
    B = len(labels)
    drawn = (torch.rand(B) ** (1 / spec.a)).sort().values.to(labels.device)
    if average is None:
        order = torch.randperm(B).to(labels.device)
    else:
        z = average.double()
        ranked = labels if spec.ranked_by == "true_class" else z.argmax(1)
        others = z.scatter(1, ranked[:, None], -torch.inf).logsumexp(1)
        order = torch.argsort(z.gather(1, ranked[:, None])[:, 0] - others, stable=True)
    b = torch.empty_like(drawn)
    b[order] = drawn
    targets = ((1 - b) / (num_classes - 1))[:, None].repeat(1, num_classes)
    return targets.scatter(1, labels[:, None], b[:, None])


def entropy(logits: Tensor) -> Tensor:
    """H(p) in nats, mean over the batch."""
    log_p = F.log_softmax(logits, dim=1)
    return -(log_p.exp() * log_p).sum(1).mean()


def distillation(student: Tensor, teacher: Tensor, spec: Distill | VirtualTeacher | AverageDistill) -> Tensor:
    """The distillation term β·[T²]·multiplier·D(pᵗ(T), p), with D and its conventions from `spec`.

    Müller Sec. 4 (student at T = 1, cross-entropy), Chandrasegaran Eq. of Sec. 3 (both at T, T² KL),
    Yuan's code (`reduction: mean`, a `multiplier`), Zhang Eq. 3 (teacher only). `gradient_norm: matched` scales the
    gradient alone (`norm_ratio`, a constant to it) and leaves the value, which runs are watched by, as it is.
    """
    T = spec.given_temperature
    student_T = T if spec.student_tempered else 1.0
    target = F.softmax(teacher / T, dim=1)
    log_p = log_probabilities(student / student_T, getattr(spec, "log_eps", 0.0))
    if spec.form == "kl":
        divergence = F.kl_div(log_p, target, reduction="batchmean")
    else:
        divergence = -(target * log_p).sum(1).mean()
    if spec.reduction == "mean":  # torch's "mean" divides by N·K
        divergence = divergence / student.shape[1]
    term = spec.beta * spec.multiplier * (T * T if spec.t2 else 1.0) * divergence
    if not isinstance(spec, Distill) or spec.gradient_norm == "free":
        return term
    factor = norm_ratio(student.detach(), teacher, T, student_T)
    return term.detach() + factor * (term - term.detach())


def norm_ratio(student: Tensor, teacher: Tensor, T: float, student_T: float) -> Tensor:
    """‖p(1) − pᵗ(1)‖ / ‖(p(Tₛ) − pᵗ(T))/Tₛ‖, Frobenius norms over [B, K]: by what `gradient_norm: matched` scales.

    1 where the gradient that would be scaled is 0. With Tₛ = T that is where students have learned everything, and the
    ratio stays bounded near it. With Tₛ = 1 it is not: at p(1) = pᵗ(T) the numerator is not 0.
    """
    at_one = (F.softmax(student, 1) - F.softmax(teacher, 1)).norm()
    own = ((F.softmax(student / student_T, 1) - F.softmax(teacher / T, 1)) / student_T).norm()
    return torch.where(own > 0, at_one / own, 1.0)


def squared_logit_error(student: Tensor, teacher: Tensor, reduction: Literal["mean", "sum"]) -> Tensor:
    """½(z − zᵗ)², summed or averaged over the K logits, mean over the batch (Müller A.5)."""
    error = 0.5 * (student - teacher) ** 2
    return (error.mean(1) if reduction == "mean" else error.sum(1)).mean()


def make_loss(targets: Targets, num_classes: int) -> Loss:
    """The loss of a run: of logits, labels, and the logits of the teacher or of the moving average, or None."""

    if isinstance(targets, CustomLoss):
        own = function(targets.loss, "targets.loss", "gives the mean loss of logits and labels")
        return lambda logits, labels, teacher: own(logits.float(), labels, targets.weight)

    def hard_term(logits: Tensor, labels: Tensor, alpha: float, over: Literal["all", "others"]) -> Tensor:
        if alpha == 0:
            return F.cross_entropy(logits, labels)
        eps = targets.log_eps if isinstance(targets, Smooth) else 0.0
        return soft_cross_entropy(logits, smooth_labels(labels, num_classes, alpha, over), eps)

    def soft_term(logits: Tensor, labels: Tensor, teacher: Tensor | None) -> Tensor:
        match targets:
            case VirtualTeacher():
                return distillation(logits, virtual_logits(labels, num_classes, targets), targets)
            case BetaSmoothing():
                soft = beta_labels(labels, num_classes, targets, teacher)
                return targets.beta * soft_cross_entropy(logits, soft, targets.log_eps)
            case EntropyBonus():
                return -targets.weight * entropy(logits)
            case LogitMatch():
                return targets.beta * squared_logit_error(logits, cast(Tensor, teacher), targets.reduction)
            case Distill() | AverageDistill():
                return distillation(logits, cast(Tensor, teacher), targets)
        raise TypeError(f"{targets!r} has no soft term")

    def loss(logits: Tensor, labels: Tensor, teacher: Tensor | None) -> Tensor:
        logits = logits.float()  # the loss in fp32 under autocast too
        if isinstance(targets, Hard):
            return hard_term(logits, labels, 0.0, "all")
        if isinstance(targets, Smooth):
            return hard_term(logits, labels, targets.alpha, targets.over)
        soft = soft_term(logits, labels, None if teacher is None else teacher.float())
        if isinstance(targets, EntropyBonus):
            weight = 1.0
        else:
            weight = targets.weight_of_hard if isinstance(targets, Distill) else 1 - targets.beta
        if weight == 0:
            return soft
        return soft + weight * hard_term(logits, labels, getattr(targets, "hard_alpha", 0.0), "all")

    return loss
