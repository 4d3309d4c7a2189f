"""How every figure looks: column widths, colours, what is said on the face, files without timestamps."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from softlabels.figures.lazy import np
from softlabels.files import atomic

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

ONE_COLUMN, TWO_COLUMNS = 3.3, 6.8
"""Printed widths [inches]."""

PALETTE = [
    "#0173B2", "#DE8F05", "#029E73", "#D55E00", "#CC78BC", "#CA9161", "#FBAFE4", "#949494", "#ECE133", "#56B4E9",
]  # fmt: skip
"""seaborn's palette `colorblind`, as a test says: planning, measuring and tables need not wait for its import."""
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
    import matplotlib

    matplotlib.use("Agg")
    import seaborn

    with matplotlib.rc_context(seaborn.axes_style("ticks") | _RC):
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure [inches] whose axes make room for their labels."""
    from matplotlib.figure import Figure

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


def new_panels(
    width: float, height: float, rows: int, columns: int, **options: Any
) -> tuple[Figure, SubFigure, np.ndarray]:
    """A figure [inches] with rows and columns of panels (array of axes) and the part of it that holds them.

    A legend of the part (`legend_of_panels`) keeps clear of the lines of `write_face`.
    """
    figure = new_figure(width, height)
    part = figure.subfigures(1, 1, squeeze=False)[0, 0]
    return figure, part, part.subplots(rows, columns, squeeze=False, **options)


def error_bars(axes: Axes, x: Any, points: pd.DataFrame, low: str = "min", high: str = "max", **look: Any) -> None:
    """Points at the column `mean`, with bars from the column `low` to the column `high`."""
    reach = np.stack([points["mean"] - points[low], points[high] - points["mean"]])
    # Of equal seeds the mean may be rounded past them.
    axes.errorbar(x, points["mean"], yerr=reach.clip(0), **{"elinewidth": 0.8, **look})


def line_with_band(axes: Axes, x: Any, points: pd.DataFrame, color: str, **look: Any) -> None:
    """A line along the column `mean`, in a band from the column `min` to the column `max`."""
    axes.plot(x, points["mean"], color=color, **look)
    axes.fill_between(x, points["min"], points["max"], color=color, alpha=0.15, linewidth=0)


def limit_line(axes: Axes, height: float, name: str) -> None:
    """A dashed line across a panel, named at its right end."""
    axes.axhline(height, lw=0.8, ls="--", color=GREY, zorder=0)
    axes.annotate(
        name, (1, height), xycoords=("axes fraction", "data"), xytext=(3, 0), textcoords="offset points",
        ha="left", va="center", fontsize=6.5, color="0.35",
    )  # fmt: skip


def temperature_axis(axes: Axes, temperatures: Iterable[float], infinity: float | None = None) -> None:
    """A logarithmic x axis with a tick at each temperature; what is drawn at `infinity` is called ∞."""
    from matplotlib.ticker import NullLocator

    ticks = sorted(temperatures)
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, ["∞" if t == infinity else f"{t:g}" for t in ticks])
    axes.xaxis.set_minor_locator(NullLocator())


def _entries(panels: Iterable[Axes]) -> tuple[list[Any], list[str]]:
    """Handles and labels of a legend, each label once; bars and points with error bars first."""
    from matplotlib.container import Container

    found = {label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    labels = sorted(found, key=lambda label: not isinstance(found[label], Container))
    return [found[label] for label in labels], labels


def legend_of_panels(part: SubFigure, panels: Iterable[Axes], ncols: int | None = None) -> None:
    """One legend below all panels, if anything in them has a label; `ncols`: all in one row without."""
    handles, labels = _entries(panels)
    if labels:
        part.legend(handles, labels, loc="outside lower center", ncols=ncols or len(labels))


def legend_below(axes: Axes, of: Axes | None = None, points: float = 32, **look: Any) -> None:
    """A legend of a panel (or `of` another) below the label of its x axis (`points` below the axis), where it hides no
    data."""
    from matplotlib.transforms import ScaledTranslation

    figure = axes.get_figure(root=True)
    assert figure is not None
    place = axes.transAxes + ScaledTranslation(0, -points / 72, figure.dpi_scale_trans)
    look |= {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "bbox_transform": place, "borderaxespad": 0}
    axes.legend(*_entries([of or axes]), **look)


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
