"""`make setup` in a folder with a space in its name: the jobs' Python has one in its path too."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from chain import STUDENT, Chain
from workflow_tree import ENVIRONMENT


def test_an_environment_in_a_folder_with_a_space(chain: Chain, undisturbed: Chain, tmp_path: Path) -> None:
    """The job only publishes what the store has."""
    shutil.copytree(undisturbed.layout.root, chain.layout.root, ignore=shutil.ignore_patterns("controller"))
    shutil.rmtree(chain.layout.run(chain.student, 0))
    environment = tmp_path / "an environment"
    environment.symlink_to(sys.prefix)
    assert chain.cluster is not None
    done = subprocess.run(
        [environment / "bin" / "python", "-m", "snakemake", "--profile", "slurm", "--retries", "0", "--", *chain.goals],
        cwd=chain.tree.root, env={**ENVIRONMENT, **chain.cluster.env}, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    (job,) = chain.jobs_of(STUDENT)
    assert job["JobState"] == "COMPLETED"
