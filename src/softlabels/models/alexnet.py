"""The CIFAR network of the TensorFlow tutorial, which Müller et al. (A.1) call AlexNet."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from softlabels.models.network import Network


class LocalResponseNorm(nn.Module):
    """x / (1 + α/size·Σ x²)^β, the sum over `size` neighbouring channels, zero beyond the ends.

    TensorFlow's radius r is size 2r + 1, and its alpha is α/size. Equal to `nn.LocalResponseNorm`, but the
    sum is a product with a band matrix instead of a pooling in three dimensions: forward and backward take a
    quarter of the time in fp32, a third under bf16 autocast. The arithmetic is fp32 in both, for the
    bracket is so close to 1 that bf16 would lose it.
    """

    band: Tensor

    def __init__(self, channels: int, size: int = 9, alpha: float = 0.001, beta: float = 0.75) -> None:
        super().__init__()
        self.scale, self.beta = alpha / size, beta
        index = torch.arange(channels)
        band = (index[:, None] - index).abs() <= size // 2
        self.register_buffer("band", band.float()[:, :, None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] → the same."""
        with torch.autocast(x.device.type, enabled=False):
            wide = x.float()
            energy = F.conv2d(wide * wide, self.band)
            return (wide * (1 + self.scale * energy).pow(-self.beta)).to(x.dtype)


def _max_pool(x: Tensor) -> Tensor:
    """3×3 maximum, stride 2, padded as TensorFlow's SAME: after an even side, on both ends of an odd one."""
    return F.max_pool2d(x, 3, stride=2, padding=(x.shape[2] % 2, x.shape[3] % 2), ceil_mode=True)


class AlexNet(Network):
    """Two 5×5 convolutions of 64 channels with max-pooling and local response normalisation (in that order
    first, then the other way round), dense layers of 384 and 192 units; no batch norm, no dropout.

    1,068,298 parameters at 24×24×3 and K = 10. `fc1` and `fc2` are the two layers with weight decay.
    """

    def __init__(self, num_classes: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels, height, width = shape
        pixels = -(-height // 4) * -(-width // 4)
        self.conv1 = nn.Conv2d(channels, 64, 5, padding=2)
        self.norm1 = LocalResponseNorm(64)
        self.conv2 = nn.Conv2d(64, 64, 5, padding=2)
        self.norm2 = LocalResponseNorm(64)
        self.fc1 = nn.Linear(64 * pixels, 384)
        self.fc2 = nn.Linear(384, 192)
        self.head = nn.Linear(192, num_classes)
        for layer, std, bias in (
            (self.conv1, 0.05, 0.0),
            (self.conv2, 0.05, 0.1),
            (self.fc1, 0.04, 0.1),
            (self.fc2, 0.04, 0.1),
            (self.head, 1 / 192, 0.0),
        ):
            nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
            assert layer.bias is not None
            nn.init.constant_(layer.bias, bias)

    def features(self, x: Tensor) -> Tensor:
        x = self.norm1(_max_pool(self.conv1(x).relu()))
        x = _max_pool(self.norm2(self.conv2(x).relu()))
        x = self.fc1(x.flatten(1)).relu()
        x = self.fc2(x).relu()
        return x
