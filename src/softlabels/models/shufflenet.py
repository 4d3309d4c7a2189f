"""ShuffleNetV2 for images of 32 px, as in the released code of Yuan et al. 2020."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from softlabels.models.network import Network, Shape, conv_norm

STAGES = ((116, 4), (232, 8), (464, 4))
"""(channels, units) at width 1 (Ma et al. 2018, Table 5)."""


def _branch(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        conv_norm(inputs, inputs),
        conv_norm(inputs, inputs, 3, stride=stride, groups=inputs, activation=None),
        conv_norm(inputs, outputs),
    )


def shuffle(x: Tensor) -> Tensor:
    """[N, 2C, H, W] → the same, the channels of the two halves in turn."""
    batch, channels, height, width = x.shape
    return x.reshape(batch, 2, channels // 2, height, width).transpose(1, 2).reshape(x.shape)


class Unit(nn.Module):
    """Half of the channels through a branch, the other half as it is."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = _branch(channels // 2, channels // 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] → the same."""
        kept, h = x.chunk(2, 1)
        return shuffle(torch.cat((kept, self.branch(h)), 1))


class ReducingUnit(nn.Module):
    """All channels through both branches, each of which halves the side and gives half of the new channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.branch = _branch(inputs, outputs // 2, 2)
        self.shortcut = nn.Sequential(
            conv_norm(inputs, inputs, 3, stride=2, groups=inputs, activation=None),
            conv_norm(inputs, outputs // 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] → [N, C', H/2, W/2]."""
        return shuffle(torch.cat((self.shortcut(x), self.branch(x)), 1))


class ShuffleNetV2(Network):
    """3×3 stem of 24 channels with batch norm and no ReLU, three stages, 1×1 to 1024 channels, mean.

    1,268,646 parameters at K = 10. Unlike torchvision's: stem of stride 1 and no max-pooling; a reducing unit keeps
    the channels of its input up to its last 1×1 convolution; biases; PyTorch's initialisation.
    """

    def __init__(self, num_classes: int, shape: Shape) -> None:
        super().__init__()
        self.stem = conv_norm(shape[0], 24, 3, activation=None)
        self.units = nn.Sequential()
        inputs = 24
        for outputs, units in STAGES:
            self.units.append(ReducingUnit(inputs, outputs))
            self.units.extend(Unit(outputs) for _ in range(units - 1))
            inputs = outputs
        self.last = conv_norm(inputs, 1024)
        self.head = nn.Linear(1024, num_classes)

    def features(self, x: Tensor) -> Tensor:
        x = self.last(self.units(self.stem(x)))
        return x.mean((2, 3))
