"""One process that makes several things one after another, and stops in time."""

from __future__ import annotations

import contextlib
import gc
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from softlabels import slurm
from softlabels.data.load import Data, open_data
from softlabels.errors import SoftlabelsError, SpecError, Stopped
from softlabels.grid.identity import CacheNeed, dataset_id, run_id
from softlabels.grid.spec import DatasetSpec, Run
from softlabels.layout import Layout
from softlabels.training.images import ImageSplit, open_split

FIXED_BATCH_HINT = "batches have one size here, whatever the recipe says, so take a larger device, or device: cpu"
"""The hint when caches and probes run out of memory; their numbers must not depend on how much there is."""


@dataclass
class Worker:
    """One process: a device, the data it has loaded, and whether it has to stop."""

    layout: Layout
    device: torch.device
    checkpoint_seconds: float = 60.0
    stage: Path | None = None  # local disk, to which what is read is copied first
    workers: int = 0  # processes that decode images kept as files; no number depends on it
    stopping: bool = False
    progressed: bool = False  # something has been finished
    deadline: float | None = field(default_factory=slurm.deadline)
    corpora: dict[str, Any] = field(default_factory=dict)
    """Prepared corpora that are open, by the ids of their data (`translation.job.corpus_of`)."""
    _last_check: float | None = None
    _longest: float = 0.0
    _data: dict[str, tuple[Data, dict[str, ImageSplit]]] = field(default_factory=dict)

    @contextlib.contextmanager
    def stop_on_signals(self) -> Iterator[None]:
        """SIGTERM, SIGINT (Ctrl-C) and SIGUSR1 let the current step end, then save."""

        def stop(*_: object) -> None:
            self.stopping = True

        before = {s: signal.signal(s, stop) for s in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def reset_timer(self) -> None:
        """Start to measure steps: what came before, like loading data, is none."""
        self._last_check = None

    def asked_to_stop(self) -> bool:
        """Whether a signal has come, or SLURM's limit is so near that what lies between two such questions (steps, an
        evaluation, a save) might no longer end in time."""
        now = time.monotonic()
        if self._last_check is not None:
            self._longest = max(self._longest, now - self._last_check)
        self._last_check = now
        return self.stopping or (self.deadline is not None and now + 2 * self._longest > self.deadline)

    def images(self, dataset: DatasetSpec, split: str) -> ImageSplit:
        """A split on the device, loaded once per process."""
        key = dataset_id(dataset)
        if key not in self._data:
            self._data[key] = (open_data(self.layout.data(key), self.stage), {})
        data, splits = self._data[key]
        if split not in splits:
            splits[split] = open_split(data, split, self.device, self.workers)
        return splits[split]


Caches = Sequence[tuple[CacheNeed, dict[str, Any]]]
"""What a training reads, each with what its manifest must say."""


@dataclass(frozen=True)
class Finished:
    """What a finished training hands over for its record."""

    history: Sequence[dict[str, Any]]
    files: Sequence[str]
    """Names of what it has written."""
    about: dict[str, Any]
    clean_up: Callable[[], None]
    """Removes the state of the unfinished training; called when the record is written."""
    versions: dict[str, str] = field(default_factory=dict)
    """Of packages that only this task needs."""


def require_units(worker: Worker, network: object) -> None:
    """Refuse to compute on a CPU what is declared in bf16, for which it has no units: 3 to 15 times slower than fp32.

    Raises:
        SpecError: a run whose recipe says bf16, on a CPU.
    """
    if worker.device.type == "cpu" and isinstance(network, Run) and network.recipe.precision.autocast == "bf16":
        raise SpecError(
            f"{run_id(network)}: recipe.precision asks for bf16 and this job computes on a CPU, which has no units for "
            "it; set device: cpu in config.yaml, which plans such runs in fp32, or give the job a GPU"
        )


def run_jobs(worker: Worker, jobs: Sequence[tuple[Any, ...]], make: Callable[..., None], memory_hint: str) -> None:
    """Make every (id, seed, …); one that fails does not keep the others from being made.

    Args:
        memory_hint: what to do about one that does not fit into the memory of the device.

    Raises:
        Stopped: asked to stop; what is finished stays, the current one has saved its state.
        SoftlabelsError: the first failure, after the others have been made.
    """
    failures: list[SoftlabelsError] = []
    with worker.stop_on_signals():
        for job in jobs:
            try:
                make(*job)
                continue
            except Stopped as stop:
                stop.progressed |= worker.progressed
                raise
            except SoftlabelsError as error:
                # The frames of a traceback hold the network of the one that failed, and the next one needs the room.
                error.__context__ = None
                failures.append(error.with_traceback(None))
            except torch.OutOfMemoryError:
                failures.append(
                    SoftlabelsError(f"{job[0]} seed {job[1]} does not fit into the memory of the device: {memory_hint}")
                )
            gc.collect()  # trainers and what they call refer to each other
            torch.cuda.empty_cache()
            if len(jobs) > 1:
                print(f"failed, going on with the others: {failures[-1]}")
    if failures:
        raise failures[0]
