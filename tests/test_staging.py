"""Local copies of shared files: verified, shared by the jobs of a node, never needed, never deciding a number."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import DIGITS
from refusals import refused

from softlabels.cache import CachedLogits, TeacherNetwork, write_cache
from softlabels.data.load import Data, open_data
from softlabels.errors import SoftlabelsError, SpecError
from softlabels.files import sha256
from softlabels.grid.parts.recipe import Augment, Precision
from softlabels.grid.spec import ModelSpec
from softlabels.models import build
from softlabels.staging import stage_folder, staged
from softlabels.training.images import ImageSplit

ARRAYS = 9
SHIFT = Augment(shift=1)


@pytest.fixture
def shared(tmp_path: Path, digits: Data) -> Path:
    """Prepared data that a test may damage."""
    return shutil.copytree(digits.folder, tmp_path / "shared")


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    return tmp_path / "local disk"


def copies(stage: Path) -> dict[str, tuple[int, str]]:
    """Inode and SHA-256 of every visible copy."""
    return {path.name: (path.stat().st_ino, sha256(path)) for path in stage.glob("*/*.npy")}


def test_data_are_read_from_copies_that_the_next_job_finds(shared: Path, stage: Path, digits: Data) -> None:
    data = open_data(shared, stage)
    assert data.folder.parent == stage
    assert data.fingerprint == digits.fingerprint
    first = copies(stage)
    assert len(first) == ARRAYS
    for split in ("train", "val", "test"):
        assert np.array_equal(data.images(split), digits.images(split))
        assert np.array_equal(data.labels(split), digits.labels(split))
    assert open_data(shared, stage).folder == data.folder
    assert copies(stage) == first
    assert {path.name for path in data.folder.iterdir()} == {*first, ".lock"}


def test_a_damaged_copy_is_made_again_and_the_others_stay(shared: Path, stage: Path) -> None:
    folder = open_data(shared, stage).folder
    first = copies(stage)
    np.save(folder / "train_images.npy", 255 - np.load(folder / "train_images.npy"))  # only its checksum tells
    (folder / "val_ids.npy").unlink()
    assert len(set(first.items()) - set(copies(stage).items())) == 2
    assert np.array_equal(open_data(shared, stage).images("train"), np.load(shared / "train_images.npy"))
    again = copies(stage)
    assert {name: digest for name, (_, digest) in again.items()} == {n: digest for n, (_, digest) in first.items()}
    assert all(again[name] == first[name] for name in first if name not in ("train_images.npy", "val_ids.npy"))


JOB = """
import json, sys
from pathlib import Path
from softlabels.staging import staged
print("ready", flush=True)
sys.stdin.readline()
print(staged(Path(sys.argv[1]), json.loads(sys.argv[2]), Path(sys.argv[3])), flush=True)
"""


@pytest.fixture
def large(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """Files that take a while to copy, and their checksums."""
    folder = tmp_path / "large"
    folder.mkdir()
    for name in ("a.npy", "b.npy"):
        (folder / name).write_bytes(np.random.default_rng(0).bytes(100 << 20))
    return folder, {path.name: sha256(path) for path in folder.iterdir()}


def start(large: tuple[Path, dict[str, str]], stage: Path) -> subprocess.Popen[str]:
    """A job that is about to stage."""
    command = [sys.executable, "-c", JOB, large[0], json.dumps(large[1]), stage]
    job = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert job.stdout is not None
    assert job.stdout.readline() == "ready\n"
    return job


def test_two_jobs_at_once_make_one_copy(large: tuple[Path, dict[str, str]], stage: Path) -> None:
    jobs = [start(large, stage) for _ in range(2)]
    for job in jobs:
        assert job.stdin is not None
        job.stdin.write("go\n")
        job.stdin.flush()
    said = [job.communicate()[0] for job in jobs]
    (folder,) = stage.iterdir()
    assert [text.splitlines()[-1] for text in said] == [str(folder)] * 2
    assert {name: digest for name, (_, digest) in copies(stage).items()} == large[1]
    assert {path.name for path in folder.iterdir()} == {*large[1], ".lock"}


def test_a_job_killed_while_it_copies_leaves_nothing_that_could_be_read(
    large: tuple[Path, dict[str, str]], stage: Path
) -> None:
    job = start(large, stage)
    assert job.stdin is not None
    job.stdin.write("go\n")
    job.stdin.flush()
    while not list(stage.glob("*/.*.part")):
        assert job.poll() is None
    job.kill()
    job.communicate()
    assert list(stage.glob("*/.*.part"))
    assert all(digest == large[1][name] for name, (_, digest) in copies(stage).items())
    folder = staged(*large, stage)
    assert {path.name for path in folder.iterdir()} == {*large[1], ".lock"}
    assert {name: digest for name, (_, digest) in copies(stage).items()} == large[1]


def test_a_disk_that_refuses_is_one_line_and_the_shared_files_are_read(
    shared: Path, stage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.touch()  # no folder can be made here
    data = open_data(shared, stage)
    assert data.folder == shared
    assert len(data.images("train")) == DIGITS.train_limit
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{shared} cannot be copied to {stage}/")

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))  # the kernel refuses in the midst of a copy
    try:
        assert open_data(shared, tmp_path / "limited").folder == shared
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert "File too large" in capsys.readouterr().out
    assert not list(tmp_path.glob("limited/*/.*.part"))


def test_what_does_not_fit_is_not_begun(
    large: tuple[Path, dict[str, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = tmp_path / "small"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("needs the right to mount a small disk")
    try:
        assert staged(*large, disk) == large[0]
        assert "209.7 MB are needed, 1.0 MB are free" in capsys.readouterr().out
        assert not copies(disk)
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_shared_file_that_has_changed_is_never_copied(shared: Path, stage: Path) -> None:
    images = np.load(shared / "train_images.npy")
    np.save(shared / "train_images.npy", 255 - images)  # as long as before: without copies this goes unseen
    with refused(SoftlabelsError, "shared/train_images.npy"):
        open_data(shared, stage)
    assert "train_images.npy" not in copies(stage)


def test_logits_of_a_staged_cache_are_those_of_the_shared_one(
    tmp_path: Path, stage: Path, digits: Data, cpu: torch.device
) -> None:
    images = ImageSplit(digits, "train", cpu)
    teacher = TeacherNetwork(build(ModelSpec("mlp", (("hidden", (16,)),)), 10, (1, 8, 8)), "per_image", Precision())
    cache = tmp_path / "cache"
    write_cache(cache, teacher, images, views=3, augment_seed=7, augment=SHIFT, about={})
    positions, epochs = torch.arange(len(images)), torch.ones(len(images), dtype=torch.long)

    def rows(where: Path | None) -> torch.Tensor:
        return CachedLogits(cache, images, stage=where).rows(positions, epochs, images.raw(positions))

    expected = rows(None)
    assert torch.equal(rows(stage), expected)
    first = copies(stage)
    assert set(first) == {"shard-0000.npy", "labels.npy", "ids.npy"}

    (copy,) = stage.glob("*/shard-0000.npy")
    copy.write_bytes(copy.read_bytes()[:-2])
    assert torch.equal(rows(stage), expected)
    assert {n: digest for n, (_, digest) in copies(stage).items()} == {n: digest for n, (_, digest) in first.items()}

    shard = cache / "shard-0000.npy"
    shard.write_bytes(shard.read_bytes()[:-2])
    copy.unlink()
    with refused(SoftlabelsError, "cache/shard-0000.npy"):
        rows(stage)
    shard.unlink()
    with refused(SoftlabelsError, "cache/shard-0000.npy"):
        rows(stage)


def test_variables_of_the_node_are_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LOCAL_DISK", str(tmp_path))
    monkeypatch.delenv("NO_SUCH_DISK", raising=False)
    assert stage_folder("$LOCAL_DISK/a") == stage_folder("${LOCAL_DISK}/a") == tmp_path / "a"
    with refused(SpecError, "--stage", "jobs.stage", "$NO_SUCH_DISK", varies=r"on \S+$"):
        stage_folder("$NO_SUCH_DISK/a")
    with refused(SpecError, "--stage a/b", "jobs.stage"):
        stage_folder("a/b")
