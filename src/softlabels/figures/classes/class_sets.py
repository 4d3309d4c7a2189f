"""Do two ways to choose S1 and S2 agree? (Chandrasegaran et al. 2022, App. G, Table G.1.)

Method 1 is a table of groups, method 2 takes the nearest and the farthest classes by centroids of one network. The
consistency is the share of method 1's classes that method 2 has too.
"""

from __future__ import annotations

from typing import Any

from softlabels.errors import SpecError
from softlabels.figures.drawing import Drawing
from softlabels.figures.lazy import pd
from softlabels.figures.shown_classes import (
    ShownClass,
    check_sets,
    check_shown_classes,
    choice_of,
    class_row,
    reference,
    reference_of,
    sets_of,
)
from softlabels.figures.source import Measured, Row, Source, tidy
from softlabels.grid.plan import Artifact
from softlabels.metrics.class_sets import ClassSets, consistency

METRICS = ("consistency_similar", "consistency_dissimilar")
NAMED = 10
"""So many classes of a set are named in the table; of larger ones their number."""


def _check(artifact: Artifact, where: str) -> None:
    check_shown_classes(artifact, where)
    for option in ("method_1", "method_2"):
        check_sets(artifact, option, where)
    choice = choice_of(artifact, "method_2")
    if choice.by != "distance":
        raise SpecError(f"{where} options.method_2.by must be distance: sets of the paper's method 2")
    reference, _ = reference_of(artifact, choice)
    if others := [member.family for member in artifact.members if member != reference]:
        raise SpecError(f"{where} class_sets shows the reference network alone; take {others[0]} out of families")


DRAWING = Drawing(("classes", "method_1", "method_2", "compare_with"), labels_only=True, check=_check)


def measure(artifact: Artifact, source: Source) -> Measured:
    """The consistency of S1 and of S2, of every target and seed of the reference network, and the mean over targets."""
    from softlabels.papers.published import compare

    first, second = (choice_of(artifact, option) for option in ("method_1", "method_2"))
    member, probe = reference_of(artifact, second)
    rows: list[Row] = []
    sets: dict[ShownClass, tuple[ClassSets, ClassSets]] = {}
    for seed in member.seeds:
        distances = reference(artifact, source, second, seed)
        if distances is None:
            continue
        ours, theirs = (sets_of(artifact, c, distances.class_names, distances) for c in (first, second))
        found = {shown_class: consistency(ours[shown_class], theirs[shown_class]) for shown_class in ours}
        for shown_class, values in found.items():
            sets.setdefault(shown_class, (ours[shown_class], theirs[shown_class]))
            for metric, value in zip(METRICS, values, strict=True):
                name = ours[shown_class].target
                row = source.row(artifact, member, seed, probe.split, "last", metric, value)
                rows.append(class_row(row, shown_class, name))
        for metric, of_targets in zip(METRICS, zip(*found.values(), strict=True), strict=True):
            mean = sum(of_targets) / len(of_targets)
            rows.append(source.row(artifact, member, seed, probe.split, "last", metric, mean))
    frame = tidy(rows)
    shown = [(probe.split, metric) for metric in METRICS]
    return Measured(frame, _with_sets(compare(frame, artifact, otherwise=shown), sets))


def _with_sets(compared: pd.DataFrame, sets: dict[ShownClass, tuple[ClassSets, ClassSets]]) -> pd.DataFrame:
    """The compared numbers with the classes of both methods beside them; the mean over targets last."""
    by_name = {shown_class.name: both for shown_class, both in sets.items()}
    cells: list[dict[str, Any]] = []
    for name, metric in zip(compared["target_class"], compared["metric"], strict=True):
        both = by_name.get(name)
        members = [] if both is None else [s.similar if metric == METRICS[0] else s.dissimilar for s in both]
        said = [", ".join(m) if len(m) <= NAMED else f"{len(m)} classes" for m in members] or ["", ""]
        cells.append({"our_class": both[0].target if both else "", "method_1": said[0], "method_2": said[1]})
    table = pd.concat([compared, pd.DataFrame(cells, columns=["our_class", "method_1", "method_2"])], axis=1)
    place = {name: number for number, name in enumerate(by_name)}
    order = [(place.get(n, len(place)) if n else len(table) + 1, METRICS.index(m) if m in METRICS else 2)
             for n, m in zip(table["target_class"], table["metric"], strict=True)]  # fmt: skip
    ranked = sorted(range(len(table)), key=lambda i: order[i])
    return table.iloc[ranked].reset_index(drop=True)


def table(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Ours beside the paper's."""
    from softlabels.papers.published import printed_table

    return printed_table(plotted)


def remarks(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """What the numbers are."""
    from softlabels.papers.published import READING

    choice = choice_of(artifact, "method_2")
    seed = f" of seed {int(rows['seed'].min())}" if len(rows) and rows["seed"].nunique() > 1 else ""
    return [
        "Share of method 1's classes (S1 in rows of consistency_similar, S2 in rows of consistency_dissimilar) that "
        f"method 2 has too: the nearest {choice.nearest:g} % and the farthest {choice.farthest:g} % of the other "
        f"classes, by class means of {choice.reference}. method_2 shows the classes{seed}. The paper lists no set, so "
        f"a difference may be one of the sets (C-SETS). Rows without target_class: mean over targets. {READING}"
    ]
