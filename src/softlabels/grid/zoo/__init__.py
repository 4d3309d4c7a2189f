"""The networks by name: what each can be told, and what one forward pass of it costs. No torch here.

`softlabels.models.build` makes them. The forward costs are arithmetic for some of the networks written in this project
(`own`) and counted constants for the others (`cifar`) and for those of torchvision and timm (`library`); a test
compares both with the networks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from softlabels.errors import SpecError
from softlabels.grid.spec import ModelSpec
from softlabels.grid.zoo import cifar, library, own
from softlabels.grid.zoo.library import Counted
from softlabels.grid.zoo.options import ModelInfo
from softlabels.grid.zoo.own import OF_ONE_SIDE

__all__ = [
    "COUNTED", "MODELS", "OF_ONE_SIDE", "check_options", "forward_flops", "parameter_count", "smallest_side",
    "with_defaults",
]  # fmt: skip

MODELS: dict[str, ModelInfo] = {**own.MODELS, **library.MODELS, **cifar.MODELS}
COUNTED: dict[tuple[str, str], Counted] = {**library.COUNTED, **cifar.COUNTED}
"""(name, stem) → counts; of two stems the default comes first."""


def check_options(
    name: str,
    options: Mapping[str, Any] | Iterable[tuple[str, Any]],
    networks: Mapping[str, ModelInfo] = MODELS,
) -> None:
    """Refuse a network that is not among `networks`, or an option that it does not have or cannot take.

    An import path (`package.module:factory`) is let through where images are classified: only its import can tell.

    Raises:
        SpecError: naming the network or option and what it may be.
    """
    if ":" in name and networks is MODELS:
        return
    info = networks.get(name)
    if info is None:
        own = ", or an import path package.module:factory" if networks is MODELS else ""
        raise SpecError(f"model.name: {name!r} is unknown; choose one of {', '.join(networks)}{own}")
    for key, value in dict(options).items():
        option = info.options.get(key)
        if option is None:
            allowed = f"its options are {', '.join(info.options)}" if info.options else "it has no options"
            raise SpecError(f"model.options.{key}: {name} has no such option; {allowed}")
        if not option.kind.accepts(value):
            raise SpecError(f"model.options.{key} of {name} must be {option.kind.words}, not {value!r}")


def with_defaults(model: ModelSpec, networks: Mapping[str, ModelInfo] = MODELS) -> dict[str, Any]:
    """Every option of a network, given or default.

    Raises:
        SpecError: as `check_options`.
    """
    check_options(model.name, model.options, networks)
    return {key: option.default for key, option in networks[model.name].options.items()} | dict(model.options)


def smallest_side(model: ModelSpec) -> int:
    """Smallest height and width in pixels of images that a network can take; 1 for an import path and where only its
    making can tell."""
    if model.name not in MODELS:
        return 1
    least = MODELS[model.name].min_side
    return -(-least // 4) if dict(model.options).get("stem") == "cifar" else least


def _counted(name: str, stem: str | None) -> Counted:
    """The counts of a network that has this stem, or no choice of one.

    Raises:
        KeyError: it was not counted.
    """
    found = [counted for (other, of), counted in COUNTED.items() if other == name and stem in (None, of)]
    if not found:
        raise KeyError(name)
    return found[0]


def forward_flops(model: ModelSpec, shape: tuple[int, int, int], num_classes: int) -> float | None:
    """Floating-point operations of one forward pass of one image (a multiply-add is two).

    Convolutions and matrix products only. `shape` is (C, H, W). Exact for networks whose cost is arithmetic; for the
    others the body's count is scaled with H·W from the size it was taken at.

    Returns:
        None for an import path.

    Raises:
        SpecError: as `check_options`.
    """
    if ":" in model.name:
        return None
    options = with_defaults(model)
    if model.name in own.COSTS:
        return float(own.COSTS[model.name](options, shape, num_classes))
    counted = _counted(model.name, options.get("stem"))
    scale = shape[1] * shape[2] / counted.side**2
    return counted.body_flops * scale + 2 * counted.features * num_classes


def parameter_count(name: str, num_classes: int, stem: str | None = None) -> int:
    """Trained numbers of a network that was counted, for RGB images and with a head for K classes.

    Args:
        stem: None is the network's default.

    Raises:
        KeyError: another network.
    """
    counted = _counted(name, stem)
    return counted.body_parameters + (counted.features + 1) * num_classes
