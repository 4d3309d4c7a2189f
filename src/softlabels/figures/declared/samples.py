"""What a sheet of sample pictures needs: pictures of the classes that it shows."""

from __future__ import annotations

from softlabels.errors import SpecError
from softlabels.figures.declared.drawing import Drawing
from softlabels.figures.declared.targets import check_holds, check_targets, targets_of
from softlabels.grid.plan import Artifact
from softlabels.grid.probes import Samples


def samples_of(artifact: Artifact) -> tuple[str, Samples]:
    """The first probe of pictures, and its family.

    Raises:
        SpecError: there is none.
    """
    for family, probe in artifact.probes:
        if isinstance(probe, Samples):
            return family, probe
    raise SpecError(f"artifact {artifact.id}: samples needs a probe of what: pictures, of a family whose data it shows")


def _check(artifact: Artifact, where: str) -> None:
    check_targets(artifact, where)
    family, probe = samples_of(artifact)
    member = artifact.family(family)[0]
    check_holds(probe, [t.given for t in targets_of(artifact)], member, f"{where} the probe of {family}")


DRAWING = Drawing(("figure",), ("targets",), check=_check)
