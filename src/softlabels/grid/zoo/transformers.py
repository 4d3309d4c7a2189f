"""fairseq's translation networks by name: what each can be told, how many weights it has, what a token costs.

No torch and no fairseq here; a test compares the counts with the networks. Embeddings and output layer are one matrix
[V, d] (`--share-all-embeddings`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from softlabels.grid.spec import ModelSpec
from softlabels.grid.zoo import with_defaults
from softlabels.grid.zoo.options import FLAG, FRACTION, SIZE, Option


def _transformer(layers: int, dim: int, ffn: int, heads: int) -> Mapping[str, Option]:
    return {
        "layers": Option(SIZE, layers, "of the encoder, and as many of the decoder"),
        "dim": Option(SIZE, dim, "d: width of embeddings and of every layer's output"),
        "ffn": Option(SIZE, ffn, "units of the feed-forward sublayers"),
        "heads": Option(SIZE, heads, "attention heads; they divide dim"),
        "dropout": Option(FRACTION, 0.1, "probability of dropping an activation, of sublayers and embeddings"),
        "attention_dropout": Option(FRACTION, 0.0, "probability of dropping an attention weight"),
        "activation_dropout": Option(FRACTION, 0.0, "probability of dropping a feed-forward unit"),
        "pre_norm": Option(FLAG, False, "layer normalisation before each sublayer and at the end, not after each"),
    }


TRANSFORMERS: dict[str, Mapping[str, Option]] = {
    "transformer_iwslt_de_en": _transformer(6, 512, 1024, 4),  # fairseq's for IWSLT
    "transformer_iwslt_small": _transformer(2, 256, 1024, 4),  # of the multilingual-KD code
    "transformer_wmt_en_de": _transformer(6, 512, 2048, 8),  # base Transformer of Vaswani et al.
    "transformer_tiny": _transformer(2, 64, 128, 2),  # for two CPU cores
}


def options(model: ModelSpec) -> dict[str, Any]:
    """Every option of a network, given or default.

    Raises:
        SpecError: an unknown network or option.
    """
    return with_defaults(model, TRANSFORMERS)


def _matrices(o: Mapping[str, Any]) -> int:
    """Weights of the matrices of encoder and decoder, without embeddings."""
    attention, feed_forward = 4 * o["dim"] ** 2, 2 * o["dim"] * o["ffn"]
    count: int = o["layers"] * (3 * attention + 2 * feed_forward)
    return count


def parameters(model: ModelSpec, vocabulary: int) -> int:
    """Trained weights of a network with V types, biases and normalisation included."""
    o = options(model)
    dim, ffn, layers = int(o["dim"]), int(o["ffn"]), int(o["layers"])
    attention, feed_forward, norm = 4 * dim, ffn + dim, 2 * dim
    vectors = layers * (attention + feed_forward + 2 * norm) + layers * (2 * attention + feed_forward + 3 * norm)
    return vocabulary * dim + _matrices(o) + vectors + (2 * norm if o["pre_norm"] else 0)


def forward_flops(model: ModelSpec, vocabulary: int) -> float:
    """Floating-point operations of a forward pass for one target token and one source token (a multiply-add is two).

    Matrix products only; attention weights are left out, which sentences of 30 tokens hardly notice.
    """
    o = options(model)
    return 2.0 * (_matrices(o) + vocabulary * int(o["dim"]))
