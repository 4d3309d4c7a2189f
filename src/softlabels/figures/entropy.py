"""How soft teachers' targets are over T: mean entropy (Chandrasegaran et al. 2022, App. H, Table H.1).

T_a and T_b of the hard-label teacher are solved: there its targets are on average as soft as those of the smoothed
teacher at T = 1 and 3. Their values are lost in print.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from softlabels.errors import DataError
from softlabels.figures import roles
from softlabels.figures.declared.entropy import matched_pairs, matches_of, training_probe
from softlabels.figures.declared.temperatures import temperatures_of
from softlabels.figures.source import Measured, Row, Source, spread, tidy
from softlabels.figures.style import GREY, ONE_COLUMN, PALETTE, legend_below, new_figure, seeds_label
from softlabels.grid.identity import run_id
from softlabels.grid.plan import Artifact, Member
from softlabels.metrics.answers import Logits, read_answers
from softlabels.metrics.soft_targets import entropy, equal_entropy_temperature
from softlabels.papers.published import READING, compare, printed_table

PLOTTED = ("run_id", "alpha", "name", "temperature", "log_k", "mean", "min", "max", "std", "n")
LOOKS = ("o", "s", "^", "D")
ALONG = 33
"""Points of a curve between the lowest and the highest T."""


def measure(artifact: Artifact, source: Source) -> Measured:
    """Mean entropy in nats over the training images of every teacher and seed, at every T, T_a and T_b.

    Rows of a solved temperature are of metric `entropy_at_<name>`, and `<name>` is the temperature itself: a result,
    so that `kd_temperature` is empty. Seeds are matched: T_a of seed s is by both teachers' seed s.
    """
    asked = {
        (run_id(member.run), seed): found
        for member in artifact.members
        for seed in member.seeds
        if (probe := training_probe(artifact, member.family)) is not None
        and (found := source.answers(member, seed, probe, read_answers)) is not None
    }
    rows: list[Row] = []
    for member in artifact.members:
        for seed in member.seeds:
            logits = asked.get((run_id(member.run), seed))
            if logits is not None:
                rows += [
                    _row(source, artifact, member, seed, "entropy", entropy(logits.z, t), f"{t:g}")
                    for t in temperatures_of(artifact)
                ]
    for hard, smooth in matched_pairs(artifact):
        for seed in hard.seeds:
            both = [asked.get((run_id(member.run), seed)) for member in (hard, smooth)]
            if both[0] is not None and both[1] is not None:
                rows += _matched(source, artifact, hard, smooth, seed, both[0], both[1])
    frame = tidy(rows)
    if artifact.kind == "figure":
        return Measured(frame, _curves(artifact, frame, asked))
    solved = [*matches_of(artifact)]
    shown = [("train", name) for name in ("entropy", *solved, *(f"entropy_at_{name}" for name in solved))]
    return Measured(frame, _with_solved(compare(frame, artifact, otherwise=shown), frame, solved))


def _row(source: Source, artifact: Artifact, member: Member, seed: int, metric: str, value: float, t: str = "") -> Row:
    return source.row(artifact, member, seed, "train", "last", metric, value) | {"kd_temperature": t}


def _matched(
    source: Source, artifact: Artifact, hard: Member, smooth: Member, seed: int, own: Logits, other: Logits
) -> list[Row]:
    """The solved temperatures of one seed, and the entropies of both teachers there."""
    rows = []
    for name, reference in matches_of(artifact).items():
        try:
            t = equal_entropy_temperature(own.z, other.z, reference)
        except DataError as bad:
            where = f"artifact {artifact.id}: options.match.{name}: {run_id(hard.run)} seed {seed}"
            raise DataError(f"{where}: {bad}") from None
        rows.append(_row(source, artifact, hard, seed, name, t))
        for member, logits in ((hard, own), (smooth, other)):
            rows.append(_row(source, artifact, member, seed, f"entropy_at_{name}", entropy(logits.z, t)))
    return rows


def _with_solved(compared: pd.DataFrame, rows: pd.DataFrame, solved: list[str]) -> pd.DataFrame:
    """The compared numbers in the order of T, with the mean of the solved temperature beside those at it."""
    found = rows[rows["metric"].isin(solved)].groupby("metric")["value"].mean()
    compared = compared[compared["metric"].str.startswith("entropy") & (compared["metric"] != "entropy_max")]
    at = compared["metric"].str.removeprefix("entropy_at_").map(found)
    compared = compared.assign(solved_temperature=at, order=compared["kd_temperature"].fillna(at))
    compared = compared.sort_values(["dataset", "order", "student_alpha"], kind="stable", ignore_index=True)
    return compared.drop(columns="order")


def _curves(artifact: Artifact, rows: pd.DataFrame, asked: Mapping[tuple[str, int], Logits]) -> pd.DataFrame:
    """Mean entropies over seeds. `name` is `asked` at the T of the options, `curve` between them, else solved for."""
    temperatures = temperatures_of(artifact)
    points: list[dict[str, Any]] = []
    for member in artifact.members:
        run = run_id(member.run)
        logits = [asked[run, seed].z for seed in member.seeds if (run, seed) in asked]
        if not logits:
            continue
        about = {"run_id": run, "alpha": roles.alpha_of(member.run), "log_k": float(np.log(logits[0].shape[1]))}
        for name, along in (("asked", temperatures), ("curve", np.geomspace(temperatures[0], temperatures[-1], ALONG))):
            for t in along:
                points.append({**about, "name": name, "temperature": t} | spread([entropy(z, t) for z in logits]))
        own = rows[rows["run_id"] == run]
        for name in matches_of(artifact):
            solved, at = (own[own["metric"] == metric]["value"] for metric in (name, f"entropy_at_{name}"))
            if len(solved):
                points.append({**about, "name": name, "temperature": solved.mean()} | spread([*at]))
    return pd.DataFrame(points, columns=list(PLOTTED))


def table(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Ours beside the paper's."""
    return printed_table(plotted)


def draw(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> Figure:
    """Entropy against T, a line for each α; solved temperatures are marked on the hard-label teacher's."""
    figure = new_figure(ONE_COLUMN, 2.6)
    axes = figure.subplots()
    axes.set(xlabel="temperature T", ylabel="mean entropy of targets (nats)")
    if plotted.empty:
        return figure
    points = plotted[plotted["name"] == "asked"]
    for number, (alpha, own) in enumerate(points.groupby("alpha")):
        reach = np.stack([own["mean"] - own["min"], own["max"] - own["mean"]]).clip(0)
        look: dict[str, Any] = {"color": PALETTE[number % len(PALETTE)]}
        axes.errorbar(
            own["temperature"], own["mean"], yerr=reach, elinewidth=0.8, marker=LOOKS[number % len(LOOKS)], ls="",
            label="hard-label teacher" if alpha == 0 else f"smoothed teacher, α = {alpha:g}", **look,
        )  # fmt: skip
        line = plotted[(plotted["name"] == "curve") & (plotted["alpha"] == alpha)]
        axes.plot(line["temperature"], line["mean"], **look)
    for cell in plotted[~plotted["name"].isin(["asked", "curve"])].to_dict("records"):
        axes.plot(cell["temperature"], cell["mean"], "*", ms=8, color="0.2", zorder=3)
        name = f"${cell['name']}$" if cell["name"].startswith("T_") else cell["name"]
        axes.annotate(
            f"{name} = {cell['temperature']:.3g}", (cell["temperature"], cell["mean"]), xytext=(6, -9),
            textcoords="offset points", fontsize=6.5,
        )  # fmt: skip
    limit = float(points["log_k"].max())
    axes.axhline(limit, lw=0.8, ls="--", color=GREY, zorder=0)
    axes.annotate("log K", (1, limit), xycoords=("axes fraction", "data"), xytext=(3, 0), textcoords="offset points",
                  ha="left", va="center", fontsize=6.5, color="0.35")  # fmt: skip
    temperatures = sorted(points["temperature"].unique())
    axes.set_xscale("log", base=2)
    axes.set_xticks(temperatures, [f"{t:g}" for t in temperatures])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(0, 1.08 * limit)
    legend_below(axes)
    return figure


def remarks(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """What the numbers are, and the solved temperatures."""
    said = "Mean entropy in nats of softmax(z / T) over all training images, without augmentation."
    solved = []
    for name, t in matches_of(artifact).items():
        values = rows[rows["metric"] == name]["value"]
        if len(values):
            found = spread([*values])
            std = f" ± {found['std']:.2g}" if found["n"] > 1 else ""
            told = f"{name} = {found['mean']:.4g}{std} ({seeds_label([len(values)])})"
            solved.append(f"{told}: the hard-label teacher's entropy is the smoothed one's at T = {t:g}.")
    if artifact.kind == "figure":
        bars = f" Bars: min to max, {seeds_label(plotted['n'])}." if len(plotted) else ""
        return [said + bars, *solved]
    lost = " Printed numbers at T_a and T_b stand beside ours there; the printed temperatures are lost (C-MATCH)."
    return [said + (lost if solved else ""), *solved, READING]
