"""Accuracy by epoch of a network alone, self-trained and taught by another (Yuan et al. 2020, images of the README).

The images show the test set. Here it is looked at once, at the end: the curves are of the validation split.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from softlabels.figures import roles
from softlabels.figures.source import Measured, Source, spread, tidy
from softlabels.figures.style import ONE_COLUMN, PALETTE, legend_below, new_figure, seeds_label
from softlabels.grid.identity import run_id
from softlabels.grid.plan import Artifact, Member
from softlabels.grid.spec import teacher_of

COLUMNS = ("line", "epoch", "mean", "min", "max", "std", "n")


def measure(artifact: Artifact, source: Source) -> Measured:
    """Standard metrics; plotted: validation accuracy of each epoch that was looked at (`history.csv`)."""
    rows, points = [], []
    for member in artifact.members:
        rows += source.standard(artifact, member)
        read = [history for seed in member.seeds if (history := source.history(member, seed)) is not None]
        if not read:
            continue
        curves = pd.concat(read)
        for epoch, values in curves.dropna(subset=["val_top1"]).groupby("epoch")["val_top1"]:
            points.append({"line": line_of(member), "epoch": epoch, **spread([*values])})
    return Measured(tidy(rows), pd.DataFrame(points, columns=list(COLUMNS)))


def line_of(member: Member) -> str:
    """How a network is called in the legend."""
    teacher = teacher_of(member.run)
    if teacher is None:
        return roles.line_name(member)
    names = dict(member.published)
    if names.get("teacher") == names["student"]:
        return "self-training"
    return f"taught by {names.get('teacher', 'another network')}"


def draw(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> Figure:
    """One panel, one column wide: means, bands from the lowest to the highest seed."""
    figure = new_figure(ONE_COLUMN, 2.8)
    axes = figure.subplots()
    for (line, points), colour in zip(plotted.groupby("line", sort=False), PALETTE, strict=False):
        axes.plot(points["epoch"], points["mean"], color=colour, label=line)
        axes.fill_between(points["epoch"], points["min"], points["max"], color=colour, alpha=0.2, linewidth=0)
    axes.set_xlabel("epoch")
    axes.set_ylabel("validation top-1 accuracy (%)")
    if len(plotted):
        legend_below(axes)
    return figure


def remarks(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """What is drawn, and where the networks end on the test set."""
    if plotted.empty:
        return []
    said = [
        f"Lines: mean, bands: min to max, {seeds_label(plotted['n'])}. Validation split; the paper shows the test set "
        "at every epoch, which here is measured at the end alone."
    ]
    ends: dict[str, Any] = {}
    at_end = rows[(rows["split"] == "test") & (rows["metric"] == "top1") & (rows["checkpoint"] == "last")]
    for member in artifact.members:
        values = at_end.loc[at_end["run_id"] == run_id(member.run), "value"]
        if len(values):
            ends[line_of(member)] = f"{values.mean():.2f} %"
    if ends:
        said.append("Test accuracy after the last step: " + "; ".join(f"{k} {v}" for k, v in ends.items()) + ".")
    return said
