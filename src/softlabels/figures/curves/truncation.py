"""Does temperature or a truncated cache of logits ruin distillation? (our own; after Chandrasegaran et al., Table 5)

Students of a hard-label and of a smoothed teacher over the distillation temperature T, by what was kept of the
teacher's logits: all (features), the k largest with the tail dropped, or the k largest with the tail's mass spread
evenly. Figure: BLEU, next-token accuracy, NLL and the largest logit above the mean. Table: every member and metric.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from softlabels.errors import SpecError
from softlabels.figures import selectors, style, translations
from softlabels.figures.drawing import Drawing
from softlabels.figures.intervals import change, paired
from softlabels.figures.lazy import np, pd
from softlabels.figures.source import Measured, Source, seed_values, spread, tidy
from softlabels.grid.identity import run_id
from softlabels.grid.plan import Artifact, Member
from softlabels.grid.spec import Distill, teacher_of
from softlabels.metrics.bleu import signature_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


METRICS = ("bleu", "sacrebleu", "chrf", "next_token_accuracy", "nll", "ece", "top_logit")
PANELS = {
    "bleu": ("BLEU", "linear"),
    "next_token_accuracy": ("next-token\naccuracy (%)", "linear"),
    "nll": ("NLL\n(nats per token)", "log"),
    "top_logit": ("largest −\nmean logit", "log"),
}
LOOKS: tuple[dict[str, Any], ...] = (
    {"color": style.BLUE, "marker": "o"},
    {"color": style.ORANGE, "marker": "s"},
    {"color": style.GREEN, "marker": "^"},
    {"color": style.PURPLE, "marker": "D"},
    {"color": style.RED, "marker": "v"},
)
EXACT = ("features", "dense", "online")
PRINTED = "Chandrasegaran et al., Table 5"
COLUMNS = (
    "role", "teacher", "line", "temperature", "metric", "checkpoint", "mean", "min", "max", "std", "n", "run_id",
)  # fmt: skip


def _check(artifact: Artifact, where: str) -> None:
    translations.check(artifact, where)
    selectors.check_shown(artifact, where)
    if not isinstance(artifact.options.get("published", False), bool):
        raise SpecError(f"{where} options.published must be true or false, not {artifact.options['published']!r}")
    students = [m for m in artifact.members if isinstance(m.run.targets, Distill)]
    if not students:
        raise SpecError(f"{where} truncation needs a family of distilled students")
    if len({(m.run.dataset, m.run.model) for m in students}) > 1 and artifact.kind == "figure":
        raise SpecError(f"{where} truncation draws students of one network on one corpus; use an artifact for each")


DRAWING = Drawing(("published",), tasks=("translation",), check=_check)


def measure(artifact: Artifact, source: Source) -> Measured:
    """The standard metrics of every member and seed, and BLEU of their translations of the test split.

    Plotted: the test split, whatever checkpoint; BLEU of the checkpoints with translations.
    """
    rows, points = [], []
    for member in artifact.members:
        member_rows = [*source.standard(artifact, member), *translations.bleu_on_test(artifact, source, member)]
        rows += member_rows
        values: dict[tuple[str, str], list[float]] = {}
        for row in member_rows:
            if row["split"] == "test" and row["metric"] in METRICS:
                values.setdefault((row["metric"], row["checkpoint"]), []).append(row["value"])
        place = _place(artifact, member)
        points += [{**place, "metric": m, "checkpoint": c, **spread(v)} for (m, c), v in values.items()]
    if artifact.options.get("published"):
        points += _printed()
    return Measured(tidy(rows), pd.DataFrame(points, columns=list(COLUMNS)).drop_duplicates(ignore_index=True))


def _place(artifact: Artifact, member: Member) -> dict[str, object]:
    """Where a member stands: its column, its line, its T."""
    targets, teacher = member.run.targets, teacher_of(member.run)
    if not isinstance(targets, Distill) or teacher is None:
        role = "teacher" if member in selectors.teachers(artifact) else "baseline"
        line, temperature = "", None
        name = _teacher_name(selectors.alpha_of(member.run)) if role == "teacher" else selectors.line_name(member)
    else:
        role, temperature, line = "student", targets.temperature, selectors.cache_name(member.run)
        line += "" if targets.beta == 1 else f", β = {targets.beta:g}"
        line += "" if targets.hard_alpha == 0 else f", hard term α = {targets.hard_alpha:g}"
        line += "" if targets.gradient_norm == "free" else ", gradient norm matched"
        name = _teacher_name(selectors.teacher_alpha(member.run))
    return {"role": role, "teacher": name, "line": line, "temperature": temperature, "run_id": run_id(member.run)}


def _teacher_name(alpha: float | None) -> str:
    return "distilled teacher" if alpha is None else selectors.teacher_name(alpha)


def _printed() -> list[dict[str, object]]:
    """The students of the paper's table, English-German."""
    from softlabels.papers.published import published

    paper = published("chandrasegaran2022", "table5")
    students = paper[(paper["method"] == "kd") & (paper["metric"] == "bleu")]
    return [
        {
            "role": "published",
            "teacher": _teacher_name(float(row["teacher_alpha"])),
            "line": PRINTED,
            "temperature": row["kd_temperature"],
            "metric": "bleu",
            "mean": row["value"],
            "n": 0,
        }
        for row in students.to_dict("records")
    ]


def draw(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> Figure:
    """A row of panels per metric, a column per teacher; on the test split the last checkpoint, of teachers the one that
    taught."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    taught = {run_id(m.run): selectors.shown_at(artifact, m) for m in selectors.teachers(artifact)}
    at = plotted["run_id"].map(taught).fillna("last")
    shown = plotted[(plotted["checkpoint"] == at) | (plotted["role"] == "published")]
    students = shown[shown["role"] == "student"]
    columns = list(dict.fromkeys(students["teacher"])) or ["no student yet"]
    temperatures = sorted(students["temperature"].unique())
    lines = list(dict.fromkeys(students["line"]))
    width, height = style.TWO_COLUMNS if len(columns) > 1 else style.ONE_COLUMN, 1.5 * len(PANELS) + 0.8
    figure, part, panels = style.new_panels(width, height, len(PANELS), len(columns), sharex=True, sharey="row")
    for i, (metric, (label, scale)) in enumerate(PANELS.items()):
        for axes, teacher in zip(panels[i], columns, strict=True):
            axes.set_yscale(scale)
            of_panel = shown[
                (shown["metric"] == metric) & ((shown["teacher"] == teacher) | (shown["role"] == "baseline"))
            ]
            _draw_panel(axes, of_panel, lines, temperatures)
            if scale == "log":
                axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
                axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                axes.yaxis.set_minor_formatter(NullFormatter())
        panels[i, 0].set_ylabel(label)
    part.align_ylabels(panels[:, 0])
    for axes, teacher in zip(panels[0], columns, strict=True):
        axes.set_title(teacher)
    for axes in panels[-1]:
        axes.set_xticks(range(len(temperatures)), [f"{t:g}" for t in temperatures])
        axes.set_xlabel("distillation temperature T")
    style.legend_of_panels(part, panels.flat, 2 if len(columns) > 1 else 1)
    return figure


def _draw_panel(axes: Axes, points: pd.DataFrame, lines: list[str], temperatures: list[float]) -> None:
    for number, line in enumerate(lines):
        selected = points[(points["line"] == line) & (points["role"] == "student")].sort_values("temperature")
        if selected.empty:
            continue
        # Side by side, so that bars of equal T do not hide each other.
        shift = 0.08 * (number - (len(lines) - 1) / 2)
        x = [temperatures.index(t) + shift for t in selected["temperature"]]
        label = f"{line} (exact)" if line in EXACT else line
        style.error_bars(axes, x, selected, label=label, **LOOKS[number % len(LOOKS)])
    paper = points[(points["role"] == "published") & points["temperature"].isin(temperatures)].sort_values(
        "temperature"
    )
    if len(paper):
        x = [temperatures.index(t) for t in paper["temperature"]]
        axes.plot(x, paper["mean"], "x--", color=style.GREY, lw=1, label=PRINTED, zorder=1)
    for role, look in (("teacher", "-"), ("baseline", ":")):
        for height, name in points[points["role"] == role][["mean", "teacher"]].itertuples(index=False):
            label = "the teacher itself" if role == "teacher" else f"no teacher, {name}"
            axes.axhline(height, color="0.35", ls=look, lw=0.8, zorder=0, label=label)
    axes.margins(x=0.08)


def table(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """A line per member and checkpoint: mean and std of each metric on the test split; n_bleu: seeds translated."""
    key = ["role", "teacher", "line", "temperature", "checkpoint", "run_id"]
    ours = plotted[plotted["role"] != "published"].fillna({"line": ""})
    out = []
    for place, group in ours.groupby(key, sort=False, dropna=False):
        of: dict[str, Any] = {row["metric"]: row for row in group.to_dict("records")}
        nothing = {"mean": np.nan, "std": np.nan, "n": 0}
        cells: dict[str, Any] = dict(zip(key, place, strict=True))
        for metric in METRICS:
            found = of.get(metric, nothing)
            cells |= {metric: found["mean"], f"{metric}_std": found["std"]}
        out.append(cells | {"n": of.get("nll", nothing)["n"], "n_bleu": of.get("bleu", nothing)["n"]})
    columns = [*key, "n", "n_bleu", *(name for metric in METRICS for name in (metric, f"{metric}_std"))]
    return pd.DataFrame(out, columns=columns).drop(columns="run_id").rename(columns={"line": "cache"})


def remarks(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """What is drawn, and what temperature and truncation each do to BLEU."""
    ours = plotted[plotted["role"] != "published"]
    if ours.empty:
        return []
    probes = [p for m in artifact.members for p in selectors.translations_on_test(artifact, m.family).values()]
    where = (
        f"Last checkpoint{selectors.of_teachers(artifact)}"
        if artifact.kind == "figure"
        else "Last and best checkpoint (validation likelihood)"
    )
    said = [
        f"{where}, test split; mean, {'bars: min to max' if artifact.kind == 'figure' else 'std (n − 1)'}, "
        f"{style.seeds_label(ours['n'])}. Translations: {translations.decoding(probes)}, decoding temperature 1. "
        "Accuracy, NLL and logits: next tokens from the right prefix. Tail dropped: the k largest logits, "
        "renormalised; tail spread: the k largest with their exact probabilities at T, the rest of the mass even over "
        "all other types.",
        signature_line(METRICS[: 1 if artifact.kind == "figure" else 3]),
    ]
    return said + _answers(ours[(ours["metric"] == "bleu") & (ours["checkpoint"] == "last")], rows)


def _answers(cells: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """Paired differences of BLEU, per teacher: over T for each cache, and at the highest T against the exact cache."""
    said, counts = [], []
    students = cells[cells["role"] == "student"]
    for teacher, of_teacher in students.groupby("teacher", sort=False):
        low, high = of_teacher["temperature"].min(), of_teacher["temperature"].max()
        ends = {
            (row["line"], row["temperature"]): seed_values(rows, row["run_id"], "test", "bleu")
            for row in of_teacher.to_dict("records")
        }
        lines = list(dict.fromkeys(of_teacher["line"]))
        exact = next((line for line in lines if line in EXACT), None)
        questions = {
            f"From T = {low:g} to {high:g}": [(line, (line, high), (line, low)) for line in lines if low < high]
        }
        if exact is not None:
            others = [line for line in lines if line != exact]
            questions[f"At T = {high:g}, minus {exact}"] = [(line, (line, high), (exact, high)) for line in others]
        parts = []
        for question, pairs in questions.items():
            changes = {line: paired(ends.get(one, {}), ends.get(other, {})) for line, one, other in pairs}
            found = {line: values for line, values in changes.items() if values}
            counts += [len(values) for values in found.values()]
            changes_in_words = "; ".join(f"{line} {change(values)}" for line, values in found.items())
            parts += [f"{question}: {changes_in_words}."] * bool(found)
        if parts:
            said.append(f"Change of BLEU, {teacher}. {' '.join(parts)}")
    if said:
        said[-1] += f" Paired by seed, {style.seeds_label(counts)}; 95 % intervals by Student's t, from three seeds on."
    return said
