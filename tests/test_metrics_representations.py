"""Mutual information and the geometry of activations: closed forms, invariances, degenerate input."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from refusals import refused
from sklearn.decomposition import PCA

from softlabels.errors import DataError, SpecError
from softlabels.metrics.geometry import (
    affine_plane,
    class_centroids,
    span_pca,
    triangle_regularity,
    within_class_spread_ratio,
)
from softlabels.metrics.information import collapsed, mutual_information

WIDTH = {"fresh": 6, "reused": 5}  # columns of y for L = 5


# ---------------------------------------------------------------- mutual information


@pytest.mark.parametrize(
    ("draws", "clusters", "limit"),
    [("fresh", 2, 0.63), ("reused", 2, 0.81), ("fresh", 1, -0.066), ("reused", 1, 0.112)],
)
def test_collapsed_clusters_give_the_closed_form(draws, clusters, limit):
    """Müller's setting, N = 600 and L = 5, mean of ten simulations."""
    rng = np.random.default_rng(0)
    centres = np.repeat(100.0 * np.arange(clusters), 600 // clusters)[:, None]
    values = [mutual_information(centres + rng.normal(size=(600, WIDTH[draws])), draws) for _ in range(10)]
    assert collapsed(clusters, 5, draws) == pytest.approx(limit, abs=0.01)
    assert np.mean(values) == pytest.approx(collapsed(clusters, 5, draws), abs=0.012)


@pytest.mark.parametrize("draws", ["fresh", "reused"])
def test_examples_far_apart_reach_log_n(draws):
    y = 1000.0 * np.arange(50)[:, None] + np.random.default_rng(0).normal(size=(50, WIDTH[draws]))
    assert mutual_information(y, draws) == pytest.approx(np.log(50))


@given(
    arrays(np.float64, (8, 4), elements=st.floats(-20, 20)),
    st.sampled_from(["fresh", "reused"]),
    st.sampled_from([-8.0, 0.5, 4.0]),
    st.integers(-100, 100),
)
def test_information_is_at_most_log_n_and_knows_no_unit(y, draws, scale, shift):
    y = y + 0.1 * np.random.default_rng(0).normal(size=y.shape)  # never σ² = 0
    value = mutual_information(y, draws)
    assert value <= np.log(8) + 1e-9
    assert mutual_information(scale * y + shift, draws) == pytest.approx(value, abs=1e-7)


def test_the_sum_is_written_out():
    """Against the formula with plain loops, y_x fixed in the inner sum."""
    y = np.random.default_rng(1).normal(size=(7, 4)) + np.arange(7)[:, None]
    mean = y[:, :3].mean(axis=1)
    variance = np.mean((y[:, 3] - mean) ** 2)
    total = 0.0
    for x in range(7):
        inner = np.mean([np.exp(-((y[x, 3] - mean[other]) ** 2) / (2 * variance)) for other in range(7)])
        total += -((y[x, 3] - mean[x]) ** 2) / (2 * variance) - np.log(inner)
    assert mutual_information(y, "fresh") == pytest.approx(total / 7)


@pytest.mark.parametrize("draws", ["fresh", "reused"])
def test_draws_that_do_not_vary_are_an_error(draws):
    with refused(DataError, "augmentation"):
        mutual_information(np.repeat(np.random.default_rng(0).normal(size=(9, 1)), 6, axis=1), draws)


def test_malformed_draws_are_named():
    with refused(DataError, "draws"):
        mutual_information(np.zeros((5, 1)), "reused")
    with refused(DataError, "draws"):
        mutual_information(np.full((5, 3), np.inf), "fresh")
    with refused(SpecError, "fresh"):
        mutual_information(np.zeros((5, 3)), "both")
    with refused(SpecError, "draws"):
        collapsed(2, 1, "reused")


# ---------------------------------------------------------------- planes


def layer(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A last layer [6, 9] with bias, and activations [40, 9]."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(6, 9)), rng.normal(size=6), rng.normal(size=(40, 9)) + 1


@pytest.mark.parametrize("seed", range(5))
def test_the_affine_plane_keeps_the_triangle_of_the_templates(seed):
    weight, bias, features = layer(seed)
    classes = (4, 0, 2)
    plane = affine_plane(weight, bias, classes)
    full = np.column_stack([weight, bias])[list(classes)]
    for a, b in itertools.combinations(range(3), 2):
        in_plane = np.linalg.norm(plane.templates[a] - plane.templates[b])
        assert in_plane == pytest.approx(np.linalg.norm(full[a] - full[b]))
    assert triangle_regularity(plane.templates) == pytest.approx(triangle_regularity(full))
    # Signs: axis 1 from template 1 to template 2, template 3 above.
    assert plane.templates[1, 0] > plane.templates[0, 0]
    assert plane.templates[1, 1] == pytest.approx(plane.templates[0, 1])
    assert plane.templates[2, 1] > plane.templates[0, 1]
    # Inner products within the plane are differences of logits.
    coordinates = plane(features)
    logits = features @ weight.T + bias
    assert coordinates @ (plane.templates[1] - plane.templates[0]) == pytest.approx(logits[:, 0] - logits[:, 4])
    assert coordinates @ (plane.templates[2] - plane.templates[0]) == pytest.approx(logits[:, 2] - logits[:, 4])


def test_the_origin_of_the_affine_plane_is_that_of_the_augmented_activations():
    weight, bias, features = layer()
    plane = affine_plane(weight, 0 * bias, (0, 1, 2))
    assert plane(np.zeros((1, 9))) == pytest.approx(np.zeros((1, 2)))
    assert plane(2 * features) == pytest.approx(2 * plane(features))


def of_three(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """40 activations of classes 1, 3, 5, not equally many."""
    return layer(seed)[2], np.random.default_rng(seed).permutation(np.repeat([1, 3, 5], [20, 12, 8]))


def test_span_pca_is_sklearns_pca_of_activations_and_centroids_within_the_span():
    weight, bias, _ = layer()
    features, labels = of_three()
    span = span_pca(weight, bias, (1, 3, 5), features, labels)
    basis = np.linalg.qr(np.column_stack([weight, bias])[[1, 3, 5]].T)[0]
    inside = np.column_stack([features, np.ones(40)]) @ basis
    centroids = np.stack([inside[labels == k].mean(axis=0) for k in (1, 3, 5)])
    pca = PCA(2).fit(np.concatenate([inside, centroids]))
    signs = np.sign((pca.transform(inside) * span(features)).sum(axis=0))
    assert span(features) == pytest.approx(signs * pca.transform(inside))
    assert span(class_centroids(features, labels, (1, 3, 5))) == pytest.approx(signs * pca.transform(centroids))
    assert span.basis.T @ span.basis == pytest.approx(np.eye(2))
    # What was fitted on training examples is applied unchanged to others.
    assert span(features[:3]) == pytest.approx(span(features)[:3])
    # Centroids take part in the fit: the mean of activations alone is not the origin.
    assert np.abs(span(features).mean(axis=0)).max() > 1e-3


def test_a_template_of_the_span_has_its_own_bias():
    """The released code takes the first three biases, whatever the classes (X-34)."""
    weight, bias, _ = layer()
    features, labels = of_three()
    swapped = bias.copy()
    swapped[[0, 2]] = bias[[2, 0]] + 7  # of no chosen class
    same = span_pca(weight, swapped, (1, 3, 5), features, labels)
    assert same(features) == pytest.approx(span_pca(weight, bias, (1, 3, 5), features, labels)(features))


def test_points_in_a_plane_of_the_span_keep_their_distances():
    """Templates along three axes, activations in the plane of two: the projection is a rotation of it."""
    rng = np.random.default_rng(0)
    features = np.column_stack([rng.normal(size=(30, 2)) * [3, 1], np.zeros((30, 2))])
    labels = np.arange(30) % 3
    plane = span_pca(np.eye(4), np.zeros(4), (0, 1, 2), features, labels)
    for a, b in itertools.combinations(range(30), 2):
        in_plane = np.linalg.norm(plane(features)[a] - plane(features)[b])
        assert in_plane == pytest.approx(np.linalg.norm(features[a] - features[b]))


def test_a_span_of_more_classes_holds_their_activations():
    weight, bias, features = layer()
    labels = np.arange(40) % 6
    span = span_pca(weight, bias, range(6), features, labels)
    assert span.templates.shape == (6, 2)
    templates = np.column_stack([weight, bias])
    assert np.linalg.matrix_rank(np.column_stack([templates.T, span.basis]), tol=1e-9) == 6


def test_class_centroids():
    x, y = np.array([[0.0, 2.0], [4.0, 0.0], [2.0, 4.0]]), np.array([7, 5, 7])
    assert class_centroids(x, y, (5, 7)).tolist() == [[4, 0], [1, 3]]
    with refused(DataError, "class 6"):
        class_centroids(x, y, (5, 6))
    with refused(DataError, "labels [M]"):
        class_centroids(x, y[:2], (5,))


@pytest.mark.parametrize("seed", range(6))
def test_the_signs_of_span_pca_are_fixed(seed):
    weight, bias, _ = layer(seed)
    templates = np.column_stack([weight, bias])[[1, 3, 5]]
    q, r = np.linalg.qr(templates.T)
    components = (q * np.sign(np.diagonal(r))).T @ span_pca(weight, bias, (1, 3, 5), *of_three(seed)).basis
    assert (components.max(axis=0) == np.abs(components).max(axis=0)).all()


def test_the_two_planes_agree_on_no_more_than_the_span():
    weight, bias, _ = layer()
    affine, span = affine_plane(weight, bias, (1, 3, 5)), span_pca(weight, bias, (1, 3, 5), *of_three())
    assert np.abs(affine.basis.T @ span.basis).max() < 1  # another plane of the same three dimensions
    joint = np.column_stack([affine.basis, span.basis])
    assert np.linalg.matrix_rank(joint, tol=1e-9) == 3


def test_degenerate_planes_are_errors():
    weight, bias, features = layer()
    weight[2], bias[2] = 2 * weight[1] - weight[0], 2 * bias[1] - bias[0]
    with refused(DataError, "[0, 1, 2]"):
        affine_plane(weight, bias, (0, 1, 2))
    with refused(DataError, "[0, 1, 2]"):
        span_pca(weight, bias, (0, 1, 2), features, np.arange(40) % 3)
    with refused(DataError, "classes"):
        affine_plane(weight, bias, (0, 1, 3, 4))
    for classes in [(0, 1), (0, 1, 1), (0, 1, 6), (0, 1, -1)]:
        with refused(DataError, "classes"):
            affine_plane(weight, bias, classes)
    with refused(DataError, "[M, 9]"):
        affine_plane(weight, bias, (0, 1, 3))(features[:, :8])
    with refused(DataError, "last layer"):
        affine_plane(weight, bias[:5], (0, 1, 3))
    with refused(DataError, "NaN"):
        affine_plane(weight, bias, (0, 1, 3))(np.full((1, 9), np.nan))
    with refused(DataError, "5"):
        span_pca(weight, bias, (1, 3, 4), *of_three())
    with refused(DataError, "class 0"):
        span_pca(weight, bias, (0, 1, 3, 5), *of_three())


# ---------------------------------------------------------------- spread and regularity


@given(st.integers(0, 2**16), st.floats(0.01, 100), st.floats(-50, 50))
def test_spread_ratio_ignores_scale_rotation_and_shift(seed, scale, shift):
    rng = np.random.default_rng(seed)
    points, labels = rng.normal(size=(30, 3)), rng.integers(3, size=30)
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    ratio = within_class_spread_ratio(points, labels)
    assert 0 <= ratio <= 1
    assert within_class_spread_ratio(scale * points @ rotation + shift, labels) == pytest.approx(ratio, abs=1e-9)


def test_spread_ratio_of_known_clusters():
    # Two classes at ±3 with variance 1 within: 1 / (1 + 9).
    points = np.array([[2.0], [4.0], [-2.0], [-4.0]])
    assert within_class_spread_ratio(points, [0, 0, 1, 1]) == pytest.approx(0.1)
    assert within_class_spread_ratio(points, [0, 0, 0, 0]) == 1
    assert within_class_spread_ratio([[1.0], [1.0], [2.0]], [5, 5, 9]) == 0


def test_spread_ratio_of_nothing_is_an_error():
    with refused(DataError, "within-class spread"):
        within_class_spread_ratio(np.ones((4, 2)), [0, 0, 1, 1])
    with refused(DataError, "labels"):
        within_class_spread_ratio(np.ones((4, 2)), [0, 1])


def test_triangle_regularity():
    assert triangle_regularity([[0, 0], [1, 0], [0.5, np.sqrt(0.75)]]) == pytest.approx(1)
    assert triangle_regularity([[0, 0], [3, 0], [0, 4]]) == pytest.approx(5 / 3)
    with refused(DataError, "templates"):
        triangle_regularity([[0, 0], [0, 0], [1, 0]])
