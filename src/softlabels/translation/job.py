"""What a job does with translation runs: train a seed, write a cache, answer a probe. `training/job.py` calls these."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from softlabels import tensors
from softlabels.errors import SpecError, Stopped
from softlabels.files import read_json, write_json
from softlabels.grid.costs import training_steps
from softlabels.grid.identity import CacheNeed, dataset_id, needed_cache, probe_id, run_id
from softlabels.grid.probes import AnyProbe, Tokens, Translations
from softlabels.grid.spec import Distill, TranslationSpec, to_dict
from softlabels.grid.translation import CorpusSpec
from softlabels.lease import Lease
from softlabels.staging import staged
from softlabels.training.worker import Worker
from softlabels.translation.cache import CachedTeacher, checksums, require_k, write_cache
from softlabels.translation.corpus.prepare import verify
from softlabels.translation.decode import translate
from softlabels.translation.losses import TokenLoss
from softlabels.translation.network import Corpus, Translator, load
from softlabels.translation.score import ask_tokens, predictions
from softlabels.translation.state import History
from softlabels.translation.trainer import Trainer

HISTORY_COLUMNS = ("step", "epoch", "lr", "train_loss", "val_nll")


@dataclass(frozen=True)
class Finished:
    """What the record of a training says beside the usual."""

    history: History
    about: dict[str, Any]
    clean_up: Callable[[], None]
    """Removes the state of the unfinished training; called when the record is written."""


def corpus_of(worker: Worker, spec: CorpusSpec) -> Corpus:
    """A prepared corpus, opened once per process; on the node's own disk if the job stages."""
    name = dataset_id(spec)
    if name not in worker.corpora:
        folder = worker.layout.data(name)
        manifest = read_json(folder / "manifest.json")
        # The text before it became subwords and binary is read by nobody.
        files = {n: entry["sha256"] for n, entry in manifest["files"].items() if not n.startswith("subwords/")}
        copies = staged(folder, files, worker.stage)
        if copies == folder:
            verify(folder, manifest)
        else:  # which have been checked
            write_json(copies / "manifest.json", manifest)
        worker.corpora[name] = Corpus.open(copies, worker.device)
    corpus: Corpus = worker.corpora[name]
    return corpus


def train(
    worker: Worker, spec: TranslationSpec, seed: int, folder: Path, lease: Lease, origin: dict[str, Any] | None
) -> Finished:
    """Train one seed and write weights and predictions to `folder`.

    Args:
        origin: what the manifest of the teacher's cache must say; None without a cache.

    Raises:
        Stopped: asked to stop; the state is saved.
        SoftlabelsError: as `Trainer.run`, or a cache that does not belong to this student.
    """
    corpus = corpus_of(worker, spec.dataset)
    _require_room(spec, corpus)
    trainer = Trainer(
        spec,
        seed,
        corpus.folder,
        folder,
        identity=run_id(spec),
        device=worker.device,
        criterion=_criterion(worker, spec, seed, corpus, origin),
        planned_updates=training_steps(spec) or corpus.manifest["sizes"]["train"],
        checkpoint_seconds=worker.checkpoint_seconds,
        should_stop=worker.asked_to_stop,
        before_writing=lease.require,
    )
    worker.begin()
    trained = trainer.run()
    lease.require()
    kept = {"last": trained.last} | ({"best": trained.best} if trained.best is not None else {})
    tensors.save(
        folder / "weights.safetensors", {f"{c}/{name}": t for c, state in kept.items() for name, t in state.items()}
    )
    said: dict[str, torch.Tensor] = {}
    for checkpoint, state in kept.items():
        if checkpoint == "best" and trained.best_step == trained.steps:  # the same weights
            said |= {f"{name.removesuffix('/last')}/best": t for name, t in said.items() if name.endswith("/last")}
            continue
        trained.network.load_state_dict(state, strict=False)
        said |= predictions(trained.network, corpus, checkpoint)
    tensors.save(folder / "features.safetensors", said)
    about = {
        "steps": trained.steps,
        "best_step": trained.best_step,
        "seconds": round(trained.seconds, 3),
        "sittings": trainer.progress.sittings,
        "parameters": sum(p.numel() for p in trained.network.parameters()),
        "data_fingerprint": corpus.manifest["fingerprint"],
    }
    return Finished(trained.history, about, trainer.clean_up)


def _require_room(spec: TranslationSpec, corpus: Corpus) -> None:
    """Refuse a recipe that a sentence does not fit into, before fairseq does in the middle of its work.

    Raises:
        SpecError: a validation or test sentence longer than `max_positions`, or a training sentence than `max_tokens`.
    """
    limit = spec.recipe.max_positions
    for split in ("val", "test"):
        if (longest := corpus.longest(split)) > limit:
            raise SpecError(
                f"recipe.max_positions: a sentence of {split} has {longest} tokens and {limit} are allowed; "
                "no sentence of it may be left out, so give more"
            )
    longest = min(corpus.longest("train"), limit)
    if longest > spec.recipe.max_tokens:
        raise SpecError(
            f"recipe.max_tokens: a training sentence has {longest} tokens, a batch {spec.recipe.max_tokens}; give "
            "more, or leave such sentences out by recipe.max_positions"
        )


def _criterion(
    worker: Worker, spec: TranslationSpec, seed: int, corpus: Corpus, origin: dict[str, Any] | None
) -> list[str]:
    """Arguments of the criterion."""
    arguments = ["--loss", TokenLoss.of(spec.targets, corpus.vocabulary).argument]
    if spec.recipe.precision.autocast == "bf16":
        arguments.append("--autocast-bf16")
    if not isinstance(spec.targets, Distill):
        return arguments
    require_k(spec.targets.top_k, corpus.vocabulary)
    teacher, need = spec.targets.teacher, needed_cache(spec)
    if need is None:
        assert isinstance(teacher.run, TranslationSpec)
        folder = worker.layout.store(run_id(teacher.run), teacher.seed_for(seed))
        return [*arguments, "--kd-teacher", str(folder), "--kd-checkpoint", teacher.checkpoint]
    cache = worker.layout.cache(need.id, need.seed(seed))
    files = staged(cache, checksums(read_json(cache / "manifest.json")), worker.stage)
    copies = ["--kd-files", str(files)] if files != cache else []
    return [*arguments, "--kd-cache", str(cache), "--kd-origin", json.dumps(origin), *copies]


def teacher_of_cache(worker: Worker, need: CacheNeed, seed: int) -> tuple[Translator, Corpus]:
    """The network whose logits a cache holds."""
    assert isinstance(need.student, TranslationSpec)
    assert isinstance(need.teacher.run, TranslationSpec)
    corpus = corpus_of(worker, need.student.dataset)
    return load(worker.layout.store(run_id(need.teacher.run), seed), need.teacher.checkpoint, corpus), corpus


def cache(worker: Worker, need: CacheNeed, seed: int, folder: Path, lease: Lease, origin: dict[str, Any]) -> None:
    """Write one seed of a cache (raises as `write_cache`)."""
    translator, corpus = teacher_of_cache(worker, need, seed)
    assert isinstance(need.student.targets, Distill)
    worker.begin()
    write_cache(
        folder,
        translator,
        corpus,
        kind=need.kind,
        k=need.student.targets.top_k,
        temperature=need.student.targets.given_temperature,
        about=origin,
        should_stop=worker.asked_to_stop,
        before_writing=lease.require,
    )


def check_cache(worker: Worker, need: CacheNeed, seed: int, origin: dict[str, Any], count: int) -> float:
    """Recompute random sentences of a cache; returns the largest relative difference."""
    translator, corpus = teacher_of_cache(worker, need, seed)
    return CachedTeacher(worker.layout.cache(need.id, seed), corpus, origin).check(translator, corpus, count)


def _translated_already(
    worker: Worker, spec: TranslationSpec, seed: int, probe: Translations, weights_sha256: str, path: Path
) -> dict[str, Any] | None:
    """The same translations under the other checkpoint, where the last weights are the best ones and it is there."""
    record = read_json(worker.layout.store(run_id(spec), seed) / "run.json")
    other = replace(probe, checkpoint="last" if probe.checkpoint == "best" else "best")
    there = path.with_name(f"{probe_id(other)}.json")
    if record["best_step"] != record["steps"] or not there.is_file():
        return None
    content = read_json(there)
    return content | {"probe": to_dict(probe)} if content["weights"] == weights_sha256 else None


def ask(worker: Worker, spec: TranslationSpec, seed: int, probe: AnyProbe, path: Path) -> None:
    """Write the answer to a probe.

    Raises:
        Stopped: asked to stop.
        SoftlabelsError: a network that is not there or not the recorded one; a token that does not exist.
    """
    corpus = corpus_of(worker, spec.dataset)
    checkpoint = probe.checkpoint if isinstance(probe, Translations) else "last"
    translator = load(worker.layout.store(run_id(spec), seed), checkpoint, corpus)
    worker.begin()
    if isinstance(probe, Translations):

        def between() -> None:
            if worker.asked_to_stop():
                raise Stopped(f"stopped while translating with {run_id(spec)}; run the same command again", False)

        content = _translated_already(worker, spec, seed, probe, translator.weights_sha256, path)
        write_json(path, content or {"run": run_id(spec), **translate(translator, corpus, probe, between)})
        return
    assert isinstance(probe, Tokens)
    meta = {"run": run_id(spec), "seed": seed, "probe": probe_id(probe), "weights": {"last": translator.weights_sha256}}
    tensors.save(path, ask_tokens(translator, corpus, probe), meta)
