"""Generated images of the right shape, and trainers on them. Timing needs no real data."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softlabels.data.load import Data
from softlabels.grid.parts.recipe import Precision, Recipe
from softlabels.grid.spec import DatasetSpec, Hard, ModelSpec, RunSpec, Targets
from softlabels.training.images import ImageSplit
from softlabels.training.trainer import TeacherLogits, Trainer

FAST = Precision(autocast="bf16", channels_last=True)  # shorter steps: what a trainer adds weighs more


def generated(folder: Path, shape: tuple[int, int, int], num_train: int, num_classes: int = 10) -> Data:
    """Random bytes and labels as prepared data (C, H, W); validation and test are empty."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for split, count in (("train", num_train), ("val", 0), ("test", 0)):
        arrays: dict[str, NDArray[Any]] = {
            "images": generator.integers(0, 256, (count, *shape), dtype=np.uint8),
            "labels": generator.integers(0, num_classes, count),
            "ids": np.arange(count),
        }
        for kind, array in arrays.items():
            np.save(folder / f"{split}_{kind}.npy", array)
    channels = shape[0]
    manifest = {"num_classes": num_classes, "shape": shape, "fingerprint": "generated"}
    return Data(folder, manifest | {"mean": [0.5] * channels, "std": [0.25] * channels})


def run_spec(dataset: str, model: str, recipe: Recipe, targets: Targets | None = None) -> RunSpec:
    """A run of the paper's grid, with labels where no targets are given."""
    return RunSpec(DatasetSpec(dataset), ModelSpec(model), targets or Hard(), recipe)


def make_trainer(spec: RunSpec, images: ImageSplit, folder: Path, teacher: TeacherLogits | None = None) -> Trainer:
    """A trainer without validation data, so that only training is timed."""
    empty = ImageSplit(images.data, "val", images.device)
    return Trainer(spec, 0, images, empty, folder, identity="benchmark", teacher=teacher)


def advance(trainer: Trainer, steps: int) -> None:
    """Train on for some steps by the trainer's own loop, bookkeeping included."""
    trainer.steps = trainer.step + steps
    quiet = io.StringIO()
    with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        trainer.run()
