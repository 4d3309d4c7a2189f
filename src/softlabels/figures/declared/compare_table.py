"""What a table beside the paper's may ask."""

from __future__ import annotations

from softlabels.errors import SpecError
from softlabels.figures import roles
from softlabels.figures.declared.drawing import ANY, Drawing
from softlabels.grid.plan import Artifact
from softlabels.grid.spec import Distill


def _check(artifact: Artifact, where: str) -> None:
    for family in dict.fromkeys(member.family for member in artifact.members):
        for probe in roles.token_probes(artifact, family):
            if probe.split != "train":
                raise SpecError(
                    f"{where} the probe of {family}: compare_table has the tokens of {probe.split} already; "
                    "give split: train"
                )
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


DRAWING = Drawing(("table",), ("compare_with", "drop"), tasks=ANY, check=_check)
