"""Accuracy by epoch of a network alone, self-trained and taught by another (Yuan et al. 2020, images of the README).

The images show the test set. Here it is looked at once, at the end: the curves are of the validation split.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from softlabels.figures import selectors, style
from softlabels.figures.drawing import Drawing
from softlabels.figures.lazy import pd
from softlabels.figures.source import Measured, Source, spread, tidy
from softlabels.grid.identity import run_id
from softlabels.grid.plan import Artifact, Member
from softlabels.grid.spec import teacher_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


COLUMNS = ("line", "epoch", "mean", "min", "max", "std", "n")


DRAWING = Drawing()


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
        return selectors.line_name(member)
    names = dict(member.published)
    if names.get("teacher") == names["student"]:
        return "self-training"
    return f"taught by {names.get('teacher', 'another network')}"


def draw(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> Figure:
    """One panel, one column wide: means, bands from the lowest to the highest seed."""
    figure = style.new_figure(style.ONE_COLUMN, 2.8)
    axes = figure.subplots()
    for (line, points), colour in zip(plotted.groupby("line", sort=False), style.PALETTE, strict=False):
        style.line_with_band(axes, points["epoch"], points, colour, label=line)
    axes.set_xlabel("epoch")
    axes.set_ylabel("validation top-1 accuracy (%)")
    if len(plotted):
        style.legend_below(axes)
    return figure


def remarks(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """What is drawn, and where the networks end on the test set."""
    if plotted.empty:
        return []
    said = [
        f"Lines: mean, bands: min to max, {style.seeds_label(plotted['n'])}. Validation split; the paper shows the "
        "test set at every epoch, which here is measured at the end alone."
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
