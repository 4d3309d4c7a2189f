"""The pictures of a data set where the network can reach them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from softlabels.data.load import Data
from softlabels.grid.recipe import Augment, Normalise, Precision, Recipe
from softlabels.training.augment import normalise, plain_view, random_view

RESIDENT_BYTES = 8 << 30  # larger splits stay memory-mapped on the host and travel batch by batch


class Pictures:
    """One split: uint8 images `[N, C, H, W]`, labels `[N]`, ids `[N]`, resident on the device if they fit."""

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

    def view(self, positions: Tensor, views: Tensor, stream: int, augment: Augment) -> Tensor:
        """Augmented views in 0–255, fp32 `[B, C, h, w]`."""
        return random_view(self.raw(positions), self.ids[positions], views, stream, augment)

    def plain(self, positions: Tensor, augment: Augment) -> Tensor:
        """Unchanged pictures in 0–255, fp32."""
        return plain_view(self.raw(positions), augment)

    def to_input(self, pictures: Tensor, how: Normalise) -> Tensor:
        """Pictures in 0–255 as a network trained with `how` wants them."""
        return normalise(pictures, how, self.data.mean, self.data.std)


def evaluate(
    network: torch.nn.Module, pictures: Pictures, recipe: Recipe, batch_size: int = 500
) -> NDArray[np.float32]:
    """Logits fp32 `[N, K]` of the unchanged pictures; the network is in eval mode."""
    network.eval()
    rows = []
    for start in range(0, len(pictures), batch_size):
        positions = torch.arange(start, min(start + batch_size, len(pictures)), device=pictures.device)
        x = pictures.to_input(pictures.plain(positions, recipe.augment), recipe.normalise)
        rows.append(forward(network, x, recipe.precision).float().cpu())
    if not rows:
        return np.zeros((0, pictures.data.num_classes), dtype=np.float32)
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
