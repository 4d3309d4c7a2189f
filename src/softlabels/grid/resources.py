"""What a job asks of the machine: GPU, memory, time and disk, from recorded trainings or else from its spec.

The rules and `softlabels audit --jobs` ask the same `Estimator`. Nothing here decides a number, and no estimate need
be right: a job that fails is tried again with twice as much, one that runs out of time saves and goes on.
"""

from __future__ import annotations

import dataclasses
import math
import os
import statistics
from collections import defaultdict
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from softlabels.errors import SoftlabelsError
from softlabels.files import read_json
from softlabels.grid import costs
from softlabels.grid.identity import CacheNeed, caches_of, run_id
from softlabels.grid.jobs import Job
from softlabels.grid.plan import Plan
from softlabels.grid.spec import ModelSpec, Run, UserLogits
from softlabels.grid.tasks import task_of
from softlabels.layout import Layout

CPUS = 1  # per job: what CPU trainings promise (the same bits) holds for one thread
STARTUP_MINUTES = 5.0  # of a job: Snakemake twice, torch from a shared file system, data onto the device
TIME_MARGIN = 2.0  # nodes and neighbours differ
MEMORY_MARGIN = 1.25  # over a recorded peak
SNAKEMAKE_MB = 500  # two snakemake processes stand around the command in a SLURM job (221 MB were not enough)
BASE_MB = {"cpu": 800, "gpu": 3000}  # with torch: 430 (CPU build), 680 (CUDA build) seen; on a GPU assumed
RESIDENT_BYTES = 8 << 30  # larger splits stay memory-mapped (training/images.py)
COPIES = 16  # of the weights: with gradients, two buffers, average and best; a checkpoint holds most of it twice more
UNKNOWN_PARAMETERS = 100_000_000  # of an import path
DECODED_PER_SECOND = 150  # images of 500×375 pixels, by one process
WORKER_MB = 300  # of a process that decodes
SMALL_BATCH_FLOPS = 1.5e11  # one forward pass of a batch; below it (CIFAR, MNIST) a network leaves much of a GPU idle


@dataclass(frozen=True)
class Resources:
    """What one job asks for."""

    gpu: int | None
    """None: the rule does not say, so that the profile decides."""
    shards: int
    """SLURM shards of a GPU instead of a whole one."""
    cpus: int
    mem_mb: int
    disk_mb: int
    minutes: int
    """`runtime`, the time limit."""


class Recorded:
    """Finished trainings in the store, each read once and only when it is asked for."""

    def __init__(self, plan: Plan, layout: Layout) -> None:
        self.plan, self.layout = plan, layout
        # Groups are large, and every run of one asks.
        self.of, self._of_group = cache(self._read), cache(self._measured_in)

    @cached_property
    def names(self) -> frozenset[str]:
        """Runs of which the store has anything, of this plan or not."""
        try:
            return frozenset(os.listdir(self.layout.root / "store"))
        except OSError:
            return frozenset()

    def _read(self, run: str) -> dict[int, dict[str, Any]]:
        """Seed → `run.json` of a finished training; one that cannot be read counts as not there."""
        found = {}
        for path in (self.layout.root / "store" / run).glob("seed*/run.json") if run in self.names else ():
            seed = path.parent.name.removeprefix("seed")
            try:
                record = read_json(path)
            except SoftlabelsError:
                continue
            if seed.isdecimal() and isinstance(record, dict) and record.get("status") == "finished":
                found[int(seed)] = record
        return found

    @cached_property
    def _groups(self) -> dict[tuple[Any, ...], list[str]]:
        """The runs of the plan; those of a group differ in targets only."""
        groups = defaultdict(list)
        for name, run in self.plan.runs.items():
            groups[run.dataset, run.model, run.recipe].append(name)
        return groups

    def measured(self, name: str, field: str) -> list[float]:
        """A number of every recorded seed of a run, else of every run that differs from it in targets only."""
        run = self.plan.runs[name]
        return self._numbers([name], field) or self._of_group((run.dataset, run.model, run.recipe), field)

    def _measured_in(self, group: tuple[Any, ...], field: str) -> list[float]:
        return self._numbers(self._groups[group], field)

    def _numbers(self, runs: list[str], field: str) -> list[float]:
        values = (record.get(field) for run in runs for record in self.of(run).values())
        return [float(value) for value in values if isinstance(value, int | float)]

    def seconds(self, job: Job) -> tuple[float, str]:
        """Device seconds of a job and where they come from: `recorded`, `flops` or `unknown`."""
        if job.makes is None and (found := self.measured(run_id(job.run), "seconds")):
            return statistics.fmean(found) + costs.START_SECONDS, "recorded"
        estimated = costs.seconds(job.run, job.makes, self.plan.rate(job.run))
        return (0.0, "unknown") if estimated is None else (estimated, "flops")


class Estimator:
    """The resources of every job of a plan; each is estimated once, when first asked for."""

    def __init__(self, plan: Plan, layout: Layout, recorded: Recorded | None = None) -> None:
        self.plan, self.jobs, self.recorded = plan, plan.jobs, recorded or Recorded(plan, layout)
        self._first: dict[Path, Resources] = {}

    def of(self, job: Job, attempt: int = 1) -> Resources:
        """What a job asks for; twice the memory and time with every further attempt."""
        output = job.output
        if output not in self._first:
            self._first[output] = self._estimate(job)
        first, growth = self._first[output], 2 ** (attempt - 1)
        minutes = min(first.minutes * growth, self.jobs.max_minutes)
        return dataclasses.replace(first, mem_mb=first.mem_mb * growth, minutes=minutes)

    @cached_property
    def gpus(self) -> int | None:
        """GPUs of a job that shares none. A login node without a driver knows nothing of the nodes: there, `auto`
        leaves it open."""
        if self.jobs.device == "cpu":
            return 0
        # Kernel modules of NVIDIA make this file; looking for it needs no torch.
        return 1 if self.jobs.device != "auto" or Path("/dev/nvidiactl").exists() else None

    def gpu(self, job: Job) -> int | None:
        """GPUs of a job; None where only the profile knows."""
        return 0 if self.shards(job) else self.gpus

    def shards(self, job: Job) -> int:
        """What a job takes of a GPU that it shares: its networks are small, and the site can share. Else 0."""
        shares = self.jobs.gpu_share if self.jobs.device != "cpu" else None
        return shares if shares and _is_small(job) else 0

    def workers(self, job: Job) -> int:
        """Processes that decode images beside a job; 0 where images are no files."""
        return self.jobs.workers if task_of(job.run).decodes else 0

    def _estimate(self, job: Job) -> Resources:
        done = self._is_done(job)
        base = BASE_MB["cpu" if self.jobs.device == "cpu" else "gpu"]
        memory = base if done else self._mem_mb(job, base)
        minutes = STARTUP_MINUTES + (0.0 if done else TIME_MARGIN * self._minutes(job))
        written = 0 if done else self._written(job) + self._staged(job)
        return Resources(
            gpu=self.gpu(job),
            shards=self.shards(job),
            cpus=CPUS + self.workers(job),
            mem_mb=SNAKEMAKE_MB + WORKER_MB * self.workers(job) + math.ceil(memory),
            disk_mb=100 + math.ceil(written / 1e6),
            minutes=min(math.ceil(minutes), self.jobs.max_minutes),
        )

    def _is_done(self, job: Job) -> bool:
        """Whether a job only publishes a training that the store has."""
        return job.makes is None and job.seed in self.recorded.of(run_id(job.run))

    def _minutes(self, job: Job) -> float:
        seconds, source = self.recorded.seconds(job)
        if source == "recorded":
            return seconds / 60
        minutes = self.jobs.max_minutes if source == "unknown" else seconds / 60
        if not task_of(job.run).decodes:
            return minutes
        rate = DECODED_PER_SECOND * max(1, self.jobs.workers)
        return max(minutes, costs.examples_seen(job.run, job.makes) / rate / 60)

    def _mem_mb(self, job: Job, base: int) -> float:
        """Of the command alone: the recorded peak, else arrays, weights and what is computed with them."""
        run, makes, task = job.run, job.makes, task_of(job.run)
        data = task.split_bytes()
        resident = 0 if task.decodes else sum(size for size in data.values() if size <= RESIDENT_BYTES)
        mapped = sum(data.values()) - resident + sum(need.bytes for need in caches_of(run))
        # A recorded peak counts every mapped page that was in memory, which the system would have given back.
        if makes is None and mapped <= RESIDENT_BYTES and (peaks := self.recorded.measured(run_id(run), "peak_mb")):
            return max(base, MEMORY_MARGIN * max(peaks))
        weights = sum(_weight_bytes(run, model) for model in _networks(job))
        match makes:
            case CacheNeed():
                working = task.caching_bytes(math.ceil(makes.rows * makes.row_bytes))
            case None:
                working = (COPIES - 1) * _weight_bytes(run, run.model)
                working += task.training_bytes(self.jobs.device == "cpu")
            case _:
                working = task.probing_bytes(makes)
        return base + (resident + weights + working) / 1e6

    def _written(self, job: Job) -> int:
        """Bytes of what a job leaves behind, and of the checkpoints that it keeps meanwhile."""
        run, makes, task = job.run, job.makes, task_of(job.run)
        if isinstance(makes, CacheNeed):
            return makes.bytes
        if makes is not None:
            return task.probe_bytes(makes)
        return task.prediction_bytes() + _weight_bytes(run, run.model) * task.weights_written()

    def _staged(self, job: Job) -> int:
        """Bytes that a job copies to the node: prepared data, and the caches that a student reads."""
        if self.jobs.stage is None:
            return 0
        read = caches_of(job.run) if job.makes is None else ()
        return sum(task_of(job.run).split_bytes().values()) + sum(need.bytes for need in read)


def _networks(job: Job) -> list[ModelSpec]:
    """What runs in a job: the teacher for a cache, else the run's own and one that teaches it online."""
    run, makes = job.run, job.makes
    if isinstance(makes, CacheNeed):
        return [] if isinstance(makes.teacher.run, UserLogits) else [makes.teacher.run.model]
    online = costs.online_teacher(run) if makes is None else None
    return [run.model, online] if online else [run.model]


def _is_small(job: Job) -> bool:
    """Whether the networks of a job, on batches as in training, stay below `SMALL_BATCH_FLOPS`."""
    task = task_of(job.run)
    flops = [task.forward_flops(model) for model in _networks(job)]
    return all(f is not None and f * task.examples_per_step() < SMALL_BATCH_FLOPS for f in flops)


def _weight_bytes(run: Run, model: ModelSpec) -> int:
    known = task_of(run).parameters(model)
    return 4 * (UNKNOWN_PARAMETERS if known is None else known)
