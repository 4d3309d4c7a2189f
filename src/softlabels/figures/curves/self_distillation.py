"""Generations of self-distillation, and one generation over the temperature (Zhang & Sabuncu 2020, Fig. 1 and 2).

Four panels: accuracy and likelihood of students on the test set, and of the teacher that each of them learned from, on
the training images, predictive uncertainty (Eq. 4) and confidence diversity (Eq. 5) of its targets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from softlabels.errors import DataError, SpecError
from softlabels.figures import selectors, style
from softlabels.figures.drawing import Drawing
from softlabels.figures.lazy import np, pd
from softlabels.figures.source import Measured, Row, Source, by_seed, spread, tidy
from softlabels.grid.plan import Artifact, Member
from softlabels.grid.spec import Distill, on_labels, teacher_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


PANELS = {
    "top1": "test top-1 accuracy (%)",
    "nll": "test NLL (nats)",
    "predictive_uncertainty": "predictive uncertainty\nof the teacher (nats)",
    "confidence_diversity": "confidence diversity\nof the teacher (nats)",
}
COLUMNS = ("facet", "line", "x", "metric", "mean", "std", "n")
GENERATIONS = "generations at T = 1"
OVER = ("generation", "temperature")


def over(artifact: Artifact) -> str:
    """What is on the horizontal axis."""
    return str(artifact.options.get("over", "generation"))


def neighbours(artifact: Artifact) -> tuple[int, ...]:
    """k of the estimates of confidence diversity, the first of which is drawn."""
    return tuple(artifact.options.get("neighbours", (3, 1, 5, 10)))


def taught_at_one(artifact: Artifact, member: Member) -> bool:
    """Whether a member is of a chain of generations at T = 1: one that a figure over T draws as a flat line."""
    return any(name == "generation" for name, _ in member.values)


def _check(artifact: Artifact, where: str) -> None:
    if over(artifact) not in OVER:
        raise SpecError(f"{where} options.over must be one of {', '.join(OVER)}, not {artifact.options['over']!r}")
    ks = neighbours(artifact)
    if not ks or any(isinstance(k, bool) or not isinstance(k, int) or k < 1 for k in ks):
        raise SpecError(f"{where} options.neighbours must list numbers of neighbours from 1 on, as [3, 1, 5, 10]")
    for member in artifact.members:
        if on_labels(member.run):
            continue
        teacher = teacher_of(member.run)
        family = next((m.family for m in artifact.members if selectors.teaches(m, member)), None)
        if not isinstance(member.run.targets, Distill) or teacher is None or family is None:
            raise SpecError(
                f"{where} self_distillation shows networks on labels and what they teach, and the teacher of "
                f"{member.family} is not among families"
            )
        if selectors.teacher_probe(artifact, teacher, unchanged=True) is None:
            raise SpecError(
                f"{where} probes: {family} teaches {member.family} and needs "
                f"{{split: train, what: logits, checkpoints: {teacher.checkpoint}}}"
            )


DRAWING = Drawing(("over", "neighbours", "checkpoint"), by_temperature=True, check=_check)


def measure(artifact: Artifact, source: Source) -> Measured:
    """Standard metrics of all, with `_generation<n>` or `_T<T>` too, which tells members apart; of teachers
    predictive_uncertainty and confidence_diversity at the checkpoint and the T at which they teach
    (and of every k that is asked for: confidence_diversity_k1, …); plotted: the four panels.

    Raises:
        DataError: no teacher has a confidence diversity, because its probabilities tie.
    """
    rows: list[Row] = []
    points: list[dict[str, Any]] = []
    checkpoint = selectors.reported_checkpoint(artifact)
    for facet, members in selectors.facets(artifact.members).items():
        for member in members:
            member_rows = source.standard(artifact, member)
            rows += member_rows
            values: dict[str, dict[int, float]] = {
                metric: by_seed(member_rows, "test", metric, checkpoint) for metric in ("top1", "nll")
            }
            taught = _teaching(artifact, source, member)
            rows += taught
            for metric in ("predictive_uncertainty", "confidence_diversity"):
                values[metric] = {row["seed"]: row["value"] for row in taught if row["metric"] == metric}
            x, line = _place(artifact, member)
            if x is not None and line != GENERATIONS:
                ending = f"_generation{x:g}" if over(artifact) == "generation" else f"_T{x:g}"
                rows += [
                    row | {"metric": row["metric"] + ending} for row in member_rows + taught if row["metric"] in PANELS
                ]
            points += [
                {"facet": facet, "line": line, "x": x, "metric": metric, **spread([*found.values()])}
                for metric, found in values.items()
                if found and x is not None
            ]
    diverse = [row for row in rows if row["metric"] == "confidence_diversity"]
    if not diverse and any(row["metric"] == "predictive_uncertainty" for row in rows):
        raise DataError(f"{artifact.id}: no teacher has a confidence diversity: each has tied probabilities; see Z-KNN")
    return Measured(tidy(rows), pd.DataFrame(points)[list(COLUMNS)] if points else pd.DataFrame(columns=list(COLUMNS)))


def _place(artifact: Artifact, member: Member) -> tuple[float | None, str]:
    """Where a member stands on the horizontal axis (None: nowhere), and on which line."""
    if over(artifact) == "generation":
        return (0.0 if on_labels(member.run) else float(member.value("generation", 1))), "generations"
    if on_labels(member.run):
        return None, ""
    if taught_at_one(artifact, member):
        return float(member.value("generation")), GENERATIONS
    return selectors.temperature_of(member.run), "temperatures"


def _teaching(artifact: Artifact, source: Source, member: Member) -> list[Row]:
    """Entropy and diversity of a student's teacher on the training images, at the checkpoint and T at which it teaches.

    The rows are the student's, their checkpoint the teacher's; none of a network that learns from labels.
    """
    from softlabels.metrics.diversity import confidence_diversity
    from softlabels.metrics.soft_targets import entropy

    teacher, T = teacher_of(member.run), selectors.temperature_of(member.run)
    if teacher is None or T is None:
        return []
    rows = []
    for seed in member.seeds:
        found = source.training_logits(artifact, teacher, seed, unchanged=True)
        if found is None:
            continue
        z, labels = found
        place = (artifact, member, seed, "train", teacher.checkpoint)
        rows.append(source.row(*place, "predictive_uncertainty", entropy(z, T)))
        for k in neighbours(artifact):
            name = "confidence_diversity" + ("" if k == neighbours(artifact)[0] else f"_k{k}")
            try:
                value = confidence_diversity(z, labels, T, k)
            except DataError:  # ties: said on the face, by what is not there
                continue
            rows.append(source.row(*place, name, value))
    return rows


def draw(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> Figure:
    """A row of four panels for each data set and network."""
    facets = list(dict.fromkeys(plotted["facet"])) or [""]
    figure, part, panels = style.new_panels(
        style.TWO_COLUMNS, 0.4 + 1.8 * len(facets), len(facets), len(PANELS), sharex=True
    )
    for row, facet in zip(panels, facets, strict=True):
        for axes, (metric, label) in zip(row, PANELS.items(), strict=True):
            _panel(axes, artifact, plotted[(plotted["facet"] == facet) & (plotted["metric"] == metric)], metric)
            axes.set_ylabel(label)
        row[0].set_title(facet.replace("\n", " "), loc="left", fontsize=7)
    for axes in panels[-1]:
        axes.set_xlabel("generation" if over(artifact) == "generation" else "T of the teacher")
    if over(artifact) == "temperature":
        style.legend_of_panels(part, panels[0])
    return figure


def _panel(axes: Axes, artifact: Artifact, points: pd.DataFrame, metric: str) -> None:
    selected = points[points["line"] != GENERATIONS].sort_values("x")
    if len(selected):
        label = "students" if over(artifact) == "generation" else "one generation, over T"
        axes.errorbar(
            selected["x"],
            selected["mean"],
            yerr=selected["std"].fillna(0),
            color=style.PALETTE[0],
            marker="o",
            label=label,
        )
    flat = points[points["line"] == GENERATIONS]
    if len(flat):
        best = flat["mean"].min() if metric == "nll" else flat["mean"].max()
        what = "lowest" if metric == "nll" else "highest"
        axes.axhline(best, color=style.RED, linestyle="--", linewidth=1, label="best of the generations at T = 1")
        axes.annotate(
            what, (1, best), xycoords=("axes fraction", "data"), fontsize=6, color=style.RED, ha="right", va="bottom"
        )


def remarks(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """What is drawn, of how many seeds, and which estimates there are not."""
    if plotted.empty:
        return []
    k = neighbours(artifact)[0]
    said = [
        f"Mean ± std over seeds (n − 1), {style.seeds_label(plotted['n'])}; {selectors.reported_checkpoint(artifact)} "
        f"checkpoint. Uncertainty: mean entropy of the softened targets of the teacher "
        f"({' or '.join(selectors.taught_at(artifact))} checkpoint) on the training images; diversity: differential "
        "entropy of their "
        f"probability of the true class, by {k} nearest neighbours (Z-KNN)."
    ]
    others = neighbours(artifact)[1:]
    if others:
        apart = _apart(rows, [f"confidence_diversity_k{other}" for other in others])
        listed = ", ".join(map(str, others))
        said.append(
            f"With {listed} in place of {k} neighbours diversity differs by at most {apart:.2g} nats in any run."
        )
    uncertain = rows[rows["metric"] == "predictive_uncertainty"]
    tied = len(uncertain) - (rows["metric"] == "confidence_diversity").sum()
    if tied > 0:
        said.append(f"Left out: {tied} of {len(uncertain)} teachers, whose tied probabilities have no diversity.")
    if over(artifact) == "temperature":
        counts = plotted[plotted["line"] == GENERATIONS].groupby("metric")["x"].nunique()
        if len(counts):
            said.append(
                f"Dashed: the best mean of {counts.max()} generations at T = 1"
                + (
                    f", where all are there ({counts.min()} in the panel that has fewest)."
                    if counts.nunique() > 1
                    else "."
                )
            )
        said += [plateau for facet in dict.fromkeys(plotted["facet"]) if (plateau := _plateau(plotted, facet))]
    return said


def _apart(rows: pd.DataFrame, metrics: list[str]) -> float:
    """Largest difference of other estimates from the one that is drawn, in the same run and seed."""
    wide = rows.pivot_table(index=["run_id", "seed", "kd_temperature"], columns="metric", values="value")
    there = [metric for metric in metrics if metric in wide]
    return float(wide[there].sub(wide["confidence_diversity"], axis=0).abs().max().max())


def _plateau(plotted: pd.DataFrame, facet: str) -> str:
    """From which T on diversity differs from that at the highest T by no more than one pooled standard deviation."""
    selected = plotted[(plotted["facet"] == facet) & (plotted["line"] == "temperatures")]
    selected = selected[selected["metric"] == "confidence_diversity"].sort_values("x")
    if len(selected) < 3 or selected["std"].isna().all():
        return ""
    pooled = float(np.sqrt(selected["std"].pow(2).mean()))
    far = selected[(selected["mean"] - selected["mean"].iloc[-1]).abs() > pooled]
    first = selected["x"].iloc[0] if far.empty else selected[selected["x"] > far["x"].max()]["x"].iloc[0]
    name, last = facet.splitlines()[0], selected["x"].iloc[-1]
    if first == last:
        return f"{name}: diversity has no plateau before T = {last:g} (within one pooled std, {pooled:.2g} nats)."
    return (
        f"{name}: from T = {first:g} on diversity is within one pooled std ({pooled:.2g} nats) of that at T = {last:g}."
    )
