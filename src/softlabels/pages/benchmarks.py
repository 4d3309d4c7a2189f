"""Tables of docs/results/benchmarks.md, from the CSV file beside it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from softlabels.pages.cells import table

PARTS = ("core", "audit", "streaming", "slurm", "translation", "cache")


def ratios(root: Path, part: str) -> str:
    """The ratios of one of `PARTS`, with quartiles and whether they meet their aims."""
    found = pd.read_csv(root / "docs" / "results" / "benchmarks.csv", dtype=str, keep_default_na=False)
    own = found[found["part"] == part]
    shown = [column for column in ("processor", "aim", "note") if own[column].any()]
    rows = []
    for row in own.to_dict("records"):
        within = f" [{row['low']}, {row['high']}]" if row["low"] else ""
        aim = row["aim"] and f"{row['aim']}, {_met(float(row['wall']), row['aim'])}"
        cells = {**row, "aim": aim or "none"}
        rows.append([row["ratio"], row["wall"] + within, *(cells[column] for column in shown)])
    names = {"processor": "processor time", "aim": "aim", "note": "beside"}
    return table(["ratio", "wall time", *(names[column] for column in shown)], rows)


def _met(value: float, aim: str) -> str:
    relation, bound = aim.split()
    over = max(value, 1 / value) if relation == "factor" else value
    apart = float(bound) - over if relation == "≥" else over - float(bound)
    return "met" if apart <= 0 else f"**missed** by {apart:.3f}"
