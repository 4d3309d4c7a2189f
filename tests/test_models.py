"""Networks: sizes, costs, the one convention (features, head), and what is refused."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from refusals import refused
from torch import nn

from softlabels.errors import DataError, SpecError
from softlabels.grid.spec import ModelSpec
from softlabels.grid.zoo import MODELS, check_options, forward_flops
from softlabels.grid.zoo import parameters as counted_parameters
from softlabels.models import Network, build, load_weights
from softlabels.models.complexity import complexity


def spec(name: str, **options: object) -> ModelSpec:
    return ModelSpec(name, tuple(options.items()))


# (network, K, (C, H, W), parameters). Known from elsewhere: Müller's networks and their sources, He's ResNet-56,
# torchvision's published sizes, the usual CIFAR ResNets, the released networks of Yuan et al., DenseNet-BC-100 (0.8
# million in Huang et al.). The other CIFAR stems are pinned as counted here.
SIZES = [
    (spec("fc_2x1200"), 10, (1, 28, 28), 2_395_210),
    (spec("fc_2x800"), 10, (1, 28, 28), 1_276_810),
    (spec("alexnet"), 10, (3, 24, 24), 1_068_298),
    (spec("alexnet"), 10, (3, 32, 32), 1_756_426),
    (spec("resnet56"), 10, (3, 32, 32), 3_407_674),
    (spec("resnet56"), 100, (3, 32, 32), 3_419_284),
    (spec("resnet56", variant="he"), 10, (3, 32, 32), 853_018),
    (spec("mlp", hidden=[24, 12]), 10, (1, 8, 8), 64 * 24 + 24 + 24 * 12 + 12 + 12 * 10 + 10),
    (spec("small_cnn"), 10, (1, 8, 8), 13_754),
    (spec("resnet18"), 1000, (3, 224, 224), 11_689_512),
    (spec("resnet34"), 1000, (3, 224, 224), 21_797_672),
    (spec("resnet50"), 1000, (3, 224, 224), 25_557_032),
    (spec("resnext101_32x8d"), 1000, (3, 224, 224), 88_791_336),
    (spec("densenet121"), 1000, (3, 224, 224), 7_978_856),
    (spec("googlenet"), 1000, (3, 224, 224), 6_624_904),
    (spec("shufflenet_v2"), 1000, (3, 224, 224), 2_278_604),
    (spec("mobilenet_v2"), 1000, (3, 224, 224), 3_504_872),
    (spec("efficientnet_b0"), 1000, (3, 224, 224), 5_288_548),
    (spec("convnext_tiny"), 1000, (3, 224, 224), 28_589_128),
    (spec("inception_v3"), 1000, (3, 299, 299), 23_834_568),
    (spec("inception_v4"), 1000, (3, 299, 299), 42_679_816),
    (spec("resnet18", stem="cifar"), 10, (3, 32, 32), 11_173_962),
    (spec("resnet18", stem="cifar"), 100, (3, 32, 32), 11_220_132),
    (spec("resnet34", stem="cifar"), 10, (3, 32, 32), 21_282_122),
    (spec("resnet34", stem="cifar"), 100, (3, 32, 32), 21_328_292),
    (spec("resnet50", stem="cifar"), 10, (3, 32, 32), 23_520_842),
    (spec("resnet50", stem="cifar"), 100, (3, 32, 32), 23_705_252),
    (spec("densenet121", stem="cifar", transition_relu=False), 10, (3, 32, 32), 6_956_298),
    (spec("densenet121", stem="cifar", transition_relu=False), 100, (3, 32, 32), 7_048_548),
    (spec("plain_cnn"), 10, (3, 32, 32), 357_514),
    (spec("plain_cnn"), 100, (3, 32, 32), 369_124),
    (spec("mobilenet_v2_cifar"), 10, (3, 32, 32), 2_254_090),
    (spec("mobilenet_v2_cifar"), 100, (3, 32, 32), 2_369_380),
    (spec("shufflenet_v2_cifar"), 10, (3, 32, 32), 1_268_646),
    (spec("shufflenet_v2_cifar"), 100, (3, 32, 32), 1_360_896),
    (spec("googlenet_cifar"), 10, (3, 32, 32), 6_166_250),
    (spec("googlenet_cifar"), 100, (3, 32, 32), 6_258_500),
    (spec("resnext29_8x64d"), 10, (3, 32, 32), 34_426_698),
    (spec("resnext29_8x64d"), 100, (3, 32, 32), 34_518_948),
    (spec("densenet_bc_100_12"), 10, (3, 32, 32), 769_162),
    (spec("densenet_bc_100_12"), 100, (3, 32, 32), 800_032),
    (spec("mobilenet_v2", stem="cifar"), 10, (3, 32, 32), 2_236_682),
    (spec("efficientnet_b0", stem="cifar"), 10, (3, 32, 32), 4_020_358),
    (spec("convnext_tiny", stem="cifar"), 10, (3, 32, 32), 27_825_802),
]


COUNTED = [(name, counted.stem, counted) for name, info in MODELS.items() for counted in info.counted]


def label(value: object) -> str | None:
    return "-".join([value.name, *(f"{v}" for _, v in value.options)]) if isinstance(value, ModelSpec) else None


def test_every_network_of_the_zoo_can_be_built_and_is_pinned() -> None:
    assert {model.name for model, *_ in SIZES} == set(MODELS)
    pinned = {(model.name, dict(model.options).get("stem"), shape[1]) for model, _, shape, _ in SIZES}
    for name, stem, counted in COUNTED:
        default = "stem" not in MODELS[name].options or stem == MODELS[name].options["stem"].default
        assert (name, None if default else stem, counted.side) in pinned


@pytest.mark.parametrize(("model", "num_classes", "shape", "parameters"), SIZES, ids=label)
def test_parameters_and_forward_cost(
    model: ModelSpec, num_classes: int, shape: tuple[int, int, int], parameters: int
) -> None:
    found = complexity(model, num_classes, shape)
    assert found.parameters == parameters
    if MODELS[model.name].counted:
        assert counted_parameters(model, shape, num_classes) == parameters
    assert forward_flops(model, shape, num_classes) == 2 * found.multiply_adds


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (spec("mlp", hidden=(7,), dropout=0.5), (3, 4, 5)),
        (spec("small_cnn", widths=(4, 8, 8), hidden=9), (1, 17, 19)),
        (spec("alexnet"), (1, 9, 7)),
        (spec("resnet56", depth=8, widths=(3, 4, 4, 6)), (1, 15, 17)),
        (spec("resnet56", depth=14, variant="he"), (1, 15, 16)),
    ],
    ids=label,
)
def test_own_networks_cost_what_they_should_at_any_size(model: ModelSpec, shape: tuple[int, int, int]) -> None:
    assert forward_flops(model, shape, 5) == 2 * complexity(model, 5, shape).multiply_adds


def test_cost_of_counted_networks_scales_with_the_image() -> None:
    for name, stem, counted in COUNTED:
        if not name.startswith("inception"):  # unpadded convolutions: they do not scale at small sizes
            model = spec(name, stem=stem) if "stem" in MODELS[name].options else spec(name)
            shape = (3, 64, 64) if counted.side == 32 else (3, 128, 128)
            padded = name == "mobilenet_v2_cifar"  # sides 34, 17, 9, 5 at 32 px and 66, 33, 17, 9 at 64 px
            found = 2 * complexity(model, 20, shape).multiply_adds
            assert forward_flops(model, shape, 20) == pytest.approx(found, rel=0.25 if padded else 0.03)


def test_an_import_path_has_no_known_cost() -> None:
    assert forward_flops(spec("my.package:net"), (1, 8, 8), 10) is None


SMALLEST = [
    (spec("mlp", dropout=0.5), (1, 8, 8)),
    (spec("small_cnn"), (1, 8, 8)),
    (spec("alexnet"), (3, 24, 24)),
    (spec("resnet56", depth=8), (1, 8, 8)),
    (spec("resnet56", depth=8, variant="he"), (3, 8, 8)),
    (spec("resnet18"), (1, 33, 33)),
    (spec("resnet50", stem="cifar"), (1, 8, 8)),
    (spec("densenet121"), (4, 29, 30)),
    (spec("densenet121", stem="cifar"), (1, 8, 8)),
    (spec("googlenet"), (1, 15, 15)),
    (spec("shufflenet_v2"), (1, 33, 33)),
    (spec("plain_cnn"), (1, 8, 8)),
    (spec("mobilenet_v2_cifar"), (1, 8, 8)),
    (spec("shufflenet_v2_cifar"), (1, 8, 8)),
    (spec("googlenet_cifar"), (1, 8, 8)),
    (spec("densenet_bc_100_12"), (1, 4, 4)),
    (spec("mobilenet_v2", stem="cifar"), (1, 8, 8)),
    (spec("efficientnet_b0"), (4, 33, 33)),
    (spec("convnext_tiny"), (1, 32, 32)),
    (spec("convnext_tiny", stem="cifar"), (3, 8, 8)),
    (spec("inception_v3"), (1, 75, 75)),
    (spec("inception_v4"), (1, 75, 75)),
]


@pytest.mark.parametrize(("model", "shape"), SMALLEST, ids=label)
def test_forward_and_backward_at_the_smallest_size(model: ModelSpec, shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    network = build(model, 5, shape)
    assert isinstance(network, Network)
    assert network.training
    x = torch.randn(2, *shape)
    logits = network(x)
    assert logits.shape == (2, 5)
    nn.functional.cross_entropy(logits, torch.tensor([0, 1])).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    assert {"head.weight", "head.bias"} <= set(network.state_dict())

    network.eval()
    with torch.no_grad():
        features = network.features(x)
        assert features.shape == (2, network.head.in_features)
        assert torch.equal(network.head(features), network(x))


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (spec("fc_2x800"), (1, 8, 8)),
        (spec("small_cnn"), (1, 8, 8)),
        (spec("alexnet"), (1, 8, 8)),
        (spec("resnet56", depth=8), (1, 8, 8)),
        (spec("resnet18", stem="cifar"), (1, 8, 8)),
        (spec("efficientnet_b0"), (3, 32, 32)),
    ],
    ids=label,
)
def test_weights_are_a_function_of_the_seed(model: ModelSpec, shape: tuple[int, int, int]) -> None:
    states = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        states.append(build(model, 4, shape).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["head.weight"], states[2]["head.weight"])
    first = next(iter(states[0]))
    assert not torch.equal(states[0][first], states[2][first])


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("mobilenet_v2", "mobilenet_v2"),
        ("shufflenet_v2", "shufflenet_v2_x1_0"),
        ("densenet121", "densenet121"),
        ("googlenet", "googlenet"),
    ],
)
def test_library_networks_from_a_seed_equal_the_library(name: str, theirs: str) -> None:
    torch.manual_seed(0)
    network = build(spec(name), 7, (3, 64, 64)).eval()
    from torchvision import models  # after the builder, which makes this import possible

    torch.manual_seed(0)
    others = {"aux_logits": False, "init_weights": True} if name == "googlenet" else {}
    original = getattr(models, theirs)(num_classes=7, **others).eval()
    x = torch.randn(2, 3, 64, 64)
    assert torch.equal(network(x), original(x))


def test_cifar_stems_reduce_by_eight_instead_of_thirty_two() -> None:
    sides: list[int] = []

    def note(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        sides.append(output.shape[-1])

    for name in ("resnet18", "resnet34", "densenet121", "mobilenet_v2", "efficientnet_b0", "convnext_tiny"):
        for stem, reduction in (("imagenet", 32), ("cifar", 8)):
            sides.clear()
            with torch.device("meta"):
                network = build(spec(name, stem=stem), 10, (3, 64, 64)).eval()
                for module in network.modules():
                    # squeeze-and-excitation works on 1×1 maps: not part of the trunk
                    if isinstance(module, nn.BatchNorm2d) or (isinstance(module, nn.Conv2d) and module.groups > 1):
                        module.register_forward_hook(note)
                network(torch.zeros(1, 3, 64, 64))
            assert min(sides) == 64 // reduction, (name, stem)


# What a user can get wrong


@pytest.mark.parametrize(
    ("name", "options", "named"),
    [
        ("resnet57", {}, "resnet57"),
        ("resnet56", {"width": 2}, "model.options.width"),
        ("alexnet", {"dropout": 0.5}, "model.options.dropout"),
        ("mlp", {"hidden": 1200}, "model.options.hidden"),
        ("mlp", {"hidden": []}, "model.options.hidden"),
        ("mlp", {"hidden": [12, "3"]}, "model.options.hidden"),
        ("mlp", {"dropout": 1}, "model.options.dropout"),
        ("mlp", {"dropout": True}, "model.options.dropout"),
        ("mlp", {"init_std": 0}, "model.options.init_std"),
        ("small_cnn", {"hidden": 3.5}, "model.options.hidden"),
        ("resnet56", {"depth": 57}, "model.options.depth"),
        ("resnet56", {"variant": "wide"}, "model.options.variant"),
        ("resnet56", {"widths": [16, 32, 64]}, "model.options.widths"),
        ("inception_v3", {"stem": "cifar"}, "model.options.stem"),
        ("resnet18", {"stem": ["cifar"]}, "model.options.stem"),
    ],
)
def test_bad_options_are_refused_by_name(name: str, options: dict[str, object], named: str) -> None:
    with refused(SpecError, named):
        check_options(name, options)
    with refused(SpecError, named):
        build(spec(name, **options), 10, (3, 32, 32))


def test_defaults_and_good_options_are_accepted() -> None:
    for name, info in MODELS.items():
        check_options(name, {key: option.default for key, option in info.options.items()})
    check_options("mlp", (("hidden", (10, 10)), ("init_std", None), ("dropout", 0)))
    check_options("some.package:net", {"anything": object()})


@pytest.mark.parametrize(
    ("model", "shape", "named"),
    [
        (spec("inception_v3"), (3, 74, 80), "75 px"),
        (spec("inception_v4"), (3, 32, 32), "75 px"),
        (spec("densenet121"), (3, 28, 32), "29 px"),
        (spec("densenet121", stem="cifar"), (3, 7, 7), "8 px"),
        (spec("googlenet"), (3, 14, 14), "15 px"),
        (spec("densenet_bc_100_12"), (3, 3, 3), "4 px"),
        (spec("plain_cnn"), (3, 7, 8), "8 px"),
        (spec("small_cnn", widths=[4, 4, 4, 4]), (1, 8, 8), "small_cnn"),
        (spec("resnet56", variant="he", widths=[16, 8, 8, 8]), (1, 8, 8), "widths"),
    ],
    ids=label,
)
def test_images_that_do_not_fit_are_refused(model: ModelSpec, shape: tuple[int, int, int], named: str) -> None:
    with refused(SpecError, named):
        build(model, 10, shape)


def test_weights_load_under_either_name() -> None:
    source, target = (build(spec("resnet18", stem="cifar"), 4, (1, 8, 8)) for _ in range(2))
    original = {
        name.replace("head.", "fc.") if name.startswith("head.") else name.removeprefix("body."): value
        for name, value in source.state_dict().items()
    }
    assert "fc.weight" in original
    assert "conv1.weight" in original
    for tensors in (source.state_dict(), original):
        load_weights(build(spec("resnet18", stem="cifar"), 4, (1, 8, 8)), tensors, "teacher.safetensors")
    load_weights(target, original, "teacher.safetensors")
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(source.eval()(x), target.eval()(x))


def test_weights_of_another_network_are_refused() -> None:
    network = build(spec("mlp", hidden=[6]), 4, (1, 8, 8))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    for other, named in (
        (build(spec("mlp", hidden=[6]), 5, (1, 8, 8)), "head.weight"),
        (build(spec("mlp", hidden=[6, 6]), 4, (1, 8, 8)), "layers.1.weight"),
        (build(spec("small_cnn"), 4, (1, 8, 8)), "layers.0.weight"),
    ):
        with refused(DataError, "t.safetensors", named):
            load_weights(network, other.state_dict(), "t.safetensors")
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


# Imports


def run_python(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True)


def test_own_networks_do_not_import_torchvision() -> None:
    run_python(
        "import sys; from softlabels.models import build; from softlabels.grid.spec import ModelSpec\n"
        "own = ('mlp', 'alexnet', 'resnet56', 'plain_cnn', 'mobilenet_v2_cifar')\n"
        "for name in own: build(ModelSpec(name), 10, (3, 32, 32))\n"
        "assert not {'torchvision', 'timm'} & set(sys.modules)"
    )


def test_the_zoo_does_not_import_torch() -> None:
    run_python("import sys, softlabels.grid.zoo; assert 'torch' not in sys.modules")


def test_operators_are_declared_only_where_the_extension_cannot_load() -> None:
    run_python(
        "import torch\n"
        "from softlabels.models import library as shim\n"
        "real = torch.ops.load_library\n"
        "torch.ops.load_library = lambda path: None  # an extension that loads\n"
        "shim.load('json'); assert not shim._declared\n"
        "def broken(path): raise OSError('libtorch_cuda.so: cannot open shared object file')\n"
        "torch.ops.load_library = broken\n"
        "shim.load('json'); shim.load('json'); assert len(shim._declared) == 1\n"
        "import torchvision; assert torchvision.models.resnet18"
    )
