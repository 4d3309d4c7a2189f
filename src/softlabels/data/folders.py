"""Data sets of image files in folders: those of users, CUB-200-2011 and Tiny-ImageNet-200.

An image folder has `train/<class>/*.jpg` and optionally `val/` and `test/`; a tar archive of one will do. Of the others
the official archive is read, or the folder in it; Tiny-ImageNet's official validation part is our test split.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from softlabels.data.packed import UNDECODABLE, decode
from softlabels.data.source import BLOCK, Ids, Images, OriginalSplits, Split
from softlabels.errors import DataError
from softlabels.files import sha256

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff"))
_SPLITS = ("train", "val", "test")
_AGAIN = "unpack the official archive again"


def read_folder(path: Path, image_size: int | None) -> OriginalSplits:
    """The splits of an image folder; class names are the sorted folder names of `train/`.

    Images are read as RGB, the shorter side resized to `image_size` (antialiased bilinear), centre-cropped; None: the
    splits are of files.

    Raises:
        DataError: no `train/`, no images, or a class in `val/` or `test/` that `train/` lacks; while reading:
            images that do not decode (names the first and counts them).
    """
    top, names = _top(path), class_names(path)
    splits = {}
    for split in _SPLITS:
        if not (top / split).is_dir():
            continue
        files, labels = [], []
        for folder in sorted(p for p in (top / split).iterdir() if p.is_dir() and not p.name.startswith(".")):
            if folder.name not in names:
                raise DataError(f"{folder} is a class that {top / 'train'} lacks; add it there or remove it")
            found = _image_files(folder)
            if split == "train" and not found:
                raise DataError(f"{folder} holds no images (.jpg, .png, …); fill or remove it")
            files += found
            labels += [names.index(folder.name)] * len(found)
        if not files:
            raise DataError(f"{top / split} holds no images: it needs <class>/*.jpg, .png, …")
        numbers = np.array(labels, dtype=np.int64)
        splits[split] = Split(numbers, files=tuple(files)) if image_size is None else _split(files, numbers, image_size)
    return OriginalSplits(splits["train"], splits.get("val"), splits.get("test"), names)


def class_names(path: Path) -> tuple[str, ...]:
    """The classes of an image folder in the order of their labels: the folders in `train/`, sorted as text."""
    train = _top(path) / "train"
    return tuple(sorted(p.name for p in train.iterdir() if p.is_dir() and not p.name.startswith(".")))


def fingerprint_folder(path: Path) -> str:
    """SHA-256 over the relative name and the SHA-256 of every image; the value for `dataset.sha256`."""
    top = _top(path)
    digest = hashlib.sha256()
    files = [p for split in _SPLITS if (top / split).is_dir() for p in _image_files(top / split)]
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
        f"{path} is no image folder: put the images at {path}/train/<class>/*.jpg (and val/, test/ if you have them)"
    )


def _image_files(folder: Path) -> list[Path]:
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
                images = list(pool.map(try_to_decode, [files[i] for i in ids[start : start + BLOCK]]))
                if not broken:  # else go on only to count
                    yield np.stack([p for p in images if p is not None])
        if broken:
            raise DataError(
                f"{min(broken)} and {len(broken) - 1} more of {len(ids)} images do not decode; "
                "replace or remove them and run again"
            )

    return Split(labels, read)


def _decode(file: Path, size: int) -> Images:
    """One image `[3, size, size]`."""
    image = decode(file)
    scale = size / min(image.size)
    wide, high = (max(size, round(side * scale)) for side in image.size)
    left, upper = (wide - size) // 2, (high - size) // 2
    if (wide, high) != image.size:
        image = image.resize((wide, high), Image.Resampling.BILINEAR)
    image = image.crop((left, upper, left + size, upper + size))
    return np.ascontiguousarray(np.asarray(image, dtype=np.uint8).transpose(2, 0, 1))


CUB_TABLES = ("images.txt", "image_class_labels.txt", "train_test_split.txt")


def read_cub(folder: Path) -> OriginalSplits:
    """Training and test in the order of `images.txt`; class names are the folders of `images/`, `001.Black_…`.

    Raises:
        DataError: a table is missing or does not fit the others, or a listed image is missing.
    """
    top = _cub_folder(folder)
    names, labels, trained = (_cub_table(top / name) for name in CUB_TABLES)
    if not names.keys() == labels.keys() == trained.keys():
        raise DataError(f"{top}: {', '.join(CUB_TABLES)} do not list the same images; {_AGAIN}")
    classes: dict[int, str] = {}
    splits: dict[str, tuple[list[Path], list[int]]] = {"1": ([], []), "0": ([], [])}
    for number, name in names.items():
        file, label = top / "images" / name, int(labels[number]) - 1
        if not file.is_file():
            raise DataError(f"{file} is listed in {top / 'images.txt'} and missing; {_AGAIN}")
        if classes.setdefault(label, file.parent.name) != file.parent.name or trained[number] not in splits:
            raise DataError(
                f"{top}: image {number} has label {labels[number]} and part {trained[number]}; unpack again"
            )
        files, numbers = splits[trained[number]]
        files.append(file)
        numbers.append(label)
    if sorted(classes) != list(range(len(classes))):
        raise DataError(f"{top / 'image_class_labels.txt'} leaves out classes; {_AGAIN}")
    train, test = (
        Split(np.array(numbers, dtype=np.int64), files=tuple(files)) for files, numbers in (splits["1"], splits["0"])
    )
    return OriginalSplits(train, None, test, tuple(classes[k] for k in sorted(classes)))


def _cub_folder(folder: Path) -> Path:
    """The folder that holds the tables: `folder` or one in it."""
    for top in [folder, *sorted(folder.glob("*/"))]:
        if (top / CUB_TABLES[0]).is_file():
            if missing := [name for name in CUB_TABLES if not (top / name).is_file()]:
                raise DataError(f"{top / missing[0]} is missing; {_AGAIN}")
            return top
    raise DataError(f"{folder} holds no images.txt: put CUB_200_2011.tgz there, or the folder CUB_200_2011 of it")


def _cub_table(path: Path) -> dict[str, str]:
    """Number of an image → the rest of its line."""
    pairs = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if any(len(pair) != 2 for pair in pairs):
        raise DataError(f"{path} has lines that are no pair of number and value; {_AGAIN}")
    return {pair[0]: pair[1] for pair in pairs}


TINY_CLASSES = "wnids.txt"
TINY_ANNOTATIONS = Path("val") / "val_annotations.txt"


def read_tiny_imagenet(folder: Path) -> OriginalSplits:
    """Training and test images by class and name; classes are the WordNet ids of `wnids.txt` in alphabetical order.

    Raises:
        DataError: the list is missing, a class without images, a validation image without annotation or an
            annotation without image, or an id that is not in the list.
    """
    top = folder if (folder / TINY_CLASSES).is_file() else folder / "tiny-imagenet-200"
    if not (top / TINY_CLASSES).is_file():
        raise DataError(
            f"{folder} holds no {TINY_CLASSES}: put tiny-imagenet-200.zip there, or the folder tiny-imagenet-200"
        )
    classes = tuple(sorted((top / TINY_CLASSES).read_text(encoding="utf-8").split()))
    files, labels = [], []
    for label, wnid in enumerate(classes):
        own = sorted((top / "train" / wnid / "images").glob("*.JPEG"))
        if not own:
            raise DataError(f"{top / 'train' / wnid / 'images'} holds no images of a class in {TINY_CLASSES}; {_AGAIN}")
        files += own
        labels += [label] * len(own)
    train = Split(np.array(labels, dtype=np.int64), files=tuple(files))
    return OriginalSplits(train, None, _tiny_validation(top, classes), classes)


def _tiny_validation(top: Path, classes: tuple[str, ...]) -> Split:
    path, images = top / TINY_ANNOTATIONS, top / "val" / "images"
    if not path.is_file():
        raise DataError(f"{path} is missing; {_AGAIN}")
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    annotated = {row[0]: row[1] if len(row) > 1 else "" for row in rows}
    there = {file.name for file in images.glob("*.JPEG")}
    if different := sorted(annotated.keys() ^ there):
        what = "is listed and missing" if different[0] in annotated else "is not listed"
        raise DataError(f"{images / different[0]} {what} in {path}; {_AGAIN}")
    if unknown := sorted(set(annotated.values()) - set(classes)):
        raise DataError(f"{path}: {unknown[0]!r} is no class of {TINY_CLASSES}; {_AGAIN}")
    names = sorted(annotated, key=lambda name: (annotated[name], name))
    labels = np.array([classes.index(annotated[name]) for name in names], dtype=np.int64)
    return Split(labels, files=tuple(images / name for name in names))
