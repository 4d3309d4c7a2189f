"""(d) `snakemake -n` of the paper grid ÷ that of a minimal Snakefile with the same jobs and files.

The minimal one has the very graph of the grid (job for job, input for input, output for output) and nothing else: no
configuration, no specs, no resources, no logs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measure import Ratio, Scope, take_turns

AIM = ("≤", 1.15)
ROOT = Path(__file__).resolve().parents[1]
MINIMAL = """\
import json

JOBS = json.load(open("jobs.json"))


rule all:
    input:
        JOBS["all"],


for count in JOBS["counts"]:

    rule:
        name:
            f"make_{count}"
        input:
            lambda wildcards: JOBS["inputs"][wildcards.job],
        output:
            [f"made/{count}/{{job}}/{i}" for i in range(count)],
        shell:
            "touch {output}"
"""

Jobs = list[tuple[list[str], list[str]]]  # inputs and outputs of each


def run(scope: Scope) -> Iterator[Ratio]:
    scale = "demo" if scope.quick else "paper"
    options = ["--config", f"scale={scale}"]
    with TemporaryDirectory() as name:
        grid, minimal = Path(name) / "grid", Path(name) / "minimal"
        copy_project(grid)
        jobs = planned(grid, *options)
        write_minimal(minimal, jobs)
        count = len(planned(minimal))
        if count != len(jobs):
            raise AssertionError(f"the minimal Snakefile has {count} jobs, the grid {len(jobs)}")
        seconds = take_turns(
            {
                "grid": partial(snakemake, grid, "-n", "-q", *options),
                "minimal": partial(snakemake, minimal, "-n", "-q"),
            },
            scope.repetitions,
        )
    about = {
        "jobs": len(jobs),
        "inputs": sum(len(inputs) for inputs, _ in jobs),
        "outputs": sum(len(outputs) for _, outputs in jobs),
    }
    title = f"snakemake -n, {scale} grid ÷ minimal Snakefile of {len(jobs)} jobs"
    yield Ratio(title, seconds["grid"], seconds["minimal"], AIM, about)


def copy_project(to: Path) -> None:
    """The workflow without any results."""
    to.mkdir(parents=True)
    for name in ("Snakefile", "config.yaml"):
        shutil.copy(ROOT / name, to / name)
    for name in ("rules", "workflow", "envs"):
        shutil.copytree(ROOT / name, to / name)


def link_profiles(folder: Path) -> None:
    """As in the project: where Snakemake finds `--profile slurm`, and the profile that it always reads."""
    (folder / "profiles").symlink_to("workflow/profiles")
    (folder / "slurm").symlink_to("workflow/profiles/slurm")


def snakemake(folder: Path, *arguments: str) -> str:
    """Run this environment's snakemake in a folder; its standard output and error."""
    binaries = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    command = [str(binaries / "snakemake"), *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed in {folder}:\n{done.stdout[-4000:]}")
    return done.stdout


def planned(folder: Path, *options: str) -> Jobs:
    """Inputs and outputs of every job of a dry run."""
    jobs: Jobs = []
    for line in snakemake(folder, "-n", *options).splitlines():
        if re.fullmatch(r"(local)?(rule|checkpoint) \S+:", line):
            jobs.append(([], []))
        elif found := re.fullmatch(r"    (input|output): (.*)", line):
            jobs[-1][found[1] == "output"].extend(found[2].split(", "))
    return jobs


def write_minimal(folder: Path, jobs: Jobs) -> None:
    """The same graph under other names; a job of n outputs is made by the rule for n outputs."""
    made = {
        path: f"made/{len(outputs)}/{job}/{i}"
        for job, (_, outputs) in enumerate(jobs)
        for i, path in enumerate(outputs)
    }
    final = next(inputs for inputs, outputs in jobs if not outputs)  # rule all
    folder.mkdir()
    (folder / "Snakefile").write_text(MINIMAL)
    contents = {
        "all": [made[path] for path in final],
        "counts": sorted({len(outputs) for _, outputs in jobs if outputs}),
        "inputs": {str(job): [made[path] for path in inputs] for job, (inputs, _) in enumerate(jobs)},
    }
    (folder / "jobs.json").write_text(json.dumps(contents))
