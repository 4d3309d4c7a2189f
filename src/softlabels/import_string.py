"""Code of the user's own, named by an import path."""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType
from typing import Any

from softlabels.errors import SpecError


def module(name: str, key: str, path: str) -> ModuleType:
    """Import a module; the current directory is searched last, so that a file here hides no installed package.

    Args:
        key: of the spec that names it, which begins a message.
        path: as it is written there.

    Raises:
        SpecError: there is none.
    """
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        return importlib.import_module(name)
    except (ImportError, ValueError) as error:
        raise SpecError(
            f"{key}: cannot import {name!r} of {path!r} ({error}); install it or put it where you run"
        ) from error


def function(path: str, key: str, what: str) -> Any:
    """What `package.module:attribute` names; `what` says what it must do.

    Raises:
        SpecError: no such module or attribute, or one that cannot be called.
    """
    name, _, attribute = path.partition(":")
    found: Any = module(name, key, path)
    try:
        for part in attribute.split("."):
            found = getattr(found, part)
    except AttributeError:
        raise SpecError(f"{key}: module {name!r} has no {attribute!r}; check {path!r}") from None
    if not callable(found):
        raise SpecError(f"{key}: {path} is not callable; name a function or class that {what}")
    return found
