"""The networks for pictures of 32 px of Yuan et al. 2020 and Zhang & Sabuncu 2020 that torchvision does not have.

Where theirs is torchvision's with another stem it is not here: `resnet18`, `resnet34`, `resnet50` and `densenet121`
with `stem: cifar`.
"""

from __future__ import annotations

from softlabels.grid.zoo.library import Counted
from softlabels.grid.zoo.options import ModelInfo, dropout

MODELS: dict[str, ModelInfo] = {
    "mobilenet_v2_cifar": ModelInfo("MobileNetV2 as in the code of Yuan et al.: 1×1 stem, total stride 8"),
    "shufflenet_v2_cifar": ModelInfo("ShuffleNetV2 as in the code of Yuan et al.: width 1, total stride 8"),
    "googlenet_cifar": ModelInfo(
        "GoogLeNet as in the code of Yuan et al.: one 3×3 stem, batch norm, total stride 4",
        {"dropout": dropout(0.4, "before the head")},
    ),
    "resnext29_8x64d": ModelInfo("ResNeXt for CIFAR (Xie et al. 2017), total stride 4"),
    "densenet_bc_100_12": ModelInfo("DenseNet-BC for CIFAR (Huang et al. 2017), depth 100, k = 12", min_side=4),
}

COUNTED: dict[tuple[str, str], Counted] = {
    ("mobilenet_v2_cifar", "cifar"): Counted(32, 129_638_528, 1280, 2_241_280),
    ("shufflenet_v2_cifar", "cifar"): Counted(32, 87_146_240, 1024, 1_258_396),
    ("googlenet_cifar", "cifar"): Counted(32, 3_043_491_840, 1024, 6_156_000),
    ("resnext29_8x64d", "cifar"): Counted(32, 10_774_511_616, 1024, 34_416_448),
    ("densenet_bc_100_12", "cifar"): Counted(32, 575_852_544, 342, 765_732),
}
