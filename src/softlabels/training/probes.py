"""Ask trained networks about chosen pictures: logits or penultimate features, on clean or augmented views."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from softlabels import tensors
from softlabels.cache.writer import TeacherNetwork
from softlabels.errors import SoftlabelsError, SpecError, Stopped
from softlabels.files import read_json
from softlabels.grid.files import read_probe_spec
from softlabels.grid.identity import read_spec
from softlabels.grid.probes import Probe
from softlabels.grid.spec import RunSpec, TranslationSpec, to_dict
from softlabels.store import link
from softlabels.training.checkpoint import State
from softlabels.training.pictures import Pictures, forward
from softlabels.training.teachers import load_run, weights_file
from softlabels.training.worker import IN_PASSES, Worker, each


def ask(worker: Worker, jobs: Sequence[tuple[str, int, str]]) -> None:
    """Write what networks say about chosen pictures, for every (run, seed, probe); raises as `each`."""

    def make(run: str, seed: int, name: str) -> None:
        # Kept beside the network that was asked, because Snakemake deletes outputs before it runs a job again.
        published = worker.layout.probe(run, seed, name)
        kept = worker.layout.store(run, seed) / "probes" / published.name
        if not is_whole(kept):
            if worker.asked_to_stop():
                raise Stopped(f"stopped before probe {name} of {run} seed {seed}; run the same command again", False)
            _ask(worker, run, seed, name, kept)
            worker.progressed = True
        link(kept, published)

    each(worker, jobs, make, IN_PASSES)


def is_whole(path: Path) -> bool:
    """Whether a file of tensors, or of text in JSON, is there and can be read."""
    try:
        read_json(path) if path.suffix == ".json" else tensors.load(path)
    except SoftlabelsError:
        return False
    return True


def _ask(worker: Worker, run: str, seed: int, name: str, path: Path) -> None:
    """Write one probe (format: `Probe`)."""
    spec, probe = read_spec(worker.layout.spec(run)), read_probe_spec(worker.layout.root / "specs", name)
    if isinstance(spec, TranslationSpec):
        from softlabels.translation import job as translation  # fairseq takes seconds to import

        translation.ask(worker, spec, seed, probe, path)
        return
    assert isinstance(probe, Probe)
    pictures = worker.pictures(spec.dataset, probe.split)
    positions = _chosen(pictures, probe)
    out: State = {"labels": pictures.labels[positions], "ids": pictures.ids[positions]}
    files = read_json(worker.layout.store(run, seed) / "run.json")["files"]
    weights: dict[str, str] = {}
    for label, checkpoint in _checkpoints(spec, len(worker.pictures(spec.dataset, "train")), probe):
        teacher = load_run(spec, seed, checkpoint, worker.layout, pictures.data, worker.device)
        out |= _answers(teacher, spec, seed, pictures, positions, probe, label)
        weights[label] = files[weights_file(checkpoint)]
    about = {"run": run, "seed": seed, "probe": to_dict(probe), "weights": weights}
    tensors.save(path, out, about)


def _chosen(pictures: Pictures, probe: Probe) -> torch.Tensor:
    """Positions of the first `per_class` examples of each chosen class, in stored order of class and place."""
    labels = pictures.labels.cpu().numpy()
    classes = range(pictures.data.num_classes) if probe.classes is None else probe.classes
    found = []
    for k in classes:
        where = np.flatnonzero(labels == k)
        if len(where) < (probe.per_class or 1):
            raise SoftlabelsError(
                f"class {k} has {len(where)} images in {probe.split}, the probe wants {probe.per_class or 1}; "
                "lower per_class in the grid or scale"
            )
        found.append(where[: probe.per_class])
    return torch.from_numpy(np.sort(np.concatenate(found))).to(pictures.device)


def _checkpoints(spec: RunSpec, num_train: int, probe: Probe) -> list[tuple[str, str]]:
    if probe.checkpoints == "last":
        return [("last", "last")]
    steps = spec.recipe.all_milestones(num_train)
    if not steps:
        raise SpecError("a probe of milestones needs recipe.milestones or recipe.milestone_every")
    return [(f"step{n}", f"step:{n}") for n in steps]


def _answers(
    teacher: TeacherNetwork,
    spec: RunSpec,
    seed: int,
    pictures: Pictures,
    positions: torch.Tensor,
    probe: Probe,
    label: str,
) -> State:
    def over_batches(view: int, ask_batch: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        asked = pictures.passes(view if probe.views else None, seed, spec.recipe.augment, positions)
        return torch.cat([ask_batch(pictures.to_input(x, teacher.normalise)).float() for x in asked])

    network: Any = teacher.network
    body = _Body(network) if probe.what == "features" else None
    views = range(max(1, probe.views))
    out = {
        f"logits/{label}": torch.stack(
            [over_batches(v, lambda x: forward(network, x, teacher.precision)) for v in views], dim=1
        )
    }
    if body is not None:
        out[f"features/{label}"] = torch.stack(
            [over_batches(v, lambda x: forward(body, x, teacher.precision)) for v in views], dim=1
        )
        out[f"head.weight/{label}"] = network.head.weight
        out[f"head.bias/{label}"] = network.head.bias
    return out


class _Body(torch.nn.Module):
    """A network up to its penultimate activations."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.network.features(x)
        return features
