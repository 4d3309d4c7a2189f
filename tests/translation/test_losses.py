"""The losses on tokens: the reference definitions of `softlabels.losses`, fairseq's own, and closed forms."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from softlabels.grid.spec import Distill, Hard, Smooth, Teacher, UserLogits
from softlabels.losses import make_loss
from softlabels.translation.compat import fairseq
from softlabels.translation.losses import DenseTeacher, SparseTeacher, TokenLoss

TEACHER = Teacher(UserLogits("teacher.npy", "0" * 64))
TEMPERATURES = (1, 2, 3, 64)
seeds = st.integers(0, 2**31)
tokens = st.integers(1, 8)
types = st.integers(2, 60)
few = settings(max_examples=40)

Teaching = DenseTeacher | SparseTeacher | None


def draw(seed: int = 0, N: int = 7, V: int = 50) -> tuple[Tensor, Tensor, Tensor]:
    """Student's and teacher's logits [N, V] and gold types [N], in fp32."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher = 3 * torch.randn(2, N, V, generator=generator)
    return student, teacher, torch.randint(V, (N,), generator=generator)


def ours(loss: TokenLoss, logits: Tensor, labels: Tensor, teacher: Teaching = None) -> tuple[Tensor, Tensor]:
    """Value, and the gradient that is computed with it; the logits that come in stay as they were."""
    z = logits.clone().requires_grad_()
    value = loss(z, labels, teacher)
    (gradient,) = torch.autograd.grad(value, z)
    return value.detach(), gradient


def by_autograd(function: Callable[[Tensor], Tensor], logits: Tensor) -> tuple[Tensor, Tensor]:
    """Value and gradient of a plain function of the logits, in fp64."""
    z = logits.double().requires_grad_()
    value = function(z)
    (gradient,) = torch.autograd.grad(value, z)
    return value.detach(), gradient


def dense(teacher: Tensor) -> DenseTeacher:
    return DenseTeacher(teacher.clone())  # the loss uses it up


def sparse(teacher: Tensor, k: int, T: float | None = None) -> SparseTeacher:
    """The k largest logits, with the log-normaliser at T if one is given."""
    values, indices = torch.topk(teacher, k, dim=1)
    return SparseTeacher(values, indices, None if T is None else torch.logsumexp(teacher / T, 1))


def assert_same(found: tuple[Tensor, Tensor], wanted: tuple[Tensor, Tensor], weight: float = 1.0) -> None:
    """Values and gradients to fp32 rounding of terms that are multiplied by `weight`."""
    N, V = wanted[1].shape
    torch.testing.assert_close(found[0].double(), wanted[0].double(), rtol=1e-5, atol=2e-6 * N * max(1, weight))
    torch.testing.assert_close(found[1].double(), wanted[1].double(), rtol=1e-4, atol=1e-6 * max(1, weight / V))


def kl(log_q: Tensor, target: Tensor) -> Tensor:
    """Σ over tokens of KL(target ‖ q)."""
    return (torch.special.xlogy(target, target) - target * log_q).sum()


# ------------------------------------------------------------ the reference definitions


def distill(T: float, **options: Any) -> Distill:
    return Distill(TEACHER, T, **options)


TARGETS = {
    "hard": lambda T: Hard(),
    "smooth over all": lambda T: Smooth(0.1),
    "smooth over others": lambda T: Smooth(0.1, "others"),
    "soft alone": lambda T: distill(T),
    "without T²": lambda T: distill(T, t2=False),
    "student at 1": lambda T: distill(T, student_tempered=False, t2=False),
    "student at 1 with T²": lambda T: distill(T, student_tempered=False),
    "multiplier": lambda T: distill(T, multiplier=2.5),
    "mean over types": lambda T: distill(T, reduction="mean", multiplier=7.0),
    "mixed": lambda T: distill(T, beta=0.9),
    "mixed with smoothed labels": lambda T: distill(T, beta=0.9, hard_alpha=0.1),
    "weight of its own": lambda T: distill(T, beta=0.3, hard_weight=2.0),
    "matched": lambda T: distill(T, gradient_norm="matched"),
    "matched, student at 1": lambda T: distill(T, gradient_norm="matched", student_tempered=False),
    "matched and mixed": lambda T: distill(T, gradient_norm="matched", beta=0.9, hard_alpha=0.1, multiplier=2.5),
    "matched mean over types": lambda T: distill(T, gradient_norm="matched", reduction="mean"),
}


@pytest.mark.parametrize("T", TEMPERATURES)
@pytest.mark.parametrize("name", TARGETS)
def test_values_and_gradients_are_those_of_the_reference_summed_over_tokens(name: str, T: float) -> None:
    student, teacher, labels = draw(3)
    spec = TARGETS[name](T)
    loss = TokenLoss.of(spec, student.shape[1])
    z = student.clone().requires_grad_()
    wanted = len(labels) * make_loss(spec, student.shape[1])(z, labels, teacher)
    (gradient,) = torch.autograd.grad(wanted, z)
    found = ours(loss, student, labels, dense(teacher) if isinstance(spec, Distill) else None)
    assert_same(found, (wanted.detach(), gradient), loss.soft_weight)
    assert gradient.abs().max() > 1e-3 / (T * student.shape[1])  # it is not all zero that agrees


@few
@given(seed=seeds, N=tokens, V=types, T=st.floats(0.5, 70), beta=st.floats(0.05, 1), alpha=st.floats(0, 0.9))
def test_the_mix_is_that_of_plain_torch(seed: int, N: int, V: int, T: float, beta: float, alpha: float) -> None:
    student, teacher, labels = draw(seed, N, V)
    spec = distill(T, beta=beta, hard_alpha=alpha if beta < 1 else 0.0)
    loss = TokenLoss.of(spec, V)

    def wanted(z: Tensor) -> Tensor:
        s = loss.student_temperature
        soft = kl((z / s).log_softmax(1), (teacher.double() / T).softmax(1))
        y = F.one_hot(labels, V).double() * (1 - spec.hard_alpha) + spec.hard_alpha / V
        return loss.soft_weight * soft - spec.weight_of_hard * (y * z.log_softmax(1)).sum()

    assert_same(ours(loss, student, labels, dense(teacher)), by_autograd(wanted, student), loss.soft_weight)


def test_hard_and_unweighted_parts_are_skipped_and_the_logits_stay() -> None:
    student, teacher, labels = draw()
    before = student.clone()
    for spec in (Hard(), distill(2.0), distill(2.0, beta=0.5)):
        ours(TokenLoss.of(spec, 50), student, labels, dense(teacher))
        assert torch.equal(student, before)
    other = (labels + 1) % 50
    alone = TokenLoss.of(distill(2.0), 50)
    assert torch.equal(ours(alone, student, labels, dense(teacher))[1], ours(alone, student, other, dense(teacher))[1])


@pytest.mark.parametrize("spec", [Smooth(0.1), distill(3.0, beta=0.7)])
def test_an_upstream_gradient_multiplies_and_half_precision_gets_its_own_type_back(spec: Any) -> None:
    """fairseq scales losses, and a network under autocast hands over bf16."""
    student, teacher, labels = draw()
    loss = TokenLoss.of(spec, 50)
    z = student.clone().requires_grad_()
    (scaled,) = torch.autograd.grad(8 * loss(z, labels, dense(teacher)), z)
    torch.testing.assert_close(scaled, 8 * ours(loss, student, labels, dense(teacher))[1])
    half = student.bfloat16()
    value, gradient = ours(loss, half, labels, dense(teacher))
    assert (value.dtype, gradient.dtype) == (torch.float32, torch.bfloat16)
    exact = ours(loss, half.float(), labels, dense(teacher))
    assert torch.equal(value, exact[0])
    assert torch.equal(gradient, exact[1].bfloat16())


def test_the_criterion_gets_the_loss_it_was_told() -> None:
    loss = TokenLoss.of(distill(3.0, beta=0.9, hard_alpha=0.1, reduction="mean"), 50)
    matched = TokenLoss.of(distill(3.0, gradient_norm="matched"), 50)
    assert (loss.matched, matched.matched) == (False, True)
    for told in (loss, matched):
        assert TokenLoss(**json.loads(told.argument)) == told
    assert (loss.soft_weight, loss.student_temperature) == (pytest.approx(0.9 * 9 / 50), 3.0)
    assert TokenLoss.of(Smooth(0.0, "others"), 50) != TokenLoss.of(Smooth(0.1, "others"), 50)


# ------------------------------------------------------------ the gradient's norm matched to T = 1


@pytest.mark.parametrize("T", [2.0, 3.0, 64.0])
@pytest.mark.parametrize("k", [None, 4])
@pytest.mark.parametrize("tempered", [True, False])
def test_a_matched_gradient_has_the_norm_of_t_1_and_its_own_direction(T: float, k: int | None, tempered: bool) -> None:
    student, teacher, labels = draw(13)

    def of(T: float, **options: Any) -> Tensor:
        loss = TokenLoss.of(distill(T, beta=0.5, hard_weight=0.0, student_tempered=tempered, **options), 50)
        return ours(loss, student, labels, dense(teacher) if k is None else sparse(teacher, k))[1]

    free, matched, one = of(T), of(T, gradient_norm="matched"), of(1.0)
    assert matched.norm().item() == pytest.approx(one.norm().item(), rel=1e-5)
    assert F.cosine_similarity(matched.flatten(), free.flatten(), dim=0).item() == pytest.approx(1, abs=1e-5)
    assert abs(free.norm() / one.norm() - 1) > 0.01  # there was something to match


def test_where_there_is_no_gradient_there_is_none_to_match() -> None:
    student, _, labels = draw()
    value, gradient = ours(TokenLoss.of(distill(2.0, gradient_norm="matched"), 50), student, labels, dense(student))
    assert value.abs() < 1e-4
    assert gradient.abs().max() < 1e-5  # rounding has a norm too, and is matched to rounding


# ------------------------------------------------------------ label smoothing, Müller's and fairseq's


@few
@given(seed=seeds, N=tokens, V=types, epsilon=st.floats(0, 0.9))
def test_smoothing_over_others_is_fairseqs_own(seed: int, N: int, V: int, epsilon: float) -> None:
    fairseq()
    from fairseq.criterions.label_smoothed_cross_entropy import label_smoothed_nll_loss

    student, _, labels = draw(seed, N, V)
    wanted = by_autograd(lambda z: label_smoothed_nll_loss(z.log_softmax(1), labels, epsilon)[0], student)
    assert_same(ours(TokenLoss.of(Smooth(epsilon, "others"), V), student, labels), wanted)


@few
@given(seed=seeds, V=types, epsilon=st.floats(0, 0.45))
def test_both_forms_are_one_with_alpha_times_v_over_v_minus_1(seed: int, V: int, epsilon: float) -> None:
    """ε spread over the V − 1 others is α = ε·V/(V − 1) spread over all."""
    student, _, labels = draw(seed, 5, V)
    others = ours(TokenLoss(1.0, epsilon, "others"), student, labels)
    same = ours(TokenLoss(1.0, epsilon * V / (V - 1), "all"), student, labels)
    assert_same(others, same)
    if epsilon > 0.1:
        other = ours(TokenLoss(1.0, epsilon, "all"), student, labels)
        assert not torch.allclose(other[1], others[1], rtol=1e-4, atol=1e-6)


def test_muellers_smoothing_in_numbers() -> None:
    """p = (0.6, 0.3, 0.1), gold type 0, α = 0.3: targets (0.8, 0.1, 0.1), or in fairseq's form (0.7, 0.15, 0.15)."""
    p = torch.tensor([[0.6, 0.3, 0.1]])
    for over, target in (("all", (0.8, 0.1, 0.1)), ("others", (0.7, 0.15, 0.15))):
        y = torch.tensor([target])
        value, gradient = ours(TokenLoss.of(Smooth(0.3, over), 3), p.log() + 5, torch.tensor([0]))  # type: ignore[arg-type]
        assert value.item() == pytest.approx(-(y * p.log()).sum().item(), rel=1e-5)
        torch.testing.assert_close(gradient, p - y)


# ------------------------------------------------------------ truncated teachers


@pytest.mark.parametrize("T", TEMPERATURES)
@pytest.mark.parametrize("with_lse", [False, True])
@pytest.mark.parametrize("options", [{}, {"student_tempered": False}, {"beta": 0.9, "hard_alpha": 0.1}])
def test_of_all_types_a_truncated_teacher_is_the_dense_one(T: float, with_lse: bool, options: dict[str, Any]) -> None:
    student, teacher, labels = draw(5)
    loss = TokenLoss.of(distill(T, **options), 50)
    everything = sparse(teacher, 50, T if with_lse else None)
    found, wanted = (ours(loss, student, labels, t) for t in (everything, dense(teacher)))
    assert_same(found, wanted, loss.soft_weight)


@few
@given(seed=seeds, N=tokens, V=types, share=st.floats(0, 1), T=st.floats(0.5, 70))
def test_a_dropped_tail_is_the_divergence_from_the_renormalised_softmax(
    seed: int, N: int, V: int, share: float, T: float
) -> None:
    student, teacher, labels = draw(seed, N, V)
    k = 1 + round(share * (V - 1))
    loss = TokenLoss.of(distill(T), V)
    kept = sparse(teacher, k)
    target = torch.zeros(N, V, dtype=torch.float64).scatter_(1, kept.indices, (kept.values.double() / T).softmax(1))
    wanted = by_autograd(
        lambda z: loss.soft_weight * kl((z / loss.student_temperature).log_softmax(1), target), student
    )
    assert_same(ours(loss, student, labels, kept), wanted, loss.soft_weight)


def flat_tail(teacher: Tensor, k: int, T: float) -> Tensor:
    """The k largest probabilities as they are, what is left of the mass spread evenly over the rest: [N, V]."""
    p = (teacher.double() / T).softmax(1)
    largest, indices = p.topk(k, dim=1)
    rest = (1 - largest.sum(1, keepdim=True)) / max(1, p.shape[1] - k)
    return rest.expand(p.shape).scatter(1, indices, largest)


@few
@given(seed=seeds, N=tokens, V=types, share=st.floats(0, 1), T=st.floats(0.5, 70))
def test_a_flat_tail_is_the_divergence_from_its_closed_form(seed: int, N: int, V: int, share: float, T: float) -> None:
    student, teacher, labels = draw(seed, N, V)
    k = 1 + round(share * (V - 1))
    loss, target = TokenLoss.of(distill(T), V), flat_tail(teacher, k, T)
    wanted = by_autograd(
        lambda z: loss.soft_weight * kl((z / loss.student_temperature).log_softmax(1), target), student
    )
    assert_same(ours(loss, student, labels, sparse(teacher, k, T)), wanted, loss.soft_weight)


@pytest.mark.parametrize("T", TEMPERATURES)
@pytest.mark.parametrize("k", [1, 4, 49])
def test_the_targets_of_a_truncated_teacher_sum_to_one(T: float, k: int) -> None:
    """A student at temperature 1 gets the gradient softmax(z) − target, which tells the target."""
    student, teacher, labels = draw(7)
    p = (teacher / T).softmax(1)
    largest, indices = p.topk(k, dim=1)
    loss = TokenLoss(0.0, soft_weight=1.0, teacher_temperature=T)
    for T_or_none in (None, T):
        target = student.softmax(1) - ours(loss, student, labels, sparse(teacher, k, T_or_none))[1]
        torch.testing.assert_close(target.sum(1), torch.ones(7))
        assert target.min() > -1e-6
        tail = target.scatter(1, indices, float("nan")).flatten()
        tail = tail[~tail.isnan()].reshape(7, 50 - k)
        if T_or_none is None:
            torch.testing.assert_close(target.gather(1, indices), largest / largest.sum(1, keepdim=True))
            assert tail.abs().max() < 1e-6
        else:
            torch.testing.assert_close(target.gather(1, indices), largest, rtol=1e-4, atol=1e-6)
            even = ((1 - largest.sum(1, keepdim=True)) / (50 - k)).expand_as(tail)
            torch.testing.assert_close(tail, even, rtol=1e-3, atol=1e-6)


def test_truncation_matters_more_the_hotter_the_teacher() -> None:
    """What the ablation is about: of 4 in 50 the gradient is right at low temperature and wrong at high."""
    student, teacher, labels = draw(9)

    def error(T: float, teaching: SparseTeacher) -> float:
        loss = TokenLoss(0.0, soft_weight=1.0, teacher_temperature=T)
        exact = ours(loss, student, labels, dense(4 * teacher))[1]
        return ((ours(loss, student, labels, teaching)[1] - exact).norm() / exact.norm()).item()

    dropped = [error(T, sparse(4 * teacher, 4)) for T in TEMPERATURES]
    flat = [error(T, sparse(4 * teacher, 4, T)) for T in TEMPERATURES]
    assert dropped == sorted(dropped)
    assert dropped[0] < 0.05 < 0.5 < dropped[-1]
    assert all(a <= b + 1e-6 for a, b in zip(flat, dropped, strict=True))


@pytest.mark.parametrize("T", TEMPERATURES)
def test_rounding_to_half_precision_leaves_no_negative_mass(T: float) -> None:
    """The kept values of a sharp teacher, rounded up, hold more mass than its exact normaliser: the tail gets none."""
    student, teacher, labels = draw(11)
    exact = sparse(8 * teacher, 49, T)
    rounded = SparseTeacher(exact.values + 2e-2, exact.indices, exact.lse)
    loss = TokenLoss(0.0, soft_weight=1.0, teacher_temperature=T)
    value, gradient = ours(loss, student, labels, rounded)
    assert torch.isfinite(value)
    assert value > -1e-4
    target = student.softmax(1) - gradient
    assert target.min() > -1e-6
    torch.testing.assert_close(target.sum(1), torch.ones(7))
