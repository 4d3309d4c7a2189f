"""Two snakemakes at once, and one that follows another which was killed."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest
from workflow_tree import ENVIRONMENT, Tree

pytestmark = pytest.mark.workflow


def test_a_second_snakemake_is_refused_and_follows_one_that_is_killed(fresh: Tree, finished: Tree) -> None:
    """No --unlock: and what the killed one's jobs are still training is waited for, not trained twice."""
    with subprocess.Popen(
        ["snakemake", "--cores", "1", "muller2019_fig5"], cwd=fresh.root, env=ENVIRONMENT, stderr=subprocess.DEVNULL
    ) as first:
        while not (training := [*fresh.results.glob("store/*/seed*/progress.json")]):
            assert first.poll() is None
            time.sleep(0.01)
        refused = fresh.run("snakemake", "--cores", "1", "muller2019_fig5")
        assert refused.returncode != 0
        assert f"another snakemake, {_hostname()} process {first.pid}, is at work on results/tiny" in refused.stdout
        assert training[0].exists() or (training[0].parent / "run.json").exists()  # the first one was not disturbed
        first.send_signal(signal.SIGKILL)
        first.wait()
    fresh.snakemake("muller2019_fig5")
    for path in fresh.results.glob("store/*/seed*/weights.safetensors"):
        relative = path.relative_to(fresh.results)
        assert path.read_bytes() == (finished.results / relative).read_bytes()
    assert (fresh.results / "figures/muller2019/fig5.csv").read_bytes() == (
        finished.results / "figures/muller2019/fig5.csv"
    ).read_bytes()
    assert len([*fresh.results.glob("controller/lease.*.json")]) == 2


def _hostname() -> str:
    return Path("/proc/sys/kernel/hostname").read_text().strip()
