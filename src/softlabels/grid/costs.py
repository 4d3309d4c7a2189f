"""What a plan costs before anything is spent: floating-point operations and cache bytes. Needs no data."""

from __future__ import annotations

from collections.abc import Iterable

from softlabels.errors import SpecError
from softlabels.grid import datasets, zoo
from softlabels.grid.identity import CacheNeed, needed_cache
from softlabels.grid.plan import Plan
from softlabels.grid.spec import RunSpec, UserNetwork, teacher_of


def forward_flops(run: RunSpec) -> float | None:
    """Floating-point operations of the network on one image; None for an import path."""
    declared = datasets.info(run.dataset)
    channels, height, width = declared.shape
    if run.recipe.augment.crop is not None:
        height = width = run.recipe.augment.crop
    return zoo.forward_flops(run.model, (channels, height, width), declared.num_classes)


def training_flops(run: RunSpec) -> float | None:
    """Operations of one training: three forward passes (backward counts two) of every image it sees, and one of
    a teacher that runs online. None where a network or the number of images is unknown."""
    forward, rows = forward_flops(run), datasets.sizes(run.dataset)["train"]
    if forward is None or (run.recipe.steps is None and rows is None):
        return None
    images = run.recipe.num_steps(rows or 1) * run.recipe.batch_size
    teacher = teacher_of(run)
    taught = 0.0
    if teacher is not None and needed_cache(run) is None and isinstance(teacher.run, RunSpec | UserNetwork):
        model = teacher.run.model
        declared = datasets.info(run.dataset)
        taught = zoo.forward_flops(model, declared.shape, declared.num_classes) or 0.0
    return images * (3 * forward + taught)


def caching_flops(need: CacheNeed) -> float:
    """Operations of writing one seed of a cache: the teacher looks at every view once; 0 where nothing is known."""
    if not isinstance(need.teacher.run, RunSpec | UserNetwork):
        return 0.0
    declared = datasets.info(need.dataset)
    forward = zoo.forward_flops(need.teacher.run.model, declared.shape, declared.num_classes)
    return (forward or 0.0) * need.views * (need.rows or 0)


def needed_caches(plan: Plan) -> dict[str, tuple[CacheNeed, tuple[int, ...]]]:
    """Cache id → what is in it and the seeds (of the teacher, which is also the stream) it is needed for."""
    needs: dict[str, CacheNeed] = {}
    seeds: dict[str, set[int]] = {}
    for name, run in plan.runs.items():
        need = needed_cache(run)
        if need is not None:
            needs[need.id] = need
            seeds.setdefault(need.id, set()).update(need.seed(seed) for seed in plan.seeds[name])
    return {name: (need, tuple(sorted(seeds[name]))) for name, need in needs.items()}


def cache_bytes(plan: Plan, trainings: Iterable[tuple[str, int]]) -> int:
    """Bytes of the logits caches behind some trainings (run id, seed); shared ones counted once."""
    caches = {
        (need.id, need.seed(seed)): need.bytes
        for name, seed in trainings
        if (need := needed_cache(plan.runs[name])) is not None
    }
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
            f"{plan.max_cache_bytes / 1e9:.3g} GB are allowed; raise the limit, give the distilling runs fewer "
            "targets.views, or let the teacher run beside the student with targets.cache: online"
        )
