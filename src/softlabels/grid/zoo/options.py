"""What is declared of a network: options with their defaults, costs, and what makes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Kind(NamedTuple):
    """What a value may be: in words, and as a predicate."""

    words: str
    accepts: Callable[[Any], bool]


class Option(NamedTuple):
    """One thing a network can be told."""

    kind: Kind
    default: Any
    help: str


Shape = tuple[int, int, int]
"""(C, H, W)."""


class Counted(NamedTuple):
    """A network counted once: floating-point operations of the body for one RGB image of `side` px."""

    stem: str
    side: int
    body_flops: int
    features: int
    """d: inputs of the head."""
    body_parameters: int
    """Trained numbers of all but the head."""


@dataclass(frozen=True)
class ModelInfo:
    """A network: what makes it, what it can be told, and what planning knows of it."""

    make: str
    """`<module>:<class or function>` of `softlabels.models`."""
    options: Mapping[str, Option] = field(default_factory=dict)
    given: Mapping[str, Any] = field(default_factory=dict)
    """What `make` is told beside the options."""
    cost: Callable[[Mapping[str, Any], Shape, int], int] | None = None
    """(options, (C, H, W), K) → floating-point operations of one forward pass of one image, by arithmetic."""
    counted: tuple[Counted, ...] = ()
    """Else counts, of the default stem first."""
    min_side: int = 1
    """Smallest height and width in pixels that the network can take; a quarter of it with `stem: cifar`."""
    of_one_side: bool = False
    """It has a layer on all pixels, so that its weights belong to images of one size."""
    one_pixel_each: bool = False
    """On an image of one pixel every weight is used once, so that operations tell weights."""
    stages: Callable[[Mapping[str, Any], Shape], tuple[Shape, ...]] | None = None
    """(options, (C, H, W)) → (C, H, W) of what enters the last ReLU of each stage, for distillation of features."""
    weights: dict[str, str] = field(default_factory=dict)
    """Entry → file that torchvision publishes, whose name ends in the beginning of its SHA-256."""


def _is_size(value: Any) -> bool:
    return type(value) is int and value > 0


def is_number(value: Any) -> bool:
    """A number that is not a truth value."""
    return type(value) in (int, float)


def sizes(least: int, most: int | None = None) -> Kind:
    """A list of `least` to `most` sizes."""

    def accepts(value: Any) -> bool:
        return (
            isinstance(value, list | tuple)
            and least <= len(value) <= (most or len(value))
            and all(map(_is_size, value))
        )

    count = f"{least}" if least == most else f"at least {least}"
    return Kind(f"a list of {count} whole numbers > 0", accepts)


def choice(*names: str) -> Kind:
    """One of some names."""
    return Kind(" or ".join(names), lambda value: value in names)


def or_none(kind: Kind) -> Kind:
    """A kind, or null."""
    return Kind(f"{kind.words}, or null", lambda value: value is None or kind.accepts(value))


SIZE = Kind("a whole number > 0", _is_size)
FRACTION = Kind("a number in [0, 1)", lambda value: is_number(value) and 0 <= value < 1)
FLAG = Kind("true or false", lambda value: isinstance(value, bool))


def dropout(default: float, where: str) -> Option:
    """Dropout of activations."""
    return Option(FRACTION, default, f"probability of dropping an activation {where}")
