"""DenseNets for images of 32 px, made of torchvision's."""

from __future__ import annotations

from typing import Any

from torch import nn

from softlabels.models import _torchvision
from softlabels.models.blocks import Shape
from softlabels.models.network import Wrapped


def bare_stem(body: Any) -> None:
    """Leave out batch norm, ReLU and max-pooling of the stem: the first dense layer begins with the first two."""
    for name in ("norm0", "relu0", "pool0"):
        body.features.set_submodule(name, nn.Identity())


def without_transition_relu(body: Any) -> None:
    """Leave out the ReLU of each transition, which Huang et al. 2017 do not mention (Sec. 3), and their code has."""
    for name, _ in body.features.named_children():
        if name.startswith("transition"):
            body.features.set_submodule(f"{name}.relu", nn.Identity())


def densenet_bc_100_12(num_classes: int, shape: Shape) -> Wrapped:
    """DenseNet-BC of depth 100 and k = 12 for CIFAR (Huang et al. 2017): 3×3 stem of 24 channels, three blocks of 16
    layers, compression 0.5; total stride 4.

    769,162 parameters at K = 10. Convolutions are initialised as He et al. 2015, by fan-out.
    """
    library = _torchvision.load("torchvision.models")
    body = library.DenseNet(growth_rate=12, block_config=(16, 16, 16), num_init_features=24, num_classes=num_classes)
    body.features.conv0 = nn.Conv2d(shape[0], 24, 3, padding=1, bias=False)
    bare_stem(body)
    for module in body.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
    return Wrapped(body)
