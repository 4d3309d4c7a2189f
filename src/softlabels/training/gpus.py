"""One free GPU per job on a machine with several."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from softlabels.errors import SoftlabelsError

POLL_SECONDS = 1.0

_held: set[Path] = set()  # by this process, until it ends: nobody closes their descriptors


def first_free(gpus: Sequence[str], folder: Path | None = None) -> int:
    """Index of the first GPU that no other job of this user has taken; it is this process's until it ends.

    Waits while all are taken. A GPU is a locked file on a local disk; the kernel frees the lock when the process ends,
    by `kill -9` too.

    Args:
        gpus: a name of each that is the same for every process, such as its UUID.
        folder: of the locks; None: one per user in the temporary directory.

    Raises:
        SoftlabelsError: the folder cannot be used, or belongs to another user.
    """
    folder = folder or Path(tempfile.gettempdir()) / f"softlabels-gpus-{os.getuid()}"
    paths = [folder / f"{gpu}.lock" for gpu in gpus]
    for index, path in enumerate(paths):
        if path in _held:
            return index
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_uid != os.getuid():
            raise PermissionError("it belongs to another user")
        waiting = False
        while (taken := _take_one(paths)) is None:
            if not waiting:
                print(f"waiting for a free GPU: your other jobs hold all {len(paths)} (locks in {folder})")
            waiting = True
            time.sleep(POLL_SECONDS)
    except OSError as error:
        raise SoftlabelsError(
            f"{folder} cannot hold the locks of GPUs ({error.strerror or error}); set TMPDIR to a folder of yours, "
            "or name one GPU: --device cuda:0"
        ) from error
    return taken


def _take_one(paths: Sequence[Path]) -> int | None:
    for index, path in enumerate(paths):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
        else:
            _held.add(path)
            return index
    return None
