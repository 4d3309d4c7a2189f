"""The modules at which the stages of a network end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import Tensor, nn

from softlabels.errors import SpecError
from softlabels.grid.stages import STAGED


class Stage(NamedTuple):
    """The end of a stage."""

    relu: nn.ReLU
    """What last enters it in a forward pass are the features of the stage."""
    norm: nn.BatchNorm2d
    """The batch norm before it: the only one, or in a residual block that of its own branch."""


def stages(network: Any, name: str) -> list[Stage]:
    """The stages of a network of the zoo, shallow first; their shapes are those of `grid.stages.stage_shapes`.

    Their ReLUs no longer work in place, or features would be lost as soon as they are there. No number changes.

    Raises:
        SpecError: the stages of this network are not declared.
    """
    if name == "small_cnn":
        layers = list(network.convolutions)
        found = [Stage(layers[i + 2], layers[i + 1]) for i in range(0, len(layers), 4)]
    elif name in ("resnet18", "resnet50"):
        blocks = [getattr(network.body, f"layer{number}")[-1] for number in (1, 2, 3, 4)]
        found = [Stage(block.relu, block.bn2 if name == "resnet18" else block.bn3) for block in blocks]
    else:
        raise SpecError(f"targets.features: the stages of {name} are not declared; they are of {', '.join(STAGED)}")
    for stage in found:
        stage.relu.inplace = False
    return found


@contextmanager
def recorded(found: Sequence[Stage]) -> Iterator[list[Tensor]]:
    """The features `[B, C, H, W]` of each stage, as the forward pass inside the block leaves them."""
    features: list[Tensor] = [Tensor()] * len(found)

    def keep(number: int) -> Any:
        # A block of a ResNet uses one ReLU several times, the last time after the addition.
        return lambda module, entering: features.__setitem__(number, entering[0])

    handles = [stage.relu.register_forward_pre_hook(keep(number)) for number, stage in enumerate(found)]
    try:
        yield features
    finally:
        for handle in handles:
            handle.remove()
