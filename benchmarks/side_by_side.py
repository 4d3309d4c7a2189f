"""What a newcomer waits for, at two commits on one machine: `python -m benchmarks.side_by_side 893d97d HEAD`.

Each step is run in a fresh clone of each commit, one after the other, and its wall and processor seconds are printed:
set-up, `make demo` to the report, the whole demo, one figure redrawn, a dry run of one figure and of the paper grid.
It takes as long as all of that. pip's cache and the machine's disk cache are shared.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
STEPS = {
    "setup": "make setup",
    "demo": "make demo",
    "demo-full": "if grep -q 'scale=tour' Makefile; then make demo-full; else make demo; fi",
    "figure redrawn": "{redraw}; snakemake --cores 2 --quiet rules muller2019_fig5 --config scale=demo",
    "dry run of a figure": "snakemake -n --quiet rules muller2019_fig5 --config scale=paper",
    "dry run of the paper grid": "snakemake -n --quiet rules --config scale=paper",
}
REDRAW = "rm -f results/demo/figures/muller2019/fig5.* results/demo/metrics/muller2019/fig5.*"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.side_by_side", description=__doc__)
    parser.add_argument("commits", nargs="+", help="two or more commits, oldest first")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS))
    options = parser.parse_args()
    with TemporaryDirectory() as name:
        clones = {commit: Path(name) / str(number) for number, commit in enumerate(options.commits)}
        for commit, folder in clones.items():
            subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
            subprocess.run(["git", "checkout", "--quiet", commit], cwd=folder, check=True)
            print(f"{commit}: {lines(folder, 'rules')} lines of rules, {lines(folder, 'src')} of src", flush=True)
        for step in options.steps:
            for commit, folder in clones.items():
                wall, cpu = timed(STEPS[step].format(redraw=REDRAW), folder)
                print(f"{step}, {commit}: {wall:.1f} s wall, {cpu:.1f} s of processors", flush=True)
    return 0


def timed(command: str, folder: Path) -> tuple[float, float]:
    """Wall and processor seconds of a shell command with the environment of a clone; its output goes to a log there."""
    environment = os.environ | {"PATH": f"{folder / '.venv/bin'}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("PYTHONPATH", None)
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with open(folder / "side_by_side.log", "ab") as log:
        done = subprocess.run(["bash", "-c", command], cwd=folder, env=environment, stdout=log, stderr=log)
    wall, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        print("".join((folder / "side_by_side.log").read_text().splitlines(keepends=True)[-30:]), file=sys.stderr)
        raise SystemExit(f"{command} failed in {folder}")
    return wall, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def lines(folder: Path, part: str) -> int:
    """Lines of the files of a folder that git tracks."""
    names = subprocess.run(["git", "ls-files", part], cwd=folder, capture_output=True, text=True, check=True).stdout
    paths = (folder / name for name in names.splitlines())
    return sum(len(path.read_bytes().splitlines()) for path in paths if path.suffix in (".py", ".smk", ".yaml"))


if __name__ == "__main__":
    raise SystemExit(main())
