"""docs/coverage.md says what the grids say, and every artifact of the papers is a target or is explained."""

from __future__ import annotations

from pathlib import Path

from softlabels.grid.expand import load_plan
from softlabels.papers import coverage

ROOT = Path(__file__).resolve().parents[1]


def test_the_page_is_the_one_that_the_grids_give() -> None:
    page = (ROOT / "docs" / "coverage.md").read_text(encoding="utf-8")
    assert page == coverage.page(ROOT), "python -m softlabels.papers.coverage > docs/coverage.md"


def test_every_artifact_is_a_target_or_says_why_not() -> None:
    plan = load_plan({"scale": "paper"}, ROOT)
    listed = coverage.artifacts()
    assert len({row["id"] for row in listed}) == len(listed) == 69
    for row in listed:
        assert (row["id"] in plan.artifacts) != bool(row["absent"]), row["id"]


def test_all_39_of_chandrasegaran_are_targets_in_the_demo() -> None:
    plan = load_plan({"scale": "demo"}, ROOT)
    own = [row["id"] for row in coverage.artifacts() if row["id"].startswith("chandrasegaran2022.")]
    assert len(own) == 39
    assert set(own) <= set(plan.artifacts)
