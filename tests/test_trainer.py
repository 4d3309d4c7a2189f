"""The trainer: a pure function of (spec, seed, data), resumable, and loud when training fails."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import DIGITS
from refusals import refused

from softlabels.data.load import Data
from softlabels.errors import SoftlabelsError, SpecError, Stopped
from softlabels.grid.parts.recipe import Augment, Optimiser, ParameterGroup, Precision, Recipe, Schedule
from softlabels.grid.spec import Hard, ModelSpec, RunSpec, Smooth
from softlabels.training.images import ImageSplit
from softlabels.training.trainer import Trained, Trainer

RECIPE = Recipe(
    batch_size=32,
    steps=60,
    optimiser=Optimiser(lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3),
    schedule=Schedule("steps", (0.5,), 0.1, warmup=0.1),
    augment=Augment(shift=1),
    clip_norm=1.0,
    ema=0.9,
    eval_every=0.2,
    milestone_every=30,
)
SPEC = RunSpec(DIGITS, ModelSpec("mlp", (("hidden", (32,)), ("dropout", 0.3))), Smooth(0.1), RECIPE)


def trainer(data: Data, folder: Path, spec: RunSpec = SPEC, seed: int = 0, **options: Any) -> Trainer:
    device = torch.device("cpu")
    train, val = ImageSplit(data, "train", device), ImageSplit(data, "val", device)
    return Trainer(spec, seed, train, val, folder, identity="test", **options)


def changed(**recipe: Any) -> RunSpec:
    return dataclasses.replace(SPEC, recipe=dataclasses.replace(RECIPE, **recipe))


def same(a: Trained, b: Trained) -> bool:
    states = [(a.last, b.last), (a.best or {}, b.best or {})]
    return a.history == b.history and all(
        x.keys() == y.keys() and all(torch.equal(x[k], y[k]) for k in x) for x, y in states
    )


def stop_after(calls: int) -> Callable[[], bool]:
    left = iter([False] * calls)
    return lambda: next(left, True)


@pytest.mark.parametrize("adam", [False, True])
@pytest.mark.parametrize("step", [1, 29, 30, 47])
def test_resumed_is_bit_identical(digits: Data, tmp_path: Path, step: int, adam: bool) -> None:
    spec = changed(optimiser=Optimiser(lr=0.01, name="adam")) if adam else SPEC
    whole = trainer(digits, tmp_path / "whole", spec).run()
    with refused(Stopped, f"step {step} of 60"):
        trainer(digits, tmp_path / "cut", spec, should_stop=stop_after(step - 1)).run()
    assert same(trainer(digits, tmp_path / "cut", spec).run(), whole)
    for n in (0, 30, 60):
        name = f"milestones/step{n}.safetensors"
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_resumed_channels_last_is_bit_identical(digits: Data, tmp_path: Path) -> None:
    """Momentum is saved in plain order and must come back in the layout of its convolution."""
    spec = dataclasses.replace(
        changed(precision=Precision("none", True), steps=12, milestone_every=None),
        model=ModelSpec("small_cnn", (("widths", (4, 8)), ("hidden", 8))),
    )
    whole = trainer(digits, tmp_path / "whole", spec).run()
    with pytest.raises(Stopped):
        trainer(digits, tmp_path / "cut", spec, should_stop=stop_after(4)).run()
    assert same(trainer(digits, tmp_path / "cut", spec).run(), whole)


def test_seeds_differ_and_repeat(digits: Data, tmp_path: Path) -> None:
    one, again, other = (trainer(digits, tmp_path / n, seed=s).run() for n, s in (("a", 1), ("b", 1), ("c", 2)))
    assert same(one, again)
    assert not same(one, other)


def test_micro_batches_give_the_gradient_of_the_batch(digits: Data, tmp_path: Path) -> None:
    model = ModelSpec("mlp", (("hidden", (32,)),))  # dropout draws anew in each micro-batch
    whole = trainer(digits, tmp_path / "a", dataclasses.replace(SPEC, model=model)).run().last
    spec = dataclasses.replace(changed(micro_batch=12), model=model)
    parts = trainer(digits, tmp_path / "b", spec).run().last
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], rtol=1e-3, atol=1e-5)


def test_ema_is_the_average_of_the_weights(digits: Data, tmp_path: Path) -> None:
    job = trainer(digits, tmp_path)
    name = "head.weight"
    expected = job.network.state_dict()[name].clone()
    for _ in range(3):
        job._train_step()
        job.step += 1
        expected = 0.9 * expected + 0.1 * job.network.state_dict()[name]
    assert job.ema is not None
    torch.testing.assert_close(job.ema[name], expected)


def test_gradient_smoothing_is_momentum_with_dampening(digits: Data, tmp_path: Path) -> None:
    """Müller A.5: v ← 0.9 v + 0.1 g, and w ← w − lr·v."""
    optimiser = Optimiser(lr=0.5, momentum=0.9, dampening=0.9, groups=(ParameterGroup(r"^head\.", 0.1),))
    spec = changed(optimiser=optimiser, clip_norm=None, ema=None, schedule=Schedule("constant"), augment=Augment())
    job = trainer(digits, tmp_path, spec)
    v: dict[str, torch.Tensor] = {}
    for step in range(3):
        before = {n: p.detach().clone() for n, p in job.network.named_parameters()}
        grads: dict[str, torch.Tensor] = {}
        hooks = [
            p.register_post_accumulate_grad_hook(lambda p, n=n, into=grads: into.__setitem__(n, p.grad.clone()))
            for n, p in job.network.named_parameters()
        ]
        job._train_step()
        job.step += 1
        for hook in hooks:
            hook.remove()
        for name, parameter in job.network.named_parameters():
            v[name] = grads[name] if step == 0 else 0.9 * v[name] + 0.1 * grads[name]
            rate = 0.5 * (0.1 if name.startswith("head.") else 1.0)
            torch.testing.assert_close(parameter.detach(), before[name] - rate * v[name])


def test_adams_epsilon_is_that_of_the_recipe(digits: Data, tmp_path: Path) -> None:
    """With all of ε in the divisor Adam is SGD at the rate lr / ε."""
    one_step: dict[str, Any] = {
        "steps": 1, "clip_norm": None, "ema": None, "schedule": Schedule(), "milestone_every": None,
    }  # fmt: skip
    adam = changed(**one_step, optimiser=Optimiser(lr=100.0, name="adam", eps=1000.0))
    sgd = changed(**one_step, optimiser=Optimiser(lr=0.1))
    ours, theirs = trainer(digits, tmp_path / "a", adam).run(), trainer(digits, tmp_path / "b", sgd).run()
    for name, weight in ours.last.items():
        torch.testing.assert_close(weight, theirs.last[name], rtol=1e-3, atol=1e-6)


def test_best_is_the_later_of_equals(digits: Data, tmp_path: Path) -> None:
    result = trainer(digits, tmp_path).run()
    top = max(row["val_top1"] for row in result.history)
    assert result.best_step == max(row["step"] for row in result.history if row["val_top1"] == top)


@pytest.mark.parametrize(("lr", "loss"), [(1e30, "nan|inf"), (50.0, "[0-9.e+]+")])
def test_divergence_is_an_error_with_step_and_seed(digits: Data, tmp_path: Path, lr: float, loss: str) -> None:
    spec = changed(optimiser=Optimiser(lr=lr), clip_norm=None, schedule=Schedule("constant"), ema=None)
    spec = dataclasses.replace(spec, targets=Hard(), model=ModelSpec("mlp", (("hidden", (32, 32)),)))
    with refused(SoftlabelsError, "seed 3", "recipe.optimiser.lr", varies=r"is \S+ at step \d+") as error:
        trainer(digits, tmp_path, spec, seed=3).run()
    assert not (tmp_path / "run.json").exists()
    assert re.search(rf"\b({loss}) at step \d+", str(error.value))


def test_checkpoint_of_another_spec_is_refused(digits: Data, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        trainer(digits, tmp_path, should_stop=stop_after(3)).run()
    with refused(SoftlabelsError, "checkpoint.safetensors", "test seed 0", "test seed 1"):
        trainer(digits, tmp_path, seed=1).run()


def test_pickle_in_place_of_a_checkpoint_is_refused(digits: Data, tmp_path: Path) -> None:
    torch.save({"step": 1}, tmp_path / "checkpoint.safetensors")
    with refused(SoftlabelsError, "checkpoint.safetensors", varies=r"\(.*\)"):
        trainer(digits, tmp_path).run()


def test_options_without_effect_are_refused(digits: Data, tmp_path: Path) -> None:
    with refused(SpecError, "nothing"):
        trainer(digits, tmp_path, changed(optimiser=Optimiser(lr=0.1, groups=(ParameterGroup("nothing"),))))
    with refused(SpecError, "milestones", "step 90"):
        trainer(digits, tmp_path, changed(milestones=(90,)))


def test_bf16_autocast_is_used_where_declared(digits: Data, tmp_path: Path) -> None:
    """Losses agree to bf16 rounding and are not the fp32 ones."""
    fp32 = trainer(digits, tmp_path / "a").run().history
    bf16 = trainer(digits, tmp_path / "b", changed(precision=Precision("bf16", True))).run().history
    assert bf16[0]["train_loss"] == pytest.approx(fp32[0]["train_loss"], rel=0.02)
    assert bf16[0]["train_loss"] != fp32[0]["train_loss"]
