"""Does temperature harm students of smoothed teachers, or the size of the step? (our own; after Chandrasegaran et al.)

Students of a hard-label and of smoothed teachers over the distillation temperature T, a column of panels for each way
of stepping (`selectors.stepping`). Top: accuracy. Bottom: smoothed teacher's students minus hard-label teacher's, by
seed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from softlabels.errors import SpecError
from softlabels.figures import selectors, style
from softlabels.figures.curves.distillation_grid import accuracies
from softlabels.figures.drawing import Drawing
from softlabels.figures.intervals import bounds, change, paired
from softlabels.figures.lazy import np, pd
from softlabels.figures.source import Measured, Source, by_seed, spread, tidy
from softlabels.grid.identity import run_id
from softlabels.grid.plan import Artifact
from softlabels.grid.spec import Distill

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


ACCURACY_TICKS = (10, 50, 80, 90, 95, 97, 98, 99, 99.5, 100)
LOOKS: tuple[dict[str, Any], ...] = (
    {"color": style.BLUE, "marker": "o"},
    {"color": style.ORANGE, "marker": "s"},
    {"color": style.GREEN, "marker": "^"},
    {"color": style.PURPLE, "marker": "D"},
)
COLUMNS = (
    "quantity", "role", "stepping", "alpha", "temperature", "scored", "checkpoint", "mean", "low", "high", "std", "n",
    "run_id",
)  # fmt: skip
Place = tuple[str, float, float]
"""Way of stepping, α of the teacher, T."""


def _check(artifact: Artifact, where: str) -> None:
    selectors.check_shown(artifact, where)
    """One student for each way of stepping, teacher's α and T; students of a hard-label and of a smoothed teacher."""
    students = selectors.distilled(artifact)
    for member in students:
        if not isinstance(member.run.targets, Distill) or selectors.teacher_alpha(member.run) is None:
            raise SpecError(
                f"{where} step_size shows students (kind: distill) of teachers trained on labels; take the family "
                f"{member.family} out of families"
            )
    alphas = {selectors.teacher_alpha(m.run) for m in students}
    if 0 not in alphas or len(alphas) < 2:
        raise SpecError(f"{where} step_size needs students of a hard-label teacher (α = 0) and of a smoothed one")
    taken: dict[tuple[object, ...], str] = {}
    for member in students:
        place = (
            selectors.stepping(artifact, member),
            selectors.teacher_alpha(member.run),
            selectors.temperature_of(member.run),
        )
        if place in taken:
            raise SpecError(
                f"{where} step_size shows one student for a way of stepping, a teacher's α and a T; {taken[place]} and "
                f"{member.family} both have one for {place[0]}, α = {place[1]}, T = {place[2]}; split the artifact"
            )
        taken[place] = member.family


DRAWING = Drawing(by_temperature=True, check=_check)


def measure(artifact: Artifact, source: Source) -> Measured:
    """The standard metrics of every member and seed; plotted: top-1 at the last checkpoint, of teachers at the one
    that taught, and its differences.

    `quantity` accuracy: low and high are the least and the greatest of the seeds. `quantity` difference: of a smoothed
    teacher's student (`run_id`, `alpha`) to the hard-label teacher's of the same T and seed; low and high are the 95 %
    interval. `scored` is test, or val where the data have no test split.
    """
    rows, cells = [], []
    for member in artifact.members:
        member_rows = source.standard(artifact, member)
        rows += member_rows
        role = selectors.role(artifact, member)
        checkpoint = selectors.shown_at(artifact, member) if role == "teacher" else "last"
        values = {split: by_seed(member_rows, split, "top1", checkpoint) for split in ("test", "val")}
        scored = next((split for split in values if values[split]), None)
        if scored is not None:
            found = spread([*values[scored].values()])
            cells.append(
                {
                    "quantity": "accuracy",
                    "role": role,
                    "stepping": selectors.stepping(artifact, member),
                    "alpha": selectors.teacher_alpha(member.run)
                    if role == "student"
                    else selectors.alpha_of(member.run),
                    "temperature": selectors.temperature_of(member.run),
                    "scored": scored,
                    "checkpoint": checkpoint,
                    **found,
                    "low": found["min"],
                    "high": found["max"],
                    "run_id": run_id(member.run),
                }
            )
    frame, accuracy = tidy(rows), pd.DataFrame(cells, columns=list(COLUMNS))
    return Measured(frame, pd.concat([accuracy, _differences(accuracy, frame)], ignore_index=True))


def _differences(accuracy: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    students = _students(accuracy)
    found = []
    for (way, alpha, temperature), cell in students.items():
        hard = students.get((way, 0.0, temperature))
        if alpha > 0 and hard is not None and (values := paired(accuracies(cell, rows), accuracies(hard, rows))):
            low, high = bounds(values)
            within = {"low": low, "high": high} if np.isfinite(low) else {"low": np.nan, "high": np.nan}
            found.append(cell | {"quantity": "difference"} | spread(values) | within)
    return pd.DataFrame(found, columns=list(COLUMNS)).astype(accuracy.dtypes.to_dict())


def _students(plotted: pd.DataFrame) -> dict[Place, dict[str, Any]]:
    """The accuracies of students by their place."""
    chosen = plotted[(plotted["quantity"] == "accuracy") & (plotted["role"] == "student")]
    return {(c["stepping"], c["alpha"], c["temperature"]): c for c in chosen.to_dict("records")}  # type: ignore[misc]


def draw(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> Figure:
    """Accuracies above their differences, a column for each way of stepping."""

    students = plotted[plotted["role"] == "student"]
    ways = list(dict.fromkeys(students["stepping"])) or ["no student yet"]
    figure, part, panels = style.new_panels(style.TWO_COLUMNS, 3.6, 2, len(ways), sharex=True, sharey="row")
    for (top, bottom), way in zip(panels.T, ways, strict=True):
        top.set_title(way)
        selected = students[students["stepping"] == way]
        _draw_lines(top, selected[selected["quantity"] == "accuracy"])
        alone = plotted[(plotted["role"] == "baseline") & (plotted["stepping"] == way.split(",")[0])]
        for number, cell in enumerate(alone.sort_values("alpha").to_dict("records")):  # colours as of the teachers
            look = {"color": LOOKS[number % len(LOOKS)]["color"], "ls": (0, (1, 1 + number))}
            top.axhline(
                cell["mean"], lw=0.8, zorder=0, label=f"no teacher, {selectors.labels_name(cell['alpha'])}", **look
            )
        bottom.axhline(0, lw=0.8, color="0.35", zorder=0)
        _draw_lines(bottom, selected[selected["quantity"] == "difference"])
        style.temperature_axis(bottom, students["temperature"].unique())
        bottom.set_xlabel("distillation temperature T")
    _spread_axes(panels[0, 0], panels[1, 0], students)
    scored = "validation" if (students["scored"] == "val").any() else "test"
    panels[0, 0].set_ylabel(f"{scored} top-1\naccuracy (%)")
    panels[1, 0].set_ylabel("smoothed − hard\n(points, paired)")
    part.align_ylabels(panels[:, 0])
    style.legend_of_panels(part, panels[0], 2)
    return figure


def _spread_axes(top: Axes, bottom: Axes, students: pd.DataFrame) -> None:
    """A student at chance and differences of half a point on one axis: by the logarithm of the error (plus half a
    point), and linear within one point only."""
    from matplotlib.ticker import NullLocator

    top.set_yscale("function", functions=(lambda y: -np.log(100.5 - np.minimum(y, 100)), lambda y: 100.5 - np.exp(-y)))
    shown = students[students["quantity"] == "accuracy"]
    if len(shown):
        low, high = shown["low"].min(), shown["high"].max()
        margin = ((100.5 - low) / (100.5 - high)) ** 0.08
        top.set_ylim(100.5 - (100.5 - low) * margin, min(100.0, 100.5 - (100.5 - high) / margin))
        bottom_tick, top_tick = top.get_ylim()
        top.set_yticks([tick for tick in ACCURACY_TICKS if bottom_tick <= tick <= top_tick])
    top.yaxis.set_minor_locator(NullLocator())
    bottom.set_yscale("symlog", linthresh=1)
    bottom.yaxis.set_major_formatter("{x:g}")


def _draw_lines(axes: Axes, cells: pd.DataFrame) -> None:
    """A line for each α, with bars from low to high."""
    for number, alpha in enumerate(sorted({0.0, *cells["alpha"]})):
        selected = cells[cells["alpha"] == alpha].sort_values("temperature")
        if len(selected):
            x = selected["temperature"] * 2 ** (
                0.12 * (number - 0.5)
            )  # side by side, so that bars do not hide each other
            style.error_bars(
                axes, x, selected, "low", "high", label=selectors.teacher_name(alpha), **LOOKS[number % len(LOOKS)]
            )


def remarks(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """What is drawn, how good the teachers are, and what T does to students by each way of stepping."""
    students = _students(plotted)
    if not students:
        return []
    counts = [cell["n"] for cell in students.values()]
    said = [
        "Top: mean, bars: min to max. Bottom: mean difference, bars: 95 % interval by Student's t (from three seeds "
        "on). Axes: error on a logarithmic scale; differences beyond one point too. "
        f"{style.seeds_label(counts)}; last checkpoint; a pair has one seed, as have its teachers. Norm matched: the "
        "gradient with respect to a batch's logits is scaled to the norm that it would have at T = 1 (C-STEP)."
    ]
    teachers = plotted[plotted["role"] == "teacher"].to_dict("records")
    if teachers:
        told = "; ".join(f"{selectors.teacher_name(cell['alpha'])}: {cell['mean']:.2f} %" for cell in teachers)
        at = " or ".join(dict.fromkeys(cell["checkpoint"] for cell in teachers))
        said.append(f"Accuracy of the teachers themselves ({at} checkpoint): {told}.")
    return said + [
        line for way in dict.fromkeys(place[0] for place in students) for line in _answer(way, students, rows)
    ]


def _answer(way: str, students: dict[Place, dict[str, Any]], rows: pd.DataFrame) -> list[str]:
    """From the lowest to the highest T: the change of each teacher's students, and of their difference."""
    temperatures = [t for w, _, t in students if w == way]
    low, high = min(temperatures), max(temperatures)
    found: dict[float, dict[int, float]] = {}
    for alpha in dict.fromkeys(a for w, a, _ in students if w == way):
        first, last = (students.get((way, alpha, t)) for t in (low, high))
        if first is not None and last is not None and low < high:
            before, after = accuracies(first, rows), accuracies(last, rows)
            found[alpha] = {seed: after[seed] - before[seed] for seed in sorted(before.keys() & after.keys())}
    said = [
        f"{selectors.teacher_name(alpha)}: {change([*values.values()])}" for alpha, values in found.items() if values
    ]
    for alpha in found:
        if alpha > 0 and (both := paired(found[alpha], found.get(0.0, {}))):
            said.append(f"smoothed, α = {alpha:g}, minus hard: {change(both)}")
    return [f"{way}, change from T = {low:g} to {high:g} in points: {'; '.join(said)}."] if said else []
