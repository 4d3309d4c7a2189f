"""What a table beside the paper's may ask of translation networks."""

from __future__ import annotations

from softlabels.errors import SpecError
from softlabels.figures import roles
from softlabels.figures.declared.drawing import ANY, Drawing
from softlabels.grid.plan import Artifact


def _check(artifact: Artifact, where: str) -> None:
    for family in dict.fromkeys(member.family for member in artifact.members):
        for probe in roles.token_probes(artifact, family):
            if probe.split != "train":
                raise SpecError(
                    f"{where} the probe of {family}: compare_table has the tokens of {probe.split} already; "
                    "give split: train"
                )


DRAWING = Drawing(("table",), ("compare_with",), tasks=ANY, check=_check)
