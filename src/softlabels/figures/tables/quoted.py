"""What a paper says or quotes beside what measures it here (Table 1 of Müller et al. 2019 and of Chandrasegaran et al.
2022). No networks."""

from __future__ import annotations

from softlabels.figures.drawing import Drawing
from softlabels.figures.lazy import pd
from softlabels.figures.source import Measured, Source, tidy
from softlabels.grid.plan import Artifact

DRAWING = Drawing(of_networks=False)


def measure(artifact: Artifact, source: Source) -> Measured:
    """No numbers; plotted: the quotes (`papers.quotes.quoted`)."""
    from softlabels.papers.quotes import quoted

    return Measured(tidy([]), quoted(artifact.paper, artifact.name))


def table(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """A row for each statement: who, at which T, about what, in which words, and where it is measured."""
    shown = plotted.fillna("")
    targets = shown["measured_by"].str.replace(".", "_").str.replace(";", ", ")
    return shown.assign(claims=shown["claims"].str.replace(";", ", "), measured_by=targets)


def remarks(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """What the columns are."""
    return [
        "Quoted as printed; [T] stands for a symbol that is lost in the text at hand. measured_by: the targets whose "
        "numbers bear on it; empty where none does. claims: the ids of the register of claims. A statement is not a "
        "result: whether it holds is read there."
    ]
