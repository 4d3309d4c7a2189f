"""The reader of each corpus and what identifies its text; parallel text of users, `<prefix>.<language>` or
`<prefix>.<language>.gz` for each of train, val and test."""

from __future__ import annotations

import hashlib
from pathlib import Path

from softlabels.errors import DataError, SpecError
from softlabels.files import canonical_json, sha256
from softlabels.grid.declared.corpora import info, settled
from softlabels.grid.parts.translation import CorpusSpec
from softlabels.translation.corpus.archive import find_archive, open_archive
from softlabels.translation.corpus.iwslt14 import find_iwslt14, read_iwslt14
from softlabels.translation.corpus.parallel import Pair, Parallel, read_lines, read_pairs, untouched
from softlabels.translation.corpus.sentences import read_sentences
from softlabels.translation.corpus.wmt16 import find_wmt16, read_wmt16


def languages_of(spec: CorpusSpec) -> Pair:
    """Source and target of a settled spec."""
    assert spec.source is not None
    assert spec.target is not None
    return spec.source, spec.target


def read(spec: CorpusSpec, root: Path, scratch: Path, *, mirror: str | None = None, download: bool = False) -> Parallel:
    """The text of a settled spec; an archive is unpacked into `scratch`, which must outlive what is returned.

    Raises:
        SpecError: languages that the corpus lacks.
        DataError: files missing, damaged, or not what the spec declares.
    """
    reader, languages = info(spec).reader, languages_of(spec)
    if reader == "files":
        return read_files(spec)
    _check_languages(spec)
    if reader == "sentences":
        return read_sentences(languages)
    folder = open_archive(spec, root, scratch, mirror=mirror, fetch=download)
    corpus = read_iwslt14(folder, languages) if reader == "iwslt14" else read_wmt16(folder, languages)
    if folder != scratch and spec.sha256 is not None:
        _check_folder(spec, folder)
    return corpus


def fingerprint(spec: CorpusSpec, root: Path) -> str:
    """The value for `dataset.sha256`: of an archive its sha256, of files or a folder a digest over those that count.

    Raises:
        SpecError: the corpus has no files.
        DataError: files are missing or damaged.
    """
    spec = settled(spec)
    reader = info(spec).reader
    if reader == "files":
        return _check(find_files(spec), spec)
    if reader == "sentences":
        raise SpecError(f"corpus {spec.name} comes with this package and needs no dataset.sha256: leave it out")
    path = find_archive(spec, root, mirror=None, fetch=False)
    return sha256(path) if path.is_file() else _of_folder(spec, path)


def _of_folder(spec: CorpusSpec, folder: Path) -> str:
    find = find_iwslt14 if info(spec).reader == "iwslt14" else find_wmt16
    found = find(folder, languages_of(spec))
    digests = {path.name: sha256(path) for paths in found.values() for path in paths}
    return hashlib.sha256(canonical_json(digests).encode()).hexdigest()


def _check_folder(spec: CorpusSpec, folder: Path) -> None:
    if (found := _of_folder(spec, folder)) != spec.sha256:
        raise DataError(
            f"{folder} has fingerprint {found}, dataset.sha256 declares {spec.sha256}; "
            "put the declared files there, or change dataset.sha256"
        )


def _check_languages(spec: CorpusSpec) -> None:
    declared = info(spec)
    if {spec.source, spec.target} != {declared.source, declared.target}:
        raise SpecError(
            f"dataset.source and target of {spec.name} are {declared.source} and {declared.target}, in either order, "
            f"not {spec.source} and {spec.target}"
        )


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
    """One pass over all files; returns the SHA-256 over what they contain, compressed or not."""
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
