"""Networks of the user's own, named by an import path."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from softlabels.errors import SpecError
from softlabels.import_string import function
from softlabels.models.network import Network, Wrapped

_EXPECTED = (
    "expected is a torch module that maps [N, C, H, W] to logits [N, K] and ends in a linear layer "
    "(or has a method features and a linear layer head with forward(x) = head(features(x)))"
)


def build(path: str, num_classes: int, shape: tuple[int, int, int], **options: Any) -> Network:
    """Import `package.module:factory` and call `factory(num_classes=K, shape=(C, H, W), **options)`.

    The current directory is searched last. A module without the convention of `Network` is wrapped: its
    last linear layer becomes the head. Both are checked on one image.

    Raises:
        SpecError: no such module or factory, the factory failed, or what it made cannot be used.
    """
    factory = function(path, "model.name", "makes the network")
    try:
        module = factory(num_classes=num_classes, shape=shape, **options)
    except Exception as error:
        raise SpecError(
            f"model.name: {path} failed with num_classes={num_classes}, shape={shape} and options {options}: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(module, nn.Module):
        raise SpecError(f"model.name: {path} made a {type(module).__name__}; {_EXPECTED}")
    return _conform(path, module, num_classes, shape)


def _conform(path: str, module: nn.Module, num_classes: int, shape: tuple[int, int, int]) -> Network:
    """`module` as a Network, checked on one image in evaluation mode (where nothing random happens)."""
    training = module.training
    module.eval()
    image = torch.linspace(-1, 1, shape[0] * shape[1] * shape[2]).reshape(1, *shape)
    with torch.no_grad():
        try:
            logits = module(image)
        except Exception as error:
            raise SpecError(
                f"model.name: the network of {path} fails on one image of shape {shape}: "
                f"{type(error).__name__}: {error}"
            ) from error
        if not isinstance(logits, Tensor) or logits.shape != (1, num_classes):
            found = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise SpecError(
                f"model.name: the network of {path} gives {found} for one image where [1, {num_classes}] "
                f"is needed (the data have {num_classes} classes)"
            )
        network: Any = module
        if not _follows_convention(network, image, logits):
            try:
                network = Wrapped(module)
            except ValueError:
                raise SpecError(f"model.name: the network of {path} has no linear layer inside; {_EXPECTED}") from None
            if not _follows_convention(network, image, logits):
                raise SpecError(
                    f"model.name: the network of {path} does not make its logits by its last linear layer; {_EXPECTED}"
                )
    network.train(training)
    result: Network = network
    return result


def _follows_convention(network: Any, image: Tensor, logits: Tensor) -> bool:
    if not callable(getattr(network, "features", None)) or not isinstance(getattr(network, "head", None), nn.Linear):
        return False
    try:
        features = network.features(image)
        return features.ndim == 2 and torch.allclose(network.head(features), logits, rtol=1e-4, atol=1e-5)
    except Exception:  # another meaning of these names
        return False
