"""Reliability table, expected calibration error (ECE) and temperature scaling (Müller Sec. 3).

Of logits that fit in memory: `reliability`, `ece`, `fit_temperature`. Of predictions that are made block by block
(`metrics.tokens`): `reliability_of`, `ece_of`, `likeliest`, `best_calibrated`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from softlabels.errors import SpecError
from softlabels.metrics.arrays import Bools, Floats, checked, checked_temperature
from softlabels.metrics.classification import nll

TEMPERATURES = (0.05, 20.0)
"""Where the likelihood criterion searches T; with no wrong (or no right) answer the best T is a bound."""
GRID = np.arange(1, 101) / 10
"""Where the ECE criterion searches T: 0.1, 0.2, … 10.0. The papers print one decimal."""


def reliability(logits: ArrayLike, labels: ArrayLike, bins: int = 15, temperature: float = 1.0) -> pd.DataFrame:
    """The reliability table of softmax(z / T): one row per bin of equal width, empty bins included.

    The confidence is the largest probability; a bin holds lower < confidence ≤ upper, so that a
    confidence of exactly 1 counts in the last bin (torchmetrics closes its bins below instead and
    gives 1 a bin of its own; the two differ only for confidences exactly on an edge).

    Returns:
        Columns bin (0 …), lower, upper, count, confidence and accuracy (means, fractions; NaN where
        the bin is empty).

    Raises:
        DataError: malformed logits or labels.
        SpecError: bins < 1 or T ≤ 0.
    """
    z, y = checked(logits, labels)
    return reliability_of(_confidence(z, checked_temperature(temperature)), z.argmax(axis=1) == y, bins)


def ece(logits: ArrayLike, labels: ArrayLike, bins: int = 15, temperature: float = 1.0) -> float:
    """Expected calibration error, a fraction: Σ_b count_b/N · |accuracy_b − confidence_b|.

    Bins and errors as in `reliability`. Müller et al. use 15 bins, Zhang & Sabuncu 20.
    """
    return ece_of_table(reliability(logits, labels, bins, temperature))


def fit_temperature(
    logits: ArrayLike, labels: ArrayLike, criterion: Literal["nll", "ece"] = "nll", bins: int = 15
) -> float:
    """The T that calibrates softmax(z / T) best on these logits `[N, K]` (temperature scaling).

    `nll` minimises the likelihood loss over log T within `TEMPERATURES`; `ece` takes the best of `GRID`,
    of equals the closest to 1. Müller et al. do not say which they used (register M-TS). `bins` is for
    `ece` only.

    Raises:
        DataError: malformed logits or labels.
        SpecError: an unknown criterion, or bins < 1.
    """
    z, y = checked(logits, labels)
    if criterion == "nll":
        return likeliest(lambda t: nll(z, y, t))
    if criterion != "ece":
        raise SpecError(f"criterion must be nll or ece, not {criterion!r}")
    right = z.argmax(axis=1) == y
    return best_calibrated([ece_of(_confidence(z, t), right, bins) for t in GRID])


def reliability_of(confidence: Floats, right: Bools, bins: int = 15) -> pd.DataFrame:
    """As `reliability`, of the largest probability `[N]` of each example and whether its prediction is right `[N]`."""
    if bins < 1:
        raise SpecError(f"bins must be at least 1, not {bins}")
    edges = np.linspace(0, 1, bins + 1)
    index = np.searchsorted(edges, confidence, side="left") - 1
    count = np.bincount(index, minlength=bins)
    with np.errstate(invalid="ignore"):  # empty bins: 0 / 0 is the NaN that is promised
        means = {
            name: np.bincount(index, weights=values, minlength=bins) / count
            for name, values in (("confidence", confidence), ("accuracy", right))
        }
    return pd.DataFrame({"bin": np.arange(bins), "lower": edges[:-1], "upper": edges[1:], "count": count, **means})


def ece_of(confidence: Floats, right: Bools, bins: int = 15) -> float:
    """As `ece`, of confidences `[N]` and right predictions `[N]`."""
    return ece_of_table(reliability_of(confidence, right, bins))


def likeliest(loss: Callable[[float], float]) -> float:
    """The T within `TEMPERATURES` of least likelihood loss; `loss` gives the mean loss in nats at a T."""
    from scipy.optimize import minimize_scalar  # half a second, which most tables need not wait for

    bounds = np.log(TEMPERATURES)
    found = minimize_scalar(lambda log_t: loss(np.exp(log_t)), bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def best_calibrated(errors: Sequence[float]) -> float:
    """The T of `GRID` of the smallest of these errors, one for each T; of equals the closest to 1."""
    # Rounded, so that equal tables in another order of summation stay equal.
    scores = [round(error, 12) for error in errors]
    return float(min(zip(scores, GRID, strict=True), key=lambda pair: (pair[0], abs(pair[1] - 1)))[1])


def _confidence(z: Floats, temperature: float) -> Floats:
    """max_k p_k(T) `[N]` of logits `[N, K]`."""
    shifted = (z - z.max(axis=1, keepdims=True)) / temperature
    confidence: Floats = 1 / np.exp(shifted).sum(axis=1)
    return confidence


def ece_of_table(table: pd.DataFrame) -> float:
    """The ECE of a table of `reliability`."""
    gap = (table["accuracy"] - table["confidence"]).abs()
    return float((gap * table["count"]).sum() / table["count"].sum())
