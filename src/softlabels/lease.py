"""The right to write one folder: numbered files, of which the highest names the holder.

A lease is only ever created, by one operation that fails where the name exists, and never removed while there is work
left. So it needs no file locks: of several jobs that see a dead holder only one can make the next number, and one that
comes late sees the higher number. A holder whose machine has been silent for a minute is gone for the others; should
it wake up again, `require` tells it before it writes.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from softlabels import slurm
from softlabels.errors import SoftlabelsError, Stopped
from softlabels.files import canonical_json, read_json, write_json, writing

RENEW_SECONDS = 10.0
STALE_SECONDS = 60.0  # a holder on another machine that has missed six renewals is gone

Owner = dict[str, Any]


class Lease:
    """The right of this process to write `folder`."""

    def __init__(
        self,
        folder: Path,
        poll: float = 1.0,
        wait: Callable[[str], None] = lambda _: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.folder, self.poll, self.wait, self.should_stop = folder, poll, wait, should_stop
        self.number = 0
        pid = os.getpid()
        self.me: Owner = {
            "lease": uuid.uuid4().hex,
            "host": socket.gethostname(),
            "machine": _machine(),
            "user": os.getuid(),
            "pid": pid,
            "born": _born(pid),
            "slurm_job": slurm.job_id(),
        }

    @property
    def path(self) -> Path:
        return _file(self.folder, self.number)

    @property
    def _successor(self) -> Path:
        return _file(self.folder, self.number + 1)

    def _holds(self) -> bool:
        """Whether nobody has followed, let alone finished the work."""
        return _read(self.path) == self.me and not self._successor.exists()

    @contextlib.contextmanager
    def held(self) -> Iterator[Lease]:
        """Hold the lease, waiting for a living holder and following a dead one; a thread renews it.

        When the work ends without an exception there is nothing left to lease: the files go.

        Raises:
            Stopped: asked to stop while waiting.
        """
        told: Owner | None = None
        pause = self.poll
        while (owner := self.take()) is not None:
            if self.should_stop():
                raise Stopped(
                    f"stopped while {describe(owner)} is at work in {self.folder}; run the same command again"
                )
            if owner != told:
                self.wait(f"waiting for {describe(owner)}, at work in {self.folder}")
                told = owner
            time.sleep(pause)
            pause = min(1.5 * pause, 5 * self.poll)
        for part in self.folder.rglob(".*.part"):  # of a holder that was killed while it wrote
            part.unlink(missing_ok=True)
        with self.renewed():
            try:
                yield self
            except BaseException:
                self.release()
                raise
            if self._holds():
                for number in _numbers(self.folder):
                    _file(self.folder, number).unlink(missing_ok=True)

    def take(self) -> Owner | None:
        """Take the lease if nobody holds it; else the living holder is returned."""
        note = self.folder / f".lease.{self.me['lease']}.part"
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                while True:
                    note.write_text(canonical_json(self.me))
                    number, owner = _newest(self.folder)
                    if owner == self.me:  # made by a call of which the file system said that it had failed
                        self.number = number
                        return None
                    try:  # its time stamp is "now" by the clock of the file system, which is that of the renewals too
                        now = note.stat().st_mtime
                    except FileNotFoundError:  # a new holder has tidied it up
                        continue
                    if owner is not None and _alive(owner, _file(self.folder, number), now):
                        return owner
                    if _create(note, _file(self.folder, number + 1)):
                        if newest_number(self.folder) == number + 1:
                            self.number = number + 1
                            return None
                        _file(self.folder, number + 1).unlink(missing_ok=True)  # made from an outdated view
            finally:
                note.unlink(missing_ok=True)

    def require(self) -> None:
        """Called before a write that must not meet another's.

        Raises:
            SoftlabelsError: another job has followed, taking this process for dead.
        """
        if not self._holds():
            who = describe(_read(self._successor)) if self._successor.exists() else "another job"
            raise SoftlabelsError(
                f"{self.folder}: {who} has taken over, because this process was silent for {STALE_SECONDS:.0f} s; "
                "nothing more is written here, the work goes on or is done there"
            )

    def release(self) -> None:
        """Leave the work to whoever comes next, unless somebody has followed already."""
        if self._holds():
            with contextlib.suppress(SoftlabelsError):  # a full disk: this process is about to be gone anyway
                write_json(self.path, {**self.me, "released": True})

    @contextlib.contextmanager
    def renewed(self) -> Iterator[None]:
        """Say that the holder lives: other machines see the time stamp alone."""
        done = threading.Event()

        def renew() -> None:
            while not done.wait(RENEW_SECONDS):
                with contextlib.suppress(OSError):
                    if self._holds():
                        os.utime(self.path)

        thread = threading.Thread(target=renew, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def holder(folder: Path) -> Owner | None:
    """The living holder of a folder's lease, if there is one."""
    number, owner = _newest(folder)
    return owner if owner is not None and _alive(owner, _file(folder, number), time.time()) else None


def newest_number(folder: Path) -> int:
    """How often the folder has been leased."""
    return max(_numbers(folder), default=0)


def last_renewal(folder: Path) -> float | None:
    """When the newest lease has last been renewed, by the clock of the file system."""
    number = newest_number(folder)
    try:
        return _file(folder, number).stat().st_mtime if number else None
    except FileNotFoundError:
        return None


def describe(owner: Owner) -> str:
    """`gn1 process 1234 (SLURM job 42)`."""
    job = f" (SLURM job {owner['slurm_job']})" if owner.get("slurm_job") else ""
    return f"{owner.get('host', 'an unknown host')} process {owner.get('pid', '?')}{job}"


def _file(folder: Path, number: int) -> Path:
    return folder / f"lease.{number}.json"


def _numbers(folder: Path) -> list[int]:
    names = os.listdir(folder) if folder.is_dir() else []
    return [int(found[1]) for name in names if (found := re.fullmatch(r"lease\.(\d+)\.json", name))]


def _newest(folder: Path) -> tuple[int, Owner | None]:
    number = newest_number(folder)
    return number, _read(_file(folder, number)) if number else None


def _read(path: Path) -> Owner:
    """A lease; one that cannot be read (a power failure) belongs to nobody known and goes stale by time."""
    try:
        owner = read_json(path)
    except SoftlabelsError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _create(note: Path, target: Path) -> bool:
    """Make `target` with the content of `note`, or find that it exists."""
    try:
        os.link(note, target)  # whole from its first moment
    except (FileExistsError, FileNotFoundError):  # somebody was first; the new holder has tidied up our note
        return False
    except OSError:  # a file system without hard links
        try:
            text = note.read_text()
            with open(target, "x") as handle:
                handle.write(text)
        except (FileExistsError, FileNotFoundError):
            return False
    return True


def _alive(owner: Owner, path: Path, now: float) -> bool:
    if owner.get("released"):
        return False
    if owner.get("machine") == _machine() and owner.get("user") == os.getuid():  # others' may be hidden
        return owner.get("born") is not None and _born(int(owner["pid"])) == owner["born"]
    try:
        return now - path.stat().st_mtime < STALE_SECONDS
    except FileNotFoundError:
        return False


def _machine() -> str:
    """Where process numbers mean the same: this boot of this machine, and this container of it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _born(pid: int) -> str | None:
    """The start time of a living process, which tells a reused process number from the old one."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None
    return None if fields[0] == "Z" else fields[19]
