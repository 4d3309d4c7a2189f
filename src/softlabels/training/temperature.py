"""Temperatures that depend on results: solved when training starts, from the caches that it reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from softlabels.cache.reader import CachedLogits
from softlabels.errors import DataError
from softlabels.grid.identity import run_id
from softlabels.grid.spec import Distill, EqualEntropy, RunSpec, reference_of
from softlabels.metrics.soft_targets import equal_entropy_temperature


def with_temperature(spec: RunSpec, seed: int, caches: Sequence[CachedLogits]) -> RunSpec:
    """The spec with a number for T: where it is `entropy_of` that which makes the teacher's targets on the first cached
    view of all training images as soft, on average, as those of the reference teacher at its temperature.

    Args:
        caches: as in `grid.identity.caches_of`.

    Raises:
        DataError: there is no such T, because a teacher says the same of all classes or nothing of all but one.
    """
    if reference_of(spec) is None:
        return spec
    targets, (logits, reference) = spec.targets, caches
    assert isinstance(targets, Distill)
    assert isinstance(targets.temperature, EqualEntropy)
    try:
        T = equal_entropy_temperature(logits.view(0), reference.view(0), targets.temperature.temperature)
    except DataError as error:
        raise DataError(
            f"{run_id(spec)} seed {seed}: targets.temperature.entropy_of has no solution: {error}; give another "
            "teacher or temperature"
        ) from None
    print(
        f"{run_id(spec)} seed {seed}: temperature {T:.6g}, of the entropy of {reference.manifest['teacher']} at "
        f"{targets.temperature.temperature:g}"
    )
    return dataclasses.replace(spec, targets=dataclasses.replace(targets, temperature=T))
