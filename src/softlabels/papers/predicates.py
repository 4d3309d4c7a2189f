"""What claims are written with: comparisons of numbers, and how many of them must hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from softlabels.errors import SpecError
from softlabels.papers.effects import Effect, difference
from softlabels.papers.identities import Sides
from softlabels.papers.numbers import Values, along, shared_seeds, spelled, together, unit_of

OTHER_DATA = "the paper's own data"
"""Beginning of what is missing where a comparison is about these and others stand for them."""
RANKED = 6
"""Values of x from which on a rank correlation that is equal in all seeds is no accident."""


@dataclass(frozen=True)
class Comparison:
    """It holds if each of its effects does; it has none where a number is missing."""

    effects: tuple[Effect, ...]
    values: tuple[Values, ...]
    """What it compares."""
    missing: str = ""
    limits: tuple[float, ...] = ()
    """Numbers that it compares them with."""
    own_data: bool = False
    """A number in it belongs to the paper's data, so others that stand for them leave it undecided."""

    def __and__(self, other: Comparison) -> Comparison:
        """Both, as one."""
        missing, own_data = self.missing or other.missing, self.own_data or other.own_data
        effects = () if missing else (*self.effects, *other.effects)
        return Comparison(effects, (*self.values, *other.values), missing, (*self.limits, *other.limits), own_data)


@dataclass(frozen=True)
class Quantified:
    """Comparisons of which `all`, `any` or the `majority` must hold."""

    quantifier: str
    comparisons: tuple[Comparison, ...]

    def names(self) -> list[dict[str, str]]:
        """Of each comparison the columns in which its selections differ from those of the others; `a / b` where both
        sides do."""
        selected = [[s for v in one.values for s in v.selected] for one in self.comparisons]
        found: list[dict[str, str]] = [{} for _ in selected]
        for place in range(min(map(len, selected))):
            for column in dict.fromkeys(name for own in selected for name in own[place]):
                values = [spelled(own[place].get(column, "")) for own in selected]
                if len({*values}) > 1:
                    for name, value in zip(found, values, strict=True):
                        known = name.get(column, "").split(" / ")
                        name[column] = " / ".join(dict.fromkeys([*filter(None, known), value]))
        return found


def all_of(comparisons: Iterable[Comparison]) -> Quantified:
    """Each must hold."""
    return Quantified("all", tuple(comparisons))


def most_of(comparisons: Iterable[Comparison]) -> Quantified:
    """More than half must hold."""
    return Quantified("majority", tuple(comparisons))


def any_of(comparisons: Iterable[Comparison]) -> Quantified:
    """One must hold."""
    return Quantified("any", tuple(comparisons))


# ------------------------------------------------------------ comparisons


def above(
    left: Values, right: Values | float, margin: float = 0.0, unit: str = "", own_data: bool = False
) -> Comparison:
    """One seed's right from its left: the difference is more than the margin.

    Args:
        unit: of the effect, where it is not that of the metric.
        own_data: as `Comparison.own_data`.
    """
    return _compared([left, right], lambda: [difference(left, right, at_least=margin)], unit, own_data)


def below(
    left: Values, right: Values | float, margin: float = 0.0, unit: str = "", own_data: bool = False
) -> Comparison:
    """The other way round: right − left is more than the margin."""
    return _compared([left, right], lambda: [difference(-1.0 * left, -1.0 * right, at_least=margin)], unit, own_data)


def within(
    left: Values, right: Values | float, most: float, unit: str = "", own_data: bool = False, equal: bool = False
) -> Comparison:
    """They are no further apart than `most`, the whole interval.

    Args:
        unit, own_data: as of `above`.
        equal: seeds may agree.
    """
    return _compared([left, right], lambda: [difference(left, right, -most, most, equal)], unit, own_data)


def rising(values: Sequence[Values]) -> Comparison:
    """Every step goes up."""
    return _steps(values, [difference(b, a) for a, b in _pairs(values)])


def falling(values: Sequence[Values]) -> Comparison:
    """Every step goes down."""
    return _steps(values, [difference(a, b) for a, b in _pairs(values)])


def best(values: Mapping[Any, Values], expected: Collection[Hashable], lowest: bool = False) -> Comparison:
    """Of values by their setting the highest (lowest) of the expected ones is above (below) every other one.

    Which of several expected ones it is, is chosen for each seed by the others: a cell that is chosen by its noise
    would lie above the others by it too. Of one seed, as in print: the highest.
    """
    own = [value for name, value in values.items() if name in expected]
    others = [value for name, value in values.items() if name not in expected]
    every = [*own, *others]
    if not own or not others:
        metric = every[0].metric
        return _compared([every[0].absent(f"{metric} at the values that are expected, and at others")], list)
    if any(value.missing for value in every):
        return _compared(every, list)
    if (top := _top(own, lowest)).missing:
        return _compared([top], list)
    return _compared(every, lambda: [difference(*((o, top) if lowest else (top, o))) for o in others])


def rank_correlated(x: Sequence[float], values: Sequence[Values], direction: int = 1) -> Comparison:
    """The rank correlation (Spearman's) with x, seed by seed, has the sign."""
    from scipy.stats import rankdata

    found = along(lambda y: direction * correlation(rankdata(x), rankdata(y)), values)
    return _compared([found], lambda: [difference(found, 0.0, equal=len(values) >= RANKED)], "rank correlation")


def identity(sides: Callable[[], Sides]) -> Comparison:
    """0 where both sides are equal; n = 0, because no run is behind it."""
    left, right = sides()
    apart = float(np.abs(left - right).max())
    return Comparison((Effect(apart, apart, apart, 0, at_least=-math.inf, at_most=1e-6),), ())


def _compared(
    parts: Sequence[Values | float], effects: Callable[[], list[Effect]], unit: str = "", own_data: bool = False
) -> Comparison:
    values = tuple(part for part in parts if isinstance(part, Values))
    limits = tuple(part for part in parts if not isinstance(part, Values))
    if not (unit := unit or unit_of(values[0].metric)):
        raise SpecError(f"{values[0].metric} has no unit; give it one in UNITS of papers/numbers.py")
    others = sorted({s for v in values for s in v.stands_for if s.startswith("dataset=")}) if own_data else []
    missing = next((value.missing for value in values if value.missing), "")
    if others and not missing:
        missing = f"{OTHER_DATA}, to which a number of the test belongs (in place of {', '.join(others)})"
    if missing:
        return Comparison((), values, missing, limits, own_data)
    return Comparison(tuple(replace(effect, unit=unit) for effect in effects()), values, "", limits, own_data)


def _steps(values: Sequence[Values], effects: list[Effect]) -> Comparison:
    if len(values) < 2:
        return _compared([along(len, values)], list)
    return _compared(values, lambda: effects)


def _pairs(values: Sequence[Values]) -> list[tuple[Values, Values]]:
    """Neighbours, where nothing is missing."""
    return [] if any(value.missing for value in values) else [*pairwise(values)]


def _top(values: Sequence[Values], lowest: bool) -> Values:
    sign = -1 if lowest else 1

    def chosen(*own: Any) -> Any:
        table = np.stack(own)  # [cells, seeds]
        others = (table.sum(1, keepdims=True) - table) / (table.shape[1] - 1) if table.shape[1] > 1 else table
        return table[(sign * others).argmax(0), range(table.shape[1])]

    seeds = shared_seeds(values)
    columns = [np.array([value.by_seed[seed] for seed in seeds]) for value in values]
    return together(values, dict(zip(seeds, map(float, chosen(*columns)), strict=True)) if seeds else {}, "all")


# ------------------------------------------------------------ operations over x


def highest(values: Sequence[Values]) -> Values:
    """The largest, seed by seed."""
    return along(np.max, values, least=1, same_unit=True)


def slope(x: Sequence[float], values: Sequence[Values]) -> Values:
    """Of a straight line through them, seed by seed."""
    return along(lambda y: np.polyfit(x, y, 1)[0], values)


def lowest_at(x: Sequence[float], values: Sequence[Values]) -> Values:
    """The x of the minimum, seed by seed: of the parabola through the smallest value and its neighbours."""

    def place(y: Any) -> float:
        middle = int(y.argmin())
        if not 0 < middle < len(x) - 1:
            return float(x[middle])
        a, b, _ = np.polyfit(x[middle - 1 : middle + 2], y[middle - 1 : middle + 2], 2)
        return float(-b / (2 * a)) if a > 0 else float(x[middle])

    return along(place, values)


def at(position: Values, x: Sequence[float], values: Sequence[Values]) -> Values:
    """Seed by seed, the value at a position between those at x, on straight lines; beyond them that of the nearest."""
    return along(lambda y: np.interp(y[-1], x, y[:-1]), [*values, position], same_unit=True)


def correlated(left: Sequence[Values], right: Sequence[Values]) -> Values:
    """Pearson's correlation, seed by seed."""
    return along(correlation, left, right)


def correlation(left: Any, right: Any) -> float:
    """Pearson's, 0 where one side does not vary."""
    return 0.0 if min(map(np.ptp, (left, right))) == 0 else float(np.corrcoef(left, right)[0, 1])
