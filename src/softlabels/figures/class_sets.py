"""Do two ways to choose S1 and S2 agree? (Chandrasegaran et al. 2022, App. G, Table G.1.)

Method 1 is a table of groups, method 2 takes the nearest and the farthest classes by centroids of one network. The
consistency is the share of method 1's classes that method 2 has too.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from softlabels.figures.chosen_sets import class_row, reference, sets_of
from softlabels.figures.declared.sets import choice_of, reference_of
from softlabels.figures.declared.targets import Target
from softlabels.figures.source import Measured, Row, Source, tidy
from softlabels.grid.plan import Artifact
from softlabels.metrics.class_sets import ClassSets, consistency
from softlabels.papers.published import READING, compare, printed_table

METRICS = ("consistency_similar", "consistency_dissimilar")
NAMED = 10
"""So many classes of a set are named in the table; of larger ones their number."""


def measure(artifact: Artifact, source: Source) -> Measured:
    """The consistency of S1 and of S2, of every target and seed of the reference network, and the mean over targets."""
    first, second = (choice_of(artifact, option) for option in ("method_1", "method_2"))
    member, probe = reference_of(artifact, second)
    rows: list[Row] = []
    sets: dict[Target, tuple[ClassSets, ClassSets]] = {}
    for seed in member.seeds:
        distances = reference(artifact, source, second, seed)
        if distances is None:
            continue
        ours, theirs = (sets_of(artifact, c, distances.class_names, distances) for c in (first, second))
        found = {target: consistency(ours[target], theirs[target]) for target in ours}
        for target, values in found.items():
            sets.setdefault(target, (ours[target], theirs[target]))
            for metric, value in zip(METRICS, values, strict=True):
                name = ours[target].target
                row = source.row(artifact, member, seed, probe.split, "last", metric, value)
                rows.append(class_row(row, target, name))
        for metric, of_targets in zip(METRICS, zip(*found.values(), strict=True), strict=True):
            mean = sum(of_targets) / len(of_targets)
            rows.append(source.row(artifact, member, seed, probe.split, "last", metric, mean))
    frame = tidy(rows)
    shown = [(probe.split, metric) for metric in METRICS]
    return Measured(frame, _with_sets(compare(frame, artifact, otherwise=shown), sets))


def _with_sets(compared: pd.DataFrame, sets: dict[Target, tuple[ClassSets, ClassSets]]) -> pd.DataFrame:
    """The compared numbers with the classes of both methods beside them; the mean over targets last."""
    by_name = {target.name: both for target, both in sets.items()}
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
    return printed_table(plotted)


def remarks(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """What the numbers are."""
    choice = choice_of(artifact, "method_2")
    seed = f" of seed {int(rows['seed'].min())}" if len(rows) and rows["seed"].nunique() > 1 else ""
    return [
        "Share of method 1's classes (S1 in rows of consistency_similar, S2 in rows of consistency_dissimilar) that "
        f"method 2 has too: the nearest {choice.nearest:g} % and the farthest {choice.farthest:g} % of the other "
        f"classes, by class means of {choice.reference}. method_2 shows the classes{seed}. The paper lists no set, so "
        f"a difference may be one of the sets (C-SETS). Rows without target_class: mean over targets. {READING}"
    ]
