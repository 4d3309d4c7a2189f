"""Images kept as files, decoded ahead of the network in processes of their own, and their views.

No number depends on how many processes there are: a view is a function of the image and of (augment_seed, sample id,
view), and batches come in the order of their indices. Views do what torchvision's transforms of the same names do, with
random numbers that are functions of counters.
"""

from __future__ import annotations

import contextlib
import math
import signal
import threading
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from softlabels.data.load import Data
from softlabels.data.packed import UNDECODABLE, Packed
from softlabels.errors import DataError, SoftlabelsError
from softlabels.grid.parts.recipe import RATIO, Augment
from softlabels.training.augment import integers, uniform
from softlabels.training.images import BatchIndex, ImageSplit

CHUNK = 16  # images that one process decodes at a time; small, because chunks that wait lie in shared memory
AHEAD = 4  # chunks per process


class JpegSplit(ImageSplit):
    """One split of files; `workers` processes decode while the network computes, 0: none, in this process."""

    evaluation_batch = 128  # their views are larger than those of arrays

    def __init__(self, data: Data, split: str, device: torch.device, workers: int = 0) -> None:
        self.data, self.device, self.split, self.workers = data, device, split, workers
        self.labels = torch.from_numpy(np.array(data.labels(split))).to(device)
        self.ids = torch.from_numpy(np.array(data.ids(split))).to(device)
        self._files = data.files(split)
        self._host_ids = self.ids.cpu()

    def batches(
        self, indices: Iterable[BatchIndex], augment_seed: int, augment: Augment
    ) -> Generator[tuple[BatchIndex, Tensor]]:
        return self._batches(indices, augment_seed, augment, self.workers)

    def view(self, positions: Tensor, views: Tensor, augment_seed: int, augment: Augment) -> Tensor:
        return next(self._batches([BatchIndex(positions, views)], augment_seed, augment, 0))[1]

    def plain(self, positions: Tensor, augment: Augment) -> Tensor:
        return next(self._batches([BatchIndex(positions, None)], 0, augment, 0))[1]

    def _batches(
        self, indices: Iterable[BatchIndex], augment_seed: int, augment: Augment, workers: int
    ) -> Generator[tuple[BatchIndex, Tensor]]:
        waiting: list[BatchIndex] = []  # read and not handed out: the loader works ahead

        def chunks() -> Iterator[BatchIndex]:
            for batch in indices:
                batch = batch.to(torch.device("cpu"))
                waiting.append(batch)
                for start in range(0, len(batch.positions), CHUNK):
                    part = slice(start, start + CHUNK)
                    yield BatchIndex(batch.positions[part], None if batch.views is None else batch.views[part])

        maker = _Maker(self._files, self._host_ids, augment_seed, augment)
        decoded = _loaded(maker, chunks(), workers, self.device)
        with contextlib.closing(decoded):
            for chunk in decoded:
                batch, filled = waiting.pop(0), 0
                images = torch.empty((len(batch.positions), *chunk.shape[1:]), device=self.device)
                while True:
                    images[filled : filled + len(chunk)] = chunk.to(self.device, non_blocking=True)
                    filled += len(chunk)
                    if filled == len(images):
                        break
                    chunk = next(decoded)
                yield batch.to(self.device), images


@dataclass(frozen=True)
class _Maker(Dataset[Any]):
    """From a chunk of a batch to pixels, uint8 `[n, 3, side, side]`; the message of an error where it fails."""

    files: Packed
    ids: Tensor
    augment_seed: int
    augment: Augment

    def __getitem__(self, index: BatchIndex) -> Tensor | str:
        side, positions = self.augment.side, index.positions.numpy()
        assert side is not None
        out = np.empty((len(positions), 3, side, side), dtype=np.uint8)
        drawn = None
        if index.views is not None:
            ids = self.ids[index.positions]
            drawn = draw(self.files.sizes[positions], ids, index.views, self.augment_seed, self.augment)
        for b, position in enumerate(positions):
            try:
                image = self.files.image(position)
            except UNDECODABLE as error:
                return f"image {self.ids[position]} does not decode ({error}): what was packed has changed"
            view = plain_view(image, self.augment) if drawn is None else view_of(image, drawn, b, self.augment)
            for channel, band in enumerate(view.split()):  # faster than to transpose
                out[b, channel] = np.asarray(band)
        return torch.from_numpy(out)


def _loaded(maker: _Maker, chunks: Iterator[BatchIndex], workers: int, device: torch.device) -> Generator[Tensor]:
    """The chunks in order, from processes that run ahead.

    Raises:
        DataError: an image that does not decode.
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
        for chunk in _without_torch_errors(found):
            if isinstance(chunk, str):
                raise DataError(f"{chunk}; delete the prepared data and run again")
            yield chunk
    finally:
        del found  # ends the processes


def _without_torch_errors(found: Iterator[Any]) -> Iterator[Any]:
    while True:
        try:
            chunk = next(found)
        except StopIteration:
            return
        except (RuntimeError, OSError, EOFError) as error:  # the last two: in the midst of handing over a chunk
            if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
                raise
            raise SoftlabelsError(
                "a process that decodes images has died, as when memory (or shared memory, /dev/shm) runs out; "
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


# Channels of the counter generator; those below 16 are shared with views of arrays (training/augment.py).
_FLIP, _ROTATE, _GRAYSCALE, _ORDER, _BRIGHTNESS, _CONTRAST = 2, 5, 6, 7, 8, 9
_AREA, _RATIO, _TOP, _LEFT = range(16, 20)  # of the first attempt at a crop; the next ones follow in steps of 4
ATTEMPTS = 10


@dataclass(frozen=True)
class Drawn:
    """What a batch of views does to its images; each `[B]`, None where the augmentation has no such change."""

    boxes: NDArray[np.int64] | None
    """`[B, 4]`: top, left, height, width; None: the crop of evaluation."""
    flip: NDArray[Any] | None = None
    degrees: NDArray[Any] | None = None
    """Counter-clockwise."""
    grayscale: NDArray[Any] | None = None
    brightness: NDArray[Any] | None = None
    contrast: NDArray[Any] | None = None
    contrast_first: NDArray[Any] | None = None


def draw(sizes: NDArray[np.int32], ids: Tensor, views: Tensor, augment_seed: int, spec: Augment) -> Drawn:
    """The random parts of views of images.

    Args:
        sizes: `[B, 2]` height and width of the images.
        ids: int64 `[B]`, stable ids of the samples.
        views: int64 `[B]`.
        augment_seed: the seed that owns the augmentation (the teacher's, when distilling).
        spec: the augmentation.
    """

    def between(channel: int, low: float, high: float) -> NDArray[Any]:
        return (low + (high - low) * uniform(augment_seed, views, ids, channel).double()).numpy()

    def factor(channel: int, most: float) -> NDArray[Any] | None:
        return between(channel, max(0.0, 1 - most), 1 + most) if most else None

    both = spec.jitter_brightness and spec.jitter_contrast
    return Drawn(
        boxes=None
        if spec.scale is None
        else random_boxes(sizes, ids, views, augment_seed, spec.scale, spec.ratio or RATIO),
        flip=integers(augment_seed, views, ids, _FLIP, 2).bool().numpy() if spec.flip else None,
        degrees=between(_ROTATE, -spec.rotate, spec.rotate) if spec.rotate else None,
        grayscale=between(_GRAYSCALE, 0, 1) < spec.grayscale if spec.grayscale else None,
        brightness=factor(_BRIGHTNESS, spec.jitter_brightness),
        contrast=factor(_CONTRAST, spec.jitter_contrast),
        contrast_first=integers(augment_seed, views, ids, _ORDER, 2).bool().numpy() if both else None,
    )


def random_boxes(
    sizes: NDArray[np.int32],
    ids: Tensor,
    views: Tensor,
    augment_seed: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> NDArray[np.int64]:
    """Boxes `[B, 4]` (top, left, height, width) with the law of torchvision's `RandomResizedCrop.get_params`: shape by
    area and logarithm of the ratio, until one fits into the image; after ten attempts the largest centre crop whose
    ratio is in range."""
    heights, widths = sizes[:, 0].astype(np.int64), sizes[:, 1].astype(np.int64)
    boxes = _centre_boxes(heights, widths, ratio)
    left_over = np.arange(len(ids))
    for attempt in range(ATTEMPTS):
        some = torch.from_numpy(left_over)
        v, i, step = views[some], ids[some], 4 * attempt
        H, W = heights[left_over], widths[left_over]
        area = H * W * (scale[0] + (scale[1] - scale[0]) * uniform(augment_seed, v, i, _AREA + step).double().numpy())
        log_low, log_high = map(math.log, ratio)
        aspect = np.exp(log_low + (log_high - log_low) * uniform(augment_seed, v, i, _RATIO + step).double().numpy())
        w, h = (np.rint(np.sqrt(x)).astype(np.int64) for x in (area * aspect, area / aspect))
        fits = (w > 0) & (w <= W) & (h > 0) & (h <= H)
        if fits.any():
            v, i, h, w = v[torch.from_numpy(fits)], i[torch.from_numpy(fits)], h[fits], w[fits]
            top = integers(augment_seed, v, i, _TOP + step, torch.from_numpy(H[fits] - h + 1)).numpy()
            left = integers(augment_seed, v, i, _LEFT + step, torch.from_numpy(W[fits] - w + 1)).numpy()
            boxes[left_over[fits]] = np.stack([top, left, h, w], axis=1)
            left_over = left_over[~fits]
        if not len(left_over):
            break
    return boxes


def _centre_boxes(heights: NDArray[Any], widths: NDArray[Any], ratio: tuple[float, float]) -> NDArray[np.int64]:
    h = np.where(widths < ratio[0] * heights, np.rint(widths / ratio[0]).astype(np.int64), heights)
    w = np.where(widths > ratio[1] * heights, np.rint(heights * ratio[1]).astype(np.int64), widths)
    return np.stack([(heights - h) // 2, (widths - w) // 2, h, w], axis=1)


def view_of(image: Image.Image, drawn: Drawn, b: int, spec: Augment) -> Image.Image:
    """View number `b` of what was drawn, of an RGB image."""
    side = spec.side
    assert side is not None  # RunSpec wants it wherever files are kept
    if drawn.boxes is None:
        image = plain_view(image, spec)
    else:
        top, left, height, width = map(int, drawn.boxes[b])
        image = image.crop((left, top, left + width, top + height))
        image = image.resize((side, side), Image.Resampling.BILINEAR)
    if drawn.flip is not None and drawn.flip[b]:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if drawn.degrees is not None:
        image = image.rotate(float(drawn.degrees[b]), Image.Resampling[spec.rotate_by.upper()])
    if drawn.grayscale is not None and drawn.grayscale[b]:
        image = image.convert("L").convert("RGB")
    jitter = [(ImageEnhance.Brightness, drawn.brightness), (ImageEnhance.Contrast, drawn.contrast)]
    for enhance, factors in (
        reversed(jitter) if drawn.contrast_first is not None and drawn.contrast_first[b] else jitter
    ):
        if factors is not None:
            image = enhance(image).enhance(float(factors[b]))
    return image


def plain_view(image: Image.Image, spec: Augment) -> Image.Image:
    """The view of evaluation: torchvision's `Resize(eval_resize)` (of the shorter side) and `CenterCrop(side)`."""
    side = spec.side
    assert side is not None
    short = spec.eval_resize or side
    width, height = image.size
    size = (short, int(short * height / width)) if width <= height else (int(short * width / height), short)
    if size != image.size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    left, top = round((size[0] - side) / 2), round((size[1] - side) / 2)
    return image.crop((left, top, left + side, top + side))
