"""What the estimate of mutual information needs: two classes, views, milestones."""

from __future__ import annotations

from softlabels.errors import SpecError
from softlabels.figures.declared.drawing import Drawing
from softlabels.grid.plan import Artifact
from softlabels.grid.probes import Probe


def _check(artifact: Artifact, where: str) -> None:
    if not artifact.probes:
        raise SpecError(f"{where} information needs probes: of two classes, with at least 3 views, at milestones")
    for family, probe in artifact.probes:
        fits = (
            isinstance(probe, Probe)
            and len(probe.classes or ()) == sum(isinstance(k, int) for k in probe.classes or ()) == 2
            and probe.views >= 3
            and probe.checkpoints == "milestones"
        )
        if not fits:
            raise SpecError(
                f"{where} the probe of {family} needs two classes, at least 3 views and checkpoints: milestones"
            )


DRAWING = Drawing(("figure",), labels_only=True, check=_check)
