"""What a table of BLEU needs: translations of the test split, of students and of their teachers."""

from __future__ import annotations

from softlabels.errors import SpecError
from softlabels.figures import roles
from softlabels.figures.declared.drawing import Drawing
from softlabels.figures.declared.translated import check_translated
from softlabels.grid.plan import Artifact
from softlabels.grid.spec import teacher_of


def _check(artifact: Artifact, where: str) -> None:
    """Every network has translations of the test split, and every student its teacher beside it."""
    check_translated(artifact, where)
    for member in roles.distilled(artifact):
        teacher = teacher_of(member.run)
        assert teacher is not None
        if roles.teacher_place(artifact, member) is None:
            raise SpecError(
                f"{where} family {member.family} needs its teacher in a family of the artifact, with a probe of what: "
                f"translations, split: test, temperature: 1 and checkpoint: {teacher.checkpoint}"
            )


DRAWING = Drawing(("table",), ("compare_with",), tasks=("translation",), check=_check)
