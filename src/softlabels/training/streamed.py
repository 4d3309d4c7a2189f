"""Pictures kept as files, decoded ahead of the network in processes of their own.

What comes out does not depend on how many processes there are: views are functions of counters, and batches come in the
order in which they were asked for.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from softlabels.data.load import Data
from softlabels.data.packed import UNDECODABLE, Packed
from softlabels.errors import DataError, SoftlabelsError
from softlabels.grid.recipe import Augment
from softlabels.training.pictures import Asked, Pictures
from softlabels.training.views import draw, plain_view, view_of

CHUNK = 16  # pictures that one process decodes at a time; small, because chunks that wait lie in shared memory
AHEAD = 4  # chunks per process


class Streamed(Pictures):
    """One split of files; `workers` processes decode while the network computes, 0: none, in this process."""

    asked_at_once = 128  # their views are larger than those of arrays

    def __init__(self, data: Data, split: str, device: torch.device, workers: int = 0) -> None:
        self.data, self.device, self.split, self.workers = data, device, split, workers
        self.labels = torch.from_numpy(np.array(data.labels(split))).to(device)
        self.ids = torch.from_numpy(np.array(data.ids(split))).to(device)
        self._files = data.files(split)
        self._host_ids = self.ids.cpu()

    def stream(self, asked: Iterable[Asked], stream: int, augment: Augment) -> Generator[tuple[Asked, Tensor]]:
        return self._batches(asked, stream, augment, self.workers)

    def view(self, positions: Tensor, views: Tensor, stream: int, augment: Augment) -> Tensor:
        return next(self._batches([Asked(positions, views)], stream, augment, 0))[1]

    def plain(self, positions: Tensor, augment: Augment) -> Tensor:
        return next(self._batches([Asked(positions, None)], 0, augment, 0))[1]

    def _batches(
        self, asked: Iterable[Asked], stream: int, augment: Augment, workers: int
    ) -> Generator[tuple[Asked, Tensor]]:
        waiting: list[Asked] = []  # asked for and not handed out; the loader takes them as far ahead as it works

        def chunks() -> Iterator[Asked]:
            for batch in asked:
                batch = batch.to(torch.device("cpu"))
                waiting.append(batch)
                for start in range(0, len(batch.positions), CHUNK):
                    part = slice(start, start + CHUNK)
                    yield Asked(batch.positions[part], None if batch.views is None else batch.views[part])

        maker = _Maker(self._files, self._host_ids, stream, augment)
        decoded = _loaded(maker, chunks(), workers, self.device)
        with contextlib.closing(decoded):
            for chunk in decoded:
                batch, filled = waiting.pop(0), 0
                pictures = torch.empty((len(batch.positions), *chunk.shape[1:]), device=self.device)
                while True:
                    pictures[filled : filled + len(chunk)] = chunk.to(self.device, non_blocking=True)
                    filled += len(chunk)
                    if filled == len(pictures):
                        break
                    chunk = next(decoded)
                yield batch.to(self.device), pictures


@dataclass(frozen=True)
class _Maker(Dataset[Any]):
    """From what is asked for to pixels, uint8 `[n, 3, side, side]`; the message of an error where it fails."""

    files: Packed
    ids: Tensor
    stream: int
    augment: Augment

    def __getitem__(self, asked: Asked) -> Tensor | str:
        side, positions = self.augment.side, asked.positions.numpy()
        assert side is not None
        out = np.empty((len(positions), 3, side, side), dtype=np.uint8)
        drawn = None
        if asked.views is not None:
            ids = self.ids[asked.positions]
            drawn = draw(self.files.sizes[positions], ids, asked.views, self.stream, self.augment)
        for b, position in enumerate(positions):
            try:
                picture = self.files.picture(position)
            except UNDECODABLE as error:
                return f"picture {self.ids[position]} does not decode ({error}): what was packed has changed"
            view = plain_view(picture, self.augment) if drawn is None else view_of(picture, drawn, b, self.augment)
            for channel, band in enumerate(view.split()):  # faster than to transpose
                out[b, channel] = np.asarray(band)
        return torch.from_numpy(out)


def _loaded(maker: _Maker, chunks: Iterator[Asked], workers: int, device: torch.device) -> Generator[Tensor]:
    """The chunks in order, from processes that run ahead.

    Raises:
        DataError: a picture that does not decode.
        SoftlabelsError: a process has died.
    """
    loader: DataLoader[Any] = DataLoader(
        maker,
        batch_size=None,
        sampler=chunks,
        num_workers=workers,
        prefetch_factor=AHEAD if workers else None,
        pin_memory=device.type == "cuda",
        worker_init_fn=_in_worker,
        generator=torch.Generator(),  # else the loader draws from the one that dropout draws from
        multiprocessing_context="fork" if workers else None,
    )
    with _own_sigchld():
        found = iter(loader)
    try:
        for chunk in _without_torchs_words(found):
            if isinstance(chunk, str):
                raise DataError(f"{chunk}; delete the prepared data and run again")
            yield chunk
    finally:
        del found  # ends the processes


def _without_torchs_words(found: Iterator[Any]) -> Iterator[Any]:
    while True:
        try:
            chunk = next(found)
        except StopIteration:
            return
        except (RuntimeError, OSError, EOFError) as error:  # the last two: in the midst of handing over a chunk
            if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
                raise
            raise SoftlabelsError(
                "a process that decodes pictures has died, as when memory (or shared memory, /dev/shm) runs out; "
                "lower jobs.workers or give the job more memory, and run again"
            ) from None
        yield chunk


def _in_worker(_: int) -> None:
    """Signals are for the job: it ends its processes when it has saved. (Killed itself, they see it and end.)"""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def _own_sigchld() -> Iterator[None]:
    """Keep torch from raising at any place of the training when a process dies; the next batch tells."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)
