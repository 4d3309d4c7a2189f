"""One GPU per job: real processes on lock files. (Which GPU CUDA then uses needs a machine with several.)"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from refusals import refused

from softlabels.errors import SoftlabelsError
from softlabels.training.device import configure, first_free

JOB = """
import sys
from pathlib import Path
from softlabels.training.device import first_free
print(first_free(["GPU-a", "GPU-b"], Path(sys.argv[1])), flush=True)
sys.stdin.read()  # until the test ends the job
"""
Job = subprocess.Popen[str]


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[list[Job]]:
    """Three jobs on two GPUs."""
    started = [
        subprocess.Popen(
            [sys.executable, "-u", "-c", JOB, tmp_path / "locks"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    yield started
    for job in started:
        job.kill()
        job.communicate()


def test_each_job_has_a_gpu_and_a_killed_one_frees_its_own(jobs: list[Job], tmp_path: Path) -> None:
    said = [line(job) for job in jobs]
    assert sorted(answer[:7] for answer in said) == ["0", "1", "waiting"]
    assert str(tmp_path / "locks") in max(said)
    waiting, killed = jobs[said.index(max(said))], jobs[said.index("1")]
    killed.kill()
    assert line(waiting) == "1"
    assert [job.poll() is None for job in jobs].count(True) == 2


def line(job: Job) -> str:
    """The next line that a job prints."""
    assert job.stdout is not None
    return job.stdout.readline().strip()


def test_a_process_asks_twice_and_keeps_its_gpu(tmp_path: Path) -> None:
    assert first_free(["GPU-a", "GPU-b"], tmp_path) == 0
    assert first_free(["GPU-b", "GPU-a"], tmp_path) == 1  # the same one, seen in another order


def test_a_folder_that_cannot_hold_locks_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with refused(SoftlabelsError, "file", "TMPDIR"):
        first_free(["GPU-a"], tmp_path / "file")


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs a machine with two GPUs")
@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_the_device_is_the_gpu_that_was_taken(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    device = configure(name)
    assert device.index is not None
    assert torch.zeros(1, device="cuda").device == device
    assert configure("cuda:0") == torch.device("cuda", 0)
