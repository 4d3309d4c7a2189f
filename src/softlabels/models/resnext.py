"""ResNeXt for images of 32 px (Xie et al. 2017, Sec. 5.2)."""

from __future__ import annotations

from torch import Tensor, nn

from softlabels.models.network import Network, Shape, conv_norm


class Bottleneck(nn.Module):
    """1×1, 3×3 in groups, 1×1, each with batch norm; added to the input or its projection, then ReLU."""

    def __init__(self, inputs: int, inner: int, outputs: int, stride: int, groups: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            conv_norm(inputs, inner, bias=False),
            conv_norm(inner, inner, 3, stride=stride, groups=groups, bias=False),
            conv_norm(inner, outputs, bias=False, activation=None),
        )
        self.shortcut = nn.Identity() if inputs == outputs else _projection(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] → [N, C', H/stride, W/stride]."""
        total: Tensor = self.shortcut(x) + self.branch(x)
        return total.relu()


def _projection(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return conv_norm(inputs, outputs, stride=stride, bias=False, activation=None)


class ResNeXt29(Network):
    """3×3 stem of 64 channels; three stages of three blocks, 256, 512 and 1024 channels wide, inside 8 groups of 64,
    128 and 256; the last two halve; mean.

    34,426,698 parameters at K = 10. Convolutions are initialised as He et al. 2015, by fan-out, the head by fan-in.
    """

    def __init__(self, num_classes: int, shape: Shape) -> None:
        super().__init__()
        self.stem = conv_norm(shape[0], 64, 3, bias=False)
        self.blocks = nn.Sequential()
        inputs = 64
        for stage, outputs in enumerate((256, 512, 1024)):
            for index in range(3):
                stride = 2 if index == 0 and stage > 0 else 1
                self.blocks.append(Bottleneck(inputs, 2 * outputs, outputs, stride, groups=8))
                inputs = outputs
        self.head = nn.Linear(inputs, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
        nn.init.kaiming_normal_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def features(self, x: Tensor) -> Tensor:
        x = self.blocks(self.stem(x))
        return x.mean((2, 3))
