"""Accuracy against equivalent label smoothing γ (Müller et al. 2019, Sec. 4 and Fig. 5).

Four curves: teachers over α, students without a teacher over α, students of the hard-label teacher
over T, students of smoothed teachers over α. For networks trained on labels γ = α; for distilled
ones γ = E_train[Σ_k (1 − y_k) pᵗ_k(T) K/(K−1)], measured on the training images of the teachers' probe
(unchanged ones by default, register M-GAMMA).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from softlabels.errors import SpecError
from softlabels.figures import selectors, style
from softlabels.figures.drawing import Drawing
from softlabels.figures.lazy import np, pd
from softlabels.figures.source import Measured, Source, by_seed, spread, tidy
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
        if selectors.taught_by(artifact, member) is None:
            teacher = teacher_of(member.run)
            assert teacher is not None
            raise SpecError(
                f"{where} γ of family {member.family} needs its teacher, at its last checkpoint (here: "
                f"{teacher.checkpoint}), in a family of the artifact with a probe of split: train"
            )


DRAWING = Drawing(by_temperature=True, check=_check)


def measure(artifact: Artifact, source: Source) -> Measured:
    """Accuracies and γ of every member and seed; plotted: validation accuracy of the last checkpoint."""
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
            member_rows += [source.row(artifact, member, s, "train", "last", "gamma", g) for s, g in smoothness.items()]
            position = float(np.mean([*smoothness.values()])) if smoothness else None
            curves = ["kd_hard"] * (alpha == 0) + ["kd_smooth"] * (temperature == 1)
        rows += member_rows
        accuracy = by_seed(member_rows, "val", "top1")
        if accuracy and position is not None:
            numbers = {"alpha": alpha, "temperature": temperature, "gamma": position}
            points += [{"curve": c, **numbers, **spread([*accuracy.values()])} for c in curves]
    plotted = pd.DataFrame(points, columns=list(COLUMNS)).drop_duplicates()
    return Measured(tidy(rows), plotted.sort_values(["curve", "gamma"], ignore_index=True))


def gammas(artifact: Artifact, source: Source, member: Member) -> dict[int, float] | None:
    """Seed → γ of the targets a student learned from, for seeds whose teacher's training logits are there.

    None where the artifact has no such probe: one of the training split on the teacher's family, and
    the teacher taken at its last checkpoint.
    """
    from softlabels.metrics.soft_targets import gamma

    teacher, temperature = teacher_of(member.run), selectors.temperature_of(member.run)
    found = selectors.taught_by(artifact, member)
    if found is None or teacher is None or temperature is None or np.isinf(temperature):
        return None
    values = {}
    for seed in member.seeds:
        tensors = source.probe(found[0], seed if teacher.seed == "same" else teacher.seed, found[1])
        if tensors is not None:
            values[seed] = gamma(tensors["logits/last"][:, 0], tensors["labels"], temperature)
    return values


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
    return [
        f"Points: mean, bars: min to max, {style.seeds_label(plotted['n'])}; last checkpoint. γ of students with a "
        f"teacher: mean over seeds, on {views} training images.",
        *(["Steps of students with a teacher, not as published: " + ", ".join(ways) + " (C-STEP)."] if ways else []),
    ]
