"""Accuracy of single classes over the distillation temperature (Chandrasegaran et al. 2022, Tables I.1, I.2, I.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from softlabels.figures import selectors
from softlabels.figures.drawing import Drawing
from softlabels.figures.lazy import pd
from softlabels.figures.shown_classes import (
    ShownClass,
    check_probed,
    check_shown_classes,
    class_row,
    label_of,
    shown_classes,
)
from softlabels.figures.source import Measured, Row, Source, tidy
from softlabels.grid.plan import Artifact, Member

if TYPE_CHECKING:
    from softlabels.metrics.probe_outputs import Logits


ORDER = ["dataset", "method", "teacher", "teacher_alpha", "student", "student_alpha", "kd_temperature"]


def _check(artifact: Artifact, where: str) -> None:
    check_shown_classes(artifact, where)
    check_probed(artifact.members, artifact, "logits", ("train",), where)


DRAWING = Drawing(("classes", "compare_with"), check=_check)


def measure(artifact: Artifact, source: Source) -> Measured:
    """Top-1 accuracy of each target class and its mean over them; plotted: beside the paper's.

    Of the training images in the probe, at the end of training; of held-out ones all there are.
    """
    from softlabels.metrics.probe_outputs import Logits, read_logits
    from softlabels.papers.published import compare

    rows: list[Row] = []
    names: dict[str, str] = {}
    for member in artifact.members:
        probe = selectors.probe_of(artifact, member.family, "logits", "train")
        assert probe is not None  # checked when the plan was made
        for seed in member.seeds:
            read, training = source.logits(member, seed), source.probe_outputs(member, seed, probe, read_logits)
            if training is None:
                continue
            by_split: dict[tuple[str, str], Logits] = {("train", "last"): training}
            held_out, labels = read or ({}, {})
            for name, z in sorted(held_out.items()):
                split, checkpoint = name.split("/")
                by_split[split, checkpoint] = Logits(z, labels[split], training.class_names)
            for (split, checkpoint), logits in by_split.items():
                rows += _of_classes(artifact, source, member, seed, split, checkpoint, logits, names)
    frame = tidy(rows)
    shown = [(split, metric) for split in ("train", "val", "test") for metric in ("class_top1", "class_top1_mean")]
    compared = compare(frame, artifact, otherwise=shown)
    compared["our_class"] = compared["target_class"].map(names).fillna("")
    place = {shown_class.name: number for number, shown_class in enumerate(shown_classes(artifact))}
    compared["place"] = compared["target_class"].map(place).fillna(len(place))
    compared["held_out"] = compared["split"].map({"train": 0, "val": 1}).fillna(2)
    compared = compared.sort_values([*ORDER, "place", "held_out"], kind="stable", ignore_index=True)
    return Measured(frame, compared.drop(columns=["place", "held_out"]))


def _of_classes(
    artifact: Artifact,
    source: Source,
    member: Member,
    seed: int,
    split: str,
    checkpoint: str,
    logits: Logits,
    names: dict[str, str],
) -> list[Row]:
    """The rows of one split and checkpoint; fills in our name of each shown class."""
    from softlabels.metrics.classification import class_accuracy

    chosen: dict[str, tuple[ShownClass, int]] = {}
    for shown_class in shown_classes(artifact):
        label = label_of(artifact, shown_class, logits.class_names)
        names[shown_class.name] = logits.class_names[label]
        chosen[names[shown_class.name]] = (shown_class, label)
    found = class_accuracy(logits.z, logits.labels, {name: label for name, (_, label) in chosen.items()})
    rows = [
        class_row(source.row(artifact, member, seed, split, checkpoint, metric, value), chosen[name][0], name)
        for name, top1, count in zip(found["class"], found["top1"], found["count"], strict=True)
        for metric, value in (("class_top1", top1), ("num_examples", count))
    ]
    mean = float(found["top1"].mean())
    return [*rows, source.row(artifact, member, seed, split, checkpoint, "class_top1_mean", mean)]


def table(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Ours beside the paper's."""
    from softlabels.papers.published import printed_table

    return printed_table(plotted)


def remarks(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """What the numbers are."""
    from softlabels.papers.published import READING

    probes = [selectors.probe_of(artifact, member.family, "logits", "train") for member in artifact.members]
    counts = sorted({str(p.per_class) for p in probes if p is not None and p.per_class is not None})
    part = f"the first {' or '.join(counts)} of each class" if counts else "all of each class"
    suspect = "order_suspect: the printed classes look reversed; compare means. "
    return [
        f"Top-1 accuracy in percent over the images of a class (training: {part}; held-out: all of them; one of 50 "
        "images is 2 points), and class_top1_mean: mean over the classes, whatever their sizes. "
        + (suspect if plotted["flags"].astype(str).str.contains("order_suspect").any() else "")
        + READING
    ]
