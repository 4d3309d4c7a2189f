"""(f) What more jobs cost the snakemake that schedules them: seconds and memory at 5,000 jobs ÷ 1,000 jobs.

Reading the rules (`--list-rules`) is paid by every SLURM job too, twice. Planning (`-n`) is paid once per call.
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

STUDENTS = 18  # of each teacher, which has one cache: 20 jobs
SCALE = {"seeds": None, "block": 1, "pack": 1, "pack_minutes": None, "flops_per_second": 1e13}


def run(scope: Scope) -> Iterator[Ratio]:
    if find_spec("snakemake_executor_plugin_slurm") is None:
        raise Unavailable("the plugin for SLURM is not installed (make setup EXTRAS=slurm)")
    few, many = scope.pick(1000, 40), scope.pick(5000, 200)
    peaks: dict[str, list[float]] = defaultdict(list)
    with TemporaryDirectory() as name:
        folders = {jobs: Path(name) / str(jobs) for jobs in (few, many)}
        variants = {}
        for jobs, folder in folders.items():
            write_grid(folder, teachers=jobs // (STUDENTS + 2))
            for what, option in (("reading rules", "--list-rules"), ("planning", "-n")):
                key = f"{what} {jobs}"
                command = ["--profile", "slurm", "--quiet", "rules", option]
                variants[key] = partial(_call, folder, command, Path(name) / key, peaks[key])
        seconds = take_turns(variants, min(scope.repetitions, 3))
        for jobs in folders:
            planned = re.search(r"^total +(\d+)", (Path(name) / f"planning {jobs}").read_text(), re.MULTILINE)
            if planned is None or int(planned[1]) != jobs + 5:  # data, measure, table, metrics.csv, all
                raise AssertionError(f"the grid of {jobs} jobs is another: {planned}")
    for what in ("reading rules", "planning"):
        over, under = f"{what} {many}", f"{what} {few}"
        about = {"peak_mb_over": peaks[over], "peak_mb_under": peaks[under]}
        notes = (
            f"{statistics.median(seconds[key].wall):.1f} s and {statistics.median(peaks[key]):.0f} MB at {jobs} jobs"
            for key, jobs in ((over, many), (under, few))
        )
        yield Ratio(f"{what}, {many} jobs ÷ {few} jobs", seconds[over], seconds[under], None, about, ", ".join(notes))


def write_grid(folder: Path, teachers: int) -> None:
    """The project with a grid of teachers, their caches and students, one training a job."""
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
                "draw": "compare_table",
                "families": ["teachers", "students"],
                "seeds": 1,
            }
        },
    }
    config = {"scale": "many", "papers": [], "cache": {"max_bytes": None}, "grid": grid}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "workflow" / "scales" / "many.yaml").write_text(yaml.safe_dump({"scale": "many"} | SCALE))


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
