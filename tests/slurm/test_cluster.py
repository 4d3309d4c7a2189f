"""The private SLURM behaves as the tests of faults need it to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from cluster import NODES, Cluster, wait_until

HERE = Path(__file__).parent
SLEEP = "986868"  # seconds, and a mark to find the process by


def submit(cluster: Cluster, script: str, *options: str) -> str:
    """Job id of a batch job that runs `script`."""
    to = f"--output={cluster.root}/%j.out"
    return cluster.run("sbatch", "--parsable", to, "--open-mode=append", *options, f"--wrap={script}").strip()


def wait_for(cluster: Cluster, job: str, state: str) -> None:
    wait_until(f"job {job} is {state}", lambda: cluster.job(job)["JobState"] == state)


def output(cluster: Cluster, job: str) -> list[str]:
    path = cluster.root / f"{job}.out"
    return path.read_text().split() if path.exists() else []


def cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:  # it has just ended
        return []


def sleepers() -> list[psutil.Process]:
    return [process for process in psutil.process_iter() if cmdline(process)[-2:] == ["sleep", SLEEP]]


def needs_namespaces(cluster: Cluster) -> None:
    if not cluster.namespaces:
        pytest.skip("the kernel refused namespaces: nodes share this machine's name and processes")


def test_two_idle_nodes_on_different_hosts(cluster: Cluster) -> None:
    assert cluster.run("sinfo", "-h", "-N", "-p", "gpu", "-o", "%N %T").splitlines() == ["gn1 idle", "gn2 idle"]
    needs_namespaces(cluster)
    spaces = [f"/proc/self/ns/{kind}" for kind in ("uts", "pid", "mnt")]
    seen = [
        cluster.run("srun", "-w", node, "sh", "-c", f"hostname; readlink {' '.join(spaces)}").split() for node in NODES
    ]
    assert [hostname for hostname, *_ in seen] == list(NODES)
    assert len({*seen[0], *seen[1], *map(os.readlink, spaces)}) == 2 * 4 + 3


def test_jobs_get_a_gpu_each_and_shards_share_one(cluster: Cluster) -> None:
    tell = "echo $CUDA_VISIBLE_DEVICES; sleep 5"
    whole = [submit(cluster, tell, "--gpus=1", "-w", "gn1") for _ in range(2)]
    shared = [submit(cluster, tell, "--gres=shard:2", "-w", "gn2") for _ in range(2)]
    for job in (*whole, *shared):
        wait_for(cluster, job, "COMPLETED")
    assert sorted(output(cluster, whole[0]) + output(cluster, whole[1])) == ["0", "1"]
    assert output(cluster, shared[0]) == output(cluster, shared[1]) == ["0"]


def test_memory_is_enforced(cluster: Cluster) -> None:
    hoard = "import time; hoard = b'x' * 400 * 2**20; time.sleep(60); print('lived')"
    job = submit(cluster, f'{sys.executable} -c "{hoard}"', "--mem=100")
    wait_for(cluster, job, "FAILED")
    assert "lived" not in output(cluster, job)


def test_a_preempted_job_gets_sigterm_and_starts_again(cluster: Cluster, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("trap 'echo told; exit 1' TERM; echo start; sleep 300 & wait")
    job = submit(cluster, f"srun bash {script}", "-p", "scavenge", "--gpus=4", "-w", "gn1")
    wait_until("it starts", lambda: "start" in output(cluster, job))
    urgent = submit(cluster, "true", "-p", "gpu", "--gpus=4", "-w", "gn1")
    wait_for(cluster, urgent, "COMPLETED")
    wait_until("it starts again", lambda: output(cluster, job).count("start") == 2)
    assert "told" in output(cluster, job)
    assert cluster.job(job)["Restarts"] == "1"


def test_a_power_cut_ends_all_processes_and_the_job_starts_elsewhere(cluster: Cluster) -> None:
    needs_namespaces(cluster)
    job = submit(cluster, f"setsid sleep {SLEEP} & sleep {SLEEP}")
    wait_until("it sleeps", lambda: len(sleepers()) == 2)
    node = cluster.job(job)["NodeList"]
    cluster.power_off(node)
    assert sleepers() == []
    wait_until("it sleeps again", lambda: len(sleepers()) == 2, timeout=150)
    after = cluster.job(job)
    assert (after["JobState"], after["Restarts"]) == ("RUNNING", "1")
    assert after["NodeList"] != node


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=lambda how: how.name)
def test_a_job_survives_a_restart_of_slurmctld(cluster: Cluster, how: signal.Signals) -> None:
    job = submit(cluster, "sleep 20; echo whole")
    wait_for(cluster, job, "RUNNING")
    begun = time.time()
    state = cluster.root / "state" / "job_state"
    wait_until("the job is in the saved state", lambda: state.exists() and state.stat().st_mtime > begun)
    cluster.stop_slurmctld(how)
    with pytest.raises(RuntimeError, match="scontrol"):
        cluster.jobs()
    cluster.start_slurmctld()
    wait_for(cluster, job, "COMPLETED")
    assert output(cluster, job) == ["whole"]
    assert cluster.job(job)["Restarts"] == "0"


def test_the_disk_is_shared_and_small(cluster: Cluster) -> None:
    if cluster.disk is None:
        pytest.skip("mounting is refused")
    job = submit(cluster, f"head -c 100000000 /dev/zero > {cluster.disk}/big")
    wait_for(cluster, job, "FAILED")
    assert "No space left on device" in " ".join(output(cluster, job))
    assert (cluster.disk / "big").stat().st_size == 64 * 2**20


def test_nothing_outlives_a_killed_caller(cluster: Cluster) -> None:
    """A test runner that is killed with -9 runs no clean-up; the next one removes folder and mount."""
    needs_namespaces(cluster)
    code = f"""if True:
        import time
        from cluster import Cluster
        with Cluster() as cluster:
            cluster.run("sbatch", "--output=/dev/null", "--wrap=setsid sleep {SLEEP}")
            print(cluster.root, flush=True)
            time.sleep(600)"""
    caller = subprocess.Popen([sys.executable, "-c", code], cwd=HERE, stdout=subprocess.PIPE, text=True)
    try:
        assert caller.stdout
        root = Path(caller.stdout.readline().strip())
        wait_until("the job runs", sleepers)
    finally:
        caller.kill()
        caller.wait()
    wait_until("all have ended", lambda: not [p for p in psutil.process_iter() if str(root) in " ".join(cmdline(p))])
    assert sleepers() == []
    assert root.exists()
    Cluster().stop()
    assert not root.exists()
