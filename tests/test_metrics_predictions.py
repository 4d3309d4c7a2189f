"""Accuracy, likelihood, calibration: closed forms, properties, other libraries' values."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from refusals import refused

from softlabels.errors import DataError, SpecError
from softlabels.metrics.calibration import GRID, ece, fit_temperature, reliability
from softlabels.metrics.classification import class_accuracy, error, nll, top_k_accuracy
from softlabels.metrics.soft_targets import gamma, softmax
from softlabels.models import library

K = 12


@pytest.fixture(scope="module")
def sample() -> tuple[np.ndarray, np.ndarray]:
    """Over-confident logits [600, 12], about two thirds of them right."""
    rng = np.random.default_rng(7)
    labels = rng.integers(K, size=600)
    logits = 2.5 * rng.normal(size=(600, K))
    logits[np.arange(600), labels] += 5
    return logits.astype(np.float32), labels


logits_of_few = arrays(np.float64, (6, 4), elements=st.floats(-30, 30))
labels_of_few = arrays(np.int64, (6,), elements=st.integers(0, 3))
temperatures = st.floats(0.1, 50)


# ---------------------------------------------------------------- classification


@pytest.mark.parametrize("k", [1, 3, 5, K])
def test_top_k_accuracy_is_that_of_sklearn(sample, k):
    logits, labels = sample
    expected = sklearn.metrics.top_k_accuracy_score(labels, logits, k=k, labels=np.arange(K)) if k < K else 1.0
    assert top_k_accuracy(logits, labels, k) == pytest.approx(100 * expected)
    assert error(logits, labels) == pytest.approx(100 - 100 * np.mean(logits.argmax(1) == labels))


def test_equal_logits_rank_by_class_as_argmax_does():
    logits = np.zeros((10, 10))
    assert top_k_accuracy(logits, np.arange(10)) == 10
    assert top_k_accuracy(logits, np.arange(10), k=5) == 50


def test_nll_is_that_of_sklearn_and_of_cross_entropy(sample):
    logits, labels = sample
    assert nll(logits, labels) == pytest.approx(sklearn.metrics.log_loss(labels, softmax(logits), labels=np.arange(K)))
    tempered = torch.nn.functional.cross_entropy(torch.tensor(logits).double() / 3, torch.tensor(labels))
    assert nll(logits, labels, temperature=3) == pytest.approx(tempered.item())


def test_nll_of_a_certain_mistake_is_finite():
    assert nll([[1e4, 0.0]], [1]) == pytest.approx(1e4)


def test_accuracy_of_classes(sample):
    logits, labels = np.eye(4)[[0, 0, 1, 2, 2, 2]], np.array([0, 0, 0, 2, 2, 3])
    table = class_accuracy(logits, labels, {"ship": 2, "cat": 0, "dog": 3})
    assert table["class"].tolist() == ["ship", "cat", "dog"]
    assert table["count"].tolist() == [2, 3, 1]
    assert table["top1"].tolist() == pytest.approx([100, 200 / 3, 0])
    with refused(DataError, "frog"):
        class_accuracy(logits, labels, {"cat": 0, "frog": 1})
    logits, labels = sample
    table = class_accuracy(logits, labels, {str(k): k for k in range(K)})
    recall = sklearn.metrics.recall_score(labels, logits.argmax(1), average=None)
    assert table["top1"].tolist() == pytest.approx(100 * recall)
    assert np.average(table["top1"], weights=table["count"]) == pytest.approx(top_k_accuracy(logits, labels))


@pytest.mark.parametrize(
    ("logits", "labels", "named"),
    [
        (np.zeros((3, 4)), np.zeros(2, int), "3 integers"),
        (np.zeros((3, 4)), np.zeros(3), "3 integers"),
        (np.zeros((3, 4)), np.array([0, 1, 4]), "4 classes"),
        (np.zeros((3, 4)), np.array([0, -1, 3]), "-1"),
        (np.full((3, 4), np.nan), np.zeros(3, int), "NaN"),
        (np.zeros((0, 4)), np.zeros(0, int), "N ≥ 1"),
        (np.zeros(4), np.zeros(4, int), "[N, K]"),
    ],
)
@pytest.mark.parametrize("metric", [top_k_accuracy, nll, ece, gamma, fit_temperature])
def test_malformed_input_is_named(metric, logits, labels, named):
    with refused(DataError, named):
        metric(logits, labels)


def test_impossible_settings_are_named(sample):
    with refused(DataError, "top-5"):
        top_k_accuracy(np.zeros((2, 3)), np.zeros(2, int), k=5)
    with refused(SpecError, "temperature"):
        gamma(*sample, temperature=0)
    with refused(SpecError, "bins"):
        ece(*sample, bins=0)
    with refused(SpecError, "criterion"):
        fit_temperature(*sample, criterion="brier")


# ---------------------------------------------------------------- calibration


@pytest.mark.parametrize("bins", [15, 20])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_ece_is_that_of_torchmetrics(sample, bins, temperature):
    logits, labels = sample
    torchmetrics = library.load("torchmetrics.classification")  # imports torchvision
    metric = torchmetrics.MulticlassCalibrationError(num_classes=K, n_bins=bins, norm="l1")
    # In float64 no confidence is rounded onto an edge, where the bins of torchmetrics are others.
    theirs = metric(torch.tensor(softmax(logits, temperature)), torch.tensor(labels)).item()
    assert ece(logits, labels, bins, temperature) == pytest.approx(theirs, abs=1e-6)


def test_reliability_of_a_toy():
    # Confidences 0.6 (right), 0.6 (wrong), 0.9 (right) in bins of a quarter.
    logits = np.log([[0.6, 0.4], [0.6, 0.4], [0.1, 0.9]])
    table = reliability(logits, [0, 1, 1], bins=4)
    assert table["count"].tolist() == [0, 0, 2, 1]
    assert table["confidence"].tolist()[2:] == pytest.approx([0.6, 0.9])
    assert table["accuracy"].tolist()[2:] == [0.5, 1.0]
    assert table.loc[:1, ["confidence", "accuracy"]].isna().all(axis=None)
    assert ece(logits, [0, 1, 1], bins=4) == pytest.approx((2 * 0.1 + 0.1) / 3)


def test_bins_are_closed_above():
    # A confidence of exactly 0.5 belongs to (0, 0.5], one of exactly 1 to (0.5, 1].
    table = reliability([[0.0, 0.0], [1e4, 0.0]], [0, 0], bins=2)
    assert table["count"].tolist() == [1, 1]
    assert table["confidence"].tolist() == [0.5, 1.0]


@given(logits_of_few, labels_of_few, st.integers(1, 30), temperatures)
def test_every_example_is_in_its_bin_and_ece_is_at_most_one(logits, labels, bins, temperature):
    table = reliability(logits, labels, bins, temperature)
    filled = table[table["count"] > 0]
    assert table["count"].sum() == len(labels)
    assert (filled["confidence"] > filled["lower"] - 1e-12).all()
    assert (filled["confidence"] <= filled["upper"] + 1e-12).all()
    assert 0 <= ece(logits, labels, bins, temperature) <= 1
    assert ece(logits, labels, bins=1) == pytest.approx(
        abs(np.mean(logits.argmax(1) == labels) - softmax(logits).max(1).mean())
    )


def test_temperature_scaling_recovers_the_temperature_of_the_labels():
    rng = np.random.default_rng(0)
    logits = 3 * rng.normal(size=(20_000, 5))
    labels = (logits / 2 + rng.gumbel(size=logits.shape)).argmax(axis=1)  # drawn from softmax(z / 2)
    assert fit_temperature(logits, labels, "nll") == pytest.approx(2, abs=0.05)
    assert fit_temperature(logits, labels, "ece") == pytest.approx(2, abs=0.15)


def test_nll_temperature_is_the_minimum(sample):
    best = fit_temperature(*sample, "nll")
    assert nll(*sample, best) <= min(nll(*sample, t) for t in np.linspace(0.5, 5, 91))


def test_ece_temperature_is_the_best_of_the_grid(sample):
    best = fit_temperature(*sample, "ece", bins=20)
    assert best in GRID
    assert ece(*sample, 20, best) == pytest.approx(min(ece(*sample, 20, t) for t in GRID), abs=1e-12)


def test_of_equal_temperatures_the_one_closest_to_1_is_taken():
    assert fit_temperature(np.zeros((8, 4)), np.arange(8) % 4, "ece") == 1.0
