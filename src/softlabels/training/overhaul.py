"""The features' part of the loss of Heo et al. 2019 (`grid.overhaul`): margin ReLU, partial distance, connectors."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from softlabels.cache.reader import OnlineTeacher
from softlabels.grid.overhaul import Overhaul
from softlabels.grid.spec import ModelSpec, RunSpec, Teacher, UserNetwork
from softlabels.models.stages import recorded, stages

LEAST_NEGATIVE = 1e-3  # share of a channel below which its margin is not the mean of what is negative


def margins(norm: nn.BatchNorm2d) -> Tensor:
    """The margin of each channel `[C]`, fp32: E[x | x < 0] of a Gaussian with the mean β and the standard deviation |γ|
    of a batch norm's output; −3|γ| where P(x < 0) ≤ 0.001 (Heo et al. 2019, Sec. 3.2; the bound is their code's).
    """
    mean, std = norm.bias.detach().double(), norm.weight.detach().double().abs().clamp_min(1e-12)
    z = mean / std
    negative = torch.special.ndtr(-z)
    density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
    expected = mean - std * density / negative.clamp_min(LEAST_NEGATIVE)
    return torch.where(negative > LEAST_NEGATIVE, expected, -3 * std).float()


def partial_distance(student: Tensor, teacher: Tensor, margin: Tensor) -> Tensor:
    """Σ (s − t)² over channels and places, mean over the batch, of features `[B, C, H, W]`; t = max(teacher, margin).

    Nothing is asked of the student where s ≤ t ≤ 0: what the ReLU stops may be as negative as it likes (Sec. 3.3).
    """
    target = torch.maximum(teacher, margin.view(1, -1, 1, 1))
    counts = (student > target) | (target > 0)
    return ((student - target).square() * counts).sum() / len(student)


class Connector(nn.Sequential):
    """From the student's channels to the teacher's: 1×1 convolution and batch norm, initialised as by the authors."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        nn.init.normal_(self[0].weight, std=math.sqrt(2 / outputs))  # type: ignore[arg-type]


class Features(nn.Module):
    """The term of the features of one student and its teacher, which owns the connectors.

    The features are recorded while both networks look at a batch. The teacher is no part of the module: it is neither
    trained nor saved.
    """

    def __init__(self, spec: Overhaul, model: ModelSpec, network: nn.Module, teacher: Teacher, beside: Any) -> None:
        """
        Args:
            network: the student, of `model`.
            beside: the `teacher`, which runs online.

        Raises:
            SpecError: a network without declared stages.
        """
        super().__init__()
        assert isinstance(beside, OnlineTeacher)
        assert isinstance(teacher.run, RunSpec | UserNetwork)  # as RunSpec requires
        self.weight = spec.weight
        ours, theirs = stages(network, model.name), stages(beside.network, teacher.run.model.name)
        self._stages = [*ours, *theirs]  # in a list, so that nothing of it becomes part of this module
        self._features: list[Tensor] = []
        pairs = [(s.norm.num_features, t.norm.num_features) for s, t in zip(ours, theirs, strict=True)]
        self.connectors = nn.ModuleList(Connector(*pair) for pair in pairs)
        for number, stage in enumerate(theirs):
            self.register_buffer(f"margin{number}", margins(stage.norm), persistent=False)
        for module in beside.network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and spec.teacher_mode == "train":
                module.train()
                module.momentum = 0.0  # the running statistics stay what they are

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Keep the features of the passes that are made inside the block."""
        with recorded(self._stages) as self._features:
            yield

    def forward(self) -> Tensor:
        """The term of the recorded batch; the features are let go."""
        L = len(self.connectors)
        ours, theirs, self._features = self._features[:L], self._features[L:], []
        distances = [
            2.0 ** (number + 1 - L)
            * partial_distance(connector(s).float(), t.detach().float(), getattr(self, f"margin{number}"))
            for number, (connector, s, t) in enumerate(zip(self.connectors, ours, theirs, strict=True))
        ]
        return self.weight * torch.stack(distances).sum()
