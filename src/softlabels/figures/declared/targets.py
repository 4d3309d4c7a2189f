"""`options.targets`: the classes that a drawing shows, by the paper's names and by ours.

A list of classes of the data set, each by name or index; or as `the paper's name: class`, where a scale replaced the
data set or the data name their classes otherwise (ImageNet's folders: by WordNet id).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from softlabels.errors import SpecError
from softlabels.figures import roles
from softlabels.grid import datasets
from softlabels.grid.class_names import labels
from softlabels.grid.plan import Artifact, Member
from softlabels.grid.probes import AnyProbe, PictureProbe
from softlabels.grid.spec import RunSpec


@dataclass(frozen=True)
class Target:
    """A class that a drawing shows."""

    name: str
    """The paper's, or the user's own."""
    given: int | str
    """The class of our data set: its index or name."""


def targets_of(artifact: Artifact) -> tuple[Target, ...]:
    """The classes of `options.targets`, in order.

    Raises:
        SpecError: no such list, or a name twice.
    """
    where = f"artifact {artifact.id}: options.targets"
    found = artifact.options.get("targets")
    chosen: list[Target] = []
    for entry in found if isinstance(found, list | tuple) else ():
        name, given = next(iter(entry.items())) if isinstance(entry, Mapping) and len(entry) == 1 else (entry, entry)
        if isinstance(given, bool) or not isinstance(given, int | str):
            raise SpecError(f"{where}: {entry} is no class; write its name or index, or the paper's name: class")
        chosen.append(Target(str(name), given))
    if not chosen:
        raise SpecError(f"{where} must list classes by name or index, as [ring_0, golden_retriever: 207]")
    if len({target.name for target in chosen}) < len(chosen):
        raise SpecError(f"{where} names a class twice; keep it once")
    return tuple(chosen)


def check_targets(artifact: Artifact, where: str) -> None:
    """Refuse targets that do not exist, as far as the names are declared, and members of several data sets."""
    if len({member.run.dataset for member in artifact.members}) > 1:
        raise SpecError(f"{where} {artifact.draw} shows networks of one data set; use an artifact for each")
    check_classes([target.given for target in targets_of(artifact)], artifact, f"{where} options.targets")


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
    """Refuse families without a probe of `what`, on each split, that holds the targets.

    Args:
        splits: `held_out` stands for the split that the paper's numbers are of (`roles.reported_on`).
    """
    wanted = [target.given for target in targets_of(artifact)]
    for member in {member.family: member for member in members}.values():
        for split in splits:
            own = roles.reported_on(member) if split == "held_out" else split
            probe = probe_of(artifact, member.family, what, own)
            if probe is None:
                raise SpecError(f"{where} family {member.family} needs a probe of what: {what} and split: {own}")
            check_holds(probe, wanted, member, f"{where} the {own} probe of {member.family}")


def check_holds(probe: PictureProbe, classes: Sequence[int | str], member: Member, where: str) -> None:
    """Refuse a probe of chosen classes that are others."""
    assert isinstance(member.run, RunSpec)
    names = datasets.info(member.run.dataset).class_names
    if probe.classes is None:
        return
    asked = set(labels(probe.classes, names, where)) if names else set(probe.classes)
    for given in classes:
        key = labels([given], names, where)[0] if names else given
        # Without declared names an index and a name cannot be told to be one class; the file will tell.
        comparable = bool(names) or any(type(k) is type(key) for k in asked)
        if key not in asked and comparable:
            raise SpecError(f"{where} does not hold class {given}; add it to its classes")


def probe_of(artifact: Artifact, family: str, what: str, split: str) -> PictureProbe | None:
    """The family's first probe of a kind on a split, of unchanged pictures at the end of training."""
    found: Iterable[AnyProbe] = (probe for name, probe in artifact.probes if name == family)
    for probe in found:
        if isinstance(probe, PictureProbe) and (probe.what, probe.split, probe.checkpoints, probe.views) == (
            what, split, "last", 0,
        ):  # fmt: skip
            return probe
    return None
