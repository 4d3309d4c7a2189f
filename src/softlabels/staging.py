"""Copies of shared files on the local disk of a node, for file systems that thousands of jobs read at once.

`--stage '$TMPDIR'` copies prepared data and logits caches to `<folder>/softlabels-<digest of their checksums>/` before
they are read. The first job on a node copies, the others find the copies. A copy has its name only after its SHA-256
was that of the manifest, and is checked again by every job that uses it (which also brings it into memory). So
numbers never depend on staging. Where it cannot be done (disk full, too small or not writable) one line says so and
the shared files are read.

Nothing is removed here, because another job may be about to read it: most sites delete `$TMPDIR` at the end of a job.
Of a folder that outlives jobs, delete `softlabels-*` when no job runs.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from softlabels.data.download import locked
from softlabels.errors import SoftlabelsError, SpecError
from softlabels.files import canonical_json, sha256


def stage_folder(text: str) -> Path:
    """The folder that `--stage` names, with variables of this node expanded.

    Raises:
        SpecError: a variable is not set, or the path is relative.
    """
    expanded = os.path.expanduser(os.path.expandvars(text))
    if unset := re.search(r"\$\{?\w+\}?", expanded):
        raise SpecError(f"--stage {text} (jobs.stage): the variable {unset[0]} is not set on {os.uname().nodename}")
    if not os.path.isabs(expanded):
        raise SpecError(f"--stage {text} (jobs.stage) must begin at / or with a variable that does, like $TMPDIR")
    return Path(expanded)


def staged(folder: Path, checksums: Mapping[str, str], stage: Path | None) -> Path:
    """Where to read files of `folder`: their verified copies below `stage`, or `folder` itself.

    Args:
        folder: the shared files.
        checksums: name → SHA-256 of every file to copy, as the manifest has them.
        stage: a folder on a local disk; None: no copies.

    Raises:
        SoftlabelsError: a shared file is not what its manifest says; it is named.
    """
    if stage is None:
        return folder
    copies = stage / f"softlabels-{hashlib.sha256(canonical_json(dict(checksums)).encode()).hexdigest()[:16]}"
    try:
        if missing := _missing(copies, checksums):
            with locked(copies / ".lock"):  # local, so the lock is sure, and the kernel frees that of a dead job
                _copy(folder, copies, {name: checksums[name] for name in _missing(copies, missing)})
    except OSError as error:
        print(f"{folder} cannot be copied to {copies} ({error.strerror or error}); the shared files are read")
        return folder
    return copies


def _missing(copies: Path, checksums: Mapping[str, str]) -> dict[str, str]:
    """Those that are not there or damaged."""
    return {
        name: digest
        for name, digest in checksums.items()
        if not (copies / name).is_file() or sha256(copies / name) != digest
    }


def _copy(folder: Path, copies: Path, checksums: Mapping[str, str]) -> None:
    """Copy files whose lock is held; what a killed job left of a copy is overwritten."""
    for name in checksums:
        (copies / name).unlink(missing_ok=True)
    size, free = sum((folder / name).stat().st_size for name in checksums), shutil.disk_usage(copies).free
    if size > free:
        raise OSError(f"{size / 1e6:.1f} MB are needed, {free / 1e6:.1f} MB are free")
    if checksums:  # not made by another job while this one waited
        print(f"copying {size / 1e6:.1f} MB of {folder} to {copies}")
    for name, digest in checksums.items():
        part = (copies / name).with_name(f".{Path(name).name}.part")
        part.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(folder / name, part)
            if sha256(part) == digest:
                part.replace(copies / name)
                continue
            if sha256(folder / name) == digest:
                raise OSError(f"the copy of {name} is damaged")
        finally:
            part.unlink(missing_ok=True)
        raise SoftlabelsError(
            f"{folder / name} has changed since it was written; delete {folder / 'manifest.json'} and run again, "
            "which makes it again"
        )
