"""Label smoothing at the best of many α against a virtual teacher (Yuan et al. 2020, Table 4).

The paper takes the α that is best on the test set. Here validation chooses it, and the test set is shown at that α;
what the paper's way of choosing would give stands beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from softlabels.errors import SpecError
from softlabels.figures import selectors, style
from softlabels.figures.drawing import Drawing
from softlabels.figures.lazy import np, pd
from softlabels.figures.source import Measured, Row, Source, by_seed, spread, tidy
from softlabels.grid.parts.label_targets import Hard, Smooth, VirtualTeacher
from softlabels.grid.plan import Artifact, Member
from softlabels.grid.spec import on_labels

if TYPE_CHECKING:
    from matplotlib.figure import Figure


COLUMNS = (
    "facet", "student", "kind", "alpha", "split", "mean", "std", "n", "published", "chosen", "run_id",
)  # fmt: skip


def _check(artifact: Artifact, where: str) -> None:
    """Networks on labels, one of them hard for each network, and virtual teachers."""
    for members in selectors.facets(artifact.members).values():
        if not any(on_labels(m.run) and selectors.alpha_of(m.run) == 0 for m in members):
            raise SpecError(f"{where} smoothing_search needs hard labels for {members[0].family} too; add their family")
    for member in artifact.members:
        if not isinstance(member.run.targets, Hard | Smooth | VirtualTeacher):
            raise SpecError(f"{where} smoothing_search shows no {member.run.targets.kind}; take out {member.family}")


DRAWING = Drawing(check=_check)


def measure(artifact: Artifact, source: Source) -> Measured:
    """Standard metrics of all, gains over hard labels paired by seed, and the α that validation chooses (last
    checkpoint; of equal means the smaller α); plotted: top-1 accuracy of the last checkpoint."""
    standard_rows = [(m, source.standard(artifact, m)) for m in artifact.members]
    rows: list[Row] = [row for _, standard in standard_rows for row in standard]
    points: list[dict[str, Any]] = []
    for facet, members in selectors.facets(artifact.members).items():
        of_facet = [(m, standard) for m, standard in standard_rows if m in members]
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


def _gains(
    artifact: Artifact, source: Source, member: Member, member_rows: list[Row], baseline: list[Row]
) -> list[Row]:
    if member_rows is baseline:
        return []
    return [
        source.row(artifact, member, seed, "test", checkpoint, "top1_delta", value - before[seed])
        for checkpoint in ("last", "best")
        for before in [by_seed(baseline, "test", "top1", checkpoint)]
        for seed, value in by_seed(member_rows, "test", "top1", checkpoint).items()
        if seed in before
    ]


def _points(artifact: Artifact, facet: str, member: Member, member_rows: list[Row]) -> list[dict[str, Any]]:
    from softlabels.papers.published import published

    alpha = member.run.targets.alpha if isinstance(member.run.targets, Smooth) else np.nan
    names = dict(member.published)
    printed = published(artifact.paper, artifact.name)
    printed = printed[(printed["student"] == names["student"]) & (printed["metric"] == "top1")]
    method = {"hard labels": "ce", "virtual teacher": "tf_kd_reg", "label smoothing": "ls"}[kind_of(member)]
    same = printed[(printed["method"] == method) & (np.isnan(alpha) | np.isclose(printed["student_alpha"], alpha))]
    found = []
    for split in ("val", "test"):
        values = by_seed(member_rows, split, "top1")
        if values:
            one = spread([*values.values()])
            found.append(
                {"facet": facet, "student": names["student"], "kind": kind_of(member), "alpha": alpha, "split": split}
                | {name: one[name] for name in ("mean", "std", "n")}
                | {"published": same["value"].iloc[0] if split == "test" and len(same) else np.nan, "chosen": ""}
                | {"run_id": member_rows[0]["run_id"]}
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
    for member, member_rows in members:
        if isinstance(member.run.targets, Smooth):
            for seed, value in by_seed(member_rows, split, "top1").items():
                found[seed] = min(found.get(seed, (np.inf, np.inf)), (-value, member.run.targets.alpha))
    return {seed: alpha for seed, (_, alpha) in found.items()}


def _optimum(
    artifact: Artifact, source: Source, member: Member, member_rows: list[Row], best: dict[str, float],
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
    steps = np.diff(sorted({m.run.targets.alpha for m in artifact.members if isinstance(m.run.targets, Smooth)}))
    rows += [row | {"metric": "optimal_alpha_step", "value": float(steps.max())} for row in rows if len(steps)]
    if targets.alpha == best.get("val"):
        found = [row for row in member_rows if (row["split"], row["metric"]) == ("test", "top1")]
        rows += [row | {"metric": "top1_at_optimal_alpha"} for row in found]
    return rows


def draw(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> Figure:
    """A panel for each network: test accuracy over α, with hard labels and the virtual teacher as lines."""
    facets = list(dict.fromkeys(plotted["facet"]))
    figure, part, (panels,) = style.new_panels(style.TWO_COLUMNS, 2.8, 1, max(len(facets), 1))
    for axes, facet in zip(panels, facets, strict=False):
        test = plotted[(plotted["facet"] == facet) & (plotted["split"] == "test")]
        search = test[test["kind"] == "label smoothing"].sort_values("alpha")
        look: dict[str, Any] = {"color": style.BLUE, "marker": "o", "markersize": 2.5, "elinewidth": 0.6}
        axes.errorbar(search["alpha"], search["mean"], search["std"], label="label smoothing (± std)", **look)
        for kind, colour in (("hard labels", style.GREY), ("virtual teacher", style.ORANGE)):
            for one in test[test["kind"] == kind].itertuples():
                dashes = "--" if kind == "virtual teacher" else "-"
                axes.axhline(one.mean, color=colour, linestyle=dashes, label=f"{kind} (± std)")
                if one.n > 1:
                    axes.axhspan(one.mean - one.std, one.mean + one.std, color=colour, alpha=0.15, linewidth=0)
        for split, marker in (("val", "*"), ("test", "x")):
            here = search[search["chosen"].fillna("").str.contains(split)]
            label = "best on validation" if split == "val" else "best on test (the paper's way)"
            if len(here):
                look = {"marker": marker, "s": 45, "color": style.GREEN, "zorder": 5, "linewidths": 1.2}
                axes.scatter(here["alpha"], here["mean"], label=label, **look)
        axes.set_title(facet)
        axes.set_xlabel("α of label smoothing")
    panels[0].set_ylabel("test top-1 accuracy (%)")
    style.legend_of_panels(part, panels, 3)
    return figure


def remarks(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """What was chosen by what, beside the printed numbers."""
    if plotted.empty:
        return []
    said = [f"Means over seeds, std with n − 1, {style.seeds_label(plotted['n'])}; last checkpoint."]
    test = plotted[plotted["split"] == "test"]
    for student, group in test.groupby("student", sort=False):
        parts = [_said(row) for row in group.to_dict("records")]
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
