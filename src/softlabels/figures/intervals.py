"""Means over seeds and differences paired by seed: 95 % intervals by Student's t."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from softlabels.figures.lazy import np

LEVEL = 0.025
"""Of one side of the interval."""


def bounds(values: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the mean by Student's t; infinite below three values, whose interval says nothing."""
    if len(values) < 3:
        return -np.inf, np.inf
    from scipy.special import stdtrit

    half = stdtrit(len(values) - 1, 1 - LEVEL) * np.std(values, ddof=1) / np.sqrt(len(values))
    return float(np.mean(values) - half), float(np.mean(values) + half)


def paired(one: Mapping[int, float], other: Mapping[int, float]) -> list[float]:
    """Differences, one minus other, of the seeds that both have."""
    return [one[seed] - other[seed] for seed in sorted(one.keys() & other.keys())]


def interval(values: Sequence[float]) -> str:
    """` (84.10 to 86.20, n = 5)`; below three values, that they are too few."""
    low, high = bounds(values)
    if not np.isfinite(low):
        return f" (n = {len(values)}: too few seeds for an interval)"
    return f" ({low:.2f} to {high:.2f}, n = {len(values)})"


def change(values: Sequence[float]) -> str:
    """Mean difference and, from three values on, its interval: `−2.08 (−2.44 to −1.72)`."""
    low, high = bounds(values)
    within = f" ({low:.2f} to {high:.2f})" if np.isfinite(low) else ""
    return f"{np.mean(values):+.2f}{within}".replace("-", "−")
