"""MNIST in its idx format (big-endian: magic number, sizes, bytes)."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from softlabels.data.source import Split, in_memory
from softlabels.errors import DataError


def parse_idx(data: bytes, dimensions: int, name: str) -> NDArray[np.uint8]:
    """An idx file of unsigned bytes as an array of so many dimensions.

    Raises:
        DataError: another magic number, or fewer or more bytes than its header announces.
    """
    header = 4 + 4 * dimensions
    magic = bytes((0, 0, 8, dimensions))  # 8: unsigned bytes
    if data[:4] != magic:
        raise DataError(
            f"{name} is no idx file of {dimensions} dimensions: it begins with {data[:4].hex()}, not {magic.hex()}"
        )
    shape = struct.unpack_from(f">{dimensions}I", data, 4) if len(data) >= header else ()
    if not shape or len(data) != header + math.prod(shape):
        raise DataError(f"{name} is truncated: {len(data)} bytes, the header announces sizes {shape}")
    return np.frombuffer(data, dtype=np.uint8, offset=header).reshape(shape)


def read_mnist(contents: Mapping[str, bytes]) -> tuple[Split, Split]:
    """Train and test from the contents of the four official files."""
    splits = []
    for prefix in ("train", "t10k"):
        images_name, labels_name = f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"
        images = parse_idx(contents[images_name], 3, images_name)
        labels = parse_idx(contents[labels_name], 1, labels_name)
        if len(images) != len(labels):
            raise DataError(f"{images_name} has {len(images)} images, {labels_name} {len(labels)} labels")
        splits.append(in_memory(images[:, None], labels.astype(np.int64)))
    train, test = splits
    return train, test
