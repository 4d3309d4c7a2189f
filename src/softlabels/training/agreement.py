"""The comparison of a teacher with the labels of the training images, before its students learn from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from softlabels.cache import TeacherNetwork, logits_of
from softlabels.errors import SoftlabelsError
from softlabels.grid.parts.recipe import Augment, Normalise
from softlabels.metrics.agreement import agreement, better_order, describe, doubt, is_better
from softlabels.training.images import ImageSplit
from softlabels.training.teachers import Own, file_of

COMPARED = 10_000
"""Training images, evenly spaced, on which a teacher is compared with the labels."""
NORMALISE_GAIN = 0.05
"""Share of right images by which another `normalise` must be better to speak against the one that is said."""


def compare_with_labels(
    teacher: TeacherNetwork | NDArray[Any],
    images: ImageSplit,
    augment: Augment,
    augment_seed: int,
    origin: object,
) -> dict[str, Any]:
    """The `Agreement` of a teacher with the labels of training images, on view 0 of at most `COMPARED` of them.

    Args:
        teacher: a network, or logits `[N, K]` of all training images.
        origin: the spec of where it comes from.

    Returns:
        The agreement for a record. Of what is the user's own also its `file` and, where it is trusted all the same,
        the `doubt`.

    Raises:
        SoftlabelsError: the labels speak against a file of the user's, and it is not said to be trusted.
    """
    positions = np.linspace(0, len(images) - 1, min(len(images), COMPARED)).astype(np.int64)
    labels = images.labels.cpu().numpy()[positions]

    def logits(how: Normalise) -> NDArray[Any]:
        assert isinstance(teacher, TeacherNetwork)
        other = dataclasses.replace(teacher, normalise=how)
        where = torch.from_numpy(positions)
        return (
            torch.cat([logits_of(other, images, x) for x in images.passes(0, augment_seed, augment, where)])
            .cpu()
            .numpy()
        )

    own = teacher[positions] if isinstance(teacher, np.ndarray) else logits(teacher.normalise)
    found = agreement(own, labels)
    report = dataclasses.asdict(found)
    if not isinstance(origin, Own):
        print(f"teacher: {describe(report)}")
        return report
    report["file"] = file_of(origin)
    against = None
    if isinstance(teacher, TeacherNetwork):
        against = _better_normalise(teacher, images, own.argmax(axis=1) == labels, labels, logits)
    if against is None:
        names = images.data.class_names
        order = better_order(own, labels)
        listed = None if order is None else [names[order[names.index(name)]] for name in origin.classes or names]
        against = doubt(found, listed)
    if against is not None and not origin.trust:
        raise SoftlabelsError(f"{file_of(origin)}: {against}, or trust: true beside it to use it as it is")
    if against is not None:
        report["doubt"] = against
    print(f"{file_of(origin)}: {describe(report)}")
    return report


def _better_normalise(
    teacher: TeacherNetwork,
    images: ImageSplit,
    right: NDArray[np.bool_],
    labels: NDArray[np.int64],
    logits: Callable[[Normalise], NDArray[Any]],
) -> str | None:
    """Another `normalise` with which a network is right much more often, as `doubt` would say it."""
    for how in get_args(Normalise):
        if how == teacher.normalise or (how == "imagenet" and images.data.shape[0] != 3):
            continue
        then = logits(how).argmax(axis=1) == labels
        if is_better(right, then, NORMALISE_GAIN):
            return (
                f"{100 * right.mean():.1f} % of {len(right):,} training images are right with normalise: "
                f"{teacher.normalise}, and {100 * then.mean():.1f} % with {how}; say the one that it was trained with"
            )
    return None
