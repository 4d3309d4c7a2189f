"""Which examples make the batch of a step: an endless stream of shuffled epochs, cut into batches."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, num_train: int) -> Ints:
    generator = np.random.Generator(np.random.Philox(key=np.array([seed, epoch], dtype=np.uint64)))
    return generator.permutation(num_train).astype(np.int64)


def batch_at(seed: int, step: int, batch_size: int, num_train: int) -> tuple[Ints, Ints]:
    """Positions `[B]` in the training set and the epoch `[B]` of each, for a step counted from 0.

    A pure function of (seed, step): a resumed run continues with the very batch it would have seen. A batch
    may straddle two epochs; every epoch uses every example once.
    """
    place = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs, offsets = place // num_train, place % num_train
    positions = np.empty(batch_size, dtype=np.int64)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        positions[here] = _permutation(seed, int(epoch), num_train)[offsets[here]]
    return positions, epochs
