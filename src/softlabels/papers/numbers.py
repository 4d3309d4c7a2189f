"""Numbers that a claim selects, from our metrics and from what the papers print, by the papers' names."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from softlabels.errors import DataError, SpecError
from softlabels.metrics.rows import COLUMNS, KEY, NUMBERS, published_keys
from softlabels.papers.published import all_published

SELECTED = ("artifact", *(name for name in KEY if name not in ("paper", "artifact", "task")))
"""By what a claim may select."""
UNITS = {
    "top1": "points", "top5": "points", "error": "points", "bleu": "BLEU", "chrf": "chrF", "nll": "nats", "ece": "ECE",
    "ece20": "ECE", "entropy": "nats", "mutual_information": "nats", "kl_to_uniform": "nats",
    "calibration_temperature": "T", "predictive_uncertainty": "nats", "confidence_diversity": "nats",
    "next_token_accuracy": "points", "optimal_alpha": "α", "overconfident_share": "of examples",
    "class_top1": "points", "class_top1_mean": "points", "top1_delta": "points", "top1_at_optimal_alpha": "points",
    "confidence_gap": "probability", "within_class_spread_ratio": "ratio", "mean_triangle_regularity": "ratio",
    "projection_extent": "activation", "arc_ratio": "ratio", "centroid_distance_ratio": "ratio", "eta": "η",
    "n_classes_100x_below_second": "classes", "consistency": "of classes", "p_largest": "probability",
    "p_second": "probability", "mean_label": "probability", "gamma": "γ", "perplexity": "perplexity",
}  # fmt: skip
NOTHING = pd.DataFrame(columns=list(COLUMNS))
PLACE = ("run_id", "split", "checkpoint", "target_class")
IDENTITY = [*KEY, "run_id", "seed", "checkpoint"]


@dataclass(frozen=True)
class Values:
    """Seed → value of one selection, or of an operation on several, with what it comes from.

    Operations take values of equal seeds; a number goes with every seed. What lacks a number stays missing and says so.
    """

    by_seed: Mapping[int, float]
    metric: str = ""
    """The first one that was looked at: its unit is that of an effect."""
    runs: frozenset[str] = frozenset()
    stands_for: frozenset[str] = frozenset()
    ran_on: frozenset[str] = frozenset()
    """`<data>: <network>` of the runs, under our names."""
    selected: tuple[Mapping[str, Any], ...] = ()
    """The selections behind it, in their order."""
    missing: str = ""
    printed: bool = False
    """Of printed numbers, which have one value under seed 0."""
    resolution: float = 0.0
    """Of a share, by how much one example changes it; 0 of other metrics."""

    def __sub__(self, other: Values | float) -> Values:
        return self._with(other, lambda a, b: a - b)

    def __rmul__(self, factor: float) -> Values:
        return replace(self._with(factor, lambda a, b: a * b), resolution=abs(factor) * self.resolution)

    def __truediv__(self, other: Values) -> Values:
        return replace(self._with(other, lambda a, b: a / b if b else math.inf), resolution=0.0)

    def __abs__(self) -> Values:
        return replace(self, by_seed={seed: abs(value) for seed, value in self.by_seed.items()})

    def _with(self, other: Values | float, operation: Callable[[float, float], float]) -> Values:
        if not isinstance(other, Values):
            return replace(self, by_seed={s: operation(v, other) for s, v in self.by_seed.items()})
        mine, theirs = self._for(other), other._for(self)
        found = {s: operation(mine[s], theirs[s]) for s in sorted(mine.keys() & theirs.keys())}
        return together([self, other], found, "both sides")

    def _for(self, other: Values) -> Mapping[int, float]:
        """By the seeds of `other` too where these make no difference."""
        if self.measured and not other.measured and len(values := {*self.by_seed.values()}) == 1:
            return dict.fromkeys(other.by_seed, values.pop())
        return self.by_seed

    @property
    def measured(self) -> bool:
        """Of networks that are there already and are only measured (`recipe.steps: 0`), so that seeds make no noise."""
        return bool(self.runs) and all("-measured-" in run for run in self.runs)

    def absent(self, what: str) -> Values:
        """The same without values, and what is missing."""
        return replace(self, by_seed={}, missing=self.missing or what)


def together(parts: Sequence[Values], by_seed: Mapping[int, float], of: str) -> Values:
    """What was computed from several, seed by seed; missing where one of them is, or where they share no seed."""
    one = Values(
        by_seed,
        next((part.metric for part in parts if part.metric), ""),
        frozenset().union(*(part.runs for part in parts)),
        frozenset().union(*(part.stands_for for part in parts)),
        frozenset().union(*(part.ran_on for part in parts)),
        tuple(selection for part in parts for selection in part.selected),
        next((part.missing for part in parts if part.missing), ""),
        any(part.printed for part in parts),
        max(part.resolution for part in parts),
    )
    return one if by_seed and not one.missing else one.absent(f"a seed that {of} of {one.metric} have")


def shared_seeds(parts: Sequence[Values]) -> list[int]:
    """The seeds that all of them have."""
    return sorted(set.intersection(*(set(part.by_seed) for part in parts)))


def along(
    operation: Callable[..., float], *columns: Sequence[Values], least: int = 2, same_unit: bool = False
) -> Values:
    """An operation on sequences of values (over temperatures, say), seed by seed.

    Args:
        least: how many values it needs.
        same_unit: the result has the unit of the values, so that one example changes it as much.
    """
    parts = [part for column in columns for part in column]
    if min(map(len, columns)) < least:
        return parts[0].absent(f"several values to compare ({said(parts[0].selected[0])})")
    found = {
        s: float(operation(*(np.array([v.by_seed[s] for v in column]) for column in columns)))
        for s in shared_seeds(parts)
    }
    one = together(parts, found, "all")
    return one if same_unit else replace(one, resolution=0.0)


Artifacts = Mapping[str, Mapping[str, pd.DataFrame]]
"""Artifact → metric → rows, so that a look-up need not go through all."""


def by_artifact(rows: pd.DataFrame) -> Artifacts:
    """The rows of one paper, ready to be looked up."""
    return {str(name): {str(m): r for m, r in own.groupby("metric")} for name, own in rows.groupby("artifact")}


@dataclass(frozen=True)
class Numbers:
    """Numbers of one paper, which its claims select: `m("table2", "top1", student_alpha=0.1)`.

    Numbers are selected by columns of metrics.csv, under the papers' names. Of a split that is not given, and of
    `held_out`, the test split counts, or validation where there is no test. `target_class` is that of no class unless
    given; `any`: whatever it is. `in_print`: what differs where the printed numbers are read.
    """

    paper: str
    artifacts: Artifacts = field(default_factory=dict)
    checkpoint: str | None = "last"
    """None for printed numbers."""
    claim: str = ""
    """Whose selections are looked up, for messages."""

    def __call__(self, artifact: str, metric: str, in_print: Mapping[str, Any] | None = None, **columns: Any) -> Values:
        """The values of one run.

        Raises:
            SpecError: a column that does not exist, or several runs fit.
        """
        wanted = {"artifact": artifact, "metric": metric, **columns, **((in_print or {}) if self._printed else {})}
        nothing = Values({}, wanted["metric"], selected=(wanted,), printed=self._printed)
        found = self._split(self._filtered(wanted), wanted.get("split"))
        if found.empty:
            return nothing.absent(said(wanted))
        found = found.drop_duplicates(["run_id", "seed", "value"])
        if found.duplicated("seed").any():
            which = ", ".join(sorted(map(str, set(found["run_id"]) - {""}))[:3]) or "several printed numbers"
            raise SpecError(f"claim {self.claim} selects {which} by {said(wanted)}; name more columns")
        return replace(
            nothing,
            by_seed=dict(zip(found["seed"].astype(int), found["value"].astype(float), strict=True)),
            runs=frozenset(found["run_id"]) - {""},
            stands_for=frozenset(part for text in set(found["stands_for"]) for part in text.split(";") if part),
            ran_on=frozenset(found["ran_on"]) - {""},
            resolution=self._resolution(found, artifact, metric),
        )

    def _resolution(self, found: pd.DataFrame, artifact: str, metric: str) -> float:
        """Of values on a grid its step, of shares that of the smallest set of examples; 0 where neither is recorded."""
        scale = {"points": 100.0, "of examples": 1.0}.get(unit_of(metric), 0.0)

        def recorded(name: str) -> list[float]:
            rows = self.artifacts.get(artifact, {}).get(name)
            here = found[[*PLACE]].drop_duplicates()
            return [] if rows is None else [*map(float, rows.merge(here, on=[*PLACE])["value"])]

        if steps := recorded(f"{metric}_step"):
            return max(steps)
        counts = recorded("num_examples") if scale else []
        return scale / min(counts) if counts else 0.0

    def present(
        self,
        column: str,
        artifact: str,
        metric: str,
        above: float = -math.inf,
        below: float = math.inf,
        **columns: Any,
    ) -> list[float]:
        """The numbers that a column has, whatever they are, ascending and between the limits; of `metric` those that
        follow the name, as 2.5 in `nll_T2.5`. [NaN], of which there is no run, where there are none."""
        wanted = {"artifact": artifact, **columns} | ({} if column == "metric" else {"metric": metric})
        found = set(self._filtered(wanted)[column].dropna())
        if column == "metric":
            hits = (re.fullmatch(rf"{re.escape(metric)}(\d+(?:\.\d+)?)", name) for name in found)
            found = {float(hit[1]) for hit in hits if hit}
        return sorted(value for value in found if above < value < below) or [math.nan]

    def printed(self, artifact: str, metric: str, **columns: Any) -> float:
        """One number that the paper prints."""
        theirs = replace(self, artifacts=printed(self.paper), checkpoint=None)
        return theirs(artifact, metric, **columns).by_seed[0]

    @property
    def _printed(self) -> bool:
        return self.checkpoint is None

    def _filtered(self, wanted: Mapping[str, Any]) -> pd.DataFrame:
        if unknown := [name for name in wanted if name not in SELECTED]:
            raise SpecError(
                f"claim {self.claim} names a column {unknown[0]}, which metrics do not have; "
                f"there are {', '.join(SELECTED)}"
            )
        metrics = self.artifacts.get(str(wanted["artifact"]), {})
        if "metric" in wanted:
            rows = metrics.get(str(wanted["metric"]), NOTHING)
        else:
            rows = pd.concat([*metrics.values()]) if metrics else NOTHING
        for name, value in {"target_class": "", **wanted}.items():
            if name in NUMBERS:
                rows = rows[rows[name].isna() if value == "" else np.isclose(rows[name].astype(float), float(value))]
            elif name not in ("split", "artifact", "metric") and (name, value) != ("target_class", "any"):
                rows = rows[rows[name] == str(value)]
        return rows if self._printed else rows[rows["checkpoint"] == self.checkpoint]

    def _split(self, rows: pd.DataFrame, wanted: str | None) -> pd.DataFrame:
        if wanted in (None, "held_out"):
            if self._printed:
                return rows[rows["split"] != "train"] if wanted else rows
            test = rows[rows["split"] == "test"]
            return test if len(test) else rows[rows["split"] == "val"]
        return rows[rows["split"] == wanted]


def ours(metrics: pd.DataFrame, scale: str, path: str) -> pd.DataFrame:
    """Rows of `metrics.csv` under the papers' names; column ran_on has ours.

    Raises:
        DataError: rows of another scale, or a row that is there twice; names the file.
    """
    if others := sorted(set(metrics["scale"]) - {scale}):
        raise DataError(f"{path} holds rows of scale {others[0]}, not of {scale}; delete it and make it again")
    twice = metrics[metrics.duplicated([*IDENTITY], keep=False)]
    if len(twice):
        row = twice.iloc[0]
        raise DataError(
            f"{path} has {row['metric']} of {row['run_id']} seed {row['seed']} twice in "
            f"{row['paper']}.{row['artifact']}; delete it and make it again"
        )
    named = metrics.assign(ran_on=metrics["dataset"] + ": " + metrics["student"])
    keys = published_keys(metrics)
    for name in ("dataset", "teacher", "student", "target_class"):
        named[name] = [key[name] for key in keys]
    return named


@cache
def printed(paper: str) -> Artifacts:
    """The numbers that a paper prints, in the same form."""
    table = all_published()
    own = table[table["paper"] == paper]
    return by_artifact(own.assign(seed=0, run_id="", stands_for="", ran_on="", checkpoint=""))


def said(wanted: Mapping[str, Any]) -> str:
    """A selection in words; NaN, of which there is no run, is any."""
    named = (f"{name} {spelled(value) or 'none'}" for name, value in wanted.items() if name != "artifact")
    return re.sub(r"nan\b", "any", f"{wanted['artifact']} ({', '.join(named)})")


def spelled(value: Any) -> str:
    """A value as names have it: `1.3`, `1`."""
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def unit_of(metric: str) -> str:
    """Of a metric, also under a name that tells its runs apart (`nll_T2.5`); "" where there is none."""
    names = [name for name in UNITS if metric == name or metric.startswith(f"{name}_")]
    return UNITS[max(names, key=len)] if names else ""
