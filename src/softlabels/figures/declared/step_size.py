"""What the comparison of ways of stepping needs: one student for each, of two kinds of teacher."""

from __future__ import annotations

from softlabels.errors import SpecError
from softlabels.figures import roles
from softlabels.figures.declared.drawing import Drawing
from softlabels.grid.plan import Artifact
from softlabels.grid.spec import Distill


def _check(artifact: Artifact, where: str) -> None:
    """One student for each way of stepping, teacher's α and T; students of a hard-label and of a smoothed teacher."""
    students = roles.distilled(artifact)
    for member in students:
        if not isinstance(member.run.targets, Distill) or roles.teacher_alpha(member.run) is None:
            raise SpecError(
                f"{where} step_size shows students (kind: distill) of teachers trained on labels; take the family "
                f"{member.family} out of families"
            )
    alphas = {roles.teacher_alpha(m.run) for m in students}
    if 0 not in alphas or len(alphas) < 2:
        raise SpecError(f"{where} step_size needs students of a hard-label teacher (α = 0) and of a smoothed one")
    taken: dict[tuple[object, ...], str] = {}
    for member in students:
        place = (roles.stepping(artifact, member), roles.teacher_alpha(member.run), roles.temperature_of(member.run))
        if place in taken:
            raise SpecError(
                f"{where} step_size shows one student for a way of stepping, a teacher's α and a T; {taken[place]} and "
                f"{member.family} both have one for {place[0]}, α = {place[1]}, T = {place[2]}; split the artifact"
            )
        taken[place] = member.family


DRAWING = Drawing(("figure",), by_temperature=True, check=_check)
