"""GoogLeNet for images of 32 px, as in the released code of Yuan et al. 2020."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from softlabels.models.network import Network, Shape, conv_norm

STAGES = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)
"""Channels of each module (Szegedy et al. 2014, Table 1): 1×1; 3×3 reduced, 3×3; 5×5 reduced, 5×5; after pooling."""


class Inception(nn.Module):
    """Four branches side by side; the 5×5 convolution is two of 3×3."""

    def __init__(self, inputs: int, widths: tuple[int, int, int, int, int, int]) -> None:
        super().__init__()
        one, reduced3, three, reduced5, five, pooled = widths
        self.branches = nn.ModuleList(
            (
                conv_norm(inputs, one),
                nn.Sequential(conv_norm(inputs, reduced3), conv_norm(reduced3, three, 3)),
                nn.Sequential(conv_norm(inputs, reduced5), conv_norm(reduced5, five, 3), conv_norm(five, five, 3)),
                nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), conv_norm(inputs, pooled)),
            )
        )
        self.outputs = one + three + five + pooled

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] → [N, C', H, W]."""
        return torch.cat([branch(x) for branch in self.branches], 1)


class GoogLeNet(Network):
    """One 3×3 stem of 192 channels, the nine modules, halved by 3×3 max-pooling between 3b and 4a and between 4e and
    5a, mean, dropout.

    6,166,250 parameters at K = 10. No auxiliary heads; biases; PyTorch's initialisation.
    """

    def __init__(self, num_classes: int, shape: Shape, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(conv_norm(shape[0], 192, 3))
        inputs = 192
        for number, stage in enumerate(STAGES):
            if number > 0:
                self.layers.append(nn.MaxPool2d(3, stride=2, padding=1))
            for widths in stage:
                module = Inception(inputs, widths)
                self.layers.append(module)
                inputs = module.outputs
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(inputs, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Penultimate activations `[N, d]`, after dropout."""
        x = self.layers(x)
        x = self.dropout(x.mean((2, 3)))
        return x
