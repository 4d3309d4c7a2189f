"""Standard metrics are computed once for all artifacts, and a kept file is never believed when it is not right."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from refusals import refused
from test_figures import artifact, member, smooth, spec, write_run

from softlabels.errors import DataError
from softlabels.figures import standard
from softlabels.figures.source import Row, Source
from softlabels.grid.identity import run_id
from softlabels.layout import Layout
from softlabels.metrics import rows as metric_rows
from softlabels.metrics.rows import read_predictions, standard_rows

RUN = spec(smooth(0.1))
ART = artifact("compare_table", [member("m", RUN, 1)], "table")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "demo")
    write_run(layout, RUN, 0, 0.8)
    return layout


def files(layout: Layout) -> tuple[Path, Path]:
    folder = layout.run(run_id(RUN), 0)
    return folder / "logits.safetensors", folder / "standard.json"


def measured(layout: Layout) -> list[Row]:
    return Source(layout, "demo").standard(ART, ART.members[0])


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with each time that logits become metrics."""
    calls: list[int] = []

    def count(*args: object) -> object:
        calls.append(1)
        return standard_rows(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(metric_rows, "standard_rows", count)
    return calls


def test_metrics_are_computed_once_and_are_the_same_to_the_bit(layout: Layout, counted: list[int]) -> None:
    first = measured(layout)
    assert measured(layout) == first
    assert len(counted) == 1
    logits, kept = files(layout)
    values = {(r["split"], r["checkpoint"], r["metric"]): r["value"] for r in first}
    assert values == {tuple(place): value for *place, value in standard_rows(*read_predictions(logits))}
    again = Source(layout, "demo")
    again.standard(ART, ART.members[0])
    assert set(again.files) == {str(logits.relative_to(layout.root))}  # what was measured is named, not what was kept
    assert kept.exists()


@pytest.mark.parametrize("damage", ["empty", "truncated", "a value", "not ours", "a list", "no rows"])
def test_a_damaged_file_is_made_again(layout: Layout, counted: list[int], damage: str) -> None:
    first = measured(layout)
    _, kept = files(layout)
    text, content = kept.read_text(), json.loads(kept.read_text())
    content["rows"][0][3] = "99.0"
    changed = {
        "empty": "", "truncated": text[: len(text) // 2], "a value": json.dumps(content), "not ours": "{}",
        "a list": "[1, 2]", "no rows": json.dumps({name: content[name] for name in content if name != "rows"}),
    }[damage]  # fmt: skip
    kept.write_text(changed)
    assert measured(layout) == first
    assert len(counted) == 2
    assert kept.read_text() == text


def test_other_predictions_and_other_code_are_measured_anew(
    layout: Layout, counted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = measured(layout)
    write_run(layout, RUN, 0, 0.5)
    assert measured(layout) != first
    assert len(counted) == 2
    monkeypatch.setattr(standard, "code_version", lambda stage: 99)
    measured(layout)
    assert len(counted) == 3


def test_damaged_predictions_are_still_refused(layout: Layout) -> None:
    measured(layout)
    logits, _ = files(layout)
    logits.write_bytes(logits.read_bytes()[:-10])
    with refused(DataError, "logits.safetensors", varies=r"\(.*\)"):
        measured(layout)


def test_what_is_no_number_is_kept_too(tmp_path: Path) -> None:
    rows: standard.Rows = [("val", "last", "nll", np.inf), ("val", "last", "ece", np.nan), ("val", "last", "x", 1 / 3)]
    path = tmp_path / "standard.json"
    standard.load_or_compute(path, "abc", lambda: rows)
    found = standard.load_or_compute(path, "abc", lambda: pytest.fail("computed again"))
    assert [row[:3] for row in found] == [row[:3] for row in rows]
    np.testing.assert_array_equal([row[3] for row in found], [row[3] for row in rows])
