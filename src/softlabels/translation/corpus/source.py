"""The reader of each corpus, and what identifies its text."""

from __future__ import annotations

import hashlib
from pathlib import Path

from softlabels.errors import DataError, SpecError
from softlabels.files import canonical_json, sha256
from softlabels.grid.corpora import info, settled
from softlabels.grid.translation import CorpusSpec
from softlabels.translation.corpus import files
from softlabels.translation.corpus.archive import find_archive, open_archive
from softlabels.translation.corpus.iwslt14 import find_iwslt14, read_iwslt14
from softlabels.translation.corpus.parallel import Pair, Parallel
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
        return files.read_files(spec)
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
        return files.fingerprint(spec)
    if reader == "sentences":
        raise SpecError(f"corpus {spec.name} is generated: it has no files, and needs no fingerprint")
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
