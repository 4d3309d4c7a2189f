"""What every reader of a data set hands over: labelled splits whose pictures are read in blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from softlabels.data.split import Ids, take_stratified

Images = NDArray[np.uint8]
BLOCK = 512  # pictures decoded or copied at once


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
class Source:
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
