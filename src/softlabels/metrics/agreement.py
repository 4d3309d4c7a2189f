"""How far the logits of a teacher agree with the labels, and what speaks against the teacher.

A network or logits from elsewhere can have their classes or images in another order, or be no logits at all. Nothing
fails then: students only learn worse. The labels of the training images show it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from softlabels.metrics.arrays import Bools, Ints, checked

SIGNIFICANCE = 1e-3
"""Largest p-value at which something is taken to be no chance."""
CHANCE = 0.05, 3.0
"""A Cohen's κ of at most this, or of at most so many standard errors, is near chance."""
GAIN = 0.2
"""A share of right images that is larger by this, of the classes concerned, speaks for another order."""


@dataclass(frozen=True)
class Agreement:
    """Of logits `[N, K]` and labels `[N]`."""

    images: int
    """N, the images that were looked at."""
    top1: float
    """Share of images whose largest logit is that of their label."""
    ece: float
    """Expected calibration error, a fraction, in 15 bins."""
    kappa: float
    """Cohen's κ: 0 for answers that have nothing to do with the labels, 1 where all are right."""
    kappa_error: float
    """Standard error of κ were its true value 0 (Fleiss, Cohen & Everitt 1969)."""
    probabilities: float
    """Share of rows without a negative number whose sum is 1."""


def agreement(logits: ArrayLike, labels: ArrayLike) -> Agreement:
    """Compare logits `[N, K]` with labels `[N]`.

    Raises:
        DataError: malformed logits or labels.
    """
    from softlabels.metrics.calibration import ece

    z, y = checked(logits, labels)
    N, K = z.shape
    answers = z.argmax(axis=1)
    top1 = float((answers == y).mean())
    given, wanted = np.bincount(answers, minlength=K) / N, np.bincount(y, minlength=K) / N
    chance = float(given @ wanted)
    if chance == 1:  # one class alone
        kappa, error = 0.0, 0.0
    else:
        kappa = (top1 - chance) / (1 - chance)
        variance = chance + chance**2 - float((given * wanted) @ (given + wanted))
        error = float(np.sqrt(max(variance, 0.0) / N)) / (1 - chance)
    whole = (z.min(axis=1) >= 0) & (np.abs(z.sum(axis=1) - 1) < 1e-2)  # as exact as fp16
    return Agreement(N, top1, ece(z, y), kappa, error, float(whole.mean()))


def better_order(logits: ArrayLike, labels: ArrayLike) -> Ints | None:
    """The class `[K]` that each output stands for, where that fits the labels much better than the order given.

    Found on every second image by the assignment of outputs to classes with most right answers, and tested on the
    others: among the images of classes that would change places the share of right answers must grow by `GAIN`, with
    McNemar's exact test.

    Returns:
        None where no other order is much better.

    Raises:
        DataError: malformed logits or labels.
    """
    from scipy.optimize import linear_sum_assignment

    z, y = checked(logits, labels)
    answers = z.argmax(axis=1)
    counts = np.zeros((z.shape[1], z.shape[1]))
    np.add.at(counts, (answers[::2], y[::2]), 1)
    # Half an image more for the order given, so that what nothing speaks for does not change places.
    _, order = linear_sum_assignment(counts + np.eye(len(counts)) / 2, maximize=True)
    moved = (order != np.arange(len(order)))[y[1::2]]
    now, then = (answers == y)[1::2][moved], (order[answers] == y)[1::2][moved]
    return order if is_better(now, then, GAIN) else None


def is_better(now: Bools, then: Bools, gain: float) -> bool:
    """Whether the share of right answers `[N]` is larger by `gain` then, and that is no chance (McNemar, exact)."""
    from scipy.stats import binomtest

    won, lost = int((then & ~now).sum()), int((now & ~then).sum())
    if won - lost < gain * len(now) or won == lost:
        return False
    return bool(binomtest(won, won + lost, 0.5, alternative="greater").pvalue < SIGNIFICANCE)


def doubt(found: Agreement, classes: Sequence[str] | None) -> str | None:
    """What speaks against a teacher, with the way out, as the end of a sentence; None where nothing does.

    Args:
        classes: names of the outputs in an order that fits the labels much better (`better_order`), if there is one.
    """
    right = f"{_percent(found.top1)} of {found.images:,} training images are right"
    if found.probabilities > 0.99:
        return (
            f"{_percent(found.probabilities)} of the rows are ≥ 0 and sum to 1: these are probabilities, not logits; "
            "save their logarithms"
        )
    if classes is not None:
        listed = ", ".join(f"'{name}'" for name in classes)
        return f"{right}, and many more with the outputs in another order; say classes: [{listed}] beside the file"
    if found.kappa <= CHANCE[0] or found.kappa <= CHANCE[1] * found.kappa_error:
        return (
            f"{right}, no more than by chance; see whether its images or classes are in another order, or whether it "
            "was trained on other images"
        )
    return None


def describe(found: Mapping[str, Any]) -> str:
    """An agreement as it is recorded, for people: `97.8 % of 92 training images right, ECE 3.1 points`."""
    doubted = f"; trusted although {found['doubt']}" if "doubt" in found else ""
    right = f"{_percent(found['top1'])} of {found['images']:,} training images right"
    return f"{right}, ECE {100 * found['ece']:.1f} points{doubted}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
