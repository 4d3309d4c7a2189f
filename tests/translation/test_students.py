"""Whole trainings by fairseq's trainer: cached and online students, what is validated, and that no sentence is lost."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from small_text import SIZES, TOKENS, Project, recipe
from torch import Tensor

from softlabels import tensors
from softlabels.files import read_json
from softlabels.grid.parts.probes import Translations
from softlabels.grid.spec import Smooth, TranslationSpec
from softlabels.translation.criterion import SoftTargets
from softlabels.translation.decode import translate
from softlabels.translation.launch import corpus_arguments, network_arguments, parse, recipe_arguments
from softlabels.translation.losses import TokenLoss
from softlabels.translation.network import Corpus, Translator, filled, load
from softlabels.translation.trainer import TranslationTrainer

SHORT = recipe(updates=30, validate_updates=10)


@pytest.fixture(scope="module")
def taught(shared: Project, tmp_path_factory: pytest.TempPathFactory, teacher: TranslationSpec) -> Project:
    """A project with students trained by every kind of teaching. Read only."""
    project = shared.copy(tmp_path_factory.mktemp("taught"))
    project.cache(*(run for run in runs(project).values() if run.targets.kind == "distill" and cached(run)))
    project.train(*runs(project).values())
    return project


def cached(run: TranslationSpec) -> bool:
    return run.targets.cache != "online"  # type: ignore[union-attr]


def runs(project: Project) -> dict[str, TranslationSpec]:
    teacher = project.run()
    return {
        "teacher": teacher,
        "smooth": project.run(Smooth(0.1), recipe=SHORT),
        "features": project.student(teacher, 64.0, recipe=SHORT),
        "online": project.student(teacher, 64.0, recipe=SHORT, cache="online"),
        "drop": project.student(teacher, 64.0, recipe=SHORT, cache="topk_drop", top_k=4),
        "mixed": project.student(teacher, 2.0, recipe=SHORT, beta=0.5, hard_alpha=0.1, checkpoint="best"),
    }


RUNS = ("teacher", "smooth", "features", "online", "drop", "mixed")


def distance(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """Of the last weights, relative to their length."""
    pairs = [(a[name], b[name]) for name in a if name.startswith("last/")]
    return (sum((x - y).norm() ** 2 for x, y in pairs) / sum(x.norm() ** 2 for x, _ in pairs)).sqrt().item()


def test_cached_and_online_students_end_with_nearly_equal_weights(taught: Project) -> None:
    """Dropout included: it is drawn by (seed, update), and the teacher draws nothing."""
    ours = {name: taught.weights(run) for name, run in runs(taught).items()}
    assert distance(ours["features"], ours["online"]) < 1e-3
    assert distance(ours["features"], ours["drop"]) > 0.05
    assert distance(ours["features"], ours["smooth"]) > 0.05


def history(project: Project, run: TranslationSpec) -> pd.DataFrame:
    return pd.read_csv(project.store(run) / "history.csv")


def nll_by_hand(project: Project, run: TranslationSpec, corpus: Corpus, checkpoint: str, split: str = "val") -> float:
    """Of stored weights, by torch."""
    path, total, count = project.store(run) / "weights.safetensors", 0.0, 0
    model = filled(run, corpus, path, checkpoint)
    with torch.no_grad():
        for sample in corpus.batches(split):
            logits, _ = model(**sample["net_input"])
            kept = sample["target"] != corpus.task.target_dictionary.pad()
            total += F.cross_entropy(logits[kept], sample["target"][kept], reduction="sum").item()
            count += int(kept.sum())
    return total / count


@pytest.mark.parametrize("name", RUNS)
def test_the_history_tells_plain_likelihood_of_validation(taught: Project, corpus: Corpus, name: str) -> None:
    """Whatever the run minimised: here labels, smoothed labels, soft targets at T = 64."""
    run = runs(taught)[name]
    rows = history(taught, run)
    assert rows.step.tolist() == list(range(rows.step[0], run.recipe.updates + 1, run.recipe.validate_updates))
    assert rows.val_nll.iloc[-1] == pytest.approx(nll_by_hand(taught, run, corpus, "last"), rel=1e-5)
    record = taught.record(run)
    best = rows.step[rows.val_nll == rows.val_nll.min()].max()
    assert (record["steps"], record["best_step"]) == (run.recipe.updates, best)
    assert rows.val_nll.min() == pytest.approx(nll_by_hand(taught, run, corpus, "best"), rel=1e-5)


def test_the_history_tells_the_training_loss_in_nats(taught: Project) -> None:
    """fairseq logs bits; hard labels begin near log V."""
    first = history(taught, runs(taught)["teacher"]).iloc[0]
    assert 0.5 * np.log(144) < first.train_loss < 1.5 * np.log(144)
    smooth = history(taught, runs(taught)["smooth"])
    assert (smooth.train_loss > smooth.val_nll - 0.1).all()


@pytest.mark.parametrize("name", ["teacher", "features"])
def test_stored_features_are_what_the_stored_weights_say(taught: Project, corpus: Corpus, name: str) -> None:
    run = runs(taught)[name]
    said, _ = tensors.load(taught.store(run) / "features.safetensors")
    for split in ("val", "test"):
        labels = said[f"{split}/labels"].long()
        lengths = corpus.sentences(split).tgt_sizes
        assert said[f"{split}/sentences"].tolist() == np.repeat(np.arange(SIZES[split]), lengths).tolist()
        assert torch.equal(labels, torch.cat([corpus.sentences(split).tgt[i] for i in range(SIZES[split])]))
        for checkpoint in ("last", "best"):
            logits = said[f"{split}/{checkpoint}"].float() @ said[f"output/{checkpoint}"].T
            wanted = nll_by_hand(taught, run, corpus, checkpoint, split)
            assert F.cross_entropy(logits, labels).item() == pytest.approx(wanted, rel=1e-3)


def test_each_shared_matrix_is_stored_once_and_comes_back(taught: Project, corpus: Corpus) -> None:
    run = runs(taught)["teacher"]
    names = [name for name in taught.weights(run) if name.startswith("last/") and "embed" in name]
    assert len(names) == 1
    model = load(taught.store(run), "last", corpus).network
    matrix = taught.weights(run)[names[0]]
    for found in (model.encoder.embed_tokens, model.decoder.embed_tokens, model.decoder.output_projection):
        assert torch.equal(found.weight, matrix)
        assert found.weight.data_ptr() == model.encoder.embed_tokens.weight.data_ptr()


def test_a_best_teacher_is_not_the_last_one(taught: Project, corpus: Corpus) -> None:
    """The rows of each come from its own weights."""
    run = runs(taught)["teacher"]
    record = taught.record(run)
    last, best = (load(taught.store(run), checkpoint, corpus).output for checkpoint in ("last", "best"))
    assert torch.equal(last, best) == (record["best_step"] == record["steps"])
    student = runs(taught)["mixed"]
    manifest = read_json(taught.cached(student) / "manifest.json")
    assert manifest["checkpoint"] == "best"
    output = np.load(taught.cached(student) / "output.npy")
    assert np.array_equal(output, best.numpy())


# ------------------------------------------------------------ no sentence is lost


def trainer(project: Project, folder: Path, spec: TranslationSpec, **options: Any) -> TranslationTrainer:
    arguments: dict[str, Any] = {
        "identity": "test", "device": torch.device("cpu"), "planned_updates": 99,
        "criterion": ["--loss", TokenLoss.of(spec.targets, 144).argument],
    }  # fmt: skip
    return TranslationTrainer(spec, 0, project.data, folder, **arguments | options)


def test_an_epoch_holds_every_sentence_and_token_of_the_corpus(
    shared: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[bool, list[tuple[list[int], int]]] = {True: [], False: []}
    forward = SoftTargets.forward

    def watched(self: Any, model: Any, sample: dict[str, Any], reduce: bool = True) -> Any:
        seen[model.training].append((sample["id"].tolist(), sample["ntokens"]))
        return forward(self, model, sample, reduce)

    monkeypatch.setattr(SoftTargets, "forward", watched)
    spec = shared.run(recipe=recipe(updates=None, epochs=2, validate_updates=None, update_freq=1))
    trained = trainer(shared, tmp_path, spec).run()
    manifest = read_json(shared.data / "manifest.json")
    for training, split in ((True, "train"), (False, "val")):
        ids = sorted(i for batch, _ in seen[training] for i in batch)
        assert ids == sorted(2 * list(range(SIZES[split])))
        assert sum(count for _, count in seen[training]) == 2 * manifest["tokens"][split]["de"]
    assert trained.steps == len(seen[True])
    assert [row["epoch"] for row in trained.history] == [1, 2]
    first, second = (seen[True][: trained.steps // 2], seen[True][trained.steps // 2 :])
    assert sum(count for _, count in first) == sum(count for _, count in second) == TOKENS
    assert first != second  # another order


@pytest.mark.parametrize(("split", "max_tokens"), [("train", 4000), ("val", 400), ("test", 4000)])
def test_fairseqs_default_would_lose_sentences(
    shared: Project, corpus: Corpus, tmp_path: Path, split: str, max_tokens: int
) -> None:
    """Why every call gives --required-batch-size-multiple 1."""
    run = shared.run()
    ours = [*corpus_arguments(shared.data, "cpu"), *network_arguments(run), *recipe_arguments(run, 0, tmp_path)]
    at = ours.index("--required-batch-size-multiple")
    found = {}
    for name, arguments in (("ours", ours), ("theirs", [*ours[:at], *ours[at + 2 :]])):
        multiple = parse(arguments).dataset.required_batch_size_multiple
        epoch = corpus.task.get_batch_iterator(
            corpus.sentences(split),
            max_tokens=max_tokens,
            required_batch_size_multiple=multiple,
            disable_iterator_cache=True,
        )
        found[name] = sum(len(sample["id"]) for sample in epoch.next_epoch_itr(shuffle=False))
    assert found["theirs"] < found["ours"] == SIZES[split]


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("max_tokens", [1, 130, 4000])
def test_batches_outside_training_hold_every_sentence_once(corpus: Corpus, split: str, max_tokens: int) -> None:
    found = [sample["id"].tolist() for sample in corpus.batches(split, max_tokens=max_tokens)]
    assert sorted(i for batch in found for i in batch) == list(range(SIZES[split]))
    longest = np.maximum(corpus.sentences(split).src_sizes, corpus.sentences(split).tgt_sizes)
    assert all(len(batch) * max(longest[i] for i in batch) <= max_tokens or len(batch) == 1 for batch in found)


@pytest.mark.parametrize(("split", "sentences"), [("test", None), ("val", None), ("test", 9)])
def test_as_many_hypotheses_come_out_as_lines_went_in(
    translator: Translator, corpus: Corpus, split: Any, sentences: int | None
) -> None:
    probe = Translations("translations", split, beam=2, max_len_a=1.0, max_len_b=5, sentences=sentences)
    found = translate(translator, corpus, probe)
    count = sentences or SIZES[split]
    lines = (corpus.folder / "raw" / f"{split}.de").read_text().splitlines()[:count]
    assert len(found["hypotheses"]) == len(found["tokenised_hypotheses"]) == count
    assert found["references"] == lines
    assert all("@@" not in text for text in found["hypotheses"])
    assert found["weights"] == translator.weights_sha256


def test_a_hypothesis_is_that_of_its_own_sentence(translator: Translator, corpus: Corpus) -> None:
    """Whatever batch it was translated in: the same alone and among others."""
    probe = Translations("translations", beam=2, max_len_b=25)
    together = translate(translator, corpus, probe)["hypotheses"]
    first = translate(translator, corpus, dataclasses.replace(probe, sentences=3))["hypotheses"]
    assert first == together[:3]
    assert len(set(together)) > 3


def test_the_temperature_of_decoding_divides_the_logits(translator: Translator, corpus: Corpus) -> None:
    """As if the output matrix were smaller by as much."""
    flatter = copy.deepcopy(translator.network)
    flatter.decoder.output_projection.weight = torch.nn.Parameter(translator.output / 2)
    probe = Translations("translations", beam=3, max_len_b=25)
    warm = dataclasses.replace(probe, temperature=2.0)
    hot = translate(translator, corpus, warm)["hypotheses"]
    assert hot == translate(dataclasses.replace(translator, network=flatter), corpus, probe)["hypotheses"]
    assert hot != translate(translator, corpus, probe)["hypotheses"]
