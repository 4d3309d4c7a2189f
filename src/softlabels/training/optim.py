"""Optimiser and learning-rate schedule of a recipe."""

from __future__ import annotations

import math
import re

import torch

from softlabels.errors import SpecError
from softlabels.grid.parts.recipe import Optimiser, Schedule


def make_optimiser(
    network: torch.nn.Module, spec: Optimiser, objective: torch.nn.Module | None = None
) -> torch.optim.Optimizer:
    """torch's SGD or Adam; parameters that a group's pattern matches get its rate and weight decay.

    Args:
        objective: what it owns is trained too.

    Raises:
        SpecError: a group that matches no parameter.
    """
    named = [*network.named_parameters(), *(objective.named_parameters() if objective else ())]
    named = [(name, parameter) for name, parameter in named if parameter.requires_grad]  # an average has them too
    unused = {group.parameters for group in spec.groups}
    buckets: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in named:
        group = next((g for g in spec.groups if re.search(g.parameters, name)), None)
        factor, decay = 1.0, spec.weight_decay
        if group is not None:
            unused.discard(group.parameters)
            factor = group.lr_factor
            decay = spec.weight_decay if group.weight_decay is None else group.weight_decay
        buckets.setdefault((factor, decay), []).append(parameter)
    if unused:
        names = ", ".join(name for name, _ in named)
        raise SpecError(f"optimiser.groups: no parameter matches {min(unused)!r}; the network has {names}")
    groups = [
        {"params": parameters, "lr": spec.lr * factor, "lr_factor": factor, "weight_decay": decay}
        for (factor, decay), parameters in buckets.items()
    ]
    if spec.name == "adam":
        return torch.optim.Adam(groups, lr=spec.lr, betas=spec.betas, eps=spec.eps, fused=True)
    return torch.optim.SGD(
        groups,
        lr=spec.lr,
        momentum=spec.momentum,
        dampening=spec.dampening,
        nesterov=spec.nesterov,
        fused=True,
    )


def rate_factor(schedule: Schedule, step: int, total: int) -> float:
    """The factor on the learning rate at `step` (0-based) of `total`."""
    warmup = round(schedule.warmup * total)
    if step < warmup:
        return (step + 1) / warmup
    t = (step - warmup) / max(1, total - warmup)
    if schedule.kind == "steps":
        passed = sum(step >= round(boundary * total) for boundary in schedule.boundaries)
        assert schedule.factor is not None  # as Schedule requires
        return float(schedule.factor**passed)
    if schedule.kind == "linear":
        return 1 - t
    if schedule.kind == "cosine":
        return 0.5 * (1 + math.cos(math.pi * t))
    if schedule.kind == "exponential":
        assert schedule.factor is not None
        assert schedule.every is not None
        every = max(1, round(schedule.every * total))
        return float(schedule.factor ** ((step - warmup) // every))
    return 1.0


def set_rate(optimiser: torch.optim.Optimizer, spec: Optimiser, factor: float) -> None:
    """Set every group's learning rate for the coming step."""
    for group in optimiser.param_groups:
        group["lr"] = spec.lr * factor * group["lr_factor"]
