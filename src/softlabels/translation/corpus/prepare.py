"""A parallel corpus made ready once: read, tokenised, cleaned, segmented, and made binary by fairseq-preprocess.

Written are, and last of all `manifest.json`:
* `raw/{val,test}.<language>`: sentences as written, what sacreBLEU compares with;
* `tok/{val,test}.<language>`: their tokens (lower case where the spec says so), for BLEU on tokenised text;
* `subwords/{train,val,test}.<language>`, and `subwords/codes` or `subwords/model`;
* `bin/`: the data folder of fairseq, parts `train`, `valid` and `test`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

from softlabels.data.download import locked
from softlabels.errors import DataError, require
from softlabels.files import canonical_json, read_json, sha256, write_json
from softlabels.grid.declared.corpora import identity_of, info, settled, vocabulary
from softlabels.grid.parts.translation import CorpusSpec
from softlabels.grid.spec import to_dict
from softlabels.translation.corpus.binary import binarise, count_tokens
from softlabels.translation.corpus.parallel import Pair, Parallel, paths_of, read_lines, write_pairs
from softlabels.translation.corpus.readers import languages_of, read
from softlabels.translation.corpus.splits import Splits, divide
from softlabels.translation.corpus.subwords import Segment, learn
from softlabels.translation.corpus.text import Normaliser

FOLDERS = ("raw", "tok", "subwords", "bin")
SPLITS = ("train", "val", "test")


def prepare(
    spec: CorpusSpec, out: Path, *, root: Path | None = None, mirror: str | None = None, download: bool = False
) -> dict[str, Any]:
    """Write a prepared corpus to `out`; nothing to do when it is there and whole.

    Args:
        spec: the corpus and how it becomes subwords.
        out: folder of the prepared corpus.
        root: where archives lie or are downloaded to; None: `raw/` beside `out`.
        mirror: URL that replaces the folder of the declared address.
        download: whether a missing archive is fetched.

    Returns:
        The manifest.

    Raises:
        SpecError: an unknown name, or fields that do not go together.
        DataError: files missing, damaged, or not what the spec declares; `out` holds another corpus.
    """
    # The corpus of WMT is used with a dictionary of a declared size; text of a user's own keeps all of its types.
    largest = vocabulary(spec) if info(spec).subwords == "given" else None
    identity, spec = identity_of(spec), settled(spec)
    require(
        not (spec.subwords == "given" and spec.tokenise),
        "dataset.tokenise would tear apart text that is segmented already; set dataset.tokenise: false",
    )
    with locked(out / ".lock"):
        path = out / "manifest.json"
        if path.exists():
            manifest: dict[str, Any] = read_json(path)
            if manifest.get("identity") != identity:
                raise DataError(
                    f"{out} holds another corpus ({manifest.get('identity')}); delete it or choose another folder"
                )
            if not damaged(out, manifest):
                return manifest
            path.unlink()
        # whatever a killed attempt has left; the lock says nobody else writes here
        for name in (*FOLDERS, ".work"):
            shutil.rmtree(out / name, ignore_errors=True)
        work = out / ".work"
        try:
            place = root or out.parent / "raw"
            corpus = read(spec, place, work / "unpacked", mirror=mirror, download=download)
            manifest = {"spec": _described(spec), "identity": identity} | _make(spec, corpus, work, largest)
            for name in FOLDERS:
                (work / name).replace(out / name)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        write_json(path, manifest)
        say(spec, f"done: {out}, {manifest['vocabulary']} types, {manifest['sizes']['train']} training pairs")
        return manifest


def damaged(out: Path, manifest: dict[str, Any]) -> list[str]:
    """Files of a prepared corpus that are missing or not as long as recorded."""
    return [
        name
        for name, entry in manifest["files"].items()
        if not (out / name).is_file() or (out / name).stat().st_size != entry["bytes"]
    ]


def verify(out: Path, manifest: dict[str, Any]) -> None:
    """Compare all files of a prepared corpus with their checksums.

    Raises:
        DataError: a file is missing or was changed.
    """
    for name in damaged(out, manifest):
        raise DataError(f"{out / name} is missing or truncated; delete {out} and run again")
    for name, entry in manifest["files"].items():
        if sha256(out / name) != entry["sha256"]:
            raise DataError(f"{out / name} was changed since it was prepared; delete {out} and run again")


def say(spec: CorpusSpec, what: str) -> None:
    """One line for whoever watches."""
    print(f"corpus {spec.name} {spec.source}-{spec.target}: {what}", flush=True)


def _described(spec: CorpusSpec) -> dict[str, Any]:
    described: dict[str, Any] = to_dict(spec)
    if spec.max_ratio == float("inf"):  # which JSON lacks
        del described["max_ratio"]
    return described


def _make(spec: CorpusSpec, corpus: Parallel, work: Path, largest: int | None) -> dict[str, Any]:
    """All folders below `work`; the entries of the manifest that tell of them.

    `largest`: types that the dictionary may have; None: all there are.
    """
    languages = languages_of(spec)
    say(spec, "tokenising and cleaning" if spec.tokenise else "cleaning")
    normalise = Normaliser(spec, languages)
    splits = divide(spec, corpus, languages, normalise, work / "train")
    for name, part in (("val", splits.val), ("test", splits.test)):
        write_pairs(work / "raw" / name, languages, part.raw)
        write_pairs(work / "tok" / name, languages, (normalise.tokens(pair) for pair in part.text))
    train = paths_of(work / "train", languages)
    say(spec, "copying subwords" if spec.subwords == "given" else f"learning and applying {spec.subwords}")
    _segment(splits, learn(spec, train, work / "subwords"), train, work / "subwords", languages)
    counted = {split: count_tokens(work / "subwords" / split, languages) for split in SPLITS}
    tokens = {split: counts for split, (_, counts) in counted.items()}
    _compare(spec, "train_tokens", tokens["train"][languages[1]])
    say(spec, "fairseq-preprocess")
    types = binarise(work / "subwords", work / "bin", languages, largest)
    _compare(spec, "vocabulary", types)
    files = _entries(work)
    return {
        "languages": list(languages),
        "sizes": {split: pairs for split, (pairs, _) in counted.items()},
        "tokens": tokens,
        "vocabulary": types,
        "dictionary_sha256": files[f"bin/dict.{languages[1]}.txt"]["sha256"],
        "removed": splits.removed,
        "tokenise": spec.tokenise,
        "moses": bool(spec.tokenise) or corpus.moses,
        "lowercase": spec.lowercase,
        "subwords": spec.subwords,
        "references": corpus.references,
        "validation": splits.validation,
        "test_sets": list(corpus.test_sets),
        "files": files,
        "fingerprint": hashlib.sha256(
            canonical_json({name: entry["sha256"] for name, entry in files.items()}).encode()
        ).hexdigest(),
    }


def _segment(splits: Splits, segment: Segment, train: tuple[Path, Path], folder: Path, languages: Pair) -> None:
    """Write `folder/{train,val,test}.<language>`."""

    def cut(pair: Pair) -> Pair:
        return segment(pair[0]), segment(pair[1])

    pairs = zip(read_lines(train[0]), read_lines(train[1]), strict=True)
    write_pairs(folder / "train", languages, map(cut, pairs))
    write_pairs(folder / "val", languages, map(cut, splits.val.text))
    write_pairs(folder / "test", languages, map(cut, splits.test.text))


def _compare(spec: CorpusSpec, key: str, measured: int) -> None:
    """A measured size against the one that a user declared; caches are budgeted by the declared one."""
    declared: int | None = getattr(spec, key)
    if declared is not None and measured > declared:
        raise DataError(f"the corpus has {measured} of dataset.{key}, declared are {declared}: set {key}: {measured}")


def _entries(work: Path) -> dict[str, dict[str, Any]]:
    """Size and checksum of every file by its path; all are on the disk when this returns."""
    entries = {}
    for path in sorted(path for name in FOLDERS for path in (work / name).rglob("*") if path.is_file()):
        with open(path, "rb+") as handle:
            os.fsync(handle.fileno())
        entries[path.relative_to(work).as_posix()] = {"sha256": sha256(path), "bytes": path.stat().st_size}
    return entries
