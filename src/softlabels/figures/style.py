"""How every figure looks: column widths, colours, what is said on the face, files without timestamps."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from softlabels.files import atomic

matplotlib.use("Agg")

ONE_COLUMN, TWO_COLUMNS = 3.3, 6.8
"""Printed widths [inches]."""

PALETTE = [
    to_rgb(colour)
    for colour in (
        "#0173B2", "#DE8F05", "#029E73", "#D55E00", "#CC78BC", "#CA9161", "#FBAFE4", "#949494", "#ECE133", "#56B4E9",
    )
]  # fmt: skip
"""seaborn's palette `colorblind`, as a test says: tables and measuring need not wait for its import."""
BLUE, ORANGE, GREEN, RED, PURPLE = PALETTE[:5]
LIGHT_BLUE, GREY = PALETTE[9], PALETTE[7]

_FACE_POINTS = 6.0
_CHARACTERS_PER_INCH = 22  # of the face's type size, measured on DejaVu Sans
_LINE_INCHES = _FACE_POINTS * 1.25 / 72

_RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same glyphs on every machine
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "errorbar.capsize": 2,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "pdf.fonttype": 42,
    "savefig.dpi": 200,
}


@contextmanager
def style() -> Iterator[None]:
    """The look of the project, for the time of one drawing."""
    import seaborn  # a second or two, which tables and measuring need not wait for

    with matplotlib.rc_context(seaborn.axes_style("ticks") | _RC):
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure [inches] whose axes make room for their labels."""
    return Figure(figsize=(width, height), layout="constrained")


def write_face(figure: Figure, lines: Sequence[str], mark: str | None = None) -> None:
    """Add small lines below the axes and a mark above them; the figure grows, the axes keep their size."""
    width, height = figure.get_size_inches()
    wrapped = [
        part
        for line in lines
        for part in textwrap.wrap(_unbroken(line), int(width * _CHARACTERS_PER_INCH), subsequent_indent="  ")
    ]
    below = (len(wrapped) + 0.6) * _LINE_INCHES if wrapped else 0.0
    above = 0.17 if mark else 0.0
    total = height + below + above
    figure.set_size_inches(width, total)
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.set(rect=(0, below / total, 1, height / total))  # type: ignore[call-arg]
    if wrapped:
        figure.text(
            0.01, 0.3 * _LINE_INCHES / total, "\n".join(wrapped), fontsize=_FACE_POINTS,
            ha="left", va="bottom", linespacing=1.25, color="0.25",
        )  # fmt: skip
    if mark:
        figure.text(
            1 - 0.05 / width, 1 - 0.03 / total, mark, fontsize=7, weight="bold", ha="right", va="top",
            color="white", bbox={"boxstyle": "round,pad=0.2", "facecolor": RED, "edgecolor": "none"},
        )  # fmt: skip


def _unbroken(line: str) -> str:
    """No line break within `α = 0.1` or `95 %`."""
    return line.replace(" = ", "\u00a0=\u00a0").replace(" %", "\u00a0%")


def legend_below(axes: Axes, points: float = 32, **look: Any) -> None:
    """A legend below the label of the x axis (`points` below the axis), where it hides no data."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    place = axes.transAxes + ScaledTranslation(0, -points / 72, figure.dpi_scale_trans)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0), bbox_transform=place, borderaxespad=0, **look)


def save(figure: Figure, pdf: Path, png: Path) -> None:
    """Write both files atomically; equal figures give equal bytes."""
    with style():
        for path, metadata in ((pdf, {"CreationDate": None}), (png, {"Software": None})):
            with atomic(path) as part:
                figure.savefig(part, format=path.suffix[1:], metadata=metadata)


def seeds_label(counts: Iterable[int]) -> str:
    """`n = 5 seeds`, `n = 3 to 5 seeds`, `n = 1 seed`."""
    low, high = int(min(counts)), int(max(counts))
    return f"n = {low if low == high else f'{low} to {high}'} seed{'s' if high != 1 else ''}"
