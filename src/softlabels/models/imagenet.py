"""The networks of torchvision and timm, always from scratch, for any number of channels and small images."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from softlabels.models import _torchvision
from softlabels.models.densenet import bare_stem, without_transition_relu
from softlabels.models.network import Wrapped
from softlabels.models.resnet import variance_scaling_

NAMES = (
    "resnet18",
    "resnet34",
    "resnet50",
    "resnext101_32x8d",
    "densenet121",
    "googlenet",
    "shufflenet_v2",
    "mobilenet_v2",
    "efficientnet_b0",
    "convnext_tiny",
    "inception_v3",
    "inception_v4",
)
# torchvision's names, and what its factories need to be told
_FACTORY = {"shufflenet_v2": "shufflenet_v2_x1_0"}
_ARGUMENT = {"stochastic_depth": "stochastic_depth_prob"}
_WITHOUT_AUXILIARY = {"aux_logits": False, "init_weights": True}
_ARGUMENTS: dict[str, dict[str, Any]] = {"googlenet": _WITHOUT_AUXILIARY, "inception_v3": _WITHOUT_AUXILIARY}


def build(name: str, num_classes: int, shape: tuple[int, int, int], **options: Any) -> Wrapped:
    """A network of torchvision, or Inception-v4 of timm.

    `stem: cifar` leaves out the first two halvings, so that the total stride is 8 instead of 32,
    and makes the first kernel 3×3:

    * resnet18, resnet34, resnet50: stem of stride 1, no max-pooling;
    * densenet121: the same, and no batch norm and ReLU before the first dense layer, which begins with these;
    * mobilenet_v2, efficientnet_b0: stem and first reducing block of stride 1;
    * convnext_tiny: 3×3 stem of stride 1 instead of 4×4 patches.

    inception_v4 has TF-Slim's initialisation (variance 2 / fan-in) and dropout, and PyTorch's BN decay.
    """
    channels = shape[0]
    if name == "inception_v4":
        timm = _torchvision.load("timm")
        body = timm.create_model(
            name, pretrained=False, num_classes=num_classes, in_chans=channels, drop_rate=options["dropout"]
        )
        for module in body.modules():
            if isinstance(module, nn.Conv2d):
                variance_scaling_(module.weight, scale=2.0)
        return Wrapped(body)

    cifar = options.pop("stem", "imagenet") == "cifar"
    defaults_of_layers = options.pop("init", "library") == "pytorch"
    transition_relu = options.pop("transition_relu", True)
    arguments = _ARGUMENTS.get(name, {}) | {_ARGUMENT.get(key, key): value for key, value in options.items()}
    factory = getattr(_torchvision.load("torchvision.models"), _FACTORY.get(name, name))
    body = factory(weights=None, num_classes=num_classes, **arguments)
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
    elif name != "shufflenet_v2":  # which has PyTorch's default
        nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu")
