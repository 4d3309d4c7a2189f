"""The published recipes for images: each takes optimiser steps on images of the right shape, and its rates are the
paper's. (Those for text: tests/translation/test_translation_recipes.py.)"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import pack_noise

from softlabels.cache import CachedLogits, write_cache
from softlabels.data.load import Data
from softlabels.grid.declared.datasets import info, sizes
from softlabels.grid.expand import load_plan
from softlabels.grid.spec import Distill, RunSpec, is_solved, teacher_of
from softlabels.models import build
from softlabels.training.augment import view_shape
from softlabels.training.images import ImageSplit, evaluate, open_split
from softlabels.training.optim import make_optimiser, rate_factor, set_rate
from softlabels.training.trainer import Trainer

ROOT = Path(__file__).parents[1]
PLAN = load_plan({"scale": "paper", "papers": ["muller2019", "ablations"], "variants": True}, ROOT)


def distinct(runs: Iterable[RunSpec]) -> dict[str, RunSpec]:
    """One run for each data set, network, recipe and kind of targets (not for each α, T and teacher)."""
    found: dict[tuple[object, ...], RunSpec] = {}
    for run in runs:
        matched = getattr(run.targets, "gradient_norm", "free") == "matched"
        kind = (run.targets.kind if teacher_of(run) else "labels") + "-matched" * matched
        found.setdefault((run.dataset, run.model, run.recipe, kind), run)
    return {f"{i}-{run.dataset.name}-{run.model.name}-{key[3]}": run for i, (key, run) in enumerate(found.items())}


RUNS = distinct(run for run in PLAN.runs.values() if isinstance(run, RunSpec))


def images(run: RunSpec, folder: Path, split: str, count: int) -> ImageSplit:
    """Generated images of the shape and classes of a data set."""
    declared = info(run.dataset)
    rng = np.random.default_rng(count)
    folder.mkdir(exist_ok=True)
    if run.dataset.keeps_files:
        pack_noise(folder, split, count)
    else:
        np.save(folder / f"{split}_images.npy", rng.integers(0, 256, (count, *declared.shape), dtype=np.uint8))
    np.save(folder / f"{split}_labels.npy", rng.integers(0, declared.num_classes, count))
    np.save(folder / f"{split}_ids.npy", np.arange(count))
    channels = declared.shape[0]
    manifest = {
        "num_classes": declared.num_classes,
        "shape": declared.shape,
        "mean": declared.mean or [0.5] * channels,
        "std": declared.std or [0.25] * channels,
        "fingerprint": "generated",
        **({"keep": "files"} if run.dataset.keeps_files else {}),
    }
    return open_split(Data(folder, manifest), split, torch.device("cpu"))


@pytest.mark.usefixtures("cpu")
@pytest.mark.parametrize("name", RUNS)
def test_a_recipe_takes_three_steps(name: str, tmp_path: Path) -> None:
    run = RUNS[name]
    batch = 4 if run.recipe.micro_batch else 8
    micro = 2 if run.recipe.micro_batch else None
    cut = dataclasses.replace(run, recipe=dataclasses.replace(run.recipe, batch_size=batch, micro_batch=micro))
    if is_solved(run):  # of logits of a trained teacher; these are noise
        cut = dataclasses.replace(cut, targets=dataclasses.replace(cut.targets, temperature=2.0))  # type: ignore[type-var]
    train, val = (images(run, tmp_path / "data", split, n) for split, n in (("train", 12), ("val", 2)))
    teacher = None
    if teacher_of(run):
        logits = np.random.default_rng(0).normal(size=(12, train.data.num_classes)).astype(np.float32)
        options = {"views": 1, "augment_seed": 5, "augment": run.recipe.augment, "about": {}}
        write_cache(tmp_path / "cache", logits, train, **options)  # type: ignore[arg-type]
        teacher = CachedLogits(tmp_path / "cache", train)
    job = Trainer(cut, 0, train, val, tmp_path / "run", identity=name, teacher=teacher)
    job.steps = published_steps(run)  # the first rates of the whole schedule, warm-up included
    before = job._copy(dict(job.network.named_parameters()))
    losses = []
    for _ in range(3):
        losses.append(job._train_step())
        job.step += 1
    job._check_losses(losses)  # raises unless finite and not diverged
    same = [n for n, p in job.network.named_parameters() if torch.equal(p, before[n])]
    assert same == []
    assert all(torch.isfinite(p).all() for p in job.network.parameters())
    if run.recipe.ema is not None:  # the average follows, slowly
        start, average, end = (
            before["head.weight"],
            job._current_weights()["head.weight"],
            job.network.head.weight.detach(),
        )
        assert 0 < (average - start).norm() < 0.01 * (end - start).norm()
    out = evaluate(job.network, val, run.recipe)
    assert out.shape == (2, info(run.dataset).num_classes)
    assert np.isfinite(out).all()


def published_steps(run: RunSpec) -> int:
    train = sizes(run.dataset)["train"]
    assert train is not None
    return run.recipe.num_steps(train)


# ------------------------------------------------------------ what the paper says


def runs_of(model: str, dataset: str | None = None) -> list[RunSpec]:
    """Those of the paper, which has no Adam."""
    fitting = (r for r in RUNS.values() if r.model.name == model and dataset in (None, r.dataset.name))
    found = [r for r in fitting if r.recipe.optimiser.name == "sgd"]
    assert found
    return found


def factors(run: RunSpec, steps: Iterable[int]) -> list[float]:
    return [rate_factor(run.recipe.schedule, step, published_steps(run)) for step in steps]


def rates(run: RunSpec, factor: float = 1.0) -> dict[str, tuple[float, float]]:
    """(learning rate, weight decay) of each parameter."""
    network = build(run.model, info(run.dataset).num_classes, view_shape(run.recipe.augment, info(run.dataset).shape))
    optimiser = make_optimiser(network, run.recipe.optimiser)
    set_rate(optimiser, run.recipe.optimiser, factor)
    groups = {id(p): (g["lr"], g["weight_decay"]) for g in optimiser.param_groups for p in g["params"]}
    return {name: groups[id(p)] for name, p in network.named_parameters()}


def test_alexnet() -> None:
    """A.1: 390k steps of 128, rate 0.1 divided by ten at 130k and 260k, cross-entropy times 3."""
    for run in runs_of("alexnet", "cifar10"):
        assert (published_steps(run), run.recipe.batch_size, run.recipe.loss_scale) == (390_000, 128, 3)
        found = factors(run, (0, 129_999, 130_000, 259_999, 260_000, 389_999))
        assert found == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
        decayed = {name for name, (_, decay) in rates(run).items() if decay}
        assert decayed == {"fc1.weight", "fc2.weight"}
        assert all(lr == 0.1 for lr, _ in rates(run).values())
    assert {rates(run)["fc1.weight"][1] for run in runs_of("alexnet")} == {0.004, 0.04}
    assert any(isinstance(run.targets, Distill) for run in runs_of("alexnet"))
    assert any(run.recipe.augment.crop == 24 for run in runs_of("alexnet"))


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_resnet56(dataset: str) -> None:
    """A.2: 64k steps of 128, rate 0.1 divided by ten at 32k and 48k, Nesterov 0.9, decay 1e-4, clipping at 1."""
    for run in runs_of("resnet56", dataset):
        recipe = run.recipe
        assert (published_steps(run), recipe.batch_size, recipe.loss_scale, recipe.clip_norm) == (64_000, 128, 3, 1)
        assert (recipe.optimiser.momentum, recipe.optimiser.nesterov) == (0.9, True)
        found = factors(run, (0, 31_999, 32_000, 47_999, 48_000, 63_999))
        assert found == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
        assert set(rates(run).values()) == {(0.1, 1e-4)}


def test_mnist() -> None:
    """A.5: 100 epochs, linear to 0; rate 1 with dampened momentum 0.9, a tenth of it for the logits."""
    runs = [run for run in RUNS.values() if run.dataset.name == "mnist" and run.model.name != "mlp"]
    assert {run.model.name for run in runs} == {"fc_2x1200", "fc_2x800"}
    assert {run.dataset.holdout for run in runs} == {0.1, 0}
    for run in runs:
        steps = published_steps(run)
        assert steps == round(100 * (54_000 if run.dataset.holdout else 60_000) / 128)
        assert factors(run, (0, steps // 2, steps - 1)) == pytest.approx([1, 0.5, 1 / steps], rel=1e-4)
        found = rates(run, factor=0.5)
        assert {name for name, (lr, _) in found.items() if lr == pytest.approx(0.05)} == {"head.weight", "head.bias"}
        assert {lr for name, (lr, _) in found.items() if not name.startswith("head.")} == {0.5}
        assert {decay for _, decay in found.values()} == {0}
        assert (run.recipe.optimiser.momentum, run.recipe.optimiser.dampening) == (0.9, 0.9)
        shifted = teacher_of(run) is None  # A.5: the students see unshifted images
        assert run.recipe.augment.shift == (2 if shifted else 0)


def test_inception_v4() -> None:
    """A.4: batch 4096, weight decay 8e-5, Nesterov momentum, moving average of the weights."""
    (run,) = runs_of("inception_v4")
    recipe = run.recipe
    assert view_shape(recipe.augment, info(run.dataset).shape) == (3, 299, 299)
    assert (recipe.batch_size, recipe.ema, recipe.optimiser.weight_decay) == (4096, 0.9999, 8e-5)
    assert recipe.optimiser.nesterov
    steps, warm = published_steps(run), round(0.05 * published_steps(run))
    assert factors(run, (0, warm - 1)) == pytest.approx([1 / warm, 1])
    decay = factors(run, range(warm, steps))
    assert decay == sorted(decay, reverse=True)
    per_epoch = steps / 200
    assert factors(run, (warm + round(10.5 * per_epoch),)) == pytest.approx([0.975**10])
