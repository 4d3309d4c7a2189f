"""Student accuracy over the distillation temperature, for each teacher: should I smooth my teacher, and at
which temperature should I distil?

Everything is compared on the validation split. The test split selects nothing; it scores what was chosen.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

from softlabels.figures import selectors, style
from softlabels.figures.curves.smoothing_curves import gamma_rows, gammas
from softlabels.figures.drawing import Drawing
from softlabels.figures.intervals import bounds, interval, paired
from softlabels.figures.lazy import np, pd
from softlabels.figures.source import Measured, Source, by_seed, seed_values, spread, tidy
from softlabels.grid.identity import run_id
from softlabels.grid.plan import Artifact, Member
from softlabels.grid.spec import Distill, LogitMatch

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


COLUMNS = (
    "facet", "role", "line", "alpha", "temperature", "gamma", "checkpoint", "scored", "val_mean",
    "mean", "min", "max", "std", "n", "selected", "run_id",
)  # fmt: skip


DRAWING = Drawing(("checkpoint",), by_temperature=True, check=selectors.check_teacher_probes)


def measure(artifact: Artifact, source: Source) -> Measured:
    """The standard metrics of every member and seed; plotted: top-1 of each cell of the grid.

    `options.checkpoint` (last or best) is what is drawn; `scored` names the split of mean, min, max and std:
    test, or validation where the data have no test split.
    """
    checkpoint = selectors.reported_checkpoint(artifact)
    rows, cells = [], []
    baselines = selectors.baselines(artifact) if selectors.distilled(artifact) else artifact.members
    variants = selectors.variants(artifact, lambda m: tuple(_place(artifact, m, baselines).values()))
    for member, variant in zip(artifact.members, variants, strict=True):
        member_rows = source.standard(artifact, member)
        smoothness = gammas(artifact, source, member) or {}
        rows += member_rows
        rows += gamma_rows(artifact, source, member, smoothness)
        val, test = (by_seed(member_rows, split, "top1", checkpoint) for split in ("val", "test"))
        if member_rows and (scored := test or val):
            place = _place(artifact, member, baselines)
            if variant:  # what the legend would not tell apart
                place["line"] = f"{place['line']}, {variant}"
            cells.append(
                {
                    **place,
                    "gamma": np.mean([*smoothness.values()]) if smoothness else None,
                    "checkpoint": checkpoint,
                    "scored": "test" if test else "val",
                    "val_mean": spread([*val.values()])["mean"] if val else None,
                    **spread([*scored.values()]),
                    "run_id": run_id(member.run),
                }
            )
    plotted = pd.DataFrame(cells, columns=list(COLUMNS))
    plotted["selected"] = False
    students = plotted[(plotted["role"] == "student") & plotted["val_mean"].notna()]
    plotted.loc[students.groupby("facet")["val_mean"].idxmax(), "selected"] = True
    return Measured(tidy(rows), plotted)


def _place(artifact: Artifact, member: Member, baselines: tuple[Member, ...]) -> dict[str, Hashable]:
    """Where a member stands: its panel, its role, the line it belongs to."""
    from softlabels.metrics.rows import key_columns

    targets = member.run.targets
    alpha: float | None
    if not isinstance(targets, Distill | LogitMatch):
        role = "baseline" if member in baselines else "teacher"
        alpha, line = selectors.alpha_of(member.run), selectors.line_name(member)
    else:
        role, alpha = "student", selectors.teacher_alpha(member.run)
        line = f"teacher {key_columns(artifact, member, '', '')['teacher']}"
        line += "" if alpha is None else f", α = {alpha:g}"
        line += "" if targets.beta == 1 else f", β = {targets.beta:g}"
        line += "" if getattr(targets, "gradient_norm", "free") == "free" else ", gradient norm matched"
        line += "" if getattr(targets, "features", None) is None else ", and its features"
    return {
        "facet": " / ".join(dict(member.published)[name] for name in ("dataset", "student")),
        "role": role,
        "line": line,
        "alpha": alpha,
        "temperature": selectors.temperature_of(member.run),
    }


def draw(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> Figure:
    """A panel per student network, one column wide: lines over T, baselines as horizontal lines."""
    students = plotted[plotted["role"] == "student"]
    facets = list(dict.fromkeys(students["facet"]))
    entries = plotted[plotted["role"] != "teacher"]["line"].nunique()
    figure = style.new_figure(style.ONE_COLUMN, (2.7 + 0.14 * entries) * max(len(facets), 1))
    for axes, facet in zip(figure.subplots(max(len(facets), 1), 1, squeeze=False)[:, 0], facets, strict=False):
        baselines = plotted[(plotted["role"] == "baseline") & (plotted["facet"] == facet)]
        _draw_panel(axes, students[students["facet"] == facet], baselines)
        axes.set_title(facet)
    return figure


def _draw_panel(axes: Axes, students: pd.DataFrame, baselines: pd.DataFrame) -> None:
    finite = students["temperature"][np.isfinite(students["temperature"])]
    infinity = 2 * (finite.max() if len(finite) else 1.0)  # where logit matching, the limit of large T, is put
    lines = list(dict.fromkeys(students["line"]))
    for number, line in enumerate(lines):
        cells = students[students["line"] == line].sort_values("temperature")
        # Side by side, so that bars of equal T do not hide each other.
        x = cells["temperature"].replace(np.inf, infinity) * 2 ** (0.06 * (number - (len(lines) - 1) / 2))
        style.error_bars(axes, x, cells, color=style.PALETTE[number], marker="osD^v"[number % 5], label=line)
        chosen = cells["selected"].astype(bool)
        axes.plot(
            x[chosen], cells["mean"][chosen], "o", ms=9, mfc="none", mec=style.RED, mew=1.2, zorder=5,
            label="best on validation" if chosen.any() else None,
        )  # fmt: skip
    for number, (_, cell) in enumerate(baselines.iterrows()):
        look: dict[str, Any] = {"color": "0.2", "ls": (0, (4, 1 + 2 * number))} if number else {"color": style.GREY}
        axes.axhline(cell["mean"], lw=1, zorder=0, label=f"no teacher, {cell['line']}", **look)
    style.temperature_axis(axes, students["temperature"].replace(np.inf, infinity).unique(), infinity)
    scored = "test" if (students["scored"] == "test").all() else "validation"
    axes.set(xlabel="distillation temperature T", ylabel=f"{scored} top-1 accuracy (%)")
    style.legend_below(axes, fontsize=6.5)


def table(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Every cell, with its accuracy on the validation and on the test split."""
    return plotted.drop(columns=["run_id"]).sort_values(["facet", "role", "alpha", "temperature"], ignore_index=True)


def remarks(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """What the marks are, and the answer."""
    if plotted.empty:
        return []
    said = [
        f"Mean, bars: min to max, {style.seeds_label(plotted['n'])}, {plotted['checkpoint'].iloc[0]} checkpoint. "
        "Intervals: 95 %, Student's t over seeds, differences paired by seed."
    ]
    for _, cells in plotted.groupby("facet", sort=False):
        said += _answer(cells, rows)
    return said


def _answer(cells: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """Which temperature, and whether to smooth: chosen by validation accuracy, scored on the test split."""
    students = cells[(cells["role"] == "student") & cells["val_mean"].notna()]
    if students.empty:
        return ["No distilled student has a validation accuracy, so nothing is selected."] * any(
            cells["role"] == "student"
        )
    best = _best(students)
    split = best["scored"]
    accuracy = accuracies(best, rows)
    said = (
        f"Best by validation accuracy ({best['val_mean']:.2f} %): T = {best['temperature']:g}, {best['line']}; "
        f"{split} accuracy {np.mean([*accuracy.values()]):.2f} %{interval([*accuracy.values()])}."
    )
    baselines = cells[(cells["role"] == "baseline") & cells["val_mean"].notna()]
    if len(baselines):
        baseline = _best(baselines)
        said += (
            f" Against the best student without teacher ({baseline['line']}): {_difference(best, baseline, rows)[0]}."
        )
    smooth, hard = students[students["alpha"] > 0], students[students["alpha"] == 0]
    if smooth.empty or hard.empty:
        return [said]
    one, other = _best(smooth), _best(hard)
    difference, sign = _difference(one, other, rows)
    verdict = {1: "smoothing the teacher helps", -1: "smoothing the teacher hurts", 0: "undecided"}[sign]
    return [
        said,
        f"Should the teacher be smoothed? Best student of a smoothed teacher (α = {one['alpha']:g}, "
        f"T = {one['temperature']:g}) minus best of a hard-label teacher (T = {other['temperature']:g}): {difference}: "
        f"{verdict}.",
    ]


def accuracies(cell: Mapping[Any, Any] | pd.Series, rows: pd.DataFrame) -> dict[int, float]:
    """Seed → top-1 accuracy of a cell of the grid, on the split it is scored on."""
    return seed_values(rows, cell["run_id"], cell["scored"], "top1", cell["checkpoint"])


def _best(cells: pd.DataFrame) -> pd.Series:
    """The cell of highest mean validation accuracy; of equals the first."""
    return cells.sort_values("val_mean", ascending=False, kind="stable").iloc[0]


def _difference(one: pd.Series, other: pd.Series, rows: pd.DataFrame) -> tuple[str, int]:
    """The paired difference in words, and its sign where the 95 % interval leaves 0 out (else 0)."""
    values = paired(accuracies(one, rows), accuracies(other, rows))
    if not values:
        return "no common seed", 0
    low, high = bounds(values)
    return f"{np.mean(values):+.2f} points{interval(values)}".replace("-", "−"), int(low > 0) - int(high < 0)
