"""Networks: made by name (`grid.zoo.networks`) or import path, all with `features(x)` and `head`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from torch import Tensor

from softlabels.errors import DataError, SpecError
from softlabels.grid.spec import ModelSpec
from softlabels.grid.zoo import MODELS, smallest_side, with_defaults
from softlabels.models import imported
from softlabels.models.network import Network, Wrapped

__all__ = ["Network", "build", "load_weights", "parameter_count"]


def build(model: ModelSpec, num_classes: int, shape: tuple[int, int, int]) -> Network:
    """The network of a spec for K classes and images (C, H, W), on the CPU, in training mode.

    Its weights are a pure function of the global torch seed, which the caller sets.

    Raises:
        SpecError: an unknown network or option, images it cannot take, or an import path that cannot be used.
    """
    if ":" in model.name:
        return imported.build(model.name, num_classes, shape, **dict(model.options))
    options = with_defaults(model)
    least, sides = smallest_side(model), shape[1:]
    if min(sides) < least:
        raise SpecError(
            f"model.name: {model.name} needs images of at least {least} px, not {sides[0]}×{sides[1]}; "
            "choose another network or larger images"
        )
    info = MODELS[model.name]
    module, _, name = info.make.partition(":")
    network: Network = getattr(import_module(f"{__name__}.{module}"), name)(
        num_classes=num_classes, shape=shape, **info.given, **options
    )
    return network


def parameter_count(network: Network) -> int:
    """Number of trainable weights."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def load_weights(network: Network, tensors: Mapping[str, Tensor], source: str, *, head: bool = True) -> None:
    """Put saved tensors into a network; the names may be this project's or those of the wrapped original.

    So a torchvision ResNet trained elsewhere (`conv1.weight`, …, `fc.bias`) can be loaded as it is.

    Args:
        head: False leaves the last layer as it is, whatever the file has for it, if anything.

    Raises:
        DataError: names or shapes differ; the message names `source` and the first difference.
    """
    wanted = network.state_dict()
    names = [tensors] if not isinstance(network, Wrapped) else [tensors, _renamed(network.head_name, tensors)]
    if not head:
        wanted = {name: value for name, value in wanted.items() if not name.startswith("head.")}
        names = [{name: t for name, t in found.items() if not name.startswith("head.")} for found in names]
    problems, found = min(((_differences(wanted, found), found) for found in names), key=lambda pair: len(pair[0]))
    if problems:
        raise DataError(
            f"{source} does not fit the network: {problems[0]} ({len(problems)} differences); "
            "give the weights of the declared model, options and class count"
        )
    network.load_state_dict(dict(found), strict=head)


def _renamed(head_name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors under the names of a wrapped original, under ours."""
    prefix = f"{head_name}."
    return {
        f"head.{name.removeprefix(prefix)}" if name.startswith(prefix) else f"body.{name}": tensor
        for name, tensor in tensors.items()
    }


def _differences(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    problems = [f"{name} is missing" for name in wanted if name not in found]
    problems += [f"{name} belongs to another network" for name in found if name not in wanted]
    first = next((name for name, value in wanted.items() if value.ndim == 4), None)
    for name, value in wanted.items():
        if name in found and found[name].shape != value.shape:
            why = _of_other_images(found[name], value) if name == first else ""
            problems.append(f"{name} has shape {list(found[name].shape)} instead of {list(value.shape)}{why}")
    return problems


def _of_other_images(found: Tensor, wanted: Tensor) -> str:
    """What a first convolution `[O, C, k, k]` of another shape means."""
    if found.ndim == 4 and found.shape[1] != wanted.shape[1]:
        return f", so the weights are of images with {found.shape[1]} channels, not {wanted.shape[1]}"
    if found.ndim == 4 and found.shape[2:] != wanted.shape[2:]:
        return ", so the weights are of another stem (model.options.stem)"
    return ""
