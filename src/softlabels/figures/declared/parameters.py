"""What a table of sizes needs: networks whose sizes are counted."""

from __future__ import annotations

from softlabels.errors import SpecError
from softlabels.figures.declared.drawing import Drawing
from softlabels.grid.parse import require_known
from softlabels.grid.plan import Artifact
from softlabels.grid.zoo import COUNTED


def _check(artifact: Artifact, where: str) -> None:
    models = artifact.options.get("models")
    if not isinstance(models, list | tuple) or not models:
        raise SpecError(f"{where} options.models must list networks of torchvision or timm")
    for name in models:
        counted = dict.fromkeys(name for name, _ in COUNTED)
        require_known(name, counted, f"{where} options.models", "the networks whose size is counted")


DRAWING = Drawing(("table",), ("models",), of_networks=False, check=_check)
