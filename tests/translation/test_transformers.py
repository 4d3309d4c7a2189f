"""What the plan knows of fairseq's networks without importing them: weights, operations, options."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from refusals import refused
from small_text import ROOT, TYPES, Project, own_config, recipe
from torch.utils.flop_counter import FlopCounterMode

from softlabels.errors import SpecError
from softlabels.grid.expand import load_plan
from softlabels.grid.spec import ModelSpec
from softlabels.grid.zoo import check_options
from softlabels.grid.zoo.transformers import TRANSFORMERS, forward_flops, options, parameters
from softlabels.translation.network import Corpus, build

NAMES = tuple(TRANSFORMERS)


def model(name: str, **changes: Any) -> ModelSpec:
    return ModelSpec(name, tuple(sorted(changes.items())))


@pytest.mark.parametrize("pre_norm", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_weights_are_counted_to_the_last_one(shared: Project, corpus: Corpus, name: str, pre_norm: bool) -> None:
    spec = model(name, pre_norm=pre_norm)
    with torch.device("meta"):
        found = build(shared.run(model=spec), corpus)
    assert parameters(spec, TYPES) == sum(p.numel() for p in found.parameters())
    assert parameters(spec, TYPES + 10) - parameters(spec, TYPES) == 10 * options(spec)["dim"]


def test_the_published_sizes() -> None:
    """Vaswani et al., Table 3: 65 million weights, of about 37,000 types."""
    assert parameters(model("transformer_wmt_en_de"), 37_000) == pytest.approx(65e6, rel=0.04)
    sizes = {name: [options(model(name))[key] for key in ("layers", "dim", "ffn", "heads")] for name in NAMES}
    assert sizes["transformer_iwslt_small"] == [2, 256, 1024, 4]
    assert sizes["transformer_wmt_en_de"] == [6, 512, 2048, 8]
    assert sizes["transformer_iwslt_de_en"] == [6, 512, 1024, 4]


@pytest.mark.parametrize("name", NAMES)
def test_fairseqs_network_has_the_options_that_were_asked_for(shared: Project, corpus: Corpus, name: str) -> None:
    """Whatever fairseq's defaults of an architecture are."""
    asked = {"dropout": 0.25, "attention_dropout": 0.15, "activation_dropout": 0.05, "pre_norm": True, "layers": 1}
    with torch.device("meta"):
        found = build(shared.run(model=model(name, **asked), recipe=recipe(max_positions=99)), corpus)
    o = options(model(name))
    for side, count in ((found.encoder, 1), (found.decoder, 2)):
        (layer,) = side.layers
        assert side.dropout_module.p == layer.dropout_module.p == 0.25
        assert layer.self_attn.dropout_module.p == 0.15
        assert layer.activation_dropout_module.p == 0.05
        assert layer.normalize_before
        assert side.layer_norm is not None
        assert (layer.self_attn.num_heads, layer.fc1.out_features, layer.embed_dim) == (o["heads"], o["ffn"], o["dim"])
        assert side.max_positions() == 99
        assert sum(hasattr(layer, name) for name in ("self_attn", "encoder_attn")) == count
    assert found.decoder.output_projection.weight is found.encoder.embed_tokens.weight
    assert found.decoder.output_projection.bias is None


@pytest.mark.parametrize("name", NAMES)
def test_operations_are_those_that_torch_counts(shared: Project, corpus: Corpus, name: str) -> None:
    """One source and one target token: within 2 %, the attention weights of sentences of 3 tokens."""
    spec = model(name)
    found = build(shared.run(model=spec), corpus).train()  # in evaluation attention takes another path
    sentence = torch.randint(4, TYPES, (8, 3))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        found(sentence, torch.full((8,), 3), sentence)
    assert counter.get_total_flops() / sentence.numel() == pytest.approx(forward_flops(spec, TYPES), rel=0.02)


# ------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("name", "given", "named"),
    [
        ("transformer_small", {}, "transformer_small"),
        ("transformer_tiny", {"depth": 3}, "depth"),
        ("transformer_tiny", {"layers": 0}, "layers"),
        ("transformer_tiny", {"layers": 1.5}, "layers"),
        ("transformer_tiny", {"dropout": 1.0}, "dropout"),
        ("transformer_tiny", {"dropout": -0.1}, "dropout"),
        ("transformer_tiny", {"pre_norm": 1}, "pre_norm"),
    ],
)
def test_unknown_networks_and_options_are_refused(name: str, given: dict[str, Any], named: str) -> None:
    with refused(SpecError, named):
        check_options(name, tuple(given.items()), TRANSFORMERS)


def grid_of(shared: Project, spec: ModelSpec) -> dict[str, Any]:
    found = own_config(shared)
    found["grid"]["models"]["small"] = {"name": spec.name, "options": dict(spec.options)}
    return found


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"heads": 3}, "model.options.heads"),
        ({"dim": 30, "heads": 4}, "heads"),
        ({"widht": 32}, "widht"),
    ],
)
def test_a_grid_with_such_a_network_is_refused(shared: Project, given: dict[str, Any], named: str) -> None:
    with refused(SpecError, named):
        load_plan(grid_of(shared, model("transformer_tiny", **given)), ROOT)
    load_plan(grid_of(shared, model("transformer_tiny", dim=32, heads=4)), ROOT)


def test_networks_of_images_translate_nothing(shared: Project) -> None:
    with refused(SpecError, "models.small", "resnet56"):
        load_plan(grid_of(shared, ModelSpec("resnet56")), ROOT)
