"""MobileNetV2 for images of 32 px, as in the released code of Yuan et al. 2020."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from softlabels.models.network import Network, Shape, conv_norm

_conv6 = partial(conv_norm, activation=nn.ReLU6)

STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 1), (6, 320, 1, 1))
"""(t, c, n, s) of Sandler et al. 2018, Table 2; there the sixth stage halves too."""


class InvertedResidual(nn.Module):
    """1×1 expansion to t times the channels, 3×3 per channel, 1×1 projection without activation; added to the input
    where that has the same shape."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.branch = nn.Sequential(
            _conv6(inputs, inner),
            _conv6(inner, inner, 3, stride=stride, groups=inner),
            conv_norm(inner, outputs, activation=None),
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] → [N, C', H/stride, W/stride]."""
        h: Tensor = self.branch(x)
        return x + h if self.residual else h


class MobileNetV2(Network):
    """Stem, the seven stages, 1×1 to 1280 channels, mean.

    2,254,090 parameters at K = 10. Unlike torchvision's: 1×1 stem of stride 1 with padding 1 (32 px become 34), so
    that sides go 34, 17, 9, 5; an expansion also where t = 1; biases; no dropout; PyTorch's initialisation.
    """

    def __init__(self, num_classes: int, shape: Shape) -> None:
        super().__init__()
        self.stem = _conv6(shape[0], 32, padding=1)
        self.blocks = nn.Sequential()
        inputs = 32
        for expansion, outputs, repeats, first_stride in STAGES:
            for index in range(repeats):
                self.blocks.append(InvertedResidual(inputs, outputs, first_stride if index == 0 else 1, expansion))
                inputs = outputs
        self.last = _conv6(inputs, 1280)
        self.head = nn.Linear(1280, num_classes)

    def features(self, x: Tensor) -> Tensor:
        x = self.last(self.blocks(self.stem(x)))
        return x.mean((2, 3))
