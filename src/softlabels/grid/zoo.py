"""The networks by name: what each can be told, and what one forward pass of it costs. No torch here.

`softlabels.models.build` makes them. The forward costs are arithmetic for the networks written in this
project and counted constants for those of torchvision and timm; a test compares both with the networks.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from softlabels.errors import SpecError
from softlabels.grid.spec import ModelSpec


class Kind(NamedTuple):
    """What a value may be: in words, and as a predicate."""

    words: str
    accepts: Callable[[Any], bool]


class Option(NamedTuple):
    """One thing a network can be told."""

    kind: Kind
    default: Any
    help: str


@dataclass(frozen=True)
class ModelInfo:
    """A network of the zoo."""

    note: str
    options: Mapping[str, Option] = field(default_factory=dict)
    min_side: int = 1
    """Smallest height and width in pixels that the network can take."""


def _is_size(value: Any) -> bool:
    return type(value) is int and value > 0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _sizes(least: int, most: int | None = None) -> Kind:
    def accepts(value: Any) -> bool:
        return (
            isinstance(value, list | tuple)
            and least <= len(value) <= (most or len(value))
            and all(map(_is_size, value))
        )

    count = f"{least}" if least == most else f"at least {least}"
    return Kind(f"a list of {count} whole numbers > 0", accepts)


def _choice(*names: str) -> Kind:
    return Kind(" or ".join(names), lambda value: value in names)


def _or_none(kind: Kind) -> Kind:
    return Kind(f"{kind.words}, or null", lambda value: value is None or kind.accepts(value))


SIZE = Kind("a whole number > 0", _is_size)
_STD = Kind("a number > 0", lambda value: _is_number(value) and value > 0)
FRACTION = Kind("a number in [0, 1)", lambda value: _is_number(value) and 0 <= value < 1)
_DEPTH = Kind("6n + 2 (8, 14, 20, … 56)", lambda value: _is_size(value) and value >= 8 and value % 6 == 2)

_STEM = Option(_choice("imagenet", "cifar"), "imagenet", "cifar: the first two halvings left out, for small images")


def _dropout(default: float, where: str) -> Option:
    return Option(FRACTION, default, f"probability of dropping an activation {where}")


def _init_std(default: float | None) -> Option:
    return Option(
        _or_none(_STD),
        default,
        "σ of the Gaussian weights at initialisation, biases 0; null: PyTorch's default",
    )


def _stochastic_depth(default: float) -> Option:
    return Option(FRACTION, default, "probability of skipping the last residual branch, linear over the depth")


_AFTER_HIDDEN = "after each hidden ReLU (kept ones scaled up)"


def _fc(units: int) -> ModelInfo:
    return ModelInfo(
        f"two hidden layers of {units} ReLU units (Müller A.5)",
        {"dropout": _dropout(0.0, _AFTER_HIDDEN), "init_std": _init_std(0.03)},
    )


MODELS: dict[str, ModelInfo] = {
    "mlp": ModelInfo(
        "fully connected ReLU network",
        {
            "hidden": Option(_sizes(1), (128,), "units of each hidden layer"),
            "dropout": _dropout(0.0, _AFTER_HIDDEN),
            "init_std": _init_std(None),
        },
    ),
    "fc_2x1200": _fc(1200),
    "fc_2x800": _fc(800),
    "small_cnn": ModelInfo(
        "3×3 convolutions with batch norm and 2×2 pooling, then one hidden layer; for 8 to 32 px on a CPU",
        {
            "widths": Option(_sizes(1), (16, 32), "channels of each convolution; each halves the side"),
            "hidden": Option(SIZE, 64, "units of the hidden layer"),
        },
    ),
    "alexnet": ModelInfo("the CIFAR network of the TensorFlow tutorial, called AlexNet by Müller et al. (A.1)"),
    "resnet56": ModelInfo(
        "ResNet for CIFAR",
        {
            "variant": Option(_choice("t2t", "he"), "t2t", "t2t: tensor2tensor's, pre-activation; he: He et al. 2015"),
            "depth": Option(_DEPTH, 56, "weighted layers, 6n + 2 for n blocks in each of the three stages"),
            "widths": Option(
                _or_none(_sizes(4, 4)),
                None,
                "channels of stem and stages; null: 16, 32, 64, 128 (t2t) or 16, 16, 32, 64 (he)",
            ),
        },
    ),
    "resnet18": ModelInfo("torchvision", {"stem": _STEM}),
    "resnet50": ModelInfo("torchvision", {"stem": _STEM}),
    "mobilenet_v2": ModelInfo("torchvision", {"stem": _STEM, "dropout": _dropout(0.2, "before the head")}),
    "efficientnet_b0": ModelInfo(
        "torchvision",
        {
            "stem": _STEM,
            "dropout": _dropout(0.2, "before the head"),
            "stochastic_depth": _stochastic_depth(0.2),
        },
    ),
    "convnext_tiny": ModelInfo("torchvision", {"stem": _STEM, "stochastic_depth": _stochastic_depth(0.1)}),
    "inception_v3": ModelInfo(
        "torchvision, without the auxiliary head", {"dropout": _dropout(0.5, "before the head")}, min_side=75
    ),
    "inception_v4": ModelInfo("timm", {"dropout": _dropout(0.2, "before the head")}, min_side=75),
}


OF_ONE_SIDE = ("mlp", "fc_2x1200", "fc_2x800", "small_cnn", "alexnet")
"""Networks with a layer on all pixels, so that their weights belong to pictures of one size."""


def check_options(
    name: str,
    options: Mapping[str, Any] | Iterable[tuple[str, Any]],
    networks: Mapping[str, ModelInfo] = MODELS,
) -> None:
    """Refuse a network that is not among `networks`, or an option that it does not have or cannot take.

    An import path (`package.module:factory`) is let through where images are classified: only its import can tell.

    Raises:
        SpecError: naming the network or option and what it may be.
    """
    if ":" in name and networks is MODELS:
        return
    info = networks.get(name)
    if info is None:
        own = ", or an import path package.module:factory" if networks is MODELS else ""
        raise SpecError(f"model.name: {name!r} is unknown; choose one of {', '.join(networks)}{own}")
    for key, value in dict(options).items():
        option = info.options.get(key)
        if option is None:
            allowed = f"its options are {', '.join(info.options)}" if info.options else "it has no options"
            raise SpecError(f"model.options.{key}: {name} has no such option; {allowed}")
        if not option.kind.accepts(value):
            raise SpecError(f"model.options.{key} of {name} must be {option.kind.words}, not {value!r}")


def with_defaults(model: ModelSpec, networks: Mapping[str, ModelInfo] = MODELS) -> dict[str, Any]:
    """Every option of a network, given or default.

    Raises:
        SpecError: as `check_options`.
    """
    check_options(model.name, model.options, networks)
    return {key: option.default for key, option in networks[model.name].options.items()} | dict(model.options)


def _conv(inputs: int, outputs: int, kernel: int, pixels: int) -> int:
    return 2 * kernel**2 * inputs * outputs * pixels


def _mlp(options: Mapping[str, Any], shape: tuple[int, int, int], num_classes: int) -> int:
    channels, height, width = shape
    sizes = (channels * height * width, *options["hidden"], num_classes)
    return sum(2 * inputs * outputs for inputs, outputs in itertools.pairwise(sizes))


def _small_cnn(options: Mapping[str, Any], shape: tuple[int, int, int], num_classes: int) -> int:
    channels, height, width = shape
    flops = 0
    for outputs in options["widths"]:
        flops += _conv(channels, outputs, 3, height * width)
        channels, height, width = outputs, height // 2, width // 2
    hidden: int = options["hidden"]
    return flops + 2 * channels * height * width * hidden + 2 * hidden * num_classes


def _alexnet(options: Mapping[str, Any], shape: tuple[int, int, int], num_classes: int) -> int:
    channels, height, width = shape
    half, quarter = (-(-height // 2) * -(-width // 2)), (-(-height // 4) * -(-width // 4))
    normalise = 2 * _conv(64, 64, 1, half)  # the sum over neighbouring channels as a product with a band matrix
    convolve = _conv(channels, 64, 5, height * width) + _conv(64, 64, 5, half)
    return convolve + normalise + 2 * (64 * quarter * 384 + 384 * 192 + 192 * num_classes)


def _resnet(options: Mapping[str, Any], shape: tuple[int, int, int], num_classes: int) -> int:
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


_COSTS: dict[str, Callable[[Mapping[str, Any], tuple[int, int, int], int], int]] = {
    "mlp": _mlp,
    "fc_2x1200": lambda options, shape, k: _mlp({"hidden": (1200, 1200)}, shape, k),
    "fc_2x800": lambda options, shape, k: _mlp({"hidden": (800, 800)}, shape, k),
    "small_cnn": _small_cnn,
    "alexnet": _alexnet,
    "resnet56": _resnet,
}


class Counted(NamedTuple):
    """A network counted once: floating-point operations of the body for one RGB image of `side` px."""

    side: int
    body_flops: int
    features: int
    """d: inputs of the head."""
    body_parameters: int
    """Trained numbers of all but the head."""


COUNTED: dict[tuple[str, str], Counted] = {
    ("resnet18", "imagenet"): Counted(224, 3_627_122_688, 512, 11_176_512),
    ("resnet18", "cifar"): Counted(32, 1_110_835_200, 512, 11_168_832),
    ("resnet50", "imagenet"): Counted(224, 8_174_272_512, 2048, 23_508_032),
    ("resnet50", "cifar"): Counted(32, 2_595_618_816, 2048, 23_500_352),
    ("mobilenet_v2", "imagenet"): Counted(224, 598_988_544, 1280, 2_223_872),
    ("mobilenet_v2", "cifar"): Counted(32, 175_927_296, 1280, 2_223_872),
    ("efficientnet_b0", "imagenet"): Counted(224, 769_069_504, 1280, 4_007_548),
    ("efficientnet_b0", "cifar"): Counted(32, 232_308_736, 1280, 4_007_548),
    ("convnext_tiny", "imagenet"): Counted(224, 8_909_526_528, 768, 27_820_128),
    ("convnext_tiny", "cifar"): Counted(32, 2_905_104_384, 768, 27_818_112),
    ("inception_v3", "imagenet"): Counted(299, 11_422_336_192, 2048, 21_785_568),
    ("inception_v4", "imagenet"): Counted(299, 24_504_877_248, 1536, 41_142_816),
}


def forward_flops(model: ModelSpec, shape: tuple[int, int, int], num_classes: int) -> float | None:
    """Floating-point operations of one forward pass of one image (a multiply-add is two).

    Convolutions and matrix products only. `shape` is (C, H, W). Exact for the project's own networks;
    for those of torchvision and timm the body's count is scaled with H·W from the size it was taken at.

    Returns:
        None for an import path.

    Raises:
        SpecError: as `check_options`.
    """
    if ":" in model.name:
        return None
    options = with_defaults(model)
    if model.name in _COSTS:
        return float(_COSTS[model.name](options, shape, num_classes))
    counted = COUNTED[model.name, options.get("stem", "imagenet")]
    scale = shape[1] * shape[2] / counted.side**2
    return counted.body_flops * scale + 2 * counted.features * num_classes


def parameter_count(name: str, num_classes: int) -> int:
    """Trained numbers of a network of torchvision or timm for pictures like ImageNet's, with a head for K classes.

    Raises:
        KeyError: another network.
    """
    counted = COUNTED[name, "imagenet"]
    return counted.body_parameters + (counted.features + 1) * num_classes
