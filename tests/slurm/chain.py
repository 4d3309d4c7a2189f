"""A teacher, its cache and a student, on SLURM and undisturbed: what every fault must leave as it would have been."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from cluster import Cluster, wait_until
from workflow_tree import ENVIRONMENT, Tree

from softlabels.files import read_json, sha256
from softlabels.grid.expand import load_plan
from softlabels.grid.identity import needed_cache
from softlabels.grid.spec import teacher_of
from softlabels.layout import Layout

CONFIG = """
scale: chain
papers: []
jobs: {checkpoint_seconds: 5}
grid:
  paper: own
  datasets: {digits: {name: digits}}
  models: {net: {name: mlp, options: {hidden: [32]}}}
  recipes:
    long:
      batch_size: 32
      steps: 90000
      optimiser: {lr: 0.01, momentum: 0.9}
      schedule: {kind: cosine}
      augment: {shift: 1}
      normalise: dataset
    short: {base: long, steps: 200}
  families: FAMILIES
  artifacts:
    chain: {title: A chain, kind: table, plot: compare_table, families: [teachers, students], seeds: [0]}
"""
CHAIN = """
    teachers: {run: {dataset: digits, model: net, recipe: long, targets: {kind: smooth, alpha: 0.1}}}
    students:
      run:
        dataset: digits
        model: net
        recipe: short
        targets: {kind: distill, temperature: 2, views: 4, teacher: {family: teachers}}
"""
WIDE = """
    teachers:
      axes: {alpha: [0.1, 0.2]}
      run: {dataset: digits, model: net, recipe: long, targets: {kind: smooth, alpha: $alpha}}
    students:
      axes: {alpha: [0.1, 0.2], T: [2, 3]}
      run:
        dataset: digits
        model: net
        recipe: short
        targets: {kind: distill, temperature: $T, views: 4, teacher: {family: teachers, alpha: $alpha}}
"""
SHORT = WIDE.replace("recipe: long", "recipe: short")
SCALE = "{scale: chain, seeds: null, flops_per_second: 1.0e+9}"
RESULTS = ("weights.safetensors", "logits.safetensors", "history.csv")
TEACHER, CACHE, STUDENT = "train_teacher", "cache_logits", "train_student"  # rules


@dataclass
class Chain:
    """One project folder in which the chain is made."""

    tree: Tree
    cluster: Cluster | None = None
    controllers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @classmethod
    def create(cls, root: Path, cluster: Cluster | None = None, families: str = CHAIN) -> Chain:
        """Nothing made; the cluster is asked often instead of politely."""
        root.mkdir(parents=True)
        tree = Tree.create(root)
        tree.configure(CONFIG.replace("FAMILIES", families))
        (root / "workflow/scales/chain.yaml").write_text(SCALE)
        tree.replace("workflow/profiles/slurm/config.yaml", "status-checks: 20", "status-checks: 2")
        return cls(tree, cluster)

    def __post_init__(self) -> None:
        plan = load_plan(yaml.safe_load((self.tree.root / "config.yaml").read_text()), self.tree.root)
        self.teachers = [name for name, run in plan.runs.items() if teacher_of(run) is None]
        self.students = [name for name in plan.runs if name not in self.teachers]
        self.teacher, self.student = self.teachers[0], self.students[0]
        need = needed_cache(plan.runs[self.student])
        assert need is not None
        self.layout = Layout(self.tree.root / "results" / "chain")
        self.store = self.layout.store(self.teacher, 0)
        self.cache = self.layout.cache(need.id, 0)
        records = [self.layout.run(student, 0) / "run.json" for student in self.students]
        self.goals = [str(record.relative_to(self.tree.root)) for record in records]

    @property
    def log(self) -> str:
        """What all controllers have said."""
        path = self.tree.root / "controller.txt"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        """`snakemake --profile slurm` for the students' results, in the background."""
        assert self.cluster is not None
        with open(self.tree.root / "controller.txt", "ab") as log:
            controller = subprocess.Popen(
                ["snakemake", "--profile", "slurm", *options, "--", *self.goals],
                cwd=self.tree.root, env={**ENVIRONMENT, **self.cluster.env}, stdout=log, stderr=log,
                preexec_fn=_heed_ctrl_c,
            )  # fmt: skip
        self.controllers.append(controller)
        return controller

    def finish(self, controller: subprocess.Popen[bytes], timeout: float = 900) -> int:
        """Its exit status."""
        return controller.wait(timeout)

    def stop(self) -> None:
        """Nothing of this chain goes on."""
        for controller in self.controllers:
            controller.send_signal(signal.SIGKILL)
            controller.wait()

    def until_training(self, beyond: int = 0) -> dict[str, Any]:
        """Wait until the teacher has come further than a step; its progress."""
        path = self.store / "progress.json"

        def trains() -> bool:
            if (self.store / "run.json").exists():
                raise AssertionError("the training ended before the fault")
            assert all(controller.poll() is None for controller in self.controllers[-1:]), self.log
            return path.exists() and read_json(path)["step"] > beyond

        wait_until(f"the teacher is beyond step {beyond}", trains, 180)
        found: dict[str, Any] = read_json(path)
        return found

    def jobs_of(self, rule: str) -> list[dict[str, str]]:
        """SLURM's jobs for a rule of this chain, in their order."""
        return [job for job in self.jobs() if re.fullmatch(rf"rule_{rule}_wildcards_\S+_0", job["Comment"])]

    def jobs(self) -> list[dict[str, str]]:
        """All of SLURM's jobs of this chain, in their order."""
        assert self.cluster is not None
        here = (job for job in self.cluster.jobs() if job["WorkDir"] == str(self.tree.root))
        return sorted(here, key=lambda job: int(job["JobId"]))

    def said(self, run: str) -> str:
        """The log of a training."""
        return (self.tree.root / f"logs/chain/train/{run}.seed0.log").read_text()

    @property
    def record(self) -> dict[str, Any]:
        """The teacher's `run.json`."""
        return self.record_of(self.teacher)

    def record_of(self, run: str) -> dict[str, Any]:
        found: dict[str, Any] = read_json(self.layout.store(run, 0) / "run.json")
        return found

    def checksums(self) -> dict[str, str]:
        """Of all results of the chain."""
        files = [self.layout.run(run, 0) / name for run in (*self.teachers, *self.students) for name in RESULTS]
        files += sorted(self.layout.root.glob("cache/*/seed0/*.npy"))
        return {str(path.relative_to(self.layout.root)): sha256(path) for path in files}

    def with_data_of(self, other: Chain) -> Chain:
        """Not to prepare the data for every fault."""
        shutil.copytree(other.tree.root / "results/data", self.tree.root / "results/data")
        return self

    def with_results_of(self, other: Chain, but: Iterable[str]) -> Chain:
        """And all else, but for some names of files and folders."""
        self.with_data_of(other)
        shutil.copytree(other.layout.root, self.layout.root, ignore=shutil.ignore_patterns("controller", *but))
        return self


@dataclass(frozen=True)
class Row:
    """A line of the table of faults."""

    fault: str
    attempts: int
    recomputed: int
    steps: int
    jobs: int
    equal: bool


def render(rows: list[Row]) -> str:
    """The table that is printed when all faults are through."""
    lines = [("fault", "attempts", "SLURM jobs", "steps recomputed", "checksums equal")]
    for row in rows:
        again = f"{row.recomputed} of {row.steps}" if row.steps else "-"
        lines.append((row.fault, str(row.attempts), str(row.jobs), again, "yes" if row.equal else "NO"))
    widths = [max(len(line[i]) for line in lines) for i in range(5)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def _heed_ctrl_c() -> None:
    """A shell that runs these tests in the background has SIGINT ignored, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def says(log: str, pattern: str) -> bool:
    """Whether a controller or a job's log has said it."""
    return re.search(pattern, log) is not None


def differences(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[str]:
    """Names of files that differ or are missing."""
    return sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name))
