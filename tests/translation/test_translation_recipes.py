"""The published recipes of translation: each takes updates on a small corpus, and its rates are the paper's."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_text import ROOT, Project, sentences, write_text

from softlabels.grid.expand import load_plan
from softlabels.grid.spec import Distill, Hard, Run, Smooth, TranslationSpec, cache_kind
from softlabels.grid.zoo import transformers
from softlabels.translation.cache import write_cache
from softlabels.translation.losses import TokenLoss
from softlabels.translation.network import Corpus, Translator, build, own_state
from softlabels.translation.trainer import TranslationTrainer

PAPERS = ["muller2019", "chandrasegaran2022", "ablations"]
PLAN = load_plan({"scale": "paper", "papers": PAPERS, "variants": True}, ROOT)
SENTENCES = {"train": 8, "val": 2, "test": 2}


def distinct(runs: Iterable[Run]) -> dict[str, TranslationSpec]:
    """One run for each network, recipe and kind of targets (not for each corpus, α, T and teacher)."""
    found: dict[tuple[object, ...], TranslationSpec] = {}
    for run in runs:
        if isinstance(run, TranslationSpec):
            t = run.targets
            kept = f"{cache_kind(run)}{getattr(t, 'top_k', None) or ''}"
            taught = f"{kept}-b{t.beta:g}-{t.gradient_norm}" if isinstance(t, Distill) else "labels"
            found.setdefault((run.model, run.recipe, taught), run)
    return {f"{run.model.name}-{key[2]}": run for key, run in found.items()}


RUNS = distinct(PLAN.runs.values())


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """So few sentences that one batch holds them all."""
    root = tmp_path_factory.mktemp("tiny")
    pairs = sentences()
    write_text(root / "text", **{split: pairs[split][:count] for split, count in SENTENCES.items()})
    return Project.of(root)


@pytest.fixture(scope="module")
def tiny_corpus(tiny: Project) -> Corpus:
    return tiny.open()


def on(corpus: Any, run: TranslationSpec) -> TranslationSpec:
    """The run, and its teacher, on another corpus."""
    targets = run.targets
    if isinstance(targets, Distill):
        assert isinstance(targets.teacher.run, TranslationSpec)
        taught_by = dataclasses.replace(targets.teacher, run=on(corpus, targets.teacher.run))
        targets = dataclasses.replace(targets, teacher=taught_by)
    return dataclasses.replace(run, dataset=corpus, targets=targets)


@pytest.mark.usefixtures("cpu")
@pytest.mark.parametrize("name", RUNS)
def test_a_recipe_takes_three_updates(name: str, tiny: Project, tiny_corpus: Corpus, tmp_path: Path) -> None:
    run = on(tiny.corpus, RUNS[name])
    published, targets = run.recipe, run.targets
    cut = dataclasses.replace(run, recipe=dataclasses.replace(published, updates=3, validate_updates=3))
    criterion = ["--loss", TokenLoss.of(targets, tiny_corpus.vocabulary).argument]
    if isinstance(targets, Distill):
        assert isinstance(targets.teacher.run, TranslationSpec)
        torch.manual_seed(1)
        fresh = build(targets.teacher.run, tiny_corpus).eval()
        options: dict[str, Any] = {"k": targets.top_k, "temperature": targets.temperature, "about": {}}
        source = Translator(targets.teacher.run, 1, fresh, "")
        write_cache(tmp_path / "cache", source, tiny_corpus, kind=cache_kind(run) or "", **options)
        criterion += ["--kd-cache", str(tmp_path / "cache")]
    if published.precision.autocast == "bf16":
        criterion.append("--autocast-bf16")
    trainer = TranslationTrainer(
        cut, 0, tiny.data, tmp_path / "run",
        identity=name, device=torch.device("cpu"), criterion=criterion, planned_updates=published.updates or 0,
    )  # fmt: skip
    trained = trainer.run()
    shutil.rmtree(tmp_path / "run")  # hundreds of megabytes
    assert trained.steps == 3
    (row,) = trained.history
    begun = published.warmup_init_lr
    assert row["lr"] == pytest.approx(begun + 3 * (published.lr - begun) / published.warmup_updates)
    torch.manual_seed(0)
    before = own_state(build(run, tiny_corpus))
    moved = {weight for weight in before if not torch.equal(before[weight], trained.last[weight])}
    free = {weight for weight in before if not weight.endswith(("k_proj.bias", "version", "_float_tensor"))}
    assert moved >= free  # the bias of keys changes no attention
    assert sum(p.numel() for p in trained.network.parameters()) == transformers.parameters(
        run.model, tiny_corpus.vocabulary
    )


def runs_of(model: str, corpus: str) -> list[TranslationSpec]:
    found = [
        run
        for run in PLAN.runs.values()
        if isinstance(run, TranslationSpec) and (run.model.name, run.dataset.name) == (model, corpus)
    ]
    assert found
    return found


def rate(run: TranslationSpec, update: int) -> float:
    """Of the inverse square root after a linear warm-up."""
    r = run.recipe
    if update < r.warmup_updates:
        return r.warmup_init_lr + update * (r.lr - r.warmup_init_lr) / r.warmup_updates
    return float(r.lr * (r.warmup_updates / update) ** 0.5)


def test_mullers_transformer() -> None:
    """A.3: transformer_base for 300k steps; rates of tensor2tensor: 2·512^-½·min(s^-½, s·8000^-1.5)."""
    runs = runs_of("transformer_wmt_en_de", "wmt_en_de")
    assert {run.targets for run in runs} == {Hard(), Smooth(0.1)}
    for run in runs:
        recipe, options = run.recipe, transformers.options(run.model)
        assert (recipe.updates, recipe.max_tokens, recipe.betas, recipe.eps) == (300_000, 4096, (0.9, 0.997), 1e-9)
        assert (recipe.patience, recipe.weight_decay, recipe.precision.autocast) == (None, 0, "none")
        assert options["pre_norm"]
        assert {options[key] for key in ("dropout", "attention_dropout", "activation_dropout")} == {0.1}
        for update in (4000, 8000, 32_000, 300_000):
            theirs = 2 * 512**-0.5 * min(update**-0.5, update * 8000**-1.5)
            assert rate(run, update) == pytest.approx(theirs, rel=1e-3)


@pytest.mark.parametrize("corpus", ["iwslt14_en_de", "iwslt14_en_ru"])
def test_the_networks_of_chandrasegaran(corpus: str) -> None:
    """Appendix C: Adam at 5e-4, dropout 0.3, no weight decay, 4096 tokens; by their code a warm-up of 4000 updates."""
    runs = runs_of("transformer_iwslt_small", corpus)
    for run in runs:
        recipe = run.recipe
        assert (recipe.max_tokens, recipe.lr, recipe.weight_decay, recipe.warmup_updates) == (4096, 5e-4, 0, 4000)
        assert (recipe.updates, recipe.betas, recipe.clip_norm) == (300_000, (0.9, 0.98), 0)
        assert recipe.patience == (100 if isinstance(run.targets, Distill) else 20)
        assert transformers.options(run.model)["dropout"] == 0.3
        assert [rate(run, n) for n in (4000, 16_000)] == [5e-4, 2.5e-4]
    students = [run.targets for run in runs if isinstance(run.targets, Distill)]
    whole = [t for t in students if t.top_k is None and t.gradient_norm == "free"]
    assert {t.temperature for t in students} == {1, 2, 3, 64}
    assert {(t.beta, t.hard_alpha, t.student_tempered, t.t2) for t in whole if t.temperature > 1} == {
        (1, 0, True, True)
    }
    assert {t.teacher.run.targets for t in students} == {Hard(), Smooth(0.1)}  # type: ignore[union-attr]


def test_the_ablation_keeps_what_its_question_is_about() -> None:
    """Every T of the paper × what is kept × both teachers."""
    members = PLAN.artifacts["ablations.truncation"].members
    kept = {(cache_kind(m.run), m.run.targets.top_k) for m in members if isinstance(m.run.targets, Distill)}
    assert kept == {("features", None), ("topk_drop", 4), ("topk_lse", 4), ("topk_lse", 64)}
    for cache, k in kept:
        ours = [m.run.targets for m in members if isinstance(m.run.targets, Distill) and cache_kind(m.run) == cache]
        asked = {(t.temperature, t.teacher.run.targets) for t in ours if t.top_k == k}  # type: ignore[union-attr]
        assert asked == {(t, labels) for t in (1, 2, 3, 64) for labels in (Hard(), Smooth(0.1))}
