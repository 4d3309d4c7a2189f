"""A user's parallel text: `<prefix>.<language>` or `<prefix>.<language>.gz` for each of train, val and test."""

from __future__ import annotations

import hashlib
from pathlib import Path

from softlabels.errors import DataError
from softlabels.files import canonical_json
from softlabels.grid.translation import CorpusSpec
from softlabels.translation.corpus.parallel import Parallel, read_lines, read_pairs, untouched

Files = dict[str, tuple[Path, Path]]
"""Split → the file of the source language and that of the target language."""


def read_files(spec: CorpusSpec) -> Parallel:
    """The corpus of a settled spec, after a check of all its files.

    Raises:
        DataError: a file is missing, empty, not UTF-8, as long as its partner is not, or not the declared one.
    """
    files = find_files(spec)
    found = _check(files, spec)
    if spec.sha256 is not None and found != spec.sha256:
        where = ", ".join(str(path) for pair in files.values() for path in pair)
        raise DataError(
            f"the files {where} have fingerprint {found}, dataset.sha256 declares {spec.sha256}; "
            "put the declared files there, or change dataset.sha256"
        )
    return Parallel(
        train=lambda: read_pairs(*files["train"]),
        val=untouched(read_pairs(*files["val"])) if "val" in files else None,
        test=untouched(read_pairs(*files["test"])),
    )


def fingerprint(spec: CorpusSpec) -> str:
    """SHA-256 over what all files of a spec contain, compressed or not; what dataset.sha256 declares.

    Raises:
        DataError: as `read_files`.
    """
    return _check(find_files(spec), spec)


def find_files(spec: CorpusSpec) -> Files:
    """Both files of each split that a spec names; a relative prefix counts from the working folder.

    Raises:
        DataError: a file is missing.
    """
    assert spec.source is not None
    assert spec.target is not None
    prefixes = {"train": spec.train, "val": spec.val, "test": spec.test}
    return {
        split: (_find(split, prefix, spec.source), _find(split, prefix, spec.target))
        for split, prefix in prefixes.items()
        if prefix is not None
    }


def _find(split: str, prefix: str, language: str) -> Path:
    path = Path(f"{prefix}.{language}").expanduser()
    for candidate in (path, path.with_name(f"{path.name}.gz")):
        if candidate.is_file():
            return candidate
    raise DataError(f"{path} does not exist, and neither does {path.name}.gz: put it there or change dataset.{split}")


def _check(files: Files, spec: CorpusSpec) -> str:
    """One pass over all files; returns the fingerprint."""
    digests = {}
    for split, paths in files.items():
        counts = []
        for language, path in zip((spec.source, spec.target), paths, strict=True):
            digest, count = hashlib.sha256(), 0
            for line in read_lines(path):
                digest.update(f"{line}\n".encode())
                count += 1
            if not count:
                raise DataError(f"{path} is empty; put the {split} sentences there, one a line")
            counts.append(count)
            digests[f"{split}.{language}"] = digest.hexdigest()
        if counts[0] != counts[1]:
            raise DataError(
                f"{paths[0]} has {counts[0]} lines and {paths[1]} has {counts[1]}; "
                "line k of one must be the translation of line k of the other"
            )
    return hashlib.sha256(canonical_json(digests).encode()).hexdigest()
