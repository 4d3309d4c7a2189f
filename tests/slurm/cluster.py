"""A real, private SLURM on this machine: two nodes with fake GPUs, everything under one temporary folder.

Each node is a UTS, PID and mount namespace of its own, so host names differ, process numbers mean nothing on the other
node, and killing a node's first process is a power cut. Needs root. By hand, `python -m tests.slurm.cluster` opens a
shell in which `sinfo` or `snakemake --profile slurm` use the private cluster; it stops when the shell ends.
"""

from __future__ import annotations

import atexit
import os
import re
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from random import SystemRandom

import psutil

NODES = ("gn1", "gn2")
GPUS = 4
SHARDS = 16
# slurmctld may go on to call a node that it found busy when it started "mixed" when nothing runs there any more.
READY = {"idle", "mixed", "allocated"}
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY"}
# In the environment of every daemon, and so of slurmstepd: what is left of a node without namespaces is found by it.
MARK = "SOFTLABELS_TEST_SLURM"

SLURM_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmctldPidFile={root}/slurmctld.pid
SlurmctldLogFile={root}/slurmctld.log
StateSaveLocation={root}/state
SlurmdPidFile={root}/slurmd.%n.pid
SlurmdLogFile={root}/slurmd.%n.log
SlurmdSpoolDir={root}/spool.%n
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A requeued job waits until the credential of its last start has expired, 120 s by default.
AuthInfo=socket={root}/munge.socket,cred_expire=5
MailProg=/bin/true
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
AccountingStorageType=accounting_storage/none
# Without cgroups this is what enforces memory; the job's state is then FAILED, not OUT_OF_MEMORY.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,sched_min_interval=10000,bf_interval=1,batch_sched_delay=0,default_queue_depth=1000
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu,shard
SlurmdParameters=config_overrides
# A node that comes back is used again; one that is silent for half a minute is down.
ReturnToService=2
SlurmdTimeout=30
JobRequeue=1
KillWait=5
MinJobAge=3600
DefMemPerCPU=100
TmpFS={root}/local
"""
NODE = (
    "NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=16 RealMemory={memory} TmpDisk=100000 "
    f"Gres=gpu:a100:{GPUS},shard:{SHARDS} State=UNKNOWN\n"
)
PARTITIONS = """\
PartitionName=gpu Nodes=ALL Default=YES MaxTime=24:00:00 DefaultTime=10 PriorityTier=10 PreemptMode=OFF
PartitionName=scavenge Nodes=ALL MaxTime=24:00:00 DefaultTime=10 PriorityTier=1 PreemptMode=REQUEUE
PartitionName=grace Nodes=ALL MaxTime=24:00:00 DefaultTime=10 PriorityTier=1 PreemptMode=REQUEUE GraceTime=15
"""
# bash as the first process of a node: it collects the children that others leave behind, and ends with slurmd.
# Snakemake's jobs forget SLURM_CONF, so each node finds the configuration where SLURM looks for it by itself.
INIT = """hostname "$0" && mount -t tmpfs -o size=1g local "$1" && mkdir -p /etc/slurm && mount --bind "$2" /etc/slurm \
  && { slurmd -D -N "$0" & wait $!; }"""


def wait_until(what: str, check: Callable[[], object], timeout: float = 180) -> None:
    """Poll `check` until it is true; raises TimeoutError, which names `what`, after `timeout` seconds."""
    end = time.monotonic() + timeout
    while not check():
        if time.monotonic() > end:
            raise TimeoutError(f"after {timeout:.0f} s still not: {what}")
        time.sleep(0.2)


def free_ports(count: int) -> list[int]:
    """Ports below the range for outgoing connections, so that nothing takes one while its daemon is being restarted."""
    ports: list[int] = []
    for port in SystemRandom().sample(range(20000, 32000), 200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        ports.append(port)
        if len(ports) == count:
            return ports
    raise RuntimeError("no free ports between 20000 and 32000")


class Cluster:
    """Use as a context manager, or call `start` and `stop`.

    root: temporary folder with configuration, logs and state; `root/local` is another disk (1 GiB) on every node.
    disk: 64 MiB file system that all nodes and the caller share, to be filled; None where mounting is refused.
    env: environment for everything that talks to this SLURM, Snakemake included.
    namespaces: False where the kernel refuses them; nodes then differ by name only, and jobs outlive a killed caller.
    """

    def __init__(self) -> None:
        for old in Path(tempfile.gettempdir()).glob("softlabels-slurm-*-*"):
            if not psutil.pid_exists(int(old.name.split("-")[2])):
                _remove(old)  # its caller was killed before it could
        self.root = Path(tempfile.mkdtemp(prefix=f"softlabels-slurm-{os.getpid()}-"))
        foreign = ("SLURM", "SBATCH", "SRUN", "SQUEUE", "SINFO", "SCANCEL")
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        self.env["SLURM_CONF"] = str(self.root / "etc" / "slurm.conf")
        self.disk: Path | None = None
        self.namespaces = True
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Cluster:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Raises RuntimeError if a daemon ends at once (with its last words), TimeoutError if nodes stay away."""
        atexit.register(self.stop)
        try:
            self._configure()
            key = self.root / "munge.key"
            key.touch(0o600)
            key.write_bytes(os.urandom(128))
            files = {"key-file": key, "socket": self.root / "munge.socket", "seed-file": self.root / "munge.seed"}
            files |= {"pid-file": self.root / "munged.pid", "log-file": self.root / "munged.log"}
            self._spawn("munged", ["munged", "--foreground", "--force", *(f"--{k}={v}" for k, v in files.items())])
            self._wait("munged", lambda: (self.root / "munge.socket").exists())
            self.start_slurmctld()
            for node in NODES:
                self.power_on(node)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends nodes, jobs and daemons at once, and removes the folder. May be called twice."""
        atexit.unregister(self.stop)
        for name in reversed(list(self._daemons)):
            self._kill(name)
        for process in self._left_over():
            process.kill()
        _remove(self.root)

    def run(self, *command: str | Path) -> str:
        """Output of one of SLURM's commands; raises CalledProcessError with what it said."""
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{shlex.join(map(str, command))}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def jobs(self) -> list[dict[str, str]]:
        """Jobs of the last 300 s as `scontrol show job` tells them: JobId, JobState, Restarts, NodeList, Comment, …"""
        lines = self.run("scontrol", "--oneliner", "show", "job").splitlines()
        field = re.compile(r"(?:^| )([A-Za-z:/]+)=(.*?) *(?= [A-Za-z:/]+=|$)")  # a value may hold spaces
        return [dict(field.findall(line)) for line in lines if line.startswith("JobId=")]

    def job(self, job_id: str) -> dict[str, str]:
        return {job["JobId"]: job for job in self.jobs()}[job_id]

    def node_state(self, node: str) -> str:
        return self.run("sinfo", "--noheader", "--nodes", node, "--partition", "gpu", "--format", "%T").strip()

    def stop_slurmctld(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Jobs run on. After SIGKILL, jobs of the last seconds are forgotten and their numbers given out again."""
        self._daemons["slurmctld"].send_signal(how)
        self._daemons.pop("slurmctld").wait()

    def start_slurmctld(self) -> None:
        self._spawn("slurmctld", ["slurmctld", "-D", "-i"])  # -i: the first start finds no state
        self._wait("slurmctld", lambda: " is UP" in self.run("scontrol", "ping"))

    def init_pid(self, node: str) -> int:
        """Of the node's first process, in the caller's numbers; slurmd's own without namespaces."""
        process = psutil.Process(self._daemons[node].pid)
        return process.children()[0].pid if self.namespaces else process.pid

    def power_off(self, node: str) -> None:
        """A power cut: all processes of the node are gone on return. SLURM notices within about 30 s."""
        self._kill(node)
        for process in self._left_over(node):
            process.kill()

    def power_on(self, node: str) -> None:
        """Boot the node, and wait until SLURM uses it."""
        if self.namespaces:
            apart = ["unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
            command = [*apart, "bash", "-c", INIT, node, str(self.root / "local"), str(self.root / "etc")]
        else:
            command = ["slurmd", "-D", "-N", node]
        self._spawn(node, command)
        self._wait(node, lambda: self.node_state(node) in READY)

    def reset(self) -> None:
        """Cancel all jobs, empty the disk, start what was stopped, and wait until both nodes are ready."""
        if "slurmctld" not in self._daemons:
            self.start_slurmctld()
        wait_until("no job runs", self._empty)
        for path in self.disk.iterdir() if self.disk else ():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for node in NODES:
            if node not in self._daemons:
                self.power_on(node)
            elif self.node_state(node).startswith(("down", "drain")):
                self.run("scontrol", "update", f"NodeName={node}", "State=RESUME")
        wait_until("both nodes ready", lambda: all(self.node_state(node) in READY for node in NODES))

    def _empty(self) -> bool:
        self.run("scancel", "--user", "root")  # again and again: a job may requeue itself when it is told to end
        return all(job["JobState"] in ENDED for job in self.jobs())

    def _configure(self) -> None:
        for folder in ("etc", "state", "dev", "local", "disk", *(f"spool.{node}" for node in NODES)):
            (self.root / folder).mkdir()
        trial = ["unshare", "--uts", "--pid", "--fork", "--mount-proc", "true"]
        refused = subprocess.run(trial, capture_output=True, text=True, check=False).stderr.strip()
        if refused:
            self.namespaces = False
            warnings.warn(f"nodes share host name and processes with this machine ({refused})", stacklevel=3)
        disk = self.root / "disk"
        if not subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "disk", disk], check=False).returncode:
            self.disk = disk
        host = socket.gethostname()
        memory = max(8000, psutil.virtual_memory().total // len(NODES) // 2**20)
        port, *ports = free_ports(1 + len(NODES))
        slurm = SLURM_CONF.format(root=self.root, host=host, port=port)
        gres = ""
        for node, port in zip(NODES, ports, strict=True):
            slurm += NODE.format(node=node, host=node if self.namespaces else host, port=port, memory=memory)
            for gpu in range(GPUS):  # SLURM wants devices; these are /dev/null by another name
                os.mknod(self.root / "dev" / f"{node}_gpu{gpu}", stat.S_IFCHR | 0o666, os.makedev(1, 3))
            gres += f"NodeName={node} Name=gpu Type=a100 File={self.root}/dev/{node}_gpu[0-{GPUS - 1}]\n"
            gres += f"NodeName={node} Name=shard Count={SHARDS}\n"
        (self.root / "etc" / "slurm.conf").write_text(slurm + PARTITIONS)
        (self.root / "etc" / "gres.conf").write_text(gres)
        # slurmd loads a cgroup plugin even if nothing uses it, and ends if it has to guess which and none is mounted.
        (self.root / "etc" / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")

    def _spawn(self, name: str, command: list[str]) -> None:
        """A daemon in the foreground, which the kernel kills when we end, however we end."""
        mark = {MARK: str(self.root), "SOFTLABELS_TEST_NODE": name}
        with open(self.root / f"{name}.out", "ab") as out:
            self._daemons[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command],
                env=self.env | mark,
                cwd=self.root,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def _wait(self, name: str, check: Callable[[], object]) -> None:
        def ready() -> object:
            if self._daemons[name].poll() is not None:
                raise RuntimeError(f"{name} ended: {(self.root / f'{name}.out').read_text(errors='replace')[-2000:]}")
            try:
                return check()
            except RuntimeError:  # scontrol says so while slurmctld is not there yet
                return False

        wait_until(f"{name} answers", ready)

    def _kill(self, name: str) -> None:
        daemon = self._daemons.pop(name)
        if name in NODES and self.namespaces and daemon.poll() is None:
            for init in psutil.Process(daemon.pid).children():
                init.kill()  # the kernel then kills and collects all others before it lets this one go
        else:
            daemon.kill()
        daemon.wait()

    def _left_over(self, node: str | None = None) -> list[psutil.Process]:
        """slurmstepd and the jobs below it, which outlive slurmd; none where a node is a namespace."""
        found: list[psutil.Process] = []
        for process in psutil.process_iter():
            try:
                mark = process.environ()
                if mark.get(MARK) == str(self.root) and node in (None, mark.get("SOFTLABELS_TEST_NODE")):
                    found += [process, *process.children(recursive=True)]
            except psutil.Error:
                continue
        return found


def _remove(root: Path) -> None:
    # A folder that was copied to another disk looks like a mount without being one, so umount itself is asked.
    subprocess.run(["umount", "--lazy", "--quiet", root / "disk"], check=False, stderr=subprocess.DEVNULL)
    shutil.rmtree(root, ignore_errors=True)


def main(command: list[str]) -> int:
    """Run `command` ($SHELL by default) with the cluster."""
    with Cluster() as cluster:
        print(f"export SLURM_CONF={cluster.env['SLURM_CONF']}", file=sys.stderr)
        return subprocess.run(command or [os.environ.get("SHELL", "bash")], env=cluster.env, check=False).returncode


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main(sys.argv[1:]))
