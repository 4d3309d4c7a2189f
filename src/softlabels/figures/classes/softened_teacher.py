"""Softened outputs of a teacher for one class beside the uniform distribution and label smoothing (Yuan et al. 2020,
Fig. S.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from softlabels.errors import SpecError
from softlabels.figures import selectors, style
from softlabels.figures.drawing import Drawing
from softlabels.figures.lazy import np, pd
from softlabels.figures.source import Measured, Source, spread, tidy
from softlabels.grid.declared import datasets
from softlabels.grid.parts.probes import ImageProbe
from softlabels.grid.plan import Artifact
from softlabels.grid.spec import RunSpec

if TYPE_CHECKING:
    from matplotlib.figure import Figure


COLUMNS = ("temperature", "class", "name", "mean", "min", "max", "std", "n", "smoothed", "kl")


@dataclass(frozen=True)
class Settings:
    """`options`, and the probe that holds the teacher's logits."""

    label: int
    temperatures: tuple[float, ...]
    alpha: float
    probe: ImageProbe


def settings_of(artifact: Artifact) -> Settings:
    """The options of an artifact.

    Raises:
        SpecError: a class that the data do not have, temperatures or an α that are none, no probe of training logits.
    """
    where = f"artifact {artifact.id}:"
    options, member = artifact.options, artifact.members[0]
    assert isinstance(member.run, RunSpec)
    K = datasets.info(member.run.dataset).num_classes
    label, alpha = options.get("target"), options.get("alpha", 0.1)
    if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < K:
        raise SpecError(f"{where} options.target must be a class by its index, 0 to {K - 1}, not {label!r}")
    temperatures = options.get("temperatures")
    if not isinstance(temperatures, list | tuple) or not temperatures or not all(_is_positive(t) for t in temperatures):
        raise SpecError(f"{where} options.temperatures must list temperatures above 0, as [1, 20]")
    if not isinstance(alpha, int | float) or not 0 <= alpha < 1:
        raise SpecError(f"{where} options.alpha must lie in [0, 1), not {alpha!r}")
    probe = selectors.probe_of(artifact, member.family, "logits", "train")
    if probe is None:
        raise SpecError(f"{where} probes: {member.family} needs {{split: train, what: logits}}")
    return Settings(label, tuple(float(t) for t in temperatures), float(alpha), probe)


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _check(artifact: Artifact, where: str) -> None:
    if len({member.run for member in artifact.members}) != 1:
        raise SpecError(f"{where} softened_teacher shows one network; name a family of one")
    settings_of(artifact)


DRAWING = Drawing(("target", "temperatures", "alpha"), labels_only=True, reads_last=True, check=_check)


def measure(artifact: Artifact, source: Source) -> Measured:
    """KL(p̄(T) ‖ uniform) in nats of the mean target p̄(T) of the class, per T and seed; plotted: p̄(T) over classes."""
    from softlabels.metrics.probe_outputs import read_logits
    from softlabels.metrics.soft_targets import softmax

    wanted = settings_of(artifact)
    rows, points = [], []
    for member in artifact.members:
        rows += source.standard(artifact, member)
        means: dict[float, list[np.ndarray]] = {T: [] for T in wanted.temperatures}
        names: tuple[str, ...] = ()
        for seed in member.seeds:
            outputs = source.probe_outputs(member, seed, wanted.probe, read_logits)
            if outputs is None:
                continue
            names = outputs.class_names
            class_logits = outputs.z[outputs.labels == wanted.label]
            for T in wanted.temperatures:
                p = softmax(class_logits, T).mean(0)
                means[T].append(p)
                row = source.row(artifact, member, seed, "train", "last", "kl_to_uniform", _kl_to_uniform(p))
                rows.append(row | {"kd_temperature": f"{T:g}", "target_class": names[wanted.label]})
        for T, found in means.items():
            for k, name in enumerate(names if found else ()):
                K = len(names)
                smoothed = wanted.alpha / K + (1 - wanted.alpha) * (k == wanted.label)
                kl = float(np.mean([_kl_to_uniform(p) for p in found]))
                one = {"temperature": T, "class": k, "name": name, "smoothed": smoothed, "kl": kl}
                points.append(one | spread([float(p[k]) for p in found]))
    return Measured(tidy(rows), pd.DataFrame(points, columns=list(COLUMNS)))


def _kl_to_uniform(p: np.ndarray) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.where(p > 0, p * np.log(p * len(p)), 0).sum())


def draw(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> Figure:
    """A panel for each T: bars of the teacher and of label smoothing, the uniform distribution as a line."""
    temperatures = sorted(set(plotted["temperature"]))
    figure, part, (panels,) = style.new_panels(style.TWO_COLUMNS, 2.1, 1, max(len(temperatures), 1), sharey=True)
    wanted = settings_of(artifact)
    for axes, T in zip(panels, temperatures, strict=False):
        selected = plotted[plotted["temperature"] == T].sort_values("class")
        x, K = np.arange(len(selected)), len(selected)
        axes.bar(x - 0.2, selected["mean"], 0.4, color=style.BLUE, label="teacher, mean of the class")
        axes.bar(x + 0.2, selected["smoothed"], 0.4, color=style.ORANGE, label=f"label smoothing, α = {wanted.alpha:g}")
        axes.axhline(1 / K, color=style.GREY, linestyle="--", linewidth=1, label=f"uniform, 1/{K}")
        axes.set_title(f"T = {T:g}\nKL {selected['kl'].iloc[0]:.2g} nats", fontsize=7)
        step = max(1, K // 10)
        axes.set_xticks(x[::step], [f"C{k + 1}" for k in selected["class"]][::step], rotation=90)
        axes.set_ylim(0, 1)
    panels[0].set_ylabel("probability")
    style.legend_of_panels(part, panels)
    return figure


def remarks(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """Which class, of how many seeds."""
    if plotted.empty:
        return []
    wanted = settings_of(artifact)
    name = plotted.loc[plotted["class"] == wanted.label, "name"].iloc[0]
    return [
        f"Mean softmax(z / T) over the training images of C{wanted.label + 1} ({name}), mean over seeds, "
        f"{style.seeds_label(plotted['n'])}; KL: of this mean to uniform. T are ours: "
        "the paper's are not in its text."
    ]
