"""Networks: made by name or import path, all with `features(x)` and `head`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor

from softlabels.errors import DataError
from softlabels.grid.spec import ModelSpec
from softlabels.grid.zoo import with_defaults
from softlabels.models import imagenet, imported
from softlabels.models.alexnet import AlexNet
from softlabels.models.network import Network, Wrapped
from softlabels.models.resnet import ResNet
from softlabels.models.small import MLP, SmallCNN

__all__ = ["BUILDERS", "Network", "build", "load_weights", "parameter_count"]

BUILDERS: dict[str, Callable[..., Network]] = {
    "mlp": MLP,
    "fc_2x1200": partial(MLP, hidden=(1200, 1200)),
    "fc_2x800": partial(MLP, hidden=(800, 800)),
    "small_cnn": SmallCNN,
    "alexnet": AlexNet,
    "resnet56": ResNet,
    **{name: partial(imagenet.build, name) for name in imagenet.NAMES},
}


def build(model: ModelSpec, num_classes: int, shape: tuple[int, int, int]) -> Network:
    """The network of a spec for K classes and images (C, H, W), on the CPU, in training mode.

    Its weights are a pure function of the global torch seed, which the caller sets.

    Raises:
        SpecError: an unknown network or option, images it cannot take, or an import path that cannot be used.
    """
    if ":" in model.name:
        return imported.build(model.name, num_classes, shape, **dict(model.options))
    options = with_defaults(model)
    return BUILDERS[model.name](num_classes=num_classes, shape=shape, **options)


def parameter_count(network: Network) -> int:
    """Number of trainable weights."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def load_weights(network: Network, tensors: Mapping[str, Tensor], source: str) -> None:
    """Put saved tensors into a network; the names may be this project's or those of the wrapped original.

    So a torchvision ResNet trained elsewhere (`conv1.weight`, …, `fc.bias`) can be loaded as it is.

    Raises:
        DataError: names or shapes differ; the message names `source` and the first difference.
    """
    wanted = network.state_dict()
    if isinstance(network, Wrapped) and f"{network.head_name}.weight" in tensors:
        prefix = network.head_name + "."
        tensors = {
            f"head.{name.removeprefix(prefix)}" if name.startswith(prefix) else f"body.{name}": tensor
            for name, tensor in tensors.items()
        }
    problems = [f"{name} is missing" for name in wanted if name not in tensors]
    problems += [f"{name} belongs to another network" for name in tensors if name not in wanted]
    problems += [
        f"{name} has shape {list(tensors[name].shape)} instead of {list(value.shape)}"
        for name, value in wanted.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    if problems:
        raise DataError(
            f"{source} does not fit the network: {problems[0]} ({len(problems)} differences); "
            "give the weights of the declared model, options and class count"
        )
    network.load_state_dict(dict(tensors))
