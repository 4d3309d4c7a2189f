"""Names that stand for content: runs, prepared data, logits caches and probes.

A run id reads `<dataset>.<model>.<targets>.<hash8>`, for instance
`cifar10.alexnet.kd-T3-resnet56-ls0.15.1a2b3c4d`, of the characters A–Z a–z 0–9 `_` `.` `-`. The hash
covers the canonical spec (fields at their default left out), the teacher's run id, the declared
identity of the data set and the versions of the code behind the numbers; not the seeds.
"""

from __future__ import annotations

import functools
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from softlabels.errors import SpecError
from softlabels.files import canonical_json, read_json, write_json
from softlabels.grid import corpora, datasets, transformers
from softlabels.grid.initial import TorchvisionWeights, UserWeights, torchvision_file
from softlabels.grid.label_targets import (
    AverageDistill,
    BetaSmoothing,
    EntropyBonus,
    Hard,
    OwnLoss,
    Smooth,
    VirtualTeacher,
)
from softlabels.grid.parse import run_from
from softlabels.grid.plan import Plan
from softlabels.grid.probes import AnyProbe, Translations
from softlabels.grid.recipe import Augment
from softlabels.grid.spec import (
    DatasetSpec,
    Distill,
    EqualEntropy,
    Initial,
    LogitMatch,
    MeanLabel,
    ModelSpec,
    Parent,
    Run,
    RunSpec,
    Teacher,
    TranslationSpec,
    UserLogits,
    UserNetwork,
    cache_kind,
    dataset_name,
    initial_of,
    reference_of,
    teacher_of,
    to_dict,
)
from softlabels.grid.translation import CorpusSpec
from softlabels.versions import code_version

BYTES_PER_LOGIT = 2  # fp16
CACHE_STAGES = ("data", "models", "training", "cache")
"""What decides the numbers of a cache of images."""
TRANSLATION_STAGES = ("corpora", "translation")


def _hash8(value: Any) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:8]


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-") or "x"


def _short(number: float) -> str:
    return f"{number:g}".replace("+", "")


# ---------------------------------------------------------------- runs


@functools.cache
def run_id(spec: Run) -> str:
    """The name of a run: equal specs and equal code give equal names, in every scale."""
    if isinstance(spec, TranslationSpec):
        stages = list(TRANSLATION_STAGES)
    else:
        stages = ["data", "models", "training", *(["cache"] if teacher_of(spec) else [])]
    content = _canonical(spec, versions=True) | {"code": {stage: code_version(stage) for stage in stages}}
    taught = _targets_slug(spec.targets) + _initial_slug(spec)
    return ".".join((_dataset_slug(spec.dataset), _model_slug(spec.model.name), taught, _hash8(content)))


@functools.cache
def spec_digest(spec: Run) -> str:
    """Hex SHA-256 of what was asked, whatever code answered: tells runs made by older code."""
    return hashlib.sha256(canonical_json(_canonical(spec, versions=False)).encode()).hexdigest()


def _canonical(spec: Run, versions: bool) -> dict[str, Any]:
    result: dict[str, Any] = to_dict(spec)
    result["dataset"] = _data_identity(spec.dataset)
    if (teacher := teacher_of(spec)) is not None:
        result["targets"]["teacher"]["run"] = _parent_identity(spec, teacher, versions)
    if (reference := reference_of(spec)) is not None:
        result["targets"]["temperature"]["entropy_of"]["run"] = _parent_identity(spec, reference, versions)
    if (initial := initial_of(spec)) is not None:
        result["initial"]["run"] = _parent_identity(spec, initial, versions)
    return result


def _parent_identity(spec: Run, parent: Parent, versions: bool) -> Any:
    if isinstance(parent.run, Run):
        return run_id(parent.run) if versions else spec_digest(parent.run)
    if isinstance(parent.run, TorchvisionWeights):  # the name says the content, by the beginning of its SHA-256
        return _torchvision_file(spec.model, parent.run)
    # Where the user keeps a file does not matter, only what is in it.
    return {name: value for name, value in to_dict(parent.run).items() if name not in ("weights", "logits")}


def _torchvision_file(model: ModelSpec, weights: TorchvisionWeights) -> str:
    return torchvision_file(model.name, dict(model.options), weights.torchvision).rpartition(".")[0]


def _data_identity(dataset: DatasetSpec | CorpusSpec) -> dict[str, Any]:
    return corpora.identity_of(dataset) if isinstance(dataset, CorpusSpec) else datasets.identity_of(dataset)


def _dataset_slug(dataset: DatasetSpec | CorpusSpec) -> str:
    return _slug(dataset_name(dataset))


def _model_slug(name: str) -> str:
    return _slug(name.rsplit(":", 1)[-1])


def _targets_slug(targets: Any) -> str:
    match targets:
        case Hard():
            return "hard"
        case Smooth(alpha=alpha, over=over):
            return f"ls{_short(alpha)}" + ("" if over == "all" else f"-{over}")
        case VirtualTeacher(temperature=T, beta=beta, softened=softened):
            return f"virtual-T{_short(T)}-b{_short(beta)}" + ("" if softened == "equations" else f"-{softened}")
        case BetaSmoothing(a=a, beta=beta, ranked_by=rank):
            return f"beta{_short(a)}-b{_short(beta)}-{rank.split('_')[0]}"
        case AverageDistill(temperature=T, beta=beta):
            return f"ema-T{_short(T)}-b{_short(beta)}"
        case EntropyBonus():
            return f"entropy{_short(targets.weight)}"
        case OwnLoss():
            return f"own-{_model_slug(targets.loss)}-w{_short(targets.weight)}"
        case Distill(teacher=teacher, temperature=T, beta=beta, cache=cache, top_k=k, gradient_norm=norm):
            matched = "" if norm == "free" else "gradnorm-"
            weight = "" if beta == 1 else f"b{_short(beta)}-"
            truncated = f"{cache.removeprefix('topk_')}{k}-" if k else ""
            kind = "kd" if targets.features is None else "oh"
            return f"{kind}-T{_softness(T)}-{matched}{weight}{truncated}{_teacher_slug(teacher)}"
        case LogitMatch(teacher=teacher, beta=beta):
            return f"match-b{_short(beta)}-{_teacher_slug(teacher)}"
    raise TypeError(f"no slug for targets {targets!r}")


def _softness(temperature: float | EqualEntropy | MeanLabel) -> str:
    match temperature:
        case EqualEntropy(temperature=T):
            return f"eq{_short(T)}"
        case MeanLabel(label=label):
            return f"label{_short(label)}"
    return _short(temperature)


def _teacher_slug(teacher: Teacher) -> str:
    run = teacher.run
    if isinstance(run, UserLogits):
        return "own-logits"
    if isinstance(run, UserNetwork):
        return f"own-{_model_slug(run.model.name)}"
    return "-".join((_model_slug(run.model.name), _training_slug(run), *_which(teacher)))


def _training_slug(run: Run) -> str:
    """One generation only: the name of a great-grandchild stays readable, the hash tells the rest."""
    return run.targets.kind if teacher_of(run) else _targets_slug(run.targets)


def _which(parent: Parent) -> list[str]:
    extra = [parent.checkpoint.replace(":", "")] if parent.checkpoint != "last" else []
    return extra + ([f"s{parent.seed}"] if parent.seed != "same" else [])


def _initial_slug(spec: Run) -> str:
    """`-init-imagenet-hard` (new head), `-kept-…` (its head too) or `-measured-…` (not trained at all), or nothing."""
    initial = initial_of(spec)
    if initial is None:
        return ""
    what = "measured" if spec.recipe.steps == 0 else {"new": "init", "kept": "kept"}[initial.head]  # type: ignore[union-attr]
    match initial.run:
        case RunSpec() as run:
            origin = "-".join((_dataset_slug(run.dataset), _training_slug(run), *_which(initial)))
        case TorchvisionWeights(torchvision=name):
            origin = _slug(name)
        case UserWeights():
            origin = "own"
    return f"-{what}-{origin}"


# ---------------------------------------------------------------- data, caches, probes


@functools.cache
def dataset_id(spec: DatasetSpec | CorpusSpec) -> str:
    """The name of the prepared data."""
    stage = "corpora" if isinstance(spec, CorpusSpec) else "data"
    content = {"dataset": _data_identity(spec), "code": code_version(stage)}
    return f"{_dataset_slug(spec)}.{_hash8(content)}"


def teacher_id(teacher: Teacher) -> str:
    """The name of a teacher: its run id, or for files of the user's own a name of their content."""
    if isinstance(teacher.run, Run):
        return run_id(teacher.run)
    return f"{_teacher_slug(teacher)}.{teacher.run.sha256[:8]}"


def initial_id(model: ModelSpec, initial: Initial) -> str:
    """The name of the weights that a network begins with: a run id, a file of torchvision, or a name of the content."""
    match initial.run:
        case RunSpec():
            return run_id(initial.run)
        case TorchvisionWeights():
            return _torchvision_file(model, initial.run)
        case UserWeights():
            return f"own-{_model_slug(model.name)}.{initial.run.sha256[:8]}"


@dataclass(frozen=True)
class CacheNeed:
    """What a distilling run reads of a teacher: a row for each view of every training image, or for each token."""

    id: str
    student: Run
    """A run that reads it; what the rows depend on is equal for all that share it."""
    teacher: Teacher
    kind: str
    views: int
    """Of each image; 1 for text."""
    rows: int
    """N training images, or target tokens."""
    row_bytes: float
    fixed_bytes: int = 0

    @property
    def bytes(self) -> int:
        """Size of one seed."""
        return int(self.views * self.rows * self.row_bytes) + self.fixed_bytes

    def seed(self, student_seed: int) -> int:
        """The seed whose teacher, and whose stream of views, a student of this seed uses."""
        return self.teacher.seed_for(student_seed)


def _image_cache_id(teacher: Teacher, dataset: DatasetSpec, augment: Augment, views: int, kind: str) -> str:
    """`<teacher>.<checkpoint>-v<views>.<hash8>`; equal for all students that can share it."""
    content: dict[str, Any] = {
        "teacher": teacher_id(teacher),
        "checkpoint": teacher.checkpoint,
        "dataset": datasets.identity_of(dataset),
        "augment": to_dict(augment),
        "views": views,
        "kind": kind,
        "code": {stage: code_version(stage) for stage in CACHE_STAGES},
    }
    if not isinstance(teacher.run, Run):
        content["own"] = {k: v for k, v in to_dict(teacher.run).items() if k not in ("weights", "logits")}
    return f"{teacher_id(teacher)}.{teacher.checkpoint.replace(':', '')}-v{views}.{_hash8(content)}"


@functools.cache
def needed_cache(run: Run) -> CacheNeed | None:
    """The cache of a distilling run; None without a teacher or where the teacher runs online.

    `views: all` is one view per epoch that the student begins; one where augmentation leaves the pictures alone.
    """
    kind = cache_kind(run)
    if kind is None or kind == "online":
        return None
    if isinstance(run, TranslationSpec):
        return _text_cache(run, kind)
    teacher = teacher_of(run)
    assert teacher is not None
    return _image_cache(run, teacher, kind)


def caches_of(run: Run) -> tuple[CacheNeed, ...]:
    """Every cache that a training reads: that of the teacher, and one like it of the teacher whose targets set the
    temperature."""
    need, reference = needed_cache(run), reference_of(run)
    if need is None or reference is None:
        return () if need is None else (need,)
    assert isinstance(run, RunSpec)
    return need, _image_cache(run, reference, need.kind)


def _image_cache(run: RunSpec, teacher: Teacher, kind: str) -> CacheNeed:
    targets = run.targets
    assert isinstance(targets, Distill | LogitMatch)
    rows = datasets.sizes(run.dataset)["train"]
    if rows is None:
        raise SpecError(
            "dataset.train_size is needed to distil on an image folder: "
            "declare the number of images that are left for training"
        )
    augment = run.recipe.augment
    views = run.recipe.num_epochs(rows) if augment.random else 1
    if targets.views != "all":
        views = min(views, targets.views)
    name = _image_cache_id(teacher, run.dataset, augment, views, kind)
    row_bytes = datasets.info(run.dataset).num_classes * BYTES_PER_LOGIT
    return CacheNeed(name, run, teacher, kind, views, rows, row_bytes)


def _text_cache(run: TranslationSpec, kind: str) -> CacheNeed:
    """`<teacher>.<checkpoint>-<kind>.<hash8>`. The log-normaliser of `topk_lse` belongs to one T, all else to none."""
    targets = run.targets
    assert isinstance(targets, Distill)
    assert isinstance(targets.teacher.run, TranslationSpec)
    rows = corpora.tokens(run.dataset)["train"]
    if rows is None:
        raise SpecError(
            "dataset.train_tokens is needed to distil on text of your own: declare the tokens of its training part, "
            "at least as many as there are (softlabels data counts them)"
        )
    V, k = corpora.vocabulary(run.dataset), targets.top_k
    width = transformers.options(targets.teacher.run.model)["dim"]
    content = {
        "teacher": teacher_id(targets.teacher),
        "checkpoint": targets.teacher.checkpoint,
        "kind": kind,
        "k": k,
        "temperature": targets.given_temperature if kind == "topk_lse" else None,
        "code": {stage: code_version(stage) for stage in TRANSLATION_STAGES},
    }
    label = kind if k is None else f"{kind}{k}"
    name = f"{teacher_id(targets.teacher)}.{targets.teacher.checkpoint}-{label}.{_hash8(content)}"
    each = {"features": 2 * width, "dense": 2 * V, "topk_drop": 0, "topk_lse": 4}[kind]
    if k is not None:
        each += k * (BYTES_PER_LOGIT + index_bytes(V))
    sentences = 16 * (corpora.pairs(run.dataset) or rows // 20)  # offsets and hashes
    return CacheNeed(
        name, run, targets.teacher, kind, 1, rows, each, sentences + (4 * V * width if kind == "features" else 0)
    )


def index_bytes(vocabulary: int) -> int:
    """Bytes of the number of a type."""
    return 2 if vocabulary <= 1 << 16 else 4


def probe_id(probe: AnyProbe) -> str:
    """The name of a probe's file: `<split>-<what>.<hash8>`; translations say T and the checkpoint."""
    detail = f"-T{_short(probe.temperature)}-{probe.checkpoint}" if isinstance(probe, Translations) else ""
    return f"{probe.split}{detail}-{probe.what}.{_hash8(to_dict(probe))}"


# ---------------------------------------------------------------- spec files


def write_spec_files(plan: Plan, directory: Path) -> None:
    """Write `<run id>.json` for every run of a plan; a file that already says so keeps its time stamp."""
    for name, spec in plan.runs.items():
        path = directory / f"{name}.json"
        content = {"run_id": name, "spec_digest": spec_digest(spec), "spec": to_dict(spec)}
        if not path.exists() or read_json(path) != content:
            write_json(path, content)


def read_spec(path: Path) -> Run:
    """The spec in a file of `write_spec_files`.

    Raises:
        SpecError: the file's name is not the id that this code gives to the spec in it.
    """
    content = read_json(path)
    if not isinstance(content, dict) or "spec" not in content:
        raise SpecError(f"{path} is no spec of a run; delete it and run snakemake again")
    spec = run_from(content["spec"], f"{path}: spec")
    if run_id(spec) != path.stem:
        raise SpecError(
            f"{path} was made by other code versions (its spec is now {run_id(spec)}); "
            "run snakemake again, which writes the present specs"
        )
    return spec
