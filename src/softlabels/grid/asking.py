"""The probes of a family as a grid writes them, checked against its networks."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from softlabels.errors import SpecError
from softlabels.grid import datasets
from softlabels.grid.class_names import labels
from softlabels.grid.files import probe_from
from softlabels.grid.probes import KINDS, AnyProbe, PictureProbe
from softlabels.grid.spec import Run, RunSpec, TranslationSpec


def probes_from(content: Mapping[str, Any], runs: Sequence[Run], where: str) -> list[AnyProbe]:
    """A probe for each combination of the values that are given as a list where a probe takes one.

    Args:
        runs: the networks that are asked.

    Raises:
        SpecError: as `parse.from_dict`, or a question that these networks cannot answer.
    """
    several = [name for name in ("temperature", "checkpoint") if isinstance(content.get(name), list)]
    return [
        _probe({**content, **dict(zip(several, values, strict=True))}, runs, where)
        for values in itertools.product(*(content[name] for name in several))
    ]


def _probe(content: Mapping[str, Any], runs: Sequence[Run], where: str) -> AnyProbe:
    probe = probe_from(content, where)
    for run in runs:
        if isinstance(run, TranslationSpec) == isinstance(probe, PictureProbe):
            picture = isinstance(run, RunSpec)
            told = [what for what, kind in KINDS.items() if picture == issubclass(kind, PictureProbe)]
            raise SpecError(f"{where}.what: of a {run.task} network one asks {', '.join(told[:-1])} or {told[-1]}")
        if isinstance(run, RunSpec) and isinstance(probe, PictureProbe):
            probe = _fitting(probe, run, where)
    return probe


def _fitting(probe: PictureProbe, run: RunSpec, where: str) -> PictureProbe:
    """The probe, its classes by index where their names are declared, so that one question has one name."""
    declared = datasets.info(run.dataset)
    known = [k for k in probe.classes or () if isinstance(k, int)]
    if known and max(known) >= declared.num_classes:
        raise SpecError(f"{where}.classes: {run.dataset.name} has classes 0 to {declared.num_classes - 1} only")
    if probe.classes and declared.class_names:
        probe = replace(probe, classes=labels(probe.classes, declared.class_names, f"{where}.classes"))
    if probe.checkpoints == "milestones" and not (run.recipe.milestones or run.recipe.milestone_every):
        raise SpecError(f"{where}.checkpoints: the recipe of the family keeps no milestones")
    return probe
