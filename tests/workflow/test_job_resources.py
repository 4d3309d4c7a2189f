"""The audit prints what Snakemake asks for, job by job."""

from __future__ import annotations

import json
import re
import shutil
import sys
from typing import Any

import pytest
from workflow_tree import Tree

from softlabels.grid.identity import caches_of, read_spec
from softlabels.grid.resources import SNAKEMAKE_MB

pytestmark = pytest.mark.workflow
LIMITS = ("--resources", *(f"{name}={10**9}" for name in ("mem_mb", "disk_mb", "runtime")))
"""Where nobody hands out memory or time, no job asks for it."""
MEASURE = (
    "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)"
)


def audited(tree: Tree, attempt: int = 1, max_minutes: int = 1440) -> dict[str, dict[str, str]]:
    """File → rule and resources, of every job that is left."""
    found: list[dict[str, Any]] = json.loads(tree.softlabels("audit", "--json"))["jobs"]
    growth = 2 ** (attempt - 1)
    return {
        f"results/tiny/{job['output']}": {
            "rule": job["rule"],
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
    ours = {"mem_mb", "disk_mb", "runtime", "gpu", "gres", "gpu_model"}
    found = {}
    for job in tree.planned(*LIMITS, *arguments):
        asked = dict(item.split("=", 1) for item in job["resources"].split(", "))
        if ours & set(asked):
            found[job["output"]] = {"rule": job["rule"]} | {k: v for k, v in asked.items() if k in ours}
    return found


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
    (run,) = copied.results.glob("runs/digits.mlp.kd-T1-mlp-hard.*")
    spec = read_spec(copied.results / "specs" / f"{run.name}.json")
    (need,) = caches_of(spec)
    cache = copied.results / "cache" / need.id / "seed0"
    shutil.rmtree(cache)  # nobody reads it any more
    assert audited(copied) == planned(copied) == {}
    for place in ("runs", "store"):
        shutil.rmtree(copied.results / place / run.name / "seed0")
    found = audited(copied)
    assert found == planned(copied)
    (other,) = copied.results.glob("runs/digits.mlp.kd-T4-mlp-hard.*")  # reads the cache too: seen to be finished
    made = {path.split("/", 2)[2] for path in found}
    assert made == {
        f"runs/{run.name}/seed0/run.json",
        f"runs/{other.name}/seed0/run.json",
        str(cache.relative_to(copied.results) / "manifest.json"),
    }
    # Of a teacher: its caches and probes are asked for again, and what is measured on it.
    (teacher,) = copied.results.glob("probes/digits.mlp.ls0.45.*")
    shutil.rmtree(copied.results / "runs" / teacher.name)
    shutil.rmtree(copied.results / "probes")
    assert audited(copied) == planned(copied)
    assert {job["rule"] for job in audited(copied).values()} > {"train_teacher", "cache_logits", "evaluate"}


def test_jobs_stay_below_the_memory_they_would_ask_for(copied: Tree) -> None:
    """One job of each kind, run by hand in a process of its own."""
    copied.replace("config.yaml", "device: auto", "device: cpu")
    aside = copied.results.rename(copied.root / "aside")
    asked = audited(copied)  # where nothing has been made, so of all jobs
    aside.rename(copied.results)
    outputs = {
        kind: next(copied.results.glob(pattern))
        for kind, pattern in {
            "train": "runs/sentences.*/seed0/run.json",
            "cache": "cache/*/seed0/manifest.json",
            "evaluate": "probes/digits.*/seed0/*.safetensors",
            "translate": "probes/sentences.*/seed0/*translations*.json",
        }.items()
    }
    shutil.rmtree(copied.results / "store" / outputs["train"].relative_to(copied.results / "runs").parent)
    shutil.rmtree(outputs["cache"].parent)
    for kind in ("train", "evaluate", "translate"):
        outputs[kind].unlink()
    for kind, output in outputs.items():
        name = str(output.relative_to(copied.root))
        said = copied.run(sys.executable, "-c", MEASURE, "softlabels", kind, "--device", "cpu", name).stdout
        assert int(said.splitlines()[-1]) < int(asked[name]["mem_mb"]) - SNAKEMAKE_MB, name
