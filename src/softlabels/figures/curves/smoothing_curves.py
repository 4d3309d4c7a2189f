"""Accuracy against equivalent label smoothing γ (Müller et al. 2019, Sec. 4 and Fig. 5).

Four curves: teachers over α, students without a teacher over α, students of the hard-label teacher
over T, students of smoothed teachers over α. For networks trained on labels γ = α; for distilled
ones γ = E_train[Σ_k (1 − y_k) pᵗ_k(T) K/(K−1)], measured on the training images of the teachers' probe
(unchanged ones by default, register M-GAMMA).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from softlabels.errors import SpecError
from softlabels.figures import selectors, style
from softlabels.figures.drawing import Drawing
from softlabels.figures.lazy import np, pd
from softlabels.figures.source import Measured, Row, Source, by_seed, spread, tidy
from softlabels.grid.parts.probes import Probe
from softlabels.grid.plan import Artifact, Member
from softlabels.grid.spec import teacher_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


CURVES: dict[str, tuple[str, dict[str, Any]]] = {
    "teacher": ("teacher over α", {"color": style.BLUE, "marker": "o"}),
    "baseline": ("student without teacher, over α", {"color": style.LIGHT_BLUE, "marker": "D"}),
    "kd_hard": ("student of hard-label teacher, over T", {"color": style.RED, "marker": "s", "linestyle": "--"}),
    "kd_smooth": (
        "student of smoothed teacher (T = 1), over α",
        {"color": style.GREEN, "marker": "^", "linestyle": "--"},
    ),
}
COLUMNS = ("curve", "alpha", "temperature", "gamma", "mean", "min", "max", "std", "n")


def _check(artifact: Artifact, where: str) -> None:
    for member in selectors.distilled(artifact):
        if selectors.temperature_of(member.run) == float("inf"):
            raise SpecError(
                f"{where} γ of family {member.family} is not defined: logit matching has no temperature; "
                "take the family out of families"
            )
        teacher = teacher_of(member.run)
        assert teacher is not None
        if selectors.teacher_probe(artifact, teacher) is None:
            raise SpecError(
                f"{where} γ of family {member.family} needs its teacher in a family of the artifact, with a probe of "
                f"split: train and checkpoints: {teacher.checkpoint}"
            )
    selectors.check_shown(artifact, where)


DRAWING = Drawing(by_temperature=True, check=_check)


def measure(artifact: Artifact, source: Source) -> Measured:
    """Accuracies and γ of every member and seed; plotted: validation accuracy of the last checkpoint, of teachers of
    the one that taught."""
    teachers, baselines = selectors.teachers(artifact), selectors.baselines(artifact)
    rows, points = [], []
    alpha: float | None
    position: float | None
    for member in artifact.members:
        member_rows = source.standard(artifact, member)
        temperature = selectors.temperature_of(member.run)
        if temperature is None:
            alpha = position = selectors.alpha_of(member.run)
            curves = [c for c, m in (("teacher", teachers), ("baseline", baselines)) if member in m]
        else:
            alpha = selectors.teacher_alpha(member.run)
            smoothness = gammas(artifact, source, member)
            assert smoothness is not None  # `drawing.check`
            member_rows += gamma_rows(artifact, source, member, smoothness)
            position = float(np.mean([*smoothness.values()])) if smoothness else None
            curves = ["kd_hard"] * (alpha == 0) + ["kd_smooth"] * (temperature == 1)
        rows += member_rows
        numbers = {"alpha": alpha, "temperature": temperature, "gamma": position}
        for curve in curves if position is not None else ():
            checkpoint = selectors.shown_at(artifact, member) if curve == "teacher" else "last"
            if accuracy := by_seed(member_rows, "val", "top1", checkpoint):
                points.append({"curve": curve, **numbers, **spread([*accuracy.values()])})
    plotted = pd.DataFrame(points, columns=list(COLUMNS)).drop_duplicates()
    return Measured(tidy(rows), plotted.sort_values(["curve", "gamma"], ignore_index=True))


def gammas(artifact: Artifact, source: Source, member: Member) -> dict[int, float] | None:
    """Seed → γ of the targets a student learned from, for seeds whose teacher's training logits are there.

    None where the artifact has no such probe: one of the training split on the teacher's family, at the checkpoint
    that taught.
    """
    from softlabels.metrics.soft_targets import gamma

    teacher, temperature = teacher_of(member.run), selectors.temperature_of(member.run)
    if (
        teacher is None
        or temperature is None
        or np.isinf(temperature)
        or selectors.teacher_probe(artifact, teacher) is None
    ):
        return None
    found = {seed: source.training_logits(artifact, teacher, seed) for seed in member.seeds}
    return {seed: gamma(*logits, temperature) for seed, logits in found.items() if logits is not None}


def gamma_rows(artifact: Artifact, source: Source, member: Member, smoothness: Mapping[int, float]) -> list[Row]:
    """γ of each seed of a student as rows; their checkpoint is the one that taught."""
    teacher = teacher_of(member.run)
    return [
        source.row(artifact, member, seed, "train", teacher.checkpoint, "gamma", value)
        for seed, value in smoothness.items()
        if teacher is not None
    ]


def draw(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> Figure:
    """One panel, one column wide."""
    figure = style.new_figure(style.ONE_COLUMN, 3.1)
    axes = figure.subplots()
    for curve, (label, look) in CURVES.items():
        points = plotted[plotted["curve"] == curve].sort_values("gamma")
        if len(points):
            style.error_bars(axes, points["gamma"], points, label=label, **look)
    _write_temperatures(axes, plotted[plotted["curve"] == "kd_hard"].sort_values("gamma"))
    axes.set_xlabel("equivalent label smoothing γ")
    axes.set_ylabel("validation top-1 accuracy (%)")
    if len(plotted):
        style.legend_below(axes, handlelength=3.2)
    return figure


def _write_temperatures(axes: Axes, points: pd.DataFrame) -> None:
    """T beside each point, above and below by turns where points lie close."""
    last, above = -np.inf, True
    for x, low, high, t in points[["gamma", "min", "max", "temperature"]].itertuples(index=False):
        above = not above if x - last < 0.05 else True
        label = f"{t:g}" if np.isfinite(last) else f"T = {t:g}"
        last = x
        axes.annotate(
            label, (x, high if above else low), xytext=(0, 2 if above else -2), textcoords="offset points",
            ha="center", va="bottom" if above else "top", fontsize=6.5, color=style.RED,
        )  # fmt: skip


def remarks(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """What the marks are."""
    if plotted.empty:
        return []
    ways = sorted({selectors.stepping(artifact, m) for m in selectors.distilled(artifact)} - {"SGD"})
    views = "augmented" if any(isinstance(p, Probe) and p.views for _, p in artifact.probes) else "unchanged"
    taught = selectors.of_teachers(artifact)
    return [
        f"Points: mean, bars: min to max, {style.seeds_label(plotted['n'])}; last checkpoint{taught}. γ of students "
        f"with a teacher: mean over seeds, on {views} training images.",
        *(["Steps of students with a teacher, not as published: " + ", ".join(ways) + " (C-STEP)."] if ways else []),
    ]
