"""The networks by name: what each can be told, and what one forward pass of it costs. No torch here.

All that planning knows of a network is its entry in `networks.MODELS`; `softlabels.models.build` makes it. Operations
are arithmetic for some of the networks written in this project and counted constants for all others; a test compares
both with the networks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from softlabels.errors import SpecError
from softlabels.grid.zoo.networks import MODELS
from softlabels.grid.zoo.options import Counted, Option, Shape

if TYPE_CHECKING:  # which asks here for torchvision's weights
    from softlabels.grid.spec import ModelSpec

__all__ = [
    "MODELS", "OPTIONS", "STAGED", "check_options", "forward_flops", "parameters", "smallest_side", "stage_shapes",
    "with_defaults",
]  # fmt: skip

OPTIONS: Mapping[str, Mapping[str, Option]] = {name: info.options for name, info in MODELS.items()}
STAGED = tuple(name for name, info in MODELS.items() if info.stages)
"""Networks whose stages are declared."""


def check_options(
    name: str,
    options: Mapping[str, Any] | Iterable[tuple[str, Any]],
    networks: Mapping[str, Mapping[str, Option]] = OPTIONS,
) -> None:
    """Refuse a network that is not among `networks`, or an option that it does not have or cannot take.

    An import path (`package.module:factory`) is let through where images are classified: only its import can tell.

    Raises:
        SpecError: naming the network or option and what it may be.
    """
    if ":" in name and networks is OPTIONS:
        return
    known = networks.get(name)
    if known is None:
        own = ", or an import path package.module:factory" if networks is OPTIONS else ""
        raise SpecError(f"model.name: {name!r} is unknown; choose one of {', '.join(networks)}{own}")
    for key, value in dict(options).items():
        option = known.get(key)
        if option is None:
            allowed = f"its options are {', '.join(known)}" if known else "it has no options"
            raise SpecError(f"model.options.{key}: {name} has no such option; {allowed}")
        if not option.kind.accepts(value):
            raise SpecError(f"model.options.{key} of {name} must be {option.kind.words}, not {value!r}")


def with_defaults(model: ModelSpec, networks: Mapping[str, Mapping[str, Option]] = OPTIONS) -> dict[str, Any]:
    """Every option of a network, given or default.

    Raises:
        SpecError: as `check_options`.
    """
    check_options(model.name, model.options, networks)
    return {key: option.default for key, option in networks[model.name].items()} | dict(model.options)


def smallest_side(model: ModelSpec) -> int:
    """Smallest height and width in pixels of images that a network can take; 1 for an import path and where only its
    making can tell."""
    if model.name not in MODELS:
        return 1
    least = MODELS[model.name].min_side
    return -(-least // 4) if dict(model.options).get("stem") == "cifar" else least


def _counted(model: ModelSpec) -> Counted:
    """The counts of a network that was counted, of its stem if it has a choice."""
    stem = with_defaults(model).get("stem")
    return next(counted for counted in MODELS[model.name].counted if stem in (None, counted.stem))


def forward_flops(model: ModelSpec, shape: Shape, num_classes: int) -> float | None:
    """Floating-point operations of one forward pass of one image (a multiply-add is two).

    Convolutions and matrix products only. Exact for networks whose cost is arithmetic; for the others the body's count
    is scaled with H·W from the size it was taken at.

    Returns:
        None for an import path.

    Raises:
        SpecError: as `check_options`.
    """
    if ":" in model.name:
        return None
    options, info = with_defaults(model), MODELS[model.name]
    if info.cost is not None:
        return float(info.cost({**info.given, **options}, shape, num_classes))
    counted = _counted(model)
    scale = shape[1] * shape[2] / counted.side**2
    return counted.body_flops * scale + 2 * counted.features * num_classes


def parameters(model: ModelSpec, shape: Shape, num_classes: int) -> int | None:
    """Trained numbers of a network with a head for K classes; None for an import path.

    Exact for those counted once, of RGB images; but for biases and normalisation also for fully connected and residual
    networks. For the others one weight per multiply-add, which is more than they have.
    """
    info = MODELS.get(model.name)
    if info is not None and info.counted:
        counted = _counted(model)
        return counted.body_parameters + (counted.features + 1) * num_classes
    flops = forward_flops(model, (shape[0], 1, 1) if info and info.one_pixel_each else shape, num_classes)
    return None if flops is None else int(flops / 2)


def stage_shapes(model: ModelSpec, shape: Shape) -> tuple[Shape, ...]:
    """(C, H, W) of what enters the last ReLU of each stage, for images (C, H, W).

    Raises:
        SpecError: the stages of this network are not declared, or it is unknown.
    """
    stages = MODELS[model.name].stages if model.name in MODELS else None
    if stages is None:
        raise SpecError(
            f"targets.features: the stages of {model.name} are not declared; they are of {', '.join(STAGED)}"
        )
    return stages(with_defaults(model), shape)
