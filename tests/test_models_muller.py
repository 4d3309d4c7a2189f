"""The details of the networks of Müller et al. on which its numbers depend."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from softlabels.grid.spec import ModelSpec
from softlabels.models import build
from softlabels.models.alexnet import LocalResponseNorm, _max_pool


def spec(name: str, **options: object) -> ModelSpec:
    return ModelSpec(name, tuple(options.items()))


def test_local_response_normalisation_is_tensorflows() -> None:
    """TensorFlow: x_i / (1 + 0.001/9 · Σ_{|j−i| ≤ 4} x_j²)^0.75, here for x_0 = 30, x_4 = 3, x_5 = 2.

    Channel 4 sees 900 + 9 + 4, channel 5 is too far from channel 0 and sees 9 + 4.
    """
    x = torch.zeros(1, 64, 1, 1)
    x[0, 0], x[0, 4], x[0, 5] = 30.0, 3.0, 2.0
    y = LocalResponseNorm(64)(x).flatten()
    assert y[4].item() == pytest.approx(3 / 1.101444444**0.75, rel=1e-6)
    assert y[5].item() == pytest.approx(2 / 1.001444444**0.75, rel=1e-6)
    assert y[0].item() == pytest.approx(30 / 1.101**0.75, rel=1e-6)


def test_local_response_normalisation_equals_torchs() -> None:
    x = (10 * torch.randn(2, 64, 5, 3)).requires_grad_()
    reference = nn.LocalResponseNorm(9, alpha=0.001, beta=0.75, k=1.0)(x)
    torch.testing.assert_close(LocalResponseNorm(64)(x), reference, rtol=1e-6, atol=1e-6)
    weight = torch.randn_like(x)
    (wanted,) = torch.autograd.grad((reference * weight).sum(), x)
    (found,) = torch.autograd.grad((LocalResponseNorm(64)(x) * weight).sum(), x)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_local_response_normalisation_keeps_its_precision_in_bf16() -> None:
    x = (5 * torch.randn(2, 64, 5, 3)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        y = LocalResponseNorm(64)(x)
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, LocalResponseNorm(64)(x.float()).bfloat16())


def test_max_pooling_is_padded_as_same() -> None:
    even = torch.arange(16.0).reshape(1, 1, 4, 4) - 100  # negative: padding must not win
    assert _max_pool(even).flatten().tolist() == [10 - 100, 11 - 100, 14 - 100, 15 - 100]
    odd = torch.arange(25.0).reshape(1, 1, 5, 5)
    assert _max_pool(odd).flatten().tolist() == [6, 8, 9, 16, 18, 19, 21, 23, 24]


def test_alexnet_is_initialised_as_the_tutorial() -> None:
    torch.manual_seed(0)
    network = build(spec("alexnet"), 10, (3, 24, 24))
    for name, std, bias in (
        ("conv1", 0.05, 0.0),
        ("conv2", 0.05, 0.1),
        ("fc1", 0.04, 0.1),
        ("fc2", 0.04, 0.1),
        ("head", 1 / 192, 0.0),
    ):
        layer = network.get_submodule(name)
        assert (layer.bias == bias).all()
        assert layer.weight.abs().max() <= 2 * std
        assert layer.weight.std().item() == pytest.approx(0.8796 * std, rel=0.05)


def test_fully_connected_initialisation() -> None:
    torch.manual_seed(0)
    for name, std in (("fc_2x1200", 0.03), ("fc_2x800", 0.03)):
        network = build(spec(name), 10, (1, 28, 28))
        layers = [m for m in network.modules() if isinstance(m, nn.Linear)]
        assert len(layers) == 3
        assert all(layer.weight.std().item() == pytest.approx(std, rel=0.05) for layer in layers)
        assert all((layer.bias == 0).all() for layer in layers)
    default = build(spec("mlp"), 10, (1, 28, 28))
    assert all((layer.bias != 0).any() for layer in default.modules() if isinstance(layer, nn.Linear))


def test_dropout_is_inverted_and_after_the_relu() -> None:
    torch.manual_seed(0)
    network = build(spec("mlp", hidden=[500], dropout=0.5), 3, (1, 4, 4))
    x = torch.randn(8, 1, 4, 4)
    dropped = network.features(x)
    kept = network.eval().features(x)
    assert torch.equal(dropped[dropped != 0], 2 * kept[dropped != 0])
    assert (dropped[kept > 0] == 0).float().mean().item() == pytest.approx(0.5, abs=0.05)


def test_resnet56_is_tensor2tensors() -> None:
    torch.manual_seed(0)
    network = build(spec("resnet56"), 10, (3, 32, 32))
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    spatial = [m for m in convolutions if m.kernel_size == (3, 3)]
    assert len(spatial) + 1 == 56  # with the head
    assert [(m.in_channels, m.out_channels, m.stride[0]) for m in convolutions if m not in spatial] == [
        (16, 32, 1),
        (32, 64, 2),
        (64, 128, 2),
    ]
    for m in convolutions:  # variance scaling: truncated Gaussian of variance 1 / fan-in
        assert m.weight.var().item() * m.weight[0].numel() == pytest.approx(1, rel=0.2)
    x = torch.randn(2, 3, 32, 32)
    assert (network.eval().features(x) < 0).any()  # no ReLU after the last block
    he = build(spec("resnet56", variant="he"), 10, (3, 32, 32)).eval()
    assert (he.features(x) >= 0).all()
