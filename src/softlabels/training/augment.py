"""Views of pictures: augmentation as a pure function of (stream, sample id, view), on a whole batch.

So a teacher's cached logit and the student's picture are the same view by construction.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from softlabels.errors import SpecError
from softlabels.grid.datasets import DATASETS
from softlabels.grid.recipe import Augment, Normalise
from softlabels.training.counter import integers, uniform

_ROW, _COLUMN, _FLIP, _BRIGHTNESS, _CONTRAST, _ROTATE = range(6)  # channels of the counter generator


def view_side(spec: Augment, side: int) -> int:
    """The side of a view of a square picture."""
    if spec.crop is not None and spec.crop > side:
        raise SpecError(f"augment.crop: {spec.crop} is larger than the picture of {side} pixels")
    return spec.crop or side


def view_shape(spec: Augment, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """(C, h, w) of the views of pictures (C, H, W): what a network is built for."""
    if spec.side is None:
        view_side(spec, min(shape[1:]))  # a crop larger than the picture is refused
    return spec.view_shape(shape)


def random_view(images: Tensor, ids: Tensor, views: Tensor, stream: int, spec: Augment) -> Tensor:
    """Random views `[B, C, h, w]`, fp32 in 0–255.

    Args:
        images: uint8 `[B, C, H, W]`.
        ids: int64 `[B]`, stable ids of the samples.
        views: int64 `[B]`.
        stream: the seed that owns the augmentation (the teacher's, when distilling).
        spec: what to do; without randomness the pictures are only converted.
    """
    if not spec.random:
        return images.float()
    height, width = images.shape[2:]
    border = spec.pad or spec.shift
    padded = F.pad(images, (border,) * 4)
    out_h, out_w = view_side(spec, height), view_side(spec, width)
    top = integers(stream, views, ids, _ROW, padded.shape[2] - out_h + 1)
    left = integers(stream, views, ids, _COLUMN, padded.shape[3] - out_w + 1)
    # Windows are a view, so the pictures are read once, by one gather.
    windows = padded.unfold(2, out_h, 1).unfold(3, out_w, 1)
    picture = windows[torch.arange(len(ids), device=images.device), :, top, left]
    if spec.flip:
        flipped = integers(stream, views, ids, _FLIP, 2).bool()[:, None, None, None]
        picture = torch.where(flipped, picture.flip(3), picture)
    if spec.rotate:
        angles = (2 * uniform(stream, views, ids, _ROTATE).double() - 1) * spec.rotate
        picture = rotated(picture, angles)
    picture = picture.float()
    if spec.brightness:
        delta = (2 * uniform(stream, views, ids, _BRIGHTNESS) - 1) * spec.brightness
        picture = picture + delta[:, None, None, None]
    if spec.contrast is not None:
        low, high = spec.contrast
        factor = low + (high - low) * uniform(stream, views, ids, _CONTRAST)
        mean = picture.mean((2, 3), keepdim=True)
        picture = (picture - mean) * factor[:, None, None, None] + mean
    return picture


def rotated(pictures: Tensor, degrees: Tensor) -> Tensor:
    """Pictures `[B, C, h, w]`, each turned counter-clockwise about its centre by its angle `[B]` (fp64), by nearest
    neighbours and with black corners, as torchvision's `rotate` does for one angle."""
    h, w = pictures.shape[2:]
    turn = torch.deg2rad(degrees)[:, None, None]
    y = (torch.arange(h, device=pictures.device, dtype=torch.float64) - (h - 1) / 2)[:, None]
    x = torch.arange(w, device=pictures.device, dtype=torch.float64) - (w - 1) / 2
    column = (turn.cos() * x - turn.sin() * y + (w - 1) / 2).round().long()
    row = (turn.sin() * x + turn.cos() * y + (h - 1) / 2).round().long()
    inside = (row >= 0) & (row < h) & (column >= 0) & (column < w)
    places = (row.clamp(0, h - 1) * w + column.clamp(0, w - 1)).flatten(1)[:, None].expand(-1, pictures.shape[1], -1)
    return pictures.flatten(2).gather(2, places).view_as(pictures) * inside[:, None]


def plain_view(images: Tensor, spec: Augment) -> Tensor:
    """The unchanged pictures, fp32 in 0–255; where training crops, the centre crop."""
    if spec.crop is None:
        return images.float()
    height, width = images.shape[2:]
    out_h, out_w = view_side(spec, height), view_side(spec, width)
    top, left = (height - out_h) // 2, (width - out_w) // 2
    return images[:, :, top : top + out_h, left : left + out_w].float()


def normalise(
    pictures: Tensor,
    how: Normalise,
    mean: Sequence[float],
    std: Sequence[float],
) -> Tensor:
    """Pictures in 0–255 to network input: [0, 1]; per-channel (x − mean)/std of the data set or of ImageNet; or each
    picture to mean 0 and variance 1, the deviation bounded below by 1/√(number of values), as the CIFAR
    pipelines of Müller's code base do."""
    if how == "per_image":
        centred = pictures - pictures.mean((1, 2, 3), keepdim=True)
        floor = pictures[0].numel() ** -0.5
        return centred / centred.std((1, 2, 3), correction=0, keepdim=True).clamp_min(floor)
    pictures = pictures / 255
    if how == "imagenet":
        constants = DATASETS["imagenet"]
        assert constants.mean is not None
        assert constants.std is not None
        mean, std = constants.mean, constants.std
    if how in ("dataset", "imagenet"):
        shape = (1, -1, 1, 1)
        # In place, on what was made a line above: a batch of large pictures costs more to allocate than to compute.
        pictures.sub_(pictures.new_tensor(mean).view(shape)).div_(pictures.new_tensor(std).view(shape))
    return pictures
