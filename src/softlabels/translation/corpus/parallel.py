"""What a reader of a corpus hands over, and text files of one sentence a line."""

from __future__ import annotations

import contextlib
import gzip
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from softlabels.errors import DataError

Pair = tuple[str, str]
"""A sentence in the source and in the target language."""


@dataclass(frozen=True)
class Part:
    """Validation or test: small enough for memory."""

    raw: list[Pair]
    """As written, not tokenised: what BLEU is measured against."""
    text: list[Pair]
    """What is tokenised and segmented, pair by pair of the same length as `raw`."""


def as_written(pair: Pair) -> Pair:
    """A pair whose text is what was written."""
    return pair


@dataclass(frozen=True)
class Parallel:
    """A corpus of two languages, before tokenisation."""

    train: Callable[[], Iterator[Pair]]
    """A new pass over the training pairs; a large corpus does not fit into memory."""
    val: Part | None
    test: Part
    references: str = "as given"
    """What `raw` of val and test is: as given, or detokenised where only tokenised text exists."""
    untokenised: Callable[[Pair], Pair] = as_written
    """`raw` of a training pair, for pairs held out for validation."""
    moses: bool = False
    """The text is made of Moses' tokens already."""
    test_sets: tuple[str, ...] = ()
    """What test is made of, where it is several sets in a row."""


def untouched(pairs: Iterable[Pair]) -> Part:
    """A part whose text is what was written."""
    listed = list(pairs)
    return Part(listed, listed)


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 text file, or of a gzip-compressed one (`.gz`), without their ends.

    Only `\\n` and `\\r\\n` end a line: what else Unicode counts as an end (U+2028, …) must not put two languages out of
    step.

    Raises:
        DataError: not UTF-8 (names file and line), or a damaged `.gz`.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as stream:
            for number, line in enumerate(stream, 1):
                try:
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    raise DataError(
                        f"{path}, line {number}, is not UTF-8 (byte {error.start + 1} of the line); "
                        "convert the file, for instance with iconv -t UTF-8"
                    ) from None
                yield text.rstrip("\r\n").replace("\r", " ")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is truncated or damaged ({error}); put the whole file there") from None


def read_pairs(source: Path, target: Path) -> Iterator[Pair]:
    """Pairs of two files of equally many lines."""
    return zip(read_lines(source), read_lines(target), strict=True)


class PairWriter:
    """Two text files `<prefix>.<language>`, one sentence a line, on the disk when the block ends."""

    def __init__(self, prefix: Path, languages: Pair) -> None:
        prefix.parent.mkdir(parents=True, exist_ok=True)
        self._paths = paths_of(prefix, languages)
        self._stack = contextlib.ExitStack()
        self._files: list[TextIO] = []

    def __enter__(self) -> PairWriter:
        for path in self._paths:
            self._files.append(self._stack.enter_context(open(path, "w", encoding="utf-8", newline="\n")))
        return self

    def write(self, pair: Pair) -> None:
        for file, sentence in zip(self._files, pair, strict=True):
            file.write(f"{sentence}\n")

    def __exit__(self, *_: object) -> None:
        with self._stack:
            for file in self._files:
                file.flush()
                os.fsync(file.fileno())


def write_pairs(prefix: Path, languages: Pair, pairs: Iterable[Pair]) -> None:
    """Write `<prefix>.<language>` for both languages."""
    with PairWriter(prefix, languages) as writer:
        for pair in pairs:
            writer.write(pair)


def paths_of(prefix: Path, languages: Pair) -> tuple[Path, Path]:
    """The two files of a prefix."""
    source, target = (prefix.with_name(f"{prefix.name}.{language}") for language in languages)
    return source, target
