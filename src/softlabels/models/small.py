"""Fully connected networks and a small convolutional one."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import Tensor, nn

from softlabels.errors import SpecError
from softlabels.models.network import Network

Shape = tuple[int, int, int]


class MLP(Network):
    """ReLU layers with inverted dropout after each.

    FC-MNIST of Müller A.5 is `hidden=(1200, 1200)` or `(800, 800)` with `init_std=0.03`: the appendix says
    "variance of 0.03", but σ = √0.03 = 0.17 does not train at its learning rate of 1.
    """

    def __init__(
        self, num_classes: int, shape: Shape, hidden: Sequence[int], dropout: float, init_std: float | None
    ) -> None:
        super().__init__()
        channels, height, width = shape
        sizes = (channels * height * width, *hidden)
        self.layers = nn.ModuleList(nn.Linear(inputs, outputs) for inputs, outputs in itertools.pairwise(sizes))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(sizes[-1], num_classes)
        if init_std is not None:
            for layer in (*self.layers, self.head):
                nn.init.normal_(layer.weight, std=init_std)
                nn.init.zeros_(layer.bias)

    def features(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for layer in self.layers:
            x = self.dropout(layer(x).relu())
        return x


class SmallCNN(Network):
    """3×3 convolution, batch norm, ReLU and 2×2 max-pooling for each width, then one hidden ReLU layer."""

    def __init__(self, num_classes: int, shape: Shape, widths: Sequence[int], hidden: int) -> None:
        super().__init__()
        channels, height, width = shape
        if min(height, width) >> len(widths) == 0:
            raise SpecError(
                f"model.options.widths: small_cnn halves the side {len(widths)} times, too often for "
                f"{height}×{width} images; give fewer widths"
            )
        self.convolutions = nn.Sequential()
        for outputs in widths:
            self.convolutions.extend(
                [
                    nn.Conv2d(channels, outputs, 3, padding=1, bias=False),
                    nn.BatchNorm2d(outputs),
                    nn.ReLU(),
                    nn.MaxPool2d(2),
                ]
            )
            channels, height, width = outputs, height // 2, width // 2
        self.hidden = nn.Linear(channels * height * width, hidden)
        self.head = nn.Linear(hidden, num_classes)

    def features(self, x: Tensor) -> Tensor:
        activations: Tensor = self.hidden(self.convolutions(x).flatten(1)).relu()
        return activations
