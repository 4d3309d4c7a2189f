"""Label smoothing at the best of many α against a virtual teacher (Yuan et al. 2020, Table 4).

The paper takes the α that is best on the test set. Here validation chooses it, and the test set is shown at that α;
what the paper's way of choosing would give stands beside it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from softlabels.figures import roles
from softlabels.figures.source import Measured, Row, Source, by_seed, spread, tidy
from softlabels.figures.style import BLUE, GREEN, GREY, ORANGE, TWO_COLUMNS, new_figure, seeds_label
from softlabels.grid.label_targets import Smooth, VirtualTeacher
from softlabels.grid.plan import Artifact, Member
from softlabels.papers.published import published

COLUMNS = (
    "facet", "student", "kind", "alpha", "split", "mean", "std", "n", "published", "chosen", "run_id",
)  # fmt: skip


def measure(artifact: Artifact, source: Source) -> Measured:
    """Standard metrics of all, gains over hard labels paired by seed, and the α that validation chooses (last
    checkpoint; of equal means the smaller α); plotted: top-1 accuracy of the last checkpoint."""
    own = [(m, source.standard(artifact, m)) for m in artifact.members]
    rows: list[Row] = [row for _, standard in own for row in standard]
    points: list[dict[str, Any]] = []
    for facet, members in roles.facets(artifact.members).items():
        of_facet = [(m, standard) for m, standard in own if m in members]
        baseline = next((s for m, s in of_facet if kind_of(m) == "hard labels"), [])
        for m, standard in of_facet:
            rows += _gains(artifact, source, m, standard, baseline)
            points += _points(artifact, facet, m, standard)
        chosen = _chosen(points, facet)
        optima = {split: _optima(of_facet, split) for split in ("val", "test")}
        rows += [row for m, standard in of_facet for row in _optimum(artifact, source, m, standard, chosen, optima)]
    return Measured(tidy(rows), pd.DataFrame(points, columns=list(COLUMNS)))


def kind_of(member: Member) -> str:
    """What a network of the search is trained on, as the legend says it."""
    if isinstance(member.run.targets, VirtualTeacher):
        return "virtual teacher"
    return "label smoothing" if isinstance(member.run.targets, Smooth) else "hard labels"


def _gains(artifact: Artifact, source: Source, member: Member, own: list[Row], baseline: list[Row]) -> list[Row]:
    if own is baseline:
        return []
    return [
        source.row(artifact, member, seed, "test", checkpoint, "top1_delta", value - before[seed])
        for checkpoint in ("last", "best")
        for before in [by_seed(baseline, "test", "top1", checkpoint)]
        for seed, value in by_seed(own, "test", "top1", checkpoint).items()
        if seed in before
    ]


def _points(artifact: Artifact, facet: str, member: Member, own: list[Row]) -> list[dict[str, Any]]:
    alpha = member.run.targets.alpha if isinstance(member.run.targets, Smooth) else np.nan
    names = dict(member.published)
    printed = published(artifact.paper, artifact.name)
    printed = printed[(printed["student"] == names["student"]) & (printed["metric"] == "top1")]
    method = {"hard labels": "ce", "virtual teacher": "tf_kd_reg", "label smoothing": "ls"}[kind_of(member)]
    same = printed[(printed["method"] == method) & (np.isnan(alpha) | np.isclose(printed["student_alpha"], alpha))]
    found = []
    for split in ("val", "test"):
        values = by_seed(own, split, "top1")
        if values:
            one = spread([*values.values()])
            found.append(
                {"facet": facet, "student": names["student"], "kind": kind_of(member), "alpha": alpha, "split": split}
                | {name: one[name] for name in ("mean", "std", "n")}
                | {"published": same["value"].iloc[0] if split == "test" and len(same) else np.nan, "chosen": ""}
                | {"run_id": own[0]["run_id"]}
            )
    return found


def _chosen(points: list[dict[str, Any]], facet: str) -> dict[str, float]:
    """Split → the α with the best mean on it; marks the points at those α on the test split."""
    best: dict[str, float] = {}
    for split in ("val", "test"):
        search = [p for p in points if (p["facet"], p["kind"], p["split"]) == (facet, "label smoothing", split)]
        if search:
            best[split] = min(search, key=lambda p: (-p["mean"], p["alpha"]))["alpha"]
    for point in points:
        if point["facet"] == facet and point["kind"] == "label smoothing" and point["split"] == "test":
            point["chosen"] = ", ".join(split for split, alpha in best.items() if alpha == point["alpha"])
    return best


def _optima(members: list[tuple[Member, list[Row]]], split: str) -> dict[int, float]:
    """Seed → the α that is best for it alone; of equal ones the smaller."""
    found: dict[int, tuple[float, float]] = {}
    for member, own in members:
        if isinstance(member.run.targets, Smooth):
            for seed, value in by_seed(own, split, "top1").items():
                found[seed] = min(found.get(seed, (np.inf, np.inf)), (-value, member.run.targets.alpha))
    return {seed: alpha for seed, (_, alpha) in found.items()}


def _optimum(
    artifact: Artifact, source: Source, member: Member, own: list[Row], best: dict[str, float],
    optima: dict[str, dict[int, float]],
) -> list[Row]:  # fmt: skip
    """`optimal_alpha`, of each seed and of the split that chooses it, and `top1_at_optimal_alpha`, the test accuracy at
    the α that validation chooses by the mean over seeds."""
    targets = member.run.targets
    if not isinstance(targets, Smooth):
        return []
    rows = [
        source.row(artifact, member, seed, split, "last", "optimal_alpha", alpha)
        for split, of_seed in optima.items()
        for seed, alpha in of_seed.items()
        if targets.alpha == alpha
    ]
    if targets.alpha == best.get("val"):
        found = [row for row in own if (row["split"], row["metric"]) == ("test", "top1")]
        rows += [row | {"metric": "top1_at_optimal_alpha"} for row in found]
    return rows


def draw(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> Figure:
    """A panel for each network: test accuracy over α, with hard labels and the virtual teacher as lines."""
    facets = list(dict.fromkeys(plotted["facet"]))
    figure = new_figure(TWO_COLUMNS, 2.8)
    part = figure.subfigures(1, 1, squeeze=False)[0, 0]  # whose legend keeps clear of the face
    panels = part.subplots(1, max(len(facets), 1), squeeze=False)[0]
    entries: dict[str, Any] = {}
    for axes, facet in zip(panels, facets, strict=False):
        test = plotted[(plotted["facet"] == facet) & (plotted["split"] == "test")]
        search = test[test["kind"] == "label smoothing"].sort_values("alpha")
        entries["label smoothing (± std)"] = axes.errorbar(
            search["alpha"], search["mean"], yerr=search["std"], color=BLUE, marker="o", markersize=2.5, elinewidth=0.6
        )
        for kind, colour in (("hard labels", GREY), ("virtual teacher", ORANGE)):
            for one in test[test["kind"] == kind].itertuples():
                line = axes.axhline(one.mean, color=colour, linestyle="--" if kind == "virtual teacher" else "-")
                if one.n > 1:
                    axes.axhspan(one.mean - one.std, one.mean + one.std, color=colour, alpha=0.15, linewidth=0)
                entries[f"{kind} (± std)"] = line
        for split, marker in (("val", "*"), ("test", "x")):
            here = search[search["chosen"].fillna("").str.contains(split)]
            label = "best on validation" if split == "val" else "best on test (the paper's way)"
            if len(here):
                entries[label] = axes.scatter(
                    here["alpha"], here["mean"], marker=marker, s=45, color=GREEN, zorder=5, linewidths=1.2
                )
        axes.set_title(facet)
        axes.set_xlabel("α of label smoothing")
    panels[0].set_ylabel("test top-1 accuracy (%)")
    if entries:
        part.legend([*entries.values()], [*entries], loc="outside lower center", ncols=3)
    return figure


def remarks(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """What was chosen by what, beside the printed numbers."""
    if plotted.empty:
        return []
    said = [f"Means over seeds, std with n − 1, {seeds_label(plotted['n'])}; last checkpoint."]
    test = plotted[plotted["split"] == "test"]
    for student, own in test.groupby("student", sort=False):
        parts = [_said(row) for row in own.to_dict("records")]
        said.append(f"{student}: {'; '.join(part for part in parts if part)}.")
    return said


CHOSEN = {"val": " (chosen on validation)", "test": " (best on test)", "val, test": " (best on both)"}


def _said(row: dict[Any, Any]) -> str:
    """One network in words; nothing of an α that nobody chose or printed."""
    chosen = CHOSEN.get(row["chosen"], "")
    is_search, printed = row["kind"] == "label smoothing", not np.isnan(row["published"])
    if is_search and not chosen and not printed:
        return ""
    label = row["kind"] + (f" α = {row['alpha']:g}" if is_search else "")
    return f"{label}{chosen} {row['mean']:.2f}" + (f", printed {row['published']:.2f}" if printed else "")
