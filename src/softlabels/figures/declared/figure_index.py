"""What an index of figures needs: their names."""

from __future__ import annotations

from softlabels.errors import SpecError
from softlabels.figures.declared.drawing import Drawing
from softlabels.grid.plan import Artifact


def _check(artifact: Artifact, where: str) -> None:
    if not artifact.options.get("artifacts"):
        raise SpecError(f"{where} options.artifacts must list the artifacts of this grid that it indexes")


DRAWING = Drawing(("table",), ("artifacts",), of_networks=False, check=_check)
