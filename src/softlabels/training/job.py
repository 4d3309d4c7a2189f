"""What a job does: train blocks of seeds, write caches, ask probes; each result once, then publish it."""

from __future__ import annotations

import csv
import platform
import resource
import shutil
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from softlabels import tensors
from softlabels.cache.reader import CachedLogits, OnlineTeacher
from softlabels.cache.writer import TeacherNetwork, write_cache
from softlabels.errors import SoftlabelsError, SpecError, Stopped
from softlabels.files import atomic, read_json, sha256, write_json
from softlabels.grid.identity import (
    CacheNeed,
    caches_of,
    dataset_id,
    needed_cache,
    read_spec,
    run_id,
    spec_digest,
    teacher_id,
)
from softlabels.grid.parse import run_from
from softlabels.grid.spec import (
    Parent,
    Run,
    RunSpec,
    TranslationSpec,
    initial_of,
    is_solved,
    reference_of,
    teacher_of,
    to_dict,
)
from softlabels.lease import Lease
from softlabels.store import finished, publish
from softlabels.training.checkpoint import State
from softlabels.training.initial import load_initial
from softlabels.training.pictures import Pictures, evaluate
from softlabels.training.teachers import load_teacher
from softlabels.training.temperature import with_temperature
from softlabels.training.trainer import Trained, Trainer
from softlabels.training.worker import IN_PASSES, Worker, each
from softlabels.versions import code_version, stages

# A resumed history has lost the order of its keys.
HISTORY_COLUMNS = ("step", "epoch", "lr_factor", "train_loss", "val_top1", "val_nll")
LESS_AT_ONCE = (
    "set or lower recipe.micro_batch (images) or lower recipe.max_tokens (translation), or take a larger device, "
    "which is the only way with targets.gradient_norm: matched"
)


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
        _remove_state(folder)

    each(worker, jobs, make, LESS_AT_ONCE)


def _remove_state(folder: Path) -> None:
    """Of a finished training, where a kill between its record and its end has left it."""
    shutil.rmtree(folder / "fairseq", ignore_errors=True)
    for name in ("checkpoint.safetensors", "progress.json"):
        (folder / name).unlink(missing_ok=True)


def _require_same_origin(worker: Worker, folder: Path) -> None:
    """Refuse results of pictures, a teacher or initial weights that have since been replaced under the same name.

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
    if isinstance(spec, TranslationSpec):
        _train_translation(worker, spec, seed, folder, lease)
    else:
        _train_images(worker, spec, seed, folder, lease)
    worker.progressed = True


def _train_translation(worker: Worker, spec: TranslationSpec, seed: int, folder: Path, lease: Lease) -> None:
    from softlabels.translation import job as translation  # fairseq takes seconds to import

    need = needed_cache(spec)
    origin = _origin(worker, need, need.seed(seed)) if need is not None else None
    trained = translation.train(worker, spec, seed, folder, lease, origin)
    _write_history(folder, translation.HISTORY_COLUMNS, trained.history)
    names = ["history.csv", "weights.safetensors", "features.safetensors"]
    _write_record(worker, spec, seed, folder, names, trained.about)
    trained.clean_up()


def _train_images(worker: Worker, spec: RunSpec, seed: int, folder: Path, lease: Lease) -> None:
    train_set = worker.pictures(spec.dataset, "train")
    caches = [_cached(worker, need, need.seed(seed), train_set) for need in caches_of(spec)]
    trainer = Trainer(
        with_temperature(spec, seed, caches, train_set.labels.cpu().numpy()),
        seed,
        train_set,
        worker.pictures(spec.dataset, "val"),
        folder,
        identity=run_id(spec),
        teacher=caches[0] if caches else _online_teacher(worker, spec, seed, train_set),
        checkpoint_seconds=worker.checkpoint_seconds,
        should_stop=worker.asked_to_stop,
        before_writing=lease.require,
        begin=lambda network: load_initial(network, spec, seed, worker.layout),
    )
    worker.begin()
    trained = trainer.run()
    lease.require()
    _write_results(worker, spec, seed, folder, trainer, trained)
    trainer.checkpoint.remove()


def _cached(worker: Worker, need: CacheNeed, stream: int, pictures: Pictures) -> CachedLogits:
    return CachedLogits(worker.layout.cache(need.id, stream), pictures, _origin(worker, need, stream), worker.stage)


def _online_teacher(worker: Worker, spec: RunSpec, seed: int, pictures: Pictures) -> OnlineTeacher | None:
    teacher = teacher_of(spec)
    if teacher is None:
        return None
    network = load_teacher(teacher, seed, worker.layout, pictures.data, worker.device, spec.recipe.augment)
    assert isinstance(network, TeacherNetwork)  # own logits are refused online by the spec
    epochs = spec.recipe.num_epochs(len(pictures))
    views = spec.targets.views  # type: ignore[union-attr]
    return OnlineTeacher(network, pictures, teacher.seed_for(seed), epochs if views == "all" else views)


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
    _write_history(folder, HISTORY_COLUMNS, trained.history)
    names = ["history.csv", "weights.safetensors", "logits.safetensors"]
    names += [str(path.relative_to(folder)) for path in trained.milestones.values()]
    about = {
        "steps": trainer.steps,
        "best_step": trained.best_step,
        "seconds": round(trained.seconds, 3),
        "sittings": trainer.checkpoint.sittings,
        "parameters": sum(p.numel() for p in trainer.network.parameters()),
        "data_fingerprint": trainer.train_set.data.fingerprint,
    }
    if is_solved(spec):
        about["temperature"] = trainer.spec.targets.given_temperature  # type: ignore[union-attr]
    _write_record(worker, spec, seed, folder, names, about)


def _write_history(folder: Path, columns: Sequence[str], history: Sequence[dict[str, Any]]) -> None:
    with atomic(folder / "history.csv") as part, open(part, "w", newline="") as handle:
        writer = csv.DictWriter(handle, [name for name in columns if name in history[-1]], lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)


def _write_record(
    worker: Worker, spec: Run, seed: int, folder: Path, names: Sequence[str], about: dict[str, Any]
) -> None:
    """`run.json`, last of all: what it names is there and whole."""
    write_json(
        folder / "run.json",
        {
            "status": "finished",
            "run_id": run_id(spec),
            "spec_digest": spec_digest(spec),
            "spec": to_dict(spec),
            "seed": seed,
            **about,
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
                **({"fairseq": version("fairseq-fixed")} if isinstance(spec, TranslationSpec) else {}),
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
                _write_cache(worker, _need_of(worker, name), seed, folder, lease)
                worker.progressed = True

    each(worker, jobs, make, IN_PASSES)


def _origin(worker: Worker, need: CacheNeed, stream: int) -> dict[str, Any]:
    """What a cache is made from; its manifest says the same, or it is another teacher's."""
    origin = {
        "cache_id": need.id,
        "teacher": teacher_id(need.teacher),
        "checkpoint": need.teacher.checkpoint,
        "stream": stream,
    }
    if isinstance(need.student, RunSpec):
        origin["augment"] = to_dict(need.student.recipe.augment)
    files = _parent_files(worker, need.teacher, stream)
    return origin | ({"teacher_files": files} if files else {})


def _need_of(worker: Worker, name: str) -> CacheNeed:
    """What a cache holds, by a student that reads it."""
    student = read_json(worker.layout.root / "specs" / "caches" / f"{name}.json")["student"]
    for need in caches_of(read_spec(worker.layout.spec(student))):
        if need.id == name:
            return need
    raise SpecError(f"{student} does not read cache {name}; run snakemake again, which writes the present specs")


def _write_cache(worker: Worker, need: CacheNeed, stream: int, folder: Path, lease: Lease) -> None:
    origin = _origin(worker, need, stream)
    if isinstance(need.student, TranslationSpec):
        from softlabels.translation import job as translation

        translation.cache(worker, need, stream, folder, lease, origin)
        return
    pictures = worker.pictures(need.student.dataset, "train")
    augment = need.student.recipe.augment
    source = load_teacher(need.teacher, stream, worker.layout, pictures.data, worker.device, augment)
    worker.begin()
    write_cache(
        folder,
        source,
        pictures,
        views=need.views,
        stream=stream,
        augment=augment,
        about=origin,
        should_stop=worker.asked_to_stop,
        before_writing=lease.require,
    )


def check_logits(worker: Worker, name: str, seed: int, count: int) -> float:
    """Recompute random rows of a cache (pictures, or sentences); returns the largest relative difference."""
    need = _need_of(worker, name)
    origin = _origin(worker, need, seed)
    if isinstance(need.student, TranslationSpec):
        from softlabels.translation import job as translation

        return translation.check_cache(worker, need, seed, origin, count)
    pictures = worker.pictures(need.student.dataset, "train")
    augment = need.student.recipe.augment
    source = load_teacher(need.teacher, seed, worker.layout, pictures.data, worker.device, augment)
    if not isinstance(source, TeacherNetwork):
        raise SpecError(f"{name} holds logits of your own: there is no network to recompute rows with")
    return _cached(worker, need, seed, pictures).check(source, pictures, augment, count)
