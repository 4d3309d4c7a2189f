"""The archive of a corpus: found below `data.root`, at a path of the user's or by download, and unpacked."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from pathlib import Path

from softlabels.data.download import TIMEOUT, locked
from softlabels.data.download import download as download_declared
from softlabels.data.unpack import unpack
from softlabels.errors import DataError
from softlabels.files import atomic, sha256
from softlabels.grid.declared.corpora import info
from softlabels.grid.declared.datasets import RemoteFile
from softlabels.grid.parts.translation import CorpusSpec

_NETWORK = (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError)
_BLOCK = 1 << 16
SUFFIXES = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar")


def find_archive(spec: CorpusSpec, root: Path, *, mirror: str | None, fetch: bool) -> Path:
    """The archive of a corpus, or the folder that somebody has unpacked it to.

    `dataset.archive` is taken where it is given; otherwise the usual names are looked for in `root/<name>` and `root`.

    Raises:
        DataError: it is nowhere (says what to put where), or cannot be downloaded.
    """
    declared = info(spec)
    place = root / spec.name
    if spec.archive is not None and "://" not in spec.archive:
        path = Path(spec.archive).expanduser()
        if not path.exists():
            raise DataError(f"{path} does not exist: put the archive or its folder there, or change dataset.archive")
        return path
    url = spec.archive or declared.url
    names = declared.archives if spec.archive is None else (_name(spec.archive),)
    for folder in (place, root):
        for name in names:
            for path in (folder / name, folder / _stem(name)):
                if path.exists() and path != place:
                    return path
    if any(place.glob("*/train.*")) or any(place.glob("train.*")):  # unpacked right there
        return place
    if url is not None and fetch:
        return _fetch(url, place, spec.sha256, mirror)
    ways = f"put {' or '.join(names)} into {place} (data.root in config.yaml), set dataset.archive"
    if url is not None:
        ways += f", or set data.download: true to have {url} fetched"
    raise DataError(f"{spec.name} is missing: {ways}")


def open_archive(spec: CorpusSpec, root: Path, scratch: Path, *, mirror: str | None, fetch: bool) -> Path:
    """A folder with the archive's files: the one that is there, or `scratch` after unpacking.

    Raises:
        DataError: as `find_archive`, a damaged archive, or another sha256 than the spec declares.
    """
    path = find_archive(spec, root, mirror=mirror, fetch=fetch)
    if path.is_dir():
        return path
    if spec.sha256 is not None and (found := sha256(path)) != spec.sha256:
        raise DataError(
            f"{path} has sha256 {found}, dataset.sha256 declares {spec.sha256}; "
            "put the declared archive there, or change dataset.sha256"
        )
    unpack(path, scratch)
    return scratch


def _name(url: str) -> str:
    return url.split("?")[0].rstrip("/").rpartition("/")[2]


def _stem(name: str) -> str:
    return next((name.removesuffix(suffix) for suffix in SUFFIXES if name.endswith(suffix)), name)


def _fetch(url: str, folder: Path, digest: str | None, mirror: str | None) -> Path:
    """Download into `folder`, checked and resumed where a sha256 is declared; otherwise whole or not at all."""
    name = _name(url)
    address = url if mirror is None else f"{mirror.rstrip('/')}/{name}"
    target = folder / name
    print(f"downloading {address}", flush=True)
    try:
        if digest is not None:
            request = urllib.request.Request(address, method="HEAD")
            with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
                length = int(response.headers["Content-Length"] or 0)
            return download_declared(RemoteFile(name, address, digest, length, ()), folder)
        with locked(folder / f".{name}.lock"):
            if target.exists():  # another job was faster
                return target
            with urllib.request.urlopen(address, timeout=TIMEOUT) as response, atomic(target) as part:
                _receive(response, part, address, target)
    except _NETWORK as error:
        raise _failed(address, error, target) from None
    print(f"{target} has sha256 {sha256(target)}: put it into dataset.sha256 to pin the corpus", flush=True)
    return target


def _receive(response: http.client.HTTPResponse, part: Path, address: str, target: Path) -> None:
    """All bytes of an answer. A failing network is told from a full disk here, where both are known."""
    expected = response.headers["Content-Length"]
    with open(part, "wb") as out:
        while True:
            try:
                block = response.read(_BLOCK)
            except _NETWORK as error:
                raise _failed(address, error, target) from None
            if not block:
                break
            out.write(block)
        if expected is not None and out.tell() != int(expected):
            raise _failed(address, "the connection was closed early", target)


def _failed(address: str, cause: Exception | str, target: Path) -> DataError:
    return DataError(
        f"cannot download {address} ({getattr(cause, 'reason', cause)}); run again, set data.mirror to another "
        f"address, or put the archive at {target} yourself"
    )
