"""What every metric asks of its logits and labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from softlabels.errors import DataError, SpecError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def checked_logits(logits: ArrayLike) -> Floats:
    """Logits `[N, K]` in float64.

    Raises:
        DataError: not `[N, K]` with N ≥ 1 and K ≥ 2, or not finite.
    """
    z = np.asarray(logits, dtype=np.float64)
    if z.ndim != 2 or z.shape[0] < 1 or z.shape[1] < 2:
        raise DataError(f"logits must be [N, K] with N ≥ 1 examples and K ≥ 2 classes, not {list(z.shape)}")
    if not np.isfinite(z).all():
        raise DataError("logits contain NaN or infinity; train the network that made them again")
    return z


def checked(logits: ArrayLike, labels: ArrayLike) -> tuple[Floats, Ints]:
    """Logits `[N, K]` in float64 and their labels `[N]` in int64.

    Raises:
        DataError: a shape does not fit, a logit is not finite, or a label is not one of 0 … K − 1.
    """
    z = checked_logits(logits)
    y = np.asarray(labels)
    if y.shape != (len(z),) or not np.issubdtype(y.dtype, np.integer):
        raise DataError(f"labels must be {len(z)} integers, one per row of logits, not {y.dtype} {list(y.shape)}")
    if y.min() < 0 or y.max() >= z.shape[1]:
        raise DataError(f"labels run from {y.min()} to {y.max()} but the logits have {z.shape[1]} classes")
    return z, y.astype(np.int64)


def checked_temperature(temperature: float) -> float:
    """A temperature T > 0.

    Raises:
        SpecError: T is not positive and finite.
    """
    if not 0 < temperature < np.inf:
        raise SpecError(f"temperature must be positive and finite, not {temperature}")
    return float(temperature)


def checked_weight(beta: float) -> float:
    """A weight β of soft targets within (0, 1]; hard labels have 1 − β.

    Raises:
        SpecError: β is not above 0, or above 1.
    """
    if not 0 < beta <= 1:
        raise SpecError(f"beta, the weight of the soft targets, must be above 0 and at most 1, not {beta}")
    return float(beta)
