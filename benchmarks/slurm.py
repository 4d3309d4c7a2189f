"""(g) What a run costs beside training, alone and in a group of 20, and (h) how long a requeued training stands still.

On a private SLURM of this machine (tests/slurm/cluster.py), one job at a time. Its jobs start within a second; how
long a job waits in a real queue, and until Snakemake asks how it ended, is in neither number. SLURM lets a requeued
job wait until its old credential has expired: 5 s here, 120 s where nobody has changed `cred_expire`.
"""

from __future__ import annotations

import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from tests.slurm.cluster import Cluster, wait_until

from benchmarks.dry_run import copy_project, link_profiles
from benchmarks.measure import Ratio, Scope, Seconds, Unavailable
from softlabels.files import read_json
from softlabels.grid.expand import load_plan
from softlabels.grid.jobs import Job
from softlabels.grid.plan import Plan
from softlabels.layout import Layout

RUNS = 20  # in a group
SCALE = {"scale": "bench", "seeds": None, "flops_per_second": 1e9}
GROUP = ("--groups", "train_teacher=runs", "--group-components", f"runs={RUNS}")
LONG_STEPS = 10_000_000  # never finished here


@dataclass(frozen=True)
class Project:
    """A folder with a grid of its own, and the cluster that it runs on."""

    root: Path
    cluster: Cluster

    @cached_property
    def plan(self) -> Plan:
        return load_plan(yaml.safe_load((self.root / "config.yaml").read_text()), self.root)

    def trainings(self, family: str) -> list[list[Job]]:
        """Of each run of a family, one for each seed."""
        layout = Layout(self.root / "results" / "bench")
        members = self.plan.artifacts[f"own.{family}"].members
        return [[Job(member.run, seed, None, layout) for seed in member.seeds] for member in members]

    def newest(self) -> dict[str, str]:
        """SLURM's newest job."""
        return max(self.cluster.jobs(), key=lambda job: int(job["JobId"]))

    @contextmanager
    def snakemake(self, trainings: list[Job], *options: str) -> Iterator[subprocess.Popen[str]]:
        """Make them, one SLURM job at a time; what still runs afterwards is cancelled."""
        binaries = Path(sys.executable).parent
        environment = self.cluster.env | {"PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
        targets = [str(training.output.relative_to(self.root)) for training in trainings]
        command = [str(binaries / "snakemake"), "--profile", "slurm", "--jobs", "1", *options, "--", *targets]
        with open(self.root / "said", "a") as said:
            process = subprocess.Popen(command, cwd=self.root, env=environment, stdout=said, stderr=said, text=True)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            process.wait(120)

    def failed(self) -> RuntimeError:
        return RuntimeError(f"snakemake failed in {self.root}:\n{(self.root / 'said').read_text()[-4000:]}")


def run(scope: Scope) -> Iterator[Ratio]:
    if os.geteuid() != 0:
        raise Unavailable("a private SLURM has to be started by root")
    for program in ("slurmctld", "slurmd", "sbatch", "munged"):
        if shutil.which(program) is None:
            raise Unavailable(f"there is no {program} (make test-slurm installs it)")
    if find_spec("snakemake_executor_plugin_slurm") is None:
        raise Unavailable("the plugin for SLURM is not installed (make setup EXTRAS=slurm)")
    repetitions = min(scope.repetitions, 3)
    with TemporaryDirectory() as name, Cluster() as cluster:
        project = Project(Path(name) / "project", cluster)
        write_project(project.root, repetitions, steps=scope.pick(200, 20))
        yield _overhead(project)
        yield _requeue(project, repetitions)


def write_project(root: Path, repetitions: int, steps: int) -> None:
    """For each repetition a short run of one seed, one of twenty, and one that trains on and on."""
    copy_project(root)
    link_profiles(root)
    profile = root / "workflow" / "profiles" / "slurm" / "config.yaml"
    profile.write_text(profile.read_text().replace("status-checks: 20", "status-checks: 2"))
    recipe: dict[str, Any] = {
        "batch_size": 32,
        "optimiser": {"lr": 0.01},
        "schedule": {"kind": "constant"},
        "normalise": "dataset",
    }
    families, artifacts = {}, {}
    for family, recipe_name, seeds in (("ones", "short", 1), ("twenties", "short", RUNS), ("endless", "long", 1)):
        first = 0.5 if family == "twenties" else 0.0  # not the runs of the others
        families[family] = {
            "axes": {"alpha": [round(first + 0.1 * i, 6) for i in range(repetitions)]},
            "run": {
                "dataset": "digits",
                "model": "net",
                "recipe": recipe_name,
                "targets": {"kind": "smooth", "alpha": "$alpha"},
            },
        }
        artifacts[family] = {
            "title": family,
            "kind": "table",
            "plot": "compare_table",
            "families": [family],
            "seeds": seeds,
        }
    grid = {
        "paper": "own",
        "datasets": {"digits": {"name": "digits"}},
        "models": {"net": {"name": "mlp", "options": {"hidden": [32]}}},
        "recipes": {"short": recipe | {"steps": steps}, "long": recipe | {"steps": LONG_STEPS}},
        "families": families,
        "artifacts": artifacts,
    }
    jobs = {"max_minutes": 60, "checkpoint_seconds": 1}
    config = {"scale": "bench", "papers": [], "device": "cpu", "jobs": jobs, "grid": grid}
    (root / "config.yaml").write_text(yaml.safe_dump(config))
    (root / "workflow" / "scales" / "bench.yaml").write_text(yaml.safe_dump(SCALE))


def _overhead(project: Project) -> Ratio:
    alone, grouped = [], []
    for one, twenty in zip(project.trainings("ones"), project.trainings("twenties"), strict=True):
        alone.append(_beside_training(project, one))
        grouped.append(_beside_training(project, twenty, *GROUP))
    note = (
        f"{statistics.median(alone):.1f} s a run alone, {statistics.median(grouped):.2f} s in a group of {RUNS} "
        f"({RUNS * statistics.median(grouped):.1f} s a job)"
    )
    title = f"SLURM job, wall − training: per run, in a group of {RUNS} ÷ alone"
    return Ratio(title, Seconds(grouped), Seconds(alone), None, {"runs": RUNS}, note)


def _beside_training(project: Project, trainings: list[Job], *options: str) -> float:
    """Seconds of a job for each of its runs (SLURM counts whole ones), but those in which its networks trained."""
    with project.snakemake(trainings, *options) as process:
        if process.wait(600):
            raise project.failed()
    job = project.newest()
    wall = (datetime.fromisoformat(job["EndTime"]) - datetime.fromisoformat(job["StartTime"])).total_seconds()
    return (wall - sum(read_json(training.output)["seconds"] for training in trainings)) / len(trainings)


def _requeue(project: Project, repetitions: int) -> Ratio:
    first, again = [], []
    for (training,) in project.trainings("endless")[:repetitions]:
        with project.snakemake([training]) as process:
            _next_step(project, process, training, attempt=1)
            job = project.newest()
            first.append(time.time() - datetime.fromisoformat(job["SubmitTime"]).timestamp())
            requeued = time.time()
            project.cluster.run("scontrol", "requeue", job["JobId"])
            _next_step(project, process, training, attempt=2)
            again.append(time.time() - requeued)
    note = (
        f"{statistics.median(again):.0f} s from `scontrol requeue` to the first new step, "
        f"{statistics.median(first):.0f} s from sbatch to the first step of all; cred_expire=5"
    )
    return Ratio("requeue to first new step ÷ submission to first step", Seconds(again), Seconds(first), None, {}, note)


def _next_step(project: Project, process: subprocess.Popen[str], training: Job, attempt: int) -> None:
    """Wait until the training says, at most a second late, that it has made steps in this attempt."""
    path = training.folder / "progress.json"

    def trains() -> bool:
        if process.poll() is not None:
            raise project.failed()
        if not path.exists():
            return False
        progress = read_json(path)
        return len(progress["attempts"]) == attempt and progress["step"] > progress["attempts"][-1]["from_step"]

    wait_until(f"attempt {attempt} of {training.output.parent} trains", trains, 180)
