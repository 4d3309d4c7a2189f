"""`make test-slurm` where it cannot run: one line with the reason, exit 0, and nothing installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def tree() -> Iterator[Path]:
    """Makefile and script alone, where every user can read them: pytest's own folder is private."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        tree.chmod(0o755)
        (tree / "tests").mkdir()
        shutil.copytree(ROOT / "tests" / "slurm", tree / "tests" / "slurm")
        shutil.copy(ROOT / "Makefile", tree)
        yield tree


def make(tree: Path, *prefix: str, path: str = os.environ["PATH"]) -> list[str]:
    command = [*prefix, "make", "--no-print-directory", "-C", str(tree), "test-slurm"]
    done = subprocess.run(command, env={"PATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert sorted(path.name for path in tree.iterdir()) == ["Makefile", "tests"]
    return done.stdout.splitlines()


def test_skipped_without_root(tree: Path) -> None:
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    assert make(tree, *nobody) == ["softlabels: test-slurm SKIPPED: a private SLURM has to be started by root"]


@pytest.mark.skipif(os.geteuid() != 0, reason="without root the first reason is that one")
def test_skipped_without_slurm_and_apt(tree: Path, tmp_path: Path) -> None:
    for tool in ("make", "sh", "id", "env", "nproc"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or "")
    reason = "there is no slurmctld, and no apt-get to install it"
    assert make(tree, path=str(tmp_path)) == [f"softlabels: test-slurm SKIPPED: {reason}"]
