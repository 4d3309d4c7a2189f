"""Sizes of networks beside those that a paper quotes (Chandrasegaran et al. 2022, Sec. 6 and App. B). No training."""

from __future__ import annotations

import pandas as pd

from softlabels.figures.source import Measured, Source, tidy
from softlabels.grid.plan import Artifact
from softlabels.grid.zoo import parameter_count
from softlabels.metrics.rows import COLUMNS
from softlabels.papers.published import compare

CLASSES = 1000
"""The papers quote the sizes of networks for ImageNet, whatever these are trained on."""
SHOWN = ("student", "parameters", "published", "mean", "difference", "flags")


def measure(artifact: Artifact, source: Source) -> Measured:
    """Weights of each network of `options.models` with a head for 1000 classes, in millions."""
    common = {"paper": artifact.paper, "artifact": artifact.name, "scale": source.scale, "metric": "params", "seed": 0}
    none = dict.fromkeys(COLUMNS, "") | common | {"dataset": "none", "task": "none", "method": "none"}
    counts = {name: parameter_count(name, CLASSES) for name in artifact.options["models"]}
    rows = tidy([none | {"student": name, "value": count / 1e6} for name, count in counts.items()])
    compared = compare(rows, artifact)
    return Measured(rows, compared.assign(parameters=compared["student"].map(counts))[list(SHOWN)])


def table(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """A row for each network: the exact count, and in millions ours, the paper's and the difference."""
    shown = plotted.rename(columns={"student": "network", "mean": "millions", "published": "published_millions"})
    return shown.drop(columns=[c for c in ("flags",) if shown[c].isna().all() or (shown[c] == "").all()])


def remarks(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """What is counted."""
    return [
        f"Weights and biases that are trained, of networks with a head for {CLASSES} classes, as the paper quotes "
        "them. Those of other classes or other pictures differ."
    ]
