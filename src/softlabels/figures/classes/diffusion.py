"""Diffusion index η of students of a smoothed teacher (Chandrasegaran et al. 2022, Tables 3, B.4 and K.1).

Of a student trained at T1 and one at T2 that differ in nothing else, paired by seed, on the same images
(`metrics.diffusion`). η(S1) < 0 < η(S2) is what the paper calls systematic diffusion; under the normalisation the two
signs are nearly one condition (C-ETA), so the change of plain distances stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from softlabels.errors import SpecError
from softlabels.figures import selectors, style
from softlabels.figures.drawing import Drawing
from softlabels.figures.lazy import pd
from softlabels.figures.shown_classes import (
    ShownClass,
    check_probed,
    check_sets,
    check_shown_classes,
    choice_of,
    class_row,
    reference,
    sets_of,
)
from softlabels.figures.source import Measured, Row, Source, tidy
from softlabels.grid.declared.class_names import class_ids
from softlabels.grid.identity import run_id
from softlabels.grid.plan import Artifact, Member
from softlabels.grid.spec import Distill
from softlabels.metrics.class_sets import ClassSets

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from softlabels.metrics.diffusion import Activations
    from softlabels.metrics.probe_outputs import Featured

    Outputs = dict[str, Activations | Featured]
    """Split → activations of one student and seed."""


PREFIX = {"centroid": "eta", "pairwise": "eta_pairwise", "pairwise_unprojected": "eta_pairwise_unprojected"}
"""`options.distance` → how its metrics begin; they end in _similar (S1) and _dissimilar (S2)."""
SETS = {"similar": "S1", "dissimilar": "S2"}
PROBES = {"centroid": "class_means", "pairwise": "features", "pairwise_unprojected": "features"}
"""`options.distance` → what the students' probes hold."""


def temperatures_of(artifact: Artifact) -> tuple[float, float]:
    """T1 and T2 of `options.temperatures`; the paper's 1 and 3 without.

    Raises:
        SpecError: not two rising temperatures.
    """
    found = artifact.options.get("temperatures", (1, 3))
    fits = isinstance(found, list | tuple) and len(found) == 2 and all(isinstance(t, int | float) for t in found)
    if not fits or not 0 < found[0] < found[1]:
        raise SpecError(f"artifact {artifact.id}: options.temperatures must be two rising ones, as [1, 3]")
    return float(found[0]), float(found[1])


def distance_of(artifact: Artifact) -> str:
    """`options.distance`; of centroids without."""
    return str(artifact.options.get("distance", "centroid"))


def pairs_of(artifact: Artifact) -> list[tuple[Member, Member]]:
    """Students at T1, each with the one at T2 that differs in nothing else.

    Raises:
        SpecError: there is none, or one at T2 has no counterpart.
    """
    first, second = temperatures_of(artifact)
    by_run = {run_id(member.run): member for member in artifact.members}
    found = []
    for after in artifact.members:
        if isinstance(after.run.targets, Distill) and after.run.targets.temperature == second:
            before = by_run.get(run_id(replace(after.run, targets=replace(after.run.targets, temperature=first))))
            if before is None:
                raise SpecError(
                    f"artifact {artifact.id}: the student of {after.family} at T = {second:g} needs one at T = "
                    f"{first:g} that differs in nothing else; add {first:g} to its temperatures"
                )
            found.append((before, after))
    if not found:
        raise SpecError(f"artifact {artifact.id}: diffusion needs students (kind: distill) at T = {second:g}")
    return found


def _check(artifact: Artifact, where: str) -> None:
    check_shown_classes(artifact, where)
    if distance_of(artifact) not in PROBES:
        raise SpecError(f"{where} options.distance must be one of {', '.join(PROBES)}")
    check_sets(artifact, "sets", where)
    students = [member for pair in pairs_of(artifact) for member in pair]
    check_probed(students, artifact, PROBES[distance_of(artifact)], ("train", "held_out"), where)


DRAWING = Drawing(("classes", "sets", "temperatures", "distance", "compare_with"), reads_last=True, check=_check)


def measure(artifact: Artifact, source: Source) -> Measured:
    """η(S1) and η(S2) of every pair of students, seed, split and target class; plotted: beside the paper's."""
    from softlabels.papers.published import compare

    choice = choice_of(artifact, "sets")
    distances = reference(artifact, source, choice) if choice.by == "distance" else None
    prefix = PREFIX[distance_of(artifact)]
    rows: list[Row] = []
    sets: dict[ShownClass, ClassSets] = {}
    for before, after in pairs_of(artifact):
        for seed in after.seeds:
            first, second = (_outputs(artifact, source, member, seed) for member in (before, after))
            for split in (split for split in first if split in second):
                if not sets:
                    sets = sets_of(artifact, choice, _plain(first[split]).class_names, distances)
                for shown_class, chosen in sets.items():
                    found = _index(artifact, first, second, split, chosen)
                    rows += [
                        class_row(
                            source.row(artifact, after, seed, split, "last", f"{prefix}_{name}", value),
                            shown_class,
                            chosen.target,
                        )
                        for name, value in found.items()
                    ]
    frame = tidy(rows)
    shown = [(split, f"{prefix}_{name}") for split in ("train", "val", "test") for name in SETS]
    printed = {f"{prefix}_{name}": f"eta_pairwise_{name}" for name in SETS} if "unprojected" in prefix else None
    compared = compare(frame, artifact, printed, shown)
    return Measured(frame, _extra_columns(compared, frame, sets))


def _outputs(artifact: Artifact, source: Source, member: Member, seed: int) -> Outputs:
    """Activations of one student and seed on training and held-out images, as far as it is there."""
    from softlabels.metrics.probe_outputs import read_class_means, read_features

    what = PROBES[distance_of(artifact)]
    found: Outputs = {}
    for split in ("train", selectors.reported_on(member)):
        probe = selectors.probe_of(artifact, member.family, what, split)
        assert probe is not None  # checked when the plan was made
        read: Activations | Featured | None
        if what == "features":
            read = source.probe_outputs(member, seed, probe, read_features)
        else:
            read = source.probe_outputs(member, seed, probe, read_class_means)
        if read is not None:
            found[split] = read
    # Projections of held-out images are fitted on training ones.
    return found if "train" in found or what == "class_means" else {}


def _plain(read: Activations | Featured) -> Activations:
    from softlabels.metrics.probe_outputs import Featured

    return read.x if isinstance(read, Featured) else read


def _index(artifact: Artifact, first: Outputs, second: Outputs, split: str, sets: ClassSets) -> dict[str, float]:
    from softlabels.metrics.diffusion import centroid_distances, diffusion_index, pairwise_distances

    kind = distance_of(artifact)
    if kind != "pairwise":
        distance = centroid_distances if kind == "centroid" else pairwise_distances
        return diffusion_index(_plain(first[split]), _plain(second[split]), sets, distance)
    before, after = (_projected(outputs, split, sets) for outputs in (first, second))
    return diffusion_index(before, after, sets, pairwise_distances)


def _projected(outputs: Outputs, split: str, sets: ClassSets) -> Activations:
    """Activations of π, S1 and S2 in the plane of their templates, which are those of the student itself (C-PAIRS)."""
    from softlabels.metrics.geometry import span_pca
    from softlabels.metrics.probe_outputs import Featured

    train, shown = outputs["train"], outputs[split]
    assert isinstance(train, Featured)
    assert isinstance(shown, Featured)
    classes = [*class_ids((sets.target, *sets.classes), train.x.class_names, train.x.origin).values()]
    inside = pd.Series(train.x.labels).isin(classes).to_numpy()
    to_plane = span_pca(train.weight, train.bias, classes, train.x.features[inside], train.x.labels[inside])
    return replace(shown.x, features=to_plane(shown.x.features))


def _extra_columns(compared: pd.DataFrame, rows: pd.DataFrame, sets: Mapping[ShownClass, ClassSets]) -> pd.DataFrame:
    """The compared numbers with the change of plain distances, our class and the size of its set beside each."""
    from softlabels.metrics.rows import published_keys

    plain = rows[rows["metric"].str.contains("_unnormalised_")]
    names = [key["target_class"] for key in published_keys(plain)]
    plain = plain.assign(metric=plain["metric"].str.replace("_unnormalised", ""), target=names)
    plain = plain.astype({"target": str, "metric": str})  # also where there is no row
    key = ["run_id", "split", "metric", "target"]
    ours = {shown_class.name: chosen for shown_class, chosen in sets.items()}
    mean = plain.groupby(key, sort=False)["value"].agg(unnormalised="mean", unnormalised_std="std").reset_index()
    found = compared.assign(target=compared["target_class"].astype(str)).merge(mean, on=key, how="left")
    known = [ours.get(name) for name in found["target"]]
    found["our_class"] = [chosen.target if chosen else "" for chosen in known]
    found["set_size"] = [
        len(chosen.dissimilar if metric.endswith("dissimilar") else chosen.similar) if chosen else float("nan")
        for chosen, metric in zip(known, found["metric"], strict=True)
    ]
    found["target"] = pd.Categorical(found["target"], list(dict.fromkeys([*ours, *found["target"]])))
    found["training"] = found["split"] != "train"
    order = ["dataset", "student", "teacher_alpha", "target", "training", "split", "metric"]
    found = found.sort_values(order, kind="stable", ascending=[*[True] * 6, False], ignore_index=True)
    return found.drop(columns=["target", "training"])


def table(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Ours beside the paper's."""
    from softlabels.papers.published import printed_table

    return printed_table(plotted)


def draw(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> Figure:
    """Bars of η(S1) and η(S2) for each target class: a row of panels per student, training left, held-out right."""
    from softlabels.metrics.rows import replaces_class

    ours = plotted[plotted["n"] > 0]
    members = {run_id(after.run): after for _, after in pairs_of(artifact)}
    runs = list(dict.fromkeys(ours["run_id"])) or ["no student yet"]
    splits = ["train", *dict.fromkeys(selectors.reported_on(member) for member in members.values())]
    names = list(dict.fromkeys(ours["target_class"]))
    height = 0.75 + len(runs) * max(1.2, 0.26 * len(names) + 0.6)
    figure, part, panels = style.new_panels(
        style.TWO_COLUMNS, height, len(runs), len(splits), sharey=True, sharex="row"
    )
    for line, run in zip(panels, runs, strict=True):
        title = selectors.title(members[run]).replace("\n", " ") if run in members else run
        for axes, split in zip(line, splits, strict=True):
            selected = ours[(ours["run_id"] == run) & (ours["split"] == split)]
            _bars(axes, selected, names)
            axes.set_title(f"{title}\n{'training' if split == 'train' else 'held-out'} images ({split})")
            axes.axvline(0, lw=0.8, color="0.35")
    replaced = ours[ours["stands_for"].map(replaces_class).astype(bool)]
    stand_ins = dict(zip(replaced["target_class"], replaced["our_class"], strict=True))
    said = [f"{name} ({stand_ins[name]})" if name in stand_ins else str(name) for name in names]
    panels[0, 0].set_yticks(range(len(names)), [name.replace("_", " ") for name in said])
    if names:
        panels[0, 0].set_ylim(len(names) - 0.4, -0.6)
    for axes in panels[-1]:
        axes.set_xlabel("diffusion index η (%)")
    style.legend_of_panels(part, panels.flat)
    return figure


def _bars(axes: Axes, selected: pd.DataFrame, names: list[str]) -> None:
    for number, (kind, symbol) in enumerate(SETS.items()):
        cells = selected[selected["metric"].astype(str).str.endswith(f"_{kind}")]
        places = [names.index(name) + 0.36 * (number - 0.5) for name in cells["target_class"]]
        axes.barh(
            places, cells["mean"], height=0.34, color=(style.BLUE, style.ORANGE)[number], hatch=("", "////")[number],
            edgecolor="white", linewidth=0, xerr=cells["std"].fillna(0), error_kw={"lw": 0.8, "ecolor": "0.25"},
            label=f"η({symbol}), {kind} classes",
        )  # fmt: skip
        # Where a scale replaced the data set, the paper's number is of other images.
        own_data = ~cells["stands_for"].astype(str).str.contains("dataset=")
        printed = [(p, place) for p, place in zip(cells["published"].where(own_data), places, strict=True) if p == p]
        if printed:
            axes.plot(*zip(*printed, strict=True), "D", ms=3, mfc="none", mec="0.1", mew=0.8, label="published")


def remarks(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """What the numbers are, and how many pairs have the signs of systematic diffusion."""
    from softlabels.papers.published import READING

    ours = plotted[plotted["n"] > 0]
    if ours.empty:
        return []
    first, second = temperatures_of(artifact)
    kind = distance_of(artifact)
    what = {
        "centroid": "distances of centroids",
        "pairwise": "mean distances of pairs of images, projected by the templates of the classes concerned",
        "pairwise_unprojected": "mean distances of pairs of images",
    }[kind]
    said = [
        f"η: mean change in percent from T = {first:g} to {second:g} of {what}, relative to their sum over S1 ∪ S2 "
        f"(C-ETA); mean and std (n − 1) over {style.seeds_label(ours['n'])} (one seed for both students); S1 and S2: "
        f"{_sets_in_words(artifact)}, the same for all networks. Relative distances sum to 1, so that a fall on S1 "
        "forces a rise on S2; changes of plain distances (unnormalised) tell the two apart."
    ]
    for split in dict.fromkeys(ours["split"]):
        selected = ours[ours["split"] == split].assign(is_similar=~ours["metric"].str.endswith("_dissimilar"))
        wide = selected.pivot_table(
            index=["student", "run_id", "target_class"], columns="is_similar", values=["mean", "unnormalised"]
        ).dropna()
        if len(wide):
            both = (wide["mean", True] < 0) & (wide["mean", False] > 0)
            closer, apart = (wide["unnormalised", True] < 0), (wide["unnormalised", False] > 0)
            said.append(
                f"{split}: η(S1) < 0 < η(S2) for {both.sum()} of {len(wide)} student and target pairs; of plain "
                f"distances S1 comes closer for {closer.sum()}, S2 goes farther for {apart.sum()}, both for "
                f"{(closer & apart).sum()}."
            )
    if artifact.kind == "figure":
        return [*said, "Bars: mean, lines: ± std over seeds."]
    return [*said, READING]


def _sets_in_words(artifact: Artifact) -> str:
    choice = choice_of(artifact, "sets")
    return {
        "families": "the target's declared family and all other classes",
        "groups": f"the target's group in {choice.file} and all other groups",
        "distance": f"nearest {choice.nearest:g} % and farthest {choice.farthest:g} % by centroids of "
        f"{choice.reference} (its first seed)",
        "list": "as written out",
    }[choice.by]
