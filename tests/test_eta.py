"""The line that says how much of a workflow is left."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from softlabels.eta import duration, follow


def until(lines: list[str], text: str) -> str:
    """Wait for a line that begins so."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for line in lines:
            if line.startswith(text):
                return line
        time.sleep(0.01)
    raise AssertionError(f"no line begins with {text!r}: {lines}")


def test_the_share_of_the_work_counts_and_not_of_the_files(tmp_path: Path) -> None:
    slow, quick, last = (tmp_path / name for name in ("slow", "quick", "last"))
    lines: list[str] = []
    follow({quick: 1.0, slow: 60.0, last: 39.0}, 0.02, lines.append)
    quick.touch()
    time.sleep(0.2)
    assert not lines  # one second of a hundred says nothing about the rest
    slow.touch()
    line = until(lines, "2 of 3 files made, 61% of the work; about ")
    assert line.endswith(" left")
    last.touch()
    time.sleep(0.2)
    said = len(lines)
    time.sleep(0.2)
    assert len(lines) == said  # and then it is silent


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (600, "10 min"), (5400, "1.5 h"), (172800, "2.0 days")],
)
def test_durations_are_rounded_as_one_would_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text
