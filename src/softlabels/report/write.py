"""The report as one page that needs nothing beside it: `results/<scale>/reproduction.html`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from softlabels.figures.make import commit_of_code
from softlabels.files import atomic
from softlabels.grid.files import read_artifact
from softlabels.layout import Layout
from softlabels.report.content import SHOWN_ROWS, collect, contradictions

MARKS = {"holds": "✓", "fails": "✗", "undecided": "?", "partly": "~", "not checkable": "–"}


def write_report(layout: Layout, scale: str, wanted: Sequence[str] = ()) -> None:
    """Verdicts, contradictions, every figure and table that there is, discrepancies and runs of one scale.

    Args:
        wanted: ids of artifacts; none: all whose specs lie in `results/<scale>/specs`.

    Raises:
        SoftlabelsError: nothing has been measured yet, or a file is damaged.
    """
    specs = layout.specs
    ids = wanted or [path.stem for path in (specs / "artifacts").glob("*.json")]
    artifacts = [read_artifact(specs, name) for name in sorted(ids, key=_natural)]
    content = collect(artifacts, layout, scale)
    # Everything that comes from files is escaped; tables are escaped by pandas.
    environment = Environment(
        loader=PackageLoader("softlabels.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["plain"] = _plain
    replaced = scale != "paper" and any(a.notes for a in artifacts)
    every = [verdict for paper in content.papers for verdict in paper.verdicts]
    page = environment.get_template("page.html.j2").render(
        scale=content.scale,
        mark=("DEMO." if scale == "demo" else f"DEMO ({scale}).") if replaced else "",
        claims=len(every),
        counts=content.counts,
        papers=content.papers,
        contradictions=list(contradictions(content)),
        themselves=[verdict for verdict in every if verdict.row["in_print"] in ("partly", "fails")],
        discrepancies=content.discrepancies,
        runs=content.runs,
        shown_rows=SHOWN_ROWS,
        marks=MARKS,
        known={a.id for a in artifacts} | {verdict.row["id"] for verdict in every},
        commit=commit_of_code(),
        css=Markup(_asset("page.css")),
        script=Markup(_asset("page.js")),
    )
    with atomic(layout.report) as part:
        part.write_text(page, encoding="utf-8")


def _natural(name: str) -> list[str | int]:
    """table2 before table10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _asset(name: str) -> str:
    return resources.files("softlabels.report").joinpath(name).read_text(encoding="utf-8")


def _plain(text: str) -> str:
    """Markdown of the register as plain text."""
    return re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text.replace("`", "").replace("*", ""))
