"""Sizes and costs of networks as papers list them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from softlabels.grid.spec import ModelSpec
from softlabels.grid.zoo import MODELS
from softlabels.models import build, parameter_count


class Complexity(NamedTuple):
    """What one network has and does."""

    parameters: int
    """Trained numbers, biases and normalisation included."""
    multiply_adds: int
    """Of one forward pass of one image."""


def complexity(model: ModelSpec, num_classes: int, shape: tuple[int, int, int]) -> Complexity:
    """Count a network for K classes and images (C, H, W), in evaluation mode.

    Convention: multiply-adds of convolutions and matrix products, which is what papers mostly call FLOPs; elsewhere in
    this project a floating-point operation is half of one. Biases, normalisation, activations and pooling are left
    out. Yuan et al. 2020 (Table 3) count them as well, as the tool ptflops does (one operation for each bias, ReLU and
    input of pooling, two for each output of batch norm), so their numbers are 0.3 to 6 % larger.

    Networks whose costs are constants are counted by shapes alone, without numbers. The global generator is left as it
    is.

    Raises:
        SpecError: as `build`.
    """
    by_shapes = model.name in MODELS and bool(MODELS[model.name].counted)
    with torch.random.fork_rng(devices=[]), torch.device("meta" if by_shapes else "cpu"):
        network = build(model, num_classes, shape).eval()
        image = torch.zeros(1, *shape)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(image)
    return Complexity(parameter_count(network), counter.get_total_flops() // 2)
