"""What a job asks of SLURM: how long it may run, and to be run again where it stopped.

Only `squeue` and `scontrol` are used, which need no accounting. Outside SLURM, or where they are missing or refused,
every question has the answer of a machine without limits.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Iterable

from softlabels.errors import SoftlabelsError

PREPARE_SECONDS = 60.0  # before a job's end: to finish a step and save; a third of the limit where that is less
KILLED_WITHIN_SECONDS = 600.0
ARRAY_COMMANDS = "--slurm-jobstep-array-execs"
MAX_ARRAY = 1000  # SLURM's own default


def job_id() -> str | None:
    """The SLURM job of this process; of an array the task, `12_3`, where a bare number may stand for all of them."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")


def become_array_task() -> None:
    """In a job array, go on as the Snakemake job that this task is for, as if it had been submitted alone.

    The plugin (2.8) starts every task as the job of the first one, which looks after that one's output (its issue 447),
    and hands on what the others are. Called while rules are read; returns where nothing is to be done.
    """
    option, handed = f"{ARRAY_COMMANDS}=", sys.argv[-1]
    if not handed.startswith(option):
        return
    task = os.environ["SLURM_ARRAY_TASK_ID"]
    if task == os.environ["SLURM_ARRAY_TASK_MIN"]:
        os.execv(sys.executable, [sys.executable, "-m", "snakemake", *sys.argv[1:-1]])
    packed = json.loads(base64.b64decode(handed.removeprefix(option)))[task]
    os.execv("/bin/sh", ["sh", "-c", zlib.decompress(bytes.fromhex(packed)).decode()])


def require_arrays_fit(array_jobs: str | None, rules: Iterable[str], at_a_time: int) -> None:
    """Refuse arrays (`--slurm-array-jobs`: names of rules, or `all`) where jobs may have to wait for their turn.

    The plugin (2.8) loses a job that is ready and is not submitted together with all others of its rule (its issue
    473), and numbers their tasks through, which SLURM allows up to its MaxArraySize.

    Args:
        rules: Of each job that is to run.
        at_a_time: `--jobs`.

    Raises:
        SoftlabelsError: there are more jobs than that, or more than 1,000 of a rule of the arrays.
    """
    chosen, counts = set(re.split(r"[,;\s]+", array_jobs or "")) - {""}, Counter(rules)
    if chosen and counts.total() > at_a_time:
        raise SoftlabelsError(
            f"--slurm-array-jobs needs --jobs {counts.total()} or more, because the plugin forgets jobs that have to "
            f"wait behind --jobs {at_a_time}; give that, or ask for fewer targets"
        )
    for rule, count in counts.items():
        if count > MAX_ARRAY and (rule in chosen or "all" in chosen):
            raise SoftlabelsError(
                f"--slurm-array-jobs: {rule} has {count} jobs, and SLURM allows {MAX_ARRAY} in an array; ask for fewer "
                f"targets, or leave {rule} out"
            )


def deadline() -> float | None:
    """When to stop and save, on the clock of `time.monotonic`; None without a limit."""
    said = _job("%L|%l")
    if said is None:
        return None
    left, limit = map(seconds, said.split("|"))
    if left is None:
        return None
    return time.monotonic() + left - min(PREPARE_SECONDS, (limit or left) / 3)


def run_again() -> bool:
    """Have SLURM put this job back into its queue, under the same number; then wait to be ended by it.

    To Snakemake a job that waits again is a job that waits: no failure, and no retry used up. Nothing is done for jobs
    that Snakemake has not submitted (an allocation of one's own), nor for one that SLURM is ending already: cancelled,
    or preempted, which SLURM puts back itself.

    Returns:
        False when SLURM was not asked or refused; when it agreed, the process normally ends in here.
    """
    job = job_id()
    state, _, comment = (_job("%T|%k") or "").partition("|")
    if job is None or state != "RUNNING" or not comment.startswith("rule_"):
        return False
    parent = os.getppid()
    if _ask("scontrol", "requeue", job) is None:
        return False
    end = time.monotonic() + KILLED_WITHIN_SECONDS
    while time.monotonic() < end and os.getppid() == parent:  # a site that follows processes badly ends those above
        time.sleep(0.5)
    return True


def is_known(job: str) -> bool:
    """Whether SLURM still has a job in its queue or in memory; sbatch refuses to wait for others."""
    return _ask("squeue", "--noheader", "--states", "all", "--jobs", job) is not None


def seconds(text: str) -> float | None:
    """A SLURM duration (`1-02:03:04`, `3:04`), or None for `UNLIMITED`, `INVALID` and the like."""
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text.strip())
    if found is None:
        return None
    days, hours, minutes, rest = (int(part or 0) for part in found.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + rest)


def _job(form: str) -> str | None:
    """What squeue says about this job."""
    job = job_id()
    for pause in (2, 5, None) if job else ():  # a controller that restarts or has a thousand to answer
        said = _ask("squeue", "--noheader", "--jobs", str(job), "--format", form)
        if said and said.strip():
            return said.splitlines()[0].strip()
        if pause and said is None:
            time.sleep(pause)
    return None


def _ask(*command: str) -> str | None:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return None
