"""What the papers claim (`claims.yaml`): 92 statements, each with the tests that decide it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from softlabels.errors import SpecError

Binding = Mapping[str, Any]
"""What $x stands for: name → value."""
TESTS: Mapping[str, frozenset[str]] = {
    "compare": frozenset({"margin"}),
    "within": frozenset({"max"}),
    "ordered": frozenset({"x", "direction"}),
    "best": frozenset({"x", "expected", "lowest"}),
    "correlation": frozenset({"x", "direction"}),
    "both": frozenset(),
    "identity": frozenset(),
}
"""Kind of test → its own keys."""
ANY_TEST = frozenset({"over", "quantifier", "unit", "own_data"})
QUANTIFIERS = ("all", "majority", "any")
KINDS = ("result", "implicit", "identity", "protocol")


@dataclass(frozen=True)
class Claim:
    """A statement of a paper; it holds if each of its tests does."""

    id: str
    paper: str
    kind: str
    """`result`, `implicit` (implied, not stated), `identity` (of formulas) or `protocol`."""
    statement: str
    source: str
    artifacts: tuple[str, ...]
    tests: tuple[Mapping[str, Any], ...]
    quantifier: str = "all"
    """Of a test's bindings, how many must hold: `all`, `majority` or `any`."""
    against: tuple[str, ...] = ()
    """Claims of other papers that this one does not go together with."""
    note: str = ""


def all_claims() -> list[Claim]:
    """The claims of the four papers, in their order."""
    with resources.as_file(resources.files("softlabels.papers").joinpath("claims.yaml")) as path:
        return read_claims(path)


def read_claims(path: Path) -> list[Claim]:
    """The claims of a file of the same form.

    Raises:
        SpecError: the file is none, or a claim or test has an unknown key or value; names file and claim.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        named, listed = content.get("bindings", {}), content["claims"]
    except (OSError, yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        raise SpecError(f"{path} holds no claims ({error}); it needs a list `claims:`") from None
    found = [_claim(entry, named, path) for entry in listed]
    if twice := [claim.id for n, claim in enumerate(found) if claim.id in {other.id for other in found[:n]}]:
        raise SpecError(f"{path}: {twice[0]} is there twice; give one another id")
    if unknown := [one for claim in found for one in claim.against if one not in {other.id for other in found}]:
        raise SpecError(f"{path}: there is no claim {unknown[0]} to stand against")
    return found


def _claim(entry: Any, named: Mapping[str, Any], path: Path) -> Claim:
    where = f"{path}: {entry.get('id', entry) if isinstance(entry, dict) else entry}"
    try:
        lists = {name: tuple(entry.get(name, ())) for name in ("artifacts", "against")}
        claim = Claim(**{**entry, **lists, "tests": ()})
        tests = tuple(_test(test, named, where) for test in entry["tests"])
    except (TypeError, KeyError) as error:
        raise SpecError(f"{where}: {error}; a claim has {', '.join(Claim.__dataclass_fields__)}") from None
    if claim.kind not in KINDS or claim.quantifier not in QUANTIFIERS:
        raise SpecError(f"{where}: kind is one of {', '.join(KINDS)}, quantifier one of {', '.join(QUANTIFIERS)}")
    return replace(claim, tests=tests)


def _test(test: Any, named: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    kind = kind_of(test, where)
    if unknown := set(test) - {kind} - TESTS[kind] - ANY_TEST:
        raise SpecError(
            f"{where}: {kind} has no key {min(unknown)}; it has {', '.join(sorted(TESTS[kind] | ANY_TEST))}"
        )
    if test.get("quantifier", "all") not in QUANTIFIERS:
        raise SpecError(f"{where}: quantifier is one of {', '.join(QUANTIFIERS)}, not {test['quantifier']}")
    if not isinstance(test.get("own_data", True), bool):
        raise SpecError(f"{where}: own_data is true or false, not {test['own_data']}")
    for part in test["both"] if kind == "both" else ():
        _test(part, named, where)
    if isinstance(over := test.get("over"), str):
        if over not in named:
            raise SpecError(f"{where}: there are no bindings {over}; it has {', '.join(named)}")
        return {**test, "over": named[over]}
    return dict(test)


def kind_of(test: Any, where: str = "") -> str:
    """Which of `TESTS` a test is.

    Raises:
        SpecError: none, or several.
    """
    kinds = [kind for kind in TESTS if isinstance(test, Mapping) and kind in test]
    if len(kinds) != 1:
        raise SpecError(f"{where}: a test is one of {', '.join(TESTS)}, not {test}")
    return kinds[0]


def products(over: Mapping[str, Sequence[Any]] | Sequence[Binding]) -> Iterator[Binding]:
    """Bindings one by one: of a mapping of lists their product."""
    if not isinstance(over, Mapping):
        yield from over
        return
    for values in itertools.product(*over.values()):
        yield dict(zip(over, values, strict=True))


def bound(value: Any, binding: Binding) -> Any:
    """A value with $x in place; a variable alone keeps the type of what it stands for."""
    if isinstance(value, str) and "$" in value:
        if value[1:] in binding and value[0] == "$":
            return binding[value[1:]]
        for name in sorted(binding, key=len, reverse=True):
            value = value.replace(f"${name}", spelled(binding[name]))
    return value


def spelled(value: Any) -> str:
    """A value as names have it: `1.3`, `1`."""
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
