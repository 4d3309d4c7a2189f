"""The objective of a training: from a batch to the loss that is differentiated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor, nn

from softlabels.grid.label_targets import average_of
from softlabels.grid.spec import Distill, RunSpec
from softlabels.targets import make_loss
from softlabels.training.average import Average
from softlabels.training.overhaul import Features
from softlabels.training.pictures import autocast


class TeacherLogits(Protocol):
    """Where a student's targets come from; rows of the pictures that the student sees."""

    stream: int

    def rows(self, positions: Tensor, epochs: Tensor, pictures: Tensor) -> Tensor:
        """Logits `[B, K]` for pictures (0–255, fp32) that are the teacher's own views of `positions`."""

    def views(self, epochs: Tensor) -> Tensor:
        """Which view of its pictures each epoch uses `[B]`."""


class Objective(nn.Module):
    """The mean loss of a batch under a run's targets.

    Its parameters and buffers are trained beside the network and saved in checkpoints; they are no part of the moving
    average of the recipe, of the milestones and of the final weights. A term on features has some, and targets by a
    moving average, which is not trained.
    """

    def __init__(self, spec: RunSpec, network: nn.Module, teacher: TeacherLogits | None, num_classes: int) -> None:
        super().__init__()
        self.precision, self.loss = spec.recipe.precision, make_loss(spec.targets, num_classes)
        self.features: Features | None = None
        if isinstance(spec.targets, Distill) and spec.targets.features is not None:
            self.features = Features(spec.targets.features, spec.model, network, spec.targets.teacher, teacher)
        average = average_of(spec.targets)
        self.average = None if average is None else Average(average, network, self.precision)

    def forward(self, network: nn.Module, x: Tensor, labels: Tensor, ask: Callable[[], Tensor] | None) -> Tensor:
        """The loss of input `[B, C, H, W]` and labels `[B]`; `ask` gives the teacher's logits `[B, K]`, if there is
        one."""
        if self.features is None:
            return self._task(network, x, labels, ask)
        with self.features.recorded():
            task = self._task(network, x, labels, ask)
        with autocast(x.device, self.precision):
            term: Tensor = self.features()
        return task + term

    def _task(self, network: nn.Module, x: Tensor, labels: Tensor, ask: Callable[[], Tensor] | None) -> Tensor:
        told = self.average(x) if self.average is not None else None if ask is None else ask()
        with autocast(x.device, self.precision):
            logits = network(x)
        return self.loss(logits, labels, told)

    def follow(self, network: nn.Module, step: int) -> None:
        """What changes with the network, after `step` = 1, 2, … steps of its optimiser."""
        if self.average is not None:
            self.average.update(network, step)
