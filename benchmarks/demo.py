"""(e) Of the processor time that the demo holds, the part in which networks train; and the audit's estimate of it.

Seconds of training (the sum over all `run.json`) ÷ (wall time × cores of the one `snakemake` call that trained them
all). The rest is start-up of processes, data, caches, metrics, figures, and cores that wait.

Estimated seconds of all jobs, as before anything has been recorded, ÷ those that the same jobs took, by kind.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.dry_run import ROOT, copy_project, snakemake
from benchmarks.measure import Ratio, Scope, Seconds, Unavailable
from softlabels.files import read_json
from softlabels.grid import costs
from softlabels.grid.config import read_yaml
from softlabels.grid.expand import load_plan
from softlabels.grid.identity import CacheNeed, run_id
from softlabels.grid.jobs import Job, every_job
from softlabels.layout import Layout

ESTIMATE = ("factor", 2.0)


@dataclass(frozen=True)
class Call:
    """One finished call of snakemake, from its log."""

    begun: datetime
    wall: timedelta
    cores: int


def run(scope: Scope) -> Iterator[Ratio]:
    """From the last complete demo of this checkout, else from one run in a temporary copy."""
    try:
        yield from ratios(ROOT)
        return
    except Unavailable as reason:
        if scope.quick:
            raise
        print(f"demo: {reason}; running it in a temporary copy", flush=True)
    with TemporaryDirectory() as name:
        project = Path(name) / "project"
        copy_project(project)
        snakemake(project, "--cores", str(os.cpu_count()), "--quiet", "rules", "--config", "scale=demo")
        yield from ratios(project)


def ratios(project: Path) -> list[Ratio]:
    """All that is said of a project's last complete demo (raises as `measure` and `estimated`)."""
    return [measure(project), *estimated(project)]


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


def estimated(project: Path) -> Iterator[Ratio]:
    """The audit's estimate ÷ what it took, of each kind of job and of all.

    Raises:
        Unavailable: a job of today's plan has not been run by today's rules.
    """
    plan = load_plan({**read_yaml(project / "config.yaml"), "scale": "demo"}, project)
    pairs: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for job in every_job(plan, Layout(project / "results" / "demo")).values():
        kind = f"train {job.run.task}" if job.makes is None else job.rule
        estimate = costs.seconds(job.run, job.makes, plan.rate(job.run))
        if estimate is None:
            raise AssertionError(f"the demo has a job of unknown cost: {job.output}")
        pairs[kind].append((estimate, took(job)))
    pairs["all"] = [pair for own in pairs.values() for pair in own]
    for kind, own in pairs.items():
        over, under = (sum(side) for side in zip(*own, strict=True))
        note = f"{over:.0f} s said, {under:.0f} s taken by {len(own)} jobs"
        title = f"demo, {kind}: audit's estimate ÷ what it took"
        yield Ratio(title, Seconds([over]), Seconds([under]), ESTIMATE, {"jobs": len(own)}, note)


def took(job: Job) -> float:
    """Seconds of a job's command, by Snakemake's benchmark; of a training at least those of its record, because a job
    that only published it again has left a short benchmark (raises as `estimated`)."""
    seed = f"seed{job.seed}"
    if job.makes is None:
        name = f"train/{run_id(job.run)}/{seed}"
    elif isinstance(job.makes, CacheNeed):
        name = f"cache/{job.makes.id}/{seed}"
    else:
        name = f"{job.rule}/{run_id(job.run)}/{seed}/{job.output.stem}"
    path = job.layout.root / "benchmarks" / f"{name}.tsv"
    if not path.is_file():
        raise Unavailable(f"{path} is missing: the demo was not made by today's rules")
    seconds = float(path.read_text().splitlines()[1].split("\t")[0])
    return seconds if job.makes is not None else max(seconds, read_json(job.output)["seconds"])


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
