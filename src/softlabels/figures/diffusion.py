"""Diffusion index η of students of a smoothed teacher (Chandrasegaran et al. 2022, Tables 3, B.4 and K.1).

Of a student trained at T1 and one at T2 that differ in nothing else, paired by seed, asked about the same images
(`metrics.diffusion`). η(S1) < 0 < η(S2) is what the paper calls systematic diffusion; under the normalisation the two
signs are nearly one condition (C-ETA), so the change of plain distances stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from softlabels.figures import roles
from softlabels.figures.chosen_sets import class_row, reference, sets_of
from softlabels.figures.declared.diffusion import PROBES, distance_of, pairs_of, temperatures_of
from softlabels.figures.declared.sets import choice_of
from softlabels.figures.declared.targets import Target, probe_of
from softlabels.figures.source import Measured, Row, Source, tidy
from softlabels.figures.style import BLUE, ORANGE, TWO_COLUMNS, new_figure, seeds_label
from softlabels.grid.class_names import class_ids
from softlabels.grid.identity import run_id
from softlabels.grid.plan import Artifact, Member
from softlabels.metrics.answers import Featured, read_class_means, read_features
from softlabels.metrics.class_sets import ClassSets
from softlabels.metrics.diffusion import Activations, centroid_distances, diffusion_index, pairwise_distances
from softlabels.metrics.geometry import span_pca
from softlabels.metrics.rows import published_keys, replaces_class
from softlabels.papers.published import READING, compare, printed_table

PREFIX = {"centroid": "eta", "pairwise": "eta_pairwise", "pairwise_unprojected": "eta_pairwise_unprojected"}
"""`options.distance` → how its metrics begin; they end in _similar (S1) and _dissimilar (S2)."""
SETS = {"similar": "S1", "dissimilar": "S2"}
Asked = dict[str, Activations | Featured]
"""Split → activations of one student and seed."""


def measure(artifact: Artifact, source: Source) -> Measured:
    """η(S1) and η(S2) of every pair of students, seed, split and target class; plotted: beside the paper's."""
    choice = choice_of(artifact, "sets")
    distances = reference(artifact, source, choice) if choice.by == "distance" else None
    prefix = PREFIX[distance_of(artifact)]
    rows: list[Row] = []
    sets: dict[Target, ClassSets] = {}
    for before, after in pairs_of(artifact):
        for seed in after.seeds:
            first, second = (_asked(artifact, source, member, seed) for member in (before, after))
            for split in (split for split in first if split in second):
                if not sets:
                    sets = sets_of(artifact, choice, _plain(first[split]).class_names, distances)
                for target, chosen in sets.items():
                    found = _index(artifact, first, second, split, chosen)
                    rows += [
                        class_row(
                            source.row(artifact, after, seed, split, "last", f"{prefix}_{name}", value),
                            target,
                            chosen.target,
                        )
                        for name, value in found.items()
                    ]
    frame = tidy(rows)
    shown = [(split, f"{prefix}_{name}") for split in ("train", "val", "test") for name in SETS]
    printed = {f"{prefix}_{name}": f"eta_pairwise_{name}" for name in SETS} if "unprojected" in prefix else None
    compared = compare(frame, artifact, printed, shown)
    return Measured(frame, _beside(compared, frame, sets))


def _asked(artifact: Artifact, source: Source, member: Member, seed: int) -> Asked:
    """What one student and seed says about training and held-out images, as far as it is there."""
    what = PROBES[distance_of(artifact)]
    found: Asked = {}
    for split in ("train", roles.reported_on(member)):
        probe = probe_of(artifact, member.family, what, split)
        assert probe is not None  # checked when the plan was made
        read: Activations | Featured | None
        if what == "features":
            read = source.answers(member, seed, probe, read_features)
        else:
            read = source.answers(member, seed, probe, read_class_means)
        if read is not None:
            found[split] = read
    # Projections of held-out images are fitted on training ones.
    return found if "train" in found or what == "class_means" else {}


def _plain(read: Activations | Featured) -> Activations:
    return read.x if isinstance(read, Featured) else read


def _index(artifact: Artifact, first: Asked, second: Asked, split: str, sets: ClassSets) -> dict[str, float]:
    kind = distance_of(artifact)
    if kind != "pairwise":
        distance = centroid_distances if kind == "centroid" else pairwise_distances
        return diffusion_index(_plain(first[split]), _plain(second[split]), sets, distance)
    before, after = (_projected(asked, split, sets) for asked in (first, second))
    return diffusion_index(before, after, sets, pairwise_distances)


def _projected(asked: Asked, split: str, sets: ClassSets) -> Activations:
    """Activations of π, S1 and S2 in the plane of their templates, which are those of the student itself (C-PAIRS)."""
    train, shown = asked["train"], asked[split]
    assert isinstance(train, Featured)
    assert isinstance(shown, Featured)
    classes = [*class_ids((sets.target, *sets.classes), train.x.class_names, train.x.origin).values()]
    inside = pd.Series(train.x.labels).isin(classes).to_numpy()
    to_plane = span_pca(train.weight, train.bias, classes, train.x.features[inside], train.x.labels[inside])
    return replace(shown.x, features=to_plane(shown.x.features))


def _beside(compared: pd.DataFrame, rows: pd.DataFrame, sets: Mapping[Target, ClassSets]) -> pd.DataFrame:
    """The compared numbers with the change of plain distances, our class and the size of its set beside each."""
    plain = rows[rows["metric"].str.contains("_unnormalised_")]
    names = [key["target_class"] for key in published_keys(plain)]
    plain = plain.assign(metric=plain["metric"].str.replace("_unnormalised", ""), target=names)
    plain = plain.astype({"target": str, "metric": str})  # also where there is no row
    key = ["run_id", "split", "metric", "target"]
    ours = {target.name: chosen for target, chosen in sets.items()}
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
    return printed_table(plotted)


def draw(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> Figure:
    """Bars of η(S1) and η(S2) for each target class: a row of panels per student, training left, held-out right."""
    ours = plotted[plotted["n"] > 0]
    members = {run_id(after.run): after for _, after in pairs_of(artifact)}
    runs = list(dict.fromkeys(ours["run_id"])) or ["no student yet"]
    splits = ["train", *dict.fromkeys(roles.reported_on(member) for member in members.values())]
    names = list(dict.fromkeys(ours["target_class"]))
    figure = new_figure(TWO_COLUMNS, 0.75 + len(runs) * max(1.2, 0.26 * len(names) + 0.6))
    part = figure.subfigures(1, 1, squeeze=False)[0, 0]
    panels = part.subplots(len(runs), len(splits), squeeze=False, sharey=True, sharex="row")
    for line, run in zip(panels, runs, strict=True):
        title = roles.title(members[run]).replace("\n", " ") if run in members else run
        for axes, split in zip(line, splits, strict=True):
            own = ours[(ours["run_id"] == run) & (ours["split"] == split)]
            _bars(axes, own, names)
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
    entries = {label: handle for handle, label in zip(*panels[0, 0].get_legend_handles_labels(), strict=True)}
    if entries:
        part.legend([*entries.values()], [*entries], loc="outside lower center", ncols=len(entries))
    return figure


def _bars(axes: Axes, own: pd.DataFrame, names: list[str]) -> None:
    for number, (kind, symbol) in enumerate(SETS.items()):
        cells = own[own["metric"].astype(str).str.endswith(f"_{kind}")]
        places = [names.index(name) + 0.36 * (number - 0.5) for name in cells["target_class"]]
        axes.barh(
            places, cells["mean"], height=0.34, color=(BLUE, ORANGE)[number], hatch=("", "////")[number],
            edgecolor="white", linewidth=0, xerr=cells["std"].fillna(0), error_kw={"lw": 0.8, "ecolor": "0.25"},
            label=f"η({symbol}), {kind} classes",
        )  # fmt: skip
        # Where a scale replaced the data set, the paper's number is of other pictures.
        own_data = ~cells["stands_for"].astype(str).str.contains("dataset=")
        printed = [(p, place) for p, place in zip(cells["published"].where(own_data), places, strict=True) if p == p]
        if printed:
            axes.plot(*zip(*printed, strict=True), "D", ms=3, mfc="none", mec="0.1", mew=0.8, label="published")


def remarks(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """What the numbers are, and how many pairs have the signs of systematic diffusion."""
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
        f"(C-ETA); mean and std (n − 1) over {seeds_label(ours['n'])} (one seed for both students); S1 and S2: "
        f"{_sets_in_words(artifact)}, the same for all networks. Relative distances sum to 1, so that a fall on S1 "
        "forces a rise on S2; changes of plain distances (unnormalised) tell the two apart."
    ]
    for split in dict.fromkeys(ours["split"]):
        own = ours[ours["split"] == split].assign(is_similar=~ours["metric"].str.endswith("_dissimilar"))
        wide = own.pivot_table(
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
