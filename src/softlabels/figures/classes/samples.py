"""Sample images of the classes that are shown elsewhere (Chandrasegaran et al. 2022, App. L)."""

from __future__ import annotations

import base64
import zlib
from typing import TYPE_CHECKING, Any

from softlabels.errors import SpecError
from softlabels.figures import style
from softlabels.figures.drawing import Drawing
from softlabels.figures.lazy import np, pd
from softlabels.figures.shown_classes import check_holds, check_shown_classes, label_of, shown_classes
from softlabels.figures.source import Measured, Source, tidy
from softlabels.grid.parts.probes import Samples
from softlabels.grid.plan import Artifact
from softlabels.papers.names import in_print

if TYPE_CHECKING:
    from matplotlib.figure import Figure


COLUMNS = ("target_class", "our_class", "number", "id", "channels", "height", "width", "pixels")


def samples_of(artifact: Artifact) -> tuple[str, Samples]:
    """The first probe of images, and its family.

    Raises:
        SpecError: there is none.
    """
    for family, probe in artifact.probes:
        if isinstance(probe, Samples):
            return family, probe
    raise SpecError(f"artifact {artifact.id}: samples needs a probe of what: pictures, of a family whose data it shows")


def _check(artifact: Artifact, where: str) -> None:
    check_shown_classes(artifact, where)
    family, probe = samples_of(artifact)
    member = artifact.family(family)[0]
    check_holds(probe, [t.given for t in shown_classes(artifact)], member, f"{where} the probe of {family}")


DRAWING = Drawing(("classes",), check=_check)


def measure(artifact: Artifact, source: Source) -> Measured:
    """No rows. Plotted: one row per image, its pixels (uint8, C × H × W) as zlib-compressed base64.

    They are the same for every network: they are read from the first member and seed that has them.
    """
    from softlabels.metrics.probe_outputs import read_samples

    family, probe = samples_of(artifact)
    places = ((member, seed) for member in artifact.family(family) for seed in member.seeds)
    found = next((f for m, s in places if (f := source.probe_outputs(m, s, probe, read_samples)) is not None), None)
    cells: list[dict[str, Any]] = []
    for shown_class in shown_classes(artifact) if found is not None else ():
        assert found is not None
        label = label_of(artifact, shown_class, found.class_names)
        for number, k in enumerate(np.flatnonzero(found.labels == label)):
            image = np.ascontiguousarray(found.images[k])
            cells.append(
                dict(zip(COLUMNS[4:7], image.shape, strict=True))
                | {
                    "target_class": shown_class.name,
                    "our_class": found.class_names[label],
                    "number": number,
                    "id": int(found.ids[k]),
                    "pixels": base64.b64encode(zlib.compress(image.tobytes(), 9)).decode(),
                }
            )
    return Measured(tidy([]), pd.DataFrame(cells, columns=list(COLUMNS)))


def draw(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> Figure:
    """A row of images for each class."""
    names = list(dict.fromkeys(plotted["target_class"])) or [
        shown_class.name for shown_class in shown_classes(artifact)
    ]
    count = 1 if plotted.empty else int(plotted["number"].max()) + 1
    side = min(0.85, (style.TWO_COLUMNS - 1.3) / count)
    figure = style.new_figure(style.TWO_COLUMNS, 0.15 + (side + 0.05) * len(names))
    panels = figure.subplots(len(names), count, squeeze=False, gridspec_kw={"hspace": 0.05, "wspace": 0.05})
    for axes in panels.flat:
        axes.set(xticks=[], yticks=[], frame_on=False)
    for line, name in zip(panels, names, strict=True):
        selected = plotted[plotted["target_class"] == name]
        said = name
        for cell in selected.to_dict("records"):
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
    image = np.frombuffer(zlib.decompress(base64.b64decode(cell["pixels"])), dtype=np.uint8).reshape(shape)
    return image[0] if len(image) == 1 else image.transpose(1, 2, 0)


def remarks(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """Which images they are."""
    _, probe = samples_of(artifact)
    return [
        f"The first {probe.per_class} {probe.split} images of each class in stored order, none chosen by hand, as "
        "the networks are evaluated on them (without augmentation and normalisation)."
    ]
