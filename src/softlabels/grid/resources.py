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
from softlabels.grid import corpora, costs, datasets, transformers
from softlabels.grid.datasets import view_shape
from softlabels.grid.identity import BYTES_PER_LOGIT, CacheNeed, caches_of, run_id
from softlabels.grid.packs import Member, Pack
from softlabels.grid.plan import Plan
from softlabels.grid.probes import AnyProbe, PictureProbe, Translations
from softlabels.grid.spec import ModelSpec, Run, RunSpec, TranslationSpec, UserLogits
from softlabels.layout import Layout

CPUS = 1  # per job: what CPU trainings promise (the same bits) holds for one thread
STARTUP_MINUTES = 5.0  # of a job: Snakemake twice, torch from a shared file system, data onto the device
TIME_MARGIN = 2.0  # nodes and neighbours differ
MEMORY_MARGIN = 1.25  # over a recorded peak
SNAKEMAKE_MB = 500  # two snakemake processes stand around the command in a SLURM job (221 MB were not enough)
BASE_MB = {"cpu": 800, "gpu": 3000}  # with torch: 430 (CPU build), 680 (CUDA build) seen; on a GPU assumed
RESIDENT_BYTES = 8 << 30  # larger splits stay memory-mapped (training/pictures.py)
SHARD_BYTES = 256 << 20  # of a cache, unless one view is larger (cache/writer.py)
COPIES = 16  # of the weights: with gradients, two buffers, average and best; a checkpoint holds most of it twice more
CHECKPOINT_COPIES = {"image": 5, "translation": 12}  # of fairseq's: last, previous and new, with two buffers; the best
LOGIT_COPIES = 6  # of a batch of tokens by V types
ASKED_TOKENS = 4000  # of a batch outside training (translation/network.py)
UNKNOWN_PARAMETERS = 100_000_000  # of an import path
FEATURES = 2048  # d of penultimate layers, at most
DECODED_PER_SECOND = 150  # pictures of 500×375 pixels, by one process
WORKER_MB = 300  # of a process that decodes
FLOPS_PER_ACTIVATION = 100.0  # of convolutions, at least: how many activations training keeps on a CPU
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

    def hours(self, name: str) -> tuple[float, str]:
        """Device hours of one seed and where they come from: `benchmark`, `flops` or `unknown`."""
        if seconds := self.measured(name, "seconds"):
            return statistics.fmean(seconds) / 3600, "benchmark"
        flops = costs.training_flops(self.plan.runs[name])
        return (0.0, "unknown") if flops is None else (flops / self.plan.rate(self.plan.runs[name]) / 3600, "flops")


class Estimator:
    """The resources of every job of a plan; each is estimated once, when first asked for."""

    def __init__(self, plan: Plan, layout: Layout, recorded: Recorded | None = None) -> None:
        self.plan, self.jobs, self.recorded = plan, plan.jobs, recorded or Recorded(plan, layout)
        self._first: dict[str, Resources] = {}

    def of(self, pack: Pack, attempt: int = 1) -> Resources:
        """What the job of a pack asks for; twice the memory and time with every further attempt."""
        if pack.rule not in self._first:
            self._first[pack.rule] = self._estimate(pack)
        first, growth = self._first[pack.rule], 2 ** (attempt - 1)
        minutes = min(first.minutes * growth, self.jobs.max_minutes)
        return dataclasses.replace(first, mem_mb=first.mem_mb * growth, minutes=minutes)

    def gpu(self, pack: Pack) -> int | None:
        """GPUs of a job. A login node without a driver knows nothing of the nodes: there, `auto` leaves it open."""
        if self.jobs.device == "cpu" or self.shards(pack):
            return 0
        # Kernel modules of NVIDIA make this file; looking for it needs no torch.
        return 1 if self.jobs.device != "auto" or Path("/dev/nvidiactl").exists() else None

    def shards(self, pack: Pack) -> int:
        """What a job takes of a GPU that it shares: every network in it is small, and the site can share. Else 0."""
        small = self.jobs.device != "cpu" and all(_is_small(member) for member in pack.members)
        return (self.jobs.gpu_share or 0) if small else 0

    def workers(self, pack: Pack) -> int:
        """Processes that decode pictures beside a job; 0 where pictures are no files."""
        return self.jobs.workers if any(costs.decodes(member.run.dataset) for member in pack.members) else 0

    def _estimate(self, pack: Pack) -> Resources:
        left = [member for member in pack.members if not self._is_done(member)]
        minutes = STARTUP_MINUTES + TIME_MARGIN * sum(self._minutes(member) for member in left)
        base = BASE_MB["cpu" if self.jobs.device == "cpu" else "gpu"]
        largest = max((self._mem_mb(m, base) for m in left), default=base)
        return Resources(
            gpu=self.gpu(pack),
            shards=self.shards(pack),
            cpus=CPUS + self.workers(pack),
            mem_mb=SNAKEMAKE_MB + WORKER_MB * self.workers(pack) + math.ceil(largest),
            disk_mb=100 + math.ceil((self._written(left) + self._staged(left)) / 1e6),
            minutes=min(math.ceil(minutes), self.jobs.max_minutes),
        )

    def _is_done(self, member: Member) -> bool:
        """Whether the job only publishes it. (Snakemake deletes all probes of a job before it runs again.)"""
        match member.makes:
            case CacheNeed():
                return member.output.exists()
            case None:
                return member.seed in self.recorded.of(run_id(member.run))
        return False

    def _minutes(self, member: Member) -> float:
        if member.makes is None:
            hours, source = self.recorded.hours(run_id(member.run))
            if source == "benchmark":
                return 60 * hours
            minutes = self.jobs.max_minutes if source == "unknown" else 60 * hours
        else:
            flops = member.flops
            minutes = self.jobs.max_minutes if flops is None else flops / self.plan.rate(member.run) / 60
        if not costs.decodes(member.run.dataset):
            return minutes
        rate = DECODED_PER_SECOND * max(1, self.jobs.workers)
        return max(minutes, costs.seen(member.run, member.makes) / rate / 60)

    def _mem_mb(self, member: Member, base: int) -> float:
        """Of the command alone: the recorded peak, else arrays, weights and what is computed with them."""
        run, makes = member.run, member.makes
        data = costs.split_bytes(run.dataset)
        files = costs.decodes(run.dataset)
        resident = 0 if files else sum(size for size in data.values() if size <= RESIDENT_BYTES)
        mapped = sum(data.values()) - resident + sum(need.bytes for need in caches_of(run))
        # A recorded peak counts every mapped page that was in memory, which the system would have given back.
        if makes is None and mapped <= RESIDENT_BYTES and (peaks := self.recorded.measured(run_id(run), "peak_mb")):
            return max(base, MEMORY_MARGIN * max(peaks))
        weights = sum(_weight_bytes(run, model) for model in _networks(member))
        match makes:
            case CacheNeed():
                view = math.ceil(makes.rows * makes.row_bytes)  # one view of all images
                working = 2 * max(SHARD_BYTES, view) + 8 * (view // BYTES_PER_LOGIT)
                if isinstance(run, TranslationSpec):
                    working = 2 * SHARD_BYTES + _batch_bytes(run, ASKED_TOKENS)
            case None:
                working = (COPIES - 1) * _weight_bytes(run, run.model)
                if isinstance(run, TranslationSpec):
                    working += _batch_bytes(run, max(run.recipe.max_tokens, ASKED_TOKENS))
                elif self.jobs.device == "cpu":
                    batch = run.recipe.micro_batch or run.recipe.batch_size
                    working += math.ceil(4 * batch * (costs.forward_flops(run) or 0.0) / FLOPS_PER_ACTIVATION)
            case _:
                working = 2 * _probe_bytes(run, makes)
                working += _batch_bytes(run, ASKED_TOKENS) if isinstance(run, TranslationSpec) else 0
        return base + (resident + weights + working) / 1e6

    def _written(self, members: list[Member]) -> int:
        """Bytes of what a job leaves behind, and of the one checkpoint that it keeps meanwhile."""
        written = checkpoint = 0
        for run, _, makes, _ in members:
            match makes:
                case CacheNeed():
                    written += makes.bytes
                case None:
                    weights, kept = _weight_bytes(run, run.model), 2
                    if isinstance(run, RunSpec):
                        kept += len(run.recipe.all_milestones(datasets.sizes(run.dataset)["train"] or 1))
                    written += _prediction_bytes(run) + weights * kept
                    checkpoint = max(checkpoint, CHECKPOINT_COPIES[run.task] * weights)
                case _:
                    written += _probe_bytes(run, makes)
        return written + checkpoint

    def _staged(self, members: list[Member]) -> int:
        """Bytes that a job copies to the node: prepared data once, and the caches that students read."""
        if self.jobs.stage is None or not members:
            return 0
        read = {
            (need.id, need.seed(member.seed)): need.bytes
            for member in members
            if member.makes is None
            for need in caches_of(member.run)
        }
        return sum(costs.split_bytes(members[0].run.dataset).values()) + sum(read.values())


def _networks(member: Member) -> list[ModelSpec]:
    """What runs while a member is made: the teacher for a cache, else the run's own and one that teaches it online."""
    run, makes = member.run, member.makes
    if isinstance(makes, CacheNeed):
        return [] if isinstance(makes.teacher.run, UserLogits) else [makes.teacher.run.model]
    online = costs.online_teacher(run) if makes is None else None
    return [run.model, online] if online else [run.model]


def _is_small(member: Member) -> bool:
    """Whether the networks of a member, on batches as in training, stay below `SMALL_BATCH_FLOPS`."""
    run = member.run
    flops = [costs.forward_flops(run, model) for model in _networks(member)]
    return all(f is not None and f * costs.examples_per_step(run) < SMALL_BATCH_FLOPS for f in flops)


def _weight_bytes(run: Run, model: ModelSpec) -> int:
    known = costs.parameters(run, model)
    return 4 * (UNKNOWN_PARAMETERS if known is None else known)


def _prediction_bytes(run: Run) -> int:
    """Of what a run says about validation and test, last and best: logits in fp32, or activations in fp16."""
    sizes = costs.split_sizes(run.dataset)
    rows = (sizes["val"] or 0) + (sizes["test"] or 0)
    if isinstance(run, TranslationSpec):
        width: int = transformers.options(run.model)["dim"]
        return 4 * rows * width + 8 * corpora.vocabulary(run.dataset) * width
    return 8 * rows * datasets.info(run.dataset).num_classes


def _batch_bytes(run: TranslationSpec, tokens: int) -> int:
    """Of a batch in memory: logits of V types with gradient, target and temporaries, and every layer's activations."""
    o = transformers.options(run.model)
    layers = 2 * int(o["layers"]) * (20 * int(o["dim"]) + 4 * int(o["ffn"]))
    return 4 * tokens * (LOGIT_COPIES * corpora.vocabulary(run.dataset) + layers)


def _probe_bytes(run: Run, probe: AnyProbe) -> int:
    """Of one probe's file: of tokens the activations in fp32, of translations the text."""
    rows = costs.probe_rows(run, probe) * costs.probe_checkpoints(run, probe)
    if isinstance(probe, Translations):
        return 24 * rows
    if isinstance(run, TranslationSpec):
        width: int = transformers.options(run.model)["dim"]
        return 4 * width * rows
    assert isinstance(probe, PictureProbe)
    return probe.file_bytes(rows, datasets.info(run.dataset).num_classes, FEATURES, math.prod(view_shape(run)))
