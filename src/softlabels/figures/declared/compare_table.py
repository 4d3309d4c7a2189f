"""What a table beside the paper's may ask."""

from __future__ import annotations

from softlabels.errors import SpecError
from softlabels.figures import roles
from softlabels.figures.declared.drawing import ANY, Drawing
from softlabels.grid.parse import require_known
from softlabels.grid.plan import Artifact, Member
from softlabels.grid.spec import DatasetSpec, Distill, ModelSpec, on_labels
from softlabels.grid.translation import CorpusSpec


def _check(artifact: Artifact, where: str) -> None:
    for family in dict.fromkeys(member.family for member in artifact.members):
        for probe in roles.token_probes(artifact, family):
            if probe.split != "train":
                raise SpecError(
                    f"{where} the probe of {family}: compare_table has the tokens of {probe.split} already; "
                    "give split: train"
                )
    if "baseline" in artifact.options:
        _check_baseline(artifact, f"{where} options.baseline")
    if "drop" in artifact.options:
        _check_drop(artifact, f"{where} options.drop")


def _check_drop(artifact: Artifact, where: str) -> None:
    """Two temperatures, and students at both."""
    drop = artifact.options["drop"]
    if not isinstance(drop, list | tuple) or len(drop) != 2 or not all(isinstance(t, int | float) for t in drop):
        raise SpecError(f"{where} must list two temperatures, as [1, 3]")
    students = [m for m in artifact.members if isinstance(m.run.targets, Distill)]
    if absent := [t for t in drop if all(roles.temperature_of(m.run) != t for m in students)]:
        raise SpecError(f"{where}: no student of the artifact is distilled at T = {absent[0]:g}")


def trained(member: Member) -> tuple[DatasetSpec | CorpusSpec, ModelSpec, str]:
    """What a network must share with another to be compared with it: data, network, and the paper's name of it."""
    return member.run.dataset, member.run.model, dict(member.published)["student"]


def _check_baseline(artifact: Artifact, where: str) -> None:
    """Families of networks on labels, and one of them for each other member."""
    families = artifact.options["baseline"]
    if not isinstance(families, list | tuple) or not families:
        raise SpecError(f"{where} must list families")
    for family in families:
        require_known(family, dict.fromkeys(m.family for m in artifact.members), where, "the families of the artifact")
    alone = {trained(m): m for m in artifact.members if m.family in families}
    for member in artifact.members:
        if member.family in families and not on_labels(member.run):
            raise SpecError(f"{where}: {member.family} has a teacher; a baseline is trained on labels")
        if trained(member) not in alone:
            raise SpecError(f"{where} has no network like those of {member.family}; add the family without a teacher")


DRAWING = Drawing(("table",), ("compare_with", "drop", "baseline"), tasks=ANY, check=_check)
