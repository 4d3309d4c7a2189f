"""Penultimate activations in the plane of three class templates, and how tightly classes cluster there.

Activations carry a trailing 1 and templates their bias, x̃ = (x, 1), w̃_k = (w_k, b_k), so that x̃ᵀw̃_k is
the logit of class k (Müller Sec. 1.1 and 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from softlabels.errors import DataError
from softlabels.metrics.arrays import Floats


@dataclass(frozen=True, eq=False)
class Projection:
    """A map from activations `[M, d]` to the plane `[M, 2]`, and where the templates lie."""

    method: Literal["affine_plane", "span_pca"]
    basis: Floats
    """`[d + 1, 2]`, orthonormal columns."""
    origin: Floats
    """`[2]`: coordinates are x̃·basis − origin."""
    templates: Floats
    """`[n, 2]`, n = 3 for a plane."""

    def __call__(self, features: ArrayLike) -> Floats:
        """Coordinates `[M, 2]` of activations `[M, d]`.

        Raises:
            DataError: the activations have another width than the templates, or are not finite.
        """
        return _with_one(features, len(self.basis) - 1) @ self.basis - self.origin


def affine_plane(weight: ArrayLike, bias: ArrayLike, classes: Sequence[int]) -> Projection:
    """The plane through three templates (Müller Sec. 2), of a last layer `weight [K, d]`, `bias [K]`.

    The orthonormal basis is the QR decomposition of (w̃₂ − w̃₁, w̃₃ − w̃₁) with a positive diagonal, which
    fixes all signs: axis 1 points from the first template to the second, the third lies above. The origin
    is where x̃ = 0 projects to, i.e. coordinates are plain inner products with the basis; the paper names
    no origin, and this one prefers no class.

    Raises:
        DataError: not three different classes of the layer, or templates on one line.
    """
    if len(classes) != 3:
        raise DataError(f"a plane needs three different classes, not {list(classes)}")
    w = _templates(weight, bias, classes)
    basis = _orthonormal(np.stack([w[1] - w[0], w[2] - w[0]], axis=1), classes)
    return Projection("affine_plane", basis, np.zeros(2), w @ basis)


def span_pca(
    weight: ArrayLike, bias: ArrayLike, classes: Sequence[int], features: ArrayLike, labels: ArrayLike
) -> Projection:
    """The linear span of templates, reduced to its two principal axes (Chandrasegaran App. F and released code).

    The span (3-D, of the paper's three classes) is found by QR of the templates; the principal components are those of
    the training activations `features [M, d]` of these classes and of the centroids of the classes together, in the
    span; their mean is the origin. Fit on training examples, for each network anew, and apply the result to both
    splits, and to their centroids: `projection(class_centroids(features, labels, classes))`. The largest entry of each
    component is positive, which fixes the signs.

    The released code appends the biases of classes 0, 1, 2 to the templates of other classes (C-SPAN); here a
    template has its own. More than three classes, for the distances of App. K, are this project's reading.

    Raises:
        DataError: not three or more different classes of the layer, dependent templates, activations of another
            width or not finite, labels of other classes, or a class without images.
    """
    w = _templates(weight, bias, classes)
    span = _orthonormal(w.T, classes)
    if others := sorted(set(np.unique(labels)) - set(classes)):
        raise DataError(f"principal axes are those of classes {list(classes)}, but there are images of {others[0]} too")
    points = np.concatenate([np.asarray(features, dtype=np.float64), class_centroids(features, labels, classes)])
    inside = _with_one(points, len(span) - 1) @ span
    centre = inside.mean(axis=0)
    axes = np.linalg.svd(inside - centre, full_matrices=False)[2][:2].T  # [n, 2]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])
    basis, origin = span @ axes, centre @ axes
    return Projection("span_pca", basis, origin, w @ basis - origin)


def class_centroids(features: ArrayLike, labels: ArrayLike, classes: Sequence[int]) -> Floats:
    """Mean activation of each class `[n, d]`, of activations `[M, d]` and labels `[M]`.

    Raises:
        DataError: features and labels do not fit, or a class has no images.
    """
    x, y = np.asarray(features), np.asarray(labels)
    if x.ndim != 2 or y.shape != (len(x),):
        raise DataError(f"centroids need activations [M, d] and labels [M], not {list(x.shape)} and {list(y.shape)}")
    if absent := [k for k in classes if not (y == k).any()]:
        raise DataError(f"class {absent[0]} has no images among these {len(x)}, so it has no centroid")
    return np.stack([x[y == k].mean(axis=0, dtype=np.float64) for k in classes])


def arc_ratio(points: ArrayLike, centre: ArrayLike) -> float:
    """Spread of the distance to a centre `[2]` ÷ spread along the circle about it at the mean distance, of points
    `[M, 2]`: 0 on an arc, about 1 for a round cloud (Müller Sec. 2: similar classes lie in an arc).

    Raises:
        DataError: all points lie in one direction.
    """
    away = np.asarray(points, dtype=np.float64) - np.asarray(centre)
    distance = np.linalg.norm(away, axis=1)
    middle = away.mean(axis=0)
    angle = np.arctan2(middle[0] * away[:, 1] - middle[1] * away[:, 0], away @ middle)
    along = distance.mean() * angle.std()
    if not along > 0:
        raise DataError("an arc needs points in several directions from its centre")
    return float(distance.std() / along)


def within_class_spread_ratio(points: ArrayLike, labels: ArrayLike) -> float:
    """tr S_W / tr S_T of points `[M, d]`: the share of their variance that lies within classes.

    S_W = 1/M Σ_x (x − μ_y(x))(x − μ_y(x))ᵀ, S_T the same about the common mean. 0: every class is one
    point; 1: the classes share their mean. Shifts, rotations and a common scale do not change it.

    Raises:
        DataError: points and labels do not fit, or all points are one.
    """
    x = np.asarray(points, dtype=np.float64)
    y = np.asarray(labels)
    if x.ndim != 2 or y.shape != (len(x),) or not np.isfinite(x).all():
        raise DataError(f"a spread needs finite points [M, d] and labels [M], not {list(x.shape)}, {list(y.shape)}")
    total = float(((x - x.mean(axis=0)) ** 2).sum()) if len(x) else 0.0
    if total == 0:
        raise DataError("the within-class spread of points that are all equal is undefined")
    within = sum(float(((x[y == c] - x[y == c].mean(axis=0)) ** 2).sum()) for c in np.unique(y))
    return min(within / total, 1.0)  # rounding can carry a ratio of 1 past it


def triangle_regularity(templates: ArrayLike) -> float:
    """Longest ÷ shortest side of the triangle of three templates `[3, d]`: 1 is equilateral.

    Raises:
        DataError: not three points, or two of them are one.
    """
    w = np.asarray(templates, dtype=np.float64)
    if w.ndim != 2 or len(w) != 3:
        raise DataError(f"a triangle has three corners [3, d], not {list(w.shape)}")
    sides = np.linalg.norm(w - np.roll(w, 1, axis=0), axis=1)
    if not sides.min() > 0:
        raise DataError("two of the three templates are the same point: they span no triangle")
    return float(sides.max() / sides.min())


def _templates(weight: ArrayLike, bias: ArrayLike, classes: Sequence[int]) -> Floats:
    """w̃_k `[n, d + 1]` of the classes, at least three."""
    w = np.asarray(weight, dtype=np.float64)
    b = np.asarray(bias, dtype=np.float64)
    if w.ndim != 2 or b.shape != (len(w),):
        raise DataError(f"a last layer is weight [K, d] and bias [K], not {list(w.shape)} and {list(b.shape)}")
    if len(set(classes)) != len(classes) or len(classes) < 3 or not all(0 <= c < len(w) for c in classes):
        raise DataError(f"a projection needs three different classes below {len(w)}, not {list(classes)}")
    return np.column_stack([w, b])[list(classes)]


def _with_one(features: ArrayLike, width: int) -> Floats:
    """x̃ `[M, d + 1]`."""
    x = np.asarray(features, dtype=np.float64)
    if x.ndim != 2 or x.shape[1] != width:
        raise DataError(f"activations must be [M, {width}] as the templates are, not {list(x.shape)}")
    if not np.isfinite(x).all():
        raise DataError("activations contain NaN or infinity; train the network that made them again")
    return np.column_stack([x, np.ones(len(x))])


def _orthonormal(vectors: Floats, classes: Sequence[int]) -> Floats:
    """Q of QR with a positive diagonal of R (Gram–Schmidt on the columns of `vectors [d + 1, n]`)."""
    q, r = np.linalg.qr(vectors)
    diagonal = np.diagonal(r)
    if q.shape != vectors.shape or np.abs(diagonal).min() <= 1e-10 * np.abs(r).max():
        raise DataError(f"the templates of classes {list(classes)} are linearly dependent: they span no plane")
    result: Floats = q * np.sign(diagonal)
    return result
