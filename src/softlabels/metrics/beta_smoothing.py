"""Beta smoothing (Zhang & Sabuncu 2020, Sec. 6): labels smoothed the less the more confident the network is.

Of a batch of m examples, m draws b from Beta(a, 1) are sorted and dealt out by rank of confidence, the largest to the
most confident; the example's target is b on its class and (1 − b)/(K − 1) on each other. Here is the arithmetic; what
is random comes in as uniform numbers.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from softlabels.errors import DataError, SpecError, require
from softlabels.metrics.arrays import Floats, Ints, checked, checked_weight
from softlabels.metrics.soft_targets import log_odds


def mean_label(a: float, beta: float = 1.0) -> float:
    """E[1 − β + β·b] = 1 − β/(a + 1): the mean target of the true class, b ~ Beta(a, 1) with weight β.

    The rest of the target's mass lies equally on the K − 1 others, as that of label smoothing by β/(a + 1) over the
    others does.

    Raises:
        SpecError: a not above 0, or β not in (0, 1].
    """
    return 1 - checked_weight(beta) / (_checked_shape(a) + 1)


def shape_of_label(label: float, beta: float = 1.0) -> float:
    """The a at which `mean_label` is a given one: β/(1 − label) − 1. The paper's 0.85 with β = 0.6 has a = 3.

    Raises:
        SpecError: β not in (0, 1], or a label not between 1 − β and 1, where no a > 0 leads.
    """
    lowest = 1 - checked_weight(beta)
    require(
        lowest < label < 1, f"a mean label at beta = {beta:g} lies between {lowest:g} and 1, so it cannot be {label}"
    )
    return beta / (1 - label) - 1


def diversity(a: float) -> float:
    """h(b) in nats of b ~ Beta(a, 1): (a − 1)/a − log a, the confidence diversity of Beta-smoothed labels.

    0 at a = 1 (uniform), less elsewhere. Label smoothing of the same mean has −∞.

    Raises:
        SpecError: a not above 0.
    """
    return (_checked_shape(a) - 1) / a - float(np.log(a))


def ranks(logits: ArrayLike, labels: ArrayLike, by: Literal["max_probability", "true_class"]) -> Ints:
    """Rank `[m]` of each example by the confidence of its prediction, 0 the least confident.

    `max_probability` is the paper's, `true_class`, the probability of the label, its code's (Z-RANK in
    docs/conventions.md). Ranked by log-odds, so that probabilities which round to 1 keep their order. Of equals the
    earlier in the batch comes first, as batches are shuffled. Equal are rows whose logits are the same, by
    `max_probability` in any order.

    Raises:
        DataError: malformed logits `[m, K]` or labels `[m]`.
        SpecError: an unknown `by`.
    """
    z, y = checked(logits, labels)
    if by == "max_probability":
        z = np.sort(z, axis=1)  # in one order, so that sums over equal rows are equal
        y = np.full_like(y, z.shape[1] - 1)
    elif by != "true_class":
        raise SpecError(f"ranks are by max_probability or true_class, not {by!r}")
    found = np.empty(len(y), dtype=np.int64)
    found[np.argsort(log_odds(z, y), kind="stable")] = np.arange(len(y))
    return found


def label_values(uniform: ArrayLike, rank: ArrayLike, a: float) -> Floats:
    """b `[m]` of each example: the draws u^(1/a) ~ Beta(a, 1) of uniform u `[m]`, sorted and dealt out by rank `[m]`.

    Ranks that do not depend on the examples give the paper's random Beta smoothing (App. A.8).

    Raises:
        DataError: u not `[m ≥ 1]` within [0, 1], or ranks that are not 0 … m − 1 in some order.
        SpecError: a not above 0.
    """
    u, r = np.asarray(uniform, dtype=np.float64), np.asarray(rank)
    if u.ndim != 1 or not u.size or not ((u >= 0) & (u <= 1)).all():
        raise DataError(f"uniform draws must be [m ≥ 1] numbers within [0, 1], not {list(u.shape)} or outside")
    if not np.issubdtype(r.dtype, np.integer) or not np.array_equal(np.sort(r), np.arange(len(u))):
        raise DataError(f"ranks must be 0 … {len(u) - 1}, each once, one for each of the {len(u)} draws")
    values: Floats = np.sort(u)[r] ** (1 / _checked_shape(a))
    return values


def targets(values: ArrayLike, labels: ArrayLike, num_classes: int) -> Floats:
    """Targets `[m, K]`: b `[m]` on the labels' classes `[m]`, (1 − b)/(K − 1) on each other.

    Raises:
        DataError: b and labels of different lengths, a b outside [0, 1], or a label that is no class.
    """
    b, y = np.asarray(values, dtype=np.float64), np.asarray(labels)
    if b.ndim != 1 or b.shape != y.shape or not ((b >= 0) & (b <= 1)).all():
        raise DataError(f"Beta-smoothed labels need values [m] within [0, 1] and m labels, not {b.shape} and {y.shape}")
    if num_classes < 2 or not np.issubdtype(y.dtype, np.integer) or not ((y >= 0) & (y < num_classes)).all():
        raise DataError(f"labels must be classes 0 … {num_classes - 1}, of 2 or more")
    found: Floats = np.repeat((1 - b)[:, None] / (num_classes - 1), num_classes, axis=1)
    found[np.arange(len(y)), y] = b
    return found


def _checked_shape(a: float) -> float:
    require(0 < a < np.inf, f"a of Beta(a, 1) must be above 0 and finite, not {a}; its mean is a/(a + 1)")
    return float(a)
