"""What curves over γ need: of each student a temperature, and its teacher's training logits."""

from __future__ import annotations

from softlabels.errors import SpecError
from softlabels.figures import roles
from softlabels.figures.declared.drawing import Drawing
from softlabels.grid.plan import Artifact
from softlabels.grid.spec import teacher_of


def _check(artifact: Artifact, where: str) -> None:
    for member in roles.distilled(artifact):
        if roles.temperature_of(member.run) == float("inf"):
            raise SpecError(
                f"{where} γ of family {member.family} is not defined: logit matching has no temperature; "
                "take the family out of families"
            )
        if roles.taught_by(artifact, member) is None:
            teacher = teacher_of(member.run)
            assert teacher is not None
            raise SpecError(
                f"{where} γ of family {member.family} needs its teacher, at its last checkpoint (here: "
                f"{teacher.checkpoint}), in a family of the artifact with a probe of split: train"
            )


DRAWING = Drawing(("figure",), by_temperature=True, check=_check)
