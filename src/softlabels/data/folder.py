"""Image folders: `train/<class>/*.jpg` and optionally `val/` and `test/`, or a tar archive of such a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from softlabels.data.packed import UNDECODABLE, decode
from softlabels.data.source import BLOCK, Images, Source, Split
from softlabels.data.split import Ids
from softlabels.errors import DataError
from softlabels.files import sha256

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff"))
_SPLITS = ("train", "val", "test")


def read_folder(path: Path, image_size: int | None) -> Source:
    """The splits of an image folder; class names are the sorted folder names of `train/`.

    Pictures are read as RGB, the shorter side resized to `image_size` (antialiased bilinear), centre-cropped; None: the
    splits are of files.

    Raises:
        DataError: no `train/`, no pictures, or a class in `val/` or `test/` that `train/` lacks; while reading:
            pictures that do not decode (names the first and counts them).
    """
    top = _top(path)
    names = tuple(sorted(p.name for p in (top / "train").iterdir() if p.is_dir() and not p.name.startswith(".")))
    splits = {}
    for split in _SPLITS:
        if not (top / split).is_dir():
            continue
        files, labels = [], []
        for folder in sorted(p for p in (top / split).iterdir() if p.is_dir() and not p.name.startswith(".")):
            if folder.name not in names:
                raise DataError(f"{folder} is a class that {top / 'train'} lacks; add it there or remove it")
            found = _pictures(folder)
            if split == "train" and not found:
                raise DataError(f"{folder} holds no pictures (.jpg, .png, …); fill or remove it")
            files += found
            labels += [names.index(folder.name)] * len(found)
        if not files:
            raise DataError(f"{top / split} holds no pictures: it needs <class>/*.jpg, .png, …")
        numbers = np.array(labels, dtype=np.int64)
        splits[split] = Split(numbers, files=tuple(files)) if image_size is None else _split(files, numbers, image_size)
    return Source(splits["train"], splits.get("val"), splits.get("test"), names)


def fingerprint_folder(path: Path) -> str:
    """SHA-256 over the relative name and the SHA-256 of every picture; the value for `dataset.sha256`."""
    top = _top(path)
    digest = hashlib.sha256()
    files = [p for split in _SPLITS if (top / split).is_dir() for p in _pictures(top / split)]
    for file in sorted(files, key=lambda p: p.relative_to(top).as_posix()):
        digest.update(f"{file.relative_to(top).as_posix()}\0{sha256(file)}\n".encode())
    return digest.hexdigest()


def _top(path: Path) -> Path:
    """The folder that holds `train/`: `path` itself or the only folder in it."""
    inside = [p for p in path.iterdir() if p.is_dir()] if path.is_dir() else []
    for top in [path, *inside] if len(inside) == 1 else [path]:
        if (top / "train").is_dir():
            return top
    raise DataError(
        f"{path} is no image folder: put the pictures at {path}/train/<class>/*.jpg (and val/, test/ if you have them)"
    )


def _pictures(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))


def _split(files: list[Path], labels: Ids, image_size: int) -> Split:
    def read(ids: Ids) -> Iterator[Images]:
        broken: list[str] = []

        def try_to_decode(file: Path) -> Images | None:
            try:
                return _decode(file, image_size)
            except UNDECODABLE as error:
                broken.append(f"{file} ({error})")
                return None

        with ThreadPoolExecutor() as pool:
            for start in range(0, len(ids), BLOCK):
                pictures = list(pool.map(try_to_decode, [files[i] for i in ids[start : start + BLOCK]]))
                if not broken:  # else go on only to count
                    yield np.stack([p for p in pictures if p is not None])
        if broken:
            raise DataError(
                f"{min(broken)} and {len(broken) - 1} more of {len(ids)} pictures do not decode; "
                "replace or remove them and run again"
            )

    return Split(labels, read)


def _decode(file: Path, size: int) -> Images:
    """One picture `[3, size, size]`."""
    picture = decode(file)
    scale = size / min(picture.size)
    wide, high = (max(size, round(side * scale)) for side in picture.size)
    left, upper = (wide - size) // 2, (high - size) // 2
    if (wide, high) != picture.size:
        picture = picture.resize((wide, high), Image.Resampling.BILINEAR)
    picture = picture.crop((left, upper, left + size, upper + size))
    return np.ascontiguousarray(np.asarray(picture, dtype=np.uint8).transpose(2, 0, 1))
