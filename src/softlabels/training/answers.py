"""What a network answers to the probes of pictures (`grid.probes`): the tensors of a probe's file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from softlabels.cache.writer import TeacherNetwork, logits_of
from softlabels.grid.probes import ClassMeans, PictureProbe, Probe
from softlabels.grid.spec import RunSpec
from softlabels.training.checkpoint import State
from softlabels.training.pictures import Pictures


@dataclass(frozen=True, eq=False)
class Asked:
    """The chosen pictures of a split, for the network of one seed of a run."""

    spec: RunSpec
    seed: int
    pictures: Pictures
    positions: Tensor
    """`[M]`"""
    probe: PictureProbe

    def batches(self, view: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """(positions `[B]`, pictures in 0–255) of one view, in order."""
        asked = view if self.probe.views else None
        passes = self.pictures.passes(asked, self.seed, self.spec.recipe.augment, self.positions)
        return zip(torch.split(self.positions, self.pictures.asked_at_once), passes, strict=True)


def answers(asked: Asked, teacher: TeacherNetwork, label: str) -> State:
    """What one checkpoint answers, `label` ending the names of its tensors."""
    if isinstance(asked.probe, ClassMeans):
        return {f"means/{label}": class_means(asked, teacher)}
    assert isinstance(asked.probe, Probe)
    network: Any = teacher.network
    parts = {"logits": network}
    if asked.probe.what == "features":
        parts["features"] = Body(network)
    rows: dict[str, list[Tensor]] = {name: [] for name in parts}
    views = max(1, asked.probe.views)
    for view in range(views):
        for _, x in asked.batches(view):
            for name, part in parts.items():
                rows[name].append(logits_of(teacher, asked.pictures, x, part))
    # Pictures of one view after those of another.
    out = {f"{name}/{label}": torch.stack(torch.cat(own).chunk(views), dim=1) for name, own in rows.items()}
    if asked.probe.what == "features":
        out[f"head.weight/{label}"] = network.head.weight
        out[f"head.bias/{label}"] = network.head.bias
    return out


def class_means(asked: Asked, teacher: TeacherNetwork) -> Tensor:
    """Mean penultimate activations fp32 `[K', d]` of the classes among the pictures, by label.

    Summed in fp64, as products with 0 and 1, whose order does not change from run to run.
    """
    body = Body(teacher.network)
    labels = asked.pictures.labels
    present = torch.from_numpy(np.unique(labels[asked.positions].cpu().numpy())).to(labels.device)
    sums: Tensor | None = None
    for part, x in asked.batches():
        of_class = (labels[part] == present[:, None]).double()  # [K', B]
        found = of_class @ logits_of(teacher, asked.pictures, x, body).double()
        sums = found if sums is None else sums + found
    assert sums is not None
    counts = (labels[asked.positions] == present[:, None]).sum(dim=1)
    return (sums / counts[:, None]).float()


def samples(asked: Asked) -> Tensor:
    """The pictures themselves, uint8 `[M, C, H, W]`."""
    return torch.cat([x.round().clamp(0, 255).byte() for _, x in asked.batches()])


class Body(torch.nn.Module):
    """A network up to its penultimate activations."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.network.features(x)
        return features
