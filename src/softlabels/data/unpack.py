"""Archives from outside, unpacked so that no member can leave the target folder."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path, PurePosixPath

from softlabels.errors import DataError
from softlabels.files import sha256
from softlabels.grid.declared.datasets import DatasetInfo


def unpack(archive: Path, target: Path) -> None:
    """Unpack a tar archive (any compression) or a zip archive into `target`.

    All members are examined before the first is written, so a refused archive leaves nothing behind.

    Raises:
        DataError: the archive is damaged, or a member is a device or a link out of, or lies outside of, `target`.
    """
    try:
        if zipfile.is_zipfile(archive):
            _unzip(archive, target)
            return
        with tarfile.open(archive) as tar:
            members = tar.getmembers()
            for member in members:
                _check(member, archive, target)
            target.mkdir(parents=True, exist_ok=True)
            tar.extractall(target, members, filter="data")
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the file system, not the archive
        why = str(error).partition("\n")[0].rstrip(":")  # tarfile lists what it tried in lines of their own
        raise DataError(f"{archive} cannot be unpacked ({why}); delete it and fetch it again") from error


def _unzip(archive: Path, target: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        for name in opened.namelist():
            parts = PurePosixPath(name.replace("\\", "/")).parts
            if ".." in parts or name.startswith(("/", "\\")):
                raise DataError(f"{archive}: member {name!r} would leave the target folder; nothing was unpacked")
        target.mkdir(parents=True, exist_ok=True)
        opened.extractall(target)  # links become plain files that hold their target's name


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


def unpacked(archives: list[Path], declared: DatasetInfo, scratch: Path) -> Path:
    """The folder in an archive, unpacked into `scratch` after its checksum was found to be the declared one.

    Raises:
        DataError: another checksum, or it cannot be unpacked.
    """
    if (found := sha256(archives[0])) != declared.files[0].sha256:
        raise DataError(
            f"{archives[0]} has sha256 {found}, declared is {declared.files[0].sha256}; "
            "delete it and put the official file there"
        )
    unpack(archives[0], scratch)
    return scratch
