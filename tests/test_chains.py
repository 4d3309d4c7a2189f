"""Chains of generations, and checkpoints by name: from a grid to runs, and what is refused on the way."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from refusals import refused

from softlabels.errors import SpecError
from softlabels.grid.audit import audit
from softlabels.grid.config import read_yaml
from softlabels.grid.costs import needed_caches
from softlabels.grid.expand import load_plan
from softlabels.grid.identity import run_id
from softlabels.grid.plan import Plan
from softlabels.grid.plan import chain as with_teachers
from softlabels.grid.spec import teacher_of

ROOT = Path(__file__).parents[1]
GRID = """
paper: own
datasets: {digits: {name: digits, train_limit: 300}}
models: {net: {name: mlp, options: {hidden: [24]}}}
checkpoints: {one_epoch: 'step:10'}
recipes:
  brief: {batch_size: 32, steps: 80, optimiser: {lr: 0.1, momentum: 0.9}, milestones: [10, 20]}
families:
  first:
    axes: {alpha: [0, 0.1]}
    run: {dataset: digits, model: net, recipe: brief, targets: {kind: smooth, alpha: $alpha}}
  born_again:
    generations: 10
    axes: {alpha: [0, 0.1]}
    run:
      dataset: digits
      model: net
      recipe: brief
      targets: {kind: distill, temperature: 1, teacher: {family: first, alpha: $alpha, checkpoint: best}}
  of_the_last:
    run:
      dataset: digits
      model: net
      recipe: brief
      targets: {kind: distill, temperature: 2, teacher: {family: born_again, alpha: 0, generation: 10}}
  of_a_poor_one:
    run:
      dataset: digits
      model: net
      recipe: brief
      targets: {kind: distill, temperature: 2, teacher: {family: first, alpha: 0, checkpoint: one_epoch}}
artifacts:
  table:
    title: Generations
    kind: table
    plot: compare_table
    families: [first, born_again, of_the_last, of_a_poor_one]
    seeds: 2
"""
Change = Callable[[dict[str, Any]], Any]


def plan_of(change: Change = lambda grid: None) -> Plan:
    grid = yaml.safe_load(GRID)
    change(grid)
    return load_plan(read_yaml(ROOT / "config.yaml") | {"papers": [], "grid": grid}, ROOT)


def test_each_generation_learns_from_the_one_before() -> None:
    plan = plan_of()
    (artifact,) = plan.artifacts.values()
    chain = {(m.value("generation"), m.value("alpha")): m.run for m in artifact.family("born_again")}
    assert list(chain) == [(g, alpha) for g in range(1, 11) for alpha in (0, 0.1)]
    first = {m.value("alpha"): m.run for m in artifact.family("first")}
    for (g, alpha), run in chain.items():
        teacher = teacher_of(run)
        assert teacher is not None
        assert teacher.run == (first[alpha] if g == 1 else chain[g - 1, alpha])
        assert teacher.checkpoint == "best"  # as the family says of each
        assert len(with_teachers(run, [0])) == g + 1
        assert run_id(run).startswith(
            "digits.mlp.kd-T1-mlp-" + ({0: "hard", 0.1: "ls0.1"}[alpha] if g == 1 else "distill")
        )
        assert len(run_id(run)) < 60
    (last,) = artifact.family("of_the_last")
    taught_by = teacher_of(last.run)
    assert taught_by is not None
    assert taught_by.run == chain[10, 0]
    assert len(plan.runs) == 2 + 20 + 2
    assert audit(plan, Path("nowhere"))["trainings"] == 2 * len(plan.runs)
    # A cache for each network that teaches: ten of α = 0 at best and last, nine and the first of 0.1, the poor one.
    assert len(needed_caches(plan)) == 22


def test_a_shorter_chain_is_a_part_of_a_longer_one() -> None:
    def shorter(grid: dict[str, Any]) -> None:
        grid["families"]["born_again"]["generations"] = 3
        grid["families"]["of_the_last"]["run"]["targets"]["teacher"]["generation"] = 3

    assert {run_id(m.run) for m in plan_of(shorter).artifacts["own.table"].family("born_again")} <= set(plan_of().runs)


def test_a_checkpoint_by_name_is_the_checkpoint() -> None:
    (poor,) = plan_of().artifacts["own.table"].family("of_a_poor_one")
    teacher = teacher_of(poor.run)
    assert teacher is not None
    assert teacher.checkpoint == "step:10"

    def direct(grid: dict[str, Any]) -> None:
        grid["families"]["of_a_poor_one"]["run"]["targets"]["teacher"]["checkpoint"] = "step:10"

    assert plan_of(direct).runs == plan_of().runs


def of(grid: dict[str, Any], family: str) -> dict[str, Any]:
    found: dict[str, Any] = grid["families"][family]
    return found


def teacher(grid: dict[str, Any], family: str) -> dict[str, Any]:
    found: dict[str, Any] = of(grid, family)["run"]["targets"]["teacher"]
    return found


BAD: list[tuple[Change, str]] = [
    (lambda g: of(g, "born_again").update(generations=0), "born_again.generations"),
    (lambda g: of(g, "born_again").update(generations=1.5), "born_again.generations"),
    (lambda g: of(g, "first").update(generations=2), "first.generations"),
    (lambda g: of(g, "born_again")["axes"].update(generation=[1]), "generation"),
    (lambda g: teacher(g, "of_the_last").update(generation=11), "born_again(generation=11)"),
    (lambda g: teacher(g, "of_the_last").pop("generation"), "generation"),
    (lambda g: teacher(g, "of_a_poor_one").update(checkpoint="two"), "two"),
    (lambda g: g["checkpoints"].update(one_epoch="step:11"), "of_a_poor_one.run"),
    (lambda g: g["checkpoints"].update(one_epoch="soon"), "checkpoints.one_epoch"),
    (lambda g: g["checkpoints"].update(last="best"), "checkpoints"),
    (lambda g: (g.pop("checkpoints"), None), "one_epoch"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "named"), BAD, ids=range(len(BAD)))
def test_a_bad_chain_or_checkpoint_is_one_sentence(change: Change, named: str) -> None:
    with refused(SpecError, named) as caught:
        plan_of(change)
    assert str(caught.value).startswith("config.yaml: grid")


# ---------------------------------------------------------------- scales


def scaled(folder: Path, change: Change = lambda grid: None, **scale: Any) -> Plan:
    for name in ("grids", "scales"):
        (folder / "workflow" / name).mkdir(parents=True)
    grid = copy.deepcopy(yaml.safe_load(GRID))
    change(grid)
    (folder / "workflow" / "grids" / "own.yaml").write_text(yaml.safe_dump(grid))
    content = read_yaml(ROOT / "workflow" / "scales" / "paper.yaml") | {"scale": "small", **scale}
    (folder / "workflow" / "scales" / "small.yaml").write_text(yaml.safe_dump(content))
    return load_plan({"scale": "small", "papers": ["own"]}, folder)


def _without_the_last(grid: dict[str, Any]) -> None:
    grid["families"].pop("of_the_last")
    grid["artifacts"]["table"]["families"].remove("of_the_last")


def test_a_scale_keeps_the_first_generations_and_replaces_checkpoints(tmp_path: Path) -> None:
    subsample = {"own": {"born_again": {"generation": [1, 2, 3]}}}
    plan = scaled(
        tmp_path, _without_the_last, subsample=subsample, substitute={"checkpoints": {"one_epoch": "step:20"}}
    )
    (artifact,) = plan.artifacts.values()
    assert [m.value("generation") for m in artifact.family("born_again")] == [1, 1, 2, 2, 3, 3]
    (poor,) = artifact.family("of_a_poor_one")
    assert "small: checkpoint step:20 in place of one_epoch" in artifact.notes
    taught_by = teacher_of(poor.run)
    assert taught_by is not None
    assert taught_by.checkpoint == "step:20"


@pytest.mark.parametrize(
    ("scale", "named"),
    [
        ({"subsample": {"own": {"born_again": {"generation": [1, 3]}}}}, "subsample.own.born_again.generation"),
        ({"substitute": {"checkpoints": {"one_epoc": "step:20"}}}, "one_epoc"),
        ({"substitute": {"checkpoints": {"one_epoch": "step:7"}}}, "step 7"),
    ],
)
def test_bad_scales(tmp_path: Path, scale: dict[str, Any], named: str) -> None:
    with refused(SpecError, named):
        scaled(tmp_path, _without_the_last, **scale)
