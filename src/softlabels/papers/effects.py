"""Effects with their 95 % intervals and p-values, one by one and several together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from softlabels.figures.intervals import LEVEL, bounds
from softlabels.papers.numbers import Values

FEWEST = 3
"""Seeds below which an interval says nothing (`figures.intervals.bounds`)."""


@dataclass(frozen=True)
class Effect:
    """A mean with its 95 % interval, and the limits between which the claim wants it."""

    mean: float
    low: float
    high: float
    n: int
    at_least: float = 0.0
    at_most: float = math.inf
    unit: str = ""
    freedom: float = math.inf
    """Degrees of freedom of the interval."""
    floor: float = 0.0
    """Half the width below which the interval does not fall: what one example changes."""
    seeds_agree: bool = False
    """All seeds have one value, which has no interval: the sign test decides, with six seeds or more."""

    @property
    def p_values(self) -> tuple[float, float]:
        """One-sided p-values, small where the mean lies within the limits, and where it lies outside.

        By the distribution of the interval, so that one comparison alone is decided as its 95 % interval says.
        """
        holds = max(self._p_above(self.mean - self.at_least), self._p_above(self.at_most - self.mean))
        fails = min(self._p_above(self.at_least - self.mean), self._p_above(self.mean - self.at_most))
        return holds, fails

    def _p_above(self, distance: float) -> float:
        """That the true distance from a limit is not above 0."""
        from scipy.special import stdtr, stdtrit

        half = (self.high - self.low) / 2
        if distance == -math.inf or (distance <= 0 and (half == 0 or self.seeds_agree)):
            return 1.0
        if distance == math.inf or half == 0:
            return 0.0
        if self.seeds_agree:
            return float(0.5**self.n)
        if not half < math.inf:
            return 1.0
        return float(stdtr(self.freedom, -distance / half * stdtrit(self.freedom, 1 - LEVEL)))

    @property
    def verdict(self) -> str:
        """`holds`, `fails` or `undecided`, as if it were the only comparison."""
        return decided(*self.p_values)

    @property
    def seeds_needed(self) -> int | None:
        """Seeds with which the interval would exclude the limit that it contains, if mean and spread stay as they are;
        None where it excludes it, where there is no interval, or where no number would do."""
        from scipy.special import stdtrit

        half = (self.high - self.low) / 2
        inside = [limit for limit in (self.at_least, self.at_most) if self.low <= limit <= self.high]
        if not inside or not 0 < half < math.inf or self.n < FEWEST:
            return None
        distance = min(abs(self.mean - limit) for limit in inside)
        if distance <= self.floor:
            return None
        std = half * math.sqrt(self.n) / stdtrit(self.n - 1, 1 - LEVEL)
        counts = (n for n in (*range(self.n + 1, 100), *range(100, 10**6, 100)))
        return next((n for n in counts if stdtrit(n - 1, 1 - LEVEL) * std / math.sqrt(n) < distance), None)

    @property
    def slack(self) -> float:
        """How far inside the limits the interval lies, in half-widths of it, which compares effects of several units;
        negative outside. Of an interval that is infinite, or a point: by the mean."""
        half = (self.high - self.low) / 2
        if not 0 < half < math.inf:
            return min(self.mean - self.at_least, self.at_most - self.mean)
        return min(self.low - self.at_least, self.at_most - self.high) / half


def decided(holds: float, fails: float) -> str:
    """The verdict of two one-sided p-values, of which each decides below `LEVEL`."""
    return "holds" if holds < LEVEL else "fails" if fails < LEVEL else "undecided"


def combined(p_values: Sequence[tuple[float, float]], quantifier: str) -> tuple[float, float]:
    """The p-values of several comparisons together, corrected for their number n.

    That at least k of n hold is tested by the k-th smallest p-value times n − k + 1 (partial conjunction of Benjamini
    and Heller 2008, with Bonferroni's correction). `all` holds with n and fails with one, `any` the other way round,
    `majority` holds with more than half and fails with half.
    """
    n = len(p_values)
    least = {"all": (n, 1), "any": (1, n), "majority": (n // 2 + 1, (n + 1) // 2)}[quantifier]
    holds, fails = (
        (n - k + 1) * sorted(side)[k - 1] for k, side in zip(least, zip(*p_values, strict=True), strict=True)
    )
    return min(1.0, holds), min(1.0, fails)


def corrected(p_values: Sequence[float]) -> list[float]:
    """Holm's correction, in the order of the p-values."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    found, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        found[i] = highest
    return found


def difference(
    left: Values, right: Values | float, at_least: float = 0.0, at_most: float = math.inf, equal: bool = False
) -> Effect:
    """left − right: paired by the seeds that both have, by Welch's interval where they share none.

    It is no narrower than one example makes it (`Values.resolution`). Of other metrics, seeds that agree to the last
    digit, as counts and ranks can, have no interval: their spread is no estimate. Of printed numbers, and of networks
    that are only measured, the interval is the number.

    Args:
        equal: seeds may agree.
    """
    apart = left - right
    values = [*apart.by_seed.values()]
    if values and (left.printed or (apart.measured and np.ptp(values) == 0)):
        return Effect(values[0], values[0], values[0], len(values), at_least, at_most)
    if not values and isinstance(right, Values):
        found = _welch([*left.by_seed.values()], [*right.by_seed.values()], at_least, at_most)
        return _no_narrower(found, apart.resolution)
    mean = float(np.mean(values))
    agree = not (equal or apart.resolution) and bool(np.ptp(values) <= 1e-12 * max(1.0, abs(mean)))
    spread = (-math.inf, math.inf) if agree else bounds(values)
    found = Effect(mean, *spread, len(values), at_least, at_most, freedom=len(values) - 1, seeds_agree=agree)
    return _no_narrower(found, apart.resolution)


def _no_narrower(effect: Effect, resolution: float) -> Effect:
    """The same with an interval of at least the mean ± what one example changes."""
    low, high = min(effect.low, effect.mean - resolution), max(effect.high, effect.mean + resolution)
    return replace(effect, low=low, high=high, floor=resolution)


def _welch(left: Sequence[float], right: Sequence[float], at_least: float, at_most: float) -> Effect:
    mean, n = float(np.mean(left) - np.mean(right)), min(len(left), len(right))
    agree = max(np.ptp(left), np.ptp(right)) <= 1e-12 * max(1.0, abs(mean))
    if n < FEWEST or agree:
        return Effect(mean, -math.inf, math.inf, n, at_least, at_most, seeds_agree=bool(agree))
    from scipy.stats import ttest_ind

    found = ttest_ind(left, right, equal_var=False)
    interval = found.confidence_interval(1 - 2 * LEVEL)
    return Effect(mean, float(interval.low), float(interval.high), n, at_least, at_most, freedom=float(found.df))
