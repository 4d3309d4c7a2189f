"""`glyphs`: generated line drawings whose classes have a known likeness.

Twenty classes in five families of four (`FAMILIES` of `grid.declared.datasets`): siblings share a shape (octagonal
ring, cross, arrow, box, comb) and differ only in where a stroke of a few pixels sits. Each sample is turned, sheared,
scaled, shifted, drawn with its own stroke width and ink, and gets additive noise, so that siblings are
truly ambiguous now and then while families hardly ever are.

Difficulty, fixed once with plain cross-entropy on hard labels before any distillation was run, three seeds
(`tests/data/test_data_glyphs.py` trains the same CNN, seed 0): a three-layer CNN reaches 84.8, 85.4 and 86.5 % on the
test set and 93 to 95 % of its errors stay within the family (16 % by chance); an MLP with 128 hidden units 61 to 64 %,
89 to 90 %.

The pixels come from the raw integers of PCG64 (stable across numpy versions) by + − × ÷ √ and floor
alone, operations that IEEE 754 rounds the same way on every machine: no sine, no matrix product.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from softlabels.grid.declared.datasets import FAMILIES

SIDE = 16
TRAIN, TEST = 4000, 2000
_CHUNK = 250  # samples drawn at once: keeps the work arrays in the processor's cache

Segment = tuple[float, float, float, float]


def _path(*points: tuple[float, float]) -> list[Segment]:
    return [(*a, *b) for a, b in pairwise(points)]


# Pixels, origin at the centre, y downwards. A family's shape, then what each sibling adds to it.
_SHAPES: dict[str, list[Segment]] = {
    "ring": _path((5, 2), (2, 5), (-2, 5), (-5, 2), (-5, -2), (-2, -5), (2, -5), (5, -2), (5, 2)),
    "cross": [(-5, 0, 5, 0), (0, -5, 0, 5)],
    "arrow": [(0, -5, 0, 5), *_path((-4, -1), (0, -5), (4, -1))],
    "box": _path((5, 5), (-5, 5), (-5, -5), (5, -5), (5, 5)),
    "comb": [(-6, 4, 6, 4), *((x, 4, x, -2) for x in (-6, -2, 2, 6))],
}
_DETAILS: dict[str, list[Segment]] = {
    "ring": [(5, 0, 3, 0), (0, 5, 0, 3), (-5, 0, -3, 0), (0, -5, 0, -3)],
    "cross": [(5, 0, 5, 2), (0, 5, -2, 5), (-5, 0, -5, -2), (0, -5, 2, -5)],
    "arrow": [(0, 5, 2, 5), (0, 5, -2, 5), (0, 2, 2, 2), (0, 2, -2, 2)],
    "box": [(x, y, x / 2, y / 2) for x, y in ((5, 5), (-5, 5), (-5, -5), (5, -5))],
    "comb": [(x, -2, x, -4) for x in (-6, -2, 2, 6)],
}


def _segments() -> NDArray[np.float64]:
    """`[20, S, 4]`: every class's strokes as (x0, y0, x1, y1), the detail first, padded by repetition of the last."""
    classes = [[d, *_SHAPES[f]] for f in FAMILIES for d in _DETAILS[f]]
    longest = max(map(len, classes))
    return np.array([c + [c[-1]] * (longest - len(c)) for c in classes], dtype=np.float64)


def generate(first: int, count: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Samples `first … first + count − 1`: images `[count, 1, 16, 16]`, labels `[count]` (sample index mod 20).

    A sample depends on its index alone; 0–3999 are the training set, 4000–5999 the test set.
    """
    words = 16 + SIDE * SIDE // 2  # 16 parameters, then four bytes of noise per pixel
    bits = np.random.PCG64(np.random.SeedSequence(20190606))
    bits.advance(first * words)
    segments, labels = _segments(), np.arange(first, first + count) % 20
    images = np.empty((count, 1, SIDE, SIDE), dtype=np.uint8)
    for start in range(0, count, _CHUNK):
        part = slice(start, min(start + _CHUNK, count))
        raw = bits.random_raw((part.stop - start) * words).reshape(-1, words)
        images[part, 0] = _draw(segments[labels[part]], raw)
    return images, labels.astype(np.int64)


def _draw(segments: NDArray[np.float64], raw: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Draw `[n, S, 4]` strokes with the jitter and noise in `raw [n, words]`."""
    n = len(segments)
    unit = (raw[:, :16] >> np.uint64(11)).astype(np.float64) / 2.0**53

    def uniform(i: int, low: float, high: float) -> NDArray[np.float64]:
        return (low + (high - low) * unit[:, i])[:, None]

    # Rotation by the rational parametrisation of the circle: angle = 2·atan(t).
    t = uniform(0, -0.12, 0.12)
    cos, sin = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
    wide, high, shear = uniform(1, 0.8, 1.1), uniform(2, 0.8, 1.1), uniform(3, -0.15, 0.15)
    right, down = uniform(4, -1.5, 1.5), uniform(5, -1.5, 1.5)
    width, ink = uniform(6, 0.3, 0.8), uniform(7, 110.0, 230.0)

    segments = segments.copy()  # the detail, a class's first stroke, varies in length
    segments[:, 0, 2:] = segments[:, 0, :2] + (segments[:, 0, 2:] - segments[:, 0, :2]) * uniform(8, 0.4, 1.0)

    def place(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        x, y = wide * x + shear * y, high * y
        return cos * x - sin * y + right, sin * x + cos * y + down

    x0, y0 = place(segments[:, :, 0], segments[:, :, 1])
    x1, y1 = place(segments[:, :, 2], segments[:, :, 3])
    dx, dy = x1 - x0, y1 - y0
    squared = dx * dx + dy * dy

    # Squared distance of every pixel to its nearest stroke.
    grid = np.arange(SIDE) - (SIDE - 1) / 2
    px, py = np.tile(grid, SIDE)[None], np.repeat(grid, SIDE)[None]
    nearest = np.full((n, SIDE * SIDE), np.inf)
    for s in range(segments.shape[1]):
        ux, uy = px - x0[:, s, None], py - y0[:, s, None]
        along = np.clip((ux * dx[:, s, None] + uy * dy[:, s, None]) / squared[:, s, None], 0, 1)
        ux, uy = ux - along * dx[:, s, None], uy - along * dy[:, s, None]
        np.minimum(nearest, ux * ux + uy * uy, out=nearest)
    cover = np.clip(0.5 + width - np.sqrt(nearest), 0, 1)

    # The sum of four bytes, centred: close to normal, standard deviation about 148.
    noise = raw[:, 16:].astype("<u8").view(np.uint8).reshape(n, SIDE * SIDE, 4).sum(axis=2, dtype=np.int64) - 510
    value: NDArray[np.float64] = np.clip(np.floor(ink * cover + 0.18 * noise), 0, 255)
    return value.astype(np.uint8).reshape(n, SIDE, SIDE)
