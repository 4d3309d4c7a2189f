"""Mutual information between a training image and a logit difference, over training (Müller et al. 2019, Fig. 6).

Y = z_a − z_b of the two classes of the probe, noisy by random augmentation. Of a probe with V views, the
fresh reading takes V − 1 draws for μ_x and the last for y_x; the reused reading takes those V − 1 for both
(register M-MI).
"""

from __future__ import annotations

import re
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from softlabels.figures import roles
from softlabels.figures.source import Arrays, Measured, Row, Source, spread, tidy
from softlabels.figures.style import GREY, ONE_COLUMN, PALETTE, legend_below, new_figure, seeds_label
from softlabels.grid.plan import Artifact
from softlabels.grid.probes import Probe
from softlabels.metrics.information import mutual_information

DRAWS: dict[Literal["reused", "fresh"], str] = {"reused": "-", "fresh": ":"}
COLUMNS = ("facet", "alpha", "draws", "step", "examples", "mean", "min", "max", "std", "n")


def measure(artifact: Artifact, source: Source) -> Measured:
    """Î at every milestone of every member and seed, in the rows as `mutual_information_<draws>_step<step>`, the last
    one without step too; plotted: over seeds.

    What a probe must be: `declared.check`.
    """
    rows: list[Row] = []
    values: dict[tuple[Any, ...], list[float]] = {}
    for family, probe in artifact.probes:
        assert isinstance(probe, Probe)
        classes = tuple(k for k in probe.classes or () if isinstance(k, int))
        for member in artifact.family(family):
            rows += source.standard(artifact, member)
            for seed in member.seeds:
                tensors = source.probe(member, seed, probe)
                if tensors is None:
                    continue
                found = _over_steps(tensors, classes)
                for (step, draws), value in found.items():
                    place = (roles.title(member), roles.alpha_of(member.run), draws, step)
                    values.setdefault((*place, len(tensors["labels"])), []).append(value)
                    name = f"mutual_information_{draws}"
                    rows.append(source.row(artifact, member, seed, probe.split, "last", f"{name}_step{step}", value))
                    if step == max(s for s, _ in found):
                        rows.append(source.row(artifact, member, seed, probe.split, "last", name, value))
    points = [{**dict(zip(COLUMNS, place, strict=False)), **spread(v)} for place, v in values.items()]
    return Measured(tidy(rows), pd.DataFrame(points, columns=list(COLUMNS)))


def _over_steps(tensors: Arrays, classes: tuple[int, ...]) -> dict[tuple[int, Literal["reused", "fresh"]], float]:
    """(step, draws) → Î."""
    found = {}
    for name, z in tensors.items():
        if step := re.fullmatch(r"logits/step(\d+)", name):
            y = z[:, :, classes[0]].astype(np.float64) - z[:, :, classes[1]]
            for draws in DRAWS:
                seen = y if draws == "fresh" else y[:, :-1]
                found[int(step[1]), draws] = mutual_information(seen, draws)
    return dict(sorted(found.items()))


def draw(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> Figure:
    """One panel, one column wide: a colour per α, a line style per reading, a band from min to max."""
    figure = new_figure(ONE_COLUMN, 2.9)
    axes = figure.subplots()
    axes.set(xlabel="training step", ylabel="mutual information (nats)")
    if plotted.empty:
        return figure
    axes.set_title(", ".join(dict.fromkeys(plotted["facet"])))
    for number, ((_, alpha), of_network) in enumerate(plotted.groupby(["facet", "alpha"], sort=False)):
        name = "hard labels" if alpha == 0 else f"label smoothing, α = {alpha:g}"
        for draws, line in DRAWS.items():
            points = of_network[of_network["draws"] == draws].sort_values("step")
            look: dict[str, Any] = {"color": PALETTE[number], "lw": 1.2 if draws == "reused" else 1.6}
            axes.plot(points["step"], points["mean"], line, label=f"{name}, {draws} draws", **look)
            axes.fill_between(points["step"], points["min"], points["max"], color=PALETTE[number], alpha=0.15, lw=0)
    examples = int(plotted["examples"].max())
    for height, name in ((np.log(2), "log 2"), (np.log(examples), f"log {examples}")):
        axes.axhline(height, color=GREY, lw=0.8, ls="--", zorder=0)
        axes.annotate(
            name, (1, height), xycoords=("axes fraction", "data"), xytext=(3, 0), textcoords="offset points",
            ha="left", va="center", fontsize=6.5, color="0.35",
        )  # fmt: skip
    axes.set_ylim(min(0.0, float(plotted["min"].min())), 1.1 * np.log(examples))
    legend_below(axes, handlelength=2.6)
    return figure


def remarks(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """What the lines are."""
    if plotted.empty:
        return []
    return [
        f"Lines: mean, bands: min to max, {seeds_label(plotted['n'])}. Fresh: y is a draw that did not enter its mean; "
        "reused: y is one of the draws of its mean (the paper does not say which)."
    ]
