"""Mutual information between a training image and a logit difference, over training (Müller et al. 2019, Fig. 6).

Y = z_a − z_b of the two classes of the probe, noisy by random augmentation. Of a probe with V views, the
fresh reading takes V − 1 draws for μ_x and the last for y_x; the reused reading takes those V − 1 for both
(register M-MI). Neither gives log 2 for examples that have collapsed to two clusters: what it gives is drawn too.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

from softlabels.errors import SpecError
from softlabels.figures import selectors, style
from softlabels.figures.drawing import Drawing
from softlabels.figures.lazy import np, pd
from softlabels.figures.source import Measured, Row, Source, spread, tidy
from softlabels.grid.parts.probes import Probe
from softlabels.grid.plan import Artifact

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from softlabels.figures.source import Arrays


DRAWS: dict[Literal["reused", "fresh"], str] = {"reused": "-", "fresh": ":"}
COLUMNS = ("facet", "alpha", "draws", "step", "examples", "collapsed", "mean", "min", "max", "std", "n")


def _check(artifact: Artifact, where: str) -> None:
    if not artifact.probes:
        raise SpecError(f"{where} information needs probes: of two classes, with at least 3 views, at milestones")
    for family, probe in artifact.probes:
        fits = (
            isinstance(probe, Probe)
            and len(probe.classes or ()) == sum(isinstance(k, int) for k in probe.classes or ()) == 2
            and probe.views >= 3
            and probe.checkpoints == "milestones"
        )
        if not fits:
            raise SpecError(
                f"{where} the probe of {family} needs two classes, at least 3 views and checkpoints: milestones"
            )


DRAWING = Drawing(labels_only=True, check=_check)


def measure(artifact: Artifact, source: Source) -> Measured:
    """Î at every milestone of every member and seed, in the rows as `mutual_information_<draws>_step<step>`, the last
    one without step too, and `mutual_information_<draws>_collapsed` of two clusters; plotted: over seeds.

    What a probe must be: `drawing.check`.
    """
    from softlabels.metrics.information import collapsed

    rows: list[Row] = []
    values: dict[tuple[Any, ...], list[float]] = {}
    for family, probe in artifact.probes:
        assert isinstance(probe, Probe)
        classes = tuple(k for k in probe.classes or () if isinstance(k, int))
        limits = {draws: collapsed(2, probe.views - 1, draws) for draws in DRAWS}
        for member in artifact.family(family):
            rows += source.standard(artifact, member)
            for seed in member.seeds:
                tensors = source.probe(member, seed, probe)
                if tensors is None:
                    continue
                found = _over_steps(tensors, classes)
                for draws, value in limits.items():
                    name = f"mutual_information_{draws}_collapsed"
                    rows.append(source.row(artifact, member, seed, probe.split, "last", name, value))
                for (step, draws), value in found.items():
                    place = (selectors.title(member), selectors.alpha_of(member.run), draws, step)
                    values.setdefault((*place, len(tensors["labels"]), limits[draws]), []).append(value)
                    name = f"mutual_information_{draws}"
                    rows.append(source.row(artifact, member, seed, probe.split, "last", f"{name}_step{step}", value))
                    if step == max(s for s, _ in found):
                        rows.append(source.row(artifact, member, seed, probe.split, "last", name, value))
    points = [{**dict(zip(COLUMNS, place, strict=False)), **spread(v)} for place, v in values.items()]
    return Measured(tidy(rows), pd.DataFrame(points, columns=list(COLUMNS)))


def _over_steps(tensors: Arrays, classes: tuple[int, ...]) -> dict[tuple[int, Literal["reused", "fresh"]], float]:
    """(step, draws) → Î."""
    from softlabels.metrics.information import mutual_information

    found = {}
    for name, z in tensors.items():
        if step := re.fullmatch(r"logits/step(\d+)", name):
            y = z[:, :, classes[0]].astype(np.float64) - z[:, :, classes[1]]
            for draws in DRAWS:
                seen = y if draws == "fresh" else y[:, :-1]
                found[int(step[1]), draws] = mutual_information(seen, draws)
    return dict(sorted(found.items()))


def draw(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> Figure:
    """One panel, one column wide: a colour per α, a line style per reading, a band from min to max."""
    figure = style.new_figure(style.ONE_COLUMN, 3.3)
    axes = figure.subplots()
    axes.set(xlabel="training step", ylabel="mutual information (nats)")
    if plotted.empty:
        return figure
    axes.set_title(", ".join(dict.fromkeys(plotted["facet"])))
    for number, ((_, alpha), of_network) in enumerate(plotted.groupby(["facet", "alpha"], sort=False)):
        for draws, line in DRAWS.items():
            points = of_network[of_network["draws"] == draws].sort_values("step")
            look = {"ls": line, "lw": 1.2 if draws == "reused" else 1.6}
            label = f"{selectors.labels_name(alpha)}, {draws} draws"
            style.line_with_band(axes, points["step"], points, style.PALETTE[number], label=label, **look)
    examples = int(plotted["examples"].max())
    for count in (2, examples):
        style.limit_line(axes, np.log(count), f"log {count}")
    for draws, line in DRAWS.items():
        limit = float(plotted.loc[plotted["draws"] == draws, "collapsed"].iloc[0])
        axes.axhline(limit, color="0.35", ls=line, lw=0.8, zorder=0, label=f"two collapsed clusters, {draws} draws")
    axes.set_ylim(min(0.0, float(plotted["min"].min())), 1.1 * np.log(examples))
    style.legend_below(axes, handlelength=2.6)
    return figure


def remarks(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """What the lines are."""
    if plotted.empty:
        return []
    return [
        f"Lines: mean, bands: min to max, {style.seeds_label(plotted['n'])}. Fresh: y is a draw that did not enter its "
        "mean; reused: y is one of the draws of its mean (the paper does not say which). Two collapsed clusters: what "
        "the estimator gives for examples of two classes without any other information, which is not log 2."
    ]
