"""Ask trained networks about chosen pictures: which ones, and where the answers go."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from softlabels import tensors
from softlabels.errors import SoftlabelsError, SpecError, Stopped
from softlabels.files import read_json
from softlabels.grid.class_names import labels as class_labels
from softlabels.grid.files import read_probe_spec
from softlabels.grid.identity import read_spec
from softlabels.grid.probes import ClassMeans, PictureProbe, Samples
from softlabels.grid.spec import RunSpec, TranslationSpec, to_dict
from softlabels.store import link
from softlabels.training.answers import Asked, answers, samples
from softlabels.training.checkpoint import State
from softlabels.training.pictures import Pictures
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
    assert isinstance(probe, PictureProbe)
    pictures = worker.pictures(spec.dataset, probe.split)
    positions = _chosen(pictures, probe, f"probe {name}")
    asked = Asked(spec, seed, pictures, positions, probe)
    out: State = {"labels": pictures.labels[positions], "ids": pictures.ids[positions]}
    files = read_json(worker.layout.store(run, seed) / "run.json")["files"]
    weights: dict[str, str] = {}
    if isinstance(probe, Samples):
        out["pictures"] = samples(asked)
    else:
        if isinstance(probe, ClassMeans):
            present, counts = np.unique(out["labels"].cpu().numpy(), return_counts=True)
            out = {"labels": torch.from_numpy(present), "counts": torch.from_numpy(counts)}
        for label, checkpoint in _checkpoints(spec, len(worker.pictures(spec.dataset, "train")), probe):
            teacher = load_run(spec, seed, checkpoint, worker.layout, pictures.data, worker.device)
            out |= answers(asked, teacher, label)
            weights[label] = files[weights_file(checkpoint)]
    about = {"run": run, "seed": seed, "probe": to_dict(probe), "weights": weights}
    tensors.save(path, out, about | {"class_names": list(pictures.data.class_names)})


def _chosen(pictures: Pictures, probe: PictureProbe, where: str) -> torch.Tensor:
    """Positions of the first `per_class` examples of each chosen class, in stored order."""
    labels = pictures.labels.cpu().numpy()
    data = pictures.data
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
    return torch.from_numpy(np.sort(np.concatenate(found))).to(pictures.device)


def _checkpoints(spec: RunSpec, num_train: int, probe: PictureProbe) -> list[tuple[str, str]]:
    if probe.checkpoints == "last":
        return [("last", "last")]
    steps = spec.recipe.all_milestones(num_train)
    if not steps:
        raise SpecError("a probe of milestones needs recipe.milestones or recipe.milestone_every")
    return [(f"step{n}", f"step:{n}") for n in steps]
