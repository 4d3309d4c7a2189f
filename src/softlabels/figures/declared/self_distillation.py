"""What a figure of generations or of temperatures can be asked for."""

from __future__ import annotations

from softlabels.errors import SpecError
from softlabels.figures.declared.drawing import Drawing
from softlabels.figures.declared.targets import probe_of
from softlabels.grid.plan import Artifact, Member
from softlabels.grid.spec import Distill, Teacher, on_labels, teacher_of

OVER = ("generation", "temperature")


def over(artifact: Artifact) -> str:
    """What is on the horizontal axis."""
    return str(artifact.options.get("over", "generation"))


def neighbours(artifact: Artifact) -> tuple[int, ...]:
    """k of the estimates of confidence diversity, the first of which is drawn."""
    return tuple(artifact.options.get("neighbours", (3, 1, 5, 10)))


def taught_at_one(artifact: Artifact, member: Member) -> bool:
    """Whether a member is of a chain of generations at T = 1: one that a figure over T draws as a flat line."""
    return any(name == "generation" for name, _ in member.values)


def teacher_member(artifact: Artifact, student: Member) -> tuple[Member, Teacher] | None:
    """A student's teacher among the members of the same paper's names."""
    teacher = teacher_of(student.run)
    if teacher is None:
        return None
    return next(((m, teacher) for m in artifact.members if m.run == teacher.run), None)


def _check(artifact: Artifact, where: str) -> None:
    if over(artifact) not in OVER:
        raise SpecError(f"{where} options.over must be one of {', '.join(OVER)}, not {artifact.options['over']!r}")
    ks = neighbours(artifact)
    if not ks or any(isinstance(k, bool) or not isinstance(k, int) or k < 1 for k in ks):
        raise SpecError(f"{where} options.neighbours must list numbers of neighbours from 1 on, as [3, 1, 5, 10]")
    for member in artifact.members:
        if on_labels(member.run):
            if probe_of(artifact, member.family, "logits", "train") is None:
                raise SpecError(f"{where} probes: {member.family} teaches and needs {{split: train, what: logits}}")
            continue
        if not isinstance(member.run.targets, Distill) or teacher_member(artifact, member) is None:
            raise SpecError(
                f"{where} self_distillation shows networks on labels and what they teach, and the teacher of "
                f"{member.family} is not among families"
            )


DRAWING = Drawing(("figure",), ("over", "neighbours"), by_temperature=True, check=_check)
