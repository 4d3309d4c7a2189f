"""Claims about formulas, checked in closed form on the code that they are about.

Each returns two sides, equal where the claim holds; where it says that two things differ, whether they do and 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from softlabels.metrics.arrays import Floats
from softlabels.metrics.beta_smoothing import label_values, shape_of_label
from softlabels.metrics.soft_targets import gamma, softmax
from softlabels.metrics.virtual_teacher import softened

Sides = tuple[Floats, Floats]
K = 10
ALPHAS = np.array([0.0, 0.1, 0.5, 0.9])


def smoothed(alpha: float, label: int = 0) -> Floats:
    """y_LS = (1 − α) y + α/K `[K]` (Müller Eq. 1)."""
    return np.asarray((1 - alpha) * np.eye(K)[label] + alpha / K)


def gamma_of_smoothed_labels() -> Sides:
    """γ of label-smoothed one-hot vectors is α (Müller Sec. 4)."""
    with np.errstate(divide="ignore"):
        logits = [np.log(np.stack([smoothed(alpha, label) for label in range(K)])) for alpha in ALPHAS]
    found = [gamma(np.where(np.isfinite(z), z, -1e9), np.arange(K)) for z in logits]
    return np.array(found), ALPHAS


def virtual_teacher_is_not_smoothing() -> Sides:
    """The gradient of Yuan Eq. S.5 with τ ≠ 1 is no smoothed label's (S.3), whatever its α: it has the softened student
    in it."""
    z, weight, tau = np.linspace(-1, 2, K)[None], 0.5, 20.0
    correct, wrong = softened(K, tau, "equations")
    teacher = np.where(np.arange(K) == 0, correct, wrong)
    virtual = (1 - weight) * (softmax(z) - smoothed(0)) + weight * (softmax(z, tau) - teacher) / tau
    least = min(np.abs(softmax(z) - smoothed(alpha) - virtual).max() for alpha in np.linspace(0, 1, 1001))
    return np.array([float(least > 1e-3)]), np.array([1.0])


def hot_teacher_is_smoothing() -> Sides:
    """As T → ∞ the targets of Zhang & Sabuncu's Eq. 3 become (1 − α) y + α/K, those of label smoothing."""
    teacher = softmax(np.random.default_rng(0).normal(size=(1, K)), 1e9)[0]
    taught = np.stack([(1 - alpha) * smoothed(0) + alpha * teacher for alpha in ALPHAS])
    return taught, np.stack([smoothed(alpha) for alpha in ALPHAS])


def smoothing_has_no_diversity() -> Sides:
    """The true-class target of label smoothing is the same for every image, with more entropy than a label's; that of a
    Beta distribution of the same mean spreads (Zhang & Sabuncu Sec. 5)."""
    alpha = 0.15
    labels = np.array([smoothed(alpha, label)[label] for label in range(K)])
    entropy = -(smoothed(alpha) * np.log(smoothed(alpha))).sum()
    spread = np.std(label_values(np.linspace(0.01, 0.99, K), np.arange(K), shape_of_label(1 - alpha)))
    return np.array([np.ptp(labels), float(entropy > 0), float(spread > 0)]), np.array([0.0, 1.0, 1.0])


IDENTITIES: Mapping[str, Callable[[], Sides]] = {
    function.__name__: function
    for function in (
        gamma_of_smoothed_labels,
        virtual_teacher_is_not_smoothing,
        hot_teacher_is_smoothing,
        smoothing_has_no_diversity,
    )
}
