"""Files written whole or not at all, and their checksums."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from softlabels.errors import SoftlabelsError


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a refusal of the file system (no space, no permission) into one sentence that names `path`."""
    try:
        yield
    except OSError as error:
        raise SoftlabelsError(
            f"cannot write {path}: {error.strerror or error}; "
            "free space or choose another results folder, then run the same command again"
        ) from error


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is fsynced and renamed onto `path`.

    A reader sees the old file or the new one, never a part; on any failure, a full disk
    included, the old file stays.

    Raises:
        SoftlabelsError: the file system refused to write (no space, no permission).
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(descriptor)
        part = Path(name)
        try:
            yield part
            with open(part, "rb+") as handle:
                os.fsync(handle.fileno())
            part.chmod(0o644)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def canonical_json(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically."""
    with atomic(path) as part:
        part.write_text(json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        SoftlabelsError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise SoftlabelsError(f"{path} does not exist; make it with snakemake first") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise SoftlabelsError(f"{path} is not valid JSON ({error}); delete it to have it made again") from None
