"""Diffusion index η: do classes move towards similar ones when T rises? (Chandrasegaran et al. 2022, Sec. 4, Eq. 1.)

Of a student trained at T1 and one trained at T2, both asked about the same images. The formula is lost in the text at
hand and rebuilt from its prose; the paper's code has none (C-ETA in docs/conventions.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

from softlabels.errors import DataError, require
from softlabels.grid.declared.class_names import class_ids
from softlabels.metrics.arrays import Floats
from softlabels.metrics.class_sets import ClassSets
from softlabels.metrics.geometry import class_centroids


@dataclass(frozen=True, eq=False)
class Activations:
    """Penultimate activations of a split, or their projections (`metrics.geometry`).

    Raises:
        DataError: shapes do not fit, a number is not finite, or a label has no name.
    """

    features: np.ndarray
    """`[N, d]`"""
    labels: np.ndarray
    """`[N]`, indices of `class_names`."""
    class_names: Sequence[str]
    origin: str
    """The file they are from, for messages."""

    def __post_init__(self) -> None:
        x, y, k = self.features, self.labels, len(self.class_names)
        if x.ndim != 2 or y.shape != (len(x),) or not np.issubdtype(y.dtype, np.integer):
            raise DataError(f"{self.origin}: activations are [N, d] with N integer labels, not {x.shape} and {y.shape}")
        if len(y) and not 0 <= y.min() <= y.max() < k:
            raise DataError(f"{self.origin}: labels run from {y.min()} to {y.max()}, but {k} classes have names")
        if not np.isfinite(x).all():
            raise DataError(f"{self.origin}: activations contain NaN or infinity; train the network again")

    def ids(self, names: Sequence[str]) -> list[int]:
        """Labels of classes by name.

        Raises:
            SpecError: no such class.
            DataError: a class without images.
        """
        found = class_ids(names, self.class_names, self.origin)
        if absent := [name for name, k in found.items() if not (self.labels == k).any()]:
            raise DataError(f"{self.origin} holds no image of class {', '.join(absent)}; ask for it, or leave it out")
        return [found[name] for name in names]


Distance = Callable[[Activations, str, Sequence[str]], Floats]


def centroid_distances(x: Activations, target: str, others: Sequence[str]) -> Floats:
    """‖c_π − c_κ‖₂ `[n]` of the target class π to each other class κ; c: centroid, the mean activation of a class."""
    centroids = class_centroids(x.features, x.labels, x.ids([target, *others]))
    distances: Floats = np.linalg.norm(centroids[1:] - centroids[0], axis=1)
    return distances


def pairwise_distances(x: Activations, target: str, others: Sequence[str]) -> Floats:
    """Mean distance `[n]` of an image of the target class to one of each other class (App. K).

    The paper takes projected activations and does not say by which templates (C-PAIRS): project with `span_pca` of the
    templates of {π} ∪ S1 ∪ S2, or pass activations as they are.
    """
    own, *rest = (x.features[x.labels == k] for k in x.ids([target, *others]))
    return np.array([cdist(own, points).mean() for points in rest])


def diffusion_index(
    before: Activations, after: Activations, sets: ClassSets, distance: Distance = centroid_distances
) -> dict[str, float]:
    """η(S1) and η(S2) in percent, of activations at T1 (`before`) and at T2 (`after`): Eq. 1.

        d_T(π, κ) = ‖c_π − c_κ‖₂ / Σ_{j ∈ S1 ∪ S2} ‖c_π − c_j‖₂          η_κ = 100 (d_T2 − d_T1) / d_T1
        η(S) = 1/|S| Σ_{κ ∈ S} η_κ

    Diffusion is systematic when η(S1) < 0 < η(S2). The d of a T sum to 1, so that Σ_{κ ∈ S1 ∪ S2} d_T1(π, κ) η_κ = 0
    exactly: means weighted by d_T1 always have opposite signs, and the paper's plain means nearly always. So η
    of plain distances, without the normalisation, stands beside it: it tells whether a class came closer at all, but
    changes when a network's activations are scaled.

    Returns:
        `similar`: η(S1), `dissimilar`: η(S2); `unnormalised_similar`, `unnormalised_dissimilar`: the same of plain
        distances.

    Raises:
        DataError: activations of other images, classes or networks, a class without images, or one at no distance.
        SpecError: a class that does not exist.
    """
    _check_comparable(before, after)
    first, second = (distance(x, sets.target, sets.classes) for x in (before, after))
    if equal := [name for name, d in zip(sets.classes, first, strict=True) if not d > 0]:
        raise DataError(f"{before.origin}: {sets.target} and {equal[0]} lie in one point; leave {equal[0]} out")
    if not second.max() > 0:
        raise DataError(f"{after.origin}: all classes lie in one point; train the network again")
    found: dict[str, float] = {}
    for prefix, d1, d2 in (("", first / first.sum(), second / second.sum()), ("unnormalised_", first, second)):
        eta = 100 * (d2 - d1) / d1
        size = len(sets.similar)
        found |= {f"{prefix}similar": float(eta[:size].mean()), f"{prefix}dissimilar": float(eta[size:].mean())}
    return found


def by_distance(reference: Activations, target: str, nearest: float = 1, farthest: float = 90) -> ClassSets:
    """S1 and S2 as the nearest and the farthest percents of the other K − 1 classes (App. G.2, method 2).

    Counts are rounded up: of ImageNet's 999 other classes the paper's 1 % and 90 % are 10 and 900. Of equal distances
    the class of the lower label is nearer.

    Args:
        reference: validation activations of one network for all runs, so that the sets do not depend on T.

    Raises:
        SpecError: no such class, no percentages, or so large that S1 and S2 overlap.
        DataError: a class without images.
    """
    class_ids([target], reference.class_names, reference.origin)
    others = [name for name in reference.class_names if name != target]
    for key, percent in (("nearest", nearest), ("farthest", farthest)):
        require(0 < percent <= 100, f"{key} must be a percentage above 0, not {percent}")
    near, far = (math.ceil(p * len(others) / 100) for p in (nearest, farthest))
    require(
        near + far <= len(others),
        f"the nearest {nearest:g} % ({near}) and the farthest {farthest:g} % ({far}) of {len(others)} classes overlap; "
        "lower one of the two",
    )
    order = np.argsort(centroid_distances(reference, target, others), kind="stable")
    ranked = [others[k] for k in order]
    return ClassSets(target, tuple(ranked[:near]), tuple(ranked[-far:]))


def _check_comparable(before: Activations, after: Activations) -> None:
    both = f"{before.origin} and {after.origin}"
    if tuple(before.class_names) != tuple(after.class_names):
        counts = f"{len(before.class_names)} and {len(after.class_names)}"
        raise DataError(f"{both} are of different classes ({counts}); compare runs of one data set")
    if not np.array_equal(before.labels, after.labels):
        raise DataError(f"{both} are of different images (labels differ); compare one split of one data set")
    if before.features.shape != after.features.shape:
        widths = f"{before.features.shape[1]} and {after.features.shape[1]}"
        raise DataError(f"{both} are of different networks (widths {widths}); compare one student at two temperatures")
