"""The audit prints what Snakemake asks for, job by job."""

from __future__ import annotations

import csv
import json
import re
import shutil
from typing import Any

import pytest
from workflow_tree import Tree

from softlabels.grid.resources import SNAKEMAKE_MB

pytestmark = pytest.mark.workflow


def audited(tree: Tree, attempt: int = 1, max_minutes: int = 1440) -> dict[str, dict[str, str]]:
    """Rule → resources, of every job that is left."""
    found: list[dict[str, Any]] = json.loads(tree.softlabels("audit", "--json"))["jobs"]
    growth = 2 ** (attempt - 1)
    return {
        job["rule"]: {
            "mem_mb": str(growth * job["mem_mb"]),
            "disk_mb": str(job["disk_mb"]),
            "runtime": str(min(growth * job["minutes"], max_minutes)),
            **({} if job["gpu"] is None else {"gpu": str(job["gpu"])}),
            **({"gres": f"shard:{job['shards']}", "gpu_model": ""} if job["shards"] else {}),
        }
        for job in found
    }


def planned(tree: Tree, *arguments: str) -> dict[str, dict[str, str]]:
    """The same, of a dry run; rules of the controller's own ask for nothing."""
    jobs = re.findall(r"^rule (\w+):\n.*?^    resources: (.*?)$", tree.snakemake("-n", *arguments), re.M | re.S)
    asked = {rule: dict(item.split("=", 1) for item in line.split(", ")) for rule, line in jobs}
    ours = {"mem_mb", "disk_mb", "runtime", "gpu", "gres", "gpu_model"}
    return {rule: {k: v for k, v in found.items() if k in ours} for rule, found in asked.items() if ours & set(found)}


@pytest.mark.parametrize("jobs", ["", "device: cpu", "gpu_share: 4", "stage: $TMPDIR", "max_minutes: 10"])
def test_the_audit_prints_what_the_rules_ask_for(fresh: Tree, jobs: str) -> None:
    key, _, value = jobs.partition(": ")
    if jobs:
        text = (fresh.root / "config.yaml").read_text()
        fresh.configure(re.sub(rf"^( *){key}: \w+", rf"\g<1>{key}: {value}", text, count=1, flags=re.M))
    limit = 10 if key == "max_minutes" else 1440
    assert planned(fresh) == audited(fresh) != {}
    assert planned(fresh, "--attempt", "3") == audited(fresh, attempt=3, max_minutes=limit)


def test_of_a_finished_workflow_nothing_is_left(finished: Tree) -> None:
    assert audited(finished) == planned(finished) == {}
    assert "0 jobs to run" in finished.softlabels("audit", "--jobs")


def test_lost_results_are_the_jobs_that_are_left(copied: Tree) -> None:
    cache = next(copied.results.glob("cache/*/seed0"))
    shutil.rmtree(cache)  # nobody reads it any more
    assert audited(copied) == planned(copied) == {}
    (run,) = copied.results.glob("runs/digits.mlp.kd-T1-mlp-hard.*")
    for place in ("runs", "store"):
        shutil.rmtree(copied.results / place / run.name / "seed0")
    found = audited(copied)
    assert found == planned(copied)
    assert any(rule.startswith("train_generation1") for rule in found)


def test_jobs_stay_below_the_memory_they_would_ask_for(finished: Tree, copied: Tree) -> None:
    shutil.rmtree(copied.results)
    copied.replace("config.yaml", "device: auto", "device: cpu")
    asked = audited(copied)
    seen = 0
    kinds = {"train": "train", "caches": "write_caches", "evaluate": "evaluate", "translate": "translate"}
    for folder, kind in kinds.items():
        for path in (finished.results / "benchmarks" / folder).glob("*.tsv"):
            (row,) = csv.DictReader(path.read_text().splitlines(), delimiter="\t")
            if row["max_rss"] not in ("NA", "-"):
                assert float(row["max_rss"]) < int(asked[f"{kind}_{path.stem}"]["mem_mb"]) - SNAKEMAKE_MB, path
                seen += 1
    assert seen > 0
