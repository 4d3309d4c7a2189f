"""Versions of the stages that decide numbers, raised by hand and guarded by a hash of the code.

A run's id holds the versions of the stages behind it. The lock keeps for each stage a hash of the
parsed code (docstrings, comments and layout ignored): when it differs, somebody must either raise
the version, which makes new runs, or declare that the numbers stay the same:

    python -m softlabels.versions                      what has changed
    python -m softlabels.versions accept training --raised
    python -m softlabels.versions accept training --same-numbers
"""

from __future__ import annotations

import argparse
import ast
import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from softlabels.errors import SpecError
from softlabels.files import read_json, sha256, write_json

PACKAGE = Path(__file__).parent
LOCK = PACKAGE / "code_versions.lock"


@functools.cache
def _lock(path: Path) -> dict[str, dict[str, Any]]:
    stages: dict[str, dict[str, Any]] = read_json(path)
    return stages


def stages() -> tuple[str, ...]:
    """The names of the stages."""
    return tuple(_lock(LOCK))


def files_of_package(folder: str) -> list[str]:
    """SHA-256 of every file of a folder of the package, in the order of their names."""
    return [sha256(path) for path in sorted((PACKAGE / folder).iterdir()) if path.is_file()]


def code_version(stage: str) -> int:
    """The version of a stage.

    Raises:
        SpecError: no such stage.
    """
    if stage not in _lock(LOCK):
        raise SpecError(f"{LOCK.name} has no stage {stage!r}; there are {', '.join(stages())}")
    return int(_lock(LOCK)[stage]["version"])


def files_of(stage: str) -> list[Path]:
    """The files behind a stage, in order of their names."""
    return sorted({path for pattern in _lock(LOCK)[stage]["files"] for path in PACKAGE.glob(pattern)})


def ast_digest(files: Iterable[Path]) -> str:
    """Hex SHA-256 over names and parsed code of files, the same for every Python version.

    Bare strings (docstrings, also those of attributes), comments and layout leave it unchanged.
    """
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name}\n{_shape(ast.parse(path.read_bytes()))}\n".encode())
    return digest.hexdigest()


def _shape(node: Any) -> str:
    # Not ast.dump: what it prints changes between Python versions.
    if isinstance(node, ast.AST):
        fields = ((name, value) for name, value in ast.iter_fields(node) if value not in (None, []))
        inner = ",".join(f"{name}={_shape(value)}" for name, value in fields if name not in ("kind", "type_comment"))
        return f"{type(node).__name__}({inner})"
    if isinstance(node, list):
        return f"[{','.join(_shape(item) for item in node if not _is_bare_string(item))}]"
    return repr(node)


def _is_bare_string(node: Any) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def check() -> list[str]:
    """One sentence for each stage whose code differs from the lock; empty when all agree."""
    return [
        f"the code of stage {stage!r} has changed: run `python -m softlabels.versions accept {stage}` "
        "with --raised if any number can change, with --same-numbers if none can"
        for stage, entry in _lock(LOCK).items()
        if ast_digest(files_of(stage)) != entry["ast_sha256"]
    ]


def accept(stage: str, raised: bool) -> None:
    """Write the present code into the lock; `raised` counts the version up, which renames the runs."""
    version = code_version(stage) + int(raised)
    entry = {**_lock(LOCK)[stage], "version": version, "ast_sha256": ast_digest(files_of(stage))}
    write_json(LOCK, {**_lock(LOCK), stage: entry})
    _lock.cache_clear()


def main() -> int:
    """Check, or accept one stage."""
    parser = argparse.ArgumentParser(prog="python -m softlabels.versions", description="Versions of numerical code.")
    actions = parser.add_subparsers(dest="action")
    command = actions.add_parser("accept", help="write the present code of a stage into the lock")
    command.add_argument("stage", choices=stages())
    choice = command.add_mutually_exclusive_group(required=True)
    choice.add_argument("--raised", action="store_true", help="numbers can change: runs are made anew")
    choice.add_argument("--same-numbers", action="store_true", help="no number changes: runs stay valid")
    arguments = parser.parse_args()
    if arguments.action == "accept":
        accept(arguments.stage, arguments.raised)
    problems = check()
    print("\n".join(problems) or "code and lock agree")
    return int(bool(problems))


if __name__ == "__main__":
    raise SystemExit(main())
