"""The worked example of docs/extend.md, as it stands there: a paper with a data set, a loss and a figure of its own."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from workflow_tree import ROOT, Tree

pytestmark = pytest.mark.workflow
TARGETS = ("example2026_bars", "example2026_numbers")
PAPER = ("--config", 'papers=["example2026"]', "seeds=3", "--")


@pytest.fixture
def example(fresh: Tree) -> Tree:
    """The files of the page, and three classes of noise of different brightness."""
    page = (ROOT / "docs" / "extend.md").read_text()
    blocks = re.findall(r"^```(?:yaml|python)\n# (\S+)\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert [name for name, _ in blocks] == ["workflow/grids/example2026.yaml", "my_losses.py", "my_figures.py"]
    for name, text in blocks:
        (fresh.root / name).write_text(text)
    rng = np.random.default_rng(0)
    for label, name in enumerate(("dark", "grey", "bright")):
        folder = fresh.root / "data" / "shapes" / "train" / name
        folder.mkdir(parents=True)
        for n in range(60):
            pixels = rng.integers(40 * label, 120 + 40 * label, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{n:02}.png")
    return fresh


def test_the_example_runs_as_it_is_printed(example: Tree) -> None:
    example.snakemake(*PAPER, *TARGETS)
    figures, tables = (example.results / kind / "example2026" for kind in ("figures", "tables"))
    plotted = pd.read_csv(figures / "bars.csv")
    assert plotted["bar"].tolist() == ["ce", "confidence_penalty, 0.1", "confidence_penalty, 0.5"]
    assert (plotted["n"] == 3).all()
    assert plotted["mean"].min() > 50  # of three classes that brightness tells apart
    assert (figures / "bars.pdf").stat().st_size > 1000
    rows = pd.read_csv(example.results / "metrics" / "example2026" / "numbers.csv")
    assert set(rows["method"]) == {"ce", "confidence_penalty"}
    assert "confidence_penalty" in (tables / "numbers.md").read_text()
    provenance = json.loads((figures / "bars.provenance.json").read_text())
    assert provenance["face"][0].startswith("Bars: mean")
    # The penalty does something: predictions are softer than those of labels alone.
    nll = rows[(rows["metric"] == "ece") & (rows["split"] == "test")].groupby("run_id")["value"].mean()
    assert nll.nunique() == 3


def test_a_changed_figure_is_drawn_again_and_nothing_is_trained(example: Tree) -> None:
    example.snakemake(*PAPER, TARGETS[0])
    example.replace("my_figures.py", "test accuracy (%)", "test accuracy in percent")
    assert example.plans(*PAPER, TARGETS[0]) == {"measure", "draw_figure", "example2026_bars"}


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("my_losses.py", "def confidence_penalty", "def other", "module 'my_losses' has no 'confidence_penalty'"),
        ("workflow/grids/example2026.yaml", "my_losses:conf", "no_losses:conf", "cannot import 'no_losses'"),
        ("workflow/grids/example2026.yaml", '"my_losses:confidence_penalty"', "focal", "must be an import path"),
        ("workflow/grids/example2026.yaml", "custom:my_figures", "custom:no_figures", "cannot import 'no_figures'"),
        ("workflow/grids/example2026.yaml", "custom:my_figures", "my_figures", "plot"),
    ],
)
def test_what_is_not_there_is_named(example: Tree, file: str, old: str, new: str, message: str) -> None:
    example.replace(file, old, new)
    done = example.run("snakemake", "--cores", "2", "--config", PAPER[1], "seeds=1", "--", TARGETS[0])
    assert done.returncode != 0
    assert message in done.stdout
    assert "Traceback" not in done.stdout
