"""Trained networks evaluated on chosen images (`grid.parts.probes`): which ones, the tensors, and where they go."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from softlabels import tensors
from softlabels.cache import TeacherNetwork, logits_of
from softlabels.errors import SoftlabelsError, SpecError
from softlabels.files import read_json
from softlabels.grid.declared.class_names import labels as class_labels
from softlabels.grid.identity import probe_id, run_id
from softlabels.grid.parts.probes import AnyProbe, ClassMeans, ImageProbe, Probe, Samples, tensor_label
from softlabels.grid.spec import RunSpec, to_dict
from softlabels.training.checkpoint import State
from softlabels.training.images import ImageSplit
from softlabels.training.teachers import load_run, weights_file
from softlabels.training.worker import Worker


def evaluate_probe(worker: Worker, spec: RunSpec, seed: int, probe: AnyProbe, path: Path) -> None:
    """Write the outputs of one probe (format: `Probe`)."""
    assert isinstance(probe, ImageProbe)
    run = run_id(spec)
    images = worker.images(spec.dataset, probe.split)
    positions = _chosen(images, probe, f"probe {probe_id(probe)}")
    chosen = ProbeImages(spec, seed, images, positions, probe)
    out: State = {"labels": images.labels[positions], "ids": images.ids[positions]}
    files = read_json(worker.layout.store(run, seed) / "run.json")["files"]
    weights: dict[str, str] = {}
    if isinstance(probe, Samples):
        out["pictures"] = samples(chosen)
    else:
        if isinstance(probe, ClassMeans):
            present, counts = np.unique(out["labels"].cpu().numpy(), return_counts=True)
            out = {"labels": torch.from_numpy(present), "counts": torch.from_numpy(counts)}
        for label, checkpoint in _checkpoints(spec, len(worker.images(spec.dataset, "train")), probe):
            teacher = load_run(spec, seed, checkpoint, worker.layout, images.data, worker.device)
            out |= probe_outputs(chosen, teacher, label)
            weights[label] = files[weights_file(checkpoint)]
    about = {"run": run, "seed": seed, "probe": to_dict(probe), "weights": weights}
    tensors.save(path, out, about | {"class_names": list(images.data.class_names)})


def _chosen(images: ImageSplit, probe: ImageProbe, where: str) -> torch.Tensor:
    """Positions of the first `per_class` examples of each chosen class, in stored order."""
    labels = images.labels.cpu().numpy()
    data = images.data
    chosen = range(data.num_classes) if probe.classes is None else probe.classes
    found = []
    for k in class_labels(chosen, data.class_names, where):
        places = np.flatnonzero(labels == k)
        if len(places) < (probe.per_class or 1):
            raise SoftlabelsError(
                f"class {k} has {len(places)} images in {probe.split}, the probe wants {probe.per_class or 1}; "
                "lower per_class in the grid or scale"
            )
        found.append(places[: probe.per_class])
    return torch.from_numpy(np.sort(np.concatenate(found))).to(images.device)


def _checkpoints(spec: RunSpec, num_train: int, probe: ImageProbe) -> list[tuple[str, str]]:
    if probe.checkpoints != "milestones":
        return [(tensor_label(probe.checkpoints), probe.checkpoints)]
    steps = spec.recipe.all_milestones(num_train)
    if not steps:
        raise SpecError("a probe of milestones needs recipe.milestones or recipe.milestone_every")
    return [(tensor_label(f"step:{n}"), f"step:{n}") for n in steps]


@dataclass(frozen=True, eq=False)
class ProbeImages:
    """The chosen images of a split, for the network of one seed of a run."""

    spec: RunSpec
    seed: int
    images: ImageSplit
    positions: Tensor
    """`[M]`"""
    probe: ImageProbe

    def batches(self, view: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """(positions `[B]`, images in 0–255) of one view, in order."""
        chosen = view if self.probe.views else None
        passes = self.images.passes(chosen, self.seed, self.spec.recipe.augment, self.positions)
        return zip(torch.split(self.positions, self.images.evaluation_batch), passes, strict=True)


def probe_outputs(chosen: ProbeImages, teacher: TeacherNetwork, label: str) -> State:
    """The outputs of one checkpoint; `label` ends the names of the tensors."""
    if isinstance(chosen.probe, ClassMeans):
        return {f"means/{label}": class_means(chosen, teacher)}
    assert isinstance(chosen.probe, Probe)
    network: Any = teacher.network
    parts = {"logits": network}
    if chosen.probe.what == "features":
        parts["features"] = Body(network)
    rows: dict[str, list[Tensor]] = {name: [] for name in parts}
    views = max(1, chosen.probe.views)
    for view in range(views):
        for _, x in chosen.batches(view):
            for name, part in parts.items():
                rows[name].append(logits_of(teacher, chosen.images, x, part))
    # Images of one view after those of another.
    out = {f"{name}/{label}": torch.stack(torch.cat(own).chunk(views), dim=1) for name, own in rows.items()}
    if chosen.probe.what == "features":
        out[f"head.weight/{label}"] = network.head.weight
        out[f"head.bias/{label}"] = network.head.bias
    return out


def class_means(chosen: ProbeImages, teacher: TeacherNetwork) -> Tensor:
    """Mean penultimate activations fp32 `[K', d]` of the classes among the images, by label.

    Summed in fp64, as products with 0 and 1, whose order does not change from run to run.
    """
    body = Body(teacher.network)
    labels = chosen.images.labels
    present = torch.from_numpy(np.unique(labels[chosen.positions].cpu().numpy())).to(labels.device)
    sums: Tensor | None = None
    for part, x in chosen.batches():
        of_class = (labels[part] == present[:, None]).double()  # [K', B]
        found = of_class @ logits_of(teacher, chosen.images, x, body).double()
        sums = found if sums is None else sums + found
    assert sums is not None
    counts = (labels[chosen.positions] == present[:, None]).sum(dim=1)
    return (sums / counts[:, None]).float()


def samples(chosen: ProbeImages) -> Tensor:
    """The images themselves, uint8 `[M, C, H, W]`."""
    return torch.cat([x.round().clamp(0, 255).byte() for _, x in chosen.batches()])


class Body(torch.nn.Module):
    """A network up to its penultimate activations."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.network.features(x)
        return features
