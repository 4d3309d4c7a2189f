"""What mean probabilities of the images of a class need: logits of its training images, and temperatures."""

from __future__ import annotations

from softlabels.errors import SpecError
from softlabels.figures.declared.drawing import Drawing
from softlabels.figures.declared.targets import check_classes, check_probed, check_targets, targets_of
from softlabels.figures.declared.temperatures import check_temperatures
from softlabels.grid.plan import Artifact


def _check(artifact: Artifact, where: str) -> None:
    check_targets(artifact, where)
    check_temperatures(artifact, where)
    names = {target.name for target in targets_of(artifact)}
    for name, classes in artifact.options.get("similar", {}).items():
        if name not in names:
            raise SpecError(f"{where} options.similar: {name} is no target; there are {', '.join(sorted(names))}")
        check_classes(classes, artifact, f"{where} options.similar.{name}")
    check_probed(artifact.members, artifact, "logits", ("train",), where)


DRAWING = Drawing(
    ("figure", "table"), ("targets", "temperatures", "similar", "compare_with"), labels_only=True, check=_check
)
