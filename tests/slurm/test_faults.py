"""Faults of a cluster, one by one, on real jobs: nothing is lost or trained twice, and the bits are the same."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from chain import CACHE, TEACHER, Chain, says
from cluster import Cluster, wait_until

from softlabels.files import write_json

Recovered = Callable[[str], None]


def test_time_limit(chain: Chain, recovered: Recovered) -> None:
    """A minute is too short: the same SLURM job has several attempts, and no retry is used up."""
    assert chain.finish(chain.start("--set-resources", f"{TEACHER}:runtime=1")) == 0, chain.log
    assert "Trying to restart" not in chain.log
    (job,) = chain.jobs_of(TEACHER)
    attempts = chain.record["attempts"]
    assert len(attempts) == int(job["Restarts"]) + 1 >= 2
    assert {attempt["slurm_job"] for attempt in attempts} == {job["JobId"]}
    assert [attempt["recomputed"] for attempt in attempts] == [0] * len(attempts)
    recovered("time limit")


def test_memory_exceeded(chain: Chain, recovered: Recovered) -> None:
    grown = f"{TEACHER}:mem_mb=350 * 4 ** (attempt - 1)"
    assert chain.finish(chain.start("--set-resources", grown)) == 0, chain.log
    first, second = chain.jobs_of(TEACHER)
    assert (first["JobState"], second["JobState"]) == ("FAILED", "COMPLETED")
    recovered("memory exceeded")


def test_scancel(chain: Chain, cluster: Cluster, recovered: Recovered) -> None:
    """The job saves its state and does not come back by itself; Snakemake tries again with another."""
    controller = chain.start()
    chain.until_training(beyond=10_000)
    (job,) = chain.jobs_of(TEACHER)
    cluster.run("scancel", job["JobId"])
    assert chain.finish(controller) == 0, chain.log
    first, second = chain.jobs_of(TEACHER)
    assert (first["JobState"], first["Restarts"], second["JobState"]) == ("CANCELLED", "0", "COMPLETED")
    assert [attempt["recomputed"] for attempt in chain.record["attempts"]] == [0, 0]
    recovered("scancel")


@pytest.mark.parametrize("partition", ["scavenge", "grace"])
def test_preemption(chain: Chain, cluster: Cluster, recovered: Recovered, partition: str) -> None:
    """With and without a time of grace the job goes on under its own number."""
    controller = chain.start("--default-resources", "gpu=1", "nodes=1", f"slurm_partition={partition}")
    chain.until_training(beyond=10_000)
    urgent = ["sbatch", "--parsable", "--partition=gpu", "--nodes=2", "--exclusive", "--mem=0", "--output=/dev/null"]
    cluster.run(*urgent, "--wrap=sleep 5")
    assert chain.finish(controller) == 0, chain.log
    (job,) = chain.jobs_of(TEACHER)
    assert int(job["Restarts"]) >= 1
    assert "Trying to restart" not in chain.log
    recovered("preemption" if partition == "scavenge" else "preemption with 15 s of grace")


@pytest.mark.parametrize("how", ["set down", "power cut"])
def test_a_node_is_lost(chain: Chain, cluster: Cluster, recovered: Recovered, how: str) -> None:
    controller = chain.start()
    chain.until_training(beyond=10_000)
    (job,) = chain.jobs_of(TEACHER)
    if how == "set down":
        cluster.run("scontrol", "update", f"NodeName={job['NodeList']}", "State=DOWN", "Reason=test")
    else:
        cluster.power_off(job["NodeList"])
    assert chain.finish(controller) == 0, chain.log
    hosts = [attempt["host"] for attempt in chain.record["attempts"]]
    assert len(hosts) == 2
    if how == "power cut":  # the same node may come back at once after it was only set down
        assert hosts[0] == job["NodeList"] != hosts[1]
    assert len(chain.jobs_of(TEACHER)) == 1
    recovered(f"node {how}" if how == "set down" else "power cut of a node")


def test_the_controller_is_killed_while_a_job_runs(chain: Chain, recovered: Recovered) -> None:
    """The job of the one that is gone goes on; the one of its successor waits in the queue, without a GPU."""
    first = chain.start()
    chain.until_training(beyond=5_000)
    first.send_signal(signal.SIGKILL)
    first.wait()
    second = chain.start()
    wait_until("the successor has asked again", lambda: len(chain.jobs_of(TEACHER)) == 2)
    running, waiting = chain.jobs_of(TEACHER)
    assert (running["JobState"], waiting["JobState"]) == ("RUNNING", "PENDING")
    assert waiting["Dependency"].startswith(f"afterany:{running['JobId']}")
    assert chain.finish(second) == 0, chain.log
    (attempt,) = chain.record["attempts"]
    assert attempt["slurm_job"] == running["JobId"]
    recovered("controller killed, job running")


def test_the_controller_is_killed_while_a_job_waits(chain: Chain, cluster: Cluster, recovered: Recovered) -> None:
    """Both jobs are in the queue when the nodes come back; one of them trains."""
    for node in ("gn1", "gn2"):
        cluster.run("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test")
    first = chain.start()
    wait_until("a job waits", lambda: bool(chain.jobs_of(TEACHER)))
    first.send_signal(signal.SIGKILL)
    first.wait()
    second = chain.start()
    wait_until("two jobs wait", lambda: len(chain.jobs_of(TEACHER)) == 2)
    for node in ("gn1", "gn2"):
        cluster.run("scontrol", "update", f"NodeName={node}", "State=RESUME")
    assert chain.finish(second) == 0, chain.log
    orphan, ours = chain.jobs_of(TEACHER)
    assert (orphan["JobState"], ours["JobState"]) == ("FAILED", "COMPLETED")
    (attempt,) = chain.record["attempts"]
    assert attempt["slurm_job"] == ours["JobId"]
    recovered("controller killed, job waiting")


def test_slurmctld_is_restarted(chain: Chain, cluster: Cluster, recovered: Recovered) -> None:
    controller = chain.start("--verbose")
    chain.until_training(beyond=5_000)
    # Between two questions for the job's state: where scontrol does not answer at one, the plugin (2.8) asks sacct,
    # which has no accounting to ask, and waits for ever.
    asked = chain.log.count("Checking the status of")
    wait_until("the plugin has asked again", lambda: chain.log.count("Checking the status of") > asked)
    time.sleep(2)
    cluster.stop_slurmctld()
    time.sleep(5)
    cluster.start_slurmctld()
    assert chain.finish(controller) == 0, chain.log
    assert len(chain.record["attempts"]) == 1
    recovered("slurmctld restarted")


def fill(ballast: Path) -> None:
    """To the last block."""
    with open(ballast, "wb", buffering=0) as handle, contextlib.suppress(OSError):
        while True:
            handle.write(b"\0" * 4096)


def test_a_full_disk(chain: Chain, cluster: Cluster, recovered: Recovered) -> None:
    """No way out but to make room: the error names the file, and the state is that before the failing write."""
    if cluster.disk is None:
        pytest.skip("mounting is refused: there is no small disk to fill")
    shutil.move(chain.tree.root / "results", cluster.disk / "results")
    (chain.tree.root / "results").symlink_to(cluster.disk / "results")
    ballast = cluster.disk / "ballast"
    try:
        controller = chain.start("--retries", "0")
        chain.until_training(beyond=5_000)
        fill(ballast)
        assert chain.finish(controller) != 0
        said = chain.said(chain.teacher)
        assert says(said, r"cannot write \S+/store/\S+: No space left on device; free space"), said
        ballast.unlink()
        assert chain.finish(chain.start()) == 0, chain.log
        recovered("disk full")
    finally:
        (chain.tree.root / "results").unlink()
        shutil.move(cluster.disk / "results", chain.tree.root / "results")
        ballast.unlink(missing_ok=True)


def test_a_cache_shard_changes_between_two_rules(chain: Chain, undisturbed: Chain, recovered: Recovered) -> None:
    shutil.copytree(undisturbed.layout.root, chain.layout.root, ignore=shutil.ignore_patterns("controller"))
    for place in (chain.layout.store(chain.student, 0), chain.layout.run(chain.student, 0)):
        shutil.rmtree(place)
    shard = chain.cache / "shard-0000.npy"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert chain.finish(chain.start("--retries", "0")) != 0
    said = chain.said(chain.student)
    assert says(said, rf"{shard.relative_to(chain.tree.root)}.*(delete|remove)"), said
    assert not chain.layout.run(chain.student, 0).exists() or not list(chain.layout.run(chain.student, 0).iterdir())
    (chain.cache / "manifest.json").unlink()  # as the error says
    assert chain.finish(chain.start()) == 0, chain.log
    assert [job["JobState"] for job in chain.jobs_of(CACHE)] == ["COMPLETED"]
    recovered("cache shard changed (stops with its name)")


def test_a_lease_that_a_dead_job_has_left(chain: Chain, recovered: Recovered) -> None:
    """It was renewed a moment ago, by a job that SLURM knows nothing of."""
    owner = {"host": "gn9", "machine": "another", "pid": 1, "born": "7", "slurm_job": "4000000"}
    write_json(chain.store / "lease.1.json", owner)
    then = time.time() - 30
    os.utime(chain.store / "lease.1.json", (then, then))
    assert chain.finish(chain.start()) == 0, chain.log
    assert "Trying to restart" not in chain.log
    said = chain.said(chain.teacher)
    assert "waiting for gn9 process 1 (SLURM job 4000000)" in said
    recovered("lease of a dead job")


def test_two_controllers(chain: Chain, tmp_path: Path) -> None:
    chain.start()
    chain.until_training()
    second = chain.start()
    assert chain.finish(second) != 0
    assert says(chain.log, r"another snakemake, \S+ process \d+, is at work on results/chain")


def test_the_queue_is_empty_when_the_controller_is_interrupted(chain: Chain, cluster: Cluster) -> None:
    """Ctrl-C cancels what was asked for; nothing stays behind, and the state is kept."""
    controller = chain.start()
    chain.until_training(beyond=5_000)
    subprocess.run(["kill", "-INT", str(controller.pid)], check=True)
    assert chain.finish(controller) != 0
    wait_until("no job is left", lambda: {job["JobState"] for job in chain.jobs_of(TEACHER)} == {"CANCELLED"})
    assert (chain.store / "checkpoint.safetensors").exists()
