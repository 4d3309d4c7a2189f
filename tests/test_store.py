"""The store: published by hard link, checked before, and written by one process at a time."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from softlabels import store
from softlabels.errors import SoftlabelsError, Stopped
from softlabels.files import read_json, sha256, write_json
from softlabels.layout import Layout
from softlabels.store import Lease, finished, publish

NAMES = ("history.csv", "weights.safetensors", "logits.safetensors", "milestones/step0.safetensors")


@pytest.fixture
def layout(results: Path) -> Layout:
    """A store with one finished training."""
    layout = Layout(results)
    folder = layout.store("run", 0)
    for name in NAMES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode() * 100)
    record = {"status": "finished", "files": {name: sha256(folder / name) for name in NAMES}}
    write_json(folder / "run.json", record)
    return layout


# ------------------------------------------------------------ publishing


def test_publishing_is_a_hard_link_and_can_be_repeated(layout: Layout) -> None:
    for _ in range(2):
        publish(layout, "run", 0)
        source, target = layout.store("run", 0), layout.run("run", 0)
        assert {path.name for path in target.iterdir()} == set(Layout.RUN_FILES)
        assert all((target / name).samefile(source / name) for name in Layout.RUN_FILES)
    (target / "history.csv").unlink()  # what Snakemake does before it runs a job again
    (target / "run.json").unlink()
    publish(layout, "run", 0)
    assert (target / "history.csv").samefile(source / "history.csv")


def test_without_hard_links_files_are_copied(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    publish(layout, "run", 0)
    target, source = layout.run("run", 0), layout.store("run", 0)
    for name in Layout.RUN_FILES:
        assert (target / name).read_bytes() == (source / name).read_bytes()
        assert not (target / name).samefile(source / name)
    assert not list(target.glob(".*"))


@pytest.mark.parametrize("name", NAMES)
def test_one_changed_byte_is_refused_and_named(layout: Layout, name: str) -> None:
    folder = layout.store("run", 0)
    content = bytearray((folder / name).read_bytes())
    content[37] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(
        SoftlabelsError, match=f"{folder / name} has changed since training; delete the folder {folder}"
    ):
        publish(layout, "run", 0)
    assert not layout.run("run", 0).exists()


def test_a_missing_file_is_named(layout: Layout) -> None:
    path = layout.store("run", 0) / "logits.safetensors"
    path.unlink()
    with pytest.raises(SoftlabelsError, match=rf"{path} is missing; delete the folder"):
        publish(layout, "run", 0)


def test_what_is_not_finished_is_not_published(layout: Layout) -> None:
    folder = layout.store("run", 0)
    write_json(folder / "run.json", {"status": "training", "files": {}})
    assert finished(folder) is None
    assert finished(layout.store("run", 1)) is None
    with pytest.raises(SoftlabelsError, match="holds no finished training"):
        publish(layout, "run", 0)


# ------------------------------------------------------------ the lease

WORK = """
import sys, time
from pathlib import Path
from softlabels.store import Lease
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

    def begin(name: str, seconds: float = 0.0) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", WORK, str(tmp_path / "store"), name, str(seconds)],
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


def test_a_second_process_waits_for_a_living_owner(start: Start, tmp_path: Path) -> None:
    first, second = start("first", 0.5), start("second")
    go(first)
    assert said(first) == "in"
    go(second)
    assert f"process {first.pid}" in (waiting := said(second))
    assert socket.gethostname() in waiting
    assert said(second) == "in"
    assert [said(first), said(second)] == ["out", "out"]
    assert (tmp_path / "store" / "log").read_text() == "first in False\nsecond in False\n"
    assert not (tmp_path / "store" / "lease.json").exists()


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
    dead = subprocess.Popen(["true"])
    dead.wait()
    owner = {"host": socket.gethostname(), "pid": dead.pid, "born": "1", "slurm_job": None}
    (tmp_path / "store" / "lease.json").write_text(json.dumps(owner))
    for process in processes:
        go(process)
    for process in processes:
        assert process.wait(60) == 0
    log = (tmp_path / "store" / "log").read_text().splitlines()
    assert sorted(line.split()[0] for line in log) == sorted(map(str, range(5)))
    assert [line for line in log if line.endswith("True")] == []


def test_burying_never_frees_the_lease_of_the_successor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slow one of two that saw the dead owner acts after the fast one has taken over, and a third comes by."""
    dead = {"host": socket.gethostname(), "pid": 2**22 + 1, "born": "1", "slurm_job": None}
    write_json(tmp_path / "lease.json", dead)
    fast, slow, third = (Lease(tmp_path) for _ in range(3))
    fast._bury(dead)
    assert fast._take()
    taken = []

    def read(path: Path) -> object:
        taken.append(third._take())
        return read_json(path)

    monkeypatch.setattr(store, "read_json", read)
    slow._bury(dead)
    taken.append(third._take())
    assert taken == [False] * len(taken)


def test_a_reused_process_number_is_not_the_owner(tmp_path: Path) -> None:
    owner = {"host": socket.gethostname(), "pid": os.getpid(), "born": "1", "slurm_job": None}
    write_json(tmp_path / "lease.json", owner)
    with Lease(tmp_path, poll=0.01).held() as lease:
        assert lease._owner() == lease.me


@pytest.mark.parametrize("content", ['{"host": "elsewhere", "pid": 1, "born": "7", "slurm_job": "42"}', ""])
def test_a_lease_of_another_host_goes_stale_by_time(tmp_path: Path, content: str) -> None:
    """And so does an empty one, left by a power failure."""
    path = tmp_path / "lease.json"
    path.write_text(content)
    asked: list[str] = []
    with (
        pytest.raises(Stopped, match="another job is at work"),
        Lease(tmp_path, poll=0.01, wait=asked.append, should_stop=lambda: len(asked) > 0).held(),
    ):
        pytest.fail("took a living owner's lease")
    assert path.read_text() == content
    long_ago = time.time() - store.LEASE_STALE_SECONDS - 1
    os.utime(path, (long_ago, long_ago))
    with Lease(tmp_path, poll=0.01).held() as lease:
        assert json.loads(path.read_text()) == lease.me
    assert not path.exists()


def test_a_held_lease_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "RENEW_SECONDS", 0.01)
    renewed = threading.Event()
    touch = os.utime

    def watch(path: Path) -> None:
        touch(path)
        renewed.set()

    monkeypatch.setattr(os, "utime", watch)
    with Lease(tmp_path).held():
        touch(tmp_path / "lease.json", (0, 0))
        renewed.clear()
        assert renewed.wait(30)
        assert (tmp_path / "lease.json").stat().st_mtime > 0


def test_a_lease_that_another_has_taken_over_is_left_alone(tmp_path: Path) -> None:
    other = {"host": "elsewhere", "pid": 1, "born": "7", "slurm_job": None}
    with Lease(tmp_path).held():
        write_json(tmp_path / "lease.json", other)
    assert json.loads((tmp_path / "lease.json").read_text()) == other


def test_a_failure_while_holding_the_lease_gives_it_back(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Lease(tmp_path).held():
        raise ZeroDivisionError
    assert not (tmp_path / "lease.json").exists()
