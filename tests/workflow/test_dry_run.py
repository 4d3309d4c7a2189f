"""A dry run is an audit: what Snakemake would do in a few lines, then what it costs, of what is asked for alone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from workflow_tree import Tree

from softlabels.grid.audit import render_total

pytestmark = pytest.mark.workflow
SEED = "results/tiny/runs/{}/seed0/run.json"


def dry_run(tree: Tree, *arguments: str) -> tuple[list[str], str]:
    """The lines of Snakemake's last table of jobs, and all that follows it."""
    *_, last = tree.snakemake("-n", "--quiet", "rules", "--", *arguments).split("\nJob stats:\n")
    table, _, rest = last.partition("\n\n")
    return table.splitlines(), rest


def audit(tree: Tree, *names: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(tree.softlabels("audit", "--json", *names))
    return found


def told(rest: str) -> list[str]:
    """Our three lines, but for the free space on the disk, which others use too."""
    lines = rest.splitlines()[-3:]
    return [*lines[:2], re.sub("; .* free", "; … free", lines[2])]


def expected(found: dict[str, Any], *targets: str) -> list[str]:
    return told(render_total({"targets": targets, **found}))


@pytest.mark.parametrize("names", [("fig5",), ("fig1",), ("table3",), ("fig5", "text_appB"), ()], ids="-".join)
def test_it_says_of_its_targets_alone_what_the_audit_says(fresh: Tree, names: tuple[str, ...]) -> None:
    targets = [f"muller2019_{name}" for name in names]
    table, rest = dry_run(fresh, *targets)
    found = audit(fresh, *targets)
    assert told(rest) == expected(found, *targets)
    jobs = dict(line.split() for line in table[2:])
    assert int(jobs.get("train_teacher", 0)) + int(jobs.get("train_student", 0)) == found["trainings"] > 0
    if len(names) == 1:
        assert len(table) <= 12
        assert len(table) + len(rest.splitlines()) <= 24  # a screen
    assert not (fresh.root / "results").exists()
    assert not (fresh.root / "logs").exists()


def test_with_quiet_rules_all_of_it_is_on_one_screen(fresh: Tree) -> None:
    said = fresh.snakemake("-n", "muller2019_fig5", "--config", "scale=paper", "--quiet", "rules")
    assert len(said.splitlines()) <= 40
    assert re.search(r"^scale paper, muller2019_fig5:\n  120 trainings, 0 of them done; ", said, re.MULTILINE)
    assert not (fresh.root / "results").exists()


def test_of_everything_by_its_name(fresh: Tree) -> None:
    assert told(dry_run(fresh, "all")[1]) == expected(audit(fresh), "all")


def test_of_a_file(fresh: Tree) -> None:
    jobs = [job for job in fresh.planned("muller2019_fig5") if job["rule"] == "train_student"]
    table, rest = dry_run(fresh, jobs[0]["output"])
    assert [line.split() for line in table[2:]] == [
        ["prepare_data", "1"], ["train_teacher", "1"], ["cache_logits", "1"], ["train_student", "1"], ["total", "4"],
    ]  # fmt: skip
    assert told(rest)[0] == f"scale tiny, {jobs[0]['output']}:"
    assert told(rest)[1].startswith("  2 trainings, 0 of them done; ")


def test_of_what_is_done_nothing_is_left(finished: Tree) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.root.rglob("*") if ".snakemake" not in path.parts}
    for targets in ([], ["muller2019_fig5"], ["muller2019_table2", "muller2019_fig4"]):
        rest = finished.snakemake("-n", "--", *targets)
        assert "Nothing to be done" in rest
        found = audit(finished, *targets)
        assert told(rest) == expected(found, *targets)
        assert told(rest)[1].startswith(f"  {found['trainings']} trainings, {found['trainings']} of them done; ")
        assert told(rest)[1].endswith(", 0.0 min left")
    after = {path: path.stat().st_mtime_ns for path in finished.root.rglob("*") if ".snakemake" not in path.parts}
    assert after == before


def test_one_more_seed_is_its_own_jobs_and_no_rule_is_another(finished: Tree, tmp_path: Path) -> None:
    """Of the artifacts that let the configuration say how many; what exists is not touched, nor prepared again."""
    more = ("--config", "seeds=3", "--")
    assert finished.rules(*more[:-1]) == finished.rules() > {"train_teacher", "train_student", "muller2019_fig5"}
    planned = finished.planned(*more, "muller2019_fig5")
    computed = [job for job in planned if "seed" in Path(job.get("output", "")).parent.name]
    assert {Path(job["output"]).parent.name for job in computed} == {"seed2"}
    assert {job["rule"] for job in planned if job not in computed} == {"measure", "draw_figure", "muller2019_fig5"}
    old = {str(path.relative_to(finished.root)) for path in finished.results.glob("*/*/seed*/*")}
    assert not any(job["output"] in old for job in computed)
    first = {path for path in old if "/seed0/" in path}
    assert {job["output"].replace("/seed2/", "/seed0/") for job in computed} <= first
    text = (finished.root / "config.yaml").read_text()
    assert "seeds: null " in text
    (tmp_path / "config.yaml").write_text(text.replace("seeds: null ", "seeds: 3 "))
    found = audit(finished, "--config", str(tmp_path / "config.yaml"), "muller2019_fig5")
    assert {job["output"] for job in found["jobs"]} == {job["output"].split("/", 2)[2] for job in computed}
    assert sum(job["rule"].startswith("train_") for job in computed) == found["missing"] == 7
