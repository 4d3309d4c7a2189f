"""Sample pictures of the classes that are shown elsewhere (Chandrasegaran et al. 2022, App. L)."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from softlabels.figures.chosen_sets import label_of
from softlabels.figures.declared.samples import samples_of
from softlabels.figures.declared.targets import targets_of
from softlabels.figures.source import Measured, Source, tidy
from softlabels.figures.style import TWO_COLUMNS, new_figure
from softlabels.grid.plan import Artifact
from softlabels.metrics.answers import read_samples
from softlabels.papers.names import in_print

COLUMNS = ("target_class", "our_class", "number", "id", "channels", "height", "width", "pixels")


def measure(artifact: Artifact, source: Source) -> Measured:
    """No rows. Plotted: one row per picture, its pixels (uint8, C × H × W) as zlib-compressed base64.

    The pictures are data, whatever network they were taken from: the first member and seed that has them.
    """
    family, probe = samples_of(artifact)
    places = ((member, seed) for member in artifact.family(family) for seed in member.seeds)
    found = next((f for m, s in places if (f := source.answers(m, s, probe, read_samples)) is not None), None)
    cells: list[dict[str, Any]] = []
    for target in targets_of(artifact) if found is not None else ():
        assert found is not None
        label = label_of(artifact, target, found.class_names)
        for number, k in enumerate(np.flatnonzero(found.labels == label)):
            picture = np.ascontiguousarray(found.pictures[k])
            cells.append(
                dict(zip(COLUMNS[4:7], picture.shape, strict=True))
                | {
                    "target_class": target.name,
                    "our_class": found.class_names[label],
                    "number": number,
                    "id": int(found.ids[k]),
                    "pixels": base64.b64encode(zlib.compress(picture.tobytes(), 9)).decode(),
                }
            )
    return Measured(tidy([]), pd.DataFrame(cells, columns=list(COLUMNS)))


def draw(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> Figure:
    """A row of pictures for each class."""
    names = list(dict.fromkeys(plotted["target_class"])) or [target.name for target in targets_of(artifact)]
    count = 1 if plotted.empty else int(plotted["number"].max()) + 1
    side = min(0.85, (TWO_COLUMNS - 1.3) / count)
    figure = new_figure(TWO_COLUMNS, 0.15 + (side + 0.05) * len(names))
    panels = figure.subplots(len(names), count, squeeze=False, gridspec_kw={"hspace": 0.05, "wspace": 0.05})
    for axes in panels.flat:
        axes.set(xticks=[], yticks=[], frame_on=False)
    for line, name in zip(panels, names, strict=True):
        own = plotted[plotted["target_class"] == name]
        said = name
        for cell in own.to_dict("records"):
            line[cell["number"]].imshow(_pixels(cell), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            said = name if _is_ours(artifact, cell) else f"{name}\n({cell['our_class']})"
        line[0].set_ylabel(said.replace("_", " "), rotation=0, ha="right", va="center", fontsize=7)
    return figure


def _is_ours(artifact: Artifact, cell: dict[str, Any]) -> bool:
    """Whether the class is the paper's own, perhaps under another name."""
    member = artifact.family(samples_of(artifact)[0])[0]
    return cell["target_class"] == cell["our_class"] or "dataset" not in in_print(member.run, dict(member.published))[1]


def _pixels(cell: dict[str, Any]) -> np.ndarray:
    """`[H, W, C]`, or `[H, W]` of one channel."""
    shape = (cell["channels"], cell["height"], cell["width"])
    picture = np.frombuffer(zlib.decompress(base64.b64decode(cell["pixels"])), dtype=np.uint8).reshape(shape)
    return picture[0] if len(picture) == 1 else picture.transpose(1, 2, 0)


def remarks(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """Which pictures they are."""
    _, probe = samples_of(artifact)
    return [
        f"The first {probe.per_class} {probe.split} pictures of each class in stored order, none chosen by hand, as "
        "the networks are evaluated on them (without augmentation and normalisation)."
    ]
