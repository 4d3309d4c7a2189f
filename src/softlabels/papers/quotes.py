"""What papers say in words (`quotes.csv`), with the claims and artifacts that put it to the test."""

from __future__ import annotations

from importlib import resources

import pandas as pd


def quoted(paper: str, artifact: str) -> pd.DataFrame:
    """The quotes of one artifact, in the paper's order; empty where there are none.

    Columns: who says it; at which T; about what (a column of the paper's table); text, as printed, [T] where the symbol
    is lost; source; claims and measured_by: ids separated by `;`. "" where there is nothing to say.
    """
    with resources.files("softlabels.papers").joinpath("quotes.csv").open(encoding="utf-8") as handle:
        table = pd.read_csv(handle, dtype=str, keep_default_na=False)
    own = table[(table["paper"] == paper) & (table["artifact"] == artifact)]
    return own.drop(columns=["paper", "artifact"]).reset_index(drop=True)
