"""What a job does with runs of image networks, for `training/job.py`: train a seed, write a cache, ask a network."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from softlabels import tensors
from softlabels.cache import CachedLogits, OnlineTeacher, TeacherNetwork, write_cache
from softlabels.errors import DataError, SpecError
from softlabels.grid.identity import CacheNeed, run_id
from softlabels.grid.parts.initial import UserWeights
from softlabels.grid.spec import Distill, EqualEntropy, MeanLabel, RunSpec, UserNetwork, is_solved, teacher_of
from softlabels.lease import Lease
from softlabels.metrics.soft_targets import effective_label, equal_entropy_temperature, temperature_of_label
from softlabels.models import build
from softlabels.training.agreement import compare_with_labels
from softlabels.training.augment import view_shape
from softlabels.training.checkpoint import State
from softlabels.training.images import ImageSplit, evaluate
from softlabels.training.probes import evaluate_probe as evaluate_probe
from softlabels.training.teachers import load_initial, load_teacher
from softlabels.training.trainer import Trained, Trainer
from softlabels.training.worker import Caches, Finished, Worker, require_units


def train(worker: Worker, spec: RunSpec, seed: int, folder: Path, lease: Lease, caches: Caches) -> Finished:
    """Train one seed and write weights and predictions to `folder`.

    Raises:
        Stopped: asked to stop; the state is saved.
        SoftlabelsError: a teacher, cache or initial weights that do not belong to this run.
    """
    train_set = worker.images(spec.dataset, "train")
    cached = [_cached(worker, need, need.seed(seed), origin, train_set) for need, origin in caches]
    labels = train_set.labels.cpu().numpy()
    online = None if cached else _online_teacher(worker, spec, seed, train_set)
    agreements = _agreements(worker, spec, seed, cached[0] if cached else online, train_set)
    trainer = Trainer(
        with_temperature(spec, seed, cached, labels),
        seed,
        train_set,
        worker.images(spec.dataset, "val"),
        folder,
        identity=run_id(spec),
        teacher=cached[0] if cached else online,
        checkpoint_seconds=worker.checkpoint_seconds,
        should_stop=worker.asked_to_stop,
        before_writing=lease.require,
        init_weights=lambda network: load_initial(network, spec, seed, worker.layout, train_set.data),
    )
    worker.reset_timer()
    trained = trainer.run()
    lease.require()
    finished = _write_results(worker, spec, folder, trainer, trained)
    finished.about.update(agreements)
    targets = spec.targets
    if isinstance(targets, Distill) and isinstance(targets.temperature, MeanLabel):
        T = finished.about["temperature"]
        finished.about["mean_label"] = effective_label(cached[0].view(0), labels, T, targets.beta)
    return finished


def _cached(worker: Worker, need: CacheNeed, seed: int, origin: dict[str, Any], images: ImageSplit) -> CachedLogits:
    return CachedLogits(worker.layout.cache(need.id, seed), images, origin, worker.stage)


def _online_teacher(worker: Worker, spec: RunSpec, seed: int, images: ImageSplit) -> OnlineTeacher | None:
    teacher = teacher_of(spec)
    if teacher is None:
        return None
    require_units(worker, teacher.run)
    network = load_teacher(teacher, seed, worker.layout, images.data, worker.device, spec.recipe.augment)
    assert isinstance(network, TeacherNetwork)  # own logits are refused online by the spec
    epochs = spec.recipe.num_epochs(len(images))
    views = spec.targets.views  # type: ignore[union-attr]
    return OnlineTeacher(network, images, teacher.seed_for(seed), epochs if views == "all" else views)


def _agreements(
    worker: Worker, spec: RunSpec, seed: int, teacher: CachedLogits | OnlineTeacher | None, images: ImageSplit
) -> dict[str, Any]:
    """How far the teacher, and a network of the user's that keeps its head, agree with the labels."""
    found: dict[str, Any] = {}
    augment, from_elsewhere = spec.recipe.augment, teacher_of(spec)
    if isinstance(teacher, CachedLogits) and "agreement" in teacher.manifest:  # older caches have none
        found["teacher_agreement"] = teacher.manifest["agreement"]
    elif isinstance(teacher, OnlineTeacher) and from_elsewhere and isinstance(from_elsewhere.run, UserNetwork):
        found["teacher_agreement"] = compare_with_labels(
            teacher.teacher, images, augment, teacher.augment_seed, from_elsewhere.run
        )
    if spec.initial and isinstance(spec.initial.run, UserWeights) and spec.initial.head == "kept":
        network = build(spec.model, images.data.num_classes, view_shape(augment, images.data.shape)).to(worker.device)
        load_initial(network, spec, seed, worker.layout, images.data)
        begun = TeacherNetwork(network.eval(), spec.recipe.normalise, spec.recipe.precision)
        found["initial_agreement"] = compare_with_labels(begun, images, augment, seed, spec.initial.run)
    return found


def _write_results(worker: Worker, spec: RunSpec, folder: Path, trainer: Trainer, trained: Trained) -> Finished:
    logits: State = {}
    weights: State = {}
    for checkpoint, state in (("last", trained.last), ("best", trained.best)):
        if state is None:
            continue
        weights |= {f"{checkpoint}/{name}": t for name, t in state.items()}
        trainer.network.load_state_dict(state)
        for split in ("val", "test"):
            images = worker.images(spec.dataset, split)
            if len(images):
                logits[f"{split}/{checkpoint}"] = torch.from_numpy(evaluate(trainer.network, images, spec.recipe))
                logits[f"{split}/labels"] = images.labels
    tensors.save(folder / "weights.safetensors", weights)
    tensors.save(folder / "logits.safetensors", logits)
    milestones = [str(path.relative_to(folder)) for path in trained.milestones.values()]
    about = {
        "steps": trainer.steps,
        "best_step": trained.best_step,
        "seconds": round(trained.seconds, 3),
        "attempts": trainer.checkpoint.attempts,
        "parameters": sum(p.numel() for p in trainer.network.parameters()),
        "data_fingerprint": trainer.train_set.data.fingerprint,
    }
    if is_solved(spec):
        about["temperature"] = trainer.spec.targets.given_temperature  # type: ignore[union-attr]
    files = ["weights.safetensors", "logits.safetensors", *milestones]
    return Finished(trained.history, files, about, trainer.checkpoint.remove)


def cache(worker: Worker, need: CacheNeed, seed: int, folder: Path, lease: Lease, origin: dict[str, Any]) -> None:
    """Write one seed of a cache (raises as `write_cache`)."""
    assert isinstance(need.student, RunSpec)
    require_units(worker, need.teacher.run)
    images = worker.images(need.student.dataset, "train")
    augment = need.student.recipe.augment
    source = load_teacher(need.teacher, seed, worker.layout, images.data, worker.device, augment)
    agreement = compare_with_labels(source, images, augment, seed, need.teacher.run)
    worker.reset_timer()
    write_cache(
        folder,
        source,
        images,
        views=need.views,
        augment_seed=seed,
        augment=augment,
        about=origin,
        agreement=agreement,
        should_stop=worker.asked_to_stop,
        before_writing=lease.require,
    )


def check_cache(worker: Worker, need: CacheNeed, seed: int, origin: dict[str, Any], count: int) -> float:
    """Recompute random images of a cache; returns the largest relative difference."""
    assert isinstance(need.student, RunSpec)
    images = worker.images(need.student.dataset, "train")
    augment = need.student.recipe.augment
    source = load_teacher(need.teacher, seed, worker.layout, images.data, worker.device, augment)
    if not isinstance(source, TeacherNetwork):
        raise SpecError(f"{need.id} holds logits of your own: there is no network to recompute rows with")
    return _cached(worker, need, seed, origin, images).check(source, images, augment, count)


def with_temperature(spec: RunSpec, seed: int, caches: Sequence[CachedLogits], labels: NDArray[np.int64]) -> RunSpec:
    """The spec with a number for T: where it depends on results that which gives the teacher's targets on the first
    cached view of all training images the mean entropy of a reference teacher's (`entropy_of`), or the true class this
    mean label (`label`).

    Args:
        caches: as in `grid.identity.caches_of`.
        labels: `[N]` of the training images.

    Raises:
        DataError: there is no such T, because a teacher says the same of all classes, or nothing of all but one, or
            errs too often for this label and the nearest is not asked for.
    """
    targets = spec.targets
    if not isinstance(targets, Distill) or not targets.is_solved:
        return spec
    logits, wanted = caches[0].view(0), targets.temperature
    try:
        if isinstance(wanted, EqualEntropy):
            reference = caches[1]
            T = equal_entropy_temperature(logits, reference.view(0), wanted.temperature)
            why = f"the entropy of {reference.manifest['teacher']} at {wanted.temperature:g}"
        else:
            assert isinstance(wanted, MeanLabel)
            nearest = wanted.otherwise == "nearest"
            T = temperature_of_label(logits, labels, wanted.label, targets.beta, nearest)
            why = f"a mean label of {wanted.label:g}{' or the nearest' * nearest} on the true class"
    except DataError as error:
        key = "entropy_of" if isinstance(wanted, EqualEntropy) else "label"
        raise DataError(
            f"{run_id(spec)} seed {seed}: targets.temperature.{key} has no solution: {error}; give another "
            "teacher or temperature"
        ) from None
    print(f"{run_id(spec)} seed {seed}: temperature {T:.6g}, of {why}")
    return dataclasses.replace(spec, targets=dataclasses.replace(targets, temperature=T))
