"""What a projection of activations needs: three classes a row, and features of both splits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from softlabels.errors import SpecError
from softlabels.figures import roles
from softlabels.figures.declared.drawing import ANY, Drawing
from softlabels.grid.plan import Artifact
from softlabels.grid.probes import Tokens

METHODS = ("plane", "span_pca")
ROW_KEYS = ("family", "dataset", "temperature", "classes", "names")
"""Keys of an entry of `options.rows`."""


def _check(artifact: Artifact, where: str) -> None:
    if (method := artifact.options.get("method", "plane")) not in METHODS:
        raise SpecError(f"{where} options.method must be {' or '.join(METHODS)}, not {method!r}")
    rows = artifact.options.get("rows")
    if not isinstance(rows, list | tuple) or not rows:
        raise SpecError(f"{where} options.rows must list the rows of panels, each with its three classes")
    for number, entry in enumerate(rows):
        _check_row(artifact, entry, f"{where} options.rows[{number}]")


def _check_row(artifact: Artifact, entry: Any, where: str) -> None:
    if not isinstance(entry, Mapping) or not _three(entry.get("classes")):
        raise SpecError(f"{where}.classes must name three class indices")
    if unknown := [key for key in entry if key not in ROW_KEYS]:
        raise SpecError(f"{where} has no key {unknown[0]!r}; allowed: {', '.join(ROW_KEYS)}")
    if not _three(entry.get("names", entry["classes"])):
        raise SpecError(f"{where}.names must name the three classes")
    members = roles.of_row(artifact, entry)
    if not members:
        raise SpecError(f"{where} selects no member; check its family, dataset and temperature")
    alphas = [roles.labels_alpha(member.run) for member in members]
    if None in alphas:
        raise SpecError(f"{where}: {members[alphas.index(None)].family} is not taught by a network trained on labels")
    if len(set(alphas)) < len(alphas):
        raise SpecError(f"{where} selects several networks of one α; choose among them by family or dataset")
    for family in dict.fromkeys(member.family for member in members):
        probes = roles.feature_probes(artifact, family)
        if "train" not in probes or len(probes) != 2:
            raise SpecError(
                f"{where}: family {family} needs two probes of what: features (or what: tokens, with tokens), one of "
                "split: train and one of val or test"
            )
        for split, probe in probes.items():
            known = range(len(probe.tokens)) if isinstance(probe, Tokens) else probe.classes
            if known is not None and (absent := set(entry["classes"]) - set(known)):
                raise SpecError(f"{where}.classes: {min(absent)} is not in the {split} probe of {family}")
        if len({probe.tokens for probe in probes.values() if isinstance(probe, Tokens)}) > 1:
            raise SpecError(f"{where}: the two probes of {family} differ in tokens; give them one list")


def _three(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 3


DRAWING = Drawing(("figure",), ("method", "rows"), tasks=ANY, check=_check)
