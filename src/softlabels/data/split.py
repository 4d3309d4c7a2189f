"""The seeded division of a training set: stratified by class, the same on every machine.

Keys are raw 64-bit integers of PCG64, whose stream numpy guarantees (that of `Generator.permutation` it does not).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Purpose = Literal["holdout", "limit", "test"]
_STREAMS: dict[Purpose, int] = {"holdout": 1, "limit": 2, "test": 3}


def take_stratified(labels: Ids, count: int, seed: int, purpose: Purpose) -> NDArray[np.bool_]:
    """Mask `[N]` of exactly `count` examples, each class in proportion to its size.

    The places left by rounding down go to the classes with the largest remainders (ties: lower class index).
    Different purposes draw from different streams of one seed.
    """
    classes, sizes = np.unique(labels, return_counts=True)
    quotas, remainders = np.divmod(count * sizes, len(labels))
    quotas[np.argsort(-remainders, kind="stable")[: count - quotas.sum()]] += 1
    keys = np.random.PCG64(np.random.SeedSequence([seed, _STREAMS[purpose]])).random_raw(len(labels))
    mask = np.zeros(len(labels), dtype=np.bool_)
    for label, quota in zip(classes, quotas, strict=True):
        members = np.flatnonzero(labels == label)
        mask[members[np.argsort(keys[members], kind="stable")[:quota]]] = True
    return mask


def divide(
    labels: Ids, holdout: int, *, rule: Literal["stratified", "last"], seed: int, limit: int | None = None
) -> tuple[Ids, Ids]:
    """Indices (train, val) of a training set, each in original order.

    Args:
        labels: `[N]`.
        holdout: validation examples.
        rule: `stratified`, or `last`: the last `holdout` examples.
        seed: of the split and of the limit.
        limit: training examples kept after the split (stratified under both rules).
    """
    if rule == "last":
        held = np.arange(len(labels)) >= len(labels) - holdout
    else:
        held = take_stratified(labels, holdout, seed, "holdout")
    train, val = np.flatnonzero(~held), np.flatnonzero(held)
    if limit is not None:
        train = train[take_stratified(labels[train], limit, seed, "limit")]
    return train, val
