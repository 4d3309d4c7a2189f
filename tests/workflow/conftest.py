"""The finished tiny workflow, run once and shared; tests that change something work in a copy."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest
from workflow_tree import Tree


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """Everything made, at the tiny scale. Read only."""
    base = tmp_path_factory.getbasetemp()
    if base.name.startswith("popen-"):  # one of several pytest-xdist processes, which share one run
        base = base.parent
    root = base / "finished"
    with open(base / "finished.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.exists():
            root.mkdir()
            (root / "log.txt").write_text(Tree.create(root).snakemake())
    tree = Tree(root)
    assert (tree.results / "metrics.csv").exists(), "the shared run of the workflow has failed"
    return tree


@pytest.fixture
def copied(finished: Tree, tmp_path: Path) -> Tree:
    """A finished tree to change."""
    return finished.copy(tmp_path / "copy")


@pytest.fixture
def fresh(tmp_path: Path) -> Tree:
    """The project as it is cloned: nothing run."""
    root = tmp_path / "fresh"
    root.mkdir()
    return Tree.create(root)
