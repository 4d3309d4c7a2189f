"""Views of pictures kept as files: what torchvision's transforms of the same names do, with all that they draw taken
from counters.

A view is a function of (stream, sample id, view) and of the picture. So it is the same in any batch, order or process.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from torch import Tensor

from softlabels.grid.recipe import RATIO, Augment
from softlabels.training.counter import integers, uniform

# Channels of the counter generator; those below 16 are shared with views of arrays (training/augment.py).
_FLIP, _ROTATE, _GRAYSCALE, _ORDER, _BRIGHTNESS, _CONTRAST = 2, 5, 6, 7, 8, 9
_AREA, _RATIO, _TOP, _LEFT = range(16, 20)  # of the first attempt at a crop; the next ones follow in steps of 4
ATTEMPTS = 10


@dataclass(frozen=True)
class Drawn:
    """What a batch of views does to its pictures; each `[B]`, None where the augmentation has no such change."""

    boxes: NDArray[np.int64] | None
    """`[B, 4]`: top, left, height, width; None: the crop of evaluation."""
    flip: NDArray[Any] | None = None
    degrees: NDArray[Any] | None = None
    """Counter-clockwise."""
    grayscale: NDArray[Any] | None = None
    brightness: NDArray[Any] | None = None
    contrast: NDArray[Any] | None = None
    contrast_first: NDArray[Any] | None = None


def draw(sizes: NDArray[np.int32], ids: Tensor, views: Tensor, stream: int, spec: Augment) -> Drawn:
    """The random parts of views of pictures.

    Args:
        sizes: `[B, 2]` height and width of the pictures.
        ids: int64 `[B]`, stable ids of the samples.
        views: int64 `[B]`.
        stream: the seed that owns the augmentation (the teacher's, when distilling).
        spec: the augmentation.
    """

    def between(channel: int, low: float, high: float) -> NDArray[Any]:
        return (low + (high - low) * uniform(stream, views, ids, channel).double()).numpy()

    def factor(channel: int, most: float) -> NDArray[Any] | None:
        return between(channel, max(0.0, 1 - most), 1 + most) if most else None

    both = spec.jitter_brightness and spec.jitter_contrast
    return Drawn(
        boxes=None if spec.scale is None else random_boxes(sizes, ids, views, stream, spec.scale, spec.ratio or RATIO),
        flip=integers(stream, views, ids, _FLIP, 2).bool().numpy() if spec.flip else None,
        degrees=between(_ROTATE, -spec.rotate, spec.rotate) if spec.rotate else None,
        grayscale=between(_GRAYSCALE, 0, 1) < spec.grayscale if spec.grayscale else None,
        brightness=factor(_BRIGHTNESS, spec.jitter_brightness),
        contrast=factor(_CONTRAST, spec.jitter_contrast),
        contrast_first=integers(stream, views, ids, _ORDER, 2).bool().numpy() if both else None,
    )


def random_boxes(
    sizes: NDArray[np.int32],
    ids: Tensor,
    views: Tensor,
    stream: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> NDArray[np.int64]:
    """Boxes `[B, 4]` (top, left, height, width) with the law of torchvision's `RandomResizedCrop.get_params`: shape by
    area and logarithm of the ratio, until one fits into the picture; after ten attempts the largest centre crop whose
    ratio is in range."""
    heights, widths = sizes[:, 0].astype(np.int64), sizes[:, 1].astype(np.int64)
    boxes = _centre_boxes(heights, widths, ratio)
    left_over = np.arange(len(ids))
    for attempt in range(ATTEMPTS):
        some = torch.from_numpy(left_over)
        v, i, step = views[some], ids[some], 4 * attempt
        H, W = heights[left_over], widths[left_over]
        area = H * W * (scale[0] + (scale[1] - scale[0]) * uniform(stream, v, i, _AREA + step).double().numpy())
        log_low, log_high = map(math.log, ratio)
        aspect = np.exp(log_low + (log_high - log_low) * uniform(stream, v, i, _RATIO + step).double().numpy())
        w, h = (np.rint(np.sqrt(x)).astype(np.int64) for x in (area * aspect, area / aspect))
        fits = (w > 0) & (w <= W) & (h > 0) & (h <= H)
        if fits.any():
            v, i, h, w = v[torch.from_numpy(fits)], i[torch.from_numpy(fits)], h[fits], w[fits]
            top = integers(stream, v, i, _TOP + step, torch.from_numpy(H[fits] - h + 1)).numpy()
            left = integers(stream, v, i, _LEFT + step, torch.from_numpy(W[fits] - w + 1)).numpy()
            boxes[left_over[fits]] = np.stack([top, left, h, w], axis=1)
            left_over = left_over[~fits]
        if not len(left_over):
            break
    return boxes


def _centre_boxes(heights: NDArray[Any], widths: NDArray[Any], ratio: tuple[float, float]) -> NDArray[np.int64]:
    h = np.where(widths < ratio[0] * heights, np.rint(widths / ratio[0]).astype(np.int64), heights)
    w = np.where(widths > ratio[1] * heights, np.rint(heights * ratio[1]).astype(np.int64), widths)
    return np.stack([(heights - h) // 2, (widths - w) // 2, h, w], axis=1)


def view_of(picture: Image.Image, drawn: Drawn, b: int, spec: Augment) -> Image.Image:
    """View number `b` of what was drawn, of an RGB picture."""
    side = spec.side
    assert side is not None  # RunSpec wants it wherever files are kept
    if drawn.boxes is None:
        picture = plain_view(picture, spec)
    else:
        top, left, height, width = map(int, drawn.boxes[b])
        picture = picture.crop((left, top, left + width, top + height))
        picture = picture.resize((side, side), Image.Resampling.BILINEAR)
    if drawn.flip is not None and drawn.flip[b]:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if drawn.degrees is not None:
        picture = picture.rotate(float(drawn.degrees[b]), Image.Resampling.BILINEAR)
    if drawn.grayscale is not None and drawn.grayscale[b]:
        picture = picture.convert("L").convert("RGB")
    jitter = [(ImageEnhance.Brightness, drawn.brightness), (ImageEnhance.Contrast, drawn.contrast)]
    for enhance, factors in (
        reversed(jitter) if drawn.contrast_first is not None and drawn.contrast_first[b] else jitter
    ):
        if factors is not None:
            picture = enhance(picture).enhance(float(factors[b]))
    return picture


def plain_view(picture: Image.Image, spec: Augment) -> Image.Image:
    """The view of evaluation: torchvision's `Resize(eval_resize)` (of the shorter side) and `CenterCrop(side)`."""
    side = spec.side
    assert side is not None
    short = spec.eval_resize or side
    width, height = picture.size
    size = (short, int(short * height / width)) if width <= height else (int(short * width / height), short)
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.BILINEAR)
    left, top = round((size[0] - side) / 2), round((size[1] - side) / 2)
    return picture.crop((left, top, left + side, top + side))
