"""Reliability diagrams (Müller et al. 2019, Sec. 3, Fig. 2 and 3).

Accuracy against mean confidence in 15 equal bins, for a network trained on hard labels, the same with its
logits divided by a temperature T tuned on the validation split (likelihood), and networks trained with smoothed labels.
Scored on the split that the paper reports on (`selectors.reported_on`); a translation network on its first 10,000
tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from softlabels.figures import selectors, style
from softlabels.figures.drawing import ANY, Drawing
from softlabels.figures.lazy import np, pd
from softlabels.figures.source import Measured, Source, spread, tidy
from softlabels.grid.plan import Artifact, Member
from softlabels.grid.spec import TranslationSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


BINS = 15
SCALED = "hard labels, tuned T"
SPLITS = {"val": "validation split", "test": "test split"}
SMOOTH_COLOURS = (style.GREEN, style.ORANGE, style.PURPLE)
COLUMNS = (
    "facet", "split", "line", "bin", "lower", "upper", "count", "share", "confidence", "accuracy",
    "ece_mean", "ece_std", "temperature", "n",
)  # fmt: skip


DRAWING = Drawing(labels_only=True, tasks=ANY)


def measure(artifact: Artifact, source: Source) -> Measured:
    """ECE of every line and seed, overconfident_share and confidence_gap (`_confidence`) at T = 1; plotted: the split
    reported on, last checkpoint, bins pooled over seeds."""
    rows, tables = [], []
    for facet, members in selectors.facets(artifact.members).items():
        for member in members:
            rows += source.standard(artifact, member)
            name, split = selectors.line_name(member), selectors.reported_on(member)
            for line, per_seed in _lines(source, member).items():
                tables.append(_pooled(facet, line, per_seed).assign(split=split)[list(COLUMNS)])
                if line == name and line != SCALED:
                    for seed, (bins, _, _) in per_seed.items():
                        rows += [
                            source.row(artifact, member, seed, split, "last", *found) for found in _confidence(bins)
                        ]
                if line == SCALED:
                    for seed, (_, error, t) in per_seed.items():
                        for metric, value in (("ece", error), ("calibration_temperature", t)):
                            row = source.row(artifact, member, seed, split, "last", metric, value)
                            rows.append(row | {"method": "temp_scaling"})
    plotted = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(COLUMNS))
    return Measured(tidy(rows), plotted)


def _lines(source: Source, member: Member) -> dict[str, dict[int, tuple[pd.DataFrame, float, float]]]:
    """Line → seed → (reliability table, ECE, T)."""
    from softlabels.metrics.calibration import ece_of_table

    name, split = selectors.line_name(member), selectors.reported_on(member)
    lines: dict[str, dict[int, tuple[pd.DataFrame, float, float]]] = {}
    for seed in member.seeds:
        found = source.predictions(member, seed)
        if found is None or split not in found.splits:
            continue
        chosen = {name: 1.0}
        if selectors.alpha_of(member.run) == 0 and "last" in found.checkpoints:  # the test split tunes nothing
            chosen[SCALED] = found.fit("last", "nll", BINS)
        for line, t in chosen.items():
            table = found.reliability(split, "last", t, BINS)
            lines.setdefault(line, {})[seed] = (table, ece_of_table(table), t)
    return lines


def _confidence(bins: pd.DataFrame) -> list[tuple[str, float]]:
    """Of a reliability table the share of examples in bins of less accuracy than confidence, and mean confidence minus
    accuracy (Müller Sec. 3)."""
    filled = bins[bins["count"] > 0]
    share = filled["count"] / filled["count"].sum()
    below = float(share[filled["accuracy"] < filled["confidence"]].sum())
    gap = float((share * (filled["confidence"] - filled["accuracy"])).sum())
    return [("overconfident_share", below), ("confidence_gap", gap)]


def _pooled(facet: str, line: str, per_seed: dict[int, tuple[pd.DataFrame, float, float]]) -> pd.DataFrame:
    """One table for all seeds: each bin holds the examples of every seed."""
    tables = [table for table, _, _ in per_seed.values()]
    pooled = tables[0][["bin", "lower", "upper"]].copy()
    count = np.sum([table["count"] for table in tables], axis=0)
    pooled["count"], pooled["share"] = count, count / count.sum()
    for name in ("confidence", "accuracy"):
        total = np.sum([(table[name] * table["count"]).fillna(0) for table in tables], axis=0)
        pooled[name] = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
    errors = spread([error for _, error, _ in per_seed.values()])
    said = {"ece_mean": errors["mean"], "ece_std": errors["std"], "n": errors["n"]}
    mean_t = float(np.mean([t for _, _, t in per_seed.values()]))
    return pooled.assign(facet=facet, line=line, temperature=mean_t, **said)


def draw(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> Figure:
    """A column of panels per data set and network: reliability above, share of the examples below."""
    facets = list(dict.fromkeys(plotted["facet"]))
    figure = style.new_figure(style.TWO_COLUMNS if len(facets) > 1 else style.ONE_COLUMN, 4.6)
    panels = figure.subplots(2, max(len(facets), 1), height_ratios=[4.6, 1], sharex=True, squeeze=False)
    for column, facet in enumerate(facets):
        above, below = panels[:, column]
        above.plot([0, 1], [0, 1], "--", color=style.GREY, lw=0.8, zorder=0)
        smooth = 0
        for line in dict.fromkeys(plotted[plotted["facet"] == facet]["line"]):
            bins = plotted[(plotted["facet"] == facet) & (plotted["line"] == line)]
            look: dict[str, Any] = {"color": style.BLUE}
            if line == SCALED:
                look |= {"marker": "x", "markersize": 5}
            elif line != "hard labels":
                look |= {"color": SMOOTH_COLOURS[smooth % 3]}
                smooth += 1
            _draw_line(above, below, bins, line, look)
        selected = plotted[plotted["facet"] == facet]
        said = f"{SPLITS[selected['split'].iloc[0]]}, {style.seeds_label(selected['n'])}"
        above.set(title=f"{facet}\n{said}", xlim=(0, 1), ylim=(-0.02, 1.02))
        below.set(xlabel="confidence", ylim=(0, None))
        style.legend_below(below, of=above)
    panels[0, 0].set_ylabel("accuracy in bin")
    panels[1, 0].set_ylabel("tokens (%)" if _translates(artifact) else "examples (%)")
    return figure


def _translates(artifact: Artifact) -> bool:
    return any(isinstance(member.run, TranslationSpec) for member in artifact.members)


def _draw_line(above: Axes, below: Axes, bins: pd.DataFrame, line: str, look: dict[str, Any]) -> None:
    error, t = bins["ece_mean"].iloc[0], bins["temperature"].iloc[0]
    label = line.replace("tuned T", f"T = {t:.2f}") + f": ECE {error:.3f}"
    filled = bins[bins["count"] > 0]
    above.plot(filled["confidence"], filled["accuracy"], label=label, **look)
    edges = [*bins["lower"], bins["upper"].iloc[-1]]
    below.stairs(100 * bins["share"], edges, color=look["color"], lw=1, linestyle=":" if line == SCALED else "-")


def remarks(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """What the bins and the numbers are."""
    from softlabels.metrics.tokens import ECE_TOKENS

    if plotted.empty:
        return []
    tokens = (
        f" Next-token predictions from the right prefix on the first {ECE_TOKENS:,} tokens of the split (ends of "
        "sentences counted), which also tune T."
    )
    return [
        f"Last checkpoint, {BINS} bins pooled over seeds, on the split named above (where the paper reports on an "
        "official validation set, that is our test split); ECE and T: mean over seeds. T minimises the likelihood "
        "loss on our validation split, whatever is drawn. Below: share of the examples in each bin "
        "(dotted: tuned T)." + tokens * _translates(artifact)
    ]
