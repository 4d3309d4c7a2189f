"""(c) The trainer's images per second ÷ those of a loop written by hand, on the same tensors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.material import FAST, advance, generated, make_trainer, run_spec
from benchmarks.measure import Ratio, Scope, take_turns
from softlabels.grid.parts.recipe import Augment, Optimiser, Precision, Recipe
from softlabels.grid.spec import ModelSpec
from softlabels.models import build
from softlabels.training.images import ImageSplit

AIM = ("≥", 0.95)
BATCH = 128
LR, MOMENTUM, WEIGHT_DECAY = 1e-3, 0.9, 1e-4  # a small rate: labels are random, and nothing may diverge


@dataclass(frozen=True)
class Case:
    """A network, its images, and how many steps make one repetition."""

    dataset: str
    model: str
    shape: tuple[int, int, int]
    num_train: int
    pad: int
    flip: bool
    per_image: bool
    precision: Precision
    steps: int


CASES = (
    Case("mnist", "fc_2x1200", (1, 28, 28), 54_000, 2, False, False, Precision(), 100),
    Case("cifar10", "alexnet", (3, 32, 32), 40_000, 4, True, True, FAST, 10),
    Case("cifar10", "resnet56", (3, 32, 32), 40_000, 4, True, True, FAST, 2),
)


def run(scope: Scope) -> Iterator[Ratio]:
    for case in CASES:
        yield _measure(case, scope)


def _measure(case: Case, scope: Scope) -> Ratio:
    batch, steps = scope.pick(BATCH, 4), scope.pick(case.steps, 1)
    recipe = Recipe(
        batch_size=batch,
        steps=1,
        optimiser=Optimiser(LR, momentum=MOMENTUM, nesterov=True, weight_decay=WEIGHT_DECAY),
        augment=Augment(pad=case.pad, flip=case.flip),
        normalise="per_image" if case.per_image else "none",
        precision=case.precision,
    )
    with TemporaryDirectory() as name:
        data = generated(Path(name) / "data", case.shape, scope.pick(case.num_train, 64))
        images = ImageSplit(data, "train", scope.device)
        trainer = make_trainer(run_spec(case.dataset, case.model, recipe), images, Path(name) / "run")
        images = torch.from_numpy(data.images("train").copy()).to(scope.device)
        labels = torch.from_numpy(data.labels("train").copy()).to(scope.device)
        bare = BareLoop(case, images, labels, batch)
        seconds = take_turns(
            {"trainer": partial(advance, trainer, steps), "bare": partial(bare.advance, steps)},
            scope.repetitions,
            scope.device,
        )
    return Ratio(
        f"images/s of the trainer ÷ bare loop, {case.model}",
        over=seconds["bare"],  # images per second are the inverse of seconds
        under=seconds["trainer"],
        aim=AIM,
        about={"batch": batch, "steps": steps, "precision": case.precision.autocast},
    )


class BareLoop:
    """What one writes by hand for a single experiment: no seeds, no accounts, no checkpoints."""

    def __init__(self, case: Case, images: Tensor, labels: Tensor, batch: int) -> None:
        self.case, self.images, self.labels, self.batch = case, images, labels, batch
        self.bf16, channels_last = case.precision.autocast == "bf16", case.precision.channels_last
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        torch.manual_seed(0)
        network = build(ModelSpec(case.model), 10, case.shape).to(images.device)
        self.network = network.to(memory_format=self.format) if channels_last else network  # type: ignore[call-overload]
        self.optimiser = torch.optim.SGD(
            network.parameters(), LR, MOMENTUM, weight_decay=WEIGHT_DECAY, nesterov=True, fused=True
        )
        self.network.train()
        self.order = torch.randperm(len(images), device=images.device)
        self.next = 0

    def advance(self, steps: int) -> None:
        device, B, pad = self.images.device, self.batch, self.case.pad
        height, width = self.images.shape[2:]
        for _ in range(steps):
            if self.next + B > len(self.order):
                self.order, self.next = torch.randperm(len(self.images), device=device), 0
            index = self.order[self.next : self.next + B]
            self.next += B
            x = F.pad(self.images[index], (pad,) * 4)
            top = torch.randint(2 * pad + 1, (B,), device=device)
            left = torch.randint(2 * pad + 1, (B,), device=device)
            x = x.unfold(2, height, 1).unfold(3, width, 1)[torch.arange(B, device=device), :, top, left]
            if self.case.flip:
                x = torch.where(torch.rand(B, 1, 1, 1, device=device) < 0.5, x.flip(3), x)
            x = x.float()
            if self.case.per_image:
                x = x - x.mean((1, 2, 3), keepdim=True)
                x = x / x.std((1, 2, 3), keepdim=True)
            else:
                x = x / 255
            x = x.contiguous(memory_format=self.format)
            with torch.autocast(device.type, torch.bfloat16, enabled=self.bf16):
                logits = self.network(x)
            loss = F.cross_entropy(logits.float(), self.labels[index])
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimiser.step()
            self.optimiser.zero_grad()
