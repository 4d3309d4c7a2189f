"""What mean probabilities of the images of a class need: logits of its training images, and temperatures."""

from __future__ import annotations

from softlabels.figures.declared.drawing import Drawing
from softlabels.figures.declared.targets import check_probed, check_targets
from softlabels.figures.declared.temperatures import check_temperatures
from softlabels.grid.plan import Artifact


def _check(artifact: Artifact, where: str) -> None:
    check_targets(artifact, where)
    check_temperatures(artifact, where)
    check_probed(artifact.members, artifact, "logits", ("train",), where)


DRAWING = Drawing(("figure", "table"), ("targets", "temperatures", "compare_with"), labels_only=True, check=_check)
