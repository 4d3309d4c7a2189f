"""The official files of a data set: found below `data.root` or downloaded, checked, and read without unpickling."""

from __future__ import annotations

import gzip
import hashlib
import tarfile
import zlib
from pathlib import Path

from softlabels.data.download import download
from softlabels.errors import DataError
from softlabels.files import sha256
from softlabels.grid.datasets import DatasetInfo, RemoteFile


def read_official(name: str, declared: DatasetInfo, root: Path, *, mirror: str | None, fetch: bool) -> dict[str, bytes]:
    """The bytes of every declared content, by name.

    A file is looked for in `root/<name>`, in `root` and in their folders: as the official archive, compressed
    anew, or unpacked. It is accepted by its contents' checksums or by its own.

    Raises:
        DataError: missing (says what to put where), truncated, or of another checksum than declared.
    """
    contents: dict[str, bytes] = {}
    for file, paths in find_official(name, declared, root, mirror=mirror, fetch=fetch).items():
        contents |= _read(file, paths)
    return contents


def find_official(
    name: str, declared: DatasetInfo, root: Path, *, mirror: str | None, fetch: bool
) -> dict[RemoteFile, list[Path]]:
    """Where each declared file lies: the archive, or its contents unpacked; nothing of them has been checked.

    Raises:
        DataError: missing (says what to put where) and not to be fetched.
    """
    found = {file: _find(file, [root / name, root]) for file in declared.files}
    missing = [file for file, paths in found.items() if not paths]
    if missing and not fetch:
        raise DataError(
            f"{name} is missing: put {', '.join(file.name for file in missing)} "
            f"({sum(file.bytes for file in missing) / 1e6:.0f} MB) into {root / name} (data.root in config.yaml), "
            "or set data.download: true to have them fetched"
        )
    return {file: paths or [download(file, root / name, mirror=mirror)] for file, paths in found.items()}


def _find(file: RemoteFile, folders: list[Path]) -> list[Path]:
    """The archive, or all of its contents lying unpacked, or nothing."""
    folders = [f for folder in folders if folder.is_dir() for f in (folder, *sorted(folder.glob("*/")))]
    for folder in folders:
        if (folder / file.name).is_file():
            return [folder / file.name]
        unpacked = [folder / name for name, _ in file.contents]
        if unpacked and all(path.is_file() for path in unpacked):
            return unpacked
    return []


def _read(file: RemoteFile, paths: list[Path]) -> dict[str, bytes]:
    archive = paths[0]
    try:
        if archive.name != file.name:
            data = {path.name: path.read_bytes() for path in paths}
        elif file.name.endswith(".tar.gz"):
            data = _members(archive, {name for name, _ in file.contents})
        else:
            with gzip.open(archive) as stream:
                data = {file.contents[0][0]: stream.read()}
    except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError) as error:
        raise DataError(
            f"{archive} is truncated or damaged ({error}); delete it and put the official file there"
        ) from None
    wrong = [name for name, digest in file.contents if hashlib.sha256(data.get(name, b"")).hexdigest() != digest]
    if wrong and not (archive.name == file.name and sha256(archive) == file.sha256):
        where = archive.parent / wrong[0] if archive.name != file.name else f"{wrong[0]} in {archive}"
        raise DataError(
            f"{where} has another checksum than the official one; delete it and put the official file there"
        )
    return data


def _members(archive: Path, names: set[str]) -> dict[str, bytes]:
    """The wanted members, read in place: nothing is written, so nothing can leave a folder."""
    data = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            base = Path(member.name).name
            if base in names and member.isreg():
                stream = tar.extractfile(member)
                assert stream is not None  # a regular file
                data[base] = stream.read()
    return data
