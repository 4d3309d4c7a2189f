"""The declaration of a drawing module."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from softlabels.grid.plan import Artifact

ANY = ("image", "translation")


@dataclass(frozen=True)
class Drawing:
    """A module of `softlabels.figures`: figures have its `draw`, tables its `table`."""

    kinds: tuple[str, ...]
    options: tuple[str, ...] = ()
    """Keys of an artifact's `options` that it reads."""
    labels_only: bool = False
    """Shows networks trained on labels, without a teacher."""
    by_temperature: bool = False
    """Places students by T, which must be a number."""
    tasks: tuple[str, ...] = ("image",)
    """Tasks of the networks that it shows."""
    of_networks: bool = True
    """Shows networks; without, its artifacts have no families, seeds or probes."""
    check: Callable[[Artifact, str], None] | None = None
    """Refuses (SpecError) what it cannot measure or draw; its second argument begins the message."""
