"""What curves over the decoding temperature need: translations at two or more."""

from __future__ import annotations

from softlabels.errors import SpecError
from softlabels.figures import roles
from softlabels.figures.declared.drawing import Drawing
from softlabels.grid.plan import Artifact


def _check(artifact: Artifact, where: str) -> None:
    for member in artifact.members:
        split = roles.reported_on(member)
        if len(roles.over_temperature(artifact, member)) < 2:
            raise SpecError(
                f"{where} family {member.family} needs probes of what: translations and split: {split} at two or more "
                "temperatures"
            )


DRAWING = Drawing(("figure",), labels_only=True, tasks=("translation",), check=_check)
