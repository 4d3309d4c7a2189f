"""The captions of the report: every drawing module has one, and each is valid reStructuredText."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from softlabels.figures.drawing import DRAWINGS, kinds_of

jinja2 = pytest.importorskip("jinja2")
docutils = pytest.importorskip("docutils.core")
REPORT = Path(__file__).parents[1] / "workflow" / "report"
TABLES = tuple(name for name in DRAWINGS if "table" in kinds_of(name))
FIGURES = tuple(name for name in DRAWINGS if "figure" in kinds_of(name))


def html(name: str, **snakemake: object) -> str:
    """A caption as the report renders it; any complaint of docutils is an error."""
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    text = environment.from_string((REPORT / name).read_text()).render(snakemake=SimpleNamespace(**snakemake))
    return str(docutils.publish_parts(text, writer="html", settings_overrides={"halt_level": 2})["body"])


@pytest.mark.parametrize(("file", "draw"), [*(("figure.rst", d) for d in FIGURES), *(("table.rst", d) for d in TABLES)])
def test_every_kind_has_a_caption_of_its_own(file: str, draw: str) -> None:
    params = {"title": "A title", "id": "muller2019.fig5"}
    said = html(file, params=SimpleNamespace(plot=draw, **params))
    silent = html(file, params=SimpleNamespace(plot="", **params))
    assert "A title" in silent
    assert len(said) > len(silent) + 300


def test_the_front_page_names_the_scale() -> None:
    assert "paper" in html("workflow.rst", config={"scale": "paper"})
