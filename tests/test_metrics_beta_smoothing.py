"""Beta smoothing: closed forms of the distribution, ranks and their ties, targets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from refusals import refused
from scipy.special import gammaln
from scipy.stats import beta as beta_distribution
from scipy.stats import kstest

from softlabels.errors import DataError, SpecError
from softlabels.metrics.beta_smoothing import diversity, label_values, mean_label, ranks, shape_of_label, targets
from softlabels.metrics.soft_targets import effective_label, entropy

few = settings(max_examples=50)
shapes = st.floats(0.05, 500)


def test_the_papers_shape_is_3():
    """Label 0.85, CE weight 0.4."""
    assert shape_of_label(0.85, beta=0.6) == pytest.approx(3)
    assert mean_label(3) == 0.75
    assert mean_label(3, beta=0.6) == pytest.approx(0.85)


@few
@given(shapes, st.floats(0.05, 1))
def test_shape_and_label_are_inverse(a, beta):
    assert shape_of_label(mean_label(a, beta), beta) == pytest.approx(a, rel=1e-9)


@few
@given(shapes)
def test_mean_and_entropy_are_scipys(a):
    assert mean_label(a) == pytest.approx(beta_distribution(a, 1).mean())
    assert diversity(a) == pytest.approx(beta_distribution(a, 1).entropy(), abs=1e-9)
    assert diversity(a) <= 0


@pytest.mark.parametrize("a", [0.5, 1, 3, 50])
def test_values_are_beta_distributed(a):
    rng = np.random.default_rng(0)
    values = label_values(rng.uniform(size=5000), rng.permutation(5000), a)
    assert kstest(values, beta_distribution(a, 1).cdf).pvalue > 0.01
    spread = beta_distribution(a, 1).std() / np.sqrt(5000)
    assert values.mean() == pytest.approx(mean_label(a), abs=4 * spread)


def test_values_of_a_rank_have_the_closed_form():
    """E b₍ᵢ₎ = E U₍ᵢ₎^(1/a) = Γ(i + 1/a) Γ(m + 1) / (Γ(i) Γ(m + 1 + 1/a)) of the i-th of m, over 4000 batches."""
    m, a, rng = 8, 3.0, np.random.default_rng(1)
    rank = np.array([3, 0, 7, 1, 6, 2, 5, 4])
    drawn = np.array([label_values(rng.uniform(size=m), rank, a) for _ in range(4000)])
    i = rank + 1
    expected = np.exp(gammaln(i + 1 / a) + gammaln(m + 1) - gammaln(i) - gammaln(m + 1 + 1 / a))
    assert drawn.mean(axis=0) == pytest.approx(expected, abs=0.012)  # standard deviations are at most 0.16/√4000
    assert (drawn[:, rank.argsort()] == np.sort(drawn, axis=1)).all()


def test_the_most_confident_is_smoothed_least():
    uniform = [0.027, 0.729, 0.343]
    assert label_values(uniform, [1, 0, 2], a=3) == pytest.approx([0.7, 0.3, 0.9])
    assert label_values([0.0, 1.0], [1, 0], a=2) == pytest.approx([1, 0])


def test_ranks_by_the_largest_or_by_the_true_class():
    logits = np.array([[0.0, 4.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 3.0]])
    labels = np.array([0, 0, 0])
    assert ranks(logits, labels, "max_probability").tolist() == [2, 0, 1]
    assert ranks(logits, labels, "true_class").tolist() == [0, 2, 1]  # the confident errors are smoothed most


@few
@given(
    arrays(np.int64, (7, 3), elements=st.integers(0, 2)),
    arrays(np.int64, (7,), elements=st.integers(0, 2)),
    st.sampled_from(["max_probability", "true_class"]),
)
def test_of_equals_the_earlier_ranks_lower(logits, labels, by):
    """Whole numbers of few values, so that many rows tie; of rows with the same logits in another order too."""
    found = ranks(logits, labels, by)
    assert sorted(found) == list(range(7))
    # what p orders by, exactly: the row in one order, its chosen logit apart from the others
    own = [max(row) if by == "max_probability" else row[y] for row, y in zip(logits.tolist(), labels, strict=True)]
    odds = [np.exp(z) / (sum(np.exp(sorted(row))) - np.exp(z)) for row, z in zip(logits.tolist(), own, strict=True)]
    keys = [(round(value, 9), place) for place, value in enumerate(odds)]
    assert [keys[place] for place in np.argsort(found)] == sorted(keys)


def test_a_batch_of_equals_is_ranked_by_place():
    assert ranks(np.zeros((5, 4)), np.zeros(5, dtype=int), "max_probability").tolist() == [0, 1, 2, 3, 4]
    shuffled = np.array([[0.1, 0.7, 1.3], [1.3, 0.1, 0.7], [0.7, 1.3, 0.1]])
    assert ranks(shuffled, [0, 0, 0], "max_probability").tolist() == [0, 1, 2]


def test_probabilities_that_round_to_1_keep_their_order():
    logits = np.array([[62.0, 0.0], [60.0, 0.0], [61.0, 0.0]])
    for by in ("max_probability", "true_class"):
        assert ranks(logits, [0, 0, 0], by).tolist() == [2, 0, 1]


@few
@given(st.integers(2, 20), st.integers(1, 40), st.integers(0, 2**16))
def test_targets_are_distributions_with_their_value_on_the_label(num_classes, m, seed):
    rng = np.random.default_rng(seed)
    b, labels = rng.uniform(0.01, 0.99, size=m), rng.integers(num_classes, size=m)
    found = targets(b, labels, num_classes)
    assert found.sum(axis=1) == pytest.approx(np.ones(m))
    assert found[np.arange(m), labels] == pytest.approx(b)
    assert effective_label(np.log(found), labels) == pytest.approx(b.mean())
    others = (1 - b) / (num_classes - 1)
    expected = -(b * np.log(b) + (1 - b) * np.log(others)).mean()  # in nats
    assert entropy(np.log(found)) == pytest.approx(expected)


def test_one_value_for_all_is_label_smoothing_over_the_others():
    assert targets([0.85] * 2, [1, 3], 4) == pytest.approx(np.full((2, 4), 0.05) + 0.8 * np.eye(4)[[1, 3]])
    assert targets([1.0, 0.0], [0, 0], 3) == pytest.approx(np.array([[1, 0, 0], [0, 0.5, 0.5]]))


def test_shapes_and_labels_that_do_not_exist_are_named():
    for a in (0, -1, np.nan, np.inf):
        for call in (mean_label, diversity, lambda a: label_values([0.5], [0], a)):
            with refused(SpecError, "Beta(a, 1)", a):
                call(a)
    for label in (0.4, 0.3, 1, 1.2, np.nan):
        with refused(SpecError, "0.4"):
            shape_of_label(label, beta=0.6)
    for beta in (0, -0.5, 1.5):
        for call in (mean_label, shape_of_label):
            with refused(SpecError, "beta"):
                call(0.9, beta)


def test_bad_input_is_named():
    for uniform in ([], [[0.5]], [0.5, 1.5], [np.nan]):
        with refused(DataError, "draws"):
            label_values(uniform, [0], 3)
    for rank in ([0, 0], [1, 2], [0], [0.0, 1.0]):
        with refused(DataError, "ranks"):
            label_values([0.1, 0.2], rank, 3)
    with refused(SpecError, "max_probability"):
        ranks(np.zeros((2, 2)), [0, 0], "entropy")
    with refused(DataError, "labels"):
        ranks(np.zeros((2, 2)), [0, 2], "max_probability")
    for values, labels in (([0.5], [0, 1]), ([1.5], [0]), ([[0.5]], [[0]])):
        with refused(DataError, "[m]"):
            targets(values, labels, 3)
    for labels, num_classes in (([3], 3), ([1.0], 3), ([-1], 3), ([0], 1)):
        with refused(DataError, "classes"):
            targets([0.5], labels, num_classes)
