"""γ, log-odds, labels, mean targets, entropy and their temperatures: closed forms, properties, scipy's values."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from refusals import refused

from softlabels.errors import DataError, SpecError
from softlabels.metrics import soft_targets
from softlabels.metrics.arrays import log_softmax
from softlabels.metrics.soft_targets import (
    effective_label,
    entropy,
    equal_entropy_temperature,
    gamma,
    insignificant_classes,
    log_odds,
    mean_targets,
    softmax,
    temperature_of_entropy,
    temperature_of_label,
)

K = 12
LOGITS = 3 * np.random.default_rng(7).normal(size=(600, K))

logits_of_few = arrays(np.float64, (6, 4), elements=st.floats(-30, 30))
labels_of_few = arrays(np.int64, (6,), elements=st.integers(0, 3))
temperatures = st.floats(0.1, 50)


@given(st.integers(2, 300), st.floats(0.001, 0.95), st.integers(0, 2**16))
def test_gamma_of_smoothed_targets_is_alpha(num_classes, alpha, seed):
    labels = np.random.default_rng(seed).integers(num_classes, size=5)
    smoothed = np.full((5, num_classes), alpha / num_classes)
    smoothed[np.arange(5), labels] += 1 - alpha
    assert gamma(np.log(smoothed), labels) == pytest.approx(alpha, rel=1e-9)


@given(logits_of_few, labels_of_few, temperatures)
def test_gamma_is_the_wrong_mass(logits, labels, temperature):
    wrong = softmax(logits, temperature) * (np.arange(4) != labels[:, None])
    assert gamma(logits, labels, temperature) == pytest.approx(wrong.sum(1).mean() * 4 / 3, rel=1e-9, abs=1e-15)


def test_gamma_of_a_confident_teacher_is_not_lost_in_rounding():
    assert gamma([[50.0, 0.0]], [0]) == pytest.approx(2 * np.exp(-50.0), abs=0)


@given(logits_of_few, temperatures)
def test_entropy_is_that_of_scipy_and_at_most_log_k(logits, temperature):
    value = entropy(logits, temperature)
    expected = scipy.stats.entropy(softmax(logits, temperature), axis=1).mean()
    assert value == pytest.approx(expected, abs=1e-12)
    assert -1e-12 <= value <= np.log(4) + 1e-12


@given(logits_of_few, temperatures, st.floats(1.01, 4))
def test_a_higher_temperature_softens(logits, temperature, factor):
    assert entropy(logits, temperature * factor) >= entropy(logits, temperature) - 1e-12


def test_entropy_of_certain_targets_is_0():
    assert entropy([[1e4, 0.0, 0.0]]) == 0


def two_classes(gap: float, temperature: float) -> float:
    """Entropy of softmax((gap, 0) / T)."""
    q = 1 / (1 + np.exp(gap / temperature))
    return -q * np.log(q) - (1 - q) * np.log1p(-q)


def test_entropy_of_uniform_and_of_two_classes():
    for temperature in (0.1, 1, 64):
        assert entropy(np.full((3, 7), 5.0), temperature) == pytest.approx(np.log(7))
        expected = (two_classes(1, temperature) + two_classes(3, temperature)) / 2
        assert entropy([[1.0, 0.0], [0.0, 3.0]], temperature) == pytest.approx(expected)


def test_mean_targets_of_two_classes():
    found = mean_targets([[np.log(3), 0.0], [0.0, 0.0]], (1, 0.5))
    assert found == pytest.approx(np.array([[5 / 8, 3 / 8], [(0.9 + 0.5) / 2, (0.1 + 0.5) / 2]]))


@given(logits_of_few, st.lists(temperatures, min_size=1, max_size=3))
def test_mean_targets_are_the_mean_of_softmax(logits, chosen):
    found = mean_targets(logits, chosen)
    assert found.shape == (len(chosen), 4)
    assert found.sum(axis=1) == pytest.approx(np.ones(len(chosen)))
    for row, temperature in zip(found, chosen, strict=True):
        assert row == pytest.approx(softmax(logits, temperature).mean(axis=0))


def test_logits_are_worked_on_in_blocks(monkeypatch):
    """Whole and in blocks that do not divide N the numbers are the same, and no block is larger than said."""
    whole = entropy(LOGITS, 2), mean_targets(LOGITS, (1, 4))
    seen = []
    checked = soft_targets.checked_logits
    monkeypatch.setattr(soft_targets, "BLOCK", 7 * K + 5)
    monkeypatch.setattr(soft_targets, "checked_logits", lambda z: seen.append(len(z)) or checked(z))
    assert entropy(LOGITS, 2) == pytest.approx(whole[0], rel=1e-12)
    assert mean_targets(LOGITS, (1, 4)) == pytest.approx(whole[1], rel=1e-12)
    assert max(seen) == 7
    assert sum(seen) == 2 * len(LOGITS)


@given(arrays(np.float64, (6, 4), elements=st.floats(-8, 8)), labels_of_few, st.floats(1, 50))
def test_log_odds_are_those_of_softmax(logits, labels, temperature):
    p = softmax(logits, temperature)[np.arange(6), labels]
    assert log_odds(logits, labels, temperature) == pytest.approx(np.log(p / (1 - p)), abs=1e-8)


def test_log_odds_go_on_where_probabilities_end():
    found = log_odds([[900.0, 0.0, 0.0], [901.0, 0.0, 0.0], [900.0, 0.0, 0.0]], [0, 0, 1])
    assert found == pytest.approx([900 - np.log(2), 901 - np.log(2), -900])


def test_logits_that_are_given_stay_as_they_are():
    """`log_odds` masks the true class in a copy."""
    logits = np.array([[2.0, 0.0], [0.0, 2.0]])
    log_odds(logits, [0, 0])
    assert (logits == [[2, 0], [0, 2]]).all()


@given(logits_of_few, labels_of_few, temperatures, st.floats(0.05, 1))
def test_the_effective_label_mixes_hard_labels_and_targets(logits, labels, temperature, beta):
    own = softmax(logits, temperature)[np.arange(6), labels]
    expected = np.mean(1 - beta + beta * own)
    assert effective_label(logits, labels, temperature, beta) == pytest.approx(expected, abs=1e-12)


def test_targets_smoothed_over_the_others_have_a_label_of_1_minus_epsilon():
    """Zhang & Sabuncu's 0.85, with and without a weight."""
    smoothed = np.log([[0.85, 0.05, 0.05, 0.05], [0.05, 0.05, 0.05, 0.85]])
    assert effective_label(smoothed, [0, 3]) == pytest.approx(0.85)
    assert effective_label(smoothed, [0, 3], beta=0.4) == pytest.approx(0.94)


@given(st.floats(0.3, 60), st.floats(0.5, 30), st.sampled_from([1.0, 0.4]))
def test_the_temperature_of_a_label_in_closed_form(temperature, gap, beta):
    """Of two classes p_y = 1/(1 + exp(−gap/T))."""
    p = 1 / (1 + np.exp(-gap / temperature))
    if 0.5 + 1e-6 < p < 1 - 1e-6:
        found = temperature_of_label([[gap, 0.0], [0.0, gap]], [0, 1], 1 - beta + beta * p, beta)
        assert found == pytest.approx(temperature, rel=1e-6)


def test_a_temperature_gives_an_erring_teacher_the_papers_label():
    labels = LOGITS.argmax(axis=1)
    labels[:60] = (labels[:60] + 1) % K  # a tenth wrong
    found = temperature_of_label(LOGITS, labels, 0.85, beta=0.4)
    assert effective_label(LOGITS, labels, found, beta=0.4) == pytest.approx(0.85, abs=1e-12)
    assert softmax(LOGITS, found)[np.arange(600), labels].mean() == pytest.approx(0.625, abs=1e-12)


def test_of_several_temperatures_of_a_label_the_hottest():
    """A close second of many classes: its p_y rises from 0 to nearly ½ and falls to 1/K."""
    logits = [[1.0, 0.9, *[-3.0] * 48]]
    found = temperature_of_label(logits, [1], 0.2)
    assert effective_label(logits, [1], found) == pytest.approx(0.2)
    assert effective_label(logits, [1], 0.05) < 0.2 < effective_label(logits, [1], 0.5)  # another lies between these
    assert found > 0.5
    hotter = [effective_label(logits, [1], t) for t in found * np.geomspace(1.001, 100, 50)]
    assert max(hotter) < 0.2


def test_labels_out_of_reach_are_named():
    labels = LOGITS.argmax(axis=1)
    labels[:60] = (labels[:60] + 1) % K
    for label in (np.nan, np.inf, 0, 0.6, 0.97, 1):  # from 0.6 + 0.4/K to about 0.6 + 0.4 · 0.9
        with refused(DataError, f"{label:.6g}"):
            temperature_of_label(LOGITS, labels, label, beta=0.4)
    for logits, label in ((np.zeros((2, 3)), 1 / 3), (9 * np.eye(2), 1)):  # which every T gives, every low one
        with refused(DataError, "temperature"):
            temperature_of_label(logits, [0, 1], label)
    for beta in (0, 1.1, np.nan):
        with refused(SpecError, "beta"):
            temperature_of_label(LOGITS, labels, 0.85, beta)
    with refused(DataError, "labels"):
        temperature_of_label(LOGITS, labels[1:], 0.85)


def test_insignificant_classes_are_a_hundredth_of_the_second_or_less():
    p = np.array([0.004, 0.4, 0.005, 0.59, 0.0])  # of class 3; the second is class 1
    assert insignificant_classes(p, 3) == 2  # a hundredth exactly counts
    assert insignificant_classes(p, 3, factor=50) == 3
    assert insignificant_classes(p, 1) == 3  # p₂ is then class 3, the largest of all: 0.005 is below 0.0059
    assert insignificant_classes([0.5, 0.3, 0.2], 0) == 0  # never the second itself


def test_insignificant_classes_of_no_second_are_undefined():
    with refused(DataError, "probability 0"):
        insignificant_classes([1.0, 0.0, 0.0], 0)
    with refused(DataError, "class 3"):
        insignificant_classes([0.5, 0.3, 0.2], 3)
    with refused(DataError, "probabilities"):
        insignificant_classes([0.5, np.nan, 0.2], 0)
    with refused(SpecError, "factor"):
        insignificant_classes([0.5, 0.3, 0.2], 0, factor=1)


@given(st.floats(0.3, 60), st.floats(0.5, 30))
def test_the_temperature_of_an_entropy_in_closed_form(temperature, gap):
    nats = two_classes(gap, temperature)
    if 1e-6 < nats < np.log(2) - 1e-6:
        assert temperature_of_entropy([[gap, 0.0], [-gap, 0.0]], nats) == pytest.approx(temperature, rel=1e-6)


def test_one_teacher_is_as_soft_as_another():
    for temperature in (1, 3):
        found = equal_entropy_temperature(LOGITS, LOGITS / 2.5, temperature)  # a scale is a temperature
        assert found == pytest.approx(2.5 * temperature)
    softer = np.random.default_rng(1).normal(size=LOGITS.shape)
    found = equal_entropy_temperature(LOGITS, softer, 3)
    assert entropy(LOGITS, found) == pytest.approx(entropy(softer, 3), abs=1e-12)
    assert found > 3


def test_entropies_out_of_reach_are_named():
    for nats in (np.nan, np.inf, -1, 0, np.log(K), 3):
        with refused(DataError, f"{nats:.6g} nats"):
            temperature_of_entropy(LOGITS, nats)
    with refused(DataError, "0.5 nats"):
        temperature_of_entropy([[0.0, 0.0, -9.0]], 0.5)  # two equal largest: at least log 2
    with refused(DataError, "1 nats"):
        temperature_of_entropy(np.zeros((2, 3)), 1)
    with refused(DataError, "0 nats"):
        temperature_of_entropy(9 * np.eye(2), 0)  # in rounding every low T has it
    with refused(DataError, "(600, 5)"):
        equal_entropy_temperature(LOGITS, LOGITS[:, :5], 1)


@pytest.mark.parametrize("metric", [entropy, lambda z: mean_targets(z, (1, 2)), lambda z: temperature_of_entropy(z, 1)])
def test_malformed_logits_are_named_in_every_block(metric, monkeypatch):
    monkeypatch.setattr(soft_targets, "BLOCK", 8)
    logits = np.zeros((9, 4))
    logits[8, 1] = np.nan
    with refused(DataError, "NaN"):
        metric(logits)
    for shape in ((0, 4), (4,), (3, 2, 4), (3, 1)):
        with refused(DataError, "[N, K]"):
            metric(np.zeros(shape))


def test_log_softmax_is_that_of_scipy_to_the_bit():
    for scale in (1e-3, 1, 300):
        z = np.random.default_rng(0).normal(0, scale, (200, 7))
        np.testing.assert_array_equal(log_softmax(z), scipy.special.log_softmax(z, axis=1))
    assert log_softmax(np.zeros((0, 3))).shape == (0, 3)
