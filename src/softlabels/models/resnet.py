"""ResNets for CIFAR: tensor2tensor's, used by Müller et al., and the original of He et al."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from softlabels.errors import SpecError
from softlabels.models.network import Network

# Truncation at 2σ makes a Gaussian this much narrower; TensorFlow's variance scaling divides it out.
_TRUNCATED_STD = 0.87962566103423978


def _conv(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


def variance_scaling_(weight: Tensor, scale: float = 1.0) -> None:
    """TensorFlow's `variance_scaling_initializer`: truncated Gaussian of variance scale / fan-in."""
    std = (scale / weight[0].numel()) ** 0.5 / _TRUNCATED_STD
    nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)


class PreActivationBlock(nn.Module):
    """BN-ReLU-conv-BN-ReLU-conv; a stage's first block projects its pre-activated input (1×1 conv, BN)."""

    def __init__(self, inputs: int, outputs: int, stride: int, first: bool) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = _conv(inputs, outputs, 3, stride)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = _conv(outputs, outputs, 3, 1)
        self.shortcut = None
        if first:
            self.shortcut = nn.Sequential(_conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] → [N, C', H/stride, W/stride]."""
        h = self.bn1(x).relu()
        shortcut = x if self.shortcut is None else self.shortcut(h)
        h = self.conv1(h)
        h = self.conv2(self.bn2(h).relu())
        total: Tensor = h + shortcut
        return total


class HeBlock(nn.Module):
    """conv-BN-ReLU-conv-BN, added to the input (subsampled, zero channels appended), ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int, first: bool) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, outputs, 3, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = _conv(outputs, outputs, 3, 1)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.new_channels = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] → [N, C', H/stride, W/stride]."""
        h = self.bn1(self.conv1(x)).relu()
        h = self.bn2(self.conv2(h))
        shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))
        total: Tensor = h + shortcut
        return total.relu()


class ResNet(Network):
    """3×3 stem, BN, ReLU; three stages of n = (depth − 2)/6 blocks, the last two halving; mean.

    `t2t` (widths 16, 32, 64, 128): pre-activation without a final BN-ReLU, a projection in every stage;
    3,407,674 parameters at depth 56 and K = 10. `he` (16, 16, 32, 64): He et al. 2015,
    853,018 parameters. BN has decay 0.9, ε 1e-5.
    """

    def __init__(
        self,
        num_classes: int,
        shape: tuple[int, int, int],
        variant: Literal["t2t", "he"],
        depth: int,
        widths: Sequence[int] | None,
    ) -> None:
        super().__init__()
        block = PreActivationBlock if variant == "t2t" else HeBlock
        stem, *stages = widths or ((16, 32, 64, 128) if variant == "t2t" else (16, 16, 32, 64))
        self.conv = _conv(shape[0], stem, 3, 1)
        self.bn = nn.BatchNorm2d(stem)
        self.blocks = nn.Sequential()
        inputs = stem
        if variant == "he" and sorted((stem, *stages)) != [stem, *stages]:
            raise SpecError(
                "model.options.widths of resnet56 must not fall with variant: he (its shortcuts add channels)"
            )
        for stage, outputs in enumerate(stages):
            for index in range((depth - 2) // 6):
                first = index == 0
                self.blocks.append(block(inputs, outputs, 2 if first and stage > 0 else 1, first))
                inputs = outputs
        self.head = nn.Linear(inputs, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and variant == "t2t":
                variance_scaling_(module.weight)
            elif isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        nn.init.xavier_uniform_(self.head.weight)  # TensorFlow's default for dense layers
        nn.init.zeros_(self.head.bias)

    def features(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv(x)).relu()
        x = self.blocks(x)
        return x.mean((2, 3))
