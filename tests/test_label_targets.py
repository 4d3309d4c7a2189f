"""Virtual teachers, Beta smoothing, moving averages, the entropy bonus: closed forms, training, names."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import DIGITS
from refusals import refused
from test_trainer import same, stop_after

from softlabels.data.load import Data
from softlabels.errors import SpecError, Stopped
from softlabels.grid.costs import training_flops
from softlabels.grid.identity import run_id
from softlabels.grid.parse import from_dict
from softlabels.grid.parts.label_targets import (
    AverageDistill,
    BetaSmoothing,
    EntropyBonus,
    Hard,
    LabelTargets,
    MovingAverage,
    Smooth,
    VirtualTeacher,
)
from softlabels.grid.parts.recipe import Augment, Optimiser, Precision, Recipe
from softlabels.grid.spec import Distill, ModelSpec, RunSpec, Teacher, UserLogits, to_dict
from softlabels.losses import beta_labels, make_loss, smooth_labels, virtual_logits
from softlabels.metrics import beta_smoothing, virtual_teacher
from softlabels.training.images import ImageSplit
from softlabels.training.objective import Average
from softlabels.training.trainer import Trainer

K, B = 10, 64
RELEASED: dict[str, Any] = {"softened": "released", "student_tempered": False, "reduction": "mean"}


@pytest.fixture
def drawn() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Student's and average's logits `[B, K]` and labels `[B]`."""
    generator = torch.Generator().manual_seed(0)
    student, average = 3 * torch.randn(2, B, K, generator=generator)
    return student.requires_grad_(), average, torch.randint(K, (B,), generator=generator)


def gradient(loss: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    return torch.autograd.grad(loss, logits)[0]


# ---------------------------------------------------------------- the virtual teacher


@pytest.mark.parametrize("softened", ["equations", "released"])
def test_the_virtual_teacher_is_softened_as_declared(drawn: Any, softened: Any) -> None:
    _, _, labels = drawn
    spec = VirtualTeacher(20, 0.5, softened=softened)
    p = F.softmax(virtual_logits(labels, K, spec) / 20, dim=1)
    right, wrong = virtual_teacher.softened(K, 20, softened)
    torch.testing.assert_close(p.gather(1, labels[:, None]).mean(), torch.tensor(right))
    torch.testing.assert_close(p.min(), torch.tensor(wrong))


def test_its_equation(drawn: Any) -> None:
    """(1 − β)·H(y, p) + β·KL(pᵈ(T) ‖ p(T)) (S.5), both sides softened."""
    z, _, y = drawn
    spec = VirtualTeacher(20, 0.3)
    p = F.softmax(virtual_logits(y, K, spec) / 20, dim=1)
    expected = 0.7 * F.cross_entropy(z, y) + 0.3 * F.kl_div(F.log_softmax(z / 20, 1), p, reduction="batchmean")
    torch.testing.assert_close(make_loss(spec, K)(z, y, None), expected)


@pytest.mark.parametrize(("beta", "multiplier"), [(0.1, 100), (0.1, 50), (0.95, 1)])
def test_as_released_it_is_label_smoothing_at_a_smaller_step(drawn: Any, beta: float, multiplier: float) -> None:
    """Y-REG: the gradient is s times that of label smoothing by α, for the released settings of four networks."""
    z, _, y = drawn
    released = make_loss(VirtualTeacher(20, beta, multiplier=multiplier, **RELEASED), K)
    alpha, s = virtual_teacher.released_smoothing(K, 20, beta, multiplier)
    smoothed = make_loss(Smooth(alpha), K)
    torch.testing.assert_close(gradient(released(z, y, None), z), s * gradient(smoothed(z, y, None), z))


def test_the_presets_differ_by_known_factors(drawn: Any) -> None:
    """KD: as released (mean over N·K, T², multiplier) against S.1; equal once the multiplier is K/T²."""
    z, teacher, y = drawn
    taught = Teacher(UserLogits("x.npy", "0" * 64))
    equations = make_loss(Distill(taught, 20.0, beta=0.9, t2=False), K)
    released = make_loss(Distill(taught, 20.0, beta=0.9, t2=True, reduction="mean", multiplier=K / 400), K)
    torch.testing.assert_close(equations(z, y, teacher), released(z, y, teacher))
    plain = make_loss(Distill(taught, 20.0, beta=0.9, t2=True, reduction="mean"), K)
    soft = equations(z, y, teacher) - 0.1 * F.cross_entropy(z, y)
    torch.testing.assert_close(plain(z, y, teacher) - 0.1 * F.cross_entropy(z, y), soft * 400 / K)


def test_the_presets_of_the_virtual_teacher_differ(drawn: Any) -> None:
    """With both sides softened the gradient is 1/T of the difference of softened distributions: not label smoothing."""
    z, _, y = drawn
    spec = VirtualTeacher(20, 1.0)
    p = F.softmax(virtual_logits(y, K, spec) / 20, dim=1)
    expected = (F.softmax(z / 20, 1) - p) / 20 / B
    torch.testing.assert_close(gradient(make_loss(spec, K)(z, y, None), z), expected)
    released = gradient(make_loss(VirtualTeacher(20, 1.0, **RELEASED), K)(z, y, None), z)
    q = F.softmax(virtual_logits(y, K, VirtualTeacher(20, 1.0, **RELEASED)) / 20, dim=1)
    torch.testing.assert_close(released, (F.softmax(z, 1) - q) / K / B)


# ---------------------------------------------------------------- Beta smoothing


@pytest.mark.parametrize("by", ["max_probability", "true_class"])
def test_beta_labels_are_those_of_the_arithmetic(drawn: Any, by: Any) -> None:
    _, average, y = drawn
    torch.manual_seed(5)
    found = beta_labels(y, K, BetaSmoothing(3, ranked_by=by), average)
    torch.manual_seed(5)
    uniform = torch.rand(B).numpy()
    ranks = beta_smoothing.ranks(average.numpy(), y.numpy(), by)
    expected = beta_smoothing.targets(beta_smoothing.label_values(uniform, ranks, 3), y.numpy(), K)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


def test_the_most_confident_gets_the_largest_label_even_where_all_probabilities_are_one() -> None:
    y = torch.zeros(8, dtype=torch.long)
    average = torch.zeros(8, K)
    average[:, 0] = torch.tensor([60.0, 40, 90, 50, 70, 80, 45, 55])  # softmax is 1 in fp32 for each
    b = beta_labels(y, K, BetaSmoothing(3, ranked_by="true_class"), average)[:, 0]
    assert torch.equal(b.argsort(), average[:, 0].argsort())
    tied = beta_labels(y, K, BetaSmoothing(3), torch.ones(8, K))[:, 0]
    assert torch.equal(tied, tied.sort().values)  # of equals the earlier ranks lower


def test_random_ranks_have_the_same_mean_and_no_order() -> None:
    torch.manual_seed(0)
    y = torch.zeros(20_000, dtype=torch.long)
    b = beta_labels(y, K, BetaSmoothing(3, ranked_by="random"), None)[:, 0]
    assert b.mean().item() == pytest.approx(0.75, abs=5 / math.sqrt(20_000) * 0.194)  # Beta(3, 1): 3/4, σ 0.194
    assert abs(torch.corrcoef(torch.stack([b, torch.arange(20_000.0)]))[0, 1]) < 5 / math.sqrt(20_000)


def test_the_loss_of_beta_smoothing(drawn: Any) -> None:
    z, average, y = drawn
    spec = BetaSmoothing(3, beta=0.6)
    torch.manual_seed(1)
    loss = make_loss(spec, K)(z, y, average)
    torch.manual_seed(1)
    q = 0.4 * F.one_hot(y, K) + 0.6 * beta_labels(y, K, spec, average)
    torch.testing.assert_close(loss, -(q * F.log_softmax(z, 1)).sum(1).mean())


@pytest.mark.parametrize(
    "spec",
    [
        Smooth(0.15, over="others", log_eps=1e-8),
        BetaSmoothing(3, beta=0.6, log_eps=1e-8),
        Distill(
            Teacher(UserLogits("z.npy", "0" * 64)),
            4.0,
            beta=0.4,
            form="ce",
            student_tempered=False,
            t2=False,
            log_eps=1e-8,
        ),
    ],
    ids=lambda spec: spec.kind,
)
def test_soft_terms_with_the_epsilon_of_the_released_code(drawn: Any, spec: Any) -> None:
    """Z-LOG: −q·log(p + 1e-8) of softmax probabilities, with hard labels' own term as it is; also its gradient."""
    z, teacher, y = drawn
    z = (30 * z.detach()).requires_grad_()  # classes that are ruled out: p far below ε
    torch.manual_seed(1)
    loss = make_loss(spec, K)(z, y, teacher)
    torch.manual_seed(1)
    q, weight = smooth_labels(y, K, 0.15, "others"), 1.0
    if isinstance(spec, BetaSmoothing):
        q, weight = beta_labels(y, K, spec, teacher), 0.6
    elif isinstance(spec, Distill):
        q, weight = F.softmax(teacher / 4, 1), 0.4
    soft = -(q * torch.log(F.softmax(z, 1) + 1e-8)).sum(1).mean()
    expected = weight * soft + (1 - weight) * F.cross_entropy(z, y)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradient(loss, z), gradient(expected, z))
    torch.manual_seed(1)
    plain = make_loss(dataclasses.replace(spec, log_eps=0.0), K)(z, y, teacher)
    assert plain > loss + 0.1


# ---------------------------------------------------------------- the moving average, the entropy


def test_the_loss_of_a_moving_average(drawn: Any) -> None:
    """The student's own temperature stays 1, no T²."""
    z, average, y = drawn
    soft = -(F.softmax(average / 4, 1) * F.log_softmax(z, 1)).sum(1).mean()
    expected = 0.6 * F.cross_entropy(z, y) + 0.4 * soft
    torch.testing.assert_close(make_loss(AverageDistill(4, 0.4), K)(z, y, average), expected)


def test_the_entropy_bonus(drawn: Any) -> None:
    z, _, y = drawn
    p = F.softmax(z, 1)
    expected = F.cross_entropy(z, y) + 0.3 * (p * p.log()).sum(1).mean()
    torch.testing.assert_close(make_loss(EntropyBonus(0.3), K)(z, y, None), expected)


NETWORKS = {
    "mlp": ModelSpec("mlp", (("dropout", 0.3), ("hidden", (16,)))),
    "with batch norm": ModelSpec("resnet18", (("stem", "cifar"),)),
}
KINDS: dict[str, LabelTargets] = {
    "virtual": VirtualTeacher(20, 0.5),
    "beta, own statistics": BetaSmoothing(3, beta=0.6),
    "beta, averaged": BetaSmoothing(3, average=MovingAverage(buffers="averaged"), ranked_by="true_class"),
    "beta, random": BetaSmoothing(3, ranked_by="random"),
    "average": AverageDistill(2, 0.4),
    "entropy": EntropyBonus(0.1),
}


def spec_of(targets: LabelTargets, model: str = "mlp", **recipe: Any) -> RunSpec:
    options = {"batch_size": 32, "steps": 30, "optimiser": Optimiser(lr=0.05, momentum=0.9), "eval_every": 0.5}
    return RunSpec(DIGITS, NETWORKS[model], targets, Recipe(augment=Augment(shift=1), **(options | recipe)))  # type: ignore[arg-type]


def trainer(data: Data, folder: Path, spec: RunSpec, **options: Any) -> Trainer:
    train, val = (ImageSplit(data, split, torch.device("cpu")) for split in ("train", "val"))
    return Trainer(spec, 0, train, val, folder, identity="test", **options)


@pytest.mark.parametrize("buffers", ["batch", "averaged"])
def test_the_average_is_the_closed_form(digits: Data, tmp_path: Path, buffers: Any) -> None:
    """Decay 1/2, 2/3, 3/4, then at most 0.75; the running statistics likewise, or left to the batches it has seen."""
    spec = spec_of(AverageDistill(2, 0.4, MovingAverage(0.75, buffers)), "with batch norm", batch_size=8)
    job = trainer(digits, tmp_path, spec)
    average = job.objective.average
    assert average is not None
    assert average.network.training == (buffers == "batch")
    own, state = average.network.state_dict(), {n: t.clone() for n, t in job.network.state_dict().items()}
    floats = {n for n, _ in job.network.named_parameters()}
    if buffers == "averaged":
        floats = {n for n, t in state.items() if t.is_floating_point()}
    for decay in (1 / 2, 2 / 3, 3 / 4, 3 / 4):
        job._train_step()
        job.step += 1
        now = job.network.state_dict()
        state = {n: decay * state[n] + (1 - decay) * now[n] for n in floats}
    for name in floats:
        torch.testing.assert_close(own[name], state[name], msg=name)
    assert all(not p.requires_grad for p in average.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_resumed_is_bit_identical(digits: Data, tmp_path: Path, kind: str) -> None:
    """Draws, ranks and the average are functions of the step or saved with it."""
    spec = spec_of(KINDS[kind])
    whole = trainer(digits, tmp_path / "whole", spec).run()
    with pytest.raises(Stopped):
        trainer(digits, tmp_path / "cut", spec, should_stop=stop_after(12)).run()
    assert same(trainer(digits, tmp_path / "cut", spec).run(), whole)
    assert whole.history[-1]["val_nll"] < math.log(K)  # it has learned something


def test_an_average_is_no_weight_of_the_network(digits: Data, tmp_path: Path) -> None:
    job = trainer(digits, tmp_path, spec_of(KINDS["average"]))
    trained = {id(p) for group in job.optimiser.param_groups for p in group["params"]}
    assert trained == {id(p) for p in job.network.parameters()}
    assert set(job.run().last) == set(job.network.state_dict())


# ---------------------------------------------------------------- names, costs, what is refused


def test_names_are_told_apart_and_specs_come_back() -> None:
    runs = [spec_of(targets) for targets in KINDS.values()]
    assert len(set(map(run_id, runs))) == len(runs)
    for run in runs:
        assert from_dict(RunSpec, to_dict(run), "x") == run
    assert [run_id(run).split(".", 2)[2].rpartition(".")[0] for run in runs] == [
        "virtual-T20-b0.5", "beta3-b0.6-max", "beta3-b1-true", "beta3-b1-random", "ema-T2-b0.4", "entropy0.1",
    ]  # fmt: skip
    assert run_id(spec_of(VirtualTeacher(20, 0.5, **RELEASED))).startswith("digits.mlp.virtual-T20-b0.5-released.")
    assert BetaSmoothing(3) == BetaSmoothing(3, average=MovingAverage())


def test_an_average_costs_a_forward_pass() -> None:
    """Backward counts two."""
    hard, beta, random = (training_flops(spec_of(t)) for t in (Hard(), KINDS["beta, averaged"], KINDS["beta, random"]))
    assert hard == random
    assert hard is not None
    assert beta == pytest.approx(4 / 3 * hard)


@pytest.mark.parametrize(
    ("targets", "named"),
    [
        ({"kind": "beta_smoothing", "a": 0}, "targets.a"),
        ({"kind": "beta_smoothing", "a": 3, "beta": 0}, "targets.beta"),
        ({"kind": "beta_smoothing", "a": 3, "log_eps": -1}, "targets.log_eps"),
        ({"kind": "smooth", "alpha": 0, "log_eps": 1e-8}, "targets.log_eps"),
        ({"kind": "beta_smoothing", "a": 3, "ranked_by": "random", "average": {}}, "targets.average"),
        ({"kind": "beta_smoothing", "a": 3, "average": {"decay": 1}}, "targets.average.decay"),
        ({"kind": "virtual_teacher", "temperature": 0, "beta": 0.1}, "targets.temperature"),
        ({"kind": "virtual_teacher", "temperature": 2, "beta": 0.1, "correct": 1}, "targets.correct"),
        ({"kind": "virtual_teacher", "temperature": 2, "beta": 0.1, "form": "kl"}, "form"),
        ({"kind": "ema_distill", "temperature": 2, "beta": 2}, "targets.beta"),
        ({"kind": "entropy_bonus", "weight": 0}, "targets.weight"),
    ],
)
def test_bad_targets_are_refused(targets: dict[str, Any], named: str) -> None:
    with refused(SpecError, named):
        from_dict(RunSpec, to_dict(spec_of(Hard())) | {"targets": targets}, "grid.yaml: run")


def test_ranks_are_of_whole_batches() -> None:
    with refused(SpecError, "recipe.micro_batch", "beta_smoothing"):
        dataclasses.replace(
            spec_of(BetaSmoothing(3)), recipe=dataclasses.replace(spec_of(Hard()).recipe, micro_batch=8)
        )


def test_a_mask_of_minus_infinity_stays_as_it_is() -> None:
    """A network of the user's own may have one: −∞ − −∞ is no number."""

    class Masked(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = torch.nn.Linear(4, 4)
            self.register_buffer("mask", torch.full((4, 4), -torch.inf).triu(1))
            self.register_buffer("seen", torch.zeros(4))

    network = Masked()
    average = Average(MovingAverage(buffers="averaged"), network, Precision())
    network.seen.fill_(1.0)
    average.update(network, 1)
    assert torch.equal(average.network.mask, network.mask)
    assert torch.equal(average.network.seen, torch.full((4,), 0.5))
