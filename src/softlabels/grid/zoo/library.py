"""The networks of torchvision and timm: their options, and constants counted once."""

from __future__ import annotations

from typing import NamedTuple

from softlabels.grid.zoo.options import FLAG, FRACTION, ModelInfo, Option, choice, dropout


class Counted(NamedTuple):
    """A network counted once: floating-point operations of the body for one RGB image of `side` px."""

    side: int
    body_flops: int
    features: int
    """d: inputs of the head."""
    body_parameters: int
    """Trained numbers of all but the head."""


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
_DROPOUT = {"dropout": dropout(0.2, "before the head")}


def _stochastic_depth(default: float) -> dict[str, Option]:
    help_ = "probability of skipping the last residual branch, linear over the depth"
    return {"stochastic_depth": Option(FRACTION, default, help_)}


MODELS: dict[str, ModelInfo] = {
    "resnet18": ModelInfo("torchvision", _STEM | _INIT),
    "resnet34": ModelInfo("torchvision", _STEM | _INIT),
    "resnet50": ModelInfo("torchvision", _STEM | _INIT),
    "resnext101_32x8d": ModelInfo("torchvision"),
    "densenet121": ModelInfo(
        "torchvision",
        _STEM
        | _INIT
        | {"transition_relu": Option(FLAG, True, "ReLU after the batch norm of the transitions between blocks")},
        min_side=29,
    ),
    "googlenet": ModelInfo("torchvision, without the auxiliary heads", _DROPOUT, min_side=15),
    "shufflenet_v2": ModelInfo("torchvision, width 1"),
    "mobilenet_v2": ModelInfo("torchvision", _STEM | _DROPOUT),
    "efficientnet_b0": ModelInfo("torchvision", _STEM | _DROPOUT | _stochastic_depth(0.2)),
    "convnext_tiny": ModelInfo("torchvision", _STEM | _stochastic_depth(0.1)),
    "inception_v3": ModelInfo(
        "torchvision, without the auxiliary head", {"dropout": dropout(0.5, "before the head")}, min_side=75
    ),
    "inception_v4": ModelInfo("timm", _DROPOUT, min_side=75),
}

COUNTED: dict[tuple[str, str], Counted] = {
    ("resnet18", "imagenet"): Counted(224, 3_627_122_688, 512, 11_176_512),
    ("resnet18", "cifar"): Counted(32, 1_110_835_200, 512, 11_168_832),
    ("resnet34", "imagenet"): Counted(224, 7_326_498_816, 512, 21_284_672),
    ("resnet34", "cifar"): Counted(32, 2_318_794_752, 512, 21_276_992),
    ("resnet50", "imagenet"): Counted(224, 8_174_272_512, 2048, 23_508_032),
    ("resnet50", "cifar"): Counted(32, 2_595_618_816, 2048, 23_500_352),
    ("resnext101_32x8d", "imagenet"): Counted(224, 32_823_934_976, 2048, 86_742_336),
    ("densenet121", "imagenet"): Counted(224, 5_666_275_328, 1024, 6_953_856),
    ("densenet121", "cifar"): Counted(32, 1_776_680_960, 1024, 6_946_048),
    ("googlenet", "imagenet"): Counted(224, 2_994_704_384, 1024, 5_599_904),
    ("shufflenet_v2", "imagenet"): Counted(224, 287_767_984, 1024, 1_253_604),
    ("mobilenet_v2", "imagenet"): Counted(224, 598_988_544, 1280, 2_223_872),
    ("mobilenet_v2", "cifar"): Counted(32, 175_927_296, 1280, 2_223_872),
    ("efficientnet_b0", "imagenet"): Counted(224, 769_069_504, 1280, 4_007_548),
    ("efficientnet_b0", "cifar"): Counted(32, 232_308_736, 1280, 4_007_548),
    ("convnext_tiny", "imagenet"): Counted(224, 8_909_526_528, 768, 27_820_128),
    ("convnext_tiny", "cifar"): Counted(32, 2_905_104_384, 768, 27_818_112),
    ("inception_v3", "imagenet"): Counted(299, 11_422_336_192, 2048, 21_785_568),
    ("inception_v4", "imagenet"): Counted(299, 24_504_877_248, 1536, 41_142_816),
}
