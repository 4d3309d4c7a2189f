"""Softened outputs of a teacher for one class beside the uniform distribution and label smoothing (Yuan et al. 2020,
Fig. S.1)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from softlabels.figures.declared.softened_teacher import settings_of
from softlabels.figures.source import Measured, Source, spread, tidy
from softlabels.figures.style import BLUE, GREY, ORANGE, TWO_COLUMNS, new_figure, seeds_label
from softlabels.grid.plan import Artifact
from softlabels.metrics.answers import read_answers
from softlabels.metrics.soft_targets import softmax

COLUMNS = ("temperature", "class", "name", "mean", "min", "max", "std", "n", "smoothed", "kl")


def measure(artifact: Artifact, source: Source) -> Measured:
    """KL(p̄(T) ‖ uniform) in nats of the mean target p̄(T) of the class, per T and seed; plotted: p̄(T) over classes."""
    wanted = settings_of(artifact)
    rows, points = [], []
    for member in artifact.members:
        rows += source.standard(artifact, member)
        means: dict[float, list[np.ndarray]] = {T: [] for T in wanted.temperatures}
        names: tuple[str, ...] = ()
        for seed in member.seeds:
            answers = source.answers(member, seed, wanted.probe, read_answers)
            if answers is None:
                continue
            names = answers.class_names
            own = answers.z[answers.labels == wanted.label]
            for T in wanted.temperatures:
                p = softmax(own, T).mean(0)
                means[T].append(p)
                row = source.row(artifact, member, seed, "train", "last", "kl_to_uniform", _kl_to_uniform(p))
                rows.append(row | {"kd_temperature": f"{T:g}", "target_class": names[wanted.label]})
        for T, found in means.items():
            for k, name in enumerate(names if found else ()):
                K = len(names)
                smoothed = wanted.alpha / K + (1 - wanted.alpha) * (k == wanted.label)
                kl = float(np.mean([_kl_to_uniform(p) for p in found]))
                one = {"temperature": T, "class": k, "name": name, "smoothed": smoothed, "kl": kl}
                points.append(one | spread([float(p[k]) for p in found]))
    return Measured(tidy(rows), pd.DataFrame(points, columns=list(COLUMNS)))


def _kl_to_uniform(p: np.ndarray) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.where(p > 0, p * np.log(p * len(p)), 0).sum())


def draw(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> Figure:
    """A panel for each T: bars of the teacher and of label smoothing, the uniform distribution as a line."""
    temperatures = sorted(set(plotted["temperature"]))
    figure = new_figure(TWO_COLUMNS, 2.1)
    part = figure.subfigures(1, 1, squeeze=False)[0, 0]  # whose legend keeps clear of the face
    panels = part.subplots(1, max(len(temperatures), 1), sharey=True, squeeze=False)[0]
    wanted = settings_of(artifact)
    for axes, T in zip(panels, temperatures, strict=False):
        own = plotted[plotted["temperature"] == T].sort_values("class")
        x, K = np.arange(len(own)), len(own)
        bars = axes.bar(x - 0.2, own["mean"], 0.4, color=BLUE, label="teacher, mean of the class")
        smoothed = axes.bar(x + 0.2, own["smoothed"], 0.4, color=ORANGE, label=f"label smoothing, α = {wanted.alpha:g}")
        uniform = axes.axhline(1 / K, color=GREY, linestyle="--", linewidth=1, label=f"uniform, 1/{K}")
        axes.set_title(f"T = {T:g}\nKL {own['kl'].iloc[0]:.2g} nats", fontsize=7)
        step = max(1, K // 10)
        axes.set_xticks(x[::step], [f"C{k + 1}" for k in own["class"]][::step], rotation=90)
        axes.set_ylim(0, 1)
        if temperatures[-1] == T:
            part.legend(handles=[bars, smoothed, uniform], loc="outside lower center", ncols=3)
    panels[0].set_ylabel("probability")
    return figure


def remarks(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """Which class, of how many seeds."""
    if plotted.empty:
        return []
    wanted = settings_of(artifact)
    name = plotted.loc[plotted["class"] == wanted.label, "name"].iloc[0]
    return [
        f"Mean softmax(z / T) over the training images of C{wanted.label + 1} ({name}), mean over seeds, "
        f"{seeds_label(plotted['n'])}; KL: of this mean to uniform. T are ours: "
        "the paper's are not in its text."
    ]
