"""What the comparison of truncated teachers needs: students of one network on one corpus."""

from __future__ import annotations

from softlabels.errors import SpecError
from softlabels.figures.declared.drawing import Drawing
from softlabels.figures.declared.translated import check_translated
from softlabels.grid.plan import Artifact
from softlabels.grid.spec import Distill


def _check(artifact: Artifact, where: str) -> None:
    check_translated(artifact, where)
    if not isinstance(artifact.options.get("published", False), bool):
        raise SpecError(f"{where} options.published must be true or false, not {artifact.options['published']!r}")
    students = [m for m in artifact.members if isinstance(m.run.targets, Distill)]
    if not students:
        raise SpecError(f"{where} truncation needs a family of distilled students")
    if len({(m.run.dataset, m.run.model) for m in students}) > 1 and artifact.kind == "figure":
        raise SpecError(f"{where} truncation draws students of one network on one corpus; use an artifact for each")


DRAWING = Drawing(("figure", "table"), ("published",), tasks=("translation",), check=_check)
