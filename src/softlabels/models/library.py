"""The networks of torchvision and timm, always from scratch, for any number of channels and small images; and how
torchvision is imported beside a CPU build of torch.

The wheel on the package index is built for CUDA. Beside a CPU torch its C extension cannot load, and the import then
fails where shape functions are registered for two operators that nobody declared. Declaring them (not defining: calling
one still fails) is all that the networks need.
"""

from __future__ import annotations

import importlib
import importlib.util
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from softlabels.errors import SoftlabelsError
from softlabels.models.network import Shape, Wrapped
from softlabels.models.resnet import variance_scaling_

_ARGUMENT = {"stochastic_depth": "stochastic_depth_prob"}
"""Torchvision's names of our options, where they differ."""


def build(name: str, num_classes: int, shape: Shape, **options: Any) -> Wrapped:
    """A network of torchvision, by the name of its factory.

    `stem: cifar` leaves out the first two halvings, so that the total stride is 8 instead of 32,
    and makes the first kernel 3×3:

    * resnet18, resnet34, resnet50: stem of stride 1, no max-pooling;
    * densenet121: the same, and no batch norm and ReLU before the first dense layer, which begins with these;
    * mobilenet_v2, efficientnet_b0: stem and first reducing block of stride 1;
    * convnext_tiny: 3×3 stem of stride 1 instead of 4×4 patches.
    """
    channels = shape[0]
    cifar = options.pop("stem", "imagenet") == "cifar"
    defaults_of_layers = options.pop("init", "library") == "pytorch"
    transition_relu = options.pop("transition_relu", True)
    arguments = {_ARGUMENT.get(key, key): value for key, value in options.items()}
    body = getattr(load("torchvision.models"), name)(weights=None, num_classes=num_classes, **arguments)
    if cifar:
        _shrink_strides(name, body)
    if not transition_relu:
        without_transition_relu(body)
    if cifar or channels != 3:
        _replace_first_conv(name, body, channels, small=cifar)
    if defaults_of_layers:
        for module in body.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.reset_parameters()
    return Wrapped(body)


def _shrink_strides(name: str, body: Any) -> None:
    if name in ("resnet18", "resnet34", "resnet50"):
        body.maxpool = nn.Identity()
    elif name == "densenet121":
        bare_stem(body)
    elif name == "mobilenet_v2":
        body.features[2].conv[1][0].stride = (1, 1)
    elif name == "efficientnet_b0":
        body.features[2][0].block[1][0].stride = (1, 1)


def _replace_first_conv(name: str, body: nn.Module, channels: int, small: bool) -> None:
    """A first convolution for `channels`, initialised as torchvision does; 3×3 of stride 1 if `small`."""
    path, old = next((path, m) for path, m in body.named_modules() if isinstance(m, nn.Conv2d))
    kernel, stride, padding = (3, 1, 1) if small else (old.kernel_size[0], old.stride[0], old.padding[0])
    assert isinstance(padding, int)
    new = nn.Conv2d(channels, old.out_channels, kernel, stride, padding, bias=old.bias is not None)
    _initialise(name, new.weight)
    if new.bias is not None:
        nn.init.zeros_(new.bias)
    body.set_submodule(path, new)


def _initialise(name: str, weight: Tensor) -> None:
    if name == "convnext_tiny":
        nn.init.trunc_normal_(weight, std=0.02)
    elif name in ("inception_v3", "googlenet"):
        nn.init.trunc_normal_(weight, std=0.1 if name == "inception_v3" else 0.01, a=-2, b=2)
    elif name == "densenet121":
        nn.init.kaiming_normal_(weight)
    elif name != "shufflenet_v2_x1_0":  # which has PyTorch's default
        nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu")


def bare_stem(body: Any) -> None:
    """Leave out batch norm, ReLU and max-pooling of the stem: the first dense layer begins with the first two."""
    for name in ("norm0", "relu0", "pool0"):
        body.features.set_submodule(name, nn.Identity())


def without_transition_relu(body: Any) -> None:
    """Leave out the ReLU of each transition, which Huang et al. 2017 do not mention (Sec. 3), and their code has."""
    for name, _ in body.features.named_children():
        if name.startswith("transition"):
            body.features.set_submodule(f"{name}.relu", nn.Identity())


def inception_v4(num_classes: int, shape: Shape, dropout: float) -> Wrapped:
    """Timm's, with TF-Slim's initialisation (variance 2 / fan-in) and dropout, and PyTorch's BN decay."""
    timm = load("timm")
    body = timm.create_model(
        "inception_v4", pretrained=False, num_classes=num_classes, in_chans=shape[0], drop_rate=dropout
    )
    for module in body.modules():
        if isinstance(module, nn.Conv2d):
            variance_scaling_(module.weight, scale=2.0)
    return Wrapped(body)


def densenet_bc_100_12(num_classes: int, shape: Shape) -> Wrapped:
    """DenseNet-BC of depth 100 and k = 12 for CIFAR (Huang et al. 2017): 3×3 stem of 24 channels, three blocks of 16
    layers, compression 0.5; total stride 4.

    769,162 parameters at K = 10. Convolutions are initialised as He et al. 2015, by fan-out.
    """
    library = load("torchvision.models")
    body = library.DenseNet(growth_rate=12, block_config=(16, 16, 16), num_init_features=24, num_classes=num_classes)
    body.features.conv0 = nn.Conv2d(shape[0], 24, 3, padding=1, bias=False)
    bare_stem(body)
    for module in body.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
    return Wrapped(body)


_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[torch.library.Library] = []  # a Library that is collected takes its operators with it


def _extension_loads(folder: str) -> bool:
    found = FileFinder(folder, (ExtensionFileLoader, EXTENSION_SUFFIXES)).find_spec("_C")
    if found is None or found.origin is None:
        return False
    try:
        torch.ops.load_library(found.origin)  # type: ignore[no-untyped-call]
    except OSError:
        return False
    return True


def load(module: str = "torchvision") -> ModuleType:
    """Import `module`: torchvision, a part of it, or a package that imports it (timm).

    Raises:
        SoftlabelsError: the package is not installed.
    """
    found = importlib.util.find_spec("torchvision")
    if found is None or not found.submodule_search_locations:
        raise SoftlabelsError("torchvision is not installed, and this network needs it: pip install torchvision")
    folder = found.submodule_search_locations[0]
    if not hasattr(torch.ops.torchvision, "nms") and not _extension_loads(folder):
        library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for operator in _OPERATORS:
            library.define(operator)  # type: ignore[no-untyped-call]
        _declared.append(library)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise SoftlabelsError(
            f"{error.name} is not installed, and this network needs it: pip install {error.name}"
        ) from None
