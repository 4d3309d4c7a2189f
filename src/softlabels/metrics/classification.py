"""Accuracy, error and likelihood of classifications."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from softlabels.errors import DataError
from softlabels.metrics.arrays import checked, checked_temperature, log_softmax


def top_k_accuracy(logits: ArrayLike, labels: ArrayLike, k: int = 1) -> float:
    """Percent of the examples whose label is among the k largest of their logits `[N, K]`.

    Equal logits rank by class index, as in argmax, so a constant network scores by its class 0 alone
    and not by all.

    Raises:
        DataError: malformed input, or k not in 1 … K.
    """
    z, y = checked(logits, labels)
    if not 1 <= k <= z.shape[1]:
        raise DataError(f"top-{k} accuracy needs at least {max(k, 1)} classes, the logits have {z.shape[1]}")
    own = np.take_along_axis(z, y[:, None], axis=1)
    ahead = (z > own) | ((z == own) & (np.arange(z.shape[1]) < y[:, None]))
    return 100 * float(np.mean(ahead.sum(axis=1) < k))


def error(logits: ArrayLike, labels: ArrayLike) -> float:
    """Percent of the examples that argmax classifies wrongly, of logits `[N, K]`."""
    return 100 - top_k_accuracy(logits, labels)


def class_accuracy(logits: ArrayLike, labels: ArrayLike, classes: Mapping[str, int]) -> pd.DataFrame:
    """Top-1 accuracy of chosen classes, each over its own images (Chandrasegaran et al. 2022, App. I).

    Args:
        logits: `[N, K]`; labels: `[N]`.
        classes: name → label, as `grid.declared.class_names.class_ids` gives them.

    Returns:
        Columns class (name), count (images) and top1 (percent), in the order asked. An average over classes is the
        paper's when it is of their percentages, whatever their counts. Steps are 100/count: 2 points for 50 images.

    Raises:
        DataError: malformed input, or a class without images: it has no accuracy, and none can be left out unseen.
    """
    z, y = checked(logits, labels)
    own = {name: y == k for name, k in classes.items()}
    if absent := [name for name, images in own.items() if not images.any()]:
        raise DataError(f"there is no image of class {', '.join(absent)} among these {len(y)}; ask for other classes")
    rows = [(name, int(images.sum()), top_k_accuracy(z[images], y[images])) for name, images in own.items()]
    return pd.DataFrame(rows, columns=["class", "count", "top1"])


def nll(logits: ArrayLike, labels: ArrayLike, temperature: float = 1.0) -> float:
    """Mean negative log-likelihood −log p_y(T) in nats, of logits `[N, K]`."""
    z, y = checked(logits, labels)
    log_p = log_softmax(z / checked_temperature(temperature))
    return -float(log_p[np.arange(len(y)), y].mean())
