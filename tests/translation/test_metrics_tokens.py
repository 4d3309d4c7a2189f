"""Next-token scores from features: closed forms, blocks against dense float64, files that do not fit."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused
from safetensors.numpy import save_file
from scipy.special import log_softmax, softmax

from softlabels.errors import DataError, SpecError
from softlabels.metrics import calibration, tokens
from softlabels.metrics.classification import nll, top_k_accuracy
from softlabels.metrics.tokens import ECE_TOKENS, fit_temperature, read_tokens, scores, token_rows

N, V, D = 700, 90, 12


@pytest.fixture(scope="module")
def sample() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features [700, 12] fp16, output [90, 12] fp32, labels drawn from softmax(z / 2): over-confident by T = 2."""
    rng = np.random.default_rng(3)
    x, w = rng.normal(size=(N, D)).astype(np.float16), rng.normal(size=(V, D)).astype(np.float32)
    z = x.astype(np.float64) @ w.T.astype(np.float64)
    return x, w, (z / 2 + rng.gumbel(size=z.shape)).argmax(axis=1).astype(np.int32)


def dense(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Logits [N, V] in float64."""
    return x.astype(np.float64) @ w.astype(np.float64).T


# ---------------------------------------------------------------- scores


@pytest.mark.parametrize("block", [1, 5 * V, 10**6], ids=["one token", "five tokens", "all at once"])
def test_blocks_are_the_dense_logits_in_float64(sample, block, monkeypatch):
    monkeypatch.setattr(tokens, "BLOCK", block)
    x, w, y = sample
    z = dense(x, w)
    found = scores(x, w, y, (0.5, 1.0, 64.0))
    for t in (0.5, 1.0, 64.0):
        log_p = log_softmax(z / t, axis=1)
        np.testing.assert_allclose(found.nll[t], -log_p[np.arange(N), y], rtol=2e-6, atol=2e-5)
        np.testing.assert_allclose(found.confidence[t], np.exp(log_p.max(axis=1)), rtol=2e-5)
    assert (found.right == (z.argmax(axis=1) == y)).all()
    np.testing.assert_allclose(found.top, z.max(axis=1) - z.mean(axis=1), rtol=2e-6)


def test_an_untrained_network_has_nll_log_v():
    labels = np.arange(40) % V
    found = scores(np.zeros((40, D), np.float16), np.ones((V, D), np.float32), labels, (1.0, 64.0))
    for t in (1.0, 64.0):
        np.testing.assert_allclose(found.nll[t], np.log(V), rtol=1e-6)
        np.testing.assert_allclose(found.confidence[t], 1 / V, rtol=1e-6)
    assert (found.top == 0).all()
    assert found.right.tolist() == (labels == 0).tolist()  # of equal logits the first, as argmax


def test_a_certain_network():
    labels = np.arange(30) % V
    w = np.eye(V, dtype=np.float32)
    found = scores(500 * w[labels].astype(np.float16), w, labels)
    assert found.right.all()
    assert (found.nll[1.0] == 0).all()
    assert found.ece() == 0
    np.testing.assert_allclose(found.top, 500 * (1 - 1 / V), rtol=1e-6)
    wrong = scores(500 * w[labels].astype(np.float16), w, (labels + 1) % V)
    np.testing.assert_allclose(wrong.nll[1.0], 500)
    assert wrong.ece() == 1


def test_a_vocabulary_times_the_tokens_is_never_in_memory():
    x, w = np.zeros((4000, 4), np.float16), np.zeros((30_000, 4), np.float32)  # 480 MB as logits
    tracemalloc.start()
    scores(x, w, np.zeros(4000, np.int32), (1.0, 2.0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * 4 * tokens.BLOCK


@given(st.integers(1, 30), st.sampled_from([1.0, 1.7]), st.integers(1, N))
def test_ece_is_that_of_the_dense_logits(sample, bins, temperature, count):
    x, w, y = sample
    expected = calibration.ece(dense(x, w)[:count], y[:count], bins, temperature)
    assert scores(x, w, y, (temperature,)).ece(temperature, count, bins) == pytest.approx(expected, abs=1e-6)


def test_tuned_temperatures_are_those_of_the_dense_logits(sample):
    x, w, y = sample
    z = dense(x, w)
    for criterion in ("nll", "ece"):  # flat where it is smallest: fp32 decides the fourth digit of T
        expected = calibration.fit_temperature(z, y, criterion)
        assert fit_temperature(x, w, y, criterion) == pytest.approx(expected, rel=1e-3)
        first = calibration.fit_temperature(z[:300], y[:300], criterion)
        assert fit_temperature(x, w, y, criterion, tokens=300) == pytest.approx(first, rel=1e-3)
    assert fit_temperature(x, w, y) == pytest.approx(2, abs=0.15)


def test_impossible_settings_are_named(sample):
    with refused(SpecError, "temperature"):
        scores(*sample, (0.0,))
    with refused(SpecError, "criterion"):
        fit_temperature(*sample, "brier")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"features": np.zeros((N, D + 1), np.float16)}, "[700, 13]"),
        ({"features": np.zeros((0, D), np.float16), "labels": np.zeros(0, np.int32)}, "N ≥ 1"),
        ({"features": np.full((N, D), np.inf, np.float16)}, "NaN"),
        ({"labels": np.zeros(5, np.int32)}, "700 integers"),
        ({"labels": np.full(N, V, np.int32)}, "90 types"),
        ({"labels": np.full(N, -1, np.int32)}, "-1"),
    ],
)
def test_malformed_input_is_named(sample, change, named):
    arguments = dict(zip(("features", "output", "labels"), sample, strict=True)) | change
    with refused(DataError, named):
        scores(**arguments)


# ---------------------------------------------------------------- files and rows


def tensors(sample: tuple[np.ndarray, ...], n: int = 400) -> dict[str, np.ndarray]:
    x, w, y = (t.copy() for t in sample)
    found = {"output/last": w, "output/best": 0 * w}
    for split in ("val", "test"):
        found |= {f"{split}/last": x[:n], f"{split}/best": x[:n], f"{split}/labels": y[:n]}
        found[f"{split}/sentences"] = np.arange(n, dtype=np.int32) // 9
    return found


def test_rows_have_the_units_of_the_published_table(sample, tmp_path):
    save_file(tensors(sample), tmp_path / "features.safetensors")
    file = read_tokens(tmp_path / "features.safetensors")
    rows = token_rows(file)
    values = {(split, checkpoint, metric): value for split, checkpoint, metric, value in rows}
    assert len(values) == len(rows) == 4 * 6
    x, w, y = sample
    z = dense(x[:400], w)
    assert values["val", "last", "next_token_accuracy"] == pytest.approx(top_k_accuracy(z, y[:400]))  # percent
    assert values["val", "last", "nll"] == pytest.approx(nll(z, y[:400]), rel=1e-5)  # nats
    assert values["test", "last", "ece"] == pytest.approx(calibration.ece(z, y[:400]), abs=1e-6)  # fraction
    assert values["test", "best", "nll"] == pytest.approx(np.log(V))  # each checkpoint by its own output matrix
    assert values["test", "best", "top_logit"] == 0


def test_ece_is_of_the_first_ten_thousand_tokens_and_ece_all_of_all(tmp_path):
    """Confidence 1 everywhere; the first 10,000 tokens are right, the next 10,000 wrong."""
    n = 2 * ECE_TOKENS
    labels = np.repeat(np.array([0, 1], np.int32), ECE_TOKENS)
    found = {
        "test/last": np.full((n, 1), 100, np.float16), "test/labels": labels,
        "test/sentences": np.arange(n, dtype=np.int32) // 20, "output/last": np.array([[1.0], [0.0]], np.float32),
    }  # fmt: skip
    save_file(found, tmp_path / "features.safetensors")
    values = {metric: value for *_, metric, value in token_rows(read_tokens(tmp_path / "features.safetensors"))}
    assert (values["ece"], values["ece_all"], values["next_token_accuracy"]) == (0, 0.5, 50)


BAD = [
    ({"val/labels": np.zeros(3, np.int32)}, "val/sentences"),
    ({"val/sentences": np.arange(400, dtype=np.int32)[::-1].copy()}, "val/sentences"),
    ({"val/labels": np.full(400, V, np.int32)}, "90 types"),
    ({"test/last": np.full((400, D), np.nan, np.float16)}, "test/last"),
    ({"output/last": np.zeros((V, D + 1), np.float32)}, "[90, 13]"),
    ({"val/step5": np.zeros((400, D), np.float16)}, "output/step5"),
    ({"train/last": np.zeros((400, D), np.float16)}, "train/labels"),
]


@pytest.mark.parametrize(("change", "named"), BAD)
def test_a_file_that_does_not_fit_is_named_with_the_way_out(sample, tmp_path, change, named):
    path = tmp_path / "features.safetensors"
    save_file(tensors(sample) | change, path)
    with refused(DataError, path, named):
        read_tokens(path)


def test_missing_damaged_and_empty_files_are_named(sample, tmp_path: Path):
    path = tmp_path / "features.safetensors"
    with refused(DataError, path):
        read_tokens(path)
    save_file(tensors(sample), path)
    path.write_bytes(path.read_bytes()[:-8])
    with refused(DataError, path, varies=r"\(.*\)"):
        read_tokens(path)
    save_file({"val/labels": np.zeros(3, np.int32)}, path)
    with refused(DataError, path):
        read_tokens(path)


def test_soft_scores_sum_to_one_over_the_vocabulary(sample):
    """Σ_y exp(−nll of y) = 1: every type as gold in turn."""
    x, w, _ = sample
    total = sum(np.exp(-scores(x[:5], w, np.full(5, y), (3.0,)).nll[3.0]) for y in range(V))
    np.testing.assert_allclose(total, 1, rtol=1e-5)
    np.testing.assert_allclose(scores(x[:5], w, np.zeros(5, int), (3.0,)).confidence[3.0],
                               softmax(dense(x[:5], w) / 3, axis=1).max(axis=1), rtol=1e-5)  # fmt: skip
