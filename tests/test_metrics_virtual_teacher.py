"""The virtual teacher: its released loss is label smoothing at a smaller step, and the page says by how much."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused
from scipy.special import log_softmax, softmax

from softlabels.errors import SpecError
from softlabels.metrics.virtual_teacher import released_smoothing, softened

few = settings(max_examples=50)
PAGE = Path(__file__).resolve().parents[1] / "docs" / "conventions.md"


def cross_entropy(target: np.ndarray, logits: np.ndarray) -> float:
    return float(-(target * log_softmax(logits, axis=1)).sum(axis=1).mean())


def released_loss(logits: np.ndarray, labels: np.ndarray, T: float, beta: float, multiplier: float) -> float:
    """Tf-KD_reg as released, written out: probabilities into a softmax, KL averaged over examples and classes."""
    n, num_classes = logits.shape
    teacher = np.full((n, num_classes), 0.01 / (num_classes - 1))
    teacher[np.arange(n), labels] = 0.99
    q = softmax(teacher / T, axis=1)
    divergence = (q * (np.log(q) - log_softmax(logits, axis=1))).mean()
    return (1 - beta) * cross_entropy(np.eye(num_classes)[labels], logits) + beta * multiplier * divergence


@few
@given(
    st.sampled_from([2, 10, 100]),
    st.floats(1, 60),
    st.floats(0.01, 1),
    st.sampled_from([1.0, 50.0, 100.0]),
    st.integers(0, 2**16),
)
def test_the_released_loss_is_scaled_label_smoothing_up_to_a_constant(num_classes, T, beta, multiplier, seed):
    """Whatever the logits: the difference of the losses does not depend on them, so their gradients are equal."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(num_classes, size=6)
    alpha, scale = released_smoothing(num_classes, T, beta, multiplier)
    smoothed = (1 - alpha) * np.eye(num_classes)[labels] + alpha / num_classes
    differences = [
        released_loss(z, labels, T, beta, multiplier) - scale * cross_entropy(smoothed, z)
        for z in (spread * rng.normal(size=(6, num_classes)) for spread in (0.1, 1, 5, 20))
    ]
    assert differences == pytest.approx([differences[0]] * 4, rel=1e-9, abs=1e-9)


def test_the_loss_with_the_equations_targets_is_another_one():
    """So the test above can fail: pᵈ tempered as other teachers are is not that near to uniform."""
    true, wrong = softened(100, 20, "equations")
    assert (true, wrong) == pytest.approx((0.0157, 0.00994), abs=5e-5)
    assert 100 * wrong == pytest.approx(0.9942, abs=1e-4)
    true, wrong = softened(100, 20, "released")
    assert (true, wrong) == pytest.approx((0.0105, 0.009995), abs=5e-6)
    assert true / wrong == pytest.approx(np.exp((0.99 - 0.01 / 99) / 20))


@few
@given(st.integers(2, 1000), st.floats(0.5, 100), st.sampled_from(["equations", "released"]))
def test_softened_targets_are_distributions_and_uniform_when_hot(num_classes, temperature, form):
    true, wrong = softened(num_classes, temperature, form)
    assert true + (num_classes - 1) * wrong == pytest.approx(1)
    assert true > wrong
    assert softened(num_classes, 1e9, form) == pytest.approx((1 / num_classes,) * 2)


def test_at_temperature_1_the_equations_leave_the_teacher_as_it_is():
    assert softened(100, 1, "equations") == pytest.approx((0.99, 0.01 / 99))


def test_the_numbers_of_the_page_are_these():
    """docs/conventions.md, Y-REG: network, K, T, β, multiplier, α, scale."""
    found = re.findall(
        r"^\| [\w, -]+ \| (\d+) \| (\d+) \| ([\d.]+) \| (\d+) \| ([\d.]+) \| ([\d.]+) \|$",
        PAGE.read_text(),
        re.MULTILINE,
    )
    assert len(found) == 6
    for row in found:
        num_classes, T, beta, multiplier, *printed = map(float, row)
        alpha, scale = released_smoothing(int(num_classes), T, beta, multiplier)
        assert [f"{alpha:.4f}", f"{scale:.4f}"] == [f"{value:.4f}" for value in printed]


def test_settings_that_make_no_sense_are_named():
    for call, named in [
        (lambda: softened(1, 20, "released"), "classes"),
        (lambda: softened(10, 20, "released", correct=0.1), "correct"),
        (lambda: softened(10, 20, "released", correct=1), "correct"),
        (lambda: softened(10, 0, "released"), "temperature"),
        (lambda: softened(10, 20, "code"), "form"),
        (lambda: released_smoothing(10, 20, 0), "beta"),
        (lambda: released_smoothing(10, 20, 1.1), "beta"),
        (lambda: released_smoothing(10, 20, 0.9, 0), "multiplier"),
    ]:
        with refused(SpecError, named):
            call()
