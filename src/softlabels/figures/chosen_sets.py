"""S1 and S2 of the target classes of an artifact, chosen as its options say (`declared.sets`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from softlabels.figures.declared.sets import Choice, listed, named, reference_of
from softlabels.figures.declared.targets import Target, targets_of
from softlabels.figures.source import Row, Source
from softlabels.grid.class_names import class_ids, labels
from softlabels.grid.plan import Artifact
from softlabels.metrics.answers import read_class_means
from softlabels.metrics.class_sets import ClassSets, by_groups, families, read_groups
from softlabels.metrics.diffusion import Activations, by_distance


def reference(artifact: Artifact, source: Source, choice: Choice, seed: int | None = None) -> Activations | None:
    """Class means of the network that tells distances, of its first seed without `seed`; None where not there."""
    member, probe = reference_of(artifact, choice)
    return source.answers(member, member.seeds[0] if seed is None else seed, probe, read_class_means)


def sets_of(
    artifact: Artifact, choice: Choice, class_names: Sequence[str], distances: Activations | None
) -> dict[Target, ClassSets]:
    """The sets of every target, by the names of the data; without `distances` none, where they are needed.

    Raises:
        SpecError: a class that does not exist, or sets that overlap or are empty.
        DataError: a class without images.
    """
    targets = targets_of(artifact)
    where = f"artifact {artifact.id}: options"
    if choice.by == "list":
        return {target: _listed(choice, target, class_names, where) for target in targets}
    chosen = {target: class_names[label_of(artifact, target, class_names)] for target in targets}
    if choice.by == "distance":
        if distances is None:
            return {}
        return {t: by_distance(distances, name, choice.nearest, choice.farthest) for t, name in chosen.items()}
    if choice.by == "families":
        groups = families(artifact.members[0].run.dataset.name)
    else:
        groups = read_groups(Path(choice.file))
        class_ids(groups, class_names, choice.file)
    return {target: by_groups(groups, name) for target, name in chosen.items()}


def label_of(artifact: Artifact, target: Target, class_names: Sequence[str]) -> int:
    """The label of a target class in data with these class names.

    Raises:
        SpecError: the data have no such class.
    """
    return labels([target.given], class_names, f"artifact {artifact.id}: options.targets")[0]


def _listed(choice: Choice, target: Target, class_names: Sequence[str], where: str) -> ClassSets:
    similar, dissimilar = listed(choice, target, where)
    all_of_them = [target.given, *similar, *dissimilar]
    labels(all_of_them, class_names, f"{where}.of.{target.name}")
    own, *others = (named(given, class_names) for given in all_of_them)
    return ClassSets(own, tuple(others[: len(similar)]), tuple(others[len(similar) :]))


def class_row(row: Row, target: Target, name: str) -> Row:
    """A tidy row as that of a target class, whose `name` in our data stands for the paper's where its data set is
    replaced."""
    if name != target.name and "dataset=" in row["stands_for"]:
        return row | {"target_class": name, "stands_for": f"{row['stands_for']};target_class={target.name}"}
    return row | {"target_class": target.name}
