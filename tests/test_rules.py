"""The Snakefile as it is written: a dozen rules, and which run ids belong to which of them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from softlabels.grid.config import read_yaml
from softlabels.grid.expand import load_plan
from softlabels.grid.identity import STUDENT, TEACHER
from softlabels.grid.jobs import every_job
from softlabels.grid.plan import Plan
from softlabels.grid.spec import teacher_of
from softlabels.layout import Layout

ROOT = Path(__file__).parents[1]
CHAIN = {"prepare_data", "fetch_weights", "train_teacher", "cache_logits", "train_student", "evaluate", "translate"}
CHAIN |= {"measure", "draw_figure", "write_table", "join_metrics", "judge_claims", "write_report"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The grids, and every scale, the one of the workflow tests among them."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "workflow", folder / "workflow")
    shutil.copy(ROOT / "tests" / "workflow" / "tiny.yaml", folder / "workflow" / "scales")
    return folder


def plan_of(project: Path, scale: str, **changes: object) -> Plan:
    return load_plan(read_yaml(ROOT / "config.yaml") | {"scale": scale, **changes}, project)


SCALES = sorted(path.stem for path in (ROOT / "workflow" / "scales").glob("*.yaml"))


@pytest.mark.parametrize("subsample", [True, False])
@pytest.mark.parametrize("scale", [*SCALES, "tiny"])
def test_every_run_id_is_of_one_rule(project: Path, scale: str, subsample: bool) -> None:
    papers = ["muller2019"] if scale == "tiny" else read_yaml(ROOT / "config.yaml")["papers"]
    plan = plan_of(project, scale, variants=scale != "tiny", subsample=subsample, papers=papers)
    assert {teacher_of(run) is None for run in plan.runs.values()} == {True, False}
    for name, run in plan.runs.items():
        matching = [re.fullmatch(form, name) is not None for form in (TEACHER, STUDENT)]
        assert matching == [teacher_of(run) is None, teacher_of(run) is not None], name


def test_what_is_no_id_is_of_no_rule() -> None:
    for name in ("", "digits", "digits.mlp", "digits/mlp.hard.0", "digits.mlp.hard/seed0", "digits.mlp.kd-T1/seed0"):
        assert not any(re.fullmatch(form, name) for form in (TEACHER, STUDENT)), name


def test_the_rules_are_those_of_the_chain_and_only_targets_are_made_in_a_loop() -> None:
    text = "".join(path.read_text() for path in sorted((ROOT / "rules").glob("*.smk")))
    named = re.findall(r"^(?:rule (\w+):|use rule \w+ as (\w+) with:)$", text, re.MULTILINE)
    assert sorted(map("".join, named)) == sorted(CHAIN)
    assert len(CHAIN) <= 14
    (loop,) = re.findall(r"^for artifact in ARTIFACTS\.values\(\):\n\n((?:    .*\n|\n)+)", text, re.MULTILINE)
    assert "artifact.target" in loop
    assert not re.search(r"\b(output|shell|run|script):", loop)
    assert len(re.findall(r"^ +(?:use )?rule\b", text, re.MULTILINE)) == 1
    assert re.findall(r"^rule (\w+):$", (ROOT / "Snakefile").read_text(), re.MULTILINE) == ["all"]


@pytest.mark.parametrize("scale", SCALES)
def test_every_job_is_of_a_rule_of_the_chain(project: Path, scale: str) -> None:
    plan = plan_of(project, scale, variants=True)
    for job in every_job(plan, Layout(project / "results" / scale)).values():
        assert job.rule in CHAIN
        assert job.rule.startswith("train_") == (job.makes is None)
