"""What the papers claim: a function for each statement, in one module per paper, with the tests that decide it."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from softlabels.papers.numbers import Numbers
from softlabels.papers.predicates import Quantified

PAPERS = ("muller2019", "chandrasegaran2022", "yuan2020", "zhang2020")
KINDS = ("result", "implicit", "identity", "protocol")
Tests = Iterable[Quantified]
Function = Callable[[Numbers], Tests]
_claims: dict[str, Claim] = {}


@dataclass(frozen=True)
class Claim:
    """A statement of a paper; it holds if each of its tests does."""

    id: str
    paper: str
    kind: str
    """`result`, `implicit` (implied, not stated), `identity` (of formulas) or `protocol`."""
    statement: str
    """The first line of the function's docstring."""
    note: str
    """The rest of it: how the statement is read, and what is tested."""
    source: str
    artifacts: tuple[str, ...]
    against: tuple[str, ...]
    """Claims of other papers that this one does not go together with."""
    tests: Function


def all_claims() -> list[Claim]:
    """The claims of the four papers, in their order."""
    for paper in PAPERS:
        importlib.import_module(f"softlabels.papers.claims.{paper}")
    return sorted(_claims.values(), key=lambda claim: (PAPERS.index(claim.paper), claim.id))


def claim(
    id: str, source: str, *artifacts: str, kind: str = "result", against: Iterable[str] = ()
) -> Callable[[Function], Function]:
    """Makes a claim of a function from the numbers of its paper to tests; its module is named after the paper.

    Raises:
        ValueError: the id is there already, the kind is none, or the function has no docstring.
    """

    def registered(function: Function) -> Function:
        statement, _, note = inspect.cleandoc(function.__doc__ or "").partition("\n\n")
        if id in _claims or kind not in KINDS or not statement:
            raise ValueError(f"{id}: ids are there once, kinds are {', '.join(KINDS)}, and a docstring says the claim")
        paper = function.__module__.rpartition(".")[2]
        ids = tuple(f"{paper}.{name}" for name in artifacts)
        _claims[id] = Claim(
            id, paper, kind, " ".join(statement.split()), " ".join(note.split()), source, ids, tuple(against), function
        )
        return function

    return registered
