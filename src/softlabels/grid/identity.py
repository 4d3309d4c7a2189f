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
from softlabels.grid import datasets
from softlabels.grid.parse import from_dict
from softlabels.grid.plan import Plan, Probe
from softlabels.grid.spec import (
    Augment,
    DatasetSpec,
    Distill,
    Hard,
    LogitMatch,
    RunSpec,
    Smooth,
    Teacher,
    UserLogits,
    UserNetwork,
    teacher_of,
    to_dict,
)
from softlabels.versions import code_version

BYTES_PER_LOGIT = 2  # fp16


def _hash8(value: Any) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:8]


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-") or "x"


def _short(number: float) -> str:
    return f"{number:g}".replace("+", "")


# ---------------------------------------------------------------- runs


@functools.cache
def run_id(spec: RunSpec) -> str:
    """The name of a run: equal specs and equal code give equal names, in every scale."""
    stages = ["data", "models", "training", *(["cache"] if teacher_of(spec) else [])]
    content = _canonical(spec, versions=True) | {"code": {stage: code_version(stage) for stage in stages}}
    parts = (_dataset_slug(spec.dataset), _model_slug(spec.model.name), _targets_slug(spec.targets))
    return ".".join((*parts, _hash8(content)))


@functools.cache
def spec_digest(spec: RunSpec) -> str:
    """Hex SHA-256 of what was asked, whatever code answered: tells runs made by older code."""
    return hashlib.sha256(canonical_json(_canonical(spec, versions=False)).encode()).hexdigest()


def _canonical(spec: RunSpec, versions: bool) -> dict[str, Any]:
    result: dict[str, Any] = to_dict(spec)
    result["dataset"] = datasets.identity_of(spec.dataset)
    teacher = teacher_of(spec)
    if teacher is not None:
        run: Any = to_dict(teacher.run)
        if isinstance(teacher.run, RunSpec):
            run = run_id(teacher.run) if versions else spec_digest(teacher.run)
        else:
            # Where the user keeps a file does not matter, only what is in it.
            run = {name: value for name, value in run.items() if name not in ("weights", "logits")}
        result["targets"]["teacher"]["run"] = run
    return result


def _dataset_slug(dataset: DatasetSpec) -> str:
    return _slug(Path(dataset.path).name if dataset.path else dataset.name)


def _model_slug(name: str) -> str:
    return _slug(name.rsplit(":", 1)[-1])


def _targets_slug(targets: Any) -> str:
    match targets:
        case Hard():
            return "hard"
        case Smooth(alpha=alpha, over=over):
            return f"ls{_short(alpha)}" + ("" if over == "all" else f"-{over}")
        case Distill(teacher=teacher, temperature=T, beta=beta):
            weight = "" if beta == 1 else f"b{_short(beta)}-"
            return f"kd-T{_short(T)}-{weight}{_teacher_slug(teacher)}"
        case LogitMatch(teacher=teacher, beta=beta):
            return f"match-b{_short(beta)}-{_teacher_slug(teacher)}"
    raise TypeError(f"no slug for targets {targets!r}")


def _teacher_slug(teacher: Teacher) -> str:
    run = teacher.run
    if isinstance(run, UserLogits):
        return "own-logits"
    if isinstance(run, UserNetwork):
        return f"own-{_model_slug(run.model.name)}"
    # One generation only: the name of a great-grandchild stays readable, the hash tells the rest.
    taught_by = run.targets.kind if teacher_of(run) else _targets_slug(run.targets)
    extra = [teacher.checkpoint.replace(":", "")] if teacher.checkpoint != "last" else []
    extra += [f"s{teacher.seed}"] if teacher.seed != "same" else []
    return "-".join((_model_slug(run.model.name), taught_by, *extra))


# ---------------------------------------------------------------- data, caches, probes


@functools.cache
def dataset_id(spec: DatasetSpec) -> str:
    """The name of the prepared data."""
    content = {"dataset": datasets.identity_of(spec), "code": code_version("data")}
    return f"{_dataset_slug(spec)}.{_hash8(content)}"


def teacher_id(teacher: Teacher) -> str:
    """The name of a teacher: its run id, or for files of the user's own a name of their content."""
    if isinstance(teacher.run, RunSpec):
        return run_id(teacher.run)
    return f"{_teacher_slug(teacher)}.{teacher.run.sha256[:8]}"


@dataclass(frozen=True)
class CacheNeed:
    """The logits that a distilling run reads: of one teacher on `views` pictures of every training image."""

    id: str
    teacher: Teacher
    dataset: DatasetSpec
    augment: Augment
    """The student's: the cached logits belong to the pictures that the student sees."""
    views: int
    kind: str
    rows: int
    """N training images."""
    num_classes: int
    """K."""

    @property
    def bytes(self) -> int:
        """Size of one seed: views · N · K fp16 numbers."""
        return self.views * self.rows * self.num_classes * BYTES_PER_LOGIT

    def seed(self, student_seed: int) -> int:
        """The seed whose teacher, and whose stream of views, a student of this seed uses."""
        return self.teacher.seed_for(student_seed)


def cache_id(teacher: Teacher, dataset: DatasetSpec, augment: Augment, views: int, kind: str) -> str:
    """The name of a cache: `<teacher>.<checkpoint>-v<views>.<hash8>`; equal for all students that can share it."""
    content: dict[str, Any] = {
        "teacher": teacher_id(teacher),
        "checkpoint": teacher.checkpoint,
        "dataset": datasets.identity_of(dataset),
        "augment": to_dict(augment),
        "views": views,
        "kind": kind,
        "code": {stage: code_version(stage) for stage in ("data", "models", "training", "cache")},
    }
    if not isinstance(teacher.run, RunSpec):
        content["own"] = {k: v for k, v in to_dict(teacher.run).items() if k not in ("weights", "logits")}
    return f"{teacher_id(teacher)}.{teacher.checkpoint.replace(':', '')}-v{views}.{_hash8(content)}"


@functools.cache
def needed_cache(run: RunSpec) -> CacheNeed | None:
    """The cache of a distilling run; None without a teacher or where the teacher runs online.

    `views: all` is one view per epoch that the student begins; one where augmentation leaves the pictures alone.
    """
    targets = run.targets
    if not isinstance(targets, Distill | LogitMatch) or targets.cache == "online":
        return None
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
    return CacheNeed(
        cache_id(targets.teacher, run.dataset, augment, views, targets.cache),
        targets.teacher,
        run.dataset,
        augment,
        views,
        targets.cache,
        rows,
        datasets.info(run.dataset).num_classes,
    )


def probe_id(probe: Probe) -> str:
    """The name of a probe's file: `<split>-<what>.<hash8>`."""
    return f"{probe.split}-{probe.what}.{_hash8(to_dict(probe))}"


# ---------------------------------------------------------------- spec files


def write_spec_files(plan: Plan, directory: Path) -> None:
    """Write `<run id>.json` for every run of a plan; a file that already says so keeps its time stamp."""
    for name, spec in plan.runs.items():
        path = directory / f"{name}.json"
        content = {"run_id": name, "spec_digest": spec_digest(spec), "spec": to_dict(spec)}
        if not path.exists() or read_json(path) != content:
            write_json(path, content)


def read_spec(path: Path) -> RunSpec:
    """The spec in a file of `write_spec_files`.

    Raises:
        SpecError: the file's name is not the id that this code gives to the spec in it.
    """
    content = read_json(path)
    if not isinstance(content, dict) or "spec" not in content:
        raise SpecError(f"{path} is no spec of a run; delete it and run snakemake again")
    spec = from_dict(RunSpec, content["spec"], f"{path}: spec")
    if run_id(spec) != path.stem:
        raise SpecError(
            f"{path} was made by other code versions (its spec is now {run_id(spec)}); "
            "run snakemake again, which writes the present specs"
        )
    return spec
