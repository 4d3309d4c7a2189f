"""(f) What more jobs cost: seconds and memory at 5,000 jobs ÷ 1,000 jobs.

A job's start is what the plugin puts into each SLURM job, which runs it twice: Snakemake reads the rules and looks up
one job. Planning (`snakemake -n`) is paid once per call.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from benchmarks.dry_run import copy_project, link_profiles
from benchmarks.measure import Ratio, Scope, Unavailable, take_turns
from softlabels.grid.expand import load_plan
from softlabels.grid.files import write_plan
from softlabels.grid.jobs import Job
from softlabels.layout import Layout

STUDENTS = 18  # of each teacher, which has one cache: 20 jobs
SCALE = {"scale": "many", "seeds": None, "flops_per_second": 1e13}
OTHERS = 7  # data, measure, table, metrics.csv, claims.csv, report, all
START, PLANNING = "a SLURM job's start", "planning"
AIMS = {START: ("≤", 1.5), PLANNING: None}
PLANNING_SECONDS = 20  # aim at 5,000 jobs


def run(scope: Scope) -> Iterator[Ratio]:
    if find_spec("snakemake_executor_plugin_slurm") is None:
        raise Unavailable("the plugin for SLURM is not installed (make setup EXTRAS=slurm)")
    few, many = scope.pick(1000, 40), scope.pick(5000, 200)
    peaks: dict[str, list[float]] = defaultdict(list)
    with TemporaryDirectory() as name:
        variants = {}
        for jobs in (few, many):
            for what in AIMS:
                key, folder = f"{what} {jobs}", Path(name) / what / str(jobs)
                write_grid(folder, teachers=jobs // (STUDENTS + 2))
                command = start_of_a_job(folder) if what == START else ["--profile", "slurm", "--quiet", "rules", "-n"]
                variants[key] = partial(_call, folder, command, Path(name) / key, peaks[key])
        seconds = take_turns(variants, min(scope.repetitions, 3))
        for jobs in (few, many):
            planned = re.search(r"^total +(\d+)", (Path(name) / f"{PLANNING} {jobs}").read_text(), re.MULTILINE)
            if planned is None or int(planned[1]) != jobs + OTHERS:
                raise AssertionError(f"the grid of {jobs} jobs is another: {planned}")
    for what, aim in AIMS.items():
        over, under = f"{what} {many}", f"{what} {few}"
        about = {"peak_mb_over": peaks[over], "peak_mb_under": peaks[under]}
        note = ", ".join(
            f"{statistics.median(seconds[key].wall):.1f} s and {statistics.median(peaks[key]):.0f} MB at {jobs} jobs"
            for key, jobs in ((over, many), (under, few))
        )
        if what == PLANNING and not scope.quick:
            note += f" (aim: ≤ {PLANNING_SECONDS} s)"
        yield Ratio(f"{what}, {many} jobs ÷ {few} jobs", seconds[over], seconds[under], aim, about, note)


def start_of_a_job(folder: Path) -> list[str]:
    """Snakemake's arguments in the SLURM job of a student, as the plugin gives them, but that nothing is trained. What
    such a job finds is made: the specs that `snakemake --profile slurm` writes, and the files that the student reads.
    """
    plan = load_plan(yaml.safe_load((folder / "config.yaml").read_text()), folder)
    layout = Layout(folder / "results" / plan.scale)
    write_plan(plan, layout.specs)
    name, student = list(plan.runs.items())[-1]
    job = Job(student, 0, None, layout)
    for path in job.inputs:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    arguments = f"""
        --snakefile Snakefile --target-jobs {job.rule}:run={name},seed=0 --allowed-rules {job.rule} --cores 1
        --attempt 1 --force-use-threads --force --target-files-omit-workdir-adjustment --max-inventory-time 0
        --retries 0 --nocolor --no-hooks --nolock --ignore-incomplete --keep-incomplete --rerun-triggers params mtime
        --latency-wait 60 --scheduler ilp --set-resource-scopes nodes=local
        --default-resources tmpdir=system_tmpdir gpu=1 nodes=1 --mode remote --dry-run"""
    return arguments.split()


def write_grid(folder: Path, teachers: int) -> None:
    """The project with a grid of teachers, their caches and students."""
    copy_project(folder)
    link_profiles(folder)
    alphas = [round(0.9 * i / teachers, 6) for i in range(teachers)]
    run = {"dataset": "cifar10", "recipe": "published"}
    taught = {"kind": "distill", "temperature": "$T", "views": 4, "teacher": {"family": "teachers", "alpha": "$alpha"}}
    recipe = {
        "epochs": 100,
        "batch_size": 128,
        "optimiser": {"lr": 0.1, "momentum": 0.9},
        "schedule": {"kind": "cosine"},
        "augment": {"pad": 4, "flip": True},
        "normalise": "dataset",
    }
    grid = {
        "paper": "own",
        "datasets": {"cifar10": {"name": "cifar10"}},
        "models": {"large": {"name": "resnet56"}, "small": {"name": "alexnet"}},
        "recipes": {"published": recipe},
        "families": {
            "teachers": {
                "axes": {"alpha": alphas},
                "run": run | {"model": "large", "targets": {"kind": "smooth", "alpha": "$alpha"}},
            },
            "students": {
                "axes": {"alpha": alphas, "T": list(range(1, STUDENTS + 1))},
                "run": run | {"model": "small", "targets": taught},
            },
        },
        "artifacts": {
            "many": {
                "title": "Many",
                "kind": "table",
                "plot": "compare_table",
                "families": ["teachers", "students"],
                "seeds": 1,
            }
        },
    }
    config = {"scale": "many", "papers": [], "cache": {"max_bytes": None}, "grid": grid}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "workflow" / "scales" / "many.yaml").write_text(yaml.safe_dump(SCALE))


def _call(folder: Path, arguments: list[str], log: Path, peaks: list[float]) -> None:
    """One snakemake; its peak memory is added, in MB."""
    command = [str(Path(sys.executable).parent / "snakemake"), *arguments]
    peak = 0.0
    with open(log, "w") as said:
        process = subprocess.Popen(command, cwd=folder, stdout=said, stderr=said)
    while process.poll() is None:  # (the system's `ru_maxrss` would begin at the memory of this process)
        if high := re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text()):
            peak = int(high[1]) / 1024
        time.sleep(0.02)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed in {folder}:\n{log.read_text()[-4000:]}")
    peaks.append(peak)
