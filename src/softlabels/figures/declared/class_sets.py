"""What the comparison of two ways to choose S1 and S2 needs."""

from __future__ import annotations

from softlabels.errors import SpecError
from softlabels.figures.declared.drawing import Drawing
from softlabels.figures.declared.sets import check_sets, choice_of, reference_of
from softlabels.figures.declared.targets import check_targets
from softlabels.grid.plan import Artifact


def _check(artifact: Artifact, where: str) -> None:
    check_targets(artifact, where)
    for option in ("method_1", "method_2"):
        check_sets(artifact, option, where)
    choice = choice_of(artifact, "method_2")
    if choice.by != "distance":
        raise SpecError(f"{where} options.method_2.by must be distance: sets of the paper's method 2")
    reference, _ = reference_of(artifact, choice)
    if others := [member.family for member in artifact.members if member != reference]:
        raise SpecError(f"{where} class_sets shows the reference network alone; take {others[0]} out of families")


DRAWING = Drawing(("table",), ("targets", "method_1", "method_2", "compare_with"), labels_only=True, check=_check)
