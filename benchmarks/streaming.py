"""(h) ImageSplit per second of the stream that decodes files ÷ torchvision's ImageFolder in a DataLoader.

Both decode the same JPEG files into batches of normalised fp32 at 224 pixels (random resized crop, flip), one pass over
the files with the same number of processes, which are started anew for each pass. Generated images of 500×375 pixels,
and CIFAR-10 as JPEG files where SOFTLABELS_CIFAR10_JPEG names the archive.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.measure import Ratio, Scope, take_turns
from softlabels.data.load import open_data
from softlabels.data.prepare import prepare
from softlabels.data.unpack import unpack
from softlabels.grid.parts.recipe import Augment
from softlabels.grid.spec import DatasetSpec
from softlabels.models.library import load
from softlabels.training.images import BatchIndex, ImageSplit, open_split

AIM = ("≥", 1.0)
BATCH = 64
SIDE, SCALE = 224, (0.08, 1.0)
AUGMENT = Augment(side=SIDE, scale=SCALE, flip=True)
WORKERS = (1, 2)


def run(scope: Scope) -> Iterator[Ratio]:
    with TemporaryDirectory() as name:
        generated(Path(name) / "generated", scope.pick(512, 8))
        yield from _measure("500×375", Path(name) / "generated", 2, scope)
        if archive := os.environ.get("SOFTLABELS_CIFAR10_JPEG"):
            unpack(Path(archive), Path(name) / "cifar10")
            yield from _measure("CIFAR-10 as JPEG", Path(name) / "cifar10", 10, scope)


def generated(folder: Path, count: int) -> None:
    """Two classes of `count` JPEG files; coarse structure and noise give some 90 kB a file, as in ImageNet."""
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        (folder / "train" / name).mkdir(parents=True)
        for i in range(count):
            coarse = Image.fromarray(rng.integers(0, 256, (8, 10, 3), dtype=np.uint8)).resize((500, 375))
            pixels = np.asarray(coarse, dtype=np.int64) + rng.integers(-30, 30, (375, 500, 3))
            image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
            image.save(folder / "train" / name / f"{i:04}.jpg", quality=90)


def _measure(what: str, folder: Path, num_classes: int, scope: Scope) -> Iterator[Ratio]:
    limit = scope.pick(2048, 8) if num_classes == 10 else None
    spec = DatasetSpec("folder", path=str(folder), num_classes=num_classes, keep="files", holdout=0, train_limit=limit)
    with TemporaryDirectory() as out:
        prepare(spec, Path(out))
        data = open_data(Path(out))
        for workers in WORKERS:
            images = open_split(data, "train", scope.device, workers)
            theirs = _loader(folder, data.ids("train"), images, workers)
            seconds = take_turns(
                {"stream": partial(_stream, images), "loader": partial(_load, theirs, scope.device)},
                scope.repetitions,
                scope.device,
            )
            yield Ratio(
                f"images/s, stream ÷ DataLoader, {what}, {workers} process{'es' * (workers > 1)}",
                over=seconds["loader"],  # images per second are the inverse of seconds
                under=seconds["stream"],
                aim=AIM,
                about={"images": len(images), "batch": BATCH, "workers": workers},
                note=f"{len(images) / min(seconds['stream'].wall):.0f} images/s at best",
            )


def _stream(images: ImageSplit) -> None:
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    asked = (BatchIndex(part, torch.zeros_like(part)) for part in torch.split(order, BATCH))
    for _, x in images.batches(asked, 0, AUGMENT):
        images.to_input(x, "dataset")


def _loader(folder: Path, ids: Any, images: ImageSplit, workers: int) -> Any:
    """What torchvision's own training scripts do, on the same files."""
    transforms, datasets = load("torchvision.transforms"), load("torchvision.datasets")
    change = transforms.Compose(
        [
            transforms.RandomResizedCrop(SIDE, SCALE),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(images.data.mean, images.data.std),
        ]
    )
    chosen = torch.utils.data.Subset(datasets.ImageFolder(folder / "train", change), ids.tolist())
    return torch.utils.data.DataLoader(
        chosen, BATCH, shuffle=True, num_workers=workers, pin_memory=images.device.type == "cuda"
    )


def _load(loader: Any, device: torch.device) -> None:
    for x, labels in loader:
        x.to(device, non_blocking=True)
        labels.to(device, non_blocking=True)
