"""Blocks of docs/settings.md: the papers' settings, from `papers/settings.csv` and from the grids."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from softlabels.grid.expand import load_plan
from softlabels.grid.plan import Plan
from softlabels.pages.cells import table
from softlabels.papers import settings
from softlabels.papers.claims import PAPERS


@cache
def _plan(root: Path) -> Plan:
    return load_plan({"scale": "paper", "papers": list(PAPERS)}, root)


def of_paper(root: Path, paper: str) -> str:
    """The table of one paper."""
    return table(*settings.table(_plan(root), paper))


def settings_otherwise(root: Path) -> str:
    """Where our default is not what the policy would have, by entry of the register."""
    found: dict[tuple[str, str, str, str], None] = {}
    for line in settings.settings():
        value = settings.ours(_plan(root), line)
        if settings.departs(line, value):
            for name in line.register:
                found[name, f"`{line.setting}`", line.expected, value] = None
    return table(("register", "setting", "by the policy", "ours"), [list(row) for row in sorted(found)])
