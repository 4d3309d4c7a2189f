"""The report as one page that needs nothing beside it: `results/<scale>/reproduction.html`."""

from __future__ import annotations

import re
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from softlabels.figures.make import commit_of_code
from softlabels.files import atomic
from softlabels.grid.plan import Plan
from softlabels.layout import Layout
from softlabels.report.content import SHOWN_ROWS, collect, contradictions

MARKS = {"holds": "✓", "fails": "✗", "undecided": "?", "partly": "~", "not checkable": "–"}


def write_report(plan: Plan, layout: Layout) -> None:
    """Verdicts, contradictions, every figure and table that there is, discrepancies and runs of one scale.

    Raises:
        SoftlabelsError: nothing has been measured yet, or a file is damaged.
    """
    content = collect(plan, layout)
    # Everything that comes from files is escaped; tables are escaped by pandas.
    environment = Environment(
        loader=PackageLoader("softlabels.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["plain"] = _plain
    replaced = plan.scale != "paper" and any(a.notes for a in plan.artifacts.values())
    every = [verdict for paper in content.papers for verdict in paper.verdicts]
    page = environment.get_template("page.html.j2").render(
        scale=content.scale,
        mark=("DEMO." if plan.scale == "demo" else f"DEMO ({plan.scale}).") if replaced else "",
        claims=len(every),
        counts=content.counts,
        papers=content.papers,
        contradictions=list(contradictions(content)),
        themselves=[verdict for verdict in every if verdict.row["in_print"] in ("partly", "fails")],
        discrepancies=content.discrepancies,
        runs=content.runs,
        shown_rows=SHOWN_ROWS,
        marks=MARKS,
        commit=commit_of_code(),
        css=Markup(_asset("page.css")),
        script=Markup(_asset("page.js")),
    )
    with atomic(layout.report) as part:
        part.write_text(page, encoding="utf-8")


def _asset(name: str) -> str:
    return resources.files("softlabels.report").joinpath(name).read_text(encoding="utf-8")


def _plain(text: str) -> str:
    """Markdown of the register as plain text."""
    return re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text.replace("`", "").replace("*", ""))
