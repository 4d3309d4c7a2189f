"""The official files of a data set: found below `data.root` or downloaded, checked, and read without unpickling.

CIFAR-10 and CIFAR-100 in their binary form: records of label bytes and 3072 pixel bytes (R, G, B planes). MNIST in its
idx format: big-endian magic number, sizes, bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from softlabels.data.download import download
from softlabels.data.source import Split, in_memory
from softlabels.errors import DataError
from softlabels.files import sha256
from softlabels.grid.declared.datasets import DatasetInfo, RemoteFile


def read_official(name: str, declared: DatasetInfo, root: Path, *, mirror: str | None, fetch: bool) -> dict[str, bytes]:
    """The bytes of every declared content, by name.

    A file is looked for in `root/<name>`, in `root` and in their folders: as the official archive, compressed
    anew, or unpacked. It is accepted by its contents' checksums or by its own.

    Raises:
        DataError: missing (says what to put where), truncated, or of another checksum than declared.
    """
    contents: dict[str, bytes] = {}
    for file, paths in find_official(name, declared, root, mirror=mirror, fetch=fetch).items():
        contents |= _read(file, paths)
    return contents


def find_official(
    name: str, declared: DatasetInfo, root: Path, *, mirror: str | None, fetch: bool
) -> dict[RemoteFile, list[Path]]:
    """Where each declared file lies: the archive, or its contents unpacked; nothing of them has been checked.

    Raises:
        DataError: missing (says what to put where) and not to be fetched.
    """
    found = {file: _find(file, [root / name, root]) for file in declared.files}
    missing = [file for file, paths in found.items() if not paths]
    if missing and not fetch:
        raise DataError(
            f"{name} is missing: put {', '.join(file.name for file in missing)} "
            f"({sum(file.bytes for file in missing) / 1e6:.0f} MB) into {root / name} (data.root in config.yaml), "
            "or set data.download: true to have them fetched"
        )
    return {file: paths or [download(file, root / name, mirror=mirror)] for file, paths in found.items()}


def _find(file: RemoteFile, folders: list[Path]) -> list[Path]:
    """The archive, or all of its contents lying unpacked, or nothing."""
    folders = [f for folder in folders if folder.is_dir() for f in (folder, *sorted(folder.glob("*/")))]
    for folder in folders:
        if (folder / file.name).is_file():
            return [folder / file.name]
        unpacked = [folder / name for name, _ in file.contents]
        if unpacked and all(path.is_file() for path in unpacked):
            return unpacked
    return []


def _read(file: RemoteFile, paths: list[Path]) -> dict[str, bytes]:
    archive = paths[0]
    try:
        if archive.name != file.name:
            data = {path.name: path.read_bytes() for path in paths}
        elif file.name.endswith(".tar.gz"):
            data = _members(archive, {name for name, _ in file.contents})
        else:
            with gzip.open(archive) as stream:
                data = {file.contents[0][0]: stream.read()}
    except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError) as error:
        raise DataError(
            f"{archive} is truncated or damaged ({error}); delete it and put the official file there"
        ) from None
    wrong = [name for name, digest in file.contents if hashlib.sha256(data.get(name, b"")).hexdigest() != digest]
    if wrong and not (archive.name == file.name and sha256(archive) == file.sha256):
        where = archive.parent / wrong[0] if archive.name != file.name else f"{wrong[0]} in {archive}"
        raise DataError(
            f"{where} has another checksum than the official one; delete it and put the official file there"
        )
    return data


def _members(archive: Path, names: set[str]) -> dict[str, bytes]:
    """The wanted members, read in place: nothing is written, so nothing can leave a folder."""
    data = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            base = Path(member.name).name
            if base in names and member.isreg():
                stream = tar.extractfile(member)
                assert stream is not None  # a regular file
                data[base] = stream.read()
    return data


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
