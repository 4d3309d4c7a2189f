"""The objective of a training: from a batch to the loss that is differentiated."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from softlabels.grid.parts.label_targets import MovingAverage, average_of
from softlabels.grid.parts.recipe import Precision
from softlabels.grid.spec import Distill, RunSpec
from softlabels.losses import make_loss
from softlabels.training.feature_distillation import FeatureLoss
from softlabels.training.images import autocast


class TeacherLogits(Protocol):
    """Where a student's targets come from; rows of the images that the student sees."""

    augment_seed: int

    def rows(self, positions: Tensor, epochs: Tensor, images: Tensor) -> Tensor:
        """Logits `[B, K]` for images (0–255, fp32) that are the teacher's own views of `positions`."""

    def views(self, epochs: Tensor) -> Tensor:
        """Which view of its images each epoch uses `[B]`."""


class Objective(nn.Module):
    """The mean loss of a batch under a run's targets.

    Its parameters and buffers are trained beside the network and saved in checkpoints; they are no part of the moving
    average of the recipe, of the milestones and of the final weights. A term on features has some, and targets by a
    moving average, which is not trained.
    """

    def __init__(self, spec: RunSpec, network: nn.Module, teacher: TeacherLogits | None, num_classes: int) -> None:
        super().__init__()
        self.precision, self.loss = spec.recipe.precision, make_loss(spec.targets, num_classes)
        self.features: FeatureLoss | None = None
        if isinstance(spec.targets, Distill) and spec.targets.features is not None:
            self.features = FeatureLoss(spec.targets.features, spec.model, network, spec.targets.teacher, teacher)
        average = average_of(spec.targets)
        self.average = None if average is None else Average(average, network, self.precision)

    def forward(
        self, network: nn.Module, x: Tensor, labels: Tensor, teacher_logits: Callable[[], Tensor] | None
    ) -> Tensor:
        """The loss of input `[B, C, H, W]` and labels `[B]`; `teacher_logits` computes those of the teacher
        `[B, K]`, if there is one."""
        if self.features is None:
            return self._task(network, x, labels, teacher_logits)
        with self.features.recorded():
            task = self._task(network, x, labels, teacher_logits)
        with autocast(x.device, self.precision):
            term: Tensor = self.features()
        return task + term

    def _task(
        self, network: nn.Module, x: Tensor, labels: Tensor, teacher_logits: Callable[[], Tensor] | None
    ) -> Tensor:
        soft = self.average(x) if self.average is not None else teacher_logits() if teacher_logits is not None else None
        with autocast(x.device, self.precision):
            logits = network(x)
        return self.loss(logits, labels, soft)

    def update_ema(self, network: nn.Module, step: int) -> None:
        """Move the average, where there is one, after `step` = 1, 2, … steps of the network's optimiser."""
        if self.average is not None:
            self.average.update(network, step)


def averageable(value: Tensor) -> bool:
    """Whether a parameter or buffer can be averaged: not a counter, nor a mask of −∞, whose difference is no number."""
    return value.is_floating_point() and bool(torch.isfinite(value).all())


class Average(nn.Module):
    """An exponential moving average of a network's weights, initialised as a copy; saved with a run's checkpoint."""

    def __init__(self, spec: MovingAverage, network: nn.Module, precision: Precision) -> None:
        super().__init__()
        self.spec, self.precision = spec, precision
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.network.train(spec.buffers == "batch")
        self.averaged = {name for name, buffer in self.network.named_buffers() if averageable(buffer)}

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Logits `[B, K]` of input `[B, C, H, W]`."""
        with autocast(x.device, self.precision):
            logits: Tensor = self.network(x)
        return logits.float()

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the network as it is after `step` = 1, 2, …"""
        share = max(1 / (step + 1), 1 - self.spec.decay)
        for mean, parameter in zip(self.network.parameters(), network.parameters(), strict=True):
            mean.lerp_(parameter, share)
        if self.spec.buffers == "averaged":
            for (name, buffer), now in zip(self.network.named_buffers(), network.buffers(), strict=True):
                if name in self.averaged:
                    buffer.lerp_(now, share)
                else:
                    buffer.copy_(now)
