"""What a scale asks for: artifacts, the runs behind them, and what is measured on those runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass as pydantic_dataclass

from softlabels.errors import SpecError
from softlabels.grid.parse import STRICT
from softlabels.grid.parts.probes import AnyProbe
from softlabels.grid.spec import Run, parents_of


@dataclass(frozen=True)
class Member:
    """A run in its place in an artifact: the family that declared it and its values on the family's axes."""

    family: str
    values: tuple[tuple[str, Any], ...]
    run: Run
    seeds: tuple[int, ...]
    published: tuple[tuple[str, str], ...]
    """The paper's names: dataset, student, and teacher if any (what a scale may have replaced)."""

    def value(self, axis: str, default: Any = None) -> Any:
        """The value on one axis of the family."""
        return dict(self.values).get(axis, default)


@dataclass(frozen=True)
class Artifact:
    """One figure or table of a paper: `muller2019.fig5` ↔ target `muller2019_fig5`."""

    id: str
    title: str
    kind: Literal["figure", "table"]
    plot: str
    """Module of `softlabels.figures` that measures and draws it."""
    members: tuple[Member, ...]
    probes: tuple[tuple[str, AnyProbe], ...]
    """(family, probe): measured on every member of the family."""
    options: Mapping[str, Any]
    """What the drawing module reads: class triples, reference temperatures, …"""
    notes: tuple[str, ...]
    """Substitutions and subsampled axes, said on the face of the artifact."""
    variants: tuple[str, ...] = ()
    """Discrepancy ids (reference register) whose default or variant this artifact runs."""

    @property
    def paper(self) -> str:
        return self.id.split(".")[0]

    @property
    def name(self) -> str:
        return self.id.split(".", 1)[1]

    @property
    def target(self) -> str:
        return self.id.replace(".", "_")

    def family(self, name: str) -> tuple[Member, ...]:
        """The members of one family, in the order of its axes.

        Raises:
            SpecError: the artifact has no such family.
        """
        found = tuple(m for m in self.members if m.family == name)
        if not found:
            raise SpecError(f"artifact {self.id} has no family {name!r}")
        return found


TAKEN_OPTIONS = (
    r"(?:^|\s)(-[AcGJMNnopt]|--(?:job-name|output|comment|account|partition|clusters|time|mem|mem-per-\w+|gres|gpus|"
    r"gpus-per-\w+|nodes|ntasks|ntasks-per-\w+|cpus-per-\w+|dependency|requeue|no-requeue|parsable|wrap|chdir)\b)"
)
"""Options of sbatch that the plugin or softlabels gives."""


@pydantic_dataclass(frozen=True, config=STRICT)
class JobSettings:
    """What the user says about the jobs of this machine or cluster; no number depends on it."""

    max_minutes: Annotated[int, Field(ge=2, le=100000)] = 1440
    """Longest time in minutes that one job asks for; longer work stops in time and goes on in a further one."""
    checkpoint_seconds: Annotated[int, Field(ge=1)] = 60
    """Seconds between two checkpoints of a training."""
    gpu_share: Annotated[int, Field(ge=1, le=1000)] | None = None
    """SLURM shards that a small run takes instead of a whole GPU, null where the site has none."""
    stage: Annotated[str, Field(min_length=1)] | None = None
    """Node-local folder (may hold $VARIABLES) to which data and cache shards are copied first, null to read them where
    they are."""
    workers: Annotated[int, Field(ge=0, le=256)] = 4
    """Processes beside each job that decode images kept as files, 0 for none."""
    sbatch: Annotated[str, Field(min_length=1)] | None = None
    """Further options of sbatch, null for none."""

    def __post_init__(self) -> None:
        if self.sbatch and (taken := re.search(TAKEN_OPTIONS, self.sbatch)):
            raise SpecError(
                f"jobs.sbatch: {taken[1]} is set for each job already; partition, account and GPU are in "
                "workflow/profiles/slurm/config.yaml, the rest in the block jobs"
            )


@pydantic_dataclass(frozen=True, config=STRICT)
class Jobs(JobSettings):
    """The same, and where they compute."""

    device: str = "auto"
    """`cpu`: what recipes say in bf16 is planned in fp32."""


@dataclass(frozen=True)
class Plan:
    """All artifacts of a scale; runs are shared by identity."""

    scale: str
    artifacts: Mapping[str, Artifact]
    runs: Mapping[str, Run]
    """Run id → spec, teachers included, teachers before their students."""
    seeds: Mapping[str, tuple[int, ...]]
    """Run id → every seed that some artifact or student needs."""
    flops_per_second: float
    """Assumed rate of the scale's device where no benchmark is recorded."""
    translation_flops_per_second: float | None = None
    """Of translation runs, whose products are larger; None: the same."""
    max_cache_bytes: int | None = None
    jobs: Jobs = field(default_factory=Jobs)
    in_fp32: frozenset[str] = frozenset()
    """Ids of runs whose recipes say bf16 and that are planned in fp32, for a CPU."""

    def rate(self, run: Run) -> float:
        """Assumed operations per second of a run."""
        own = self.translation_flops_per_second if run.task == "translation" else None
        return own or self.flops_per_second


def chain(run: Run, seeds: Iterable[int]) -> list[tuple[Run, tuple[int, ...]]]:
    """A run and the runs it begins with or learns from, these first, each with the seeds that `seeds` of it need."""
    found: dict[Run, set[int]] = {}

    def add(spec: Run, needed: Iterable[int]) -> None:
        needed = set(needed)
        for origin, parent in parents_of(spec):
            add(origin, map(parent.seed_for, needed))
        found.setdefault(spec, set()).update(needed)

    add(run, seeds)
    return [(spec, tuple(sorted(needed))) for spec, needed in found.items()]
