"""What the convolutional networks for small images are made of."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

Shape = tuple[int, int, int]


def conv_norm(
    inputs: int,
    outputs: int,
    kernel: int = 1,
    *,
    stride: int = 1,
    groups: int = 1,
    padding: int | None = None,
    bias: bool = True,
    activation: Callable[..., nn.Module] | None = nn.ReLU,
) -> nn.Sequential:
    """Convolution, batch norm, activation (None: none). Without `padding` the side is kept, or divided by `stride`.

    A bias before batch norm changes no function; the released code of Yuan et al. has one almost everywhere, and so it
    counts as parameters.
    """
    padding = kernel // 2 if padding is None else padding
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=bias)
    layers = nn.Sequential(convolution, nn.BatchNorm2d(outputs))
    if activation is not None:
        layers.append(activation(inplace=True))
    return layers
