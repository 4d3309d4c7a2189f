"""BLEU, calibration and likelihood over the temperature of the softmax (Müller et al. 2019, Sec. 3 and Fig. 4).

T divides the logits of a trained translation network: in its beam search for BLEU, and where next tokens are scored
for ECE (first 10,000 tokens) and NLL (all tokens). A panel for each network with BLEU and ECE, and one of all with BLEU
and NLL. T is one of the probes' (`grid.parts.probes.Translations`); metrics end in `_T<T>`, and those at T = 1 are
there without it too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from softlabels.errors import SpecError
from softlabels.figures import selectors, style
from softlabels.figures.drawing import Drawing
from softlabels.figures.lazy import np, pd
from softlabels.figures.source import Measured, Row, Source, by_seed, spread, tidy
from softlabels.figures.translations import bleu_rows, decoding
from softlabels.grid.plan import Artifact, Member
from softlabels.metrics.bleu import signature_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


METRICS = {"bleu": "BLEU", "ece": "ECE", "nll": "NLL (nats per token)"}
COLOURS = {"bleu": style.BLUE, "ece": style.RED, "nll": style.GREEN}
STYLES = ("-", "--", "-.")
MARKERS = ("", "o", "s")
SPLITS = {"val": "validation", "test": "test"}
COLUMNS = ("line", "alpha", "split", "temperature", "metric", "mean", "min", "max", "std", "n")


def _check(artifact: Artifact, where: str) -> None:
    for member in artifact.members:
        split = selectors.reported_on(member)
        if len(selectors.over_temperature(artifact, member)) < 2:
            raise SpecError(
                f"{where} family {member.family} needs probes of what: translations and split: {split} at two or more "
                "temperatures"
            )


DRAWING = Drawing(labels_only=True, tasks=("translation",), check=_check)


def measure(artifact: Artifact, source: Source) -> Measured:
    """BLEU of every probe, ECE and NLL at its temperature, of every member and seed; plotted: over seeds."""
    rows, points = [], []
    for member in artifact.members:
        split = selectors.reported_on(member)
        probes = selectors.over_temperature(artifact, member)
        member_rows = [*source.standard(artifact, member), *_next_tokens(artifact, source, member, [*probes])]
        for t, probe in probes.items():
            member_rows += bleu_rows(artifact, source, member, [probe], _ending(t))
            for metric in METRICS:
                if values := by_seed(member_rows, split, metric + _ending(t)):
                    place = {
                        "line": selectors.line_name(member),
                        "alpha": selectors.alpha_of(member.run),
                        "split": split,
                    }
                    points.append({**place, "temperature": t, "metric": metric, **spread([*values.values()])})
        at_one = [r for r in member_rows if r["metric"] in METRICS and (r["split"], r["checkpoint"]) == (split, "last")]
        rows += member_rows + [row | {"metric": f"{row['metric']}_T1"} for row in at_one if 1 in probes]
    return Measured(tidy(rows), pd.DataFrame(points, columns=list(COLUMNS)).drop_duplicates(ignore_index=True))


def _next_tokens(artifact: Artifact, source: Source, member: Member, temperatures: list[float]) -> list[Row]:
    """ECE and NLL at every T but 1, which `standard` has, of every seed that is there."""
    from softlabels.metrics.tokens import scores

    rows: list[Row] = []
    split, others = selectors.reported_on(member), [t for t in temperatures if t != 1]
    for seed in member.seeds:
        file = source.tokens(member, seed)
        if file is None or f"{split}/last" not in file.features or not others:
            continue
        found = scores(file.features[f"{split}/last"], file.output["last"], file.labels[split], others)
        for t in others:
            for metric, value in (("ece", found.ece(t)), ("nll", float(found.nll[t].mean()))):
                rows.append(source.row(artifact, member, seed, split, "last", metric + _ending(t), value))
    return rows


def _ending(temperature: float) -> str:
    return "" if temperature == 1 else f"_T{temperature:g}"


def draw(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> Figure:
    """Panels side by side, two columns wide; BLEU on the left axes, ECE or NLL on the right ones, each on one scale."""
    networks = list(dict.fromkeys(plotted.sort_values("alpha")["line"]))
    if not networks:
        return style.new_figure(style.TWO_COLUMNS, 2.5)
    panels = [(name, [name], "ece") for name in networks] + [("together", networks, "nll")]
    figure, part, (every,) = style.new_panels(style.TWO_COLUMNS, 2.5, 1, len(panels), sharex=True, sharey=True)
    twins = [axes.twinx() for axes in every]
    shift = 0.006 * float(np.ptp(plotted["temperature"]))
    for axes, twin, (title, shown, metric) in zip(every, twins, panels, strict=True):
        for name in shown:
            number = networks.index(name)
            selected = plotted[plotted["line"] == name]
            for place, which in ((axes, "bleu"), (twin, metric)):
                label = f"{METRICS[which].split(' (')[0]}, {name}"
                _draw_line(place, selected[selected["metric"] == which], which, number, shift, label)
        axes.set_title(title)
        axes.set_xlabel("softmax temperature T")
        axes.axvline(1, color=style.GREY, lw=0.6, ls=":", zorder=0)
        for place, which in ((axes, "bleu"), (twin, metric)):
            place.tick_params(axis="y", colors=COLOURS[which])
        twin.spines["right"].set_visible(True)
        twin.set_ylabel(METRICS[metric], color=COLOURS[metric])
    errors = plotted[plotted["metric"] == "ece"]
    for twin in twins[:-1]:
        if len(errors):
            twin.set_ylim(0, 1.08 * errors["max"].max())
    every[0].set_ylabel(METRICS["bleu"], color=COLOURS["bleu"])
    style.legend_of_panels(part, [axes for pair in zip(every, twins, strict=True) for axes in pair], 3)
    return figure


def _draw_line(axes: Axes, points: pd.DataFrame, metric: str, number: int, shift: float, label: str) -> None:
    """Mean over T with bars from min to max; colour: what is measured, line and marker: which network.

    Moved by `shift` in T per network and kind, so that bars of equal T do not hide each other.
    """
    points = points.sort_values("temperature")
    look: dict[str, Any] = {"color": COLOURS[metric], "ls": STYLES[number % 3], "marker": MARKERS[number % 3]}
    x = points["temperature"] + shift * (2 * number + (metric == "bleu") - 1)
    if len(points):
        style.error_bars(axes, x, points, label=label, **look)


def remarks(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """What the lines are."""
    from softlabels.metrics.tokens import ECE_TOKENS

    if plotted.empty:
        return []
    splits = " or ".join(SPLITS[name] for name in dict.fromkeys(plotted["split"]))
    probes = [p for m in artifact.members for p in selectors.over_temperature(artifact, m).values()]
    return [
        f"Last checkpoint, {splits} split; mean, bars: min to max, {style.seeds_label(plotted['n'])}. BLEU: "
        f"{decoding(probes)}, logits divided by T at each step. ECE (15 bins, first {ECE_TOKENS:,} tokens) and NLL "
        "(all tokens): next tokens from the right prefix, ends of sentences counted.",
        signature_line(("bleu",)),
    ]
