"""How soft a teacher's targets are: softmax at a temperature, equivalent smoothing γ, entropy."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_softmax

from softlabels.metrics.arrays import Floats, checked, checked_logits, checked_temperature


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


def entropy(logits: ArrayLike, temperature: float = 1.0) -> float:
    """Mean Shannon entropy in nats of the targets softmax(z / T), logits `[N, K]`; at most log K."""
    log_p = _log_softmax(checked_logits(logits), temperature)
    return -float((np.exp(log_p) * log_p).sum(axis=1).mean())


def _log_softmax(z: Floats, temperature: float) -> Floats:
    log_p: Floats = log_softmax(z / checked_temperature(temperature), axis=1)
    return log_p
