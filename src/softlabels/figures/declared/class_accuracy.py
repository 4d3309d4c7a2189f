"""What accuracies of single classes need: logits of the training images of these classes."""

from __future__ import annotations

from softlabels.figures.declared.drawing import Drawing
from softlabels.figures.declared.targets import check_probed, check_targets
from softlabels.grid.plan import Artifact


def _check(artifact: Artifact, where: str) -> None:
    check_targets(artifact, where)
    check_probed(artifact.members, artifact, "logits", ("train",), where)


DRAWING = Drawing(("table",), ("targets", "compare_with"), check=_check)
