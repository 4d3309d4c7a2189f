"""Drawing modules of the user's own: `draw: own:my_figures` is `my_figures.py` where snakemake runs."""

from __future__ import annotations

from pathlib import Path

from softlabels.figures.declared.drawing import ANY, Drawing
from softlabels.grid.plan import Artifact

PREFIX = "own:"
MADE_OF_ANYTHING = Drawing(("figure", "table"), tasks=ANY)


def is_own(draw: str) -> bool:
    """Whether a drawing is the user's."""
    return draw.startswith(PREFIX)


def module_of(draw: str) -> str:
    """The import path of its module."""
    return draw.removeprefix(PREFIX)


def own_files(artifact: Artifact) -> list[Path]:
    """Its file, if it lies where snakemake runs: a changed drawing is drawn anew."""
    path = Path(*module_of(artifact.draw).split(".")).with_suffix(".py")
    return [path] if is_own(artifact.draw) and path.is_file() else []
