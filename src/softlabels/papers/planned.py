"""Whether every number that a claim selects is one that the grids plan."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from softlabels.errors import SpecError
from softlabels.grid.plan import Plan
from softlabels.metrics.rows import key_columns, published_key
from softlabels.papers.claims import all_claims
from softlabels.papers.numbers import Numbers, said

OF_NO_RUN = {"artifact", "split", "metric", "target_class"}
SWEEPS = {"entropy", "class_probabilities", "softened_teacher"}
"""Drawings whose temperatures are of their own, and not of students."""


def check_claims(plan: Plan) -> None:
    """Of the artifacts that are planned, each run that a claim selects is there; scales that subsample lack some.

    Raises:
        SpecError: one is not; names the claim and what it selects.
    """
    members = {
        name: [published_key(key_columns(artifact, member, "", plan.scale)) for member in artifact.members]
        for name, artifact in plan.artifacts.items()
    }
    for claim in all_claims():
        tests = claim.tests(Numbers(claim.paper, claim=claim.id))
        for wanted in (s for t in tests for c in t.comparisons for value in c.values for s in value.selected):
            name = f"{claim.paper}.{wanted['artifact']}"
            if (artifact := plan.artifacts.get(name)) is None:
                continue
            free = OF_NO_RUN | ({"kd_temperature"} if artifact.plot in SWEEPS else set())
            if not any(_fits(key, wanted, free) for key in members[name]):
                raise SpecError(f"claim {claim.id} selects {said(wanted)}, which no run of {name} is; mend either")


def _fits(key: Mapping[str, Any], wanted: Mapping[str, Any], free: set[str]) -> bool:
    return all(name in free or _same(key[name], value) for name, value in wanted.items())


def _same(text: str, value: object) -> bool:
    if value == "temp_scaling":  # which is no training
        return True
    if isinstance(value, int | float):
        return math.isnan(value) or (text != "" and float(text) == value)  # NaN: whatever there is
    return text == str(value)
