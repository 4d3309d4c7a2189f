"""A moving average of the network in training, asked about each batch (`grid.label_targets.MovingAverage`)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from softlabels.grid.label_targets import MovingAverage
from softlabels.grid.recipe import Precision
from softlabels.training.pictures import autocast


def averageable(value: Tensor) -> bool:
    """Whether a parameter or buffer can be averaged: not a counter, nor a mask of −∞, whose difference is no number."""
    return value.is_floating_point() and bool(torch.isfinite(value).all())


class Average(nn.Module):
    """Begins as the network that it is of; `update` follows every step. It is saved with a run's checkpoint."""

    def __init__(self, spec: MovingAverage, network: nn.Module, precision: Precision) -> None:
        super().__init__()
        self.spec, self.precision = spec, precision
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.network.train(spec.buffers == "batch")
        self.averaged = {name for name, buffer in self.network.named_buffers() if averageable(buffer)}

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Logits `[B, K]` of input `[B, C, H, W]`."""
        with autocast(x.device, self.precision):
            logits: Tensor = self.network(x)
        return logits.float()

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the network as it is after `step` = 1, 2, …"""
        share = max(1 / (step + 1), 1 - self.spec.decay)
        for mean, parameter in zip(self.network.parameters(), network.parameters(), strict=True):
            mean.lerp_(parameter, share)
        if self.spec.buffers == "averaged":
            for (name, buffer), now in zip(self.network.named_buffers(), network.buffers(), strict=True):
                if name in self.averaged:
                    buffer.lerp_(now, share)
                else:
                    buffer.copy_(now)
