"""Kinds of targets side by side: accuracy and calibration (Zhang & Sabuncu 2020, Fig. 3).

The paper draws bars; these are means with intervals on an axis that need not begin at 0.
"""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING, Any

from softlabels.figures import selectors, style
from softlabels.figures.drawing import Drawing
from softlabels.figures.intervals import bounds
from softlabels.figures.lazy import np, pd
from softlabels.figures.source import Measured, Row, Source, by_seed, spread, tidy
from softlabels.grid.identity import run_id
from softlabels.grid.parts.label_targets import BetaSmoothing, Smooth
from softlabels.grid.plan import Artifact, Member
from softlabels.grid.spec import Distill, MeanLabel, on_labels

if TYPE_CHECKING:
    from matplotlib.figure import Figure


NAMES = {
    "ce": "labels", "ls": "label smoothing", "beta_smoothing": "Beta smoothing", "ema_distill": "own average",
    "self_distillation": "self-distillation", "entropy_bonus": "entropy bonus", "kd": "distillation",
    "beta_smoothing_true_class": "Beta, by true class", "beta_smoothing_random": "Beta, random",
    "beta_smoothing_averaged": "Beta, averaged norm", "self_distillation_both_tempered": "both tempered",
}  # fmt: skip
PANELS = {"top1": "test top-1\naccuracy (%)", "ece20": "test ECE\n(20 bins)", "nll": "test NLL\n(nats)"}
REACHED = 1e-6
"""How far a solved mean label may be from the one asked for."""
COLUMNS = ("facet", "method", "metric", "mean", "std", "n", "gain", "low", "high", "run_id")


DRAWING = Drawing(("checkpoint",), check=selectors.check_teacher_probes)


def measure(artifact: Artifact, source: Source) -> Measured:
    """Standard metrics of all, the mean label of the true class that each method trains on, the temperature where it is
    solved for; plotted: each metric, and its difference to hard labels paired by seed (95 % interval)."""
    rows: list[Row] = []
    points: list[dict[str, Any]] = []
    checkpoint = selectors.reported_checkpoint(artifact)
    for facet, members in selectors.facets(artifact.members).items():
        standard_rows = {m: source.standard(artifact, m) for m in members}
        for member, standard in standard_rows.items():
            rows += standard
            rows += _targets(artifact, source, member)
        hard = next((m for m in members if on_labels(m.run) and selectors.alpha_of(m.run) == 0), None)
        for member, standard in standard_rows.items():
            for metric in PANELS:
                values = by_seed(standard, "test", metric, checkpoint)
                if not values:
                    continue
                alone = [] if hard is None or hard is member else standard_rows[hard]
                before = by_seed(alone, "test", metric, checkpoint)
                pairs = [value - before[seed] for seed, value in values.items() if seed in before]
                one: dict[str, Any] = {"facet": facet, "method": name_of(artifact, member), "metric": metric}
                one |= {**spread([*values.values()]), **_gain(pairs), "run_id": standard[0]["run_id"]}
                points.append(one)
    return Measured(tidy(rows), pd.DataFrame(points, columns=list(COLUMNS)))


def _gain(pairs: list[float]) -> dict[str, float]:
    """Mean difference and its 95 % interval, NaN where there are too few seeds."""
    low, high = bounds(pairs)
    mean = float(np.mean(pairs)) if pairs else float("nan")
    return {"gain": mean, **{name: x if np.isfinite(x) else float("nan") for name, x in (("low", low), ("high", high))}}


def name_of(artifact: Artifact, member: Member) -> str:
    """The method in words, with α of label smoothing."""
    from softlabels.metrics.rows import key_columns

    method = key_columns(artifact, member, "", "")["method"]
    name = NAMES.get(method, method.replace("_", " "))
    return f"{name}, {member.run.targets.alpha:g}" if isinstance(member.run.targets, Smooth) else name


def _targets(artifact: Artifact, source: Source, member: Member) -> list[Row]:
    """mean_true_class_target of the labels that a network is trained on, and its temperature where that is a result;
    with a teacher the rows' checkpoint is the teacher's."""
    from softlabels.metrics.beta_smoothing import mean_label

    targets, checkpoint = member.run.targets, selectors.reported_checkpoint(artifact)
    rows = []
    for seed in member.seeds:
        found: dict[str, float | None] = {}
        if isinstance(targets, Smooth) and targets.over == "others":
            found["mean_true_class_target"] = 1 - targets.alpha
        elif isinstance(targets, BetaSmoothing):
            found["mean_true_class_target"] = mean_label(targets.a, targets.beta)
        elif isinstance(targets, Distill):
            found = {**source.solved(member, seed)} if targets.is_solved else {}
            T = found.get("temperature") if targets.is_solved else targets.given_temperature
            found["mean_true_class_target"] = None if T is None else _label(artifact, source, targets, seed, T)
            checkpoint = targets.teacher.checkpoint
        for metric, value in found.items():
            if value is not None and source.logits(member, seed) is not None:
                rows.append(source.row(artifact, member, seed, "train", checkpoint, metric, value))
    return rows


def _label(artifact: Artifact, source: Source, targets: Distill, seed: int, T: float) -> float | None:
    """Mean label of the true class on unchanged training images; None where the teacher has no such probe."""
    from softlabels.metrics.soft_targets import effective_label

    found = source.training_logits(artifact, targets.teacher, seed, unchanged=True)
    return None if found is None else effective_label(*found, T, targets.beta)


def draw(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> Figure:
    """A column for each data set and network, rows of accuracy, ECE and likelihood."""
    facets = list(dict.fromkeys(plotted["facet"]))
    methods = list(dict.fromkeys(plotted["method"]))
    figure = style.new_figure(style.TWO_COLUMNS, 4.4)
    panels = figure.subplots(len(PANELS), max(len(facets), 1), squeeze=False, sharex=True)
    for column, facet in enumerate(facets):
        for row, (metric, label) in enumerate(PANELS.items()):
            axes = panels[row, column]
            selected = plotted[(plotted["facet"] == facet) & (plotted["metric"] == metric)]
            for one in selected.itertuples():
                place = methods.index(one.method)
                axes.errorbar(
                    place, one.mean, yerr=one.std, marker="o", color=style.PALETTE[place % len(style.PALETTE)]
                )
            axes.set_xlim(-0.6, len(methods) - 0.4)
            axes.set_xticks(range(len(methods)), methods, rotation=60, ha="right", rotation_mode="anchor")
            axes.grid(axis="y", linewidth=0.3)
            if column == 0:
                axes.set_ylabel(label)
            if row == 0:
                axes.set_title("\n".join(wrap(facet, 60 // len(facets) + 8)), fontsize=6 if len(facets) > 3 else 8)
    return figure


def remarks(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """What is drawn, and the differences to hard labels."""
    if plotted.empty:
        return []
    at = " or ".join(selectors.taught_at(artifact))
    taught = f"; teachers: {at}" if at else ""
    said = [
        f"Mean ± std over seeds (n − 1), {style.seeds_label(plotted['n'])}; {selectors.reported_checkpoint(artifact)} "
        f"checkpoint{taught}; axes do not begin at 0. "
        "Differences to hard labels paired by seed, with 95 % intervals, in the table beside the figure."
    ]
    labels = rows[rows["metric"] == "mean_true_class_target"].groupby("method")["value"].mean()
    if len(labels):
        named = "; ".join(f"{NAMES.get(str(m), str(m).replace('_', ' '))} {value:.3f}" for m, value in labels.items())
        said.append(f"Mean label of the true class: {named} (self-distillation: on unchanged training images).")
    solved = rows[rows["metric"] == "temperature"]["value"]
    if len(solved):
        said.append(f"Temperatures solved for: {solved.min():.3g} to {solved.max():.3g}.")
    for member in artifact.members:
        said += _not_reached(member, rows)
    return said


def _not_reached(member: Member, rows: pd.DataFrame) -> list[str]:
    """A mean label that no temperature of the teacher gives, and what stands for it."""
    targets = member.run.targets
    if not isinstance(targets, Distill) or not isinstance(wanted := targets.temperature, MeanLabel):
        return []
    solved = rows[(rows["run_id"] == run_id(member.run)) & rows["metric"].isin(["temperature", "mean_label"])]
    own = solved.pivot(index="seed", columns="metric", values="value")
    if "mean_label" not in own:
        return []
    missed = own[(own["mean_label"] - wanted.label).abs() > REACHED]
    if missed.empty:
        return []
    place = selectors.title(member).replace("\n", " ")
    return [
        f"{place}: no temperature gives the teacher of {len(missed)} of {len(own)} seeds a mean label of "
        f"{wanted.label:g}; the nearest are {missed['mean_label'].min():.3f} to {missed['mean_label'].max():.3f}, "
        f"at T = {missed['temperature'].min():.3g} to {missed['temperature'].max():.3g} (Z-LABEL)."
    ]
