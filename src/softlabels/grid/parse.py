"""YAML and JSON values to specs, by pydantic: an unknown key or a wrong type is an error of one sentence.

The inverse of `to_dict`: `from_dict(type(x), to_dict(x), where) == x`.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import math
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from softlabels.errors import SpecError

T = TypeVar("T")
Count = Annotated[int, Field(ge=1)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""Hexadecimal."""
STRICT = ConfigDict(extra="forbid", strict=True)
"""Of all specs: no key is overlooked, no value is turned into one of another type but whole numbers into numbers."""


def from_dict(cls: type[T], value: Any, where: str) -> T:
    """An object of `cls` from plain values; `where` is "file: dotted.key". What is one already stays as it is.

    Raises:
        SpecError: one sentence that names file and key and says what is allowed there.
    """
    try:
        return typing.cast(T, _built(cls, value, where))
    except (ValidationError, SpecError):
        return typing.cast(T, _validated(cls, value, where))  # which says what is wrong


def check_part(classes: Iterable[type], value: Mapping[str, Any], where: str, also: tuple[str, ...] = ()) -> None:
    """Check the fields that are given of something that is not whole, of the class that knows most of them.

    Args:
        also: further keys, which have no class.

    Raises:
        SpecError: as `from_dict`.
    """
    hints = [_hints(cls) for cls in classes]
    known = max(hints, key=lambda found: len(found.keys() & value.keys()))
    for name, item in value.items():
        if name not in {*known, *also}:
            raise SpecError(f"{where} has no key {name!r}; allowed: {', '.join([*known, *also])}")
        if name in known:
            _validated(known[name], item, key(where, name))


def to_dict(value: Any) -> Any:
    """A spec as plain JSON values, fields at their default left out (the `kind` of a union is kept)."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        result = {}
        for f in dataclasses.fields(value):
            item = getattr(value, f.name)
            default = f.default if f.default_factory is dataclasses.MISSING else f.default_factory()
            if f.name == "kind" or default is dataclasses.MISSING or item != default:
                result[f.name] = {name: to_dict(v) for name, v in item} if f.name == "options" else to_dict(item)
        return result
    if isinstance(value, tuple):
        return [to_dict(v) for v in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)  # 1 and 1.0 are one value
    return value


def rule(condition: bool, message: str) -> None:
    """A rule of what stands somewhere in a file: `from_dict` says where.

    Raises:
        PydanticCustomError: the condition does not hold.
    """
    if not condition:
        raise PydanticCustomError("rule", "{message}", {"message": message})


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


def freeze(value: Any) -> Any:
    """Lists as tuples and mappings as sorted pairs, so that a spec can be hashed."""
    if isinstance(value, Mapping):
        return tuple((str(name), freeze(value[name])) for name in sorted(value))
    if isinstance(value, list | tuple):
        return tuple(freeze(v) for v in value)
    return value


# ---------------------------------------------------------------- validation


def _built(hint: Any, value: Any, where: str) -> Any:
    """As `_validated`, but what is built already, like a teacher's run in a student's, is not built again."""
    if dataclasses.is_dataclass(value) and isinstance(value, tuple(_members(hint))):
        return value
    if not _holds_built(value):
        return _from_json(hint, _plain(value, where))
    classes = {getattr(cls, "kind", None): cls for cls in _members(hint)}
    cls: Any = next(iter(classes.values())) if len(classes) == 1 else classes.get(value.get("kind"))
    hints = _hints(cls)
    if not value.keys() <= hints.keys():
        raise SpecError(f"{where} has an unknown key")
    return cls(**{name: _built(hints[name], item, key(where, name)) for name, item in value.items()})


def _from_json(hint: Any, plain: Any) -> Any:
    # By way of JSON, because strict Python takes no list for a tuple and no mapping for a dataclass.
    return _adapter(hint).validate_json(json.dumps(plain))


def _holds_built(value: Any) -> bool:
    """Whether something in a mapping is built already."""
    return isinstance(value, dict) and any(dataclasses.is_dataclass(v) or _holds_built(v) for v in value.values())


def _validated(hint: Any, value: Any, where: str) -> Any:
    plain = _plain(value, where)
    try:
        return _from_json(hint, plain)
    except ValidationError as error:
        raise SpecError(_sentence(error.errors(include_url=False), hint, value, where)) from None
    except SpecError as error:  # a rule of the spec itself, which does not know its file
        raise SpecError(f"{where.removesuffix(':')}: {error}") from None


@functools.cache
def _adapter(hint: Any) -> TypeAdapter[Any]:
    return TypeAdapter(hint, config=None if dataclasses.is_dataclass(hint) else STRICT)


def _plain(value: Any, where: str) -> Any:
    """A value as JSON knows it, specs that are built already among it.

    Raises:
        SpecError: a date, which YAML reads without being asked, or a number that is infinite or none.
    """
    if isinstance(value, Mapping):
        return {str(name): _plain(item, key(where, str(name))) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if not isinstance(value, str | int | float | None) or (isinstance(value, float) and not math.isfinite(value)):
        raise SpecError(
            f"{where.removesuffix(':')} must be a text, a finite number, a list or a mapping, not {_say(value)}"
        )
    return value


# ---------------------------------------------------------------- what is wrong, in a sentence

_WORDS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a number",
    "string_type": "a text",
    "bool_type": "true or false",
    "none_required": "null",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "dataclass_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "literal_error": "{expected}",
    "union_tag_invalid": "one of {expected_tags}",
    "greater_than": "> {gt}",
    "greater_than_equal": "≥ {ge}",
    "less_than": "< {lt}",
    "less_than_equal": "≤ {le}",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
    "string_pattern_mismatch": "a text that matches {pattern}",
}
"""What a value must be, by pydantic's name of the error."""
_RANKS = {"unexpected_keyword_argument": 0, "missing": 1, "union_tag_not_found": 1}


def _sentence(errors: list[ErrorDetails], hint: Any, value: Any, where: str) -> str:
    """The fault that explains most: an unknown key, else a missing one, else a wrong value."""
    first = min(errors, key=lambda e: _RANKS.get(e["type"], 2))
    path = _path(first["loc"], value)
    names = path[:-1] if _RANKS.get(first["type"]) == 0 else path
    for part in names:
        where = f"{where}[{part}]" if isinstance(part, int) else key(where, part)
    if _RANKS.get(first["type"]) == 0:
        allowed = _fields_at(hint, first["loc"][:-1])
        return f"{where.removesuffix(':')} has no key {path[-1]!r}; allowed: {', '.join(allowed)}"
    if first["type"] == "missing" and isinstance(first["loc"][-1], int):  # of a list of fixed length
        length = 1 + max(e["loc"][-1] for e in errors if e["type"] == "missing" and isinstance(e["loc"][-1], int))
        return f"{where} must be a list of {length} values, not {_say(first['input'])}"
    if first["type"] in ("missing", "union_tag_not_found"):
        return f"{key(where, 'kind' if first['type'] != 'missing' else str(first['loc'][-1]))} is missing"
    if first["type"] == "union_tag_invalid":
        where, first["input"] = key(where, "kind"), first["input"]["kind"]
    same = [e for e in errors if _path(e["loc"], value) == path and e["input"] == first["input"]]
    if broken := next((e["msg"] for e in same if e["type"] == "rule"), None):
        return f"{where.removesuffix(':')}: {broken}"
    if first["type"] == "dataclass_type":
        keys = ", ".join(_fields_at(hint, first["loc"]))
        return f"{where.removesuffix(':')} must be a mapping with the keys {keys}, not {_say(first['input'])}"
    wanted = dict.fromkeys(
        _WORDS[e["type"]].format(**e.get("ctx", {})) if e["type"] in _WORDS else e["msg"] for e in same
    )
    return f"{where.removesuffix(':')} must be {' or '.join(wanted)}, not {_say(first['input'])}"


def _path(loc: tuple[int | str, ...], value: Any) -> list[int | str]:
    """Keys and indices of a place in `value`, without the names that pydantic gives to members of unions."""
    path: list[int | str] = []
    for part in loc:
        is_key = isinstance(value, Mapping) and part in value
        if is_key or (isinstance(value, list | tuple) and isinstance(part, int) and part < len(value)):
            path.append(part)
            value = value[part]
    return path


def _fields_at(hint: Any, loc: tuple[int | str, ...]) -> list[str]:
    """The keys of the class at a place."""
    found = _members(hint)
    for part in loc:
        tagged = [h for h in found if getattr(h, "kind", None) == part or getattr(h, "__name__", None) == part]
        below = [m for h in found for m in _below(h, part)]
        found = tagged or below or found
    return list(dict.fromkeys(name for h in found for name in _hints(h)))


def _below(hint: Any, part: int | str) -> list[Any]:
    if part in (hints := _hints(hint)):
        return _members(hints[part])
    arguments = [a for a in typing.get_args(hint) if a is not Ellipsis]
    return _members(arguments[-1]) if arguments else []


def _members(hint: Any) -> list[Any]:
    """Of a union, all; without `Annotated`."""
    if typing.get_origin(hint) is typing.Annotated:
        return _members(typing.get_args(hint)[0])
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [m for a in typing.get_args(hint) for m in _members(a)]
    return [hint]


@functools.cache
def _hints(hint: Any) -> dict[str, Any]:
    if not dataclasses.is_dataclass(hint):
        return {}
    hints = typing.get_type_hints(hint, include_extras=True)
    return {f.name: hints[f.name] for f in dataclasses.fields(hint)}


def _say(value: Any) -> str:
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) < 80 else f"{text[:77]}…"
