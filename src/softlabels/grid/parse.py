"""Plain values (YAML, JSON) to specs and nothing in between: an unknown key or a wrong type is an error.

The inverse of `spec.to_dict`: `from_dict(type(x), to_dict(x), where) == x`.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from softlabels.errors import SpecError
from softlabels.grid.spec import Run, RunSpec, TranslationSpec

T = TypeVar("T")


def from_dict(cls: type[T], value: Any, where: str) -> T:
    """A dataclass of `grid.spec` or `grid.probes` from plain values; `where` is "file: dotted.key".

    Raises:
        SpecError: one sentence that names file and key and lists what is allowed there.
    """
    return typing.cast(T, _dataclass(cls, value, where))


def run_from(value: Any, where: str) -> Run:
    """The spec of a run of either task (raises as `from_dict`)."""
    is_translation = isinstance(value, Mapping) and value.get("task") == "translation"
    return from_dict(TranslationSpec, value, where) if is_translation else from_dict(RunSpec, value, where)


def key(where: str, name: str) -> str:
    """The dotted key of a field inside `where`."""
    return f"{where} {name}" if where.endswith(":") else f"{where}.{name}"


def require_known(name: Any, names: Iterable[str], where: str, what: str) -> None:
    """Refuse a name that is not among `names`, which are `what`.

    Raises:
        SpecError: one sentence with the nearest name that there is.
    """
    known = list(names)
    if name not in known:
        nearest = difflib.get_close_matches(str(name), known, 1, cutoff=0)
        raise SpecError(
            f"{where}: {_say(name)} is not among {what}" + (f"; the nearest is {nearest[0]!r}" if nearest else "")
        )


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


@functools.cache
def _fields(cls: type) -> tuple[dataclasses.Field[Any], ...]:
    return tuple(f for f in dataclasses.fields(cls) if f.init)


def _dataclass(cls: type, value: Any, where: str) -> Any:
    if isinstance(value, cls):  # built already
        return value
    names = [f.name for f in _fields(cls)]
    if not isinstance(value, Mapping):
        raise SpecError(f"{where} must be a mapping with the keys {', '.join(names)}, not {_say(value)}")
    for name in value:
        if name not in names:
            raise SpecError(f"{where} has no key {name!r}; allowed: {', '.join(names)}")
    for f in _fields(cls):
        needed = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if needed and f.name not in value:
            raise SpecError(f"{key(where, f.name)} is missing")
    hints = _hints(cls)
    given = {
        name: _options(item, key(where, name))
        if (cls.__name__, name) == ("ModelSpec", "options")
        else _value(hints[name], item, key(where, name))
        for name, item in value.items()
    }
    try:
        return cls(**given)
    except SpecError as error:  # a rule of the spec itself, which does not know its file
        raise SpecError(f"{where}: {error}") from None


def _value(hint: Any, value: Any, where: str) -> Any:
    """Check `value` against a type hint and build what it describes."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return freeze(value)
    if dataclasses.is_dataclass(hint):
        return _dataclass(typing.cast(type, hint), value, where)
    if origin is typing.Literal:
        if any(value is a or (type(value) is type(a) and value == a) for a in args):
            return value
    elif origin is tuple:
        if isinstance(value, list | tuple):
            if args[-1] is Ellipsis:
                return tuple(_value(args[0], v, f"{where}[{i}]") for i, v in enumerate(value))
            if len(value) == len(args):
                return tuple(_value(a, v, f"{where}[{i}]") for i, (a, v) in enumerate(zip(args, value, strict=True)))
    elif origin in (typing.Union, types.UnionType):
        return _union(args, value, where)
    elif hint is float:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    elif type(value) is hint or (hint is type(None) and value is None):
        return value
    raise SpecError(f"{where} must be {_describe(hint)}, not {_say(value)}")


def _union(args: tuple[Any, ...], value: Any, where: str) -> Any:
    classes = tuple(a for a in args if dataclasses.is_dataclass(a))
    if classes and isinstance(value, Mapping):
        return _dataclass(_member(classes, value, where), value, where)
    # An int that may also be a float stays an int (a holdout of 1000 is a count), so the exact type goes first.
    for hint in sorted(args, key=lambda a: a is float):
        try:
            return _value(hint, value, where)
        except SpecError:
            continue
    raise SpecError(f"{where} must be {' or '.join(_describe(a) for a in args)}, not {_say(value)}")


def _member(classes: tuple[Any, ...], value: Mapping[str, Any], where: str) -> type:
    """The class of a tagged union: by its `kind`, or by the key that only this class has."""
    kinds = {c.kind: c for c in classes if hasattr(c, "kind")}
    if kinds:
        if value.get("kind") not in kinds:
            raise SpecError(f"{key(where, 'kind')} must be one of {', '.join(kinds)}, not {_say(value.get('kind'))}")
        return typing.cast(type, kinds[value["kind"]])
    for name in ("weights", "logits", "torchvision", "label"):
        if name in value:
            return next((c for c in classes if name in {f.name for f in _fields(c)}), typing.cast(type, classes[0]))
    if value.get("task") == "translation":
        return TranslationSpec
    return typing.cast(type, classes[0])


def _options(value: Any, where: str) -> tuple[tuple[str, Any], ...]:
    """Options of a network: a mapping, kept as sorted pairs so that their order means nothing."""
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise SpecError(f"{where} must be a mapping of option names to values, not {_say(value)}")
    return tuple((name, freeze(value[name])) for name in sorted(value))


def freeze(value: Any) -> Any:
    """Lists as tuples and mappings as sorted pairs, so that a spec can be hashed."""
    if isinstance(value, Mapping):
        return tuple((str(name), freeze(value[name])) for name in sorted(value))
    if isinstance(value, list | tuple):
        return tuple(freeze(v) for v in value)
    return value


def _describe(hint: Any) -> str:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return " or ".join(map(repr, args))
    if origin is tuple:
        many = args[-1] is Ellipsis
        return f"a list of {_describe(args[0]) if many else len(args)}{'' if many else ' values'}"
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(hint, f"a mapping ({getattr(hint, '__name__', hint)})")


def _say(value: Any) -> str:
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) < 80 else f"{text[:77]}…"
