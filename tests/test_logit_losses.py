"""Soft targets and losses against closed forms and torch's own."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from softlabels.grid.spec import Distill, Hard, LogitMatch, Smooth, Teacher, UserLogits
from softlabels.losses import distillation, make_loss, smooth_labels, soft_cross_entropy, squared_logit_error

TEACHER = Teacher(UserLogits("teacher.npy", "0" * 64))
classes = st.integers(2, 12)
alphas = st.floats(0, 0.99)
seeds = st.integers(0, 2**31)
temperatures = st.floats(0.3, 30).filter(lambda T: T != 1)
few = settings(max_examples=40)


def draw(seed: int, K: int, B: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    """Student's logits, teacher's logits `[B, K]` and labels `[B]`, in fp64."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher = 3 * torch.randn(2, B, K, generator=generator, dtype=torch.float64)
    return student, teacher, torch.randint(K, (B,), generator=generator)


def distill(T: float = 2.0, **options: Any) -> Distill:
    return Distill(TEACHER, T, **options)


def gradient(loss: Tensor, logits: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(loss, logits)
    return found


# ------------------------------------------------------------ label smoothing


@few
@given(K=classes, alpha=alphas, label=st.integers(0, 11))
def test_smoothed_labels_are_the_closed_forms(K: int, alpha: float, label: int) -> None:
    label %= K
    over_all, over_others = (
        smooth_labels(torch.tensor([label]), K, alpha, over)[0].tolist()
        for over in ("all", "others")  # type: ignore[arg-type]
    )
    for k in range(K):
        assert over_all[k] == pytest.approx(alpha / K + (1 - alpha) * (k == label), abs=1e-6)
        assert over_others[k] == pytest.approx(1 - alpha if k == label else alpha / (K - 1), abs=1e-6)
    assert sum(over_all) == pytest.approx(1, abs=1e-5)
    assert sum(over_others) == pytest.approx(1, abs=1e-5)


@few
@given(K=classes, epsilon=st.floats(0, 0.9), seed=seeds)
def test_both_conventions_are_torchs_label_smoothing(K: int, epsilon: float, seed: int) -> None:
    """Spreading ε over the K − 1 others is spreading α = ε·K/(K − 1) over all, so ε = α(K − 1)/K."""
    logits, _, labels = draw(seed, K)
    for over, alpha in (("all", epsilon), ("others", epsilon * K / (K - 1))):
        if alpha > 1:  # torch refuses what is no convex mixture with the uniform distribution
            continue
        found = soft_cross_entropy(logits, smooth_labels(labels, K, epsilon, over).double())  # type: ignore[arg-type]
        wanted = F.cross_entropy(logits, labels, label_smoothing=alpha)
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    same = smooth_labels(labels, K, epsilon * (K - 1) / K, "others")
    torch.testing.assert_close(same, smooth_labels(labels, K, epsilon, "all"))


@pytest.mark.parametrize("over", ["all", "others"])
def test_the_loss_of_a_smoothed_run_in_numbers(over: Any) -> None:
    """z = (ln 6, ln 3, 0): p = (0.6, 0.3, 0.1); label 0, α = 0.3."""
    logits = torch.tensor([[math.log(6), math.log(3), 0.0]])
    q = (0.8, 0.1, 0.1) if over == "all" else (0.7, 0.15, 0.15)
    wanted = -sum(a * math.log(p) for a, p in zip(q, (0.6, 0.3, 0.1), strict=True))
    assert make_loss(Smooth(0.3, over), 3)(logits, torch.tensor([0]), None).item() == pytest.approx(wanted, rel=1e-6)


def test_hard_targets_are_torchs_cross_entropy() -> None:
    logits, _, labels = draw(0, 7)
    wanted = F.cross_entropy(logits.float(), labels)
    assert torch.equal(make_loss(Hard(), 7)(logits, labels, None), wanted)


@few
@given(K=classes, seed=seeds)
def test_soft_cross_entropy_is_torchs(K: int, seed: int) -> None:
    logits, teacher, _ = draw(seed, K)
    q = teacher.softmax(1)
    torch.testing.assert_close(soft_cross_entropy(logits, q), F.cross_entropy(logits, q))
    entropy = -(q * q.log()).sum(1).mean()
    assert soft_cross_entropy(teacher, q).item() == pytest.approx(entropy.item())
    assert soft_cross_entropy(logits, q) >= entropy - 1e-12  # Gibbs


# ------------------------------------------------------------ distillation


@pytest.mark.filterwarnings("ignore:reduction. 'mean'")
@few
@given(
    K=classes, T=temperatures, seed=seeds, tempered=st.booleans(), t2=st.booleans(),
    reduction=st.sampled_from(["batchmean", "mean"]), multiplier=st.sampled_from([1.0, 2.5]), beta=st.floats(0.05, 1),
)  # fmt: skip
def test_distillation_is_torchs_kl_div(
    K: int, T: float, seed: int, tempered: bool, t2: bool, reduction: Any, multiplier: float, beta: float
) -> None:
    student, teacher, _ = draw(seed, K)
    spec = distill(
        T, student_tempered=tempered, t2=t2, reduction=reduction, multiplier=multiplier, beta=beta, hard_weight=0.0
    )
    log_p = F.log_softmax(student / (T if tempered else 1), 1)
    divergence = F.kl_div(log_p, (teacher / T).softmax(1), reduction=reduction)
    wanted = beta * multiplier * (T**2 if t2 else 1) * divergence
    torch.testing.assert_close(distillation(student, teacher, spec), wanted)


@few
@given(K=classes, T=temperatures, seed=seeds, tempered=st.booleans())
def test_kl_and_cross_entropy_differ_by_the_teachers_entropy_alone(K: int, T: float, seed: int, tempered: bool) -> None:
    student, teacher, _ = draw(seed, K)
    student.requires_grad_()
    kl, ce = (
        distillation(student, teacher, distill(T, form=form, student_tempered=tempered, t2=False))
        for form in ("kl", "ce")
    )
    target = (teacher / T).softmax(1)
    entropy = -torch.special.xlogy(target, target).sum(1).mean()
    torch.testing.assert_close(ce - kl, entropy)
    torch.testing.assert_close(gradient(ce, student), gradient(kl, student))


def test_at_temperature_1_the_conventions_are_one_run() -> None:
    assert distill(1.0, student_tempered=True, t2=True) == distill(1.0, student_tempered=False, t2=False)
    student, teacher, _ = draw(1, 5)
    wanted = F.kl_div(student.log_softmax(1), teacher.softmax(1), reduction="batchmean")
    torch.testing.assert_close(distillation(student, teacher, distill(1.0)), wanted)


@few
@given(K=classes, seed=seeds)
def test_hot_distillation_is_logit_matching(K: int, seed: int) -> None:
    """Hinton et al. 2015, Sec. 2.1: T²·KL → ½·mean over K of (z − zᵗ)² of centred logits as T → ∞."""
    student, teacher, _ = draw(seed, K)
    centred = [z - z.mean(1, keepdim=True) for z in (student, teacher)]
    wanted = squared_logit_error(centred[0], centred[1], "mean")
    found = [distillation(student, teacher, distill(T)).item() for T in (1e2, 1e3, 1e4)]
    assert found[2] == pytest.approx(wanted.item(), rel=5e-3, abs=1e-4)
    assert abs(found[2] - wanted) <= abs(found[0] - wanted) + 1e-6


def test_the_gradient_keeps_its_size_with_the_factor_t2_alone() -> None:
    student, teacher, _ = draw(2, 10)
    student.requires_grad_()

    def size(T: float, t2: bool) -> float:
        return gradient(distillation(student, teacher, distill(T, t2=t2)), student).norm().item()

    assert size(200, True) == pytest.approx(size(100, True), rel=0.02)
    assert size(200, False) == pytest.approx(size(100, False) / 4, rel=0.02)


# ------------------------------------------------------------ the gradient's norm matched to T = 1


def both_gradients(spec: Distill, seed: int = 5, K: int = 10) -> tuple[Tensor, Tensor, Tensor]:
    """Of the term of `spec` [B, K]: as it is, with `gradient_norm: matched`, and at T = 1."""
    student, teacher, _ = draw(seed, K)
    student.requires_grad_()
    at_one = dataclasses.replace(spec, temperature=1.0)
    terms = (spec, dataclasses.replace(spec, gradient_norm="matched"), at_one)
    free, matched, one = (gradient(distillation(student, teacher, term), student) for term in terms)
    return free, matched, one


@pytest.mark.parametrize("T", [0.5, 2.0, 3.0, 64.0])
@pytest.mark.parametrize("tempered", [True, False])
@pytest.mark.parametrize(
    "options", [{}, {"t2": False}, {"form": "ce"}, {"reduction": "mean"}, {"multiplier": 2.5, "beta": 0.3}]
)
def test_a_matched_gradient_has_the_norm_of_t_1_and_its_own_direction(T: float, tempered: bool, options: Any) -> None:
    free, matched, one = both_gradients(distill(T, student_tempered=tempered, **options))
    assert matched.norm().item() == pytest.approx(one.norm().item(), rel=1e-12)
    assert F.cosine_similarity(matched.flatten(), free.flatten(), dim=0).item() == pytest.approx(1, abs=1e-12)
    assert abs(free.norm() / one.norm() - 1) > 0.01  # there was something to match
    assert F.cosine_similarity(one.flatten(), free.flatten(), dim=0) < 0.999


@few
@given(seed=seeds, T=temperatures)
def test_of_two_classes_and_one_example_a_matched_gradient_is_that_of_t_1(seed: int, T: float) -> None:
    """(σ(z/T) − σ(zᵗ/T))·(1, −1) has one direction, and T does not change its sign."""
    student, teacher, _ = (x[:1] for x in draw(seed, 2))
    student.requires_grad_()
    matched, one = (
        gradient(distillation(student, teacher, spec), student)
        for spec in (distill(T, gradient_norm="matched"), distill(1.0))
    )
    torch.testing.assert_close(matched, one)


def test_matching_leaves_the_value_and_the_term_of_the_labels() -> None:
    student, teacher, labels = draw(6, 10)
    student = student.float().requires_grad_()
    spec = distill(3.0, beta=0.7, gradient_norm="matched")
    free = dataclasses.replace(spec, gradient_norm="free")
    losses = [make_loss(s, 10)(student, labels, teacher) for s in (spec, free)]
    assert torch.equal(*losses)
    soft = gradient(distillation(student, teacher.float(), spec), student)
    hard = gradient(0.3 * F.cross_entropy(student, labels), student)
    torch.testing.assert_close(gradient(losses[0], student), soft + hard)


def test_equal_matched_trainings_are_equal_specs() -> None:
    assert distill(1.0, gradient_norm="matched") == distill(1.0)
    assert distill(2.0, gradient_norm="matched", t2=True) == distill(2.0, gradient_norm="matched", t2=False)
    assert distill(2.0, gradient_norm="matched") != distill(2.0, t2=False)


@pytest.mark.parametrize("tempered", [True, False])
def test_where_there_is_no_gradient_there_is_none_to_match(tempered: bool) -> None:
    """0/0 for a student that equals its teacher; for one at T = 1 that equals the softened teacher, x/0."""
    _, teacher, _ = draw(7, 10)
    student = (teacher if tempered else teacher / 2).clone().requires_grad_()
    spec = distill(2.0, student_tempered=tempered, gradient_norm="matched")
    assert gradient(distillation(student, teacher, spec), student).abs().max() < 1e-15


# ------------------------------------------------------------ mixtures


@few
@given(seed=seeds, beta=st.floats(0.05, 0.95), weight=st.none() | st.floats(0.05, 3), alpha=st.sampled_from([0.0, 0.2]))
def test_the_mix_of_soft_and_hard_terms(seed: int, beta: float, weight: float | None, alpha: float) -> None:
    student, teacher, labels = (x.float() if x.is_floating_point() else x for x in draw(seed, 6))
    spec = distill(3.0, beta=beta, hard_weight=weight, hard_alpha=alpha)
    log_p = F.log_softmax(student / 3, 1)
    soft = 9 * F.kl_div(log_p, (teacher / 3).softmax(1), reduction="batchmean")
    hard = F.cross_entropy(student, labels, label_smoothing=alpha)
    wanted = beta * soft + (1 - beta if weight is None else weight) * hard
    torch.testing.assert_close(make_loss(spec, 6)(student, labels, teacher), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("spec", [distill(4.0), LogitMatch(TEACHER, 1.0)])
def test_with_beta_1_the_labels_do_not_matter(spec: Distill | LogitMatch) -> None:
    student, teacher, labels = draw(3, 6)
    loss = make_loss(spec, 6)
    assert torch.equal(loss(student, labels, teacher), loss(student, (labels + 1) % 6, teacher))
    less = dataclasses.replace(spec, beta=0.9)
    assert not torch.equal(make_loss(less, 6)(student, labels, teacher), loss(student, labels, teacher))


@few
@given(seed=seeds, K=classes, beta=st.floats(0.05, 1))
def test_logit_matching(seed: int, K: int, beta: float) -> None:
    student, teacher, labels = (x.float() if x.is_floating_point() else x for x in draw(seed, K))
    for reduction, share in (("mean", 0.5), ("sum", 0.5 * K)):
        spec = LogitMatch(TEACHER, beta, reduction)  # type: ignore[arg-type]
        wanted = beta * share * F.mse_loss(student, teacher) + (1 - beta) * F.cross_entropy(student, labels)
        torch.testing.assert_close(make_loss(spec, K)(student, labels, teacher), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("spec", [Hard(), Smooth(0.1), distill(2.0, beta=0.5), LogitMatch(TEACHER, 0.5)])
def test_the_loss_is_in_fp32_and_finite_for_large_bf16_logits(spec: Any) -> None:
    student, teacher, labels = draw(4, 5)
    loss = make_loss(spec, 5)((300 * student).bfloat16(), labels, (300 * teacher).bfloat16())
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
