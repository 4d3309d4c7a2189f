"""Tiny-ImageNet-200: the archive from Stanford, or the folder in it; the official validation part is our test split."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from softlabels.data.source import Source, Split
from softlabels.errors import DataError

LIST = "wnids.txt"
ANNOTATIONS = Path("val") / "val_annotations.txt"
_AGAIN = "unpack the official archive again"


def read_tiny_imagenet(folder: Path) -> Source:
    """Training and test pictures by class and name; classes are the WordNet ids of `wnids.txt` in alphabetical order.

    Raises:
        DataError: the list is missing, a class without pictures, a validation picture without annotation or an
            annotation without picture, or an id that is not in the list.
    """
    top = folder if (folder / LIST).is_file() else folder / "tiny-imagenet-200"
    if not (top / LIST).is_file():
        raise DataError(f"{folder} holds no {LIST}: put tiny-imagenet-200.zip there, or the folder tiny-imagenet-200")
    classes = tuple(sorted((top / LIST).read_text(encoding="utf-8").split()))
    files, labels = [], []
    for label, wnid in enumerate(classes):
        own = sorted((top / "train" / wnid / "images").glob("*.JPEG"))
        if not own:
            raise DataError(f"{top / 'train' / wnid / 'images'} holds no pictures of a class in {LIST}; {_AGAIN}")
        files += own
        labels += [label] * len(own)
    train = Split(np.array(labels, dtype=np.int64), files=tuple(files))
    return Source(train, None, _validation(top, classes), classes)


def _validation(top: Path, classes: tuple[str, ...]) -> Split:
    path, pictures = top / ANNOTATIONS, top / "val" / "images"
    if not path.is_file():
        raise DataError(f"{path} is missing; {_AGAIN}")
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    annotated = {row[0]: row[1] if len(row) > 1 else "" for row in rows}
    there = {file.name for file in pictures.glob("*.JPEG")}
    if different := sorted(annotated.keys() ^ there):
        what = "is listed and missing" if different[0] in annotated else "is not listed"
        raise DataError(f"{pictures / different[0]} {what} in {path}; {_AGAIN}")
    if unknown := sorted(set(annotated.values()) - set(classes)):
        raise DataError(f"{path}: {unknown[0]!r} is no class of {LIST}; {_AGAIN}")
    names = sorted(annotated, key=lambda name: (annotated[name], name))
    labels = np.array([classes.index(annotated[name]) for name in names], dtype=np.int64)
    return Split(labels, files=tuple(pictures / name for name in names))
