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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from softlabels.errors import SpecError
from softlabels.files import canonical_json, read_json, write_json
from softlabels.grid.declared import corpora, datasets
from softlabels.grid.parts.initial import TorchvisionWeights, UserWeights, torchvision_file
from softlabels.grid.parts.label_targets import (
    AverageDistill,
    BetaSmoothing,
    CustomLoss,
    EntropyBonus,
    Hard,
    Smooth,
    VirtualTeacher,
)
from softlabels.grid.parts.probes import AnyProbe, Translations
from softlabels.grid.parts.translation import CorpusSpec
from softlabels.grid.plan import Plan
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
    UserLogits,
    UserNetwork,
    cache_kind,
    dataset_name,
    initial_of,
    reference_of,
    run_from,
    teacher_of,
    to_dict,
)
from softlabels.grid.tasks import task_of
from softlabels.versions import code_version

T = TypeVar("T")
R = TypeVar("R")
TEACHER = r"[a-z0-9_-]+\.[a-z0-9_-]+\.(?!(?:kd|oh|match)-)[^/]+"
STUDENT = r"[a-z0-9_-]+\.[a-z0-9_-]+\.(?:kd|oh|match)-[^/]+"
"""Regular expressions of run ids: of networks that learn from labels alone, and from another network."""


def _hash8(value: Any) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:8]


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-") or "x"


def _short(number: float) -> str:
    return f"{number:g}".replace("+", "")


# ---------------------------------------------------------------- runs


class _Remembered(Generic[T, R]):
    """`functools.cache` of a function of one spec that looks first whether it has seen this very object: specs are
    hashed with all teachers behind them, and the plan asks for the same ones thousands of times."""

    def __init__(self, function: Callable[[T], R]) -> None:
        functools.update_wrapper(self, function)
        self._by_value = functools.cache(function)
        self._by_object: dict[int, tuple[T, R]] = {}  # the object is kept, so that its number stays its own

    def __call__(self, spec: T) -> R:
        found = self._by_object.get(id(spec))
        if found is None:
            found = self._by_object[id(spec)] = (spec, self._by_value(spec))
        return found[1]

    def cache_clear(self) -> None:
        self._by_value.cache_clear()
        self._by_object.clear()


@_Remembered
def run_id(spec: Run) -> str:
    """The name of a run: equal specs and equal code give equal names, in every scale."""
    content = _canonical(spec, versions=True) | {"code": _versions(spec)}
    taught = _targets_slug(spec.targets) + _initial_slug(spec)
    return ".".join((_dataset_slug(spec.dataset), _model_slug(spec.model.name), taught, _hash8(content)))


def _versions(spec: Run) -> dict[str, int]:
    """Of the code that decides the numbers of a run, and of a cache that it reads."""
    return {stage: code_version(stage) for stage in task_of(spec).stages}


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
    return _content_of_file(parent.run)


def _content_of_file(own: UserNetwork | UserLogits | UserWeights) -> dict[str, Any]:
    """Where the user keeps a file does not matter, only what is in it; nor that it is used against all doubts."""
    return {name: value for name, value in to_dict(own).items() if name not in ("weights", "logits", "trust")}


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
        case CustomLoss():
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


@_Remembered
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


@_Remembered
def needed_cache(run: Run) -> CacheNeed | None:
    """The cache of a distilling run; None without a teacher or where the teacher runs online."""
    kind, teacher = cache_kind(run), teacher_of(run)
    return None if teacher is None or kind is None or kind == "online" else _cache(run, teacher, kind)


def caches_of(run: Run) -> tuple[CacheNeed, ...]:
    """Every cache that a training reads: that of the teacher, and one like it of the teacher whose targets set the
    temperature."""
    need, reference = needed_cache(run), reference_of(run)
    if need is None or reference is None:
        return () if need is None else (need,)
    return need, _cache(run, reference, need.kind)


def _cache(run: Run, teacher: Teacher, kind: str) -> CacheNeed:
    """`<teacher>.<checkpoint>-<v<views> or kind>.<hash8>`; equal for all students that can share it."""
    task = task_of(run)
    views, rows, row_bytes, fixed_bytes = task.cache_size(kind)
    label, own = task.cache_key(kind, views)
    which = {"teacher": teacher_id(teacher), "checkpoint": teacher.checkpoint, "kind": kind}
    content = which | own | {"code": _versions(run)}
    if not isinstance(teacher.run, Run):
        content["own"] = _content_of_file(teacher.run)
    name = f"{teacher_id(teacher)}.{teacher.checkpoint.replace(':', '')}-{label}.{_hash8(content)}"
    return CacheNeed(name, run, teacher, kind, views, rows, row_bytes, fixed_bytes)


@_Remembered
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
