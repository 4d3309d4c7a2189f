"""docs/settings.md: every run stands in it, the register explains every departure, the other reading can run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from softlabels.grid.expand import load_plan
from softlabels.grid.identity import run_id
from softlabels.grid.plan import Plan
from softlabels.papers.claims import PAPERS
from softlabels.papers.register import entries
from softlabels.papers.settings import Setting, departs, members, ours, settings, values_of

ROOT = Path(__file__).resolve().parents[1]
LINES = settings()
REGISTER = {entry.id: entry for entry in entries()}
NO_VARIANT = {"M-WMT", "Y-LS"}
"""Text and code differ and no variant is declared: by 3 parts in 100,000 of 33,000 types; and both are defaults, each
where it is said."""
OF_EVERY_TRAINING = (
    "dataset.holdout",
    "recipe.length",
    "recipe.optimiser.lr",
    "recipe.optimiser.weight_decay",
    "seeds",
)
IMAGES_ALONE = ("recipe.batch_size", "recipe.schedule", "recipe.augment")


@pytest.fixture(scope="module")
def plan() -> Plan:
    return load_plan({"scale": "paper", "papers": list(PAPERS)}, ROOT)


@pytest.fixture(scope="module")
def with_variants() -> Plan:
    return load_plan({"scale": "paper", "papers": list(PAPERS), "variants": True}, ROOT)


def name(line: Setting) -> str:
    return f"{line.paper}: {line.experiment}: {' '.join(line.families)}: {line.setting}"


def test_every_training_stands_in_the_tables(plan: Plan) -> None:
    found: dict[str, set[str]] = {}
    for line in LINES:
        for _, member in members(plan, line):
            found.setdefault(run_id(member.run), set()).add(line.setting)
    for artifact in plan.artifacts.values():
        for member in artifact.members:
            run = run_id(member.run)
            assert run in found, f"{artifact.id}: {member.family}"
            if getattr(member.run.recipe, "steps", None) != 0:
                wanted = {*OF_EVERY_TRAINING, *(IMAGES_ALONE if member.run.task == "image" else ())}
                assert wanted <= found[run], f"{artifact.id}: {member.family}: {wanted - found[run]}"


@pytest.mark.parametrize("line", LINES, ids=name)
def test_a_line_is_about_runs_and_says_which_entry_explains_it(plan: Plan, line: Setting) -> None:
    for family in line.families:
        alone = Setting(line.paper, line.experiment, (family,), line.setting, "", "", ())
        assert members(plan, alone), f"no run of {family}"
    value = ours(plan, line)
    assert value
    stated = {one for one in line.stated if one}
    assert stated == {value} or line.register, (
        f"{stated or 'nothing'} is stated, ours is {value}: say why in the register"
    )
    for entry in line.register:
        assert REGISTER[entry].paper == line.paper


def test_experiments_stand_together() -> None:
    order = [(line.paper, line.experiment) for line in LINES]
    assert len([one for one, before in zip(order, [None, *order], strict=False) if one != before]) == len(set(order))


def test_the_page_gives_a_reason_for_every_default_that_is_not_the_policys(plan: Plan) -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    reasons = re.search(r"\| reason \| entries \|\n(.*?)\n\n", page, re.DOTALL)
    assert reasons is not None
    assert set(re.findall(r"[MCYZ]-[A-Z]+", reasons[1])) == {
        entry for line in LINES if departs(line, ours(plan, line)) for entry in line.register
    }


@pytest.mark.parametrize("line", [line for line in LINES if all(line.stated) and len(set(line.stated)) == 2], ids=name)
def test_where_text_and_code_differ_both_can_run(plan: Plan, with_variants: Plan, line: Setting) -> None:
    value = ours(plan, line)
    assert value in line.stated
    (other,) = set(line.stated) - {value}
    variants = [
        with_variants.artifacts[f"{line.paper}.{variant}"]
        for entry in line.register
        for variant in REGISTER[entry].variants
    ]
    ran = {
        one for artifact in variants for member in artifact.members for one in values_of(artifact, member, line.setting)
    }
    assert other in ran or NO_VARIANT & set(line.register)
