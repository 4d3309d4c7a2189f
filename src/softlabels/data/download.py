"""Downloads that resume where they stopped and count only after their checksum was verified."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from softlabels.errors import DataError
from softlabels.files import sha256
from softlabels.grid.declared.datasets import RemoteFile

ATTEMPTS = 5
TIMEOUT = 30.0  # seconds without an answer
_BLOCK = 1 << 16


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file: two jobs never write one data set, or append to one download, at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def download(file: RemoteFile, folder: Path, *, mirror: str | None = None, pause: float = 1.0) -> Path:
    """Fetch an official file into `folder`; bytes of an earlier, interrupted attempt are kept.

    The bytes collect in `<name>.part`, renamed when the sha256 is the declared one.

    Args:
        file: what to fetch.
        folder: where it goes.
        mirror: URL that replaces the official folder; `<mirror>/<name>` is fetched.
        pause: seconds before the second attempt, doubled each time.

    Raises:
        DataError: no connection, a refused request, or a wrong checksum; names the file and where to put it.
    """
    url = file.url if mirror is None else f"{mirror.rstrip('/')}/{file.name}"
    target, part = folder / file.name, folder / f"{file.name}.part"
    with locked(folder / f".{file.name}.lock"):
        if target.exists():  # another job was faster
            return target
        resumed = part.exists()
        _collect(url, part, file, target, pause)
        if resumed and sha256(part) != file.sha256:  # the old part may be the culprit: once more from the start
            part.unlink()
            _collect(url, part, file, target, pause)
        if (found := sha256(part)) != file.sha256:
            part.unlink()
            raise DataError(
                f"{url} has sha256 {found}, declared is {file.sha256}; it was discarded, try another data.mirror"
            )
        part.replace(target)
    return target


def _collect(url: str, part: Path, file: RemoteFile, target: Path, pause: float) -> None:
    """Append to `part` until it has the declared size, over several connections if need be."""
    cause: Exception | str = "the connection was closed early"
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(pause * 2 ** (attempt - 1))
        try:
            _connect(url, part, file)
        except urllib.error.HTTPError as error:
            if error.code == 416:  # the part is longer than the file
                part.unlink(missing_ok=True)
            elif error.code < 500:
                cause = error
                break
            cause = error
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            cause = getattr(error, "reason", error)
            if isinstance(cause, OSError) and not part.exists():
                break  # nothing ever arrived: offline
        if part.exists() and part.stat().st_size >= file.bytes:
            return
    raise DataError(
        f"cannot download {url} ({cause}); run again to resume, set data.mirror to another address, "
        f"or put the file ({file.bytes} bytes, sha256 {file.sha256}) at {target} yourself"
    )


def _connect(url: str, part: Path, file: RemoteFile) -> None:
    """One connection: ask for the bytes that are missing and write what comes."""
    have = part.stat().st_size if part.exists() else 0
    if have >= file.bytes:
        return
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        if have and response.status != 206:  # a server without ranges starts anew
            have = 0
        with (
            open(part, "ab" if have else "wb") as out,
            tqdm(total=file.bytes, initial=have, unit="B", unit_scale=True, desc=file.name, disable=None) as bar,
        ):
            while block := response.read(_BLOCK):
                out.write(block)
                bar.update(len(block))
                if out.tell() > file.bytes:
                    break  # another file: the checksum will say so
