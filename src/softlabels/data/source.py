"""What every reader of a data set hands over, and the seeded division of a training set.

A reader gives labelled splits whose images are read in blocks. The division is stratified by class and the same on
every machine: its keys are raw 64-bit integers of PCG64, whose stream numpy guarantees (that of `Generator.permutation`
it does not).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
BLOCK = 512  # images decoded or copied at once


@dataclass(frozen=True)
class Split:
    """One split as the source has it: arrays that can be read, or files."""

    labels: Ids
    """`[N]` class indices in the source's order."""
    read: Callable[[Ids], Iterator[Images]] | None = None
    """Blocks `[n, C, H, W]` (uint8) of the given examples, in the given order; None where files are kept."""
    files: tuple[Path, ...] = ()
    usable: NDArray[np.bool_] | None = None
    """`[N]`, which examples can be chosen; None: all."""
    sizes: NDArray[np.int32] | None = None
    """`[N, 2]`: height and width of files that have been looked at."""

    @property
    def pool(self) -> Ids:
        """Indices of the examples that can be chosen."""
        return np.arange(len(self.labels)) if self.usable is None else np.flatnonzero(self.usable)


@dataclass(frozen=True)
class OriginalSplits:
    """The splits that the source itself has."""

    train: Split
    val: Split | None
    test: Split | None
    class_names: tuple[str, ...]


def in_memory(images: Images, labels: Ids) -> Split:
    """A split of arrays `[N, C, H, W]` and `[N]`."""

    def read(ids: Ids) -> Iterator[Images]:
        for start in range(0, len(ids), BLOCK):
            yield images[ids[start : start + BLOCK]]

    return Split(labels.astype(np.int64), read)


def read_digits() -> tuple[Split, Split]:
    """Train and test of scikit-learn's handwritten digits, ink 0–16 stretched to 0–255; 539 of 1797 are test."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    labels = digits.target.astype(np.int64)
    images = ((digits.images.astype(np.int64) * 255 + 8) // 16).astype(np.uint8)[:, None]
    test = take_stratified(labels, 539, seed=0, purpose="test")
    return in_memory(images[~test], labels[~test]), in_memory(images[test], labels[test])


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
