"""The images of a data set on the device of the network, in batches of views."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from softlabels.data.load import Data
from softlabels.grid.parts.recipe import Augment, Normalise, Precision, Recipe
from softlabels.training.augment import normalise, plain_view, random_view

RESIDENT_BYTES = 8 << 30  # larger splits stay memory-mapped on the host and travel batch by batch


@dataclass(frozen=True)
class BatchIndex:
    """What a batch is made of: positions in the split, and the view of each (None: as at evaluation), int64 `[B]`;
    `epochs` is handed through."""

    positions: Tensor
    views: Tensor | None
    epochs: Tensor | None = None

    def to(self, device: torch.device) -> BatchIndex:
        """The same on a device."""
        if self.positions.device == device:
            return self
        views, epochs = (None if t is None else t.to(device) for t in (self.views, self.epochs))
        return BatchIndex(self.positions.to(device), views, epochs)


class ImageSplit:
    """One split: uint8 images `[N, C, H, W]`, labels `[N]`, ids `[N]`, resident on the device if they fit.

    `training/jpeg.py` has the same for images kept as files; `open_split` opens the one that fits the data.
    """

    evaluation_batch = 500
    """Images of a batch outside training."""

    def __init__(self, data: Data, split: str, device: torch.device) -> None:
        self.data, self.device = data, device
        images = data.images(split)
        self._resident = images.nbytes <= RESIDENT_BYTES
        # torch wants writable memory; a resident set is one copy, a larger one is copied by the batch
        self._images = torch.from_numpy(np.array(images)).to(device) if self._resident else images
        self.labels = torch.from_numpy(np.array(data.labels(split))).to(device)
        self.ids = torch.from_numpy(np.array(data.ids(split))).to(device)

    def __len__(self) -> int:
        return len(self.labels)

    def raw(self, positions: Tensor) -> Tensor:
        """uint8 `[B, C, H, W]` at positions `[B]` (on the device)."""
        if isinstance(self._images, Tensor):
            return self._images[positions]
        return torch.from_numpy(self._images[positions.cpu().numpy()]).to(self.device)

    def view(self, positions: Tensor, views: Tensor, augment_seed: int, augment: Augment) -> Tensor:
        """Augmented views in 0–255, fp32 `[B, C, h, w]`."""
        return random_view(self.raw(positions), self.ids[positions], views, augment_seed, augment)

    def plain(self, positions: Tensor, augment: Augment) -> Tensor:
        """Unchanged images in 0–255, fp32."""
        return plain_view(self.raw(positions), augment)

    def batches(
        self, indices: Iterable[BatchIndex], augment_seed: int, augment: Augment
    ) -> Generator[tuple[BatchIndex, Tensor]]:
        """Each batch in order, on the device, with its images in 0–255, fp32 `[B, C, h, w]`.

        Files are decoded ahead, so `indices` is read further than what has been handed out. Close the iterator to end
        the processes that decode.
        """
        for batch in indices:
            batch = batch.to(self.device)
            if batch.views is None:
                yield batch, self.plain(batch.positions, augment)
            else:
                yield batch, self.view(batch.positions, batch.views, augment_seed, augment)

    def passes(
        self, view: int | None, augment_seed: int, augment: Augment, positions: Tensor | None = None
    ) -> Iterator[Tensor]:
        """One view (None: as at evaluation) of all images, or of those at `positions`, batch by batch."""
        chosen = torch.arange(len(self)) if positions is None else positions.cpu()
        parts = torch.split(chosen, self.evaluation_batch) if len(chosen) else ()
        indices = (BatchIndex(part, None if view is None else torch.full_like(part, view)) for part in parts)
        for _, images in self.batches(indices, augment_seed, augment):
            yield images

    def to_input(self, images: Tensor, how: Normalise) -> Tensor:
        """Images in 0–255 as a network trained with `how` wants them."""
        return normalise(images, how, self.data.mean, self.data.std)


def open_split(data: Data, split: str, device: torch.device, workers: int = 0) -> ImageSplit:
    """A split of prepared data; files are decoded by so many processes (0: by this one)."""
    if data.keeps_files:
        from softlabels.training.jpeg import JpegSplit

        return JpegSplit(data, split, device, workers)
    return ImageSplit(data, split, device)


def evaluate(network: torch.nn.Module, images: ImageSplit, recipe: Recipe) -> NDArray[np.float32]:
    """Logits fp32 `[N, K]` of the unchanged images; the network is in eval mode."""
    network.eval()
    rows = []
    for plain in images.passes(None, 0, recipe.augment):
        x = images.to_input(plain, recipe.normalise)
        rows.append(forward(network, x, recipe.precision).float().cpu())
    if not rows:
        return np.zeros((0, images.data.num_classes), dtype=np.float32)
    return torch.cat(rows).numpy()


def forward(network: torch.nn.Module, x: Tensor, precision: Precision) -> Tensor:
    """Inference in the declared precision."""
    with torch.no_grad(), autocast(x.device, precision):
        output: Tensor = network(in_memory_format(x, precision))
    return output


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """bf16 autocast where the recipe declares it."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision.autocast == "bf16")


def in_memory_format(x: Tensor, precision: Precision) -> Tensor:
    """NHWC memory where the recipe declares it."""
    if precision.channels_last:
        return x.contiguous(memory_format=torch.channels_last)
    return x.contiguous()
