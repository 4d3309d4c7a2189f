"""Claims about formulas, checked in closed form on the code that they are about.

Each returns two sides, equal where the claim holds; where it says that two things differ, whether they do and 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

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
    """The gradient of Yuan Eq. S.5 with τ ≠ 1 is no smoothed label's (S.3), whatever its α and the size of its step: it
    has the softened student in it. With τ = 1, and as released, it is one, to rounding."""
    z = np.random.default_rng(0).normal(size=(200, K)) * np.linspace(0.5, 5, 200)[:, None]
    p, weight = softmax(z), 0.5

    def from_smoothing(form: Literal["equations", "released"], tau: float) -> float:
        """The residual of the best α and step: s (p − (1 − α) y − α/K) is linear in s, s (1 − α) and s α."""
        correct, wrong = softened(K, tau, form)
        teacher = np.where(np.arange(K) == 0, correct, wrong)
        soft = (softmax(z, tau) - teacher) / tau if form == "equations" else (p - teacher) / K
        gradient = (1 - weight) * (p - smoothed(0)) + weight * soft
        terms = np.stack([p.ravel(), np.tile(-smoothed(0), len(z)), np.full(p.size, -1 / K)], axis=1)
        fitted = terms @ np.linalg.lstsq(terms, gradient.ravel(), rcond=None)[0]
        return float(np.linalg.norm(fitted - gradient.ravel()) / np.linalg.norm(gradient))

    # By 1.3e-3 at τ = 20, so nearly the same; the controls are below 1e-14.
    apart = from_smoothing("equations", 20.0) > 1e-6
    return np.array([apart, from_smoothing("equations", 1.0), from_smoothing("released", 20.0)]), np.array([1.0, 0, 0])


def entropy_rises_with_temperature() -> Sides:
    """dH(softmax(z/T))/dT is the variance of z under softmax(z/T) ÷ T³, so entropy rises with T for all logits that are
    not equal: the least step between neighbouring T of random logits is above 0."""
    z = np.random.default_rng(0).normal(size=(200, K)) * 3
    p = [softmax(z, T) for T in (1, 1.5, 2, 2.5, 3, 4, 5, 7.5, 10)]
    entropies = np.stack([-(own * np.log(own)).sum(1) for own in p])
    return np.array([float(np.diff(entropies, axis=0).min() > 0)]), np.array([1.0])


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
        entropy_rises_with_temperature,
        hot_teacher_is_smoothing,
        smoothing_has_no_diversity,
    )
}
