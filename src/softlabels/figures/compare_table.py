"""Our numbers beside the paper's (Müller et al. 2019, Table 2, the MNIST numbers of Sec. 4, the accuracy of App. B)."""

from __future__ import annotations

import pandas as pd

from softlabels.figures import roles
from softlabels.figures.source import Measured, Row, Source, tidy
from softlabels.grid.plan import Artifact, Member
from softlabels.metrics.tokens import token_rows
from softlabels.papers.published import READING, compare, printed_table


def measure(artifact: Artifact, source: Source) -> Measured:
    """The standard metrics of every member and seed; plotted: those the paper prints, beside its numbers.

    Of translation networks also on the sentences of their probes of every token: what the paper says of training.
    """
    rows = [row for m in artifact.members for row in (*source.standard(artifact, m), *_probed(artifact, source, m))]
    frame = tidy(rows)
    return Measured(frame, compare(frame, artifact))


def _probed(artifact: Artifact, source: Source, member: Member) -> list[Row]:
    """The metrics of `token_rows` on the probes of a member."""
    return [
        source.row(artifact, member, seed, *found)
        for probe in roles.token_probes(artifact, member.family)
        for seed in member.seeds
        if (file := source.token_probe(member, seed, probe)) is not None
        for found in token_rows(file)
    ]


def table(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Ours beside the paper's."""
    return printed_table(plotted)


def remarks(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """What the numbers are."""
    said = f"Accuracy and error in percent. mean and std (n − 1): over n seeds. {READING}"
    for probe in dict.fromkeys(p for m in artifact.members for p in roles.token_probes(artifact, m.family)):
        part = "all sentences" if probe.sentences is None else f"the first {probe.sentences:,} sentences"
        said += f" next_token_accuracy on {probe.split}: {part}, each token predicted from the right prefix."
    return [said]
