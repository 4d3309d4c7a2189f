"""Small real pieces that several tests use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image

from softlabels.data.load import Data, open_data
from softlabels.data.packed import measure, pack
from softlabels.data.prepare import prepare
from softlabels.grid.spec import DatasetSpec
from softlabels.training.device import configure

pytest_plugins = ["refusals"]
settings.register_profile("softlabels", deadline=None)  # a test says nothing about speed
settings.load_profile("softlabels")
DIGITS = DatasetSpec("digits", train_limit=300)


def noise(side: tuple[int, int], seed: int) -> Image.Image:
    """An image (height, width) with structure at several scales, so that no two crops are alike."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)).resize((side[1], side[0]))
    fine = rng.integers(-30, 30, (*side, 3))
    return Image.fromarray((np.asarray(coarse, dtype=np.int64) + fine).clip(0, 255).astype(np.uint8))


def write_jpegs(folder: Path, counts: Mapping[str, int], classes: Sequence[str] = ("ant", "cat")) -> None:
    """An image folder: `counts` of each class and split, of different sizes."""
    for s, (split, count) in enumerate(counts.items()):
        for c, name in enumerate(classes):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                side = (40 + 7 * (i % 5), 60 - 5 * (i % 7))
                noise(side, 1000 * s + 100 * c + i).save(folder / split / name / f"{i:03}.jpg", quality=90)


def pack_noise(folder: Path, split: str, count: int, side: tuple[int, int] = (60, 80)) -> None:
    """Generated images as files, beside which labels and ids belong."""
    files = [folder / f"{split}{i}.jpg" for i in range(count)]
    for i, file in enumerate(files):
        noise(side, i).save(file)
    sizes, broken = measure(files, split)
    assert not broken
    pack(files, sizes, folder, split, lambda name, array: np.save(folder / name, array))


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
