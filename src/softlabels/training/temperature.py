"""Temperatures that depend on results: solved when training starts, from the caches that it reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from softlabels.cache.reader import CachedLogits
from softlabels.errors import DataError
from softlabels.grid.identity import run_id
from softlabels.grid.spec import Distill, EqualEntropy, MeanLabel, RunSpec
from softlabels.metrics.soft_targets import equal_entropy_temperature, temperature_of_label


def with_temperature(spec: RunSpec, seed: int, caches: Sequence[CachedLogits], labels: NDArray[np.int64]) -> RunSpec:
    """The spec with a number for T: where it depends on results that which gives the teacher's targets on the first
    cached view of all training images the mean entropy of a reference teacher's (`entropy_of`), or the true class this
    mean label (`label`).

    Args:
        caches: as in `grid.identity.caches_of`.
        labels: `[N]` of the training images.

    Raises:
        DataError: there is no such T, because a teacher says the same of all classes, or nothing of all but one.
    """
    targets = spec.targets
    if not isinstance(targets, Distill) or not targets.is_solved:
        return spec
    logits, asked = caches[0].view(0), targets.temperature
    try:
        if isinstance(asked, EqualEntropy):
            reference = caches[1]
            T = equal_entropy_temperature(logits, reference.view(0), asked.temperature)
            why = f"the entropy of {reference.manifest['teacher']} at {asked.temperature:g}"
        else:
            assert isinstance(asked, MeanLabel)
            T = temperature_of_label(logits, labels, asked.label, targets.beta)
            why = f"a mean label of {asked.label:g} on the true class"
    except DataError as error:
        key = "entropy_of" if isinstance(asked, EqualEntropy) else "label"
        raise DataError(
            f"{run_id(spec)} seed {seed}: targets.temperature.{key} has no solution: {error}; give another "
            "teacher or temperature"
        ) from None
    print(f"{run_id(spec)} seed {seed}: temperature {T:.6g}, of {why}")
    return dataclasses.replace(spec, targets=dataclasses.replace(targets, temperature=T))
