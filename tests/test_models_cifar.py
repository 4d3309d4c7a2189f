"""The networks of Yuan et al. 2020 and Zhang & Sabuncu 2020, and the sizes that papers print."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

import softlabels.papers
from softlabels.grid.spec import ModelSpec
from softlabels.models import build
from softlabels.models.complexity import Complexity, complexity
from softlabels.models.shufflenet import shuffle


def spec(name: str, **options: object) -> ModelSpec:
    return ModelSpec(name, tuple(options.items()))


DENSENET121 = spec("densenet121", stem="cifar", transition_relu=False, init="pytorch")
NETWORKS = [
    spec("plain_cnn"),
    spec("mobilenet_v2_cifar"),
    spec("shufflenet_v2_cifar"),
    spec("resnet18", stem="cifar", init="pytorch"),
    spec("resnet34", stem="cifar", init="pytorch"),
    spec("resnet50", stem="cifar", init="pytorch"),
    spec("resnext29_8x64d"),
    DENSENET121,
    spec("googlenet_cifar"),
    spec("densenet_bc_100_12"),
]


def name_of(value: object) -> str | None:
    return value.name if isinstance(value, ModelSpec) else None


@pytest.mark.parametrize("model", NETWORKS, ids=name_of)
def test_a_step_on_images_of_32_px_lowers_the_loss(model: ModelSpec) -> None:
    torch.manual_seed(0)
    network = build(model, 10, (3, 32, 32))
    x, y = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 3])
    optimiser = torch.optim.SGD(network.parameters(), lr=0.005)

    def loss() -> torch.Tensor:
        torch.manual_seed(1)  # the same dropout
        logits = network(x)
        assert logits.shape == (4, 10)
        return nn.functional.cross_entropy(logits, y)

    before = loss()
    before.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    optimiser.step()
    with torch.no_grad():
        assert loss() < before
        network.eval()
        features = network.features(x)
        assert features.shape == (4, network.head.in_features)
        assert torch.equal(network.head(features), network(x))


@pytest.mark.parametrize("model", NETWORKS, ids=name_of)
def test_images_of_64_px_take_the_same_weights(model: ModelSpec) -> None:
    with torch.device("meta"):
        small, large = (build(model, 200, (3, side, side)).eval() for side in (32, 64))
        assert large(torch.zeros(2, 3, 64, 64)).shape == (2, 200)
    shapes = [{name: value.shape for name, value in network.state_dict().items()} for network in (small, large)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (spec("plain_cnn"), [32, 16, 8]),
        (spec("mobilenet_v2_cifar"), [34, 17, 9, 5]),
        (spec("shufflenet_v2_cifar"), [32, 16, 8, 4]),
        (spec("resnet34", stem="cifar"), [32, 16, 8, 4]),
        (spec("resnext29_8x64d"), [32, 16, 8]),
        (DENSENET121, [32, 16, 8, 4]),
        (spec("googlenet_cifar"), [32, 16, 8]),
        (spec("densenet_bc_100_12"), [32, 16, 8]),
    ],
    ids=name_of,
)
def test_sides_of_the_maps(model: ModelSpec, expected: list[int]) -> None:
    sides: list[int] = []
    with torch.device("meta"):
        network = build(model, 10, (3, 32, 32)).eval()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.register_forward_hook(lambda module, entering, output: sides.append(output.shape[-1]))
        network(torch.zeros(1, 3, 32, 32))
    assert list(dict.fromkeys(sides)) == expected


def test_channels_of_two_halves_are_shuffled() -> None:
    x = torch.arange(6.0).reshape(1, 6, 1, 1).expand(2, 6, 3, 5)
    assert shuffle(x).shape == x.shape
    assert shuffle(x)[1, :, 2, 4].tolist() == [0, 3, 1, 4, 2, 5]


@pytest.mark.parametrize("relu", [True, False])
def test_relu_of_densenets_transitions_is_an_option(relu: bool) -> None:
    torch.manual_seed(0)
    network = build(spec("densenet121", stem="cifar", transition_relu=relu), 10, (3, 8, 8)).eval()
    least: list[float] = []
    for name, module in network.named_modules():
        if "transition" in name and isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(lambda module, entering: least.append(entering[0].min().item()))
    network(torch.randn(2, 3, 8, 8))
    assert len(least) == 3
    assert all((value >= 0) == relu for value in least)


def test_initialisation_by_the_defaults_of_pytorch() -> None:
    """Uniform on ±1/√fan-in, where torchvision's is Gaussian of variance 2/fan-out."""
    torch.manual_seed(0)
    for init, expected in (("pytorch", True), ("library", False)):
        network = build(spec("resnet18", stem="cifar", init=init), 10, (1, 8, 8))
        layers = [m.weight for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        assert all(w.abs().max().item() <= 1.0001 / math.sqrt(w[0].numel()) for w in layers) == expected
    assert (build(DENSENET121, 10, (3, 8, 8)).head.bias != 0).any()


@pytest.mark.parametrize("name", ["densenet_bc_100_12", "resnext29_8x64d"])
def test_initialisation_by_fan_out(name: str) -> None:
    torch.manual_seed(0)
    for module in build(spec(name), 10, (3, 32, 32)).modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 5000:
            # what torch calls fan-out divides by no groups
            variance = 2 / (module.out_channels * module.kernel_size[0] ** 2)
            assert module.weight.var().item() == pytest.approx(variance, rel=0.15)


@pytest.mark.parametrize(
    ("name", "std"),
    [
        ("googlenet", 0.01),
        ("densenet121", math.sqrt(2 / (4 * 49))),
        ("shufflenet_v2", 1 / math.sqrt(3 * 4 * 9)),
        ("resnet34", math.sqrt(2 / (64 * 49))),
    ],
)
def test_a_first_convolution_for_other_channels_is_initialised_as_the_librarys(name: str, std: float) -> None:
    torch.manual_seed(0)
    first = next(m for m in build(spec(name), 10, (4, 64, 64)).modules() if isinstance(m, nn.Conv2d))
    assert first.in_channels == 4
    assert first.weight.std().item() == pytest.approx(std, rel=0.06)


# What papers print


def printed(metric: str) -> dict[str, float]:
    """Yuan et al. 2020, Table 3: millions of parameters, or 10⁹ FLOPs."""
    targets = pd.read_csv(Path(softlabels.papers.__file__).parent / "published.csv")
    chosen = targets[(targets.paper == "yuan2020") & (targets.artifact == "table3") & (targets.metric == metric)]
    return dict(zip(chosen.student, chosen.value.astype(float), strict=True))


def test_complexity_is_arithmetic_for_a_network_of_two_layers() -> None:
    before = torch.get_rng_state()
    assert complexity(spec("mlp", hidden=[7]), 5, (2, 3, 4)) == Complexity(24 * 7 + 7 + 7 * 5 + 5, 24 * 7 + 7 * 5)
    assert torch.equal(before, torch.get_rng_state())


def test_sizes_printed_by_yuan() -> None:
    """Networks for ImageNet; only ResNeXt29 is that for CIFAR-100. GoogLeNet's 13.0 has its auxiliary heads."""
    sizes = printed("params")
    assert len(sizes) == 8
    for name, millions in sizes.items():
        num_classes, side = (100, 32) if name == "resnext29_8x64d" else (1000, 224)
        found = complexity(spec(name), num_classes, (3, side, side)).parameters
        if name == "googlenet":
            assert found / 1e6 == pytest.approx(6.62, abs=0.005)
            for channels in (512, 528):  # 1×1 convolution with batch norm, two dense layers
                found += channels * 128 + 2 * 128 + (4 * 4 * 128 + 1) * 1024 + (1024 + 1) * 1000
        assert found / 1e6 == pytest.approx(millions, abs=0.00501)


def everything(model: ModelSpec, num_classes: int, shape: tuple[int, int, int]) -> int:
    """Multiply-adds, and what ptflops counts beside them."""
    others = 0

    def note(module: nn.Module, entering: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal others
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            others += output.numel()
        elif isinstance(module, nn.BatchNorm2d):
            others += 2 * output.numel()
        elif isinstance(module, nn.ReLU | nn.ReLU6):
            others += output.numel()
        elif isinstance(module, nn.MaxPool2d | nn.AvgPool2d | nn.AdaptiveAvgPool2d):
            others += entering[0].numel()

    with torch.device("meta"):
        network = build(model, num_classes, shape).eval()
        for module in network.modules():
            module.register_forward_hook(note)
        network(torch.zeros(1, *shape))
    return complexity(model, num_classes, shape).multiply_adds + others


def test_costs_printed_by_yuan() -> None:
    """Table 3 is multiply-adds with biases, batch norm, ReLU and pooling; that of ResNeXt29 fits no size (X-15)."""
    for name, billions in printed("flops").items():
        model = spec(name)
        if name == "resnext29_8x64d":
            assert complexity(model, 100, (3, 224, 224)).multiply_adds / 1e9 == pytest.approx(264, abs=0.5)
            assert complexity(model, 100, (3, 32, 32)).multiply_adds / 1e9 == pytest.approx(5.39, abs=0.005)
            assert 5.40 < everything(model, 100, (3, 32, 32)) / 1e9 < 5.42
            continue
        ratio = billions * 1e9 / complexity(model, 1000, (3, 224, 224)).multiply_adds
        assert 1 < ratio < 1.07
        assert everything(model, 1000, (3, 224, 224)) / 1e9 == pytest.approx(billions, abs=0.00501)
