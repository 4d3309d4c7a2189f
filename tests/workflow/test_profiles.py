"""Profiles that come with the project, read by the real Snakemake."""

from __future__ import annotations

import pytest
from workflow_tree import Tree

pytestmark = pytest.mark.workflow


def test_a_workstation_computes_on_as_many_gpus_as_it_says(fresh: Tree) -> None:
    """The profile is found by its name and overrules the one that is always read; the command line overrules both."""
    fresh.replace("workflow/profiles/local-gpu/config.yaml", "[gpu=2]", "[gpu=3]")
    target = min(path for path in fresh.snakemake("-n").split() if path.endswith("manifest.json") and "data" in path)
    assert "digits" in target  # the quickest
    for arguments, gpus in (
        ((), 1),
        (("--profile", "local-gpu"), 3),
        (("--profile", "local-gpu", "--resources", "gpu=5", "--"), 5),
    ):
        (fresh.root / target).unlink(missing_ok=True)
        assert f'Provided resources: gpu=Resource("gpu", {gpus})' in fresh.snakemake(*arguments, target)
