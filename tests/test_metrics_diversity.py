"""Confidence diversity: closed forms, another implementation, what rounding would do, degenerate input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from refusals import refused
from scipy.integrate import quad
from scipy.spatial import KDTree
from scipy.special import digamma, log_expit, logit
from scipy.stats import norm

from softlabels.errors import DataError, SpecError
from softlabels.metrics import beta_smoothing
from softlabels.metrics.diversity import confidence_diversity, differential_entropy
from softlabels.metrics.soft_targets import softmax

few = settings(max_examples=50)
N = 50_000
"""Samples of the closed forms. The estimate's standard deviation is then below 0.009 at any k of the tests."""


def two_classes(odds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits `[N, 2]` whose class 0 has these log-odds, and labels of class 0."""
    return np.column_stack([odds, np.zeros_like(odds)]), np.zeros(len(odds), dtype=int)


@pytest.mark.parametrize("k", [1, 3, 5, 10])
@pytest.mark.parametrize(("a", "entropy"), [(1, 0.0), (3, -0.432), (50, -2.932)])
def test_beta_distributions_have_their_closed_form(a, entropy, k):
    c = np.random.default_rng(0).beta(a, 1, N)
    assert beta_smoothing.diversity(a) == pytest.approx(entropy, abs=5e-4)
    assert differential_entropy(c, k) == pytest.approx(entropy, abs=0.03)
    assert confidence_diversity(*two_classes(logit(c)), k=k) == pytest.approx(differential_entropy(c, k), abs=1e-6)


def test_the_bias_of_few_uniform_samples_has_its_closed_form():
    """(2 log 2 − 1)/N at k = 1, from the spacings of N samples: the smaller of two, one at the ends.

    No bias would show, and so would log N in place of ψ(N). The mean's standard deviation is 0.0103.
    """
    rng = np.random.default_rng(0)
    estimates = [differential_entropy(rng.uniform(size=5), k=1) for _ in range(4000)]
    assert np.mean(estimates) == pytest.approx((2 * np.log(2) - 1) / 5, abs=0.035)


@pytest.mark.parametrize("k", [1, 2, 3, 7])
def test_distances_are_those_of_another_implementation(k):
    """Also of the fewest samples that are allowed, and of clusters with some neighbours on one side only."""
    for n in (k + 1, k + 2, 40, 301):
        x = np.random.default_rng(n).normal(size=n) + 9 * (np.arange(n) % 3)
        distances, _ = KDTree(x[:, None]).query(x[:, None], k + 1)
        expected = digamma(n) - digamma(k) + np.log(2) + np.log(distances[:, k]).mean()
        assert differential_entropy(x, k) == pytest.approx(expected, rel=1e-9)


@few
@given(st.floats(-50, 50), st.sampled_from([-30.0, -0.5, 1e-3, 4.0]), st.integers(1, 10))
def test_shift_and_scale(shift, scale, k):
    """h(aX + b) = h(X) + log|a|, of estimates too."""
    x = np.random.default_rng(2).normal(size=200)
    expected = differential_entropy(x, k) + np.log(abs(scale))
    assert differential_entropy(scale * x + shift, k) == pytest.approx(expected, abs=1e-6)


@few
@given(arrays(np.float64, (30, 5), elements=st.floats(-6, 6)), st.floats(0.5, 4))
def test_diversity_is_the_entropy_of_the_true_class_probability(noise, temperature):
    logits = noise + np.random.default_rng(0).normal(size=(30, 5))  # no ties
    labels = np.arange(30) % 5
    own = softmax(logits, temperature)[np.arange(30), labels]
    found = confidence_diversity(logits, labels, temperature)
    assert found == pytest.approx(differential_entropy(own), abs=1e-5)
    assert found == pytest.approx(confidence_diversity(logits / temperature, labels), abs=1e-9)


def test_order_of_examples_does_not_matter():
    rng = np.random.default_rng(4)
    logits, labels, order = rng.normal(size=(50, 6)), rng.integers(6, size=50), rng.permutation(50)
    value = confidence_diversity(logits, labels)
    assert confidence_diversity(logits[order], labels[order]) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize(("mean", "rounded"), [(14, np.float32), (60, np.float64), (-900, np.float64)])
def test_diversity_of_confident_teachers_is_not_lost_in_rounding(mean, rounded):
    """Log-odds N(mean, 4²): h(σ(M)) = h(M) + E[log σ(M) + log σ(−M)]. Probabilities round to 1 (or 0) and tie."""
    odds = np.random.default_rng(0).normal(mean, 4, 45_000)
    slope = quad(lambda m: norm.pdf(m, mean, 4) * (log_expit(m) + log_expit(-m)), mean - 40, mean + 40)[0]
    expected = norm(mean, 4).entropy() + slope
    # the mean of log σ′ over the samples has a standard deviation of at most 4/√N = 0.019
    assert confidence_diversity(*two_classes(odds)) == pytest.approx(expected, abs=0.08)
    probabilities = softmax(two_classes(odds)[0])[:, 0].astype(rounded)
    with refused(DataError, "k", varies=r"^\d+"):
        differential_entropy(probabilities)


def test_temperature_spreads_the_confidences_of_a_confident_teacher():
    """Zhang & Sabuncu, Fig. 2: diversity rises with T, to where targets become alike again."""
    logits, labels = two_classes(np.random.default_rng(0).normal(10, 3, 2000))
    cool, warm, hot = (confidence_diversity(logits, labels, t) for t in (1, 5, 1000))
    assert cool < warm > hot


def test_equal_samples_are_allowed_up_to_k():
    x = np.random.default_rng(0).uniform(size=20)
    pairs = np.repeat(x, 2)
    assert np.isfinite(differential_entropy(pairs, k=2))
    with refused(DataError, "40 of 40"):
        differential_entropy(pairs, k=1)
    with refused(DataError, "4 of 44", "k"):
        differential_entropy(np.append(pairs, [0.5] * 4))
    with refused(DataError, "density"):  # label smoothing: one target for all
        confidence_diversity(np.tile(np.log([0.85, 0.05, 0.05, 0.05]), (9, 1)), np.zeros(9, dtype=int))


def test_bad_input_is_named():
    x = np.arange(5.0)
    for k in (5, 6):
        with refused(DataError, k, "5"):
            differential_entropy(x, k)
    for bad in (x[:, None], [0.0, 1.0, np.nan, 2.0, 3.0], [0.0, 1.0, np.inf, 2.0, 3.0]):
        with refused(DataError, "[N]"):
            differential_entropy(bad)
    with refused(DataError, "3"):
        differential_entropy([])
    with refused(SpecError, "neighbours"):
        differential_entropy(x, 0)
    logits, labels = two_classes(x)
    with refused(SpecError, "temperature"):
        confidence_diversity(logits, labels, 0)
    with refused(DataError, "labels"):
        confidence_diversity(logits, labels + 2)
