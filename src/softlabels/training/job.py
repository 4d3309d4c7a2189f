"""What a job does: train one seed of a run, write a cache, evaluate a probe; each result once, then publish it."""

from __future__ import annotations

import csv
import platform
import resource
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from softlabels import tensors
from softlabels.errors import SoftlabelsError, Stopped
from softlabels.files import atomic, read_json, sha256, write_json
from softlabels.grid.files import Specs
from softlabels.grid.identity import CacheNeed, caches_of, dataset_id, run_id, spec_digest, teacher_id
from softlabels.grid.parts.probes import AnyProbe
from softlabels.grid.spec import (
    Parent,
    Run,
    RunSpec,
    TranslationSpec,
    initial_of,
    reference_of,
    run_from,
    teacher_of,
    to_dict,
)
from softlabels.lease import Lease
from softlabels.store import finished, link, publish
from softlabels.training import image_job
from softlabels.training.worker import FIXED_BATCH_HINT, Caches, Finished, Worker, require_units, run_jobs
from softlabels.versions import code_version, stages

# A resumed history has lost the order of its keys; of images `lr_factor` and `val_top1`, of text `lr`.
HISTORY_COLUMNS = ("step", "epoch", "lr", "lr_factor", "train_loss", "val_top1", "val_nll")
MEMORY_HINT = (
    "set or lower recipe.micro_batch (images) or lower recipe.max_tokens (translation), or take a larger device, "
    "which is the only way with targets.gradient_norm: matched"
)


class Work(Protocol):
    """What is done with the networks of a task."""

    def train(self, worker: Worker, spec: Any, seed: int, folder: Path, lease: Lease, caches: Caches) -> Finished:
        """Train one seed; weights and predictions are written to `folder`."""

    def cache(
        self, worker: Worker, need: CacheNeed, seed: int, folder: Path, lease: Lease, origin: dict[str, Any]
    ) -> None:
        """Write one seed of a cache."""

    def check_cache(self, worker: Worker, need: CacheNeed, seed: int, origin: dict[str, Any], count: int) -> float:
        """Recompute random rows of a cache; returns the largest relative difference."""

    def evaluate_probe(self, worker: Worker, spec: Any, seed: int, probe: AnyProbe, path: Path) -> None:
        """Write the outputs of one probe."""


def work_on(run: Run) -> Work:
    """The module that does it."""
    if isinstance(run, TranslationSpec):
        from softlabels.translation import job  # fairseq takes seconds to import

        return job
    return image_job


def train(worker: Worker, jobs: Sequence[tuple[str, int]]) -> None:
    """Train every (run, seed) that the store lacks, one after another, and publish all (raises as `run_jobs`)."""

    def make(run: str, seed: int) -> None:
        folder = worker.layout.store(run, seed)
        if finished(folder) is None:
            spec = Specs(worker.layout.specs).run(run)
            with Lease(folder, wait=print, should_stop=worker.asked_to_stop).held() as lease:
                if finished(folder) is None:  # another job may have finished it while we waited
                    _train_one(worker, spec, seed, folder, lease)
        _require_same_origin(worker, folder)
        publish(worker.layout, run, seed)
        _remove_state(folder)

    run_jobs(worker, jobs, make, MEMORY_HINT)


def _remove_state(folder: Path) -> None:
    """Of a finished training, where a kill between its record and its end has left it."""
    shutil.rmtree(folder / "fairseq", ignore_errors=True)
    for name in ("checkpoint.safetensors", "progress.json"):
        (folder / name).unlink(missing_ok=True)


def _require_same_origin(worker: Worker, folder: Path) -> None:
    """Refuse results of images, a teacher or initial weights that have since been replaced under the same name.

    An image folder without a declared sha256 can change, and a teacher trained again on CUDA need not be the same.
    """
    record = finished(folder)
    assert record is not None
    spec = run_from(record["spec"], str(folder / "run.json"))
    manifest = worker.layout.data(dataset_id(spec.dataset)) / "manifest.json"
    if read_json(manifest)["fingerprint"] != record["data_fingerprint"]:
        raise SoftlabelsError(
            f"{folder} was trained on other data than {manifest} describes; declare dataset.sha256 "
            "(softlabels fingerprint), or delete the folder to train again"
        )
    for key, parent, part in (
        ("teacher_files", teacher_of(spec), "was taught by a teacher"),
        ("initial_files", initial_of(spec), "began with a network"),
        ("reference_files", reference_of(spec), "has its temperature from a teacher"),
    ):
        now = _parent_files(worker, parent, record["seed"])
        if now and (record.get(key) or now) != now:
            raise SoftlabelsError(
                f"{folder} {part} that has been trained again since; delete the folder to train again"
            )


def _parent_files(worker: Worker, parent: Parent | None, seed: int) -> dict[str, str] | None:
    """The files of the run that a run of `seed` learns from or begins with, with their SHA-256; None without one or
    unfinished."""
    if parent is None or not isinstance(parent.run, Run):
        return None
    record = finished(worker.layout.store(run_id(parent.run), parent.seed_for(seed)))
    return record["files"] if record else None


def _train_one(worker: Worker, spec: Run, seed: int, folder: Path, lease: Lease) -> None:
    if worker.asked_to_stop():
        raise Stopped(f"stopped before {folder.parent.name} seed {seed}; run the same command again", progressed=False)
    require_units(worker, spec)
    caches = [(need, _origin(worker, need, need.seed(seed))) for need in caches_of(spec)]
    trained = work_on(spec).train(worker, spec, seed, folder, lease, caches)
    _write_history(folder, trained.history)
    _write_record(worker, spec, seed, folder, trained)
    trained.clean_up()
    worker.progressed = True


def _write_history(folder: Path, history: Sequence[dict[str, Any]]) -> None:
    with atomic(folder / "history.csv") as part, open(part, "w", newline="") as handle:
        writer = csv.DictWriter(handle, [name for name in HISTORY_COLUMNS if name in history[-1]], lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)


def _write_record(worker: Worker, spec: Run, seed: int, folder: Path, trained: Finished) -> None:
    """`run.json`, last of all: what it names is there and whole."""
    write_json(
        folder / "run.json",
        {
            "status": "finished",
            "run_id": run_id(spec),
            "spec_digest": spec_digest(spec),
            "spec": to_dict(spec),
            "seed": seed,
            **trained.about,
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
            "device": _device_name(worker.device),
            "teacher_files": _parent_files(worker, teacher_of(spec), seed),
            "initial_files": _parent_files(worker, initial_of(spec), seed),
            "reference_files": _parent_files(worker, reference_of(spec), seed),
            "code_versions": {stage: code_version(stage) for stage in stages()},
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "numpy": np.__version__,
                **trained.versions,
            },
            "files": {name: sha256(folder / name) for name in ("history.csv", *trained.files)},
        },
    )


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def cache(worker: Worker, jobs: Sequence[tuple[str, int]]) -> None:
    """Write caches, each named by its id and the teacher's seed (raises as `run_jobs`; finished shards stay)."""

    def make(name: str, seed: int) -> None:
        folder = worker.layout.cache(name, seed)
        with Lease(folder, wait=print, should_stop=worker.asked_to_stop).held() as lease:
            if not (folder / "manifest.json").exists():
                need = Specs(worker.layout.specs).cache(name)
                work_on(need.student).cache(worker, need, seed, folder, lease, _origin(worker, need, seed))
                worker.progressed = True

    run_jobs(worker, jobs, make, FIXED_BATCH_HINT)


def check_logits(worker: Worker, name: str, seed: int, count: int) -> float:
    """Recompute random rows of a cache (images, or sentences); returns the largest relative difference."""
    need = Specs(worker.layout.specs).cache(name)
    return work_on(need.student).check_cache(worker, need, seed, _origin(worker, need, seed), count)


def _origin(worker: Worker, need: CacheNeed, augment_seed: int) -> dict[str, Any]:
    """What a cache is made from; its manifest says the same, or it is another teacher's."""
    origin = {
        "cache_id": need.id,
        "teacher": teacher_id(need.teacher),
        "checkpoint": need.teacher.checkpoint,
        "stream": augment_seed,
    }
    if isinstance(need.student, RunSpec):
        origin["augment"] = to_dict(need.student.recipe.augment)
    files = _parent_files(worker, need.teacher, augment_seed)
    return origin | ({"teacher_files": files} if files else {})


def evaluate_probes(worker: Worker, jobs: Sequence[tuple[str, int, str]]) -> None:
    """Write the outputs of networks on chosen images, for every (run, seed, probe); raises as `run_jobs`."""
    specs = Specs(worker.layout.specs)

    def make(run: str, seed: int, name: str) -> None:
        # Kept beside the network, because Snakemake deletes outputs before it runs a job again.
        published = worker.layout.probe(run, seed, name)
        kept = worker.layout.store(run, seed) / "probes" / published.name
        if not is_whole(kept):
            if worker.asked_to_stop():
                raise Stopped(f"stopped before probe {name} of {run} seed {seed}; run the same command again", False)
            spec, probe = specs.run(run), specs.probe(name)
            work_on(spec).evaluate_probe(worker, spec, seed, probe, kept)
            worker.progressed = True
        link(kept, published)

    run_jobs(worker, jobs, make, FIXED_BATCH_HINT)


def is_whole(path: Path) -> bool:
    """Whether a file of tensors, or of text in JSON, is there and can be read."""
    try:
        read_json(path) if path.suffix == ".json" else tensors.load(path)
    except SoftlabelsError:
        return False
    return True
