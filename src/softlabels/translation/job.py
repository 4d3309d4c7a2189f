"""What a job does with translation runs, for `training/job.py`: train a seed, write a cache, evaluate a probe."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from softlabels import tensors
from softlabels.errors import SpecError, Stopped
from softlabels.files import read_json, write_json
from softlabels.grid.identity import CacheNeed, dataset_id, probe_id, run_id
from softlabels.grid.parts.probes import AnyProbe, Tokens, Translations
from softlabels.grid.parts.translation import CorpusSpec
from softlabels.grid.spec import Distill, TranslationSpec, to_dict
from softlabels.grid.tasks.translation import TranslationTask
from softlabels.lease import Lease
from softlabels.staging import staged
from softlabels.training.worker import Caches, Finished, Worker
from softlabels.translation.cache import CachedTeacher, checksums, require_k, write_cache
from softlabels.translation.compat import fairseq
from softlabels.translation.corpus.prepare import verify
from softlabels.translation.decode import translate
from softlabels.translation.losses import TokenLoss
from softlabels.translation.network import Corpus, Translator, load
from softlabels.translation.score import predictions, token_outputs
from softlabels.translation.trainer import TranslationTrainer


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


def train(worker: Worker, spec: TranslationSpec, seed: int, folder: Path, lease: Lease, caches: Caches) -> Finished:
    """Train one seed and write weights and predictions to `folder`.

    Raises:
        Stopped: asked to stop; the state is saved.
        SoftlabelsError: as `TranslationTrainer.run`, or a cache that does not belong to this student.
    """
    corpus = corpus_of(worker, spec.dataset)
    _require_room(spec, corpus)
    trainer = TranslationTrainer(
        spec,
        seed,
        corpus.folder,
        folder,
        identity=run_id(spec),
        device=worker.device,
        criterion=_criterion(worker, spec, seed, corpus, caches),
        planned_updates=TranslationTask(spec).steps() or corpus.manifest["sizes"]["train"],
        checkpoint_seconds=worker.checkpoint_seconds,
        should_stop=worker.asked_to_stop,
        before_writing=lease.require,
    )
    worker.reset_timer()
    trained = trainer.run()
    lease.require()
    kept = {"last": trained.last} | ({"best": trained.best} if trained.best is not None else {})
    tensors.save(
        folder / "weights.safetensors", {f"{c}/{name}": t for c, state in kept.items() for name, t in state.items()}
    )
    predicted: dict[str, torch.Tensor] = {}
    for checkpoint, state in kept.items():
        if checkpoint == "best" and trained.best_step == trained.steps:  # the same weights
            predicted |= {
                f"{name.removesuffix('/last')}/best": t for name, t in predicted.items() if name.endswith("/last")
            }
            continue
        trained.network.load_state_dict(state, strict=False)
        predicted |= predictions(trained.network, corpus, checkpoint)
    tensors.save(folder / "features.safetensors", predicted)
    about = {
        "steps": trained.steps,
        "best_step": trained.best_step,
        "seconds": round(trained.seconds, 3),
        "attempts": trainer.progress.attempts,
        "parameters": sum(p.numel() for p in trained.network.parameters()),
        "data_fingerprint": corpus.manifest["fingerprint"],
    }
    files = ["weights.safetensors", "features.safetensors"]
    return Finished(trained.history, files, about, trainer.clean_up, {"fairseq": fairseq().__version__})


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


def _criterion(worker: Worker, spec: TranslationSpec, seed: int, corpus: Corpus, caches: Caches) -> list[str]:
    """Arguments of the criterion."""
    arguments = ["--loss", TokenLoss.of(spec.targets, corpus.vocabulary).argument]
    if spec.recipe.precision.autocast == "bf16":
        arguments.append("--autocast-bf16")
    if not isinstance(spec.targets, Distill):
        return arguments
    require_k(spec.targets.top_k, corpus.vocabulary)
    teacher = spec.targets.teacher
    if not caches:
        assert isinstance(teacher.run, TranslationSpec)
        folder = worker.layout.store(run_id(teacher.run), teacher.seed_for(seed))
        return [*arguments, "--kd-teacher", str(folder), "--kd-checkpoint", teacher.checkpoint]
    need, origin = caches[0]
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
    worker.reset_timer()
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


def evaluate_probe(worker: Worker, spec: TranslationSpec, seed: int, probe: AnyProbe, path: Path) -> None:
    """Write the outputs of one probe.

    Raises:
        Stopped: asked to stop.
        SoftlabelsError: a network that is not there or not the recorded one; a token that does not exist.
    """
    corpus = corpus_of(worker, spec.dataset)
    checkpoint = probe.checkpoint if isinstance(probe, Translations) else "last"
    translator = load(worker.layout.store(run_id(spec), seed), checkpoint, corpus)
    worker.reset_timer()
    if isinstance(probe, Translations):

        def check_stop() -> None:
            if worker.asked_to_stop():
                raise Stopped(f"stopped while translating with {run_id(spec)}; run the same command again", False)

        content = _translated_already(worker, spec, seed, probe, translator.weights_sha256, path)
        write_json(path, content or {"run": run_id(spec), **translate(translator, corpus, probe, check_stop)})
        return
    assert isinstance(probe, Tokens)
    meta = {"run": run_id(spec), "seed": seed, "probe": probe_id(probe), "weights": {"last": translator.weights_sha256}}
    tensors.save(path, token_outputs(translator, corpus, probe), meta)
