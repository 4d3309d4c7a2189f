"""How the pages write numbers and tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from softlabels.figures.intervals import bounds

MINUS = "−"


def signed(value: float, digits: int = 2) -> str:
    """`+0.12`, `−0.30`."""
    return f"{value:+.{digits}f}".replace("-", MINUS)


def spread(values: Sequence[float] | pd.Series, digits: int = 2) -> str:
    """Mean ± standard deviation with n − 1: `98.50 ± 0.08`."""
    return f"{np.mean(values):.{digits}f} ± {np.std(values, ddof=1):.{digits}f}"


def interval(mean: float, low: float, high: float) -> str:
    """`+0.12 (−0.10 to +0.34)`."""
    return f"{signed(mean)} ({signed(low)} to {signed(high)})"


def paired(apart: Sequence[float]) -> str:
    """Mean of differences with its 95 % interval, or that they are too few for one."""
    low, high = bounds(apart)
    mean = float(np.mean(apart))
    return interval(mean, low, high) if np.isfinite(low) else f"{signed(mean)} (n = {len(apart)}: too few)"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = ("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *rows))
    return "\n".join(re.sub(r"\|  (?=\|)", "| ", line) for line in lines)
