"""The feature distillation of Heo et al. 2019 (`grid.parts.feature_distillation`): margin ReLU, partial distance,
connectors, and the modules of a network at which its stages end."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from softlabels.cache import OnlineTeacher
from softlabels.errors import SpecError
from softlabels.grid.parts.feature_distillation import Overhaul
from softlabels.grid.spec import ModelSpec, RunSpec, Teacher, UserNetwork
from softlabels.grid.zoo import STAGED

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

    No gradient where s ≤ t ≤ 0: what the ReLU stops may be as negative as it likes (Sec. 3.3).
    """
    target = torch.maximum(teacher, margin.view(1, -1, 1, 1))
    counts = (student > target) | (target > 0)
    return ((student - target).square() * counts).sum() / len(student)


class Connector(nn.Sequential):
    """From the student's channels to the teacher's: 1×1 convolution and batch norm, initialised as by the authors."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        nn.init.normal_(self[0].weight, std=math.sqrt(2 / outputs))  # type: ignore[arg-type]


class FeatureLoss(nn.Module):
    """The term of the features of one student and its teacher, which owns the connectors.

    The features are recorded while both networks look at a batch. The teacher is no part of the module: it is neither
    trained nor saved.
    """

    def __init__(
        self, spec: Overhaul, model: ModelSpec, network: nn.Module, teacher: Teacher, online_teacher: Any
    ) -> None:
        """
        Args:
            network: the student, of `model`.
            online_teacher: the network of `teacher`.

        Raises:
            SpecError: a network without declared stages.
        """
        super().__init__()
        assert isinstance(online_teacher, OnlineTeacher)
        assert isinstance(teacher.run, RunSpec | UserNetwork)  # as RunSpec requires
        self.weight = spec.weight
        ours, theirs = stages(network, model.name), stages(online_teacher.network, teacher.run.model.name)
        self._stages = [*ours, *theirs]  # in a list, so that nothing of it becomes part of this module
        self._features: list[Tensor] = []
        pairs = [(s.norm.num_features, t.norm.num_features) for s, t in zip(ours, theirs, strict=True)]
        self.connectors = nn.ModuleList(Connector(*pair) for pair in pairs)
        for number, stage in enumerate(theirs):
            self.register_buffer(f"margin{number}", margins(stage.norm), persistent=False)
        for module in online_teacher.network.modules():
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


class Stage(NamedTuple):
    """The end of a stage."""

    relu: nn.ReLU
    """What last enters it in a forward pass are the features of the stage."""
    norm: nn.BatchNorm2d
    """The batch norm before it: the only one, or in a residual block that of its own branch."""


def stages(network: Any, name: str) -> list[Stage]:
    """The stages of a network of the zoo, shallow first; their shapes are those of `grid.zoo.stage_shapes`.

    Their ReLUs no longer work in place, or features would be lost as soon as they are there. No number changes.

    Raises:
        SpecError: the stages of this network are not declared.
    """
    if name == "small_cnn":
        layers = list(network.convolutions)
        found = [Stage(layers[i + 2], layers[i + 1]) for i in range(0, len(layers), 4)]
    elif name in ("resnet18", "resnet50"):
        blocks = [getattr(network.body, f"layer{number}")[-1] for number in (1, 2, 3, 4)]
        found = [Stage(block.relu, block.bn2 if name == "resnet18" else block.bn3) for block in blocks]
    else:
        raise SpecError(f"targets.features: the stages of {name} are not declared; they are of {', '.join(STAGED)}")
    for stage in found:
        stage.relu.inplace = False
    return found


@contextmanager
def recorded(found: Sequence[Stage]) -> Iterator[list[Tensor]]:
    """The features `[B, C, H, W]` of each stage, as the forward pass inside the block leaves them."""
    features: list[Tensor] = [Tensor()] * len(found)

    def keep(number: int) -> Any:
        # A block of a ResNet uses one ReLU several times, the last time after the addition.
        return lambda module, entering: features.__setitem__(number, entering[0])

    handles = [stage.relu.register_forward_pre_hook(keep(number)) for number, stage in enumerate(found)]
    try:
        yield features
    finally:
        for handle in handles:
            handle.remove()
