"""The networks written in this project whose costs are arithmetic, for pictures of any size."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

from softlabels.grid.zoo.options import SIZE, Kind, ModelInfo, Option, choice, dropout, is_number, or_none, sizes

Shape = tuple[int, int, int]
Cost = Callable[[Mapping[str, Any], Shape, int], int]
"""(options, (C, H, W), K) → floating-point operations of one forward pass of one image."""

_STD = Kind("a number > 0", lambda value: is_number(value) and value > 0)
_DEPTH = Kind("6n + 2 (8, 14, 20, … 56)", lambda value: SIZE.accepts(value) and value >= 8 and value % 6 == 2)
_AFTER_HIDDEN = "after each hidden ReLU (kept ones scaled up)"


def _init_std(default: float | None) -> Option:
    return Option(
        or_none(_STD),
        default,
        "σ of the Gaussian weights at initialisation, biases 0; null: PyTorch's default",
    )


def _fc(units: int) -> ModelInfo:
    return ModelInfo(
        f"two hidden layers of {units} ReLU units (Müller A.5)",
        {"dropout": dropout(0.0, _AFTER_HIDDEN), "init_std": _init_std(0.03)},
    )


MODELS: dict[str, ModelInfo] = {
    "mlp": ModelInfo(
        "fully connected ReLU network",
        {
            "hidden": Option(sizes(1), (128,), "units of each hidden layer"),
            "dropout": dropout(0.0, _AFTER_HIDDEN),
            "init_std": _init_std(None),
        },
    ),
    "fc_2x1200": _fc(1200),
    "fc_2x800": _fc(800),
    "small_cnn": ModelInfo(
        "3×3 convolutions with batch norm and 2×2 pooling, then one hidden layer; for 8 to 32 px on a CPU",
        {
            "widths": Option(sizes(1), (16, 32), "channels of each convolution; each halves the side"),
            "hidden": Option(SIZE, 64, "units of the hidden layer"),
        },
    ),
    "alexnet": ModelInfo("the CIFAR network of the TensorFlow tutorial, called AlexNet by Müller et al. (A.1)"),
    "resnet56": ModelInfo(
        "ResNet for CIFAR",
        {
            "variant": Option(choice("t2t", "he"), "t2t", "t2t: tensor2tensor's, pre-activation; he: He et al. 2015"),
            "depth": Option(_DEPTH, 56, "weighted layers, 6n + 2 for n blocks in each of the three stages"),
            "widths": Option(
                or_none(sizes(4, 4)),
                None,
                "channels of stem and stages; null: 16, 32, 64, 128 (t2t) or 16, 16, 32, 64 (he)",
            ),
        },
    ),
    "plain_cnn": ModelInfo(
        "Plain CNN of Yuan et al. (Sec. 1): three convolutions, one hidden layer",
        {"dropout": dropout(0.5, "before the head")},
        min_side=8,
    ),
}


OF_ONE_SIDE = ("mlp", "fc_2x1200", "fc_2x800", "small_cnn", "alexnet")
"""Networks with a layer on all pixels, so that their weights belong to pictures of one size."""


def _conv(inputs: int, outputs: int, kernel: int, pixels: int) -> int:
    return 2 * kernel**2 * inputs * outputs * pixels


def _mlp(options: Mapping[str, Any], shape: Shape, num_classes: int) -> int:
    channels, height, width = shape
    layers = (channels * height * width, *options["hidden"], num_classes)
    return sum(2 * inputs * outputs for inputs, outputs in itertools.pairwise(layers))


def _small_cnn(options: Mapping[str, Any], shape: Shape, num_classes: int) -> int:
    channels, height, width = shape
    flops = 0
    for outputs in options["widths"]:
        flops += _conv(channels, outputs, 3, height * width)
        channels, height, width = outputs, height // 2, width // 2
    hidden: int = options["hidden"]
    return flops + 2 * channels * height * width * hidden + 2 * hidden * num_classes


def _plain_cnn(options: Mapping[str, Any], shape: Shape, num_classes: int) -> int:
    channels, height, width = shape
    flops = 0
    for outputs in (32, 64, 128):
        flops += _conv(channels, outputs, 3, height * width)
        channels, height, width = outputs, height // 2, width // 2
    return flops + 2 * (2048 * 128 + 128 * num_classes)  # pooled to 4×4 pixels of 128 channels


def _alexnet(options: Mapping[str, Any], shape: Shape, num_classes: int) -> int:
    channels, height, width = shape
    half, quarter = (-(-height // 2) * -(-width // 2)), (-(-height // 4) * -(-width // 4))
    normalise = 2 * _conv(64, 64, 1, half)  # the sum over neighbouring channels as a product with a band matrix
    convolve = _conv(channels, 64, 5, height * width) + _conv(64, 64, 5, half)
    return convolve + normalise + 2 * (64 * quarter * 384 + 384 * 192 + 192 * num_classes)


def _resnet(options: Mapping[str, Any], shape: Shape, num_classes: int) -> int:
    channels, height, width = shape
    preactivated = options["variant"] == "t2t"
    stem, *stages = options["widths"] or ((16, 32, 64, 128) if preactivated else (16, 16, 32, 64))
    flops, inputs = _conv(channels, stem, 3, height * width), stem
    for stage, outputs in enumerate(stages):
        if stage > 0:
            height, width = -(-height // 2), -(-width // 2)
        pixels, blocks = height * width, (options["depth"] - 2) // 6
        flops += _conv(inputs, outputs, 3, pixels) + (2 * blocks - 1) * _conv(outputs, outputs, 3, pixels)
        flops += _conv(inputs, outputs, 1, pixels) if preactivated else 0
        inputs = outputs
    return flops + 2 * inputs * num_classes


COSTS: dict[str, Cost] = {
    "mlp": _mlp,
    "fc_2x1200": lambda options, shape, k: _mlp({"hidden": (1200, 1200)}, shape, k),
    "fc_2x800": lambda options, shape, k: _mlp({"hidden": (800, 800)}, shape, k),
    "small_cnn": _small_cnn,
    "alexnet": _alexnet,
    "resnet56": _resnet,
    "plain_cnn": _plain_cnn,
}
