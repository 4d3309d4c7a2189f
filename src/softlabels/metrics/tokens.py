"""Next-token predictions of a translation network, from its penultimate activations (Müller et al. 2019, Sec. 3, A.3).

A token is a subword of the target side, predicted from the source and the right prefix; the end of a sentence counts,
padding does not. Logits z = features · outputᵀ `[N, V]` are made a block of rows at a time, in float32, and never
kept: N, V and d can be 90,000, 33,000 and 512.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from softlabels.errors import DataError, SpecError
from softlabels.metrics.arrays import Bools, Floats, checked_temperature
from softlabels.metrics.calibration import GRID, best_calibrated, ece_of, likeliest
from softlabels.metrics.rows import load_tensors

ECE_TOKENS = 10_000
"""`ece` is of the first so many tokens of a split: the paper uses about 10k and does not say which (A.3)."""
BINS = 15
BLOCK = 2**22
"""Logits that are made at a time: 16 MiB in float32, near the best for matrix product and caches."""


@dataclass(frozen=True, eq=False)
class TokenFile:
    """`features.safetensors` of a run, or a probe of the same form (`grid.parts.probes.Tokens`)."""

    labels: Mapping[str, np.ndarray]
    """Split → gold next tokens `[N]`, indices of the joint vocabulary."""
    sentences: Mapping[str, np.ndarray]
    """Split → the sentence of each token `[N]`, 0-based in the order of the file, never descending."""
    features: Mapping[str, np.ndarray]
    """`<split>/<checkpoint>` → penultimate activations `[N, d]`."""
    output: Mapping[str, np.ndarray]
    """Checkpoint → output matrix `[V, d]`; the output layer has no bias."""


@dataclass(frozen=True, eq=False)
class Scores:
    """What is measured on each of N tokens."""

    right: Bools
    """`[N]`: the largest logit is the gold token's."""
    top: Floats
    """`[N]`: largest minus mean logit."""
    nll: Mapping[float, Floats]
    """T → −log p_gold(T) `[N]`, nats."""
    confidence: Mapping[float, Floats]
    """T → largest probability `[N]`."""

    def ece(self, temperature: float = 1.0, tokens: int | None = ECE_TOKENS, bins: int = BINS) -> float:
        """Expected calibration error, a fraction, of the first so many tokens; None: of all."""
        return ece_of(self.confidence[temperature][:tokens], self.right[:tokens], bins)


def read_tokens(path: Path) -> TokenFile:
    """Read a file of features; a run without a validation split has no `val`.

    Raises:
        DataError: the file is missing or damaged, or its tensors do not belong together.
    """
    tensors = load_tensors(path)
    again = "delete it to have it made again"

    def ending(name: str) -> dict[str, np.ndarray]:
        return {key.removesuffix(f"/{name}"): t for key, t in tensors.items() if key.endswith(f"/{name}")}

    labels, sentences = ending("labels"), ending("sentences")
    output = {key.removeprefix("output/"): t for key, t in tensors.items() if key.startswith("output/")}
    known = {*(f"{s}/labels" for s in labels), *(f"{s}/sentences" for s in sentences), *(f"output/{c}" for c in output)}
    features = {key: tensor for key, tensor in tensors.items() if key not in known}
    if not features:
        raise DataError(f"{path} holds no features; {again}")
    for name, x in features.items():
        split, _, checkpoint = name.partition("/")
        for needed in (f"{split}/labels", f"{split}/sentences", f"output/{checkpoint}"):
            if needed not in known:
                raise DataError(f"{path} holds {name} but not {needed}; {again}")
        order = sentences[split]
        if order.shape != labels[split].shape or (np.diff(order) < 0).any():
            raise DataError(f"{path}, {split}/sentences: not one ascending number for each token; {again}")
        try:
            _check(x, output[checkpoint], labels[split])
        except DataError as bad:
            raise DataError(f"{path}, {name}: {bad}; {again}") from None
    return TokenFile(labels, sentences, features, output)


def scores(features: ArrayLike, output: ArrayLike, labels: ArrayLike, temperatures: Sequence[float] = (1.0,)) -> Scores:
    """What softmax(z / T) says of each token, z = features `[N, d]` · output `[V, d]`ᵀ, gold labels `[N]`.

    Logits and their exponentials are float32, sums of tokens float64.

    Raises:
        DataError: shapes do not fit, a number is not finite, a label is not one of 0 … V − 1.
        SpecError: a T ≤ 0.
    """
    x, w, y = np.asarray(features), np.asarray(output, dtype=np.float32), np.asarray(labels)
    _check(x, w, y)
    chosen = [checked_temperature(t) for t in temperatures]
    n, rows = len(x), max(1, BLOCK // len(w))
    right, top = np.empty(n, dtype=np.bool_), np.empty(n)
    nll, confidence = {t: np.empty(n) for t in chosen}, {t: np.empty(n) for t in chosen}
    centre = w.mean(axis=0, dtype=np.float64)
    for start in range(0, n, rows):
        part = slice(start, min(start + rows, n))
        block = x[part].astype(np.float32)
        z = block @ w.T
        places = np.arange(len(z))
        best = z.argmax(axis=1)
        largest = z[places, best]
        right[part] = best == y[part]
        top[part] = largest - block @ centre
        z -= largest[:, None]
        below = z[places, y[part]].astype(np.float64)
        for number, t in enumerate(chosen):
            # The last temperature may overwrite the block.
            p = z if number == len(chosen) - 1 else np.empty_like(z)
            np.divide(z, np.float32(t), out=p)
            np.exp(p, out=p)
            total = p.sum(axis=1).astype(np.float64)
            confidence[t][part] = 1 / total
            nll[t][part] = np.log(total) - below / t
    return Scores(right, top, nll, confidence)


def fit_temperature(
    features: ArrayLike,
    output: ArrayLike,
    labels: ArrayLike,
    criterion: Literal["nll", "ece"] = "nll",
    tokens: int | None = ECE_TOKENS,
    bins: int = BINS,
) -> float:
    """The T that calibrates the first so many next-token predictions best, as `metrics.calibration.fit_temperature`.

    Raises:
        DataError: as `scores`.
        SpecError: an unknown criterion.
    """
    x, y = np.asarray(features)[:tokens], np.asarray(labels)[:tokens]
    if criterion == "nll":
        return likeliest(lambda t: float(scores(x, output, y, (t,)).nll[t].mean()))
    if criterion != "ece":
        raise SpecError(f"criterion must be nll or ece, not {criterion!r}")
    found = scores(x, output, y, [float(t) for t in GRID])
    return best_calibrated([found.ece(float(t), None, bins) for t in GRID])


def token_rows(file: TokenFile) -> list[tuple[str, str, str, float]]:
    """(split, checkpoint, metric, value) of every split and checkpoint of a file.

    next_token_accuracy in percent, nll in nats per token; ece (first `ECE_TOKENS` tokens) and ece_all (all of them), 15
    bins, as fractions; top_logit: largest minus mean logit, mean over tokens; num_examples: tokens.
    """
    rows = []
    for name, x in sorted(file.features.items()):
        split, checkpoint = name.split("/")
        found = scores(x, file.output[checkpoint], file.labels[split])
        values = {
            "next_token_accuracy": 100 * float(found.right.mean()),
            "nll": float(found.nll[1.0].mean()),
            "ece": found.ece(),
            "ece_all": found.ece(tokens=None),
            "top_logit": float(found.top.mean()),
            "num_examples": len(x),
        }
        rows += [(split, checkpoint, metric, value) for metric, value in values.items()]
    return rows


def _check(features: np.ndarray, output: np.ndarray, labels: np.ndarray) -> None:
    if features.ndim != 2 or output.ndim != 2 or features.shape[1] != output.shape[1] or len(features) < 1:
        raise DataError(
            f"features must be [N, d] and output [V, d] with N ≥ 1 tokens, not {list(features.shape)} and "
            f"{list(output.shape)}"
        )
    if labels.shape != (len(features),) or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"labels must be {len(features)} integers, one per token, not {labels.dtype} {list(labels.shape)}"
        )
    if labels.min() < 0 or labels.max() >= len(output):
        raise DataError(f"labels run from {labels.min()} to {labels.max()} but the vocabulary has {len(output)} types")
    if not (np.isfinite(features).all() and np.isfinite(output).all()):
        raise DataError("features or output contain NaN or infinity")
