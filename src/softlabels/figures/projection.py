"""Penultimate activations on the plane of three class templates (Müller et al. 2019, Sec. 2, Fig. 1 and 7).

Each row of panels is one entry of `options.rows`: `classes` (three indices), and as far as they are needed
to select and to read: `family`, `dataset` (the paper's name or the one that stands for it), `names` of the classes.
The classes of a translation network are places among the tokens of its probe, whose names they have unless told.
One seed is drawn; what is measured is measured on every seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from softlabels.figures import roles
from softlabels.figures.source import Measured, Source, tidy
from softlabels.figures.style import BLUE, GREEN, ORANGE, TWO_COLUMNS, new_figure
from softlabels.grid.plan import Artifact, Member
from softlabels.grid.probes import Probe, Tokens
from softlabels.metrics.geometry import template_plane, triangle_regularity, within_class_spread_ratio

CLASS_LOOKS = ((BLUE, "o"), (ORANGE, "^"), (GREEN, "s"))
SPLITS = {"train": "training", "val": "validation", "test": "test"}
COLUMNS = ("row", "title", "alpha", "split", "seed", "class", "name", "x", "y", "spread_ratio")


def measure(artifact: Artifact, source: Source) -> Measured:
    """Per row of panels, network, split and seed (metrics end in `_row<n>`): share of the variance within
    classes, longest ÷ shortest side of the triangle of class means and of templates, largest |coordinate|.

    What a row and its probes must be: `declared.check`.
    """
    rows = [row for member in artifact.members for row in source.standard(artifact, member)]
    panels: list[pd.DataFrame] = []
    for number, entry in enumerate(artifact.options.get("rows", ()), start=1):
        drawn: dict[int, list[pd.DataFrame]] = {}
        for member in roles.of_row(artifact, entry):
            for seed in member.seeds:
                for split, probe in roles.feature_probes(artifact, member.family).items():
                    found = _panel(source, member, seed, probe, entry["classes"])
                    if found is None:
                        continue
                    points, metrics = found
                    for metric, value in metrics.items():
                        name = f"{metric}_row{number}"
                        rows.append(source.row(artifact, member, seed, split, "last", name, value))
                    points["name"] = points["class"].map(_names(entry, probe))
                    drawn.setdefault(seed, []).append(points.assign(row=number, title=roles.title(member)))
        if drawn:  # the seed that shows most panels; of equals the first
            panels += drawn[max(sorted(drawn), key=lambda seed: len(drawn[seed]))]
    plotted = pd.concat(panels, ignore_index=True) if panels else pd.DataFrame(columns=list(COLUMNS))
    return Measured(tidy(rows), plotted[list(COLUMNS)])


def _names(entry: Mapping[str, Any], probe: Probe | Tokens) -> dict[int, str]:
    """Class → its name."""
    classes = entry["classes"]
    own = [probe.tokens[k] for k in classes] if isinstance(probe, Tokens) else classes
    return dict(zip(classes, map(str, entry.get("names", own)), strict=True))


def _panel(
    source: Source, member: Member, seed: int, probe: Probe | Tokens, classes: tuple[int, int, int]
) -> tuple[pd.DataFrame, dict[str, float]] | None:
    """The points of one panel and what is measured on them; None where the probe is not there."""
    tensors = source.probe(member, seed, probe)
    if tensors is None:
        return None
    kept = np.isin(tensors["labels"], classes)
    labels = tensors["labels"][kept]
    points, templates = template_plane(
        tensors["features/last"][kept, 0], tensors["head.weight/last"], tensors["head.bias/last"], classes
    )
    means = np.stack([points[labels == c].mean(axis=0) for c in classes])
    ratio = within_class_spread_ratio(points, labels)
    metrics = {
        "within_class_spread_ratio": ratio,
        "mean_triangle_regularity": triangle_regularity(means),
        "template_triangle_regularity": triangle_regularity(templates),
        "projection_extent": float(np.abs(points).max()),
    }
    frame = pd.DataFrame({"class": labels, "x": points[:, 0], "y": points[:, 1]})
    alpha = roles.alpha_of(member.run)
    return frame.assign(alpha=alpha, split=probe.split, seed=seed, spread_ratio=ratio), metrics


def draw(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> Figure:
    """Rows of panels, two columns wide; training and held-out panels of a network share their axes."""
    numbers = list(dict.fromkeys(plotted["row"]))
    figure = new_figure(TWO_COLUMNS, 2.15 * max(len(numbers), 1))
    if not numbers:
        return figure
    for part, number in zip(figure.subfigures(len(numbers), 1, squeeze=False)[:, 0], numbers, strict=True):
        of_row = plotted[plotted["row"] == number]
        alphas = sorted(of_row["alpha"].unique())
        held_out = next((s for s in of_row["split"] if s != "train"), "val")
        panels = part.subplots(1, 2 * len(alphas), squeeze=False)[0]
        for column, axes in enumerate(panels):
            alpha, split = alphas[column // 2], ("train", held_out)[column % 2]
            of_network = of_row[of_row["alpha"] == alpha]
            _draw_panel(axes, of_network[of_network["split"] == split], of_network)
            axes.set_title(f"{SPLITS[split]}, {'w/o LS' if alpha == 0 else f'LS α = {alpha:g}'}", fontsize=7.5)
        title = of_row["title"].iloc[0].replace("\n", " ")
        part.suptitle(f"{title}, seed {of_row['seed'].iloc[0]}", fontsize=8, weight="bold")
        handles, labels = panels[0].get_legend_handles_labels()
        if handles:
            part.legend(handles, labels, loc="outside lower center", ncols=3, markerscale=2, handletextpad=0.2)
    return figure


def _draw_panel(axes: Any, points: pd.DataFrame, of_network: pd.DataFrame) -> None:
    classes = list(dict.fromkeys(of_network.sort_values("class")["class"]))
    for (colour, marker), c in zip(CLASS_LOOKS, classes, strict=False):
        own = points[points["class"] == c]
        name = of_network[of_network["class"] == c]["name"].iloc[0]
        axes.scatter(own["x"], own["y"], s=5, color=colour, marker=marker, alpha=0.6, lw=0, label=name)
    if len(points):
        text = f"spread ratio {points['spread_ratio'].iloc[0]:.3g}"
        axes.set_xlabel(text, fontsize=6.5)
    centre = of_network[["x", "y"]].agg(["min", "max"]).mean()
    half = 0.55 * float(np.ptp(of_network[["x", "y"]], axis=0).max()) or 1.0
    axes.set(xlim=(centre["x"] - half, centre["x"] + half), ylim=(centre["y"] - half, centre["y"] + half))
    axes.set_aspect("equal")
    axes.tick_params(labelsize=6, pad=1.5, length=2)


def remarks(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """What the panels are."""
    if plotted.empty:
        return []
    return [
        "Coordinates: activations · orthonormal basis of the plane through the three templates (logit units ÷ "
        "template length); equal axes within a network. Spread ratio: share of the points' variance that lies "
        "within classes (0: each class is one point). One seed is drawn."
    ]
