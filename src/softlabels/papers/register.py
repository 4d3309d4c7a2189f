"""The register of discrepancies (`register.csv`): what a paper leaves open or says twice, what is done here by default,
which artifacts run the other reading, and what our runs say where both ran."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

import pandas as pd

from softlabels.figures.intervals import bounds
from softlabels.figures.selectors import reported_checkpoint
from softlabels.grid.plan import Artifact
from softlabels.metrics.rows import KEY

COMPARED = ("top1", "bleu", "ece", "nll")
"""Metrics that tell two readings apart, in this order; the first that both have."""
UNITS = {"top1": "points of top-1 accuracy", "bleu": "BLEU", "ece": "ECE", "nll": "nats of NLL"}


@dataclass(frozen=True)
class Entry:
    """One discrepancy; `variants` are names of artifacts of its paper."""

    id: str
    paper: str
    what: str
    default: str
    field: str
    variant: str
    """As the register words it."""
    results: str
    """A page of `docs/results` that says more; "" where there is none."""
    variants: tuple[str, ...]


@dataclass(frozen=True)
class Told:
    """An entry and what our runs say about it."""

    entry: Entry
    said: str


def entries() -> list[Entry]:
    """All entries, by paper."""
    with resources.files("softlabels.papers").joinpath("register.csv").open(encoding="utf-8") as handle:
        return [
            Entry(
                row["id"], row["paper"], row["what"], row["default"], row["field"], row["variant"], row["results"],
                tuple(row["variants"].split()),
            )
            for row in csv.DictReader(handle)
        ]  # fmt: skip


def told(metrics: pd.DataFrame, artifacts: Mapping[str, Artifact]) -> list[Told]:
    """Every entry with the difference that its variants make, variant minus default."""
    found = []
    for entry in entries():
        parts = [_variant(metrics, artifacts, entry.paper, name) for name in entry.variants]
        found.append(Told(entry, "; ".join(parts) if parts else "no variant is declared"))
    return found


def _variant(metrics: pd.DataFrame, artifacts: Mapping[str, Artifact], paper: str, name: str) -> str:
    artifact = artifacts.get(f"{paper}.{name}")
    default = artifact.options.get("compare_with") if artifact else None
    default = default or max((a.name for a in artifacts.values() if name.startswith(f"{a.name}_")), default="", key=len)
    own, other = (metrics[(metrics["paper"] == paper) & (metrics["artifact"] == a)] for a in (name, default))
    if own.empty or other.empty:
        return f"{name}: not run here"
    key = [column for column in KEY if column not in ("artifact", "kd_beta")]
    shown = [
        reported_checkpoint(artifacts[a]) if (a := f"{paper}.{n}") in artifacts else "last" for n in (name, default)
    ]
    for metric in COMPARED:
        one, two = (
            part[_is(part["metric"], metric) & (part["checkpoint"] == at) & (part["split"] != "train")]
            for part, at in zip((own, other), shown, strict=True)
        )
        both = one.merge(two, on=[*key, "seed"], suffixes=("", "_default"))
        both = both[both["run_id"] != both["run_id_default"]]
        if len(both):
            return f"{name}: {_difference(both, metric, default)}"
    return f"{name}: both ran, but no number is of the same network and setting"


def _is(metrics: pd.Series, metric: str) -> pd.Series:
    """The rows of a metric; where top-1 has ends that tell apart runs of one setting, as generations, those alone."""
    ends = metrics.str.fullmatch(r"top1_(generation|T)[0-9.]+")
    return ends if metric == "top1" and ends.any() else metrics == metric


def _difference(both: pd.DataFrame, metric: str, default: str) -> str:
    split = "test" if (both["split"] == "test").any() else "val"
    both = both[both["split"] == split]
    apart = (both["value"] - both["value_default"]).groupby(both["seed"]).mean()
    low, high = bounds(apart.to_list())
    within = f" ({low:+.3g} to {high:+.3g})" if low > float("-inf") else " (too few seeds for an interval)"
    cells = len(both) // len(apart)
    found = f"{apart.mean():+.3g}{within}".replace("-", "−")
    return f"{found} {UNITS[metric]} against {default}, mean of {cells} networks, n = {len(apart)}"
