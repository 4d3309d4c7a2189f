"""YAML files and their JSON Schemas; every fault becomes one sentence that names file and key."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match
from referencing import Registry, Resource

from softlabels.errors import SpecError
from softlabels.grid.parse import key

SCHEMAS = ("grid", "scale", "config")
_SCIENTIFIC = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Safe YAML that refuses a key given twice, which YAML libraries silently let the last one win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for name, _ in node.value:
            if name.value in seen and name.value != "<<":
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {name.value!r} is given twice", name.start_mark
                )
            seen.add(name.value)
        result: dict[Any, Any] = super().construct_mapping(node, deep)
        return result


def read_yaml(path: Path) -> Any:
    """The content of a YAML file.

    Raises:
        SpecError: the file is missing, is no YAML, or gives a key twice.
    """
    try:
        return numbers(yaml.load(path.read_text(encoding="utf-8"), _Loader))
    except FileNotFoundError:
        raise SpecError(f"{path} does not exist") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise SpecError(f"{path}, line {line}: {error.problem}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} is no YAML: {error}") from None


def numbers(value: Any) -> Any:
    """YAML 1.1 reads 1e-4 as a text (it wants 1.0e-4); here it is the number that was meant."""
    if isinstance(value, Mapping):
        return {name: item if name == "sha256" else numbers(item) for name, item in value.items()}
    if isinstance(value, list):
        return [numbers(item) for item in value]
    return float(value) if isinstance(value, str) and _SCIENTIFIC.fullmatch(value) else value


@functools.cache
def _validators(folder: Path) -> dict[str, Draft202012Validator]:
    schemas = {name: read_yaml(folder / f"{name}.schema.yaml") for name in SCHEMAS}
    registry = Registry().with_resources(
        [(f"{name}.schema.yaml", Resource.from_contents(schema)) for name, schema in schemas.items()]
    )
    return {name: Draft202012Validator(schema, registry=registry) for name, schema in schemas.items()}


def validate(value: Any, schema: str, folder: Path, where: str) -> None:
    """Check a value against `<folder>/<schema>.schema.yaml`; `where` names its file.

    Raises:
        SpecError: one sentence about the fault that explains most.
    """
    error = best_match(_validators(folder)[schema].iter_errors(value))
    if error is not None:
        raise SpecError(_sentence(error, f"{where}:"))


def _sentence(error: ValidationError, where: str) -> str:
    for part in error.absolute_path:
        where = f"{where}[{part}]" if isinstance(part, int) else key(where, str(part))
    where = where.removesuffix(":")
    schema: Any = error.schema
    instance: Any = error.instance
    if error.validator == "additionalProperties":
        allowed = list(schema.get("properties", {}))
        unknown = next(name for name in instance if name not in allowed)
        return f"{where} has no key {unknown!r}; allowed: {', '.join(allowed)}"
    if error.validator == "required":
        missing = next(name for name in schema["required"] if name not in instance)
        return f"{where}: the key {missing!r} is missing"
    if error.validator in ("pattern", "anyOf") and "description" in schema:
        return f"{where} cannot be {instance!r}; it is: {schema['description']}"
    return f"{where}: {error.message}"
