"""The ablation of the step's size, measured and drawn on generated files."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from refusals import refused
from test_figures import RECIPE, TEACHER, artifact, made, member, smooth, spec, write_run

from softlabels.errors import SpecError
from softlabels.figures.drawing import check
from softlabels.figures.source import spread
from softlabels.grid.identity import run_id
from softlabels.grid.parts.recipe import Optimiser
from softlabels.grid.plan import Artifact, Member
from softlabels.grid.spec import Distill, LogitMatch, RunSpec, Teacher
from softlabels.layout import Layout

ADAM = replace(RECIPE, optimiser=Optimiser(0.001, "adam"))
TEACHERS = {a: spec(smooth(a), TEACHER) for a in (0.0, 0.1)}
WAYS = ("SGD", "SGD, norm matched to T = 1", "Adam")
TEMPERATURES = (1.0, 3.0, 64.0)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "demo")


def student(way: str, alpha: float, t: float) -> RunSpec:
    run = spec(Distill(Teacher(TEACHERS[alpha]), t, gradient_norm="matched" if "matched" in way else "free"))
    return replace(run, recipe=ADAM) if way == "Adam" else run


def right(way: str, alpha: float, t: float, seed: int) -> float:
    """Accuracy in percent: a smoothed teacher gives a point, and by SGD alone takes 15, 14, 16 at T = 64."""
    return 80 + 0.5 * seed + (0 if alpha == 0 else -(15, 14, 16)[seed] if (way, t) == ("SGD", 64) else 1)


def grid(layout: Layout, seeds: int = 3, skip: Container[tuple[str, float, float, int]] = ()) -> Artifact:
    members = [member("teachers", run, seeds) for run in TEACHERS.values()]
    members += [member("alone", spec(smooth(a)), seeds) for a in TEACHERS]
    for number, m in enumerate(members):
        for seed in m.seeds:
            write_run(layout, m.run, seed, 0.95 - 0.05 * number)
    for way in WAYS:
        for alpha in TEACHERS:
            for t in TEMPERATURES:
                members.append(member(way, student(way, alpha, t), seeds))
                for seed in range(seeds):
                    if (way, alpha, t, seed) not in skip:
                        write_run(layout, members[-1].run, seed, right(way, alpha, t, seed) / 100)
    return artifact("step_size", members, name="ablations.step_size")


def test_accuracies_and_paired_differences(layout: Layout) -> None:
    rows, plotted, provenance = made(grid(layout), layout)
    assert plotted.groupby("role").size().to_dict() == {"baseline": 2, "student": 3 * 9, "teacher": 2}
    cells = plotted[plotted["role"] == "student"].set_index(["quantity", "stepping", "alpha", "temperature"])
    for way in WAYS:
        for t in TEMPERATURES:
            for alpha in TEACHERS:
                values = [right(way, alpha, t, seed) for seed in range(3)]
                cell = cells.loc["accuracy", way, alpha, t]
                wanted = [sum(values) / 3, min(values), max(values), 3]
                assert [*cell[["mean", "low", "high", "n"]]] == pytest.approx(wanted)
            cell = cells.loc["difference", way, 0.1, t]
            # −15, −14, −16: t(0.975, 2) = 4.302653 times the standard error 1/√3
            wanted = [-15, -15 - 4.302653 / 3**0.5, -15 + 4.302653 / 3**0.5] if (way, t) == ("SGD", 64) else [1, 1, 1]
            assert [*cell[["mean", "low", "high"]]] == pytest.approx(wanted)
    # at T = 1 the matched run is the unmatched one, and stands in both columns
    one, other = (cells.loc["accuracy", way, 0.1, 1.0]["run_id"] for way in WAYS[:2])
    assert one == other == run_id(student("SGD", 0.1, 1))
    assert not rows.duplicated().any()
    assert provenance["missing"] == {}


def test_the_face_says_what_temperature_does_by_each_way(layout: Layout) -> None:
    face = made(grid(layout), layout)[2]["face"]
    assert "n = 3 seeds" in face[0]
    assert face[1].endswith("hard-label teacher: 95.00 %; smoothed teacher, α = 0.1: 90.00 %.")
    changes = dict(zip(WAYS, face[2:5], strict=True))
    assert changes["SGD"] == (
        "SGD, change from T = 1 to 64 in points: hard-label teacher: +0.00 (0.00 to 0.00); smoothed teacher, α = 0.1: "
        "−16.00 (−18.48 to −13.52); smoothed, α = 0.1, minus hard: −16.00 (−18.48 to −13.52)."
    )
    for way in WAYS[1:]:
        assert changes[way].endswith("smoothed, α = 0.1, minus hard: +0.00 (0.00 to 0.00).")


def test_equal_seeds_have_a_mean_between_them() -> None:
    for right in range(400, 540):  # of 539 images; the plain mean of 21 of these lies an ulp outside
        found = spread([100 * right / 539] * 3)
        assert found["min"] <= found["mean"] <= found["max"]


def test_of_two_seeds_there_are_differences_and_no_intervals(layout: Layout) -> None:
    _, plotted, provenance = made(grid(layout, seeds=2), layout)
    differences = plotted[plotted["quantity"] == "difference"]
    assert differences["mean"].notna().all()
    assert differences[["low", "high"]].isna().all(axis=None)
    assert "smoothed, α = 0.1, minus hard: −15.50." in provenance["face"][2]


def test_what_is_missing_is_left_out_of_the_pairs(layout: Layout) -> None:
    hard_hot = {("SGD, norm matched to T = 1", 0.0, 64.0, seed) for seed in range(3)}
    _, plotted, provenance = made(grid(layout, skip={("Adam", 0.1, 3.0, 1), *hard_hot}), layout)
    differences = plotted[plotted["quantity"] == "difference"].set_index(["stepping", "temperature"])
    assert differences.loc[("Adam", 3.0), "n"] == 2
    assert differences.loc[("Adam", 1.0), "n"] == 3
    assert WAYS[1] not in differences.xs(64.0, level="temperature").index
    face = provenance["face"]
    assert any(line.startswith("MISSING") for line in face)
    (matched,) = (line for line in face if line.startswith(WAYS[1]))
    assert "smoothed teacher, α = 0.1: +0.00" in matched
    assert "hard" not in matched


def test_nothing_there_still_draws_and_says_so(layout: Layout) -> None:
    _, plotted, provenance = made(grid(layout), Layout(layout.root.parent / "empty"))
    assert plotted.empty
    assert provenance["face"][-1] == "Nothing to draw yet."


def test_a_grid_that_has_both_draws_two_lines(layout: Layout) -> None:
    found = grid(layout)
    members = [m for m in found.members if m.family != "Adam"]
    plotted = made(artifact("distillation_grid", members, name="own.grid"), layout)[1]
    lines = plotted[plotted["role"] == "student"].groupby("line").size().to_dict()
    named = [f"teacher resnet56, α = {alpha:g}" for alpha in TEACHERS]
    # T = 1 of both is one run, and on the unmatched line
    assert lines == dict.fromkeys(named, 4) | {f"{name}, gradient norm matched": 2 for name in named}


def replaced(layout: Layout, keep: str, *more: RunSpec) -> Artifact:
    """The grid with the students of one way alone, and a family of others."""
    found = grid(layout)
    members = [m for m in found.members if m.family not in WAYS or m.family == keep]
    return replace(found, members=(*members, *(member("more", run) for run in more)))


@pytest.mark.parametrize(
    ("members", "named"),
    [
        ((LogitMatch(Teacher(TEACHERS[0.0]), 0.5),), "more"),
        ((Distill(Teacher(student("SGD", 0.0, 3)), 2.0),), "more"),
        ((Distill(Teacher(TEACHERS[0.0]), 3.0, beta=0.5),), "T = 3.0"),
    ],
)
def test_what_has_no_place_of_its_own_is_refused(layout: Layout, members: tuple[Any, ...], named: str) -> None:
    with refused(SpecError, named):
        check(replaced(layout, "SGD", *(spec(targets) for targets in members)))
    check(replaced(layout, "SGD"))


def test_both_kinds_of_teachers_are_needed(layout: Layout) -> None:
    found = grid(layout)
    hard: list[Member] = [m for m in found.members if "ls" not in run_id(m.run)]
    with refused(SpecError, "step_size"):
        check(replace(found, members=tuple(hard)))
