"""Archives from outside, unpacked so that no member can leave the target folder."""

from __future__ import annotations

import tarfile
from pathlib import Path

from softlabels.errors import DataError


def unpack(archive: Path, target: Path) -> None:
    """Unpack a tar archive (any compression) into `target`.

    All members are examined before the first is written, so a refused archive leaves nothing behind.

    Raises:
        DataError: the archive is damaged, or a member is a device or a link out of, or lies outside of, `target`.
    """
    try:
        with tarfile.open(archive) as tar:
            members = tar.getmembers()
            for member in members:
                _check(member, archive, target)
            target.mkdir(parents=True, exist_ok=True)
            tar.extractall(target, members, filter="data")
    except (tarfile.TarError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the file system, not the archive
        raise DataError(f"{archive} cannot be unpacked ({error}); delete it and fetch it again") from error


def _check(member: tarfile.TarInfo, archive: Path, target: Path) -> None:
    # Stricter than the filter alone, which rewrites absolute names instead of refusing them.
    try:
        if member.name.startswith("/") or not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
            raise tarfile.FilterError(member.name)
        tarfile.data_filter(member, str(target))
    except tarfile.FilterError as error:
        raise DataError(
            f"{archive}: member {member.name!r} would leave the target folder or is no plain file; nothing was unpacked"
        ) from error
