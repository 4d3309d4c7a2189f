"""The criterion on real batches: every way to keep the teacher gives one loss and one gradient; validation is plain."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_text import RECIPE, TYPES, Project, network
from torch import Tensor

from softlabels.grid.spec import Distill, Hard, Smooth, Targets, Teacher, TranslationSpec
from softlabels.translation.cache import write_cache
from softlabels.translation.launch import corpus_arguments, network_arguments, parse, recipe_arguments
from softlabels.translation.losses import TokenLoss
from softlabels.translation.network import Corpus, Translator, build, token_features

TEMPERATURES = (1.0, 2.0, 3.0, 64.0)
KINDS = ("features", "dense", "topk_drop", "topk_lse")
Sample = dict[str, Any]
CacheOf = Callable[..., Path]


@pytest.fixture(scope="module")
def student(corpus: Corpus, shared: Project) -> Any:
    """A fresh network without dropout, so that every pass sees the same."""
    torch.manual_seed(1)
    return build(shared.run(model=network(dropout=0.0, layers=2)), corpus)


@pytest.fixture(scope="module")
def batches(corpus: Corpus) -> list[Sample]:
    """Some batches of an epoch, as fairseq's trainer draws them."""
    epoch = corpus.task.get_batch_iterator(
        corpus.sentences("train"), max_tokens=RECIPE.max_tokens, required_batch_size_multiple=1, seed=1,
        disable_iterator_cache=True,
    )  # fmt: skip
    return [sample for sample, _ in zip(epoch.next_epoch_itr(shuffle=True), range(3), strict=False)]


@pytest.fixture(scope="module")
def cache_of(corpus: Corpus, translator: Translator, tmp_path_factory: pytest.TempPathFactory) -> CacheOf:
    """The folder of a cache of the teacher, written when it is first asked for."""
    root = tmp_path_factory.mktemp("caches")

    def folder(kind: str, T: float, k: int = TYPES) -> Path:
        top_k = k if kind.startswith("topk") else None
        path = root / f"{kind}-{top_k}-{T if kind == 'topk_lse' else None}"
        if not path.exists():
            write_cache(path, translator, corpus, kind=kind, k=top_k, temperature=T, about={})
        return path

    return folder


@pytest.fixture(scope="module")
def criterion(corpus: Corpus, shared: Project) -> Callable[..., Any]:
    """The criterion that fairseq builds for a command line; each once, because parsing takes longer than the tests."""
    run = shared.run()
    arguments = [*corpus_arguments(corpus.folder, "cpu"), *network_arguments(run)]
    cfg = parse([*arguments, *recipe_arguments(run, 0, corpus.folder), "--criterion", "soft_targets"])

    @functools.cache
    def made(targets: Targets, cache: Path | None = None, teacher: Path | None = None, bf16: bool = False) -> Any:
        cfg.criterion.loss = TokenLoss.of(targets, corpus.vocabulary).argument  # type: ignore[arg-type]
        cfg.criterion.kd_cache, cfg.criterion.kd_teacher = str(cache or ""), str(teacher or "")
        cfg.criterion.autocast_bf16 = bf16
        return corpus.task.build_criterion(cfg.criterion)

    return made


def told(judge: Any, model: Any, sample: Sample) -> tuple[float, Tensor]:
    """Loss per token of a training batch, and its gradient by all weights in a row."""
    model.train()
    model.zero_grad()
    loss, tokens, log = judge(model, sample)
    loss.backward()
    assert tokens == sample["ntokens"] == log["ntokens"] == log["sample_size"]
    return loss.item() / tokens, torch.cat([p.grad.flatten() for p in model.parameters()]) / tokens


def apart(found: tuple[float, Tensor], wanted: tuple[float, Tensor]) -> tuple[float, float]:
    """Relative differences of loss and gradient."""
    return abs(found[0] / wanted[0] - 1), ((found[1] - wanted[1]).norm() / wanted[1].norm()).item()


def tolerances(T: float) -> tuple[float, float]:
    """Of an fp16 cache: some times what was seen. At T = 64 the rounding of the loss is multiplied by T²."""
    return (3e-5 if T < 10 else 3e-4), 1e-4


# ------------------------------------------------------------ one loss, however the teacher is kept


@pytest.mark.parametrize("T", TEMPERATURES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_cache_of_all_types_teaches_like_the_network_itself(
    kind: str, T: float, student: Any, batches: list[Sample], criterion: Any, cache_of: CacheOf, shared: Project,
    teacher: TranslationSpec,
) -> None:  # fmt: skip
    targets = Distill(Teacher(teacher), T, beta=0.9, hard_alpha=0.1)
    online = criterion(targets, teacher=shared.store(teacher))
    cached = criterion(targets, cache=cache_of(kind, T))
    for sample in batches:
        loss, gradient = apart(told(cached, student, sample), told(online, student, sample))
        assert loss < tolerances(T)[0]
        assert gradient < tolerances(T)[1]


@pytest.mark.parametrize("T", TEMPERATURES)
def test_features_and_logits_of_the_same_activations_differ_by_rounding_of_the_logits(
    T: float, student: Any, batches: list[Sample], criterion: Any, cache_of: CacheOf, teacher: TranslationSpec
) -> None:
    """Half precision of activations is in both; of logits in one."""
    targets = Distill(Teacher(teacher), T)
    judges = [criterion(targets, cache=cache_of(kind, T)) for kind in ("features", "dense")]
    for sample in batches:
        loss, gradient = apart(*(told(judge, student, sample) for judge in judges))
        assert loss < tolerances(T)[0]
        assert 0 < gradient < tolerances(T)[1]


@pytest.mark.parametrize("kind", ["topk_drop", "topk_lse"])
def test_a_truncated_or_another_teacher_teaches_something_else(
    kind: str, student: Any, batches: list[Sample], criterion: Any, cache_of: CacheOf, teacher: TranslationSpec,
    shared: Project,
) -> None:  # fmt: skip
    """What the tests above would see if the cache were not used."""
    targets = Distill(Teacher(teacher), 3.0)
    whole = told(criterion(targets, cache=cache_of(kind, 3.0)), student, batches[0])
    four = told(criterion(targets, cache=cache_of(kind, 3.0, k=4)), student, batches[0])
    other = told(criterion(targets, teacher=shared.store(teacher, 1)), student, batches[0])
    assert apart(four, whole)[1] > 0.1
    assert apart(other, whole)[1] > 100 * tolerances(3.0)[1]


def test_the_teacher_is_no_part_of_the_student(
    student: Any, batches: list[Sample], criterion: Any, teacher: TranslationSpec, shared: Project
) -> None:
    """fairseq saves and updates the criterion's weights, and puts it into training mode with the network."""
    online = criterion(Distill(Teacher(teacher), 2.0), teacher=shared.store(teacher))
    assert list(online.parameters()) == []
    assert online.state_dict() == {}
    taught = online._teacher[0]._network
    before = {name: weight.clone() for name, weight in taught.state_dict().items()}
    online.train()
    told(online, student, batches[0])
    assert not taught.training
    assert all(weight.grad is None for weight in taught.parameters())
    assert all(torch.equal(weight, before[name]) for name, weight in taught.state_dict().items())


# ------------------------------------------------------------ what is minimised, what is reported


def by_hand(model: Any, sample: Sample, padding: int) -> tuple[Tensor, Tensor]:
    """Log-probabilities [N, V] and gold types [N] of the tokens of a batch, without the criterion."""
    logits, _ = model(**sample["net_input"])
    kept = sample["target"] != padding
    return logits[kept].log_softmax(1), sample["target"][kept]


def test_smoothed_labels_over_others_are_fairseqs_own_criterion(
    student: Any, batches: list[Sample], criterion: Any, corpus: Corpus, shared: Project
) -> None:
    run = shared.run()
    cfg = parse([
        *corpus_arguments(corpus.folder, "cpu"), *network_arguments(run), *recipe_arguments(run, 0, corpus.folder),
        "--criterion", "label_smoothed_cross_entropy", "--label-smoothing", "0.1",
    ])  # fmt: skip
    theirs = corpus.task.build_criterion(cfg.criterion)
    for sample in batches:
        loss, gradient = apart(told(criterion(Smooth(0.1, "others")), student, sample), told(theirs, student, sample))
        assert max(loss, gradient) < 1e-5
        assert apart(told(criterion(Smooth(0.1)), student, sample), told(theirs, student, sample))[1] > 1e-4


@pytest.mark.parametrize("alpha", [0.0, 0.1])
def test_of_labels_the_loss_is_torchs_cross_entropy(
    alpha: float, student: Any, batches: list[Sample], criterion: Any, corpus: Corpus
) -> None:
    judge = criterion(Smooth(alpha) if alpha else Hard())
    for sample in batches:
        log_p, gold = by_hand(student.train(), sample, corpus.task.target_dictionary.pad())
        wanted = F.cross_entropy(log_p, gold, label_smoothing=alpha).item()
        assert told(judge, student, sample)[0] == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("T", [1.0, 64.0])
def test_validation_is_plain_cross_entropy_whatever_is_minimised(
    T: float, student: Any, batches: list[Sample], criterion: Any, cache_of: CacheOf, corpus: Corpus,
    teacher: TranslationSpec, shared: Project,
) -> None:  # fmt: skip
    """Also without a row in the cache: validation sentences have none."""
    judges = [
        criterion(Hard()),
        criterion(Smooth(0.3)),
        criterion(Distill(Teacher(teacher), T), teacher=shared.store(teacher)),
        criterion(Distill(Teacher(teacher), T, beta=0.5, hard_alpha=0.2), cache=cache_of("topk_drop", T, 4)),
    ]
    student.eval()
    for sample in (*batches, *corpus.batches("val", max_tokens=RECIPE.max_tokens)):
        with torch.no_grad():
            log_p, gold = by_hand(student, sample, corpus.task.target_dictionary.pad())
            wanted = F.nll_loss(log_p, gold, reduction="sum").item()
            for judge in judges:
                loss, tokens, _ = judge(student, sample)
                assert (loss.item(), tokens) == (pytest.approx(wanted, rel=1e-5), len(gold))


def test_padding_counts_nothing(
    student: Any, criterion: Any, cache_of: CacheOf, corpus: Corpus, teacher: TranslationSpec
) -> None:
    """A batch of sentences of unequal lengths is the sum of its sentences, and each finds its own rows."""
    judge = criterion(Distill(Teacher(teacher), 2.0, beta=0.5), cache=cache_of("features", 2.0))
    data, ids = corpus.sentences("train"), [3, 250, 17, 99]
    together = data.collater([data[i] for i in ids])
    assert together["target"].eq(corpus.task.target_dictionary.pad()).any()
    student.train()
    whole, tokens, _ = judge(student, together)
    alone = [judge(student, data.collater([data[i]])) for i in ids]
    assert tokens == sum(count for _, count, _ in alone)
    assert whole.item() == pytest.approx(sum(loss.item() for loss, *_ in alone), rel=1e-5)


def test_under_autocast_the_layers_are_in_bf16_and_the_output_layer_is_not(
    student: Any, batches: list[Sample], criterion: Any, teacher: TranslationSpec, shared: Project
) -> None:
    targets, online = Distill(Teacher(teacher), 64.0), shared.store(teacher)
    fp32 = told(criterion(targets, teacher=online), student, batches[0])
    bf16 = told(criterion(targets, teacher=online, bf16=True), student, batches[0])
    loss, gradient = apart(bf16, fp32)
    assert 0 < loss < 0.01
    assert 1e-4 < gradient < 0.05
    seen: list[torch.dtype] = []
    hook = student.decoder.output_projection.register_forward_hook(lambda *a: seen.append(a[2].dtype))
    try:
        told(criterion(targets, teacher=online, bf16=True), student, batches[0])
    finally:
        hook.remove()
    assert seen == [torch.float32]


def test_the_tokens_of_a_batch_come_sentence_by_sentence(student: Any, batches: list[Sample], corpus: Corpus) -> None:
    """The order in which caches gather their rows."""
    data, padding = corpus.sentences("train"), corpus.task.target_dictionary.pad()
    for sample in batches:
        _, gold = token_features(student.eval(), sample, padding)
        assert torch.equal(gold, torch.cat([data.tgt[i] for i in sample["id"].tolist()]))
