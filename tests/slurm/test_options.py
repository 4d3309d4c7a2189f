"""Options of Snakemake and of its plugin that name our rules, on a real SLURM: arrays, groups, resources, a part."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from chain import SHORT, STUDENT, TEACHER, WIDE, Chain, differences, says
from cluster import Cluster, wait_until


@pytest.fixture(scope="session")
def short_undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """Two teachers with two students each, trained for a moment, without SLURM. Read only."""
    short = Chain.create(tmp_path_factory.mktemp("undisturbed") / "short", families=SHORT)
    short.tree.snakemake(*short.goals)
    return short


@pytest.fixture
def short(for_snakemake: Cluster, short_undisturbed: Chain, tmp_path: Path) -> Iterator[Chain]:
    """The same, of which nothing is made."""
    short = Chain.create(tmp_path / "a project", for_snakemake, SHORT)
    yield short
    short.stop()


@pytest.fixture
def taught(short: Chain, short_undisturbed: Chain) -> Chain:
    """The same with teachers and caches, without students."""
    return short.with_results_of(short_undisturbed, but=short.students)


@pytest.fixture
def wide(for_snakemake: Cluster, undisturbed: Chain, tmp_path: Path) -> Iterator[Chain]:
    """Two teachers that train for more than a minute, one of them that of the chain; nothing is made but the data."""
    wide = Chain.create(tmp_path / "a project", for_snakemake, WIDE).with_data_of(undisturbed)
    yield wide
    wide.stop()


def same_where_both_are(ours: Chain, theirs: Chain) -> bool:
    """All of the other chain's results are ours, too."""
    made, expected = ours.checksums(), theirs.checksums()
    return {name: made.get(name) for name in expected} == expected


def test_arrays(short: Chain, short_undisturbed: Chain) -> None:
    assert short.finish(short.start("--slurm-array-jobs", f"{TEACHER},{STUDENT}")) == 0, short.log
    for rule in (TEACHER, STUDENT):
        assert any("ArrayTaskId" in job for job in short.jobs_of(rule))
    assert "Trying to restart" not in short.log
    assert differences(short.checksums(), short_undisturbed.checksums()) == []


def test_an_array_goes_on_at_its_time_limit(wide: Chain, undisturbed: Chain) -> None:
    """Each task is put back alone (the number of the last is that of the array), and goes on with its own training."""
    arrays = ["--slurm-array-jobs", f"{TEACHER},{STUDENT}", "--set-resources", f"{TEACHER}:runtime=1"]
    assert wide.finish(wide.start(*arrays)) == 0, wide.log
    assert "Trying to restart" not in wide.log
    tasks = {f"{job['ArrayJobId']}_{job['ArrayTaskId']}": job for job in wide.jobs_of(TEACHER)}
    assert len(tasks) == 2
    assert len({job["ArrayJobId"] for job in tasks.values()}) == 1
    sat = {}
    for teacher in wide.teachers:
        attempts = wide.record_of(teacher)["attempts"]
        assert [attempt["recomputed"] for attempt in attempts] == [0] * len(attempts)
        (task,) = {attempt["slurm_job"] for attempt in attempts}
        sat[task] = len(attempts)
    assert sat == {task: int(job["Restarts"]) + 1 for task, job in tasks.items()}
    assert max(sat.values()) >= 2
    assert same_where_both_are(wide, undisturbed)


def test_a_group_asks_for_the_time_of_all_and_the_rest_of_one(taught: Chain, short_undisturbed: Chain) -> None:
    options = ["--groups", f"{STUDENT}=students", "--group-components", "students=4"]
    assert taught.finish(taught.start(*options, "--set-resources", f"{STUDENT}:runtime=3")) == 0, taught.log
    (job,) = taught.jobs()
    assert job["Comment"] == f"rule_students_{STUDENT}"
    assert (job["TresPerJob"], job["NumNodes"], job["TimeLimit"]) == ("gres:gpu:1", "1", "00:12:00")
    assert int(job["MinMemoryNode"].removesuffix("M")) < 5000
    assert differences(taught.checksums(), short_undisturbed.checksums()) == []


def test_a_group_goes_on_at_its_time_limit(wide: Chain, undisturbed: Chain) -> None:
    """It is put back as a whole; what has been trained is only published again."""
    group = ["--groups", f"{TEACHER}=g", "--group-components", "g=2", "--set-resources", f"{TEACHER}:runtime=1"]
    assert wide.finish(wide.start(*group)) == 0, wide.log
    assert "Trying to restart" not in wide.log
    job = wide.jobs()[0]
    assert job["TimeLimit"] == "00:02:00"
    assert int(job["Restarts"]) >= 1
    attempts = [attempt for teacher in wide.teachers for attempt in wide.record_of(teacher)["attempts"]]
    assert {attempt["slurm_job"] for attempt in attempts} == {job["JobId"]}
    assert {attempt["recomputed"] for attempt in attempts} == {0}
    assert same_where_both_are(wide, undisturbed)


def test_memory_and_threads_of_a_rule(taught: Chain) -> None:
    changed = ["--set-resources", f"{STUDENT}:mem_mb=1234", "--set-threads", f"{STUDENT}=2"]
    assert taught.finish(taught.start(*changed)) == 0, taught.log
    jobs = taught.jobs_of(STUDENT)
    assert len(jobs) == 4
    assert {(job["MinMemoryNode"], job["CPUs/Task"]) for job in jobs} == {("1234M", "2")}


def test_until_a_rule(short: Chain, short_undisturbed: Chain) -> None:
    """Teachers alone; they need not be trained, because the store has them. (Were their caches there, nothing
    would ask for them.)"""
    short.with_results_of(short_undisturbed, but=[*short.students, "runs", "cache"])
    assert short.finish(short.start("--until", TEACHER)) == 0, short.log
    assert {re.sub("_wildcards.*", "", job["Comment"]) for job in short.jobs()} == {f"rule_{TEACHER}"}
    assert all((short.layout.run(teacher, 0) / "run.json").exists() for teacher in short.teachers)
    assert not any(short.layout.store(student, 0).exists() for student in short.students)


def test_a_job_reads_no_grid(taught: Chain, cluster: Cluster, short_undisturbed: Chain) -> None:
    """What a job reads does not grow with the grid: when it starts, the grid is gone."""
    for node in ("gn1", "gn2"):
        cluster.run("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test")
    controller = taught.start("--retries", "0")
    wait_until("all jobs wait", lambda: len(taught.jobs_of(STUDENT)) == 4)
    for folder in ("grids", "scales"):
        shutil.rmtree(taught.tree.root / "workflow" / folder)
    taught.tree.configure("scale: chain\n")
    for node in ("gn1", "gn2"):
        cluster.run("scontrol", "update", f"NodeName={node}", "State=RESUME")
    assert taught.finish(controller) == 0, taught.log
    assert differences(taught.checksums(), short_undisturbed.checksums()) == []


def test_arrays_that_would_hang_are_refused(taught: Chain) -> None:
    """The plugin never submits what `--jobs` has made wait; nothing is begun."""
    assert taught.finish(taught.start("--slurm-array-jobs", "all", "--jobs", "3")) != 0
    assert says(taught.log, r"softlabels: --slurm-array-jobs needs --jobs 4 or more")
    assert taught.jobs() == []
