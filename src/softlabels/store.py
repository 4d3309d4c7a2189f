"""The store: what has been trained, who is training it now, and publishing it as Snakemake's outputs.

Snakemake deletes declared outputs before it runs a job again, so the truth lies outside them, in
`results/<scale>/store/<run>/seed<k>/`. A result that is there is never computed again: publishing it is a hard link.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from softlabels.errors import SoftlabelsError, Stopped
from softlabels.files import atomic, canonical_json, read_json, sha256, writing
from softlabels.layout import Layout

LEASE_STALE_SECONDS = 300.0  # an owner on another host that has not been heard of for so long is gone
RENEW_SECONDS = 30.0


def finished(folder: Path) -> dict[str, Any] | None:
    """The `run.json` of a finished training in the store, or None."""
    path = folder / "run.json"
    if not path.exists():
        return None
    record: dict[str, Any] = read_json(path)
    return record if record.get("status") == "finished" else None


def publish(layout: Layout, run: str, seed: int) -> None:
    """Hard-link a finished training from the store into `runs/`, checking every file's SHA-256.

    Raises:
        SoftlabelsError: a file of the store is missing or has changed; it is named.
    """
    source, target = layout.store(run, seed), layout.run(run, seed)
    record = finished(source)
    if record is None:
        raise SoftlabelsError(f"{source} holds no finished training; run snakemake to train it")
    for name, digest in record["files"].items():
        path = source / name
        if not path.exists() or sha256(path) != digest:
            state = "is missing" if not path.exists() else "has changed since training"
            raise SoftlabelsError(f"{path} {state}; delete the folder {source} to have this seed trained again")
    with writing(target):
        target.mkdir(parents=True, exist_ok=True)
        for name in (*record["files"], "run.json"):
            if "/" not in name:
                _link(source / name, target / name)


def _link(source: Path, target: Path) -> None:
    if target.exists() and target.samefile(source):
        return
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    try:
        os.link(source, part)
    except OSError:  # a file system without hard links
        with atomic(target) as copy:
            shutil.copyfile(source, copy)
        return
    part.replace(target)


class Lease:
    """The right to write one folder of the store: a file that names host, process and SLURM job."""

    def __init__(
        self,
        folder: Path,
        poll: float = 1.0,
        wait: Callable[[str], None] = lambda _: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.path, self.poll, self.wait, self.should_stop = folder / "lease.json", poll, wait, should_stop
        pid = os.getpid()
        self.me = {
            "host": socket.gethostname(),
            "pid": pid,
            "born": _born(pid),
            "slurm_job": os.environ.get("SLURM_JOB_ID"),
        }

    @contextlib.contextmanager
    def held(self) -> Iterator[Lease]:
        """Take the lease, waiting for a living owner and taking over from a dead one; a thread renews it.

        Raises:
            Stopped: asked to stop while waiting.
        """
        told = False
        while not self._take():
            owner = self._owner()
            if owner is not None and not _alive(owner, self.path):
                self._bury(owner)
                continue
            if self.should_stop():
                raise Stopped(f"stopped while another job is at work in {self.path.parent}; run the same command again")
            if owner is not None and not told:
                self.wait(f"waiting for {owner.get('host')} process {owner.get('pid')}, at work in {self.path.parent}")
                told = True
            time.sleep(self.poll)
        for part in self.path.parent.rglob(".*.part"):  # of an owner that was killed while it wrote
            part.unlink(missing_ok=True)
        done = threading.Event()
        renewal = threading.Thread(target=self._renew_until, args=(done,), daemon=True)
        renewal.start()
        try:
            yield self
        finally:
            done.set()
            renewal.join()
            if self._owner() == self.me:  # else it went stale and is another's now
                self.path.unlink(missing_ok=True)

    def _renew_until(self, done: threading.Event) -> None:
        """Say that the owner lives: jobs on other hosts see the time stamp alone."""
        while not done.wait(RENEW_SECONDS):
            with contextlib.suppress(OSError):
                os.utime(self.path)

    def _take(self) -> bool:
        # A full file linked to its name: nobody ever reads half a lease.
        part = self.path.with_name(f".lease.{self.me['host']}.{self.me['pid']}")
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                part.write_text(canonical_json(self.me))
                os.link(part, self.path)
            except FileExistsError:
                return False
            finally:
                part.unlink(missing_ok=True)
        return True

    def _bury(self, owner: dict[str, Any]) -> None:
        """Remove a dead owner's lease, and never that of a job which has already taken over."""
        with writing(self.path), open(self.path.with_name(".lease.lock"), "w") as lock:
            with contextlib.suppress(OSError):  # a file system without locks: look and removal are close together
                fcntl.flock(lock, fcntl.LOCK_EX)
            if self._owner() == owner and not _alive(owner, self.path):
                self.path.unlink(missing_ok=True)

    def _owner(self) -> dict[str, Any] | None:
        """Who holds the lease; None: nobody. An unreadable lease (power failure) has no owner and goes stale."""
        try:
            owner: dict[str, Any] = read_json(self.path)
        except SoftlabelsError:
            return {} if self.path.exists() else None
        return owner


def at_work(folder: Path) -> bool:
    """Whether a living job holds the lease of a folder."""
    lease = Lease(folder)
    owner = lease._owner()
    return owner is not None and _alive(owner, lease.path)


def _born(pid: int) -> str | None:
    """The start time of a living process, which tells a reused process number from the old one."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None
    return None if fields[0] == "Z" else fields[19]


def _alive(owner: dict[str, Any], path: Path) -> bool:
    if owner.get("host") == socket.gethostname():
        return _born(int(owner["pid"])) == owner.get("born") and owner.get("born") is not None
    try:
        return time.time() - path.stat().st_mtime < LEASE_STALE_SECONDS
    except FileNotFoundError:
        return False
