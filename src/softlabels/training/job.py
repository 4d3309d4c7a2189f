"""What a job does: train blocks of seeds, write caches, ask probes; each result once, then publish it."""

from __future__ import annotations

import csv
import platform
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from softlabels import tensors
from softlabels.cache.reader import CachedLogits, OnlineTeacher
from softlabels.cache.writer import TeacherNetwork, write_cache
from softlabels.errors import SoftlabelsError, SpecError, Stopped
from softlabels.files import atomic, read_json, sha256, write_json
from softlabels.grid.identity import CacheNeed, dataset_id, needed_cache, read_spec, run_id, spec_digest, teacher_id
from softlabels.grid.parse import from_dict
from softlabels.grid.spec import RunSpec, Teacher, teacher_of, to_dict
from softlabels.lease import Lease
from softlabels.store import finished, publish
from softlabels.training.checkpoint import State
from softlabels.training.pictures import Pictures, evaluate
from softlabels.training.teachers import load_teacher
from softlabels.training.trainer import Trained, Trainer
from softlabels.training.worker import Worker, each
from softlabels.versions import code_version, stages

# A resumed history has lost the order of its keys.
HISTORY_COLUMNS = ("step", "epoch", "lr_factor", "train_loss", "val_top1", "val_nll")


def train(worker: Worker, jobs: Sequence[tuple[str, int]]) -> None:
    """Train every (run, seed) that the store lacks, one after another, and publish all (raises as `each`)."""

    def make(run: str, seed: int) -> None:
        folder = worker.layout.store(run, seed)
        if finished(folder) is None:
            spec = read_spec(worker.layout.spec(run))
            with Lease(folder, wait=print, should_stop=worker.asked_to_stop).held() as lease:
                if finished(folder) is None:  # another job may have finished it while we waited
                    _train_one(worker, spec, seed, folder, lease)
        _require_same_origin(worker, folder)
        publish(worker.layout, run, seed)

    each(worker, jobs, make)


def _require_same_origin(worker: Worker, folder: Path) -> None:
    """Refuse results of pictures or of a teacher that have since been replaced under the same name.

    An image folder without a declared sha256 can change, and a teacher trained again on CUDA need not be the same.
    """
    record = finished(folder)
    assert record is not None
    spec = from_dict(RunSpec, record["spec"], str(folder / "run.json"))
    manifest = worker.layout.data(dataset_id(spec.dataset)) / "manifest.json"
    if read_json(manifest)["fingerprint"] != record["data_fingerprint"]:
        raise SoftlabelsError(
            f"{folder} was trained on other data than {manifest} describes; declare dataset.sha256 "
            "(softlabels fingerprint), or delete the folder to train again"
        )
    now = _teacher_files(worker, teacher_of(spec), record["seed"])
    if now and (record.get("teacher_files") or now) != now:
        raise SoftlabelsError(
            f"{folder} was taught by a teacher that has been trained again since; delete the folder to train again"
        )


def _teacher_files(worker: Worker, teacher: Teacher | None, seed: int) -> dict[str, str] | None:
    """The files of the run that teaches a student of `seed`, with their SHA-256; None without one or unfinished."""
    if teacher is None or not isinstance(teacher.run, RunSpec):
        return None
    record = finished(worker.layout.store(run_id(teacher.run), teacher.seed_for(seed)))
    return record["files"] if record else None


def _train_one(worker: Worker, spec: RunSpec, seed: int, folder: Path, lease: Lease) -> None:
    if worker.asked_to_stop():
        raise Stopped(f"stopped before {folder.parent.name} seed {seed}; run the same command again", progressed=False)
    train_set = worker.pictures(spec.dataset, "train")
    trainer = Trainer(
        spec,
        seed,
        train_set,
        worker.pictures(spec.dataset, "val"),
        folder,
        identity=run_id(spec),
        teacher=_teacher_logits(worker, spec, seed, train_set),
        checkpoint_seconds=worker.checkpoint_seconds,
        should_stop=worker.asked_to_stop,
        before_writing=lease.require,
    )
    worker.begin()
    trained = trainer.run()
    lease.require()
    _write_results(worker, spec, seed, folder, trainer, trained)
    trainer.checkpoint.remove()
    worker.progressed = True


def _teacher_logits(
    worker: Worker, spec: RunSpec, seed: int, pictures: Pictures
) -> CachedLogits | OnlineTeacher | None:
    teacher = teacher_of(spec)
    if teacher is None:
        return None
    need = needed_cache(spec)
    stream = teacher.seed_for(seed)
    if need is not None:
        return CachedLogits(worker.layout.cache(need.id, stream), pictures, _origin(worker, need, stream), worker.stage)
    network = load_teacher(teacher, seed, worker.layout, pictures.data, worker.device)
    assert isinstance(network, TeacherNetwork)  # own logits are refused online by the spec
    epochs = spec.recipe.num_epochs(len(pictures))
    views = spec.targets.views  # type: ignore[union-attr]
    return OnlineTeacher(network, pictures, stream, epochs if views == "all" else views)


def _write_results(worker: Worker, spec: RunSpec, seed: int, folder: Path, trainer: Trainer, trained: Trained) -> None:
    logits: State = {}
    weights: State = {}
    for checkpoint, state in (("last", trained.last), ("best", trained.best)):
        if state is None:
            continue
        weights |= {f"{checkpoint}/{name}": t for name, t in state.items()}
        trainer.network.load_state_dict(state)
        for split in ("val", "test"):
            pictures = worker.pictures(spec.dataset, split)
            if len(pictures):
                logits[f"{split}/{checkpoint}"] = torch.from_numpy(evaluate(trainer.network, pictures, spec.recipe))
                logits[f"{split}/labels"] = pictures.labels
    tensors.save(folder / "weights.safetensors", weights)
    tensors.save(folder / "logits.safetensors", logits)
    with atomic(folder / "history.csv") as part, open(part, "w", newline="") as handle:
        columns = [name for name in HISTORY_COLUMNS if name in trained.history[-1]]
        writer = csv.DictWriter(handle, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(trained.history)
    names = ["history.csv", "weights.safetensors", "logits.safetensors"]
    names += [str(path.relative_to(folder)) for path in trained.milestones.values()]
    write_json(
        folder / "run.json",
        {
            "status": "finished",
            "run_id": run_id(spec),
            "spec_digest": spec_digest(spec),
            "spec": to_dict(spec),
            "seed": seed,
            "steps": trainer.steps,
            "best_step": trained.best_step,
            "seconds": round(trained.seconds, 3),
            "sittings": trainer.checkpoint.sittings,
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
            "device": _device_name(worker.device),
            "parameters": sum(p.numel() for p in trainer.network.parameters()),
            "data_fingerprint": trainer.train_set.data.fingerprint,
            "teacher_files": _teacher_files(worker, teacher_of(spec), seed),
            "code_versions": {stage: code_version(stage) for stage in stages()},
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "numpy": np.__version__,
            },
            "files": {name: sha256(folder / name) for name in names},
        },
    )


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def cache(worker: Worker, jobs: Sequence[tuple[str, int]]) -> None:
    """Write caches, each named by its id and the teacher's seed (raises as `each`; finished shards stay)."""

    def make(name: str, seed: int) -> None:
        folder = worker.layout.cache(name, seed)
        with Lease(folder, wait=print, should_stop=worker.asked_to_stop).held() as lease:
            if not (folder / "manifest.json").exists():
                _write_cache(worker, *_reader_of(worker, name), seed, folder, lease)
                worker.progressed = True

    each(worker, jobs, make)


def _origin(worker: Worker, need: CacheNeed, stream: int) -> dict[str, Any]:
    """What a cache is made from; its manifest says the same, or it is another teacher's."""
    origin = {
        "cache_id": need.id,
        "teacher": teacher_id(need.teacher),
        "checkpoint": need.teacher.checkpoint,
        "stream": stream,
        "augment": to_dict(need.augment),
    }
    files = _teacher_files(worker, need.teacher, stream)
    return origin | ({"teacher_files": files} if files else {})


def _reader_of(worker: Worker, name: str) -> tuple[RunSpec, CacheNeed, Teacher]:
    """A student that reads a cache, and what it reads."""
    student = read_json(worker.layout.root / "specs" / "caches" / f"{name}.json")["student"]
    spec = read_spec(worker.layout.spec(student))
    need = needed_cache(spec)
    if need is None or need.id != name:
        raise SpecError(f"{student} does not read cache {name}; run snakemake again, which writes the present specs")
    return spec, need, need.teacher


def _write_cache(
    worker: Worker, spec: RunSpec, need: CacheNeed, teacher: Teacher, stream: int, folder: Path, lease: Lease
) -> None:
    pictures = worker.pictures(spec.dataset, "train")
    source = load_teacher(teacher, stream, worker.layout, pictures.data, worker.device)
    worker.begin()
    write_cache(
        folder,
        source,
        pictures,
        views=need.views,
        stream=stream,
        augment=need.augment,
        about=_origin(worker, need, stream),
        should_stop=worker.asked_to_stop,
        before_writing=lease.require,
    )


def check_logits(worker: Worker, name: str, seed: int, count: int) -> float:
    """Recompute random rows of a cache; returns the largest relative difference."""
    spec, need, teacher = _reader_of(worker, name)
    pictures = worker.pictures(spec.dataset, "train")
    source = load_teacher(teacher, seed, worker.layout, pictures.data, worker.device)
    if not isinstance(source, TeacherNetwork):
        raise SpecError(f"{name} holds logits of your own: there is no network to recompute rows with")
    cached = CachedLogits(worker.layout.cache(name, seed), pictures, _origin(worker, need, seed), worker.stage)
    return cached.check(source, pictures, need.augment, count)
