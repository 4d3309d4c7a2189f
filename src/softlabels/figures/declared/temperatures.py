"""`options.temperatures`: the T that a teacher's logits are divided by."""

from __future__ import annotations

from softlabels.errors import SpecError
from softlabels.grid.plan import Artifact


def check_temperatures(artifact: Artifact, where: str) -> None:
    """Refuse what is no list of temperatures."""
    found = artifact.options.get("temperatures")
    if not isinstance(found, list | tuple) or not found or len(set(found)) < len(found):
        raise SpecError(f"{where} options.temperatures must list one or more temperatures, each once")
    if bad := [t for t in found if isinstance(t, bool) or not isinstance(t, int | float) or not t > 0]:
        raise SpecError(f"{where} options.temperatures must be above 0, not {bad[0]!r}")


def temperatures_of(artifact: Artifact) -> list[float]:
    """They, rising."""
    return sorted(float(t) for t in artifact.options["temperatures"])
