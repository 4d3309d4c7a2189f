"""Small real pieces that several tests use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from softlabels.data.load import Data, open_data
from softlabels.data.prepare import prepare
from softlabels.grid.spec import DatasetSpec
from softlabels.training.device import configure

DIGITS = DatasetSpec("digits", train_limit=300)


@pytest.fixture(autouse=True)
def _denormals() -> Iterator[None]:
    """`configure` flushes denormals for the whole process; hypothesis wants them back."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """300 real digits for training, prepared as a run would have them."""
    out = tmp_path_factory.mktemp("digits")
    prepare(DIGITS, out, root=None, mirror=None, download=False)
    return open_data(out)


@pytest.fixture(scope="session")
def cpu() -> torch.device:
    return configure("cpu")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results" / "demo"
