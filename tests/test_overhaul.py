"""Distillation of features (Heo et al. 2019): closed forms, stages, gradients, and a real training that is killed."""

from __future__ import annotations

import dataclasses
import math
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import DIGITS
from refusals import refused
from scipy.integrate import quad
from scipy.stats import norm
from torch import Tensor, nn

from softlabels.cache import OnlineTeacher, TeacherNetwork
from softlabels.cli import main
from softlabels.data.load import Data
from softlabels.data.prepare import prepare
from softlabels.errors import SpecError, Stopped
from softlabels.files import read_json
from softlabels.grid.costs import training_flops
from softlabels.grid.files import write_plan
from softlabels.grid.identity import dataset_id, needed_cache, run_id
from softlabels.grid.parts.feature_distillation import Overhaul
from softlabels.grid.parts.recipe import Augment, Optimiser, Precision, Recipe
from softlabels.grid.plan import Artifact, Member, Plan
from softlabels.grid.spec import Distill, Hard, ModelSpec, RunSpec, Teacher, UserLogits, run_from, to_dict
from softlabels.grid.tasks.image import ImageTask
from softlabels.grid.zoo import stage_shapes
from softlabels.layout import Layout
from softlabels.losses import make_loss
from softlabels.metrics.rows import key_columns
from softlabels.models import build
from softlabels.training.augment import normalise
from softlabels.training.feature_distillation import margins, partial_distance, recorded, stages
from softlabels.training.images import BatchIndex, ImageSplit
from softlabels.training.trainer import Trainer

RECIPE = Recipe(
    batch_size=32,
    steps=400,
    optimiser=Optimiser(lr=0.02, momentum=0.9, nesterov=True, weight_decay=1e-4),
    augment=Augment(shift=1),
    clip_norm=5.0,
    ema=0.9,
    eval_every=0.25,
)
BIG = ModelSpec("small_cnn", (("hidden", 16), ("widths", (6, 12))))
SMALL = ModelSpec("small_cnn", (("hidden", 8), ("widths", (4, 5))))
TEACHER = RunSpec(DIGITS, BIG, Hard(), dataclasses.replace(RECIPE, steps=60))
TARGETS = Distill(Teacher(TEACHER), 2.0, beta=0.5, features=Overhaul(1e-3))
STUDENT = RunSpec(DIGITS, SMALL, TARGETS, RECIPE)


# ---------------------------------------------------------------- closed forms


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.7, 0.5), (-1.3, 0.2), (2.0, -0.8), (-0.1, 3.0), (3.0, 1.0)])
def test_the_margin_is_the_mean_of_what_is_negative(mean: float, std: float) -> None:
    layer = nn.BatchNorm2d(1)
    layer.weight.data.fill_(std)
    layer.bias.data.fill_(mean)
    density = norm(mean, abs(std)).pdf
    low = mean - 40 * abs(std)
    expected = quad(lambda x: x * density(x), low, 0, points=[min(mean, 0)])[0] / quad(density, low, 0)[0]
    assert margins(layer).item() == pytest.approx(expected, rel=1e-5)


def test_the_margin_of_a_channel_that_is_hardly_ever_negative_is_three_deviations() -> None:
    layer = nn.BatchNorm2d(3)
    layer.weight.data = torch.tensor([1.0, -1.0, 0.0])
    layer.bias.data = torch.tensor([3.1, 3.08, 1.0])  # P(x < 0) is 0.00097, 0.00103 and 0
    fallback, expected, constant = margins(layer).tolist()
    assert fallback == pytest.approx(-3)
    assert -0.4 < expected < -0.2
    assert constant == pytest.approx(0, abs=1e-6)


def test_the_partial_distance_leaves_alone_what_the_relu_stops() -> None:
    teacher = torch.tensor([-5.0, -5.0, -0.5, -0.5, 2.0, 2.0]).view(1, 6, 1, 1)
    student = torch.tensor([-7.0, 0.5, -0.6, -0.4, 1.0, 3.0]).view(1, 6, 1, 1)
    margin = torch.full((6,), -1.0)
    by_hand = 0 + 1.5**2 + 0 + 0.1**2 + 1 + 1
    assert partial_distance(student, teacher, margin).item() == pytest.approx(by_hand)
    twice = [torch.cat([x, x]) for x in (student, teacher)]
    assert partial_distance(*twice, margin).item() == pytest.approx(by_hand)  # mean over the batch


def test_the_distance_has_a_gradient_only_where_it_counts() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(3, 4, 5, 5, generator=generator) for _ in range(2))
    margin = torch.tensor([-0.3, -0.6, -0.9, -1.2])
    student.requires_grad_()
    partial_distance(student, teacher, margin).backward()
    target = torch.maximum(teacher, margin.view(1, 4, 1, 1))
    expected = torch.where((student <= target) & (target <= 0), 0.0, 2 * (student - target) / 3)
    assert student.grad is not None
    torch.testing.assert_close(student.grad, expected.detach())


# ---------------------------------------------------------------- stages

STAGED: list[tuple[ModelSpec, tuple[int, int, int]]] = [
    (ModelSpec("small_cnn", (("widths", (3, 5, 7)),)), (1, 16, 16)),
    (ModelSpec("small_cnn"), (3, 9, 11)),
    (ModelSpec("resnet18"), (3, 72, 56)),
    (ModelSpec("resnet18", (("stem", "cifar"),)), (3, 12, 12)),
    (ModelSpec("resnet50"), (3, 40, 40)),
]


@pytest.mark.parametrize(("model", "shape"), STAGED)
def test_stages_end_before_a_relu_and_change_no_number(model: ModelSpec, shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    network: Any = build(model, 4, shape)
    x = torch.randn(2, *shape)
    before = network(x)
    ends: list[Tensor] = []
    places = (
        [layer for layer in network.convolutions if isinstance(layer, nn.ReLU)]
        if model.name == "small_cnn"
        else [getattr(network.body, f"layer{n}") for n in (1, 2, 3, 4)]
    )
    for place in places:
        place.register_forward_hook(lambda module, entering, left: ends.append(left.detach().clone()))
    found = stages(network, model.name)
    with recorded(found) as features:
        after = network(x)
    assert torch.equal(after, before)
    assert tuple(tuple(f.shape[1:]) for f in features) == stage_shapes(model, shape)
    for feature, end, stage in zip(features, ends, found, strict=True):
        assert (feature < 0).any()
        assert torch.equal(feature.relu(), end)
        assert stage.norm.num_features == feature.shape[1]
    network(x)
    assert torch.equal(features[0].relu(), ends[0])  # outside the block nothing is recorded


def test_networks_without_declared_stages_are_refused() -> None:
    for student, teacher, name in ((ModelSpec("mlp"), BIG, "mlp"), (SMALL, ModelSpec("my.nets:Net"), "my.nets:Net")):
        taught = dataclasses.replace(TEACHER, model=teacher)
        run = dataclasses.replace(STUDENT, model=student, targets=dataclasses.replace(TARGETS, teacher=Teacher(taught)))
        with refused(SpecError, name, "resnet18"):
            ImageTask(run).require_compatible()
    with refused(SpecError, "targets.features", "mlp"):
        stages(build(ModelSpec("mlp"), 4, (1, 8, 8)), "mlp")


def test_maps_of_other_sizes_are_refused() -> None:
    deeper = dataclasses.replace(STUDENT, model=ModelSpec("small_cnn", (("widths", (4, 4, 4)),)))
    with refused(SpecError, "8×8, 4×4, 2×2"):
        ImageTask(deeper).require_compatible()
    ImageTask(STUDENT).require_compatible()


# ---------------------------------------------------------------- the spec


def test_the_teacher_of_features_runs_online() -> None:
    assert needed_cache(STUDENT) is None
    explicit = dataclasses.replace(STUDENT, targets=dataclasses.replace(TARGETS, cache="online"))
    assert run_id(explicit) == run_id(STUDENT)
    assert ".small_cnn.oh-T2-b0.5-small_cnn-hard." in run_id(STUDENT)
    with refused(SpecError, "cache: online"):
        dataclasses.replace(TARGETS, cache="dense")
    still = dataclasses.replace(RECIPE, augment=Augment())
    own = dataclasses.replace(TARGETS, teacher=Teacher(UserLogits("z.npy", "ab" * 32)))
    with refused(SpecError, "augment"):
        dataclasses.replace(STUDENT, targets=own, recipe=still)
    with refused(SpecError, "features.weight"):
        Overhaul(0.0)
    assert run_from(to_dict(STUDENT), "here") == STUDENT


def test_plain_students_keep_their_names_and_every_field_counts() -> None:
    plain = dataclasses.replace(TARGETS, features=None)
    assert "features" not in to_dict(plain)
    runs = [TARGETS, plain] + [
        dataclasses.replace(TARGETS, features=f) for f in (Overhaul(1e-4), Overhaul(1e-3, "eval"))
    ]
    assert len({run_id(dataclasses.replace(STUDENT, targets=targets)) for targets in runs}) == 4


def test_costs_count_the_teacher_and_the_connectors() -> None:
    own, teacher = ImageTask(STUDENT).forward_flops(), ImageTask(STUDENT).forward_flops(BIG)
    assert own is not None
    assert teacher is not None
    connectors = 2 * (4 * 6 * 64 + 5 * 12 * 16)
    assert training_flops(STUDENT) == 400 * 32 * (3 * (own + connectors) + teacher)


def test_rows_are_called_as_in_print() -> None:
    artifact = Artifact("chandrasegaran2022.tableB5", "", "table", "compare_table", (), (), {}, ())
    member = Member("students", (), STUDENT, (0,), (("dataset", "d"), ("student", "s"), ("teacher", "t")))
    row = key_columns(artifact, member, run_id(STUDENT), "demo")
    found = [row[c] for c in ("method", "teacher_alpha", "student_alpha", "kd_temperature", "kd_beta")]
    assert found == ["overhaul_kd", "0.0", "", "2", "0.5"]


# ---------------------------------------------------------------- training


def parts(data: Data) -> tuple[ImageSplit, ImageSplit]:
    return ImageSplit(data, "train", torch.device("cpu")), ImageSplit(data, "val", torch.device("cpu"))


def beside(train: ImageSplit) -> OnlineTeacher:
    """A teacher whose running statistics are not those of a batch."""
    torch.manual_seed(5)
    network: Any = build(BIG, 10, (1, 8, 8))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias)
            nn.init.normal_(module.weight, mean=1.0)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return OnlineTeacher(TeacherNetwork(network, "none", Precision()), train, 0, 99)


def trainer(data: Data, folder: Path, spec: RunSpec = STUDENT, **options: Any) -> Trainer:
    train, val = parts(data)
    return Trainer(spec, 0, train, val, folder, identity="test", teacher=beside(train), **options)


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_the_loss_is_that_of_the_task_and_the_layers_weights_double(digits: Data, tmp_path: Path, mode: str) -> None:
    targets = dataclasses.replace(TARGETS, features=Overhaul(0.01, mode))  # type: ignore[arg-type]
    job = trainer(digits, tmp_path, dataclasses.replace(STUDENT, targets=targets))
    where = torch.arange(40)
    images = job.train_set.view(where, torch.zeros_like(where), 0, RECIPE.augment)
    loss = job._loss(BatchIndex(where, None, torch.zeros_like(where)), images)
    # Again by hand: two networks, layer by layer.
    ours: Any = job.network
    theirs: Any = beside(job.train_set).network
    for module in theirs.modules():
        module.train(isinstance(module, nn.BatchNorm2d) and mode == "train")
    distance = torch.zeros(())
    x, t = (normalise(images, how, digits.mean, digits.std) for how in (RECIPE.normalise, "none"))
    features_term = job.objective.features
    assert features_term is not None
    a, b = x, t
    for number, weight in ((0, 0.5), (1, 1.0)):
        conv, bn, relu, pool = (ours.convolutions[4 * number + i] for i in range(4))
        conv2, bn2, *_ = (theirs.convolutions[4 * number + i] for i in range(4))
        a, b = bn(conv(a)), bn2(conv2(b))
        distance = distance + weight * partial_distance(features_term.connectors[number](a), b, margins(bn2))
        a, b = pool(relu(a)), pool(relu(b))
    z, zt = ours(x), theirs(t)
    task = make_loss(dataclasses.replace(targets, features=None), 10)(z, job.train_set.labels[where], zt)
    torch.testing.assert_close(loss, task + 0.01 * distance, rtol=1e-4, atol=1e-5)


def test_student_and_connectors_learn_and_the_teacher_stays(digits: Data, tmp_path: Path) -> None:
    job = trainer(digits, tmp_path)
    assert isinstance(job.teacher, OnlineTeacher)
    teacher = job.teacher.network
    before = {n: t.clone() for n, t in teacher.state_dict().items() if not n.endswith("num_batches_tracked")}
    owned = {n: p.detach().clone() for n, p in job.objective.named_parameters()}
    weights = {n: p.detach().clone() for n, p in job.network.named_parameters()}
    assert len(owned) == 2 * 3  # of each connector: convolution, γ, β
    job._train_step()
    assert all(p.grad is None for p in teacher.parameters())
    assert all(torch.equal(t, teacher.state_dict()[n]) for n, t in before.items())
    assert not any(torch.equal(p, owned[n]) for n, p in job.objective.named_parameters())
    assert not any(torch.equal(p, weights[n]) for n, p in job.network.named_parameters())


def test_connectors_are_clipped_with_the_network(digits: Data, tmp_path: Path) -> None:
    """With all of the gradient's norm taken away nothing moves."""
    recipe = dataclasses.replace(RECIPE, clip_norm=1e-9, optimiser=Optimiser(lr=0.1))
    job = trainer(digits, tmp_path, dataclasses.replace(STUDENT, recipe=recipe))
    before = [p.detach().clone() for p in (*job.network.parameters(), *job.objective.parameters())]
    job._train_step()
    for old, new in zip(before, (*job.network.parameters(), *job.objective.parameters()), strict=True):
        torch.testing.assert_close(new.detach(), old, rtol=0, atol=1e-9)


def test_a_student_begins_like_any_other_and_leaves_its_connectors_behind(digits: Data, tmp_path: Path) -> None:
    short = dataclasses.replace(STUDENT, recipe=dataclasses.replace(RECIPE, steps=3))
    plain = dataclasses.replace(short, targets=dataclasses.replace(TARGETS, features=None, cache="online"))
    with_features, without = trainer(digits, tmp_path / "a", short), trainer(digits, tmp_path / "b", plain)
    first, other = with_features.network.state_dict(), without.network.state_dict()
    assert all(torch.equal(first[n], other[n]) for n in other)
    done = with_features.run()
    assert done.last.keys() == other.keys()
    assert list(without.objective.state_dict()) == []


@pytest.mark.parametrize("step", [1, 7])
def test_resumed_is_bit_identical(digits: Data, tmp_path: Path, step: int) -> None:
    spec = dataclasses.replace(STUDENT, recipe=dataclasses.replace(RECIPE, steps=12, micro_batch=20))
    whole = trainer(digits, tmp_path / "whole", spec)
    done = whole.run()
    left = iter([False] * (step - 1))
    with pytest.raises(Stopped):
        trainer(digits, tmp_path / "cut", spec, should_stop=lambda: next(left, True)).run()
    cut = trainer(digits, tmp_path / "cut", spec)
    again = cut.run()
    assert again.history == done.history
    ours, theirs = ({**t.last, **j.objective.state_dict()} for t, j in ((again, cut), (done, whole)))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_bf16_layers_have_an_fp32_term(digits: Data, tmp_path: Path) -> None:
    precise = trainer(digits, tmp_path / "a")
    rough = dataclasses.replace(STUDENT, recipe=dataclasses.replace(RECIPE, precision=Precision("bf16", True)))
    ours, theirs = precise._train_step(), trainer(digits, tmp_path / "b", rough)._train_step()
    assert theirs.dtype == torch.float32
    assert ours.item() == pytest.approx(theirs.item(), rel=0.03)


# ---------------------------------------------------------------- killed

TEACHER_ID, STUDENT_ID = run_id(TEACHER), run_id(STUDENT)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Data, specs and a trained teacher."""
    layout = Layout(tmp_path / "results" / "demo")
    runs = {TEACHER_ID: TEACHER, STUDENT_ID: STUDENT}
    plan = Plan("demo", {}, runs, dict.fromkeys(runs, (0,)), flops_per_second=1e9)
    write_plan(plan, layout.root / "specs")
    prepare(DIGITS, layout.data(dataset_id(DIGITS)))
    assert main(["train", str(layout.run(TEACHER_ID, 0) / "run.json"), "--device", "cpu"]) == 0
    return layout


def test_killed_and_resumed_the_results_are_bit_identical(layout: Layout) -> None:
    """`kill -9` of the real command, four times; what the store keeps is that of a training left in peace."""
    folder, output = layout.store(STUDENT_ID, 0), str(layout.run(STUDENT_ID, 0) / "run.json")
    command = [sys.executable, "-c", "import sys; from softlabels.cli import main; sys.exit(main())"]
    command += ["train", output, "--device", "cpu", "--checkpoint-seconds", "0.05"]
    for kill in range(4):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        before = (folder / "checkpoint.safetensors").stat().st_mtime_ns if kill else 0
        limit = time.monotonic() + 120
        while time.monotonic() < limit:
            assert process.poll() is None, process.communicate()[1]
            path = folder / "checkpoint.safetensors"
            if path.exists() and path.stat().st_mtime_ns > before:
                break
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL
        assert process.stderr is not None
        process.stderr.close()
    subprocess.run(command, check=True, capture_output=True)
    names = ("weights.safetensors", "logits.safetensors", "history.csv")
    killed = {name: (folder / name).read_bytes() for name in names}
    record = read_json(folder / "run.json")
    assert len(record["attempts"]) == 5
    for path in (folder, layout.run(STUDENT_ID, 0)):
        for file in path.iterdir():
            file.unlink()
    assert main(["train", output, "--device", "cpu", "--checkpoint-seconds", "3600"]) == 0
    assert killed == {name: (folder / name).read_bytes() for name in names}
    history = np.genfromtxt(folder / "history.csv", delimiter=",", names=True)
    assert history["val_top1"][-1] > 50
    assert math.isfinite(history["train_loss"][-1])
