"""(g) What a job of 1 and of 20 runs costs beside training, and (h) how long a requeued training stands still.

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
from softlabels.grid.packs import Pack, training_packs
from softlabels.layout import Layout

RUNS = 20  # in a full pack
SCALE = {"scale": "bench", "seeds": None, "block": RUNS, "pack": 1, "pack_minutes": None, "flops_per_second": 1e9}
LONG_STEPS = 10_000_000  # never finished here


@dataclass(frozen=True)
class Project:
    """A folder with a grid of its own, and the cluster that it runs on."""

    root: Path
    cluster: Cluster

    @cached_property
    def packs(self) -> list[Pack]:
        """Every training job."""
        plan = load_plan(yaml.safe_load((self.root / "config.yaml").read_text()), self.root)
        return training_packs(plan, Layout(self.root / "results" / "bench"))

    def of(self, steps: int, runs: int) -> list[Pack]:
        """Jobs of so many runs of so many steps."""
        return [p for p in self.packs if p.members[0].run.recipe.steps == steps and len(p.members) == runs]

    def job(self, pack: Pack) -> dict[str, str]:
        """SLURM's newest job of a pack."""
        return max(
            (j for j in self.cluster.jobs() if j["Comment"] == f"rule_{pack.rule}"), key=lambda j: int(j["JobId"])
        )

    @contextmanager
    def snakemake(self, packs: list[Pack]) -> Iterator[subprocess.Popen[str]]:
        """Make the packs, one job at a time; what still runs afterwards is cancelled."""
        binaries = Path(sys.executable).parent
        environment = self.cluster.env | {"PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
        targets = [str(pack.outputs[0].relative_to(self.root)) for pack in packs]
        command = [str(binaries / "snakemake"), "--profile", "slurm", "--jobs", "1", "--", *targets]
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
        yield _overhead(project, repetitions, scope.pick(200, 20))
        yield _requeue(project, repetitions)


def write_project(root: Path, repetitions: int, steps: int) -> None:
    """For each repetition a job of one short run, a job of twenty, and one that trains on and on."""
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
            "draw": "compare_table",
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


def _overhead(project: Project, repetitions: int, steps: int) -> Ratio:
    ones, twenties = project.of(steps, 1), project.of(steps, RUNS)
    turns = [pack for pair in zip(ones, twenties, strict=True) for pack in pair]
    if len(turns) != 2 * repetitions:
        raise AssertionError(f"{len(turns)} jobs are not {repetitions} pairs")
    with project.snakemake(turns) as process:
        if process.wait(600):
            raise project.failed()
    full, single = ([_beside_training(project, pack) / len(pack.members) for pack in p] for p in (twenties, ones))
    note = (
        f"{statistics.median(single):.1f} s a run in a job of 1, {statistics.median(full):.2f} s in a job of {RUNS} "
        f"({RUNS * statistics.median(full):.1f} s a job)"
    )
    title = f"SLURM job, wall − training: per run, {RUNS} runs a job ÷ 1 run a job"
    return Ratio(title, Seconds(full), Seconds(single), None, {"runs": RUNS}, note)


def _beside_training(project: Project, pack: Pack) -> float:
    """Seconds of a job (SLURM counts whole ones) but those in which its networks trained."""
    job = project.job(pack)
    wall = (datetime.fromisoformat(job["EndTime"]) - datetime.fromisoformat(job["StartTime"])).total_seconds()
    return wall - sum(read_json(path)["seconds"] for path in pack.outputs)


def _requeue(project: Project, repetitions: int) -> Ratio:
    first, again = [], []
    for pack in project.of(LONG_STEPS, 1)[:repetitions]:
        with project.snakemake([pack]) as process:
            _next_step(project, process, pack, sitting=1)
            submitted = datetime.fromisoformat(project.job(pack)["SubmitTime"]).timestamp()
            first.append(time.time() - submitted)
            requeued = time.time()
            project.cluster.run("scontrol", "requeue", project.job(pack)["JobId"])
            _next_step(project, process, pack, sitting=2)
            again.append(time.time() - requeued)
    note = (
        f"{statistics.median(again):.0f} s from `scontrol requeue` to the first new step, "
        f"{statistics.median(first):.0f} s from sbatch to the first step of all; cred_expire=5"
    )
    return Ratio("requeue to first new step ÷ submission to first step", Seconds(again), Seconds(first), None, {}, note)


def _next_step(project: Project, process: subprocess.Popen[str], pack: Pack, sitting: int) -> None:
    """Wait until the training says, at most a second late, that it has made steps in this sitting."""
    run, seed = pack.outputs[0].parent.parent.name, pack.members[0].seed
    path = Layout(project.root / "results" / "bench").store(run, seed) / "progress.json"

    def trains() -> bool:
        if process.poll() is not None:
            raise project.failed()
        if not path.exists():
            return False
        progress = read_json(path)
        return len(progress["sittings"]) == sitting and progress["step"] > progress["sittings"][-1]["from_step"]

    wait_until(f"sitting {sitting} of {run} trains", trains, 180)
