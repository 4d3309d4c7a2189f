"""WMT'16 English-German as segmented for the Transformer: training text, newstest2013 and newstest2014.

The text is Moses' tokens in 32,000 joint merges. Untokenised references come from `newstest2013.<language>` where the
archive holds them, and by detokenising otherwise.
"""

from __future__ import annotations

from pathlib import Path

from softlabels.errors import DataError
from softlabels.translation.corpus.parallel import Pair, Parallel, Part, read_lines, read_pairs
from softlabels.translation.corpus.text import Moses, joined

SEGMENTED = {
    "train": "train.tok.clean.bpe.32000",
    "val": "newstest2013.tok.bpe.32000",
    "test": "newstest2014.tok.bpe.32000",
}
RAW = {"val": "newstest2013", "test": "newstest2014"}


def find_wmt16(folder: Path, languages: Pair) -> dict[str, tuple[Path, Path]]:
    """The segmented files of every split, and the raw ones (`val raw`, `test raw`) that are there.

    Raises:
        DataError: a segmented file is missing.
    """
    found = {split: _both(folder, name, languages) for split, name in SEGMENTED.items()}
    for split, paths in found.items():
        if paths is None:
            names = " and ".join(f"{SEGMENTED[split]}.{language}" for language in languages)
            raise DataError(f"{folder} lacks {names}; put the whole wmt16_en_de.tar.gz, or what it holds, there")
    found |= {f"{split} raw": _both(folder, name, languages) for split, name in RAW.items()}
    return {name: paths for name, paths in found.items() if paths is not None}


def read_wmt16(folder: Path, languages: Pair) -> Parallel:
    """The corpus of an unpacked archive.

    Raises:
        DataError: files are missing, or those that belong together are not of the same length.
    """
    files = find_wmt16(folder, languages)
    moses = Moses(languages)
    counts = {name: _count(paths) for name, paths in files.items()}

    def written(pair: Pair) -> Pair:
        return moses.detokenise(joined(pair))

    parts = {}
    for split in RAW:
        text = list(read_pairs(*files[split]))
        raw = files.get(f"{split} raw")
        if raw is not None and counts[f"{split} raw"] != counts[split]:
            raise DataError(
                f"{raw[0]} has {counts[f'{split} raw']} lines and {files[split][0]} has {counts[split]}; "
                "put the whole archive there, or remove the first to have its text detokenised"
            )
        parts[split] = Part([written(pair) for pair in text] if raw is None else list(read_pairs(*raw)), text)
    return Parallel(
        train=lambda: read_pairs(*files["train"]),
        val=parts["val"],
        test=parts["test"],
        references="as given" if {"val raw", "test raw"} <= files.keys() else "detokenised",
        untokenised=written,
        moses=True,
    )


def _both(folder: Path, name: str, languages: Pair) -> tuple[Path, Path] | None:
    first, second = (next(iter(sorted(folder.rglob(f"{name}.{language}"))), None) for language in languages)
    return None if first is None or second is None else (first, second)


def _count(paths: tuple[Path, Path]) -> int:
    first, second = (sum(1 for _ in read_lines(path)) for path in paths)
    if first != second or not first:
        raise DataError(f"{paths[0]} has {first} lines and {paths[1]} has {second}; put the whole archive there")
    return first
