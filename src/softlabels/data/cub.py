"""CUB-200-2011: the archive from Caltech, or the folder in it, with its official division into training and test."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from softlabels.data.source import Source, Split
from softlabels.errors import DataError

TABLES = ("images.txt", "image_class_labels.txt", "train_test_split.txt")


def read_cub(folder: Path) -> Source:
    """Training and test in the order of `images.txt`; class names are the folders of `images/`, `001.Black_…`.

    Raises:
        DataError: a table is missing or does not fit the others, or a listed picture is missing.
    """
    top = _top(folder)
    names, labels, trained = (_table(top / name) for name in TABLES)
    if not names.keys() == labels.keys() == trained.keys():
        raise DataError(f"{top}: {', '.join(TABLES)} do not list the same pictures; unpack the official archive again")
    classes: dict[int, str] = {}
    splits: dict[str, tuple[list[Path], list[int]]] = {"1": ([], []), "0": ([], [])}
    for number, name in names.items():
        file, label = top / "images" / name, int(labels[number]) - 1
        if not file.is_file():
            raise DataError(f"{file} is listed in {top / 'images.txt'} and missing; unpack the official archive again")
        if classes.setdefault(label, file.parent.name) != file.parent.name or trained[number] not in splits:
            raise DataError(
                f"{top}: picture {number} has label {labels[number]} and part {trained[number]}; unpack again"
            )
        files, numbers = splits[trained[number]]
        files.append(file)
        numbers.append(label)
    if sorted(classes) != list(range(len(classes))):
        raise DataError(f"{top / 'image_class_labels.txt'} leaves out classes; unpack the official archive again")
    train, test = (
        Split(np.array(numbers, dtype=np.int64), files=tuple(files)) for files, numbers in (splits["1"], splits["0"])
    )
    return Source(train, None, test, tuple(classes[k] for k in sorted(classes)))


def _top(folder: Path) -> Path:
    """The folder that holds the tables: `folder` or one in it."""
    for top in [folder, *sorted(folder.glob("*/"))]:
        if (top / TABLES[0]).is_file():
            if missing := [name for name in TABLES if not (top / name).is_file()]:
                raise DataError(f"{top / missing[0]} is missing; unpack the official archive again")
            return top
    raise DataError(f"{folder} holds no images.txt: put CUB_200_2011.tgz there, or the folder CUB_200_2011 of it")


def _table(path: Path) -> dict[str, str]:
    """Number of a picture → the rest of its line."""
    pairs = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if any(len(pair) != 2 for pair in pairs):
        raise DataError(f"{path} has lines that are no pair of number and value; unpack the official archive again")
    return {pair[0]: pair[1] for pair in pairs}
