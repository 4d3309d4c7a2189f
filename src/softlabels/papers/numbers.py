"""Numbers that a claim selects, from our metrics and from what the papers print, by the papers' names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from softlabels.errors import DataError, SpecError
from softlabels.metrics.rows import COLUMNS, KEY, NUMBERS, published_keys
from softlabels.papers.claims import Binding, bound, spelled
from softlabels.papers.published import all_published

SELECTED = ("artifact", *(name for name in KEY if name not in ("paper", "artifact", "task")))
"""By what a claim may select."""
NOTHING = pd.DataFrame(columns=list(COLUMNS))
IDENTITY = [*KEY, "run_id", "seed", "checkpoint"]


class Missing(Exception):
    """No run, or no printed number, is what a claim selects; the text names it."""


@dataclass
class Trace:
    """What the numbers of a binding come from."""

    runs: set[str] = field(default_factory=set)
    stands_for: set[str] = field(default_factory=set)
    metric: str = ""
    """The first one that was looked at: of its unit the effect is."""

    def add(self, other: Trace) -> None:
        """What another one comes from too."""
        self.runs |= other.runs
        self.stands_for |= other.stands_for
        self.metric = self.metric or other.metric


Artifacts = Mapping[str, Mapping[str, pd.DataFrame]]
"""Artifact → metric → rows, so that a look-up need not go through all."""


def by_artifact(rows: pd.DataFrame) -> Artifacts:
    """The rows of one paper, ready to be looked up."""
    return {str(name): {str(m): r for m, r in own.groupby("metric")} for name, own in rows.groupby("artifact")}


@dataclass(frozen=True)
class Numbers:
    """Numbers of one paper; `checkpoint` is None for printed ones, which have one value under seed 0."""

    paper: str
    artifacts: Artifacts
    checkpoint: str | None
    claim: str
    """Whose selections are looked up, for messages."""

    def values(self, selection: Mapping[str, Any], binding: Binding, trace: Trace) -> dict[int, float]:
        """Seed → value.

        Raises:
            Missing: there is no such number.
            SpecError: a column that does not exist, or several runs fit.
        """
        wanted = self._resolved(selection, binding)
        if any(map(_free, wanted.values())):
            raise Missing(_said(wanted))
        found = self._split(self._filtered(wanted), wanted.get("split"))
        if found.empty:
            raise Missing(_said(wanted))
        found = found.drop_duplicates(["run_id", "seed", "value"])
        if found.duplicated("seed").any():
            which = ", ".join(sorted(map(str, set(found["run_id"]) - {""}))[:3]) or "several printed numbers"
            raise SpecError(f"papers/claims.yaml: {self.claim} selects {which} by {_said(wanted)}; name more columns")
        runs = set(found["run_id"])
        trace.runs |= runs - {""}
        trace.stands_for |= {part for text in set(found["stands_for"]) for part in text.split(";") if part}
        trace.metric = trace.metric or str(wanted["metric"])
        return dict(zip(found["seed"].astype(int), found["value"].astype(float), strict=True))

    def present(self, selection: Mapping[str, Any], variable: str, binding: Binding) -> list[Any]:
        """The values that $variable can have in a selection, ascending."""
        column, pattern = next(
            ((c, v) for c, v in selection.items() if isinstance(v, str) and f"${variable}" in v), (None, "")
        )
        if column is None:
            raise SpecError(f"papers/claims.yaml: {self.claim} asks which ${variable} there are where nothing has it")
        others = {c: v for c, v in selection.items() if c != column and not _free(bound(v, binding))}
        found = self._filtered(self._resolved(others, binding))
        if column in NUMBERS:
            return sorted(set(found[column].dropna()))
        text = re.escape(bound(pattern, binding)).replace(re.escape(f"${variable}"), r"(\d+(?:\.\d+)?)")
        hits = (re.fullmatch(text, name) for name in set(found[column]))
        return sorted({float(hit[1]) for hit in hits if hit})

    def _resolved(self, selection: Mapping[str, Any], binding: Binding) -> dict[str, Any]:
        own = {name: value for name, value in selection.items() if name != "in_print"}
        if self.checkpoint is None:
            own |= selection.get("in_print", {})
        if unknown := [name for name in own if name not in SELECTED]:
            raise SpecError(
                f"papers/claims.yaml: {self.claim} names a column {unknown[0]}, which metrics do not have; "
                f"there are {', '.join(SELECTED)}"
            )
        return {name: bound(value, binding) for name, value in own.items()}

    def _filtered(self, wanted: Mapping[str, Any]) -> pd.DataFrame:
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
        return rows if self.checkpoint is None else rows[rows["checkpoint"] == self.checkpoint]

    def _split(self, rows: pd.DataFrame, wanted: str | None) -> pd.DataFrame:
        if wanted in (None, "held_out"):
            if self.checkpoint is None:
                return rows[rows["split"] != "train"] if wanted else rows
            test = rows[rows["split"] == "test"]
            return test if len(test) else rows[rows["split"] == "val"]
        return rows[rows["split"] == wanted]


def ours(metrics: pd.DataFrame, scale: str, path: str) -> pd.DataFrame:
    """Rows of `metrics.csv` under the papers' names.

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
    named = metrics.copy()
    keys = published_keys(metrics)
    for name in ("dataset", "teacher", "student", "target_class"):
        named[name] = [key[name] for key in keys]
    return named


@cache
def printed(paper: str) -> Artifacts:
    """The numbers that a paper prints, in the same form."""
    table = all_published()
    own = table[table["paper"] == paper]
    return by_artifact(own.assign(seed=0, run_id="", stands_for="", checkpoint=""))


def _free(value: Any) -> bool:
    return isinstance(value, str) and "$" in value


def _said(wanted: Mapping[str, Any]) -> str:
    named = (f"{name} {spelled(value) or 'none'}" for name, value in wanted.items() if name != "artifact")
    return f"{wanted['artifact']} ({', '.join(named)})"
