"""The scale `tour` of `make demo`, and what scales say by `base` and `only`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from refusals import refused

from softlabels.errors import SpecError
from softlabels.grid.config import read_yaml
from softlabels.grid.expand import load_plan
from softlabels.grid.files import artifact_dict
from softlabels.grid.parts.probes import Translations
from softlabels.grid.plan import Plan
from softlabels.papers.claims import all_claims
from softlabels.papers.numbers import Numbers

ROOT = Path(__file__).parents[1]
TOUR = read_yaml(ROOT / "workflow" / "scales" / "tour.yaml")
DECIDED = {
    *("M03", "M04", "M10", "M11", "M12", "M13", "M14", "M15", "C15", "C26", "C27", "C28", "C31", "Y08", "Y13"),
    *("Z01", "Z02", "Z03", "Z05", "Z06", "Z07", "Z08", "Z23"),
}
"""Claims that the tour is meant to decide; those that are identities need no run."""


def plan_of(scale: str, **changes: Any) -> Plan:
    return load_plan(read_yaml(ROOT / "config.yaml") | {"scale": scale} | changes, ROOT)


@pytest.fixture(scope="module")
def tour() -> Plan:
    return plan_of("tour")


# ---------------------------------------------------------------- the tour


def test_it_plans_its_artifacts_alone(tour: Plan) -> None:
    assert set(tour.artifacts) == set(TOUR["only"])
    papers = [name.split(".")[0] for name in tour.artifacts]
    asked = {paper: papers.count(paper) for paper in papers}
    assert asked.pop("ablations") == 1
    assert set(asked) == {"muller2019", "chandrasegaran2022", "yuan2020", "zhang2020"}
    assert set(asked.values()) <= {2, 3}
    assert {run.task for run in tour.runs.values()} == {"image", "translation"}
    assert set(plan_of("tour", variants=True).artifacts) == set(tour.artifacts)


def test_its_runs_are_those_of_the_demo(tour: Plan) -> None:
    assert tour.runs.items() <= plan_of("demo", subsample=False).runs.items()
    assert len(tour.runs) < len(plan_of("demo").runs) / 4


def test_it_says_what_it_replaces_and_leaves_out(tour: Plan) -> None:
    for artifact in tour.artifacts.values():
        assert any("stands in for" in note for note in artifact.notes)
        assert all(note.startswith("tour: ") for note in artifact.notes)
    assert not any("generation of" in note for note in tour.artifacts["zhang2020.fig1"].notes)  # all ten are there
    assert any(note.startswith("tour: T of temperatures subsampled") for note in tour.artifacts["zhang2020.fig2"].notes)


def test_the_claims_that_it_is_meant_to_decide_can_be_decided(tour: Plan) -> None:
    """Each is about artifacts of the tour alone, of three seeds, images of five; none needs the papers' own data."""
    claims = {claim.id: claim for claim in all_claims()}
    found = set()
    for claim in claims.values():
        compared = [one for test in claim.tests(Numbers(claim.paper)) for one in test.comparisons]
        values = [value for one in compared for value in one.values]
        about = {f"{claim.paper}.{selected['artifact']}" for value in values for selected in value.selected}
        if about and about <= set(tour.artifacts) and not any(one.own_data for one in compared):
            found.add(claim.id)
    assert found == DECIDED
    for artifact in tour.artifacts.values():
        for member in artifact.members:  # one bird network of each kind teaches all students (C-TEACHER)
            few = 1 if member.family in ("cub_hard", "cub_smooth") else 3 if member.run.task == "translation" else 5
            assert len(member.seeds) >= few


def test_every_value_that_those_claims_name_is_there(tour: Plan) -> None:
    generations = tour.artifacts["zhang2020.fig1"].family("generations")
    assert [m.value("generation") for m in generations] == list(range(1, 11))
    temperatures = [m.value("T") for m in tour.artifacts["zhang2020.fig2"].family("temperatures")]
    assert 1 in temperatures
    assert 2.5 in temperatures
    assert len([t for t in temperatures if t > 2.5]) > 1  # between which diversity can level off
    decoded = {p.temperature for _, p in tour.artifacts["muller2019.fig4"].probes if isinstance(p, Translations)}
    assert min(decoded) < 1 < max(decoded)
    assert 1 in decoded


# ---------------------------------------------------------------- scales that build on others


@pytest.fixture
def scales(tmp_path: Path) -> Callable[..., Plan]:
    """The plan of the first of some scales, which are files beside the demo's."""
    (tmp_path / "workflow" / "scales").mkdir(parents=True)
    for folder in ("grids", "scales/demo.yaml"):
        (tmp_path / "workflow" / folder).symlink_to(ROOT / "workflow" / folder)

    def plan(**files: dict[str, Any]) -> Plan:
        for name, content in files.items():
            path = tmp_path / "workflow" / "scales" / f"{name}.yaml"
            path.write_text(yaml.safe_dump({"scale": name} | content))
        return load_plan({"scale": next(iter(files))}, tmp_path)

    return plan


def as_named(plan: Plan, scale: str) -> list[Any]:
    """The artifacts of a plan, as if the scale had this name."""
    told = [artifact_dict(artifact) for artifact in plan.artifacts.values()]
    return [{**one, "notes": [note.replace(f"{plan.scale}: ", f"{scale}: ") for note in one["notes"]]} for one in told]


def test_a_scale_that_begins_as_another_is_that_one(scales: Callable[..., Plan]) -> None:
    demo = plan_of("demo")
    for same in (scales(same={"base": "demo"}), scales(same={"base": "between"}, between={"base": "demo"})):
        assert same.scale == "same"
        assert (same.runs, same.seeds, same.flops_per_second) == (demo.runs, demo.seeds, demo.flops_per_second)
        assert as_named(same, "demo") == as_named(demo, "demo")


def test_what_it_says_replaces_what_its_base_says_under_that_name(scales: Callable[..., Plan]) -> None:
    demo = plan_of("demo")
    plan = scales(
        more={
            "base": "demo",
            "substitute": {"models": {"alexnet": {"name": "mlp", "options": {"hidden": [8]}}}},
            "subsample": {"muller2019": {"teachers": {}, "students_of_hard": {"T": [1]}}},
            "artifacts": {"muller2019.fig1": {"seeds": 2}},
        }
    )
    fig5 = {family: plan.artifacts["muller2019.fig5"].family(family) for family in ("teachers", "students_of_hard")}
    assert [m.value("alpha") for m in fig5["teachers"]] == [0, 0.15, 0.3, 0.45, 0.6, 0.75]
    assert [m.value("T") for m in fig5["students_of_hard"]] == [1]
    assert dict(fig5["students_of_hard"][0].run.model.options) == {"hidden": (8,)}
    notes = plan.artifacts["muller2019.fig5"].notes
    assert "more: T of students of hard subsampled to 1" in notes
    assert not any("alpha of teachers" in note for note in notes)
    one, other = plan.artifacts["muller2019.fig1"], demo.artifacts["muller2019.fig1"]
    assert {len(m.seeds) for m in one.members} == {2}
    assert (one.probes, one.options) == (other.probes, other.options)
    assert plan.artifacts["yuan2020.table4"].members == demo.artifacts["yuan2020.table4"].members


def test_only_names_variants_too_and_leaves_ones_own_grid(scales: Callable[..., Plan], tmp_path: Path) -> None:
    only = ["muller2019.fig5_adam", "muller2019.fig5"]
    plan = scales(few={"base": "demo", "only": only})
    assert set(plan.artifacts) == set(only)
    own = {
        "paper": "own",
        "datasets": {"d": {"name": "digits"}},
        "models": {"m": {"name": "mlp"}},
        "recipes": {"r": {"batch_size": 64, "steps": 2, "optimiser": {"lr": 0.1}}},
        "families": {"f": {"run": {"dataset": "d", "model": "m", "recipe": "r", "targets": {"kind": "hard"}}}},
        "artifacts": {
            "mine": {"title": "Mine", "kind": "table", "plot": "compare_table", "families": ["f"], "seeds": 1}
        },
    }
    assert set(load_plan({"scale": "few", "grid": own}, tmp_path).artifacts) == {*only, "own.mine"}


BAD = [
    ({"a": {"base": "dmo"}}, "a.yaml: base", "dmo"),
    ({"a": {"base": "b"}, "b": {"base": "a"}}, "b.yaml: base", "a.yaml"),
    ({"a": {"base": "a"}}, "a.yaml: base", "a.yaml"),
    ({"a": {"base": "demo", "only": ["muller2019.fig55"]}}, "a.yaml", "muller2019.fig55"),
    ({"a": {"base": "demo", "only": []}}, "a.yaml", "only"),
    ({"a": {"base": "demo", "onyl": ["muller2019.fig5"]}}, "a.yaml", "onyl"),
    ({"a": {"base": "b"}, "b": {"seeds": 1}}, "b.yaml", "flops_per_second"),
    ({"a": {"base": 3}}, "a.yaml", "base"),
    ({"a": {"base": "demo", "artifacts": {"muller2019.fig9": {"seeds": 1}}}}, "a.yaml", "muller2019.fig9"),
]


@pytest.mark.parametrize(("files", "file", "key"), BAD, ids=range(len(BAD)))
def test_a_bad_base_or_list_is_one_sentence(scales: Callable[..., Plan], files: Any, file: str, key: str) -> None:
    with refused(SpecError, f"workflow/scales/{file}", key):
        scales(**files)
