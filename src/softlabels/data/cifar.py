"""CIFAR-10 and CIFAR-100 in their binary form: records of label bytes and 3072 pixel bytes (R, G, B planes)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from softlabels.data.source import Split, in_memory
from softlabels.errors import DataError

_PIXELS = 3 * 32 * 32


def parse_records(data: bytes, label_bytes: int, name: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images `[N, 3, 32, 32]` and labels `[N]`; of several label bytes the last counts (CIFAR-100: the fine one).

    Raises:
        DataError: the size is no whole number of records.
    """
    size = label_bytes + _PIXELS
    if not data or len(data) % size:
        raise DataError(f"{name} is truncated: {len(data)} bytes are no whole number of records of {size}")
    records = np.frombuffer(data, dtype=np.uint8).reshape(-1, size)
    return records[:, label_bytes:].reshape(-1, 3, 32, 32), records[:, label_bytes - 1].astype(np.int64)


def read_cifar(contents: Mapping[str, bytes], num_classes: int) -> tuple[Split, Split]:
    """Train and test; CIFAR-10 keeps its training set in five files, CIFAR-100 in one."""
    if num_classes == 100:
        return _join(contents, ["train.bin"], 2), _join(contents, ["test.bin"], 2)
    return _join(contents, [f"data_batch_{i}.bin" for i in range(1, 6)], 1), _join(contents, ["test_batch.bin"], 1)


def _join(contents: Mapping[str, bytes], names: list[str], label_bytes: int) -> Split:
    parts = [parse_records(contents[name], label_bytes, name) for name in names]
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return in_memory(images, labels)
