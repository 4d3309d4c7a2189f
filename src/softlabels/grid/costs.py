"""What a plan costs before anything is spent: floating-point operations and cache bytes. Needs no data."""

from __future__ import annotations

from collections.abc import Iterable

from softlabels.errors import SpecError
from softlabels.grid.identity import CacheNeed, caches_of, needed_cache
from softlabels.grid.parts.label_targets import average_of
from softlabels.grid.parts.probes import AnyProbe, ImageProbe, Translations
from softlabels.grid.plan import Plan
from softlabels.grid.spec import ModelSpec, Run, UserNetwork, teacher_of
from softlabels.grid.tasks import task_of

# Whatever the device, so that small networks are not free (checked against the demo by `make bench`).
START_SECONDS = 0.2  # of a job whose process has imported what it needs: data, network, results
STEP_SECONDS = 1.0e-3  # of an optimiser's step
DECODE_SECONDS = 5.0e-5  # of a token of a translation: a batch of beams takes a step of the decoder for each
ANALYSIS_SECONDS = 0.5  # of measuring, or of drawing, an artifact


def training_flops(run: Run) -> float | None:
    """Operations of one training; of a network that is only measured, one pass over validation and test. None where a
    network or the size of the data is unknown."""
    task = task_of(run)
    forward, steps = task.forward_flops(), task.steps()
    if forward is None or steps is None:
        return None
    if steps == 0:
        return forward * sum(task.split_sizes()[split] or 0 for split in ("val", "test"))
    return steps * task.examples_per_step() * task.training_flops(forward, online_teacher(run))


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
    forward = task_of(need.student).forward_flops(need.teacher.run.model)
    return forward and forward * need.views * need.rows


def probe_flops(run: Run, probe: AnyProbe) -> float | None:
    """Operations of one probe of one seed."""
    task = task_of(run)
    forward = task.forward_flops()
    return forward and forward * probe.passes * task.probe_rows(probe) * task.probe_checkpoints(probe)


def examples_seen(run: Run, makes: CacheNeed | AnyProbe | None) -> int:
    """Images, or target tokens, that a network sees for a training (None), a cache or a probe; 0 where unknown."""
    task = task_of(run)
    if makes is None:
        return (task.steps() or 0) * task.examples_per_step()
    if isinstance(makes, CacheNeed):
        return makes.views * makes.rows
    passes = makes.passes if isinstance(makes, ImageProbe) else 1
    return passes * task.probe_rows(makes) * task.probe_checkpoints(makes)


def flops(run: Run, makes: CacheNeed | AnyProbe | None) -> float | None:
    """Operations of a training (None), a cache or a probe of one seed; None where a network or the data is unknown."""
    if makes is None:
        return training_flops(run)
    return caching_flops(makes) if isinstance(makes, CacheNeed) else probe_flops(run, makes)


def seconds(run: Run, makes: CacheNeed | AnyProbe | None, rate: float) -> float | None:
    """Device seconds of the same, at a rate of operations per second: never less than starting, and Python's own time
    between operations, take."""
    operations = flops(run, makes)
    if operations is None:
        return None
    steps = task_of(run).steps() or 0 if makes is None else 0
    decoded = examples_seen(run, makes) if isinstance(makes, Translations) else 0
    return START_SECONDS + steps * STEP_SECONDS + decoded * DECODE_SECONDS + operations / rate


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
