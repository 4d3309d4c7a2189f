"""One Snakemake at a time on the results of a scale; its jobs know when another has followed it.

Snakemake's own locks do not know whether their owner lives, and its SLURM jobs outlive a controller that is killed.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import time
from collections.abc import Iterable
from pathlib import Path

from softlabels import slurm
from softlabels.errors import SoftlabelsError
from softlabels.layout import Layout
from softlabels.lease import Lease, describe, holder, last_renewal, newest_number

NUMBER = "SOFTLABELS_CONTROLLER"  # in the environment of every job: sbatch passes it on


def begin(layout: Layout) -> None:
    """Called when a workflow starts: be its controller until this process ends.

    Raises:
        SoftlabelsError: another one is at work.
    """
    lease = Lease(layout.controller)
    owner = lease.take()
    if owner is not None and owner.get("machine") != lease.me["machine"]:
        print(f"looking whether {describe(owner)} still runs the workflow on {layout.root} (a minute at most)")
    seen = last_renewal(layout.controller)
    while owner is not None:
        # One on this machine is seen at once, and one elsewhere when it renews its lease.
        if owner.get("machine") == lease.me["machine"] or last_renewal(layout.controller) != seen:
            raise SoftlabelsError(
                f"another snakemake, {describe(owner)}, is at work on {layout.root}; wait for it or stop it"
            )
        time.sleep(1)
        owner = lease.take()
    os.environ[NUMBER] = str(lease.number)
    holding = contextlib.ExitStack()
    holding.callback(lease.release)
    holding.enter_context(lease.renewed())
    atexit.register(holding.close)


def after_living_jobs(folders: Iterable[Path]) -> str | None:
    """The sbatch option that keeps a job from starting while SLURM jobs of an earlier snakemake are at work in the
    folders that it would write: they go on, and it does not hold a GPU while it waits for them."""
    owners = (owner for folder in folders if (owner := holder(folder)) and owner.get("slurm_job"))
    jobs = {job for owner in owners if slurm.is_known(job := str(owner["slurm_job"]))}
    return f"--dependency=afterany:{':'.join(sorted(jobs))}" if jobs else None


def require_wanted(layout: Layout) -> None:
    """Refuse to read the rules for a controller that another has followed, and so to begin a job of it: its successor
    asks for the same again, and a job deletes what it is to make before it begins.

    Raises:
        SoftlabelsError: there is a newer one.
    """
    mine = os.environ.get(NUMBER)
    if mine is not None and newest_number(layout.controller) > int(mine):
        raise SoftlabelsError(
            f"the snakemake that asked for this job is gone, and another was started on {layout.root} since, whose "
            "jobs do what it needs; run snakemake again for what is missing then"
        )
