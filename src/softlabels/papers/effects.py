"""What a test of a claim looks at: effects per seed, their 95 % intervals, and the terms that they are made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from softlabels.errors import SpecError
from softlabels.figures.intervals import LEVEL, bounds
from softlabels.papers.claims import Binding, bound, kind_of, products, spelled
from softlabels.papers.identities import IDENTITIES
from softlabels.papers.numbers import Missing, Numbers, Trace, printed

FEWEST = 3
"""Seeds below which an interval says nothing (`figures.intervals.bounds`)."""
UNITS = {
    "top1": "points", "top5": "points", "error": "points", "bleu": "BLEU", "chrf": "chrF", "nll": "nats", "ece": "ECE",
    "ece20": "ECE", "entropy": "nats", "mutual_information": "nats", "kl_to_uniform": "nats",
    "calibration_temperature": "T", "predictive_uncertainty": "nats", "confidence_diversity": "nats",
    "next_token_accuracy": "points", "optimal_alpha": "α", "overconfident_share": "of examples",
    "class_top1": "points", "class_top1_mean": "points", "top1_delta": "points", "top1_at_optimal_alpha": "points",
}  # fmt: skip
RANKED = 6
"""Values of x from which on a rank correlation that is equal in all seeds is no accident."""
Sample = dict[int, float] | float
"""Seed → value, or a number that is the same for each."""


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
        None where it excludes it, where there is no interval, or where a million would not do."""
        from scipy.special import stdtrit

        half = (self.high - self.low) / 2
        inside = [limit for limit in (self.at_least, self.at_most) if self.low <= limit <= self.high]
        if not inside or not 0 < half < math.inf or self.n < FEWEST:
            return None
        distance = min(abs(self.mean - limit) for limit in inside)
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


def unit_of(metric: str) -> str:
    """Of a metric, also under a name that tells its runs apart (`nll_T2.5`); "" where there is none."""
    names = [name for name in UNITS if metric == name or metric.startswith(f"{name}_")]
    return UNITS[max(names, key=len)] if names else ""


def effects(test: Mapping[str, Any], binding: Binding, numbers: Numbers, trace: Trace) -> list[Effect]:
    """What a test looks at: it holds if all of them do.

    Raises:
        Missing: a number that is not there, or a constant of the paper's data where others stand for them.
    """
    own = Trace()
    try:
        found = _effects(test, binding, numbers, own)
    finally:
        trace.add(own)
    if test.get("own_data") and (others := [part for part in own.stands_for if part.startswith("dataset=")]):
        raise Missing(f"the paper's own data, to which a number of the test belongs (in place of {', '.join(others)})")
    unit = "rank correlation" if "correlation" in test else unit_of(own.metric)
    return [replace(effect, unit=str(test.get("unit", effect.unit or unit))) for effect in found]


def _effects(test: Mapping[str, Any], binding: Binding, numbers: Numbers, trace: Trace) -> list[Effect]:
    def sample(term: Any, more: Binding = {}) -> Sample:  # noqa: B006
        return _sample(term, {**binding, **more}, numbers, trace)

    kind = kind_of(test)
    if kind == "identity":
        return [_identity(test["identity"])]
    if kind == "both":
        return [effect for part in test["both"] for effect in effects(part, binding, numbers, trace)]
    single = numbers.checkpoint is None
    if kind == "compare":
        left, op, right = test["compare"]
        high, low = (left, right) if op == ">" else (right, left)
        return [_effect(sample(high), sample(low), single, at_least=test.get("margin", 0.0))]
    if kind == "within":
        left, right = map(sample, test["within"])
        return [_effect(left, right, single, at_least=-test["max"], at_most=test["max"])]
    cells = _cells(test, test[kind], binding, numbers)
    values = [sample(test[kind], cell) for cell in cells]
    rising = test.get("direction") != "decreasing"
    if kind == "ordered":
        steps = zip(values[1:], values[:-1], strict=True)
        return [_effect(*((b, a) if rising else (a, b)), single) for b, a in steps]
    if kind == "correlation":
        along = _rank_correlation([_x(cell) for cell in cells], values)
        return [_effect(along if rising else _negative(along), 0.0, single, equal=len(cells) >= RANKED)]
    own = [n for n, cell in enumerate(cells) if _expected(test["expected"], cell, n, len(cells))]
    if not own or len(own) == len(cells):
        raise Missing(f"{trace.metric} at the values of {', '.join(test['x'])} that are expected, and at others")
    top = _top([values[n] for n in own], bool(test.get("lowest")))
    others = [values[n] for n in range(len(cells)) if n not in own]
    return [_effect(*((o, top) if test.get("lowest") else (top, o)), single) for o in others]


def _top(values: Sequence[Sample], lowest: bool) -> Sample:
    """Seed → its value in the cell that has the highest (lowest) mean over the *other* seeds: a cell that is chosen by
    its noise would lie above the others by it too. Of one seed, as in print: the highest."""
    seeds = _shared(values, "cells")
    sign = -1 if lowest else 1

    def chosen(seed: int) -> float:
        others = [s for s in seeds if s != seed] or [seed]
        best = max(values, key=lambda value: sign * float(np.mean([_by_seed(value)[s] for s in others])))
        return _by_seed(best)[seed]

    return {seed: chosen(seed) for seed in seeds}


def _expected(expected: Any, cell: Binding, n: int, count: int) -> bool:
    if expected == "interior":
        return 0 < n < count - 1
    return any(all(cell[name] == value for name, value in one.items()) for one in expected)


def _cells(test: Mapping[str, Any], selection: Any, binding: Binding, numbers: Numbers) -> list[Binding]:
    """The cells of `x`, at least two."""
    x = {n: present(selection, n, v, binding, numbers) if is_present(v) else v for n, v in test["x"].items()}
    if not (cells := list(products(x))) or len(cells) < 2:
        text = ", ".join(f"{k} {spelled(bound(v, binding))}" for s in _selections(selection) for k, v in s.items())
        raise Missing(f"several values of {', '.join(x)} ({text})")
    return cells


def _x(cell: Binding) -> float:
    return float(next(iter(cell.values())))


def _identity(name: str) -> Effect:
    """0 where both sides are equal; n = 0, because no run is behind it."""
    left, right = IDENTITIES[name]()
    apart = float(np.abs(left - right).max())
    return Effect(apart, apart, apart, 0, at_least=-math.inf, at_most=1e-6)


# ------------------------------------------------------------ terms


def _sample(term: Any, binding: Binding, numbers: Numbers, trace: Trace) -> Sample:
    """Numbers that a term stands for: a selection, a number, or an operation on terms, seed by seed.

    Raises:
        Missing: a number that is not there.
        SpecError: an operation that does not exist.
    """
    if isinstance(term, int | float):
        return float(term)
    if "metric" in term and "printed" not in term:
        return numbers.values(term, binding, trace)
    (name, inner), *_ = term.items()
    if name == "printed":
        theirs = replace(numbers, artifacts=printed(numbers.paper), checkpoint=None)
        return theirs.values(inner, binding, Trace())[0]
    if name in ("minus", "ratio", "times", "distance"):
        left, right = (_sample(part, binding, numbers, trace) for part in inner)
        found = _seedwise(left, right, _BINARY[name])
        if found == {}:
            raise Missing(f"a seed that both sides of a {name} of {trace.metric} have")
        return found
    cells = _cells(term, inner, binding, numbers)
    x = [_x(cell) for cell in cells]
    columns = [
        [_sample(part, {**binding, **cell}, numbers, trace) for cell in cells]
        for part in (inner if isinstance(inner, list) else [inner])
    ]
    if name not in _OVER_X:
        raise SpecError(f"papers/claims.yaml: {numbers.claim} has an operation {name}; there are {', '.join(_OVER_X)}")
    seeds = _shared([value for column in columns for value in column], f"of {trace.metric} over {', '.join(term['x'])}")
    by_seed = {s: [np.array([_by_seed(v)[s] for v in column]) for column in columns] for s in seeds}
    return {s: float(_OVER_X[name](np.array(x), *found)) for s, found in by_seed.items()}


def _correlation(left: Any, right: Any) -> float:
    """Pearson's, 0 where one side does not vary."""
    return 0.0 if min(map(np.ptp, (left, right))) == 0 else float(np.corrcoef(left, right)[0, 1])


_BINARY: Mapping[str, Callable[[float, float], float]] = {
    "minus": lambda a, b: a - b,
    "ratio": lambda a, b: a / b if b else math.inf,
    "times": lambda a, b: a * b,
    "distance": lambda a, b: abs(a - b),
}
_OVER_X: Mapping[str, Callable[..., float]] = {
    "max": lambda x, y: y.max(),
    "min": lambda x, y: y.min(),
    "argmax": lambda x, y: x[y.argmax()],
    "argmin": lambda x, y: x[y.argmin()],
    "slope": lambda x, y: np.polyfit(x, y, 1)[0],
    "correlated": lambda x, y, z: _correlation(y, z),
}


def _rank_correlation(x: Sequence[float], values: Sequence[Sample]) -> dict[int, float]:
    from scipy.stats import rankdata

    seeds = _shared(values, "cells")
    return {s: _correlation(rankdata(x), rankdata([_by_seed(v)[s] for v in values])) for s in seeds}


def _shared(values: Sequence[Sample], of: str) -> list[int]:
    """The seeds that all of them have, at least one."""
    if not (seeds := sorted(set.intersection(*(set(_by_seed(value)) for value in values)))):
        raise Missing(f"a seed that all {of} have")
    return seeds


def _by_seed(value: Sample) -> dict[int, float]:
    assert isinstance(value, dict)
    return value


def _negative(value: dict[int, float]) -> dict[int, float]:
    return {seed: -one for seed, one in value.items()}


def _seedwise(left: Sample, right: Sample, operation: Any) -> Sample:
    """An operation on the values of equal seeds; a number goes with every seed."""
    if isinstance(left, dict) and isinstance(right, dict):
        return {seed: float(operation(left[seed], right[seed])) for seed in sorted(left.keys() & right.keys())}
    if isinstance(left, dict):
        return {seed: float(operation(value, right)) for seed, value in left.items()}
    if isinstance(right, dict):
        return {seed: float(operation(left, value)) for seed, value in right.items()}
    return float(operation(left, right))


def _effect(
    left: Sample, right: Sample, single: bool, at_least: float = 0.0, at_most: float = math.inf, equal: bool = False
) -> Effect:
    """left − right: paired by the seeds that both have, by Welch's interval where they share none.

    Seeds that agree to the last digit, as counts and ranks can, have no interval: their spread is no estimate.

    Args:
        single: of printed numbers, which have no seeds: the interval is the number.
        equal: seeds may agree.
    """
    apart = _seedwise(left, right, _BINARY["minus"])
    values = [*apart.values()] if isinstance(apart, dict) else [apart]
    if single and values:
        return Effect(values[0], values[0], values[0], 1, at_least, at_most)
    if isinstance(left, dict) and isinstance(right, dict) and not left.keys() & right.keys():
        return _welch([*left.values()], [*right.values()], at_least, at_most)
    mean = float(np.mean(values))
    agree = not equal and bool(np.ptp(values) <= 1e-12 * max(1.0, abs(mean)))
    spread = (-math.inf, math.inf) if agree else bounds(values)
    return Effect(mean, *spread, len(values), at_least, at_most, freedom=len(values) - 1, seeds_agree=agree)


def _welch(left: Sequence[float], right: Sequence[float], at_least: float, at_most: float) -> Effect:
    mean, n = float(np.mean(left) - np.mean(right)), min(len(left), len(right))
    if n < FEWEST:
        return Effect(mean, -math.inf, math.inf, n, at_least, at_most)
    from scipy.stats import ttest_ind

    found = ttest_ind(left, right, equal_var=False)
    interval = found.confidence_interval(1 - 2 * LEVEL)
    return Effect(mean, float(interval.low), float(interval.high), n, at_least, at_most, freedom=float(found.df))


# ------------------------------------------------------------ present


def is_present(values: Any) -> bool:
    return values == "present" or (isinstance(values, Mapping) and "present" in values)


def present(part: Any, name: str, values: Any, binding: Binding, numbers: Numbers) -> list[Any]:
    """The values of ${name} that runs have, within the limits that are given."""
    limits = {} if values == "present" else values["present"]
    selection = next((s for s in _selections(part) if any(f"${name}" in str(v) for v in s.values())), None)
    if selection is None:
        raise SpecError(f"papers/claims.yaml: {numbers.claim} binds {name}, which no selection has")
    found = numbers.present(selection, name, binding)
    return [v for v in found if limits.get("above", -math.inf) < v < limits.get("below", math.inf)]


def _selections(part: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(part, Mapping):
        if "metric" in part:
            yield part
        else:
            for value in part.values():
                yield from _selections(value)
    elif isinstance(part, list):
        for value in part:
            yield from _selections(value)
