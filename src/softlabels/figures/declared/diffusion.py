"""What the diffusion index needs: students at two temperatures, their activations, and a choice of S1 and S2."""

from __future__ import annotations

from dataclasses import replace

from softlabels.errors import SpecError
from softlabels.figures.declared.drawing import Drawing
from softlabels.figures.declared.sets import check_sets
from softlabels.figures.declared.targets import check_probed, check_targets
from softlabels.grid.identity import run_id
from softlabels.grid.plan import Artifact, Member
from softlabels.grid.spec import Distill

PROBES = {"centroid": "class_means", "pairwise": "features", "pairwise_unprojected": "features"}
"""`options.distance` → what students are asked."""


def temperatures_of(artifact: Artifact) -> tuple[float, float]:
    """T1 and T2 of `options.temperatures`; the paper's 1 and 3 without.

    Raises:
        SpecError: not two rising temperatures.
    """
    found = artifact.options.get("temperatures", (1, 3))
    fits = isinstance(found, list | tuple) and len(found) == 2 and all(isinstance(t, int | float) for t in found)
    if not fits or not 0 < found[0] < found[1]:
        raise SpecError(f"artifact {artifact.id}: options.temperatures must be two rising ones, as [1, 3]")
    return float(found[0]), float(found[1])


def distance_of(artifact: Artifact) -> str:
    """`options.distance`; of centroids without."""
    return str(artifact.options.get("distance", "centroid"))


def pairs_of(artifact: Artifact) -> list[tuple[Member, Member]]:
    """Students at T1, each with the one at T2 that differs in nothing else.

    Raises:
        SpecError: there is none, or one at T2 has no counterpart.
    """
    first, second = temperatures_of(artifact)
    by_run = {run_id(member.run): member for member in artifact.members}
    found = []
    for after in artifact.members:
        if isinstance(after.run.targets, Distill) and after.run.targets.temperature == second:
            before = by_run.get(run_id(replace(after.run, targets=replace(after.run.targets, temperature=first))))
            if before is None:
                raise SpecError(
                    f"artifact {artifact.id}: the student of {after.family} at T = {second:g} needs one at T = "
                    f"{first:g} that differs in nothing else; add {first:g} to its temperatures"
                )
            found.append((before, after))
    if not found:
        raise SpecError(f"artifact {artifact.id}: diffusion needs students (kind: distill) at T = {second:g}")
    return found


def _check(artifact: Artifact, where: str) -> None:
    check_targets(artifact, where)
    if distance_of(artifact) not in PROBES:
        raise SpecError(f"{where} options.distance must be one of {', '.join(PROBES)}")
    check_sets(artifact, "sets", where)
    students = [member for pair in pairs_of(artifact) for member in pair]
    check_probed(students, artifact, PROBES[distance_of(artifact)], ("train", "held_out"), where)


DRAWING = Drawing(("table", "figure"), ("targets", "sets", "temperatures", "distance", "compare_with"), check=_check)
