"""What is asked of SLURM, where no SLURM is needed to see it (the rest: tests/slurm)."""

from __future__ import annotations

import pytest
from refusals import refused

from softlabels.errors import SoftlabelsError
from softlabels.slurm import job_id, require_arrays_fit


def test_a_task_of_an_array_is_not_its_array(monkeypatch: pytest.MonkeyPatch) -> None:
    """SLURM gives the last task the number of the array, by which it would name all of them."""
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    assert job_id() == "12"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert job_id() == "12_3"


@pytest.mark.parametrize("arrays", ["train_student", "measure, train_student", "measure;train_student", "all"])
def test_arrays_have_to_fit(arrays: str) -> None:
    few = ["train_student"] * 4 + ["measure"]
    require_arrays_fit(None, few, at_a_time=1)
    require_arrays_fit(arrays, few, at_a_time=5)
    with refused(SoftlabelsError, "--jobs 5"):
        require_arrays_fit(arrays, few, at_a_time=4)
    many = ["train_student"] * 1001
    require_arrays_fit("train_teacher", many, at_a_time=2000)
    with refused(SoftlabelsError, "train_student", "1001", "1000"):
        require_arrays_fit(arrays, many, at_a_time=2000)
