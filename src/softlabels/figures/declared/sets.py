"""How a drawing chooses S1 and S2, the classes similar and dissimilar to a target class (C-SETS).

{by: families}                                                     the declared families of glyphs
{by: groups, file: groups.csv}                                     a table `class,group` of the user's own
{by: distance, reference: <family>, nearest: 1, farthest: 90}      percents, by centroids of one network
{by: list, of: {<target>: {similar: […], dissimilar: […]}}}        written out
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from softlabels.errors import SpecError
from softlabels.figures import roles
from softlabels.figures.declared.targets import Target, check_classes, probe_of, targets_of
from softlabels.grid import datasets
from softlabels.grid.plan import Artifact, Member
from softlabels.grid.probes import ClassMeans
from softlabels.metrics.class_sets import ClassSets, by_groups, families, read_groups

KEYS = {"families": (), "groups": ("file",), "distance": ("reference", "nearest", "farthest"), "list": ("of",)}


@dataclass(frozen=True)
class Choice:
    """One of the four ways."""

    by: str
    reference: str = ""
    """A family with one member; its first seed measures distances, for all runs."""
    nearest: float = 1
    farthest: float = 90
    file: str = ""
    of: Mapping[str, Mapping[str, Any]] | None = None


def choice_of(artifact: Artifact, option: str) -> Choice:
    """What an artifact's options say.

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
    """Refuse sets that cannot be chosen, as far as it can be told without data."""
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
        for target in targets_of(artifact):
            similar, dissimilar = listed(choice, target, where)
            check_classes([target.given, *similar, *dissimilar], artifact, f"{where}.of.{target.name}")
    elif Path(choice.file).exists():  # the user's file; without it the plan can be made, and measuring says so
        groups = read_groups(Path(choice.file))
        check_classes([*groups], artifact, f"{where} {choice.file}")
        for target in targets_of(artifact) if names else ():
            by_groups(groups, named(target.given, names))


def reference_of(artifact: Artifact, choice: Choice) -> tuple[Member, ClassMeans]:
    """The network whose centroids tell distances, and its probe of the means of all classes, held-out ones first.

    Raises:
        SpecError: no such family, one of several members, or one without such a probe.
    """
    where = f"artifact {artifact.id}: family {choice.reference}"
    members = artifact.family(choice.reference)
    if len(members) > 1:
        raise SpecError(f"{where} has {len(members)} members; the reference of class sets is one network")
    for split in dict.fromkeys((roles.reported_on(members[0]), "val", "test", "train")):
        probe = probe_of(artifact, choice.reference, "class_means", split)
        if isinstance(probe, ClassMeans) and probe.classes is None:
            return members[0], probe
    raise SpecError(f"{where} needs a probe of what: class_means over all classes, to be the reference of class sets")


def listed(choice: Choice, target: Target, where: str) -> tuple[list[int | str], list[int | str]]:
    """S1 and S2 of a target as written out.

    Raises:
        SpecError: they are not, or they overlap.
    """
    entry = (choice.of or {}).get(target.name)
    if not isinstance(entry, Mapping) or set(entry) != {"similar", "dissimilar"}:
        raise SpecError(f"{where}.of.{target.name} must list its classes under similar and dissimilar")
    similar, dissimilar = ([*entry[name]] for name in ("similar", "dissimilar"))
    ClassSets(str(target.given), tuple(map(str, similar)), tuple(map(str, dissimilar)))
    return similar, dissimilar


def files_of(artifact: Artifact) -> list[Path]:
    """The user's tables that an artifact reads, as far as they are there."""
    given = (found.get("file") for found in artifact.options.values() if isinstance(found, Mapping))
    return [Path(file) for file in given if isinstance(file, str) and Path(file).exists()]


def named(given: int | str, class_names: Sequence[str]) -> str:
    """The name of a class of the data set."""
    return class_names[given] if isinstance(given, int) else given
