"""What a run's data and networks are called, by us and by the papers. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from softlabels.grid.spec import Run, RunSpec, UserLogits, teacher_of

ALSO_CALLED: Mapping[str, tuple[str, ...]] = {
    "iwslt14_en_de": ("iwslt_en_de",),
    "iwslt14_en_ru": ("iwslt_en_ru",),
    # Chandrasegaran et al. name no size of theirs.
    "transformer_iwslt_small": ("transformer",),
    "transformer_iwslt_de_en": ("transformer",),
    "transformer_wmt_en_de": ("transformer_base",),
    # Yuan et al. call networks for CIFAR and for ImageNet alike.
    "mobilenet_v2_cifar": ("mobilenet_v2",),
    "shufflenet_v2_cifar": ("shufflenet_v2",),
    "googlenet_cifar": ("googlenet",),
    # Zhang & Sabuncu name no depth in Fig. 3.
    "resnet34": ("resnet",),
    "densenet_bc_100_12": ("densenet",),
    "densenet121": ("densenet",),
    "cub200_2011": ("cub200",),
    "mnist": ("mnist_2000",),  # a part of it
}
"""Our name → names that the papers give to the same thing; a run is listed under theirs, and replaces nothing."""


REPORTED: Mapping[str, str] = {"zhang2020": "best"}
"""Paper → the checkpoint that its figures and claims are of (Z-SEL): the best on validation; of others the last."""


def reported(paper: str) -> str:
    """The checkpoint that a paper's figures and claims are of: last or best."""
    return REPORTED.get(paper, "last")


def data_name(run: Run) -> str:
    """The name of the data set or corpus; of an image folder its last part."""
    if isinstance(run, RunSpec) and run.dataset.path:
        return Path(run.dataset.path).name
    return run.dataset.name


def names_of(run: Run) -> dict[str, str]:
    """Our names of dataset, teacher ("" without one) and student, in the order of `stands_for`."""
    teacher = teacher_of(run)
    taught_by = ""
    if teacher is not None:
        own = teacher.run
        taught_by = Path(own.logits).stem if isinstance(own, UserLogits) else own.model.name
    return {"dataset": data_name(run), "teacher": taught_by, "student": run.model.name}


def in_print(run: Run, published: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """The names that a run is listed under, and those of the paper that something else stands for.

    Args:
        published: the paper's names of dataset, student and teacher, as far as it has them.
    """
    listed, replaced = names_of(run), {}
    for what, ours in listed.items():
        theirs = published.get(what) or ours
        if theirs in ALSO_CALLED.get(ours, ()):
            listed[what] = theirs
        elif theirs != ours:
            replaced[what] = theirs
    return listed, replaced
