"""The right to write a folder: real processes that wait, die, are silent and race."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from refusals import refused

from softlabels import lease as leases
from softlabels.errors import SoftlabelsError, Stopped
from softlabels.files import write_json
from softlabels.lease import Lease, holder

WORK = """
import sys, time
from pathlib import Path
from softlabels.lease import Lease
folder, name, seconds = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
print("up", flush=True)
sys.stdin.readline()
with Lease(folder, poll=0.002, wait=lambda text: print(text, flush=True)).held():
    busy = folder / "busy"
    with open(folder / "log", "a") as log:
        log.write(f"{name} in {busy.exists()}\\n")
    busy.touch()
    print("in", flush=True)
    time.sleep(seconds)
    busy.unlink()
print("out", flush=True)
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a real process that works in `tmp_path/store` under a lease; it begins on `go`."""
    (tmp_path / "store").mkdir()
    started: list[subprocess.Popen[str]] = []

    def begin(name: str, seconds: float = 0.0, prefix: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*prefix, sys.executable, "-c", WORK, str(tmp_path / "store"), name, str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert said(process) == "up"
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def left(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if "lease" in name)


def owner_elsewhere(folder: Path, number: int = 1) -> Path:
    """A lease of a process on another machine, renewed this moment."""
    path = folder / f"lease.{number}.json"
    write_json(path, {"host": "elsewhere", "machine": "another", "pid": os.getpid(), "born": "7", "slurm_job": "42"})
    return path


def silent(path: Path, seconds: float = leases.STALE_SECONDS + 1) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_a_second_process_waits_for_a_living_owner(start: Start, tmp_path: Path) -> None:
    first, second = start("first", 0.5), start("second")
    go(first)
    assert said(first) == "in"
    assert (found := holder(tmp_path / "store")) is not None
    assert found["pid"] == first.pid
    go(second)
    assert f"process {first.pid}" in (waiting := said(second))
    assert socket.gethostname() in waiting
    assert said(second) == "in"
    assert [said(first), said(second)] == ["out", "out"]
    assert (tmp_path / "store" / "log").read_text().splitlines() == ["first in False", "second in False"]
    assert left(tmp_path / "store") == []
    assert holder(tmp_path / "store") is None


def test_a_killed_owner_is_followed(start: Start, tmp_path: Path) -> None:
    first, second = start("first", 600), start("second")
    go(first)
    assert said(first) == "in"
    go(second)
    assert str(first.pid) in said(second)
    first.send_signal(signal.SIGKILL)
    # Not reaped: a zombie is no living owner.
    assert said(second) == "in"
    assert (tmp_path / "store" / "log").read_text().splitlines()[1].startswith("second")


def test_many_processes_race_for_a_dead_lease(start: Start, tmp_path: Path) -> None:
    processes = [start(str(i), 0.01) for i in range(5)]
    silent(owner_elsewhere(tmp_path / "store", 7))
    for process in processes:
        go(process)
    for process in processes:
        assert process.wait(60) == 0
    log = (tmp_path / "store" / "log").read_text().splitlines()
    assert sorted(line.split()[0] for line in log) == sorted(map(str, range(5)))
    assert [line for line in log if line.endswith("True")] == []


def test_one_that_looked_before_others_came_and_went_does_not_become_a_second_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a directory listing says may be old (a network file system, a long pause)."""
    silent(owner_elsewhere(tmp_path, 3))
    outdated = leases._newest(tmp_path)
    silent(owner_elsewhere(tmp_path, 4))
    holding = Lease(tmp_path)
    assert holding.take() is None
    assert holding.number == 5
    real, answers = leases._newest, iter([outdated])
    monkeypatch.setattr(leases, "_newest", lambda folder: next(answers, None) or real(folder))
    assert Lease(tmp_path).take() == holding.me
    (tmp_path / "lease.4.json").unlink()  # and were a number free again, the higher one would still show
    answers = iter([outdated])
    assert Lease(tmp_path).take() == holding.me
    assert left(tmp_path) == ["lease.3.json", "lease.5.json"]
    holding.require()


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
@pytest.mark.parametrize("moment", ["_newest", "_create"])
def test_one_whose_note_a_new_holder_has_tidied_up_writes_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str, links: bool
) -> None:
    """Who takes a lease removes what killed writers have left, and with it the notes of those who are about to ask."""
    first, real = Lease(tmp_path), getattr(leases, moment)

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    def overtaken(*args: Path) -> object:
        monkeypatch.setattr(leases, moment, real)
        assert first.take() is None
        for note in tmp_path.glob(".*.part"):
            note.unlink()
        return real(*args)

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(leases, moment, overtaken)
    assert Lease(tmp_path).take() == first.me == json.loads(first.path.read_text())
    assert left(tmp_path) == ["lease.1.json"]


def test_a_reused_process_number_is_not_the_owner(tmp_path: Path) -> None:
    write_json(tmp_path / "lease.1.json", {**Lease(tmp_path).me, "born": "1"})
    with Lease(tmp_path, poll=0.01).held() as lease:
        assert lease.number == 2


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "empty: a power failure"])
def test_an_owner_on_another_machine_is_gone_when_it_has_been_silent(tmp_path: Path, whole: bool) -> None:
    path = owner_elsewhere(tmp_path)
    if not whole:
        path.write_text("")
    asked: list[str] = []
    with (
        refused(Stopped, tmp_path, varies=r"process \d+"),
        Lease(tmp_path, poll=0.01, wait=asked.append, should_stop=lambda: len(asked) > 0).held(),
    ):
        pytest.fail("took a living owner's lease")
    assert not whole or "elsewhere" in asked[0]
    assert not whole or "SLURM job 42" in asked[0]
    assert left(tmp_path) == ["lease.1.json"]
    silent(path)
    with Lease(tmp_path, poll=0.01).held() as lease:
        assert json.loads(lease.path.read_text()) == lease.me
    assert left(tmp_path) == []


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root and unshare")
def test_the_same_process_number_in_another_container_is_another_process(start: Start, tmp_path: Path) -> None:
    first = start("first", 600, ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child"))
    go(first)
    assert said(first) == "in"
    asked: list[str] = []
    with (
        refused(Stopped, "process 1", varies=r"while \S+"),  # which here is somebody else
        Lease(tmp_path / "store", poll=0.01, wait=asked.append, should_stop=lambda: len(asked) > 0).held(),
    ):
        pytest.fail("took a living owner's lease")


def test_a_held_lease_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.01)
    renewed = threading.Event()
    touch = os.utime

    def watch(path: Path) -> None:
        touch(path)
        renewed.set()

    monkeypatch.setattr(os, "utime", watch)
    with Lease(tmp_path).held() as lease:
        touch(lease.path, (0, 0))
        renewed.clear()
        assert renewed.wait(30)
        assert lease.path.stat().st_mtime > 0


def test_an_owner_that_was_taken_for_dead_may_not_write(tmp_path: Path) -> None:
    with Lease(tmp_path).held() as lease:
        lease.require()
        other = owner_elsewhere(tmp_path, lease.number + 1)
        with refused(SoftlabelsError, "elsewhere", varies=r"process \d+"):
            lease.require()
    assert holder(tmp_path) == json.loads(other.read_text())  # still the successor's


def test_nor_may_it_when_the_other_has_finished_and_left(tmp_path: Path) -> None:
    """Its successor's files are gone, and a stranger may have begun with the first number again."""
    silent_one = Lease(tmp_path)
    assert silent_one.take() is None
    silent(silent_one.path)
    silent_one.path.write_text(json.dumps({**silent_one.me, "machine": "another"}))
    with Lease(tmp_path).held():
        pass
    assert left(tmp_path) == []
    with refused(SoftlabelsError, tmp_path):
        silent_one.require()
    stranger = owner_elsewhere(tmp_path)
    with refused(SoftlabelsError, tmp_path):
        silent_one.require()
    silent_one.release()
    assert json.loads(stranger.read_text())["host"] == "elsewhere"


def test_one_that_was_told_that_it_failed_does_not_wait_for_itself(tmp_path: Path) -> None:
    """A file system across a network may do what it is asked, lose the answer, and refuse the second try."""
    lease = Lease(tmp_path)
    write_json(tmp_path / "lease.1.json", lease.me)
    assert lease.take() is None
    assert lease.number == 1
    assert Lease(tmp_path).take() == lease.me


def test_a_failure_while_holding_the_lease_gives_it_back(tmp_path: Path) -> None:
    for before in range(2):
        with pytest.raises(ZeroDivisionError), Lease(tmp_path).held():
            _ = 1 / 0
        assert holder(tmp_path) is None
        assert len(left(tmp_path)) == before + 1  # numbers are not used twice


def test_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with Lease(tmp_path).held() as lease:
        assert json.loads(lease.path.read_text()) == lease.me
        assert Lease(tmp_path).take() == lease.me
    assert left(tmp_path) == []
