"""Networks named by an import path: used as they are, wrapped, or refused in one sentence."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from refusals import refused

from softlabels.errors import SpecError
from softlabels.grid.spec import ModelSpec
from softlabels.models import Network, build, load_weights
from softlabels.models.complexity import Complexity, complexity

SHAPE = (1, 6, 6)
SOURCE = """
import torch
from torch import nn


def plain(num_classes, shape, width=5):
    pixels = shape[0] * shape[1] * shape[2]
    hidden = nn.Linear(pixels, width)
    return nn.Sequential(nn.Flatten(), hidden, nn.Dropout(0.5), nn.ReLU(), nn.Linear(width, num_classes))


class Convention(nn.Module):
    def __init__(self, num_classes, shape):
        super().__init__()
        self.body, self.head = nn.Linear(36, 4), nn.Linear(4, num_classes)

    def features(self, x):
        return self.body(x.flatten(1)).tanh()

    def forward(self, x):
        return self.head(self.features(x))


class OtherMeaning(nn.Module):
    'features and head, but with pooling between them'

    def __init__(self, num_classes, shape):
        super().__init__()
        self.features, self.head = nn.Conv2d(1, 8, 3), nn.Linear(8, num_classes)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))


def softmax(num_classes, shape):
    return nn.Sequential(nn.Flatten(), nn.Linear(36, num_classes), nn.Softmax(1))


def bare(num_classes, shape):
    return nn.Sequential(nn.Conv2d(1, num_classes, 6), nn.Flatten())


def ten(num_classes, shape):
    return plain(10, shape)


def pair(num_classes, shape):
    class Pair(nn.Linear):
        def forward(self, x):
            return x, x
    return Pair(1, 1)


def wrong_size(num_classes, shape):
    return nn.Linear(99, num_classes)


def failing(num_classes, shape):
    raise KeyError('weights')


def number(num_classes, shape):
    return 3


constant = 3
"""


@pytest.fixture(autouse=True)
def own_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file `own_networks.py` in the current directory, which is not on the import path."""
    (tmp_path / "own_networks.py").write_text(SOURCE)
    (tmp_path / "unfinished.py").write_text("import surely_not_installed\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.delitem(sys.modules, "own_networks", raising=False)


def make(name: str, **options: object) -> Network:
    return build(ModelSpec(f"own_networks:{name}", tuple(options.items())), 3, SHAPE)


@pytest.mark.parametrize(("name", "features"), [("plain", 5), ("Convention", 4), ("OtherMeaning", 8)])
def test_a_network_of_ones_own_has_features_and_head(name: str, features: int) -> None:
    torch.manual_seed(0)
    network = make(name)
    assert network.training
    assert network.head.in_features == features
    x = torch.randn(2, *SHAPE)
    network.eval()
    assert network.features(x).shape == (2, features)
    assert torch.equal(network.head(network.features(x)), network(x))


def test_options_reach_the_factory() -> None:
    assert make("plain", width=11).head.in_features == 11


def test_complexity_of_a_network_of_ones_own() -> None:
    before = torch.get_rng_state()
    assert complexity(ModelSpec("own_networks:plain"), 3, SHAPE) == Complexity(36 * 5 + 5 + 5 * 3 + 3, 36 * 5 + 5 * 3)
    assert torch.equal(before, torch.get_rng_state())


def test_the_convention_is_used_as_it_is() -> None:
    assert type(make("Convention")).__name__ == "Convention"


def test_the_weights_are_a_function_of_the_seed_and_the_check_draws_nothing() -> None:
    torch.manual_seed(5)
    first = make("plain")
    after = torch.rand(1)
    torch.manual_seed(5)
    module = sys.modules["own_networks"].plain(num_classes=3, shape=SHAPE)
    assert torch.equal(first.head.weight, module[-1].weight)
    assert torch.equal(after, torch.rand(1))
    load_weights(first, module.state_dict(), "own.safetensors")  # saved under the original names


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("no_such_module:net", "no_such_module"),
        ("unfinished:net", "surely_not_installed"),
        (":net", ":net"),
        ("own_networks:absent", "absent"),
        ("own_networks:constant", "own_networks:constant"),
        ("own_networks:failing", "own_networks:failing"),
        ("own_networks:number", "own_networks:number"),
        ("own_networks:bare", "own_networks:bare"),
        ("own_networks:softmax", "own_networks:softmax"),
        ("own_networks:ten", "[1, 10]"),
        ("own_networks:pair", "own_networks:pair"),
        ("own_networks:wrong_size", "own_networks:wrong_size"),
    ],
)
def test_what_cannot_be_used_is_refused(path: str, named: str) -> None:
    with refused(SpecError, named, varies="RuntimeError: .*"):
        build(ModelSpec(path), 3, SHAPE)


def test_an_option_that_the_factory_does_not_know_is_named() -> None:
    with refused(SpecError, "depth"):
        make("plain", depth=3)
