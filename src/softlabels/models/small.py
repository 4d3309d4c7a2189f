"""Fully connected networks and small convolutional ones."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch.nn.functional as F
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


class PlainCNN(Network):
    """3×3 convolutions of 32, 64 and 128 channels, each with batch norm, 2×2 max-pooling and ReLU, then a hidden layer
    of 128 units with batch norm, ReLU and dropout.

    357,514 parameters at K = 10. Yuan et al. (Sec. 1) name convolutions, batch norm and the two dense layers; the rest
    is in their code. Images of another size than 32 px are brought to the 4×4 pixels of the hidden layer by average
    pooling.
    """

    def __init__(self, num_classes: int, shape: Shape, dropout: float) -> None:
        super().__init__()
        widths = (shape[0], 32, 64, 128)
        self.convolutions = nn.Sequential()
        for inputs, outputs in itertools.pairwise(widths):
            layers = (nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.MaxPool2d(2), nn.ReLU())
            self.convolutions.extend(layers)
        self.hidden = nn.Linear(4 * 4 * 128, 128)
        self.norm = nn.BatchNorm1d(128)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(128, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Penultimate activations `[N, 128]`, after dropout."""
        x = F.adaptive_avg_pool2d(self.convolutions(x), 4)
        x = self.norm(self.hidden(x.flatten(1))).relu()
        x = self.dropout(x)
        return x
