"""Weights from elsewhere that a run can begin with: files that torchvision publishes, or one of the user's own.

The third source, another run of the grid, needs no class of its own (`grid.spec.Initial`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator
from pydantic.dataclasses import dataclass

from softlabels.errors import SpecError, require
from softlabels.grid.parse import STRICT, Sha256
from softlabels.grid.zoo import MODELS

IMAGENET_CLASSES = 1000
"""K of all weights of torchvision, in the order of an image folder of ImageNet: sorted by wnid."""


def _named(classes: object) -> object:
    """Folders named 1, 2, 10 are numbers in YAML."""
    return tuple(str(c) if type(c) is int else c for c in classes) if isinstance(classes, list) else classes


ClassNames = Annotated[tuple[str, ...] | None, BeforeValidator(_named)]
"""Names of classes, in the order of a network's outputs."""


def require_distinct(classes: tuple[str, ...] | None, where: str) -> None:
    """Refuse a class that is named twice.

    Raises:
        SpecError: one is.
    """
    for name in classes or ():
        require((classes or ()).count(name) == 1, f"{where}: {name!r} is named twice")


@dataclass(frozen=True, config=STRICT)
class TorchvisionWeights:
    """Weights that torchvision publishes for the run's own network; `torchvision` is the name of the entry."""

    torchvision: str
    """IMAGENET1K_V1, say."""


@dataclass(frozen=True, config=STRICT)
class UserWeights:
    """Weights trained elsewhere for the run's own network: a safetensors file."""

    weights: str
    """Path of a safetensors file."""
    sha256: Sha256
    """SHA-256 of that file."""
    classes: ClassNames = None
    """Names of its outputs, in their order, where the head is kept; None: the order of the data set."""
    trust: bool = False
    """Keep the head even where the labels of the training images speak against it (`metrics.agreement`)."""

    def __post_init__(self) -> None:
        require_distinct(self.classes, "classes")


def torchvision_file(model: str, options: Mapping[str, object], entry: str) -> str:
    """The file that holds the weights of a network of the zoo.

    Raises:
        SpecError: torchvision publishes none of this network, or none of this name, or the options make another one.
    """
    entries = MODELS[model].weights if model in MODELS else {}
    if not entries:
        having = [name for name, info in MODELS.items() if info.weights]
        raise SpecError(f"initial: torchvision has weights of {', '.join(having)}, not of {model}")
    if entry not in entries:
        raise SpecError(f"initial: torchvision has no {entry!r} of {model}; there is {', '.join(entries)}")
    if options.get("stem") == "cifar":
        raise SpecError(
            f"initial: torchvision's {model} has the stem for large images; leave out model.options.stem: cifar"
        )
    return entries[entry]


def published_as(file: str) -> tuple[str, str]:
    """(network, entry) of a file of torchvision, by its name without the ending.

    Raises:
        SpecError: no such file.
    """
    files = {f: (model, entry) for model, info in MODELS.items() for entry, f in info.weights.items()}
    known = {name.rpartition(".")[0]: which for name, which in files.items()}
    if file not in known:
        raise SpecError(f"there are no weights {file!r} of torchvision; there are {', '.join(known)}")
    return known[file]
