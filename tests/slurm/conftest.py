"""One private SLURM for all tests here; each finds it empty, with both nodes idle. At the end: a table of faults."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow"))

from chain import TEACHER, Chain, Row, differences, render

ROWS: list[Row] = []


@pytest.fixture(scope="session")
def _running() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(_running: Cluster) -> Cluster:
    _running.reset()
    return _running


@pytest.fixture
def for_snakemake(cluster: Cluster) -> Cluster:
    """Its jobs find their SLURM only where each node has an /etc/slurm of its own."""
    if not cluster.namespaces:
        pytest.skip("the kernel refused namespaces: Snakemake's jobs would not find the private SLURM")
    return cluster


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """The chain made without SLURM and without a fault. Read only."""
    chain = Chain.create(tmp_path_factory.mktemp("undisturbed") / "chain")
    chain.tree.snakemake(*chain.goals)
    return chain


@pytest.fixture
def chain(for_snakemake: Cluster, undisturbed: Chain, tmp_path: Path) -> Iterator[Chain]:
    """A chain of which nothing is made, in a folder with a space in its name."""
    chain = Chain.create(tmp_path / "a project", for_snakemake).with_data_of(undisturbed)
    yield chain
    chain.stop()


@pytest.fixture
def recovered(chain: Chain, undisturbed: Chain) -> Callable[[str], None]:
    """Note a fault in the table, and require what an undisturbed chain has."""

    def note(fault: str) -> None:
        attempts, jobs = chain.record["attempts"], len(chain.jobs_of(TEACHER))
        different = differences(chain.checksums(), undisturbed.checksums())
        again = sum(attempt["recomputed"] for attempt in attempts)
        ROWS.append(Row(fault, len(attempts), again, chain.record["steps"], jobs, not different))
        assert not different

    return note


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):  # one of several processes of pytest-xdist, each with a SLURM
        session.config.workeroutput["rows"] = [dataclasses.asdict(row) for row in ROWS]


def pytest_configure(config: pytest.Config) -> None:
    if config.pluginmanager.hasplugin("xdist"):
        config.pluginmanager.register(_Gather())


class _Gather:
    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        ROWS.extend(Row(**row) for row in getattr(node, "workeroutput", {}).get("rows", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if ROWS:
        terminalreporter.section("a teacher's training, met by faults on a real SLURM")
        terminalreporter.write_line(render(ROWS))
