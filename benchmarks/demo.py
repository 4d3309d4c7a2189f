"""(e) Of the processor time that the demo holds, the part in which networks train.

Seconds of training (the sum over all `run.json`) ÷ (wall time × cores of the one `snakemake` call that trained them
all). The rest is start-up of processes, data, caches, metrics, figures, and cores that wait.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.dry_run import ROOT, copy_project, snakemake
from benchmarks.measure import Ratio, Scope, Seconds, Unavailable
from softlabels.files import read_json


@dataclass(frozen=True)
class Call:
    """One finished call of snakemake, from its log."""

    begun: datetime
    wall: timedelta
    cores: int


def run(scope: Scope) -> Iterator[Ratio]:
    """From the last complete demo of this checkout, else from one run in a temporary copy."""
    try:
        yield measure(ROOT)
        return
    except Unavailable as reason:
        if scope.quick:
            raise
        print(f"demo: {reason}; running it in a temporary copy", flush=True)
    with TemporaryDirectory() as name:
        project = Path(name) / "project"
        copy_project(project)
        snakemake(project, "--cores", str(os.cpu_count()), "--quiet", "rules", "--config", "scale=demo")
        yield measure(project)


def measure(project: Path) -> Ratio:
    """The ratio of a project's last complete demo.

    Raises:
        Unavailable: no single call trained all the networks that are there.
    """
    records = list((project / "results" / "demo" / "runs").glob("*/seed*/run.json"))
    written = [datetime.fromtimestamp(path.stat().st_mtime) for path in records]
    logs = sorted((project / ".snakemake" / "log").glob("*.snakemake.log"), reverse=True)
    for call in filter(None, map(read_log, logs)):
        # the log gives whole seconds
        if written and all(call.begun <= t <= call.begun + call.wall + timedelta(seconds=1) for t in written):
            training = sum(read_json(path)["seconds"] for path in records)
            wall = call.wall.total_seconds()
            about = {"trainings": len(records), "wall": wall, "cores": call.cores, "training": training}
            title = "demo: training ÷ (wall × cores)"
            return Ratio(title, Seconds([training]), Seconds([wall * call.cores]), None, about)
    raise Unavailable("no single snakemake call trained all networks of results/demo")


def read_log(path: Path) -> Call | None:
    """A call that ran jobs to its end without an error, else None."""
    text = path.read_text(errors="replace")
    begun = re.search(r"^  Date: (.+)$", text, re.MULTILINE)
    cores = re.search(r"^Provided cores: (\d+)", text, re.MULTILINE)
    wall = re.search(r"^Elapsed time: (\d+):(\d+):([\d.]+)$", text, re.MULTILINE)
    if not (begun and cores and wall) or "Exiting because" in text:
        return None
    hours, minutes, seconds = wall.groups()
    length = timedelta(hours=int(hours), minutes=int(minutes), seconds=float(seconds))
    return Call(datetime.fromisoformat(begun[1]), length, int(cores[1]))
