"""Every network by name: its options, what makes it, what one forward pass costs, and what else planning asks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

from softlabels.grid.zoo.options import (
    FLAG,
    FRACTION,
    SIZE,
    Counted,
    Kind,
    ModelInfo,
    Option,
    Shape,
    choice,
    dropout,
    is_number,
    or_none,
    sizes,
)

Options = Mapping[str, Any]

# ---------------------------------------------------------------- of networks written here: options, operations


def _conv(inputs: int, outputs: int, kernel: int, pixels: int) -> int:
    return 2 * kernel**2 * inputs * outputs * pixels


def _mlp(options: Options, shape: Shape, num_classes: int) -> int:
    channels, height, width = shape
    layers = (channels * height * width, *options["hidden"], num_classes)
    return sum(2 * inputs * outputs for inputs, outputs in itertools.pairwise(layers))


def _small_cnn(options: Options, shape: Shape, num_classes: int) -> int:
    channels, height, width = shape
    flops = 0
    for outputs in options["widths"]:
        flops += _conv(channels, outputs, 3, height * width)
        channels, height, width = outputs, height // 2, width // 2
    hidden: int = options["hidden"]
    return flops + 2 * channels * height * width * hidden + 2 * hidden * num_classes


def _plain_cnn(options: Options, shape: Shape, num_classes: int) -> int:
    channels, height, width = shape
    flops = 0
    for outputs in (32, 64, 128):
        flops += _conv(channels, outputs, 3, height * width)
        channels, height, width = outputs, height // 2, width // 2
    return flops + 2 * (2048 * 128 + 128 * num_classes)  # pooled to 4×4 pixels of 128 channels


def _alexnet(options: Options, shape: Shape, num_classes: int) -> int:
    channels, height, width = shape
    half, quarter = (-(-height // 2) * -(-width // 2)), (-(-height // 4) * -(-width // 4))
    normalise = 2 * _conv(64, 64, 1, half)  # the sum over neighbouring channels as a product with a band matrix
    convolve = _conv(channels, 64, 5, height * width) + _conv(64, 64, 5, half)
    return convolve + normalise + 2 * (64 * quarter * 384 + 384 * 192 + 192 * num_classes)


def _resnet(options: Options, shape: Shape, num_classes: int) -> int:
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


def _small_cnn_stages(options: Options, shape: Shape) -> tuple[Shape, ...]:
    """Of each of its convolutions, after batch norm."""
    return tuple((channels, shape[1] >> i, shape[2] >> i) for i, channels in enumerate(options["widths"]))


_STD = Kind("a number > 0", lambda value: is_number(value) and value > 0)
_DEPTH = Kind("6n + 2 (8, 14, 20, … 56)", lambda value: SIZE.accepts(value) and value >= 8 and value % 6 == 2)
_AFTER_HIDDEN = dropout(0.0, "after each hidden ReLU (kept ones scaled up)")


def _init_std(default: float | None) -> Option:
    help_ = "σ of the Gaussian weights at initialisation, biases 0; null: PyTorch's default"
    return Option(or_none(_STD), default, help_)


def _fc(units: int) -> ModelInfo:
    """Two hidden layers (Müller A.5)."""
    options = {"dropout": _AFTER_HIDDEN, "init_std": _init_std(0.03)}
    return ModelInfo("small:MLP", options, {"hidden": (units, units)}, cost=_mlp, of_one_side=True)


# ---------------------------------------------------------------- of torchvision's and timm's


def _resnet_stages(*widths: int) -> Callable[[Options, Shape], tuple[Shape, ...]]:
    """Of four stages, after the last addition."""

    def shapes(options: Options, shape: Shape) -> tuple[Shape, ...]:
        _, height, width = shape
        if options["stem"] == "imagenet":
            height, width = -(-height // 4), -(-width // 4)
        return tuple((channels, -(-height // 2**i), -(-width // 2**i)) for i, channels in enumerate(widths))

    return shapes


def _library(factory: str, options: Mapping[str, Option], *counted: Counted, **known: Any) -> ModelInfo:
    """A network of torchvision, by the name of its factory there."""
    return ModelInfo("library:build", options, {"name": factory, **known.pop("given", {})}, counted=counted, **known)


_STEM = {
    "stem": Option(choice("imagenet", "cifar"), "imagenet", "cifar: the first two halvings left out, for small images")
}
_INIT = {
    "init": Option(
        choice("library", "pytorch"),
        "library",
        "library: torchvision's initialisation of the network; pytorch: the default of each of its layers",
    )
}
_RELU = {"transition_relu": Option(FLAG, True, "ReLU after the batch norm of the transitions between blocks")}
_DROPOUT = {"dropout": dropout(0.2, "before the head")}
_WITHOUT_AUXILIARY = {"aux_logits": False, "init_weights": True}


def _stochastic_depth(default: float) -> dict[str, Option]:
    help_ = "probability of skipping the last residual branch, linear over the depth"
    return {"stochastic_depth": Option(FRACTION, default, help_)}


# ---------------------------------------------------------------- the table

MODELS: dict[str, ModelInfo] = {
    "mlp": ModelInfo(
        "small:MLP",
        {
            "hidden": Option(sizes(1), (128,), "units of each hidden layer"),
            "dropout": _AFTER_HIDDEN,
            "init_std": _init_std(None),
        },
        cost=_mlp,
        of_one_side=True,
    ),
    "fc_2x1200": _fc(1200),
    "fc_2x800": _fc(800),
    "small_cnn": ModelInfo(  # for 8 to 32 px on a CPU
        "small:SmallCNN",
        {
            "widths": Option(sizes(1), (16, 32), "channels of each convolution; each halves the side"),
            "hidden": Option(SIZE, 64, "units of the hidden layer"),
        },
        cost=_small_cnn,
        of_one_side=True,
        stages=_small_cnn_stages,
    ),
    "alexnet": ModelInfo("alexnet:AlexNet", cost=_alexnet, of_one_side=True),
    "resnet56": ModelInfo(
        "resnet:ResNet",
        {
            "variant": Option(choice("t2t", "he"), "t2t", "t2t: tensor2tensor's, pre-activation; he: He et al. 2015"),
            "depth": Option(_DEPTH, 56, "weighted layers, 6n + 2 for n blocks in each of the three stages"),
            "widths": Option(
                or_none(sizes(4, 4)),
                None,
                "channels of stem and stages; null: 16, 32, 64, 128 (t2t) or 16, 16, 32, 64 (he)",
            ),
        },
        cost=_resnet,
        one_pixel_each=True,
    ),
    "plain_cnn": ModelInfo("small:PlainCNN", {"dropout": dropout(0.5, "before the head")}, cost=_plain_cnn, min_side=8),
    "resnet18": _library(
        "resnet18",
        _STEM | _INIT,
        Counted("imagenet", 224, 3_627_122_688, 512, 11_176_512),
        Counted("cifar", 32, 1_110_835_200, 512, 11_168_832),
        weights={"IMAGENET1K_V1": "resnet18-f37072fd.pth"},
        stages=_resnet_stages(64, 128, 256, 512),
    ),
    "resnet34": _library(
        "resnet34",
        _STEM | _INIT,
        Counted("imagenet", 224, 7_326_498_816, 512, 21_284_672),
        Counted("cifar", 32, 2_318_794_752, 512, 21_276_992),
    ),
    "resnet50": _library(
        "resnet50",
        _STEM | _INIT,
        Counted("imagenet", 224, 8_174_272_512, 2048, 23_508_032),
        Counted("cifar", 32, 2_595_618_816, 2048, 23_500_352),
        weights={"IMAGENET1K_V1": "resnet50-0676ba61.pth", "IMAGENET1K_V2": "resnet50-11ad3fa6.pth"},
        stages=_resnet_stages(256, 512, 1024, 2048),
    ),
    "resnext101_32x8d": _library("resnext101_32x8d", {}, Counted("imagenet", 224, 32_823_934_976, 2048, 86_742_336)),
    "densenet121": _library(
        "densenet121",
        _STEM | _INIT | _RELU,
        Counted("imagenet", 224, 5_666_275_328, 1024, 6_953_856),
        Counted("cifar", 32, 1_776_680_960, 1024, 6_946_048),
        min_side=29,
    ),
    "googlenet": _library(
        "googlenet",
        _DROPOUT,
        Counted("imagenet", 224, 2_994_704_384, 1024, 5_599_904),
        given=_WITHOUT_AUXILIARY,
        min_side=15,
    ),
    "shufflenet_v2": _library("shufflenet_v2_x1_0", {}, Counted("imagenet", 224, 287_767_984, 1024, 1_253_604)),
    "mobilenet_v2": _library(
        "mobilenet_v2",
        _STEM | _DROPOUT,
        Counted("imagenet", 224, 598_988_544, 1280, 2_223_872),
        Counted("cifar", 32, 175_927_296, 1280, 2_223_872),
        weights={"IMAGENET1K_V1": "mobilenet_v2-b0353104.pth", "IMAGENET1K_V2": "mobilenet_v2-7ebf99e0.pth"},
    ),
    "efficientnet_b0": _library(
        "efficientnet_b0",
        _STEM | _DROPOUT | _stochastic_depth(0.2),
        Counted("imagenet", 224, 769_069_504, 1280, 4_007_548),
        Counted("cifar", 32, 232_308_736, 1280, 4_007_548),
        weights={"IMAGENET1K_V1": "efficientnet_b0_rwightman-7f5810bc.pth"},
    ),
    "convnext_tiny": _library(
        "convnext_tiny",
        _STEM | _stochastic_depth(0.1),
        Counted("imagenet", 224, 8_909_526_528, 768, 27_820_128),
        Counted("cifar", 32, 2_905_104_384, 768, 27_818_112),
        weights={"IMAGENET1K_V1": "convnext_tiny-983f1562.pth"},
    ),
    "inception_v3": _library(  # its published weights want images that are normalised in their own way
        "inception_v3",
        {"dropout": dropout(0.5, "before the head")},
        Counted("imagenet", 299, 11_422_336_192, 2048, 21_785_568),
        given=_WITHOUT_AUXILIARY,
        min_side=75,
    ),
    "inception_v4": ModelInfo(
        "library:inception_v4",
        _DROPOUT,
        counted=(Counted("imagenet", 299, 24_504_877_248, 1536, 41_142_816),),
        min_side=75,
    ),
    # Of Yuan et al. 2020 and Zhang & Sabuncu 2020, for images of 32 px. Where theirs is torchvision's with another
    # stem, it is that one with `stem: cifar`.
    "mobilenet_v2_cifar": ModelInfo(
        "mobilenet:MobileNetV2", counted=(Counted("cifar", 32, 129_638_528, 1280, 2_241_280),)
    ),
    "shufflenet_v2_cifar": ModelInfo(
        "shufflenet:ShuffleNetV2", counted=(Counted("cifar", 32, 87_146_240, 1024, 1_258_396),)
    ),
    "googlenet_cifar": ModelInfo(
        "googlenet:GoogLeNet",
        {"dropout": dropout(0.4, "before the head")},
        counted=(Counted("cifar", 32, 3_043_491_840, 1024, 6_156_000),),
    ),
    "resnext29_8x64d": ModelInfo(
        "resnext:ResNeXt29", counted=(Counted("cifar", 32, 10_774_511_616, 1024, 34_416_448),)
    ),
    "densenet_bc_100_12": ModelInfo(
        "library:densenet_bc_100_12", counted=(Counted("cifar", 32, 575_852_544, 342, 765_732),), min_side=4
    ),
}
