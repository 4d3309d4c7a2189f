"""How soft a teacher's targets are: softmax at a temperature, γ, the true class's part, mean targets, entropy.

And the temperatures at which they are as soft as is asked: `temperature_of_label`, `temperature_of_entropy`,
`equal_entropy_temperature`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike

from softlabels.errors import DataError, SpecError
from softlabels.metrics.arrays import (
    Floats,
    checked,
    checked_logits,
    checked_temperature,
    checked_weight,
    log_softmax,
)

TEMPERATURES = (1e-3, 1e4)
"""Where the T of a given softness is searched. At larger T the entropy is log K up to rounding."""
BLOCK = 2**20
"""Logits that are worked on at a time: a training split's at several T would not fit in memory."""


def softmax(logits: ArrayLike, temperature: float = 1.0) -> Floats:
    """p(T) = softmax(z / T) `[N, K]` of logits `[N, K]`."""
    return np.exp(_log_softmax(checked_logits(logits), temperature))


def gamma(logits: ArrayLike, labels: ArrayLike, temperature: float = 1.0) -> float:
    """Equivalent label smoothing γ = E[Σ_k (1 − y_k) pᵗ_k(T)]·K/(K − 1) (Müller Sec. 4).

    The mass that the teacher's logits `[N, K]` give to wrong classes, scaled so that targets smoothed
    exactly by α (over all K classes) have γ = α.
    """
    z, y = checked(logits, labels)
    wrong = np.exp(_log_softmax(z, temperature))
    wrong[np.arange(len(y)), y] = 0  # not 1 − p_y: a confident teacher's wrong mass is below its rounding
    return float(wrong.sum(axis=1).mean() * z.shape[1] / (z.shape[1] - 1))


def log_odds(logits: ArrayLike, labels: ArrayLike, temperature: float = 1.0) -> Floats:
    """log p_y/(1 − p_y) `[N]` of the class y of each example, p = softmax(z / T), logits `[N, K]`, labels `[N]`.

    Orders examples as p_y does, and goes on where p_y ends: from 37 nats on p_y is 1 in float64, from 17 in float32.
    """
    from scipy.special import logsumexp  # a fifth of a second, which most tables need not wait for

    z, y = checked(logits, labels)
    rows = np.arange(len(y))
    others = (z - z[rows, y, None]) / checked_temperature(temperature)
    others[rows, y] = -np.inf
    odds: Floats = -logsumexp(others, axis=1)
    return odds


def effective_label(logits: ArrayLike, labels: ArrayLike, temperature: float = 1.0, beta: float = 1.0) -> float:
    """Mean 1 − β + β·p_y(T) of a student's true class: its hard label with 1 − β, its teacher's targets with β.

    Zhang & Sabuncu 2020, Sec. 7.1, where α is 1 − β here. Equal to 1 − β·γ·(K − 1)/K. Labels smoothed by ε over the
    K − 1 others have 1 − ε, Beta-smoothed ones `beta_smoothing.mean_label`.

    Raises:
        DataError: malformed logits `[N, K]` or labels `[N]`.
        SpecError: T ≤ 0, or β not in (0, 1].
    """
    weight, wrong = checked_weight(beta), gamma(logits, labels, temperature)
    num_classes = int(np.shape(logits)[1])
    return 1 - weight * wrong * (num_classes - 1) / num_classes


def mean_targets(logits: ArrayLike, temperatures: Sequence[float]) -> Floats:
    """Mean softmax(z / T) `[T, K]` at each T over logits `[N, K]`, such as those of a class' images.

    Chandrasegaran et al. 2022, Fig. 2 and App. E, over the training images of a class.

    Raises:
        DataError: malformed logits, or none: a class without images.
        SpecError: a T ≤ 0.
    """
    chosen = [checked_temperature(t) for t in temperatures]
    total: Floats = np.sum([[np.exp(_log_softmax(z, t)).sum(axis=0) for t in chosen] for z in _blocks(logits)], axis=0)
    return total / len(np.asarray(logits))


def insignificant_classes(mean: ArrayLike, target: int, factor: float = 100) -> int:
    """How many of the K − 1 other classes have p_k ≤ p₂ / factor: App. E of Chandrasegaran et al. 2022.

    Args:
        mean: probabilities `[K]` of the images of the target class, a row of `mean_targets`. p₂ is the largest of
            the other classes, whether or not the target's own is larger still (in the paper it is).
        target: the label of the target class.
        factor: what makes a probability significant next to another; the paper's is 100.

    Raises:
        DataError: not `[K ≥ 2]` finite probabilities, no such class, or others of probability 0 throughout.
        SpecError: a factor of at most 1.
    """
    p = np.asarray(mean, dtype=np.float64)
    if p.ndim != 1 or len(p) < 2 or not np.isfinite(p).all() or not 0 <= target < len(p):
        raise DataError(f"mean targets must be [K ≥ 2] probabilities of class {target}, not {list(p.shape)}")
    if not factor > 1:
        raise SpecError(f"factor must be above 1, not {factor}")
    others = np.delete(p, target)
    if not others.max() > 0:
        raise DataError(f"every class but {target} has probability 0, so none is the second; choose a higher T")
    return int((others * factor <= others.max()).sum())


def entropy(logits: ArrayLike, temperature: float = 1.0) -> float:
    """Mean Shannon entropy in nats of the targets softmax(z / T), logits `[N, K]`; at most log K.

    Of a teacher's predictions on training images this is the average predictive uncertainty of Zhang & Sabuncu 2020,
    Eq. 4.
    """
    total = 0.0
    for z in _blocks(logits):
        log_p = _log_softmax(z, temperature)
        total -= float((np.exp(log_p) * log_p).sum())
    return total / len(np.asarray(logits))


def temperature_of_entropy(logits: ArrayLike, nats: float) -> float:
    """The T at which the mean entropy of softmax(z / T), logits `[N, K]`, is a given one; entropy never falls with T.

    Raises:
        DataError: malformed logits, or an entropy that no T of the range gives: NaN, 0 or less, log K or more.
    """
    z = np.asarray(logits)
    return _temperature_where(
        lambda t: entropy(z, t), nats, TEMPERATURES, f"a mean entropy of {nats:.6g} nats (log K at most)"
    )


def temperature_of_label(
    logits: ArrayLike, labels: ArrayLike, label: float, beta: float = 1.0, nearest: bool = False
) -> float:
    """The T at which `effective_label` of a teacher's logits `[N, K]` on images labelled `[N]` is a given one.

    Zhang & Sabuncu 2020, Sec. 7.1: 0.85 with β = 0.4, to compare with label smoothing of 0.15. The label is 1 − β + β
    times the teacher's accuracy as T → 0, and 1 − β + β/K as T → ∞. Where the teacher errs it need not fall all the
    way; of several T the hottest is returned, above which more heat only lowers the label. With `nearest`, where no T
    gives the label, the one of 29 between 0.001 and 10,000 whose label is nearest, of equals the hottest.

    Raises:
        DataError: malformed logits or labels, or, without `nearest`, a label that no T of the range gives.
        SpecError: β not in (0, 1].
    """
    return _temperature_where(
        lambda t: effective_label(logits, labels, t, beta),
        label,
        np.geomspace(*TEMPERATURES, 29).tolist(),  # four to a factor of ten: it turns over larger ones
        f"a mean label of {label:.6g} on the true class at beta = {beta:g}",
        nearest,
    )


def equal_entropy_temperature(logits: ArrayLike, reference: ArrayLike, temperature: float) -> float:
    """The T at which a teacher's targets are on average as soft as another's at its `temperature`.

    T_a and T_b of App. H of Chandrasegaran et al. 2022 (Table H.1; the values are lost in print): of the teacher
    trained without label smoothing (`logits`), against the smoothed one (`reference`) at T = 1 and 3. Both `[N, K]`, of
    the same images.

    Raises:
        DataError: malformed logits, of different sizes, or an entropy that no T gives.
        SpecError: T ≤ 0.
    """
    z, other = np.asarray(logits), np.asarray(reference)
    if z.shape != other.shape:
        raise DataError(f"two teachers' logits must be of the same images and classes, not {z.shape} and {other.shape}")
    return temperature_of_entropy(z, entropy(other, temperature))


def _temperature_where(
    mean: Callable[[float], float], value: float, temperatures: Sequence[float], what: str, nearest: bool = False
) -> float:
    """The T at which mean(T) is a value, by Brent's method over log T between two of these rising temperatures.

    Of several crossings the hottest. Two temperatures, the ends of the range, do for a mean that rises or falls with T
    throughout.
    """
    places = np.log(temperatures)
    heights = np.array([mean(np.exp(place)) for place in places])
    if not heights.min() < value < heights.max():
        if nearest:
            return float(temperatures[len(heights) - 1 - int(np.abs(heights - value)[::-1].argmin())])
        raise DataError(
            f"no temperature gives these logits {what}: from T = {temperatures[0]:g} to {temperatures[-1]:g} it lies "
            f"between {heights.min():.6g} and {heights.max():.6g}; ask for one in between"
        )
    below = heights < value
    last = np.flatnonzero(below[:-1] != below[1:])[-1]
    from scipy.optimize import brentq  # half a second, which most tables need not wait for

    return float(np.exp(brentq(lambda log_t: mean(np.exp(log_t)) - value, places[last], places[last + 1])))


def _blocks(logits: ArrayLike) -> Iterator[Floats]:
    """Rows of logits `[N, K]` in float64, checked, about `BLOCK` numbers at a time."""
    z = np.asarray(logits)
    rows = max(1, BLOCK // z.shape[-1]) if z.ndim == 2 and z.size else 1
    for start in range(0, max(len(z), 1), rows):
        yield checked_logits(z[start : start + rows])


def _log_softmax(z: Floats, temperature: float) -> Floats:
    log_p: Floats = log_softmax(z / checked_temperature(temperature))
    return log_p
