"""The classes of a data set that a drawing shows, and the classes similar and dissimilar to each of them.

`options.classes` lists classes of the data set, each by name or index; or as `the paper's name: class`, where a scale
replaced the data set or the data name their classes otherwise (ImageNet's folders: by WordNet id).

S1 and S2 of a shown class, the classes similar and dissimilar to it (C-SETS), are chosen by one of

    {by: families}                                                  the declared families of glyphs
    {by: groups, file: groups.csv}                                  a table `class,group` of the user's
    {by: distance, reference: <family>, nearest: 1, farthest: 90}   percents, by centroids of one network
    {by: list, of: {<name>: {similar: […], dissimilar: […]}}}       written out
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from softlabels.errors import SpecError
from softlabels.figures import selectors
from softlabels.figures.source import Row, Source
from softlabels.grid.declared import datasets
from softlabels.grid.declared.class_names import class_ids, labels
from softlabels.grid.parts.probes import ClassMeans, ImageProbe
from softlabels.grid.plan import Artifact, Member
from softlabels.grid.spec import RunSpec
from softlabels.metrics.class_sets import ClassSets, by_groups, families, read_groups

if TYPE_CHECKING:
    from softlabels.metrics.diffusion import Activations


@dataclass(frozen=True)
class ShownClass:
    """A class that a drawing shows."""

    name: str
    """The paper's name, or the user's."""
    given: int | str
    """The class of our data set: its index or name."""


def shown_classes(artifact: Artifact) -> tuple[ShownClass, ...]:
    """The classes of `options.classes`, in order.

    Raises:
        SpecError: no such list, or a name twice.
    """
    where = f"artifact {artifact.id}: options.classes"
    found = artifact.options.get("classes")
    chosen: list[ShownClass] = []
    for entry in found if isinstance(found, list | tuple) else ():
        name, given = next(iter(entry.items())) if isinstance(entry, Mapping) and len(entry) == 1 else (entry, entry)
        if isinstance(given, bool) or not isinstance(given, int | str):
            raise SpecError(f"{where}: {entry} is no class; write its name or index, or the paper's name: class")
        chosen.append(ShownClass(str(name), given))
    if not chosen:
        raise SpecError(f"{where} must list classes by name or index, as [ring_0, golden_retriever: 207]")
    if len({shown_class.name for shown_class in chosen}) < len(chosen):
        raise SpecError(f"{where} names a class twice; keep it once")
    return tuple(chosen)


def check_shown_classes(artifact: Artifact, where: str) -> None:
    """Refuse shown classes that do not exist, as far as names are declared, and members of several data sets."""
    if len({member.run.dataset for member in artifact.members}) > 1:
        raise SpecError(f"{where} {artifact.plot} shows networks of one data set; use an artifact for each")
    check_classes([shown_class.given for shown_class in shown_classes(artifact)], artifact, f"{where} options.classes")


def check_classes(classes: Sequence[int | str], artifact: Artifact, where: str) -> None:
    """Refuse classes, each by name or index, that the data set of an artifact does not have or that are given twice."""
    for run in dict.fromkeys(member.run for member in artifact.members):
        assert isinstance(run, RunSpec)
        declared = datasets.info(run.dataset)
        if declared.class_names:
            labels(classes, declared.class_names, where)
        elif unknown := [k for k in classes if isinstance(k, int) and not 0 <= k < declared.num_classes]:
            raise SpecError(f"{where}: there is no class {unknown[0]}; the last one is {declared.num_classes - 1}")


def check_probed(members: Iterable[Member], artifact: Artifact, what: str, splits: Sequence[str], where: str) -> None:
    """Refuse families without a probe of `what`, on each split, that holds the shown classes.

    Args:
        splits: `held_out` stands for the split that the paper's numbers are of (`selectors.reported_on`).
    """
    wanted = [shown_class.given for shown_class in shown_classes(artifact)]
    for member in {member.family: member for member in members}.values():
        for split in splits:
            probe_split = selectors.reported_on(member) if split == "held_out" else split
            probe = selectors.probe_of(artifact, member.family, what, probe_split)
            if probe is None:
                raise SpecError(
                    f"{where} family {member.family} needs a probe of what: {what} and split: {probe_split}"
                )
            check_holds(probe, wanted, member, f"{where} the {probe_split} probe of {member.family}")


def check_holds(probe: ImageProbe, classes: Sequence[int | str], member: Member, where: str) -> None:
    """Refuse a probe of chosen classes that lacks one of these."""
    assert isinstance(member.run, RunSpec)
    names = datasets.info(member.run.dataset).class_names
    if probe.classes is None:
        return
    known = set(labels(probe.classes, names, where)) if names else set(probe.classes)
    for given in classes:
        key = labels([given], names, where)[0] if names else given
        # Without declared names an index and a name cannot be told to be one class; the file will tell.
        comparable = bool(names) or any(type(k) is type(key) for k in known)
        if key not in known and comparable:
            raise SpecError(f"{where} does not hold class {given}; add it to its classes")


KEYS = {"families": (), "groups": ("file",), "distance": ("reference", "nearest", "farthest"), "list": ("of",)}


@dataclass(frozen=True)
class Choice:
    """How S1 and S2 are chosen: one of the four ways above."""

    by: str
    reference: str = ""
    """A family with one member; its first seed measures distances, for all runs."""
    nearest: float = 1
    farthest: float = 90
    file: str = ""
    of: Mapping[str, Mapping[str, Any]] | None = None


def choice_of(artifact: Artifact, option: str) -> Choice:
    """The choice in `options.<option>`.

    Raises:
        SpecError: no such way, an unknown key, or a missing one.
    """
    where = f"artifact {artifact.id}: options.{option}"
    found = artifact.options.get(option)
    by = found.get("by") if isinstance(found, Mapping) else None
    if not isinstance(found, Mapping) or by not in KEYS:
        raise SpecError(f"{where}.by must be one of {', '.join(KEYS)}")
    for name in found:
        if name not in ("by", *KEYS[by]):
            raise SpecError(f"{where}.{name} has no effect by {by}; its keys are {', '.join(('by', *KEYS[by]))}")
    for name in ("reference", "file", "of"):
        if name in KEYS[by] and not isinstance(found.get(name), Mapping if name == "of" else str):
            raise SpecError(f"{where}.{name} is missing")
    for name in ("nearest", "farthest"):
        value = found.get(name, 1)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 100:
            raise SpecError(f"{where}.{name} must be a percentage above 0, not {value!r}")
    return Choice(**found)


def check_sets(artifact: Artifact, option: str, where: str) -> None:
    """Refuse a choice of sets that cannot work, as far as that is known without the data."""
    choice = choice_of(artifact, option)
    where = f"{where} options.{option}"
    dataset = artifact.members[0].run.dataset
    declared = datasets.DATASETS.get(dataset.name)
    names = declared.class_names or () if declared else ()
    if choice.by == "distance":
        reference_of(artifact, choice)
    elif choice.by == "families":
        families(dataset.name)
    elif choice.by == "list":
        for shown_class in shown_classes(artifact):
            similar, dissimilar = listed(choice, shown_class, where)
            check_classes([shown_class.given, *similar, *dissimilar], artifact, f"{where}.of.{shown_class.name}")
    elif Path(choice.file).exists():  # the user's file; without it the plan can be made, and measuring says so
        groups = read_groups(Path(choice.file))
        check_classes([*groups], artifact, f"{where} {choice.file}")
        for shown_class in shown_classes(artifact) if names else ():
            by_groups(groups, named(shown_class.given, names))


def reference_of(artifact: Artifact, choice: Choice) -> tuple[Member, ClassMeans]:
    """The network whose centroids tell distances, and its probe of the means of all classes, held-out ones first.

    Raises:
        SpecError: no such family, one of several members, or one without such a probe.
    """
    where = f"artifact {artifact.id}: family {choice.reference}"
    members = artifact.family(choice.reference)
    if len(members) > 1:
        raise SpecError(f"{where} has {len(members)} members; the reference of class sets is one network")
    for split in dict.fromkeys((selectors.reported_on(members[0]), "val", "test", "train")):
        probe = selectors.probe_of(artifact, choice.reference, "class_means", split)
        if isinstance(probe, ClassMeans) and probe.classes is None:
            return members[0], probe
    raise SpecError(f"{where} needs a probe of what: class_means over all classes, to be the reference of class sets")


def listed(choice: Choice, shown_class: ShownClass, where: str) -> tuple[list[int | str], list[int | str]]:
    """S1 and S2 of a shown class as written out.

    Raises:
        SpecError: they are not, or they overlap.
    """
    entry = (choice.of or {}).get(shown_class.name)
    if not isinstance(entry, Mapping) or set(entry) != {"similar", "dissimilar"}:
        raise SpecError(f"{where}.of.{shown_class.name} must list its classes under similar and dissimilar")
    similar, dissimilar = ([*entry[name]] for name in ("similar", "dissimilar"))
    ClassSets(str(shown_class.given), tuple(map(str, similar)), tuple(map(str, dissimilar)))
    return similar, dissimilar


def custom_tables(artifact: Artifact) -> list[Path]:
    """The user's tables that an artifact reads, as far as they are there."""
    given = (found.get("file") for found in artifact.options.values() if isinstance(found, Mapping))
    return [Path(file) for file in given if isinstance(file, str) and Path(file).exists()]


def named(given: int | str, class_names: Sequence[str]) -> str:
    """The name of a class that is given by its index or by its name."""
    return class_names[given] if isinstance(given, int) else given


def reference(artifact: Artifact, source: Source, choice: Choice, seed: int | None = None) -> Activations | None:
    """Class means of the network that tells distances, of its first seed without `seed`; None where not there."""
    from softlabels.metrics.probe_outputs import read_class_means

    member, probe = reference_of(artifact, choice)
    return source.probe_outputs(member, member.seeds[0] if seed is None else seed, probe, read_class_means)


def sets_of(
    artifact: Artifact, choice: Choice, class_names: Sequence[str], distances: Activations | None
) -> dict[ShownClass, ClassSets]:
    """The sets of every shown class, by the names of the data; without `distances` none, where they are needed.

    Raises:
        SpecError: a class that does not exist, or sets that overlap or are empty.
        DataError: a class without images.
    """
    from softlabels.metrics.diffusion import by_distance

    targets = shown_classes(artifact)
    where = f"artifact {artifact.id}: options"
    if choice.by == "list":
        return {shown_class: _listed(choice, shown_class, class_names, where) for shown_class in targets}
    chosen = {shown_class: class_names[label_of(artifact, shown_class, class_names)] for shown_class in targets}
    if choice.by == "distance":
        if distances is None:
            return {}
        return {t: by_distance(distances, name, choice.nearest, choice.farthest) for t, name in chosen.items()}
    if choice.by == "families":
        groups = families(artifact.members[0].run.dataset.name)
    else:
        groups = read_groups(Path(choice.file))
        class_ids(groups, class_names, choice.file)
    return {shown_class: by_groups(groups, name) for shown_class, name in chosen.items()}


def label_of(artifact: Artifact, shown_class: ShownClass, class_names: Sequence[str]) -> int:
    """The label of a shown class in data with these class names.

    Raises:
        SpecError: the data have no such class.
    """
    return labels([shown_class.given], class_names, f"artifact {artifact.id}: options.classes")[0]


def _listed(choice: Choice, shown_class: ShownClass, class_names: Sequence[str], where: str) -> ClassSets:
    similar, dissimilar = listed(choice, shown_class, where)
    all_of_them = [shown_class.given, *similar, *dissimilar]
    labels(all_of_them, class_names, f"{where}.of.{shown_class.name}")
    name, *others = (named(given, class_names) for given in all_of_them)
    return ClassSets(name, tuple(others[: len(similar)]), tuple(others[len(similar) :]))


def class_row(row: Row, shown_class: ShownClass, name: str) -> Row:
    """A tidy row as that of a target class, whose `name` in our data stands for the paper's where its data set is
    replaced."""
    if name != shown_class.name and "dataset=" in row["stands_for"]:
        return row | {"target_class": name, "stands_for": f"{row['stands_for']};target_class={shown_class.name}"}
    return row | {"target_class": shown_class.name}
