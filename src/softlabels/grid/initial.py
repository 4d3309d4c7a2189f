"""Weights from elsewhere that a run can begin with: files that torchvision publishes, or one of the user's own.

The third source, another run of the grid, needs no class of its own (`grid.spec.Initial`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from softlabels.errors import SpecError

IMAGENET_CLASSES = 1000
"""K of all weights of torchvision, in the order of an image folder of ImageNet: sorted by wnid."""
TORCHVISION: dict[str, dict[str, str]] = {
    "resnet18": {"IMAGENET1K_V1": "resnet18-f37072fd.pth"},
    "resnet50": {"IMAGENET1K_V1": "resnet50-0676ba61.pth", "IMAGENET1K_V2": "resnet50-11ad3fa6.pth"},
    "mobilenet_v2": {"IMAGENET1K_V1": "mobilenet_v2-b0353104.pth", "IMAGENET1K_V2": "mobilenet_v2-7ebf99e0.pth"},
    "efficientnet_b0": {"IMAGENET1K_V1": "efficientnet_b0_rwightman-7f5810bc.pth"},
    "convnext_tiny": {"IMAGENET1K_V1": "convnext_tiny-983f1562.pth"},
}
"""Network → entry of its weights → torchvision's file, whose name ends in the beginning of its SHA-256. A test compares
them with torchvision's. Not Inception v3: its published weights want pictures that are normalised in their own way."""


@dataclass(frozen=True)
class TorchvisionWeights:
    """Weights that torchvision publishes for the run's own network; `torchvision` is the name of the entry."""

    torchvision: str


@dataclass(frozen=True)
class UserWeights:
    """Weights trained elsewhere for the run's own network: a safetensors file."""

    weights: str
    sha256: str


def torchvision_file(model: str, options: Mapping[str, object], entry: str) -> str:
    """The file that holds the weights of a network of the zoo.

    Raises:
        SpecError: torchvision publishes none of this network, or none of this name, or the options make another one.
    """
    if model not in TORCHVISION:
        raise SpecError(f"initial: torchvision has weights of {', '.join(TORCHVISION)}, not of {model}")
    if entry not in TORCHVISION[model]:
        raise SpecError(f"initial: torchvision has no {entry!r} of {model}; there is {', '.join(TORCHVISION[model])}")
    if options.get("stem") == "cifar":
        raise SpecError(
            f"initial: torchvision's {model} has the stem for large pictures; leave out model.options.stem: cifar"
        )
    return TORCHVISION[model][entry]


def published_as(file: str) -> tuple[str, str]:
    """(network, entry) of a file of torchvision, by its name without the ending.

    Raises:
        SpecError: no such file.
    """
    for model, entries in TORCHVISION.items():
        for entry, name in entries.items():
            if name.rpartition(".")[0] == file:
                return model, entry
    known = ", ".join(name.rpartition(".")[0] for entries in TORCHVISION.values() for name in entries.values())
    raise SpecError(f"there are no weights {file!r} of torchvision; there are {known}")
