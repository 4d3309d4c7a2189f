"""What a plan costs before anything is spent: floating-point operations and cache bytes. Needs no data."""

from __future__ import annotations

from collections.abc import Iterable

from softlabels.errors import SpecError
from softlabels.grid import datasets, zoo
from softlabels.grid.identity import CacheNeed, needed_cache
from softlabels.grid.plan import Plan, Probe
from softlabels.grid.spec import DatasetSpec, ModelSpec, RunSpec, UserNetwork, teacher_of

BODY_PARAMETERS = {
    "resnet18": 11_176_512,
    "resnet50": 23_508_032,
    "mobilenet_v2": 2_223_872,
    "efficientnet_b0": 4_007_548,
    "convnext_tiny": 27_820_128,
    "inception_v3": 21_785_568,
    "inception_v4": 41_142_816,
}
"""Weights of networks counted once, without the head; a test counts them again."""


def _shape(run: RunSpec) -> tuple[int, int, int]:
    """(C, H, W) of the pictures that the network of a run sees."""
    channels, height, width = datasets.info(run.dataset).shape
    crop = run.recipe.augment.crop
    return (channels, height, width) if crop is None else (channels, crop, crop)


def forward_flops(run: RunSpec, model: ModelSpec | None = None) -> float | None:
    """Floating-point operations of the network of a run (or of another on its pictures) on one image; None for an
    import path."""
    return zoo.forward_flops(model or run.model, _shape(run), datasets.info(run.dataset).num_classes)


def parameters(run: RunSpec, model: ModelSpec | None = None) -> int | None:
    """Weights of the network of a run (or of another on its pictures); None for an import path.

    Exact for those counted once; but for biases and normalisation also for fully connected and residual networks.
    For the others one weight per multiply-add, which is more than they have.
    """
    model, (channels, height, width) = model or run.model, _shape(run)
    num_classes = datasets.info(run.dataset).num_classes
    if model.name in BODY_PARAMETERS:
        features = zoo.COUNTED[model.name, "imagenet"].features
        return BODY_PARAMETERS[model.name] + (features + 1) * num_classes
    if model.name == "resnet56":  # on one pixel every weight is used once
        height = width = 1
    flops = zoo.forward_flops(model, (channels, height, width), num_classes)
    return None if flops is None else int(flops / 2)


def split_bytes(dataset: DatasetSpec) -> dict[str, int]:
    """Bytes of the pictures of each split (uint8); 0 where nothing is declared."""
    channels, height, width = datasets.info(dataset).shape
    return {split: (rows or 0) * channels * height * width for split, rows in datasets.sizes(dataset).items()}


def training_flops(run: RunSpec) -> float | None:
    """Operations of one training: three forward passes (backward counts two) of every image it sees, and one of
    a teacher that runs online. None where a network or the number of images is unknown."""
    forward, rows = forward_flops(run), datasets.sizes(run.dataset)["train"]
    if forward is None or (run.recipe.steps is None and rows is None):
        return None
    images = run.recipe.num_steps(rows or 1) * run.recipe.batch_size
    online = online_teacher(run)
    return images * (3 * forward + ((online and forward_flops(run, online)) or 0.0))


def online_teacher(run: RunSpec) -> ModelSpec | None:
    """The network that runs beside the student; None where there is none."""
    teacher = teacher_of(run)
    if teacher is None or needed_cache(run) is not None or not isinstance(teacher.run, RunSpec | UserNetwork):
        return None
    return teacher.run.model


def caching_flops(need: CacheNeed) -> float | None:
    """Operations of writing one seed of a cache: the teacher looks at every view once. None for an import path."""
    if not isinstance(need.teacher.run, RunSpec | UserNetwork):
        return 0.0
    declared = datasets.info(need.dataset)
    forward = zoo.forward_flops(need.teacher.run.model, declared.shape, declared.num_classes)
    return forward and forward * need.views * need.rows


def probe_pictures(run: RunSpec, probe: Probe) -> int:
    """Pictures that a probe shows to one checkpoint, M · V, at most; 0 where the size of the split is not declared."""
    num_classes = datasets.info(run.dataset).num_classes
    chosen = num_classes if probe.classes is None else len(probe.classes)
    rows = datasets.sizes(run.dataset)[probe.split]
    count = -(-(rows or 0) * chosen // num_classes) if probe.per_class is None else chosen * probe.per_class
    return count * max(1, probe.views)


def probe_checkpoints(run: RunSpec, probe: Probe) -> int:
    """How many checkpoints of a run a probe asks."""
    if probe.checkpoints == "last":
        return 1
    return len(run.recipe.all_milestones(datasets.sizes(run.dataset)["train"] or 1))


def probe_flops(run: RunSpec, probe: Probe) -> float | None:
    """Operations of one probe of one seed: a pass for the logits and, where asked, one more for the features."""
    passes = 2 if probe.what == "features" else 1
    forward = forward_flops(run)
    return forward and forward * passes * probe_pictures(run, probe) * probe_checkpoints(run, probe)


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
