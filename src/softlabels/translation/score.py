"""One teacher-forced pass: penultimate activations at every token. All that depends on a temperature follows from them.

A token is one of the target side, the end of the sentence included; the network sees the true prefix.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from softlabels.errors import SoftlabelsError, SpecError
from softlabels.grid.parts.probes import Tokens
from softlabels.translation.network import Corpus, Translator, token_features

State = dict[str, Tensor]


@torch.no_grad()
def features(
    network: Any, corpus: Corpus, split: str, chosen: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float16]]:
    """Gold types [N], sentences [N] and activations [N, d] (fp16) of the chosen sentences (ids in ascending order;
    None: all), token by token in the order of the text. The network is in evaluation mode afterwards.

    Raises:
        SoftlabelsError: activations that fp16 cannot hold.
    """
    network.eval()
    data = corpus.sentences(split)
    ids = np.arange(len(data)) if chosen is None else chosen
    lengths = np.asarray(data.tgt_sizes)[ids]
    starts = dict(zip(ids.tolist(), (np.cumsum(lengths) - lengths).tolist(), strict=True))
    total = int(lengths.sum())
    labels = np.empty(total, dtype=np.int32)
    rows: NDArray[np.float16] | None = None
    padding = corpus.task.target_dictionary.pad()
    for sample in corpus.batches(split, ids):
        found, gold = token_features(network, sample, padding)
        half = found.float().cpu().numpy().astype(np.float16)
        if not np.isfinite(half).all():
            raise SoftlabelsError("activations are not finite in fp16 (|h| > 65504 or NaN); the network has diverged")
        if rows is None:
            rows = np.empty((total, half.shape[1]), dtype=np.float16)
        types, begin = gold.cpu().numpy(), 0
        for i in sample["id"].tolist():
            n = int(data.tgt_sizes[i])
            rows[starts[i] : starts[i] + n] = half[begin : begin + n]
            labels[starts[i] : starts[i] + n] = types[begin : begin + n]
            begin += n
    assert rows is not None
    return labels, np.repeat(ids, lengths).astype(np.int32), rows


def predictions(network: Any, corpus: Corpus, checkpoint: str) -> State:
    """The outputs of a network on validation and test: a part of a run's `features.safetensors`."""
    out: State = {f"output/{checkpoint}": network.decoder.output_projection.weight.detach().float().clone()}
    for split in ("val", "test"):
        labels, sentences, rows = features(network, corpus, split)
        out[f"{split}/labels"], out[f"{split}/sentences"] = torch.from_numpy(labels), torch.from_numpy(sentences)
        out[f"{split}/{checkpoint}"] = torch.from_numpy(rows)
    return out


def token_outputs(translator: Translator, corpus: Corpus, probe: Tokens) -> State:
    """The tensors of a probe (`grid.parts.probes.Tokens`).

    Raises:
        SpecError: a token that is not a type of the vocabulary, or that never comes next.
    """
    data = corpus.sentences(probe.split)
    count = len(data) if probe.sentences is None else min(probe.sentences, len(data))
    types = [_type(token, corpus) for token in probe.tokens]
    ids = np.arange(count)
    places: list[tuple[int, int, int]] = []  # sentence, token of the split's text, class
    if types:
        ids, places = _places(data, count, types, probe)
    labels, sentences, rows = features(translator.network, corpus, probe.split, ids)
    if not types:
        return {
            f"{probe.split}/labels": torch.from_numpy(labels),
            f"{probe.split}/sentences": torch.from_numpy(sentences),
            f"{probe.split}/last": torch.from_numpy(rows),
            "output/last": translator.output.float().cpu().clone(),
        }
    first = {int(i): int(n) for i, n in zip(*np.unique(sentences, return_index=True), strict=True)}
    at = [first[sentence] + token for sentence, token, _ in places]
    return {
        "labels": torch.tensor([c for _, _, c in places]),
        "ids": torch.tensor([sentence for sentence, _, _ in places]),
        "features/last": torch.from_numpy(rows[at]).float()[:, None],
        "head.weight/last": translator.output[types].float().cpu().clone(),
        "head.bias/last": torch.zeros(len(types)),
    }


def _type(token: str, corpus: Corpus) -> int:
    dictionary = corpus.task.target_dictionary
    number: int = dictionary.index(token)
    if number == dictionary.unk():
        raise SpecError(f"probes.tokens: {token!r} is no type of {corpus.folder / 'bin'}'s target vocabulary")
    return number


def _places(
    data: Any, count: int, types: list[int], probe: Tokens
) -> tuple[NDArray[np.int64], list[tuple[int, int, int]]]:
    """The first `per_token` places of each type: the sentences they are in, and (sentence, token, class)."""
    wanted = sys.maxsize if probe.per_token is None else probe.per_token
    found: dict[int, list[tuple[int, int, int]]] = {kind: [] for kind in range(len(types))}
    for i in range(count):
        target = data.tgt[i].numpy()
        for kind, number in enumerate(types):
            room = wanted - len(found[kind])
            found[kind] += [(i, int(n), kind) for n in np.flatnonzero(target == number)[: max(room, 0)]]
        if all(len(places) >= wanted for places in found.values()):
            break
    for kind, places in found.items():
        if not places:
            raise SpecError(f"probes.tokens: {probe.tokens[kind]!r} never comes next in {probe.split}")
    places = [place for kind in found.values() for place in kind]
    return np.unique([sentence for sentence, _, _ in places]), places
