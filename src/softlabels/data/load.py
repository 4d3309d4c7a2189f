"""Prepared data as memory-mapped arrays, and their check."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softlabels.data.packed import Packed, open_packed
from softlabels.errors import DataError, SoftlabelsError
from softlabels.files import read_json, sha256
from softlabels.staging import staged

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Data:
    """Prepared data; the arrays are read-only memory maps."""

    folder: Path
    manifest: dict[str, Any]

    def images(self, split: str) -> NDArray[np.uint8]:
        """`[N, C, H, W]`, 0–255."""
        return self._array(split, "images")

    @property
    def keeps_files(self) -> bool:
        """Whether there are files in place of images."""
        return self.manifest.get("keep") == "files"

    def files(self, split: str) -> Packed:
        """The original files of a split."""
        try:
            return open_packed(self.folder, split)
        except (OSError, ValueError) as error:
            raise DataError(
                f"{self.folder}: the files of {split} cannot be read ({error}); delete {self.folder} and run again"
            ) from None

    def labels(self, split: str) -> NDArray[np.int64]:
        """`[N]`, class indices."""
        return self._array(split, "labels")

    def ids(self, split: str) -> NDArray[np.int64]:
        """`[N]`: index of each example in the original order of the split it comes from."""
        return self._array(split, "ids")

    @property
    def num_classes(self) -> int:
        return int(self.manifest["num_classes"])

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W); H = W = 0 where files are kept."""
        channels, height, width = self.manifest["shape"]
        return channels, height, width

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self.manifest["class_names"])

    @cached_property
    def mean(self) -> tuple[float, ...]:
        """Per channel, on the [0, 1] scale."""
        return tuple(self.manifest["mean"])

    @cached_property
    def std(self) -> tuple[float, ...]:
        """Per channel, on the [0, 1] scale."""
        return tuple(self.manifest["std"])

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the checksums of all arrays."""
        return str(self.manifest["fingerprint"])

    def _array(self, split: str, kind: str) -> NDArray[Any]:
        path = self.folder / f"{split}_{kind}.npy"
        try:
            array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read ({error}); delete {self.folder} and run again") from None
        return array


def open_data(folder: Path, stage: Path | None = None) -> Data:
    """Open what `prepare` has written, after a check of sizes, shapes and labels (no full checksums).

    With `stage`, the arrays are read from copies in that folder on a local disk, which are checked in full.

    Raises:
        DataError: an array is missing, truncated or does not fit the manifest.
        SoftlabelsError: an array to be copied has changed.
    """
    try:
        manifest = read_json(folder / "manifest.json")
        data = Data(folder, manifest)
        names = damaged(folder, manifest)
        checksums = {name: array["sha256"] for name, array in manifest["arrays"].items()}
        classes, _ = data.num_classes, data.shape
    except (SoftlabelsError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{folder} holds no prepared data ({error}); delete {folder} and run again") from None
    if names:
        raise DataError(f"{folder / names[0]} is missing or truncated; delete {folder} and run again")
    data = Data(staged(folder, checksums, stage), manifest)
    for split in SPLITS:
        labels = data.labels(split)
        if not _fits(data, split, len(labels)) or len(data.ids(split)) != len(labels):
            raise DataError(f"{folder}: the arrays of {split} do not fit each other; delete {folder} and run again")
        if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
            raise DataError(
                f"{folder / f'{split}_labels.npy'} has labels from {labels.min()} to {labels.max()}, "
                f"the manifest declares {classes} classes; delete {folder} and run again"
            )
    return data


def _fits(data: Data, split: str, count: int) -> bool:
    """Whether the images of a split are `count` and what the manifest says."""
    if not data.keeps_files:
        return data.images(split).shape == (count, *data.shape)
    files = data.files(split)
    whole = len(files.content) == files.offsets[-1] and bool(np.all(np.diff(files.offsets) > 0))
    return files.sizes.shape == (count, 2) and len(files.offsets) == count + 1 and whole


def damaged(folder: Path, manifest: dict[str, Any]) -> list[str]:
    """The arrays whose file is missing or of another size than the manifest says."""
    return [
        name
        for name, array in manifest["arrays"].items()
        if not (folder / name).is_file() or (folder / name).stat().st_size != array["bytes"]
    ]


def verify(folder: Path) -> None:
    """Compare every array's checksum with the manifest.

    Raises:
        DataError: an array was changed; names it.
    """
    for name, array in open_data(folder).manifest["arrays"].items():
        if sha256(folder / name) != array["sha256"]:
            raise DataError(f"{folder / name} was changed after it was written; delete {folder} and run again")
