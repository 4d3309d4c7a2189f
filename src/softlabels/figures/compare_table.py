"""Our numbers beside the paper's (Müller et al. 2019, Table 2 and the MNIST numbers of Sec. 4)."""

from __future__ import annotations

import pandas as pd

from softlabels.figures.source import Measured, Source, tidy
from softlabels.grid.plan import Artifact
from softlabels.papers.published import READING, compare, printed_table


def measure(artifact: Artifact, source: Source) -> Measured:
    """The standard metrics of every member and seed; plotted: those the paper prints, beside its numbers."""
    frame = tidy([row for member in artifact.members for row in source.standard(artifact, member)])
    return Measured(frame, compare(frame, artifact))


def table(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Ours beside the paper's."""
    return printed_table(plotted)


def remarks(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """What the numbers are."""
    return [f"Accuracy and error in percent. mean and std (n − 1): over n seeds. {READING}"]
