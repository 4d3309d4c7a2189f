"""One private SLURM for all tests here; each test finds it empty, with both nodes idle."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cluster import Cluster


@pytest.fixture(scope="session")
def _running() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(_running: Cluster) -> Cluster:
    _running.reset()
    return _running
