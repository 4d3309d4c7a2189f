"""A teacher's mean probabilities for the images of a class (Chandrasegaran et al. 2022, Fig. 2, numbers of App. E).

Mean softmax at several T over the training images of a target class: p₁ of the class itself, p₂ of the class that is
second (at T = 1), and the tail, of which App. E counts the classes of at most p₂/100.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from softlabels.errors import SpecError
from softlabels.figures import selectors, style
from softlabels.figures.drawing import Drawing, check_temperatures, temperatures_of
from softlabels.figures.lazy import np, pd
from softlabels.figures.shown_classes import (
    ShownClass,
    check_classes,
    check_probed,
    check_shown_classes,
    class_row,
    label_of,
    shown_classes,
)
from softlabels.figures.source import Measured, Row, Source, spread, tidy
from softlabels.grid.declared.class_names import labels
from softlabels.grid.identity import run_id
from softlabels.grid.plan import Artifact, Member

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from softlabels.metrics.arrays import Floats
    from softlabels.metrics.probe_outputs import Logits

    Found = tuple[int, tuple[str, ...], dict[float, Floats]]
    """Label of the target, names of the classes, T → mean probabilities `[K]`."""


COUNT = "n_classes_100x_below_second"
PLOTTED = (
    "run_id", "target_class", "our_class", "stands_for", "temperature", "rank", "class",
    "mean", "min", "max", "std", "n",
)  # fmt: skip
MARKED = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
"""Ranks that are marked on a line and written below it."""
LOOKS = ({"marker": "o"}, {"marker": "s"}, {"marker": "^"}, {"marker": "D"})


def _check(artifact: Artifact, where: str) -> None:
    check_shown_classes(artifact, where)
    check_temperatures(artifact, where)
    names = {shown_class.name for shown_class in shown_classes(artifact)}
    for name, classes in artifact.options.get("similar", {}).items():
        if name not in names:
            raise SpecError(
                f"{where} options.similar: {name} is not one of options.classes; they are {', '.join(sorted(names))}"
            )
        check_classes(classes, artifact, f"{where} options.similar.{name}")
    check_probed(artifact.members, artifact, "logits", ("train",), where)


DRAWING = Drawing(
    ("classes", "temperatures", "similar", "compare_with"), labels_only=True, reads_last=True, check=_check
)


def measure(artifact: Artifact, source: Source) -> Measured:
    """p₁, p₂ and the count of every teacher, seed, target class and T; where `options.similar` lists the classes that
    are like a target, the largest probability of these and of the others (`p_largest_similar`, `p_largest_other`).

    Plotted: of a figure the mean probability of every class, ranked by that at the lowest T; of a table the counts
    beside the paper's, with p₁ and p₂.
    """
    from softlabels.metrics.probe_outputs import read_logits
    from softlabels.papers.published import compare

    rows: list[Row] = []
    curves: list[dict[str, Any]] = []
    for member in artifact.members:
        probe = selectors.probe_of(artifact, member.family, "logits", "train")
        assert probe is not None  # checked when the plan was made
        by_seed = {seed: source.probe_outputs(member, seed, probe, read_logits) for seed in member.seeds}
        for shown_class in shown_classes(artifact):
            found = {s: _mean(artifact, shown_class, logits) for s, logits in by_seed.items() if logits is not None}
            for seed, (label, names, means) in found.items():
                rows += _rows(artifact, source, member, seed, shown_class, label, names, means)
            if found and artifact.kind == "figure":
                curves += _curves(artifact, member, shown_class, [*found.values()], rows[-1])
    frame = tidy(rows)
    if artifact.kind == "figure":
        return Measured(frame, pd.DataFrame(curves, columns=list(PLOTTED)))
    return Measured(frame, _extra_columns(compare(frame, artifact, otherwise=[("train", COUNT)]), frame))


def _mean(artifact: Artifact, shown_class: ShownClass, logits: Logits) -> Found:
    from softlabels.metrics.soft_targets import mean_targets

    label = label_of(artifact, shown_class, logits.class_names)
    temperatures = temperatures_of(artifact)
    means = mean_targets(logits.z[logits.labels == label], temperatures)
    return label, logits.class_names, dict(zip(temperatures, means, strict=True))


def _rows(
    artifact: Artifact,
    source: Source,
    member: Member,
    seed: int,
    shown_class: ShownClass,
    label: int,
    names: tuple[str, ...],
    means: dict[float, Floats],
) -> list[Row]:
    """One seed's numbers; `kd_temperature` is empty at T = 1, the network as it is, as in the published table."""
    from softlabels.metrics.soft_targets import insignificant_classes

    rows = []
    for t, p in means.items():
        others = np.delete(p, label)
        values = {"p_target": p[label], "p_second": others.max(), COUNT: insignificant_classes(p, label)}
        if shown_class.name in (similar := artifact.options.get("similar", {})):
            group = labels(similar[shown_class.name], names, f"artifact {artifact.id}")
            other = np.delete(p, [label, *group])
            values |= {"p_largest_similar": p[[k for k in group if k != label]].max(), "p_largest_other": other.max()}
        for metric, value in values.items():
            row = source.row(artifact, member, seed, "train", "last", metric, float(value))
            row = class_row(row, shown_class, names[label])
            rows.append(row | {"kd_temperature": "" if t == 1 else f"{t:g}"})
    return rows


def _curves(
    artifact: Artifact, member: Member, shown_class: ShownClass, found: list[Found], like: Row
) -> list[dict[str, Any]]:
    """The mean probability of every class over seeds: rank 0 is the target, the others follow by that at the lowest T.

    Ranked by the mean over seeds, so that a rank is one class at every T.
    """
    label, names, first = found[0]
    lowest = min(first)
    of_lowest = np.mean([means[lowest] for _, _, means in found], axis=0)
    ranked = [label, *(k for k in np.argsort(-of_lowest, kind="stable") if k != label)]
    about = {
        "run_id": run_id(member.run), "target_class": shown_class.name, "our_class": names[label],
        "stands_for": like["stands_for"],
    }  # fmt: skip
    return [
        {**about, "temperature": t, "rank": rank, "class": names[k]}
        | spread([float(means[t][k]) for _, _, means in found])
        for t in first
        for rank, k in enumerate(ranked)
    ]


def _extra_columns(compared: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The compared counts with the means of p₁ and p₂ beside them."""
    from softlabels.metrics.rows import published_keys

    known = rows.assign(target_class=[key["target_class"] for key in published_keys(rows)])
    known = known.astype({"target_class": str, "run_id": str})  # also where there is no row
    known["kd_temperature"] = pd.to_numeric(known["kd_temperature"], errors="coerce")
    place = ["run_id", "target_class", "kd_temperature"]
    for metric in ("p_target", "p_second"):
        mean = known[known["metric"] == metric].groupby(place, dropna=False)["value"].mean()
        compared = compared.merge(mean.rename(metric).reset_index(), on=place, how="left")
    return compared


def table(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Ours beside the paper's."""
    from softlabels.papers.published import printed_table

    return printed_table(plotted)


def draw(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> Figure:
    """A panel for each target class, a row of them for each teacher; a line for each T, on logarithmic axes."""
    from matplotlib.ticker import NullLocator

    runs = [run_id(member.run) for member in artifact.members]
    members = {run_id(member.run): member for member in artifact.members}
    shown = [run for run in runs if run in set(plotted["run_id"])] or runs[:1]
    targets = shown_classes(artifact)
    height = 0.6 + 1.9 * len(shown)
    figure, part, panels = style.new_panels(
        style.TWO_COLUMNS, height, len(shown), len(targets), sharex=True, sharey=True
    )
    for line, run in zip(panels, shown, strict=True):
        for axes, shown_class in zip(line, targets, strict=True):
            selected = plotted[(plotted["run_id"] == run) & (plotted["target_class"] == shown_class.name)]
            for number, (t, points) in enumerate(selected.groupby("temperature")):
                look = {**LOOKS[number % len(LOOKS)], "ms": 2.5, "lw": 0.9, "label": f"T = {t:g}"}
                style.line_with_band(
                    axes, points["rank"] + 1, points, style.PALETTE[number % len(style.PALETTE)], **look
                )
            axes.set(xscale="log", yscale="log")
            axes.set_title(_said(shown_class, selected), fontsize=7)
            if len(selected):
                lowest = selected[selected["temperature"] == selected["temperature"].min()].set_index("rank")["mean"]
                axes.axhline(lowest[1] / 100, lw=0.8, ls="--", color="0.35", label="p₂/100 at the lowest T")
                ticks = [k for k in MARKED if k <= len(lowest)]
                axes.set_xticks(ticks, [str(k) for k in ticks])
                axes.xaxis.set_minor_locator(NullLocator())
        line[0].set_ylabel(f"{selectors.line_name(members[run])}\nmean probability")
    for axes in panels[-1]:
        axes.set_xlabel("rank of the class")
    style.legend_of_panels(part, panels.flat)
    return figure


def _said(shown_class: ShownClass, selected: pd.DataFrame) -> str:
    """The target class, what stands for it, and the class that is second."""
    from softlabels.metrics.rows import replaces_class

    if selected.empty:
        return shown_class.name.replace("_", " ")
    first = selected.iloc[0]
    stand_in = f" ({first['our_class']})" if replaces_class(first["stands_for"]) else ""
    second = selected[selected["rank"] == 1].iloc[0]["class"]
    return f"{shown_class.name}{stand_in}\nsecond: {second}".replace("_", " ")


def remarks(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """What the numbers are."""
    from softlabels.papers.published import READING

    if artifact.kind == "table":
        return [
            f"{COUNT}: of the other classes those of at most p₂/100; p_second (p₂): the largest mean probability of "
            f"another class over the training images of target_class, p_target that of itself (C-100X); at T = 1 "
            f"unless kd_temperature says otherwise. {READING}"
        ]
    if plotted.empty:
        return []
    said = [
        "Mean softmax at T over the training images of a class. Rank 1: the class itself; the others in the order of "
        f"their probability at the lowest T. Lines: mean, bands: min to max, {style.seeds_label(plotted['n'])}."
    ]
    counts = rows[rows["metric"] == COUNT].assign(t=rows["kd_temperature"].fillna(1.0))
    told = [
        f"{name}: " + ", ".join(f"{group.mean():.4g} at T = {t:g}" for t, group in of_class.groupby("t")["value"])
        for name, of_class in counts.groupby("target_class", sort=False)
    ]
    return [*said, f"Classes of at most p₂/100 (p₂ at that T): {'; '.join(told)}."]
