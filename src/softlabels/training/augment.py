"""Views of images: augmentation as a pure function of (augment_seed, sample id, view), on a whole batch.

So a teacher's cached logit and the student's image are the same view by construction. The random numbers are a pure
function of counters: the finaliser of splitmix64 on wrapping int64, which gives the same bits on every device and in
any order of the examples.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from softlabels.errors import SpecError
from softlabels.grid.declared.datasets import DATASETS
from softlabels.grid.parts.recipe import Augment, Normalise


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


_M1, _M2 = _signed(0xBF58476D1CE4E5B9), _signed(0x94D049BB133111EB)
_SEED, _INDEX, _VIEW, _CHANNEL = (
    _signed(c) for c in (0x9E3779B97F4A7C15, 0xD1B54A32D192ED03, 0xABC98388FB8FAC03, 0x8CB92BA72F3D8DD7)
)


def _shift(z: Tensor, bits: int) -> Tensor:
    return (z >> bits) & ((1 << (64 - bits)) - 1)  # logical, not arithmetic


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _shift(z, 30)) * _M1
    z = (z ^ _shift(z, 27)) * _M2
    return z ^ _shift(z, 31)


def bits(augment_seed: int, views: Tensor, ids: Tensor, channel: int) -> Tensor:
    """63 random bits `[B]` for (augment_seed, view, sample id, channel); views and ids are int64 `[B]`."""
    key = _mix(ids * _INDEX + torch.tensor(augment_seed, dtype=torch.int64, device=ids.device) * _SEED)
    return _shift(_mix(key + views * _VIEW + torch.tensor(channel, device=ids.device) * _CHANNEL), 1)


def integers(augment_seed: int, views: Tensor, ids: Tensor, channel: int, n: int | Tensor) -> Tensor:
    """Uniform integers in [0, n) `[B]`; n is one number, or one for each `[B]`."""
    return bits(augment_seed, views, ids, channel) % n


def uniform(augment_seed: int, views: Tensor, ids: Tensor, channel: int) -> Tensor:
    """Uniform fp32 in [0, 1) `[B]`."""
    return (bits(augment_seed, views, ids, channel) >> 39).float() / 2**24


_ROW, _COLUMN, _FLIP, _BRIGHTNESS, _CONTRAST, _ROTATE = range(6)  # channels of the counter generator


def view_side(spec: Augment, side: int) -> int:
    """The side of a view of a square image."""
    if spec.crop is not None and spec.crop > side:
        raise SpecError(f"augment.crop: {spec.crop} is larger than the image of {side} pixels")
    return spec.crop or side


def view_shape(spec: Augment, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """(C, h, w) of the views of images (C, H, W): what a network is built for."""
    if spec.side is None:
        view_side(spec, min(shape[1:]))  # a crop larger than the image is refused
    return spec.view_shape(shape)


def random_view(images: Tensor, ids: Tensor, views: Tensor, augment_seed: int, spec: Augment) -> Tensor:
    """Random views `[B, C, h, w]`, fp32 in 0–255.

    Args:
        images: uint8 `[B, C, H, W]`.
        ids: int64 `[B]`, stable ids of the samples.
        views: int64 `[B]`.
        augment_seed: the seed that owns the augmentation (the teacher's, when distilling).
        spec: what to do; without randomness the images are only converted.
    """
    if not spec.random:
        return images.float()
    height, width = images.shape[2:]
    border = spec.pad or spec.shift
    padded = F.pad(images, (border,) * 4)
    out_h, out_w = view_side(spec, height), view_side(spec, width)
    top = integers(augment_seed, views, ids, _ROW, padded.shape[2] - out_h + 1)
    left = integers(augment_seed, views, ids, _COLUMN, padded.shape[3] - out_w + 1)
    # Windows are a view, so the images are read once, by one gather.
    windows = padded.unfold(2, out_h, 1).unfold(3, out_w, 1)
    image = windows[torch.arange(len(ids), device=images.device), :, top, left]
    if spec.flip:
        flipped = integers(augment_seed, views, ids, _FLIP, 2).bool()[:, None, None, None]
        image = torch.where(flipped, image.flip(3), image)
    if spec.rotate:
        angles = (2 * uniform(augment_seed, views, ids, _ROTATE).double() - 1) * spec.rotate
        image = rotated(image, angles)
    image = image.float()
    if spec.brightness:
        delta = (2 * uniform(augment_seed, views, ids, _BRIGHTNESS) - 1) * spec.brightness
        image = image + delta[:, None, None, None]
    if spec.contrast is not None:
        low, high = spec.contrast
        factor = low + (high - low) * uniform(augment_seed, views, ids, _CONTRAST)
        mean = image.mean((2, 3), keepdim=True)
        image = (image - mean) * factor[:, None, None, None] + mean
    return image


def rotated(images: Tensor, degrees: Tensor) -> Tensor:
    """Images `[B, C, h, w]`, each turned counter-clockwise about its centre by its angle `[B]` (fp64), by nearest
    neighbours and with black corners, as torchvision's `rotate` does for one angle."""
    h, w = images.shape[2:]
    turn = torch.deg2rad(degrees)[:, None, None]
    y = (torch.arange(h, device=images.device, dtype=torch.float64) - (h - 1) / 2)[:, None]
    x = torch.arange(w, device=images.device, dtype=torch.float64) - (w - 1) / 2
    column = (turn.cos() * x - turn.sin() * y + (w - 1) / 2).round().long()
    row = (turn.sin() * x + turn.cos() * y + (h - 1) / 2).round().long()
    inside = (row >= 0) & (row < h) & (column >= 0) & (column < w)
    places = (row.clamp(0, h - 1) * w + column.clamp(0, w - 1)).flatten(1)[:, None].expand(-1, images.shape[1], -1)
    return images.flatten(2).gather(2, places).view_as(images) * inside[:, None]


def plain_view(images: Tensor, spec: Augment) -> Tensor:
    """The unchanged images, fp32 in 0–255; where training crops, the centre crop."""
    if spec.crop is None:
        return images.float()
    height, width = images.shape[2:]
    out_h, out_w = view_side(spec, height), view_side(spec, width)
    top, left = (height - out_h) // 2, (width - out_w) // 2
    return images[:, :, top : top + out_h, left : left + out_w].float()


def normalise(
    images: Tensor,
    how: Normalise,
    mean: Sequence[float],
    std: Sequence[float],
) -> Tensor:
    """Images in 0–255 to network input: [0, 1]; per-channel (x − mean)/std of the data set or of ImageNet; or each
    image to mean 0 and variance 1, the deviation bounded below by 1/√(number of values), as the CIFAR
    pipelines of Müller's code base do."""
    if how == "per_image":
        centred = images - images.mean((1, 2, 3), keepdim=True)
        floor = images[0].numel() ** -0.5
        return centred / centred.std((1, 2, 3), correction=0, keepdim=True).clamp_min(floor)
    images = images / 255
    if how == "imagenet":
        constants = DATASETS["imagenet"]
        assert constants.mean is not None
        assert constants.std is not None
        mean, std = constants.mean, constants.std
    if how in ("dataset", "imagenet"):
        shape = (1, -1, 1, 1)
        # In place, on what was made a line above: a batch of large images costs more to allocate than to compute.
        images.sub_(images.new_tensor(mean).view(shape)).div_(images.new_tensor(std).view(shape))
    return images
