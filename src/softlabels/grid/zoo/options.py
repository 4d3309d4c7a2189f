"""What a network can be told: kinds of values, options with their defaults, and what several networks share."""

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


@dataclass(frozen=True)
class ModelInfo:
    """A network of the zoo."""

    note: str
    options: Mapping[str, Option] = field(default_factory=dict)
    min_side: int = 1
    """Smallest height and width in pixels that the network can take; a quarter of it with `stem: cifar`."""


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
