"""Diffusion index and its sets of classes: closed forms, the zero-sum identity, invariances, bad input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused

from softlabels.errors import DataError, SpecError
from softlabels.grid.declared.datasets import DATASETS, family
from softlabels.metrics.class_sets import ClassSets, by_groups, class_ids, consistency, families, read_groups
from softlabels.metrics.diffusion import (
    Activations,
    by_distance,
    centroid_distances,
    diffusion_index,
    pairwise_distances,
)

NAMES = ("poodle", "terrier", "husky", "boat", "submarine")
SETS = ClassSets("poodle", ("terrier", "husky"), ("boat", "submarine"))


def clouds(seed: int, per_class: int = 7, width: int = 4) -> Activations:
    """Five clusters `[35, 4]`, labels shuffled."""
    rng = np.random.default_rng(seed)
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(5), per_class))
    features = 3 * rng.normal(size=(5, width))[labels] + rng.normal(size=(len(labels), width))
    return Activations(features, labels, NAMES, f"student{seed}.safetensors")


def points(*distances: float) -> Activations:
    """The target class at 0 and the others on a line at these distances, two images each, half a unit to both sides."""
    centres = np.array([0.0, *distances])
    features = np.column_stack([np.repeat(centres, 2), np.tile([0.5, -0.5], len(centres))])
    return Activations(features, np.repeat(np.arange(5), 2), NAMES, "probe.safetensors")


# ---------------------------------------------------------------- the index


def test_index_of_a_worked_example():
    """Distances 1, 1, 4, 4 become 1, 2, 8, 9: relative 0.1, 0.1, 0.4, 0.4 become 0.05, 0.1, 0.4, 0.45."""
    found = diffusion_index(points(1, 1, 4, 4), points(1, 2, 8, 9), SETS)
    assert found == pytest.approx(
        {
            "similar": (-50 + 0) / 2,
            "dissimilar": (0 + 12.5) / 2,
            "unnormalised_similar": (0 + 100) / 2,
            "unnormalised_dissimilar": (100 + 125) / 2,
        }
    )


@given(st.integers(0, 2**16), st.sampled_from([centroid_distances, pairwise_distances]))
def test_changes_weighted_by_the_distance_before_sum_to_zero(seed, distance):
    before, after = clouds(seed), clouds(seed + 1)
    first = distance(before, "poodle", SETS.classes)
    eta = [
        diffusion_index(before, after, sets, distance)["similar"]  # η_κ: |S1| = 1, the union stays the same
        for sets in (
            ClassSets("poodle", (name,), tuple(other for other in SETS.classes if other != name))
            for name in SETS.classes
        )
    ]
    assert np.max(np.abs(eta)) > 1e-3
    assert np.dot(first / first.sum(), eta) == pytest.approx(0, abs=1e-9)
    found = diffusion_index(before, after, SETS, distance)
    assert [found["similar"], found["dissimilar"]] == pytest.approx([np.mean(eta[:2]), np.mean(eta[2:])])


def test_at_equal_distances_the_two_signs_are_one_and_else_need_not_be():
    found = diffusion_index(points(2, 2, 2, 2), points(1, 2, 3, 5), SETS)
    assert 2 * found["similar"] + 2 * found["dissimilar"] == pytest.approx(0)
    # Relative 0.1, 0.1, 0.1, 0.7 become 0.095, 0.095, 0.05, 0.76: the far class gains and counts as one of two.
    found = diffusion_index(points(0.1, 0.1, 0.1, 0.7), points(0.095, 0.095, 0.05, 0.76), SETS)
    assert found["similar"] == pytest.approx(-5)
    assert found["dissimilar"] == pytest.approx((-50 + 60 / 7) / 2)


@given(st.integers(0, 2**16), st.floats(0.01, 100), st.sampled_from([centroid_distances, pairwise_distances]))
def test_the_scale_of_a_network_does_not_count(seed, scale, distance):
    before, after = clouds(seed), clouds(seed + 1)
    found = diffusion_index(before, after, SETS, distance)
    scaled = diffusion_index(before, replace(after, features=scale * after.features), SETS, distance)
    for name in ("similar", "dissimilar"):
        assert scaled[name] == pytest.approx(found[name], abs=1e-7)
        plain = 100 + found[f"unnormalised_{name}"]
        assert 100 + scaled[f"unnormalised_{name}"] == pytest.approx(scale * plain)
    alone = diffusion_index(before, replace(before, features=scale * before.features), SETS, distance)
    assert alone["similar"] == pytest.approx(0, abs=1e-9)


@given(st.integers(0, 2**16), st.sampled_from([centroid_distances, pairwise_distances]))
def test_shifts_and_rotations_do_not_count(seed, distance):
    before, after = clouds(seed), clouds(seed + 1)
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    moved = replace(after, features=after.features @ rotation + 50 * rng.normal(size=4))
    assert diffusion_index(before, moved, SETS, distance) == pytest.approx(
        diffusion_index(before, after, SETS, distance), abs=1e-7
    )


def test_pairwise_distances_of_points_are_those_of_centroids_and_of_clouds_are_larger():
    cloud = clouds(0)
    centres = np.stack([cloud.features[cloud.labels == k].mean(axis=0) for k in range(5)])
    collapsed = replace(cloud, features=centres[cloud.labels])
    expected = np.linalg.norm(centres[1:] - centres[0], axis=1)
    assert centroid_distances(cloud, "poodle", NAMES[1:]) == pytest.approx(expected)
    assert pairwise_distances(collapsed, "poodle", NAMES[1:]) == pytest.approx(expected)
    assert (pairwise_distances(cloud, "poodle", NAMES[1:]) > expected + 0.01).all()  # a norm is convex
    # Images at ±1/2 beside a line of length 3: half of the pairs are level, half a unit apart across.
    assert pairwise_distances(points(3, 1, 1, 1), "poodle", ["terrier"]) == pytest.approx((3 + np.sqrt(10)) / 2)


def test_half_precision_is_averaged_in_double():
    """Activations 1 and 1 + 2⁻¹⁰, fp16's next number: their mean is none of fp16's."""
    features = np.array([0.0, 0.0, 1.0, 1.0 + 2**-10, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0], dtype=np.float16)[:, None]
    x = Activations(features, np.repeat(np.arange(5), 2), NAMES, "probe")
    assert centroid_distances(x, "poodle", SETS.classes).tolist() == [1 + 2**-11, 2, 3, 4]


# ---------------------------------------------------------------- activations that do not go together


def test_activations_of_another_run_are_named():
    before = clouds(0)
    other = replace(before, labels=before.labels[::-1].copy(), origin="other.safetensors")
    with refused(DataError, "student0.safetensors", "other.safetensors", "labels"):
        diffusion_index(before, other, SETS)
    with refused(DataError, "5 and 6"):
        diffusion_index(before, replace(before, class_names=(*NAMES, "canoe")), SETS)
    with refused(DataError, "4 and 3"):
        diffusion_index(before, replace(before, features=before.features[:, :3]), SETS)


def test_classes_without_images_and_unknown_classes_are_named():
    x = replace(clouds(0), class_names=(*NAMES, "canoe"))
    for distance in (centroid_distances, pairwise_distances):
        with refused(DataError, "student0.safetensors", "canoe"):
            distance(x, "poodle", ["boat", "canoe"])
        with refused(SpecError, "student0.safetensors", "pudel"):
            distance(x, "pudel", ["boat"])
    with refused(DataError, "canoe"):
        by_distance(x, "poodle", 10, 50)


def test_malformed_activations_are_named():
    x = clouds(0)
    with refused(DataError, "student0.safetensors", "labels"):
        replace(x, class_names=NAMES[:4])
    with refused(DataError, "labels"):
        replace(x, labels=x.labels[:-1])
    with refused(DataError, "labels"):
        replace(x, labels=x.labels.astype(float))
    with refused(DataError, "NaN"):
        replace(x, features=np.full_like(x.features, np.nan))


def test_classes_in_one_point_are_named():
    with refused(DataError, "probe.safetensors", "poodle", "husky"):
        diffusion_index(points(1, 0, 2, 3), points(1, 1, 2, 3), SETS)
    with refused(DataError, "probe.safetensors"):
        diffusion_index(points(1, 1, 2, 3), points(0, 0, 0, 0), SETS)
    # One class that falls onto the target has come closer by all of its distance.
    found = diffusion_index(points(1, 1, 2, 4), points(0, 1, 2, 5), SETS)
    assert found["similar"] == pytest.approx((-100 + 0) / 2)


# ---------------------------------------------------------------- choice of S1 and S2


def line(count: int) -> Activations:
    """Class k at the place k², one image each."""
    place = np.arange(count, dtype=float)[:, None] ** 2
    return Activations(place, np.arange(count), [f"c{k}" for k in range(count)], "reference.safetensors")


def test_sets_by_distance_have_the_sizes_of_the_paper():
    sets = by_distance(line(1000), "c500")  # 1 % and 90 % of 999
    assert len(sets.similar) == 10
    assert len(sets.dissimilar) == 900
    assert set(sets.similar) == {f"c{k}" for k in range(495, 506) if k != 500}
    rank = {f"c{k}": abs(k * k - 500 * 500) for k in range(1000)}
    assert min(rank[name] for name in sets.dissimilar) > max(rank[name] for name in sets.similar)
    assert len({*sets.classes}) == 910


def test_sets_by_distance_of_few_classes():
    assert by_distance(line(6), "c2", 20, 40) == ClassSets("c2", ("c1",), ("c4", "c5"))
    # Of equally far classes the first ones are nearer.
    place = np.where(np.arange(60) % 2 == 0, 1.0, -1.0)[:, None] * np.array([[0.0], *[[1.0]] * 59])
    tied = by_distance(Activations(place, np.arange(60), [f"c{k}" for k in range(60)], "reference"), "c0", 5, 5)
    assert tied == ClassSets("c0", ("c1", "c2", "c3"), ("c57", "c58", "c59"))


def test_impossible_percentages_are_named():
    with refused(SpecError, "1 %", "90 %"):
        by_distance(line(10), "c0")
    for bad in ({"nearest": 0}, {"farthest": 101}, {"nearest": float("nan")}):
        with refused(SpecError, next(iter(bad))):
            by_distance(line(10), "c0", **bad)
    with refused(SpecError, "reference.safetensors", "c77"):
        by_distance(line(10), "c77", 10, 10)


def test_sets_by_a_table_of_groups(tmp_path: Path):
    path = tmp_path / "groups.csv"
    path.write_text("\ufeffclass,group\nhusky,dog\nboat,vessel\n\n poodle , dog\nsubmarine,vessel\nterrier,dog\n")
    groups = read_groups(path)
    assert groups == {"husky": "dog", "boat": "vessel", "poodle": "dog", "submarine": "vessel", "terrier": "dog"}
    assert by_groups(groups, "poodle") == ClassSets("poodle", ("husky", "terrier"), ("boat", "submarine"))
    assert by_groups(groups, "boat").similar == ("submarine",)
    with refused(SpecError, "pudel", "poodle"):
        by_groups(groups, "pudel")
    with refused(SpecError, "S1", "boat"):
        by_groups({"boat": "vessel", "husky": "dog"}, "boat")
    with refused(SpecError, "S2", "boat"):
        by_groups({"boat": "vessel", "submarine": "vessel"}, "boat")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "class,group"),
        ("name,group\nboat,vessel\n", "class,group"),
        ("class,group\nboat\n", "line 2"),
        ("class,group\nboat,\n", "line 2"),
        ("class,group\nboat,vessel,big\n", "line 2"),
        ("class,group\nboat,vessel\nhusky,dog\nboat,dog\n", "line 4"),
        ("class,group\nb\xe9,dog\n", "UTF-8"),
    ],
)
def test_malformed_tables_are_named(tmp_path: Path, text: str, named: str):
    path = tmp_path / "groups.csv"
    path.write_bytes(text.encode("latin-1"))
    with refused(SpecError, named) as error:
        read_groups(path)
    assert str(path) in str(error.value)


def test_a_missing_table_is_named(tmp_path: Path):
    with refused(SpecError, "groups.csv"):
        read_groups(tmp_path / "groups.csv")


def test_families_of_glyphs():
    names = DATASETS["glyphs"].class_names
    assert names is not None
    assert families("glyphs") == {name: family(name) for name in names}
    sets = by_groups(families("glyphs"), "cross_1")
    assert sets.similar == ("cross_0", "cross_2", "cross_3")
    assert len(sets.dissimilar) == 16
    with refused(SpecError, "cifar10"):
        families("cifar10")


@pytest.mark.parametrize(
    ("similar", "dissimilar", "named"),
    [
        ((), ("b",), "S1"),
        (("b",), (), "S2"),
        (("b", "c"), ("d", "c"), "c"),
        (("a", "b"), ("c",), "S1"),
        (("b",), ("c", "a"), "S2"),
        (("b", "b"), ("c",), "S1"),
    ],
)
def test_sets_that_cannot_be_are_named(similar, dissimilar, named):
    with refused(SpecError, named):
        ClassSets("a", similar, dissimilar)


def test_labels_of_class_names():
    assert class_ids(["boat", "poodle"], NAMES, "options.classes") == {"boat": 3, "poodle": 0}
    with refused(SpecError, "options.classes", "sub marine", "submarine"):
        class_ids(["boat", "sub marine"], NAMES, "options.classes")
    with refused(SpecError, "poodle"):
        class_ids(["n0123"], NAMES, "options.classes")
    with refused(SpecError, "crane"):
        class_ids(["crane"], ["crane", "heron", "crane"], "options.classes")


def test_consistency_is_the_share_of_the_first_that_the_second_has():
    first = ClassSets("a", ("b", "c", "d", "e"), ("f", "g"))
    second = ClassSets("a", ("b", "c", "d", "x", "y", "z"), ("g", "f", "v", "w"))
    assert consistency(first, second) == (0.75, 1.0)
    assert consistency(second, first) == (0.5, 0.5)
    with refused(SpecError, "a", "b"):
        consistency(first, ClassSets("b", ("a",), ("f",)))
