"""Expected calibration error of hard, temperature-scaled and smoothed networks (Müller et al. 2019, Table 3).

T is tuned on our validation split, by likelihood (the default of register M-TS) and by ECE on the grid
0.1, 0.2, …; it is scored there, as in the paper for CIFAR-100, and on the test split, which tuned nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd

from softlabels.figures import roles
from softlabels.figures.source import Measured, Source, tidy
from softlabels.grid.plan import Artifact
from softlabels.metrics.calibration import ece, fit_temperature
from softlabels.papers.published import READING, compare, printed_table

BINS = 15
CRITERIA: Mapping[Literal["nll", "ece"], str] = {"nll": "", "ece": "_min_ece"}
"""Criterion → ending of the metric's name; the default has the paper's name."""
VARIANTS = {f"{metric}_min_ece": metric for metric in ("ece", "calibration_temperature")}


def measure(artifact: Artifact, source: Source) -> Measured:
    """The standard metrics of every network; of hard-label ones also the tuned T and the ECE at it."""
    rows = []
    for member in artifact.members:
        rows += source.standard(artifact, member)
        if roles.alpha_of(member.run) != 0:
            continue
        for seed in member.seeds:
            read = source.logits(member, seed)
            for split, checkpoint, metric, value in scaled(*read, roles.reported_on(member)) if read else ():
                row = source.row(artifact, member, seed, split, checkpoint, metric, value)
                rows.append(row | {"method": "temp_scaling"})
    frame = tidy(rows)
    return Measured(frame, compare(frame, artifact, variants=VARIANTS))


def scaled(
    logits: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray], reported: str = "val"
) -> list[tuple[str, str, str, float]]:
    """(split, checkpoint, metric, value) of temperature scaling: the ECE at T on every split, and T itself.

    T is tuned on val whatever is scored; it is given under the split that the paper reports on, beside its ECE.
    """
    found = []
    for checkpoint in (name.removeprefix("val/") for name in logits if name.startswith("val/")):
        for criterion, ending in CRITERIA.items():
            t = fit_temperature(logits[f"val/{checkpoint}"], labels["val"], criterion, BINS)
            found.append((reported, checkpoint, f"calibration_temperature{ending}", t))
            for split in labels:
                value = ece(logits[f"{split}/{checkpoint}"], labels[split], BINS, t)
                found.append((split, checkpoint, f"ece{ending}", value))
    return found


def table(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Ours beside the paper's."""
    return printed_table(plotted)


def remarks(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """What the numbers are."""
    return [
        "ECE: 15 bins, a fraction. temp_scaling: T tuned on our validation split, by likelihood "
        "(ece, calibration_temperature) or by ECE (…_min_ece), also where it stands in a row of the test split, which "
        "tuned nothing; on the validation split it is scored where it was tuned. std: over seeds, n − 1. " + READING,
    ]
