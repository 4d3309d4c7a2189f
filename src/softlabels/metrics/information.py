"""Mutual information of an example's index and a difference of two of its logits (Müller Sec. 4, Fig. 6)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp

from softlabels.errors import DataError, SpecError
from softlabels.metrics.arrays import Floats


def mutual_information(y: ArrayLike, draws: Literal["fresh", "reused"]) -> float:
    """Î(X; Y) in nats, X the index of one of N examples, Y a number that random augmentation makes noisy.

        Î = 1/N Σ_x [ −(y_x − μ_x)²/2σ² − log( 1/N Σ_x' exp(−(y_x − μ_x')²/2σ²) ) ]

    Y given x is taken as Gaussian with mean μ_x, estimated from L draws, and one variance σ² for all x, the
    mean of (y_x − μ_x)². The inner sum runs over x' with y_x kept; the paper calls both indices x. The
    paper does not say whether y_x is one of the L draws behind μ_x (register M-MI):

    * `fresh`: y is `[N, L + 1]`; the first L columns give μ, the last is y_x and gives σ².
    * `reused`: y is `[N, L]`; every column gives μ and serves as y_x in turn. σ² is pooled over all
      columns and the L estimates are averaged, since draws are exchangeable and no column is special.

    Both are at most log N, which examples that lie far apart reach; `collapsed` is what examples give that
    fell into clusters. An estimate can be a little below 0, as μ and σ² are themselves estimates.

    Raises:
        DataError: not `[N, L]` numbers with N ≥ 2 and enough draws, or draws that do not vary at all.
        SpecError: unknown `draws`.
    """
    values = np.asarray(y, dtype=np.float64)
    if draws not in ("fresh", "reused"):
        raise SpecError(f"draws must be fresh or reused, not {draws!r}")
    if values.ndim != 2 or values.shape[0] < 2 or values.shape[1] < 2 or not np.isfinite(values).all():
        raise DataError(f"mutual information needs finite draws [N ≥ 2, at least 2], not {list(values.shape)}")
    given, asked = (values[:, :-1], values[:, -1:]) if draws == "fresh" else (values, values)
    mean = given.mean(axis=1)
    variance = float(np.mean((asked - mean[:, None]) ** 2))
    if variance <= (4 * np.finfo(np.float64).eps * np.abs(values).max()) ** 2:  # no more than rounding
        raise DataError(
            "mutual information is undefined where every draw of an example is equal (σ² = 0); "
            "measure it under random augmentation"
        )
    return float(np.mean([_estimate(column, mean, variance) for column in asked.T]))


def collapsed(clusters: int, num_draws: int, draws: Literal["fresh", "reused"]) -> float:
    """What `mutual_information` tends to (N → ∞) for examples collapsed to C equal, distant clusters.

    All examples of a cluster then have one mean, and their draws are Gaussian. With L = `num_draws` behind
    μ_x, `fresh` gives log C + ½ log((L + 2)/(L + 1)) − 1/(L + 2) and `reused` log C − ½ log(1 − 1/L): for
    C = 2, L = 5 that is 0.627 and 0.805, log 2 being 0.693.

    Raises:
        SpecError: unknown `draws`, no cluster, or fewer than 2 draws.
    """
    if draws not in ("fresh", "reused"):
        raise SpecError(f"draws must be fresh or reused, not {draws!r}")
    L = num_draws
    if clusters < 1 or L < 2:
        raise SpecError(f"collapsed needs a cluster and 2 or more draws, not {clusters} and {L}")
    bias = 0.5 * np.log((L + 2) / (L + 1)) - 1 / (L + 2) if draws == "fresh" else -0.5 * np.log(1 - 1 / L)
    return float(np.log(clusters) + bias)


def _estimate(y: Floats, mean: Floats, variance: float) -> float:
    exponent = -((y[:, None] - mean) ** 2) / (2 * variance)  # [N (x), N (x')]
    return float(np.mean(exponent.diagonal() - logsumexp(exponent, axis=1) + np.log(len(y))))
