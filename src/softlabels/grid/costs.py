"""What a plan costs before anything is spent: floating-point operations and cache bytes. Needs no data."""

from __future__ import annotations

import math
from collections.abc import Iterable

from softlabels.errors import SpecError
from softlabels.grid import corpora, datasets, transformers, zoo
from softlabels.grid.datasets import view_shape
from softlabels.grid.identity import CacheNeed, caches_of, needed_cache
from softlabels.grid.label_targets import average_of
from softlabels.grid.plan import Plan
from softlabels.grid.probes import AnyProbe, PictureProbe, Tokens, Translations
from softlabels.grid.spec import (
    DatasetSpec,
    Distill,
    ModelSpec,
    Run,
    RunSpec,
    TranslationSpec,
    UserNetwork,
    cache_kind,
    teacher_of,
)
from softlabels.grid.stages import stage_shapes
from softlabels.grid.translation import CorpusSpec

MEASURED_AT_ONCE = 128  # pictures kept as files (training/streamed.py)


def forward_flops(run: Run, model: ModelSpec | None = None) -> float | None:
    """Floating-point operations of the network of a run (or of another on its data) on one image or one target token;
    None for an import path."""
    if isinstance(run, TranslationSpec):
        return transformers.forward_flops(model or run.model, corpora.vocabulary(run.dataset))
    return zoo.forward_flops(model or run.model, view_shape(run), datasets.info(run.dataset).num_classes)


def parameters(run: Run, model: ModelSpec | None = None) -> int | None:
    """Weights of the network of a run (or of another on its data); None for an import path.

    Exact for those counted once and for translation; but for biases and normalisation also for fully connected and
    residual networks. For the others one weight per multiply-add, which is more than they have.
    """
    model = model or run.model
    if isinstance(run, TranslationSpec):
        return transformers.parameters(model, corpora.vocabulary(run.dataset))
    channels, height, width = view_shape(run)
    num_classes = datasets.info(run.dataset).num_classes
    if any(name == model.name for name, _ in zoo.COUNTED):
        return zoo.parameter_count(model.name, num_classes, dict(model.options).get("stem"))
    if model.name == "resnet56":  # on one pixel every weight is used once
        height = width = 1
    flops = zoo.forward_flops(model, (channels, height, width), num_classes)
    return None if flops is None else int(flops / 2)


def split_sizes(dataset: DatasetSpec | CorpusSpec) -> dict[str, int | None]:
    """Declared images, or target tokens, of each split; None where unknown."""
    return corpora.tokens(dataset) if isinstance(dataset, CorpusSpec) else datasets.sizes(dataset)


def split_bytes(dataset: DatasetSpec | CorpusSpec) -> dict[str, int]:
    """Bytes of each split as it is prepared: pictures (uint8, or original files), or both sides of a text (int32); 0
    where nothing is declared."""
    if isinstance(dataset, CorpusSpec):
        each = 8
    else:
        declared = datasets.info(dataset)
        each = declared.file_bytes or math.prod(declared.shape)
    return {split: (rows or 0) * each for split, rows in split_sizes(dataset).items()}


def decodes(dataset: DatasetSpec | CorpusSpec) -> bool:
    """Whether pictures are decoded from their files whenever a network sees them."""
    return isinstance(dataset, DatasetSpec) and dataset.keeps_files


def training_steps(run: Run) -> int | None:
    """Optimiser steps of one training, at most; None where the size of the data decides and is unknown."""
    rows = split_sizes(run.dataset)["train"]
    if isinstance(run, TranslationSpec):
        return run.recipe.num_updates(rows or 1) if run.recipe.updates or rows else None
    return run.recipe.num_steps(rows or 1) if run.recipe.steps is not None or rows is not None else None


def examples_per_step(run: Run) -> int:
    """Images, or target tokens, of one optimiser step, at most; of a network that is only measured, of one look."""
    if isinstance(run, TranslationSpec):
        return run.recipe.tokens_per_update
    return MEASURED_AT_ONCE if run.recipe.steps == 0 else run.recipe.batch_size


def training_flops(run: Run) -> float | None:
    """Operations of one training: three forward passes (backward counts two) of every image or token it sees, and one
    of a teacher or moving average that runs online, or the output layer of one whose activations are cached; of a
    network that is only measured, one pass over validation and test. None where a network or the size of the data is
    unknown."""
    forward, steps = forward_flops(run), training_steps(run)
    if forward is None or steps is None:
        return None
    if steps == 0:
        return forward * sum(split_sizes(run.dataset)[split] or 0 for split in ("val", "test"))
    forward += _connecting_flops(run)
    online = online_teacher(run)
    teaching = (online and forward_flops(run, online)) or 0.0
    if isinstance(run, TranslationSpec) and isinstance(run.targets, Distill) and cache_kind(run) == "features":
        teaching = 2.0 * corpora.vocabulary(run.dataset) * transformers.options(run.targets.teacher.run.model)["dim"]  # type: ignore[union-attr]
    return steps * examples_per_step(run) * (3 * forward + teaching)


def _connecting_flops(run: Run) -> float:
    """Operations on one image between the features of a student and its teacher's: 1×1 convolutions; 0 without."""
    if not isinstance(run, RunSpec) or not isinstance(run.targets, Distill) or run.targets.features is None:
        return 0.0
    teacher = online_teacher(run)
    assert teacher is not None
    pairs = zip(stage_shapes(run.model, view_shape(run)), stage_shapes(teacher, view_shape(run)), strict=True)
    return float(sum(2 * student[0] * math.prod(map_) for student, map_ in pairs))


def online_teacher(run: Run) -> ModelSpec | None:
    """The network that runs beside the student, a teacher or its own moving average; None where there is none."""
    if average_of(run.targets) is not None:
        return run.model
    teacher = teacher_of(run)
    if teacher is None or needed_cache(run) is not None or not isinstance(teacher.run, Run | UserNetwork):
        return None
    return teacher.run.model


def caching_flops(need: CacheNeed) -> float | None:
    """Operations of writing one seed of a cache: the teacher looks at every row once. None for an import path."""
    if not isinstance(need.teacher.run, Run | UserNetwork):
        return 0.0
    forward = forward_flops(need.student, need.teacher.run.model)
    return forward and forward * need.views * need.rows


def probe_rows(run: Run, probe: AnyProbe) -> int:
    """Pictures (M · V) or tokens that a probe shows to one checkpoint, at most; 0 where the split's size is unknown."""
    rows = split_sizes(run.dataset)[probe.split] or 0
    if isinstance(run, TranslationSpec):
        assert isinstance(probe, Translations | Tokens)
        return rows if probe.sentences is None else min(rows or 10**9, 30 * probe.sentences)
    assert isinstance(probe, PictureProbe)
    num_classes = datasets.info(run.dataset).num_classes
    chosen = num_classes if probe.classes is None else len(probe.classes)
    count = -(-rows * chosen // num_classes) if probe.per_class is None else chosen * probe.per_class
    return count * max(1, probe.views)


def probe_checkpoints(run: Run, probe: AnyProbe) -> int:
    """How many checkpoints of a run a probe asks."""
    if isinstance(run, TranslationSpec) or isinstance(probe, Translations) or probe.checkpoints == "last":
        return 1
    return len(run.recipe.all_milestones(datasets.sizes(run.dataset)["train"] or 1))


def probe_flops(run: Run, probe: AnyProbe) -> float | None:
    """Operations of one probe of one seed."""
    forward = forward_flops(run)
    return forward and forward * probe.passes * probe_rows(run, probe) * probe_checkpoints(run, probe)


def seen(run: Run, makes: CacheNeed | AnyProbe | None) -> int:
    """Pictures, or target tokens, that a network sees for a training (None), a cache or a probe; 0 where unknown."""
    if makes is None:
        return (training_steps(run) or 0) * examples_per_step(run)
    if isinstance(makes, CacheNeed):
        return makes.views * makes.rows
    passes = makes.passes if isinstance(makes, PictureProbe) else 1
    return passes * probe_rows(run, makes) * probe_checkpoints(run, makes)


def needed_caches(plan: Plan) -> dict[str, tuple[CacheNeed, tuple[int, ...]]]:
    """Cache id → what is in it and the seeds (of the teacher, which is also the stream) it is needed for."""
    needs: dict[str, CacheNeed] = {}
    seeds: dict[str, set[int]] = {}
    for name, run in plan.runs.items():
        for need in caches_of(run):
            needs[need.id] = need
            seeds.setdefault(need.id, set()).update(need.seed(seed) for seed in plan.seeds[name])
    return {name: (need, tuple(sorted(seeds[name]))) for name, need in needs.items()}


def cache_bytes(plan: Plan, trainings: Iterable[tuple[str, int]]) -> int:
    """Bytes of the logits caches behind some trainings (run id, seed); shared ones counted once."""
    caches = {(need.id, need.seed(seed)): need.bytes for name, seed in trainings for need in caches_of(plan.runs[name])}
    return sum(caches.values())


def check_cache_budget(plan: Plan) -> None:
    """Refuse a plan whose caches do not fit.

    Raises:
        SpecError: they are larger than `cache.max_bytes`.
    """
    needed = cache_bytes(plan, ((name, seed) for name, seeds in plan.seeds.items() for seed in seeds))
    if plan.max_cache_bytes is not None and needed > plan.max_cache_bytes:
        raise SpecError(
            f"config.yaml: cache.max_bytes: the logits caches of this plan take {needed / 1e9:.3g} GB and "
            f"{plan.max_cache_bytes / 1e9:.3g} GB are allowed; raise the limit, keep less (targets.views of images, "
            "targets.cache of text), or let the teacher run beside the student with targets.cache: online"
        )
