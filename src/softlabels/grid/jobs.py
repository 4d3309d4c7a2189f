"""What one job makes: a training, a cache or a probe of one seed, the rule that makes it, and the files it reads."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

from softlabels.grid.identity import CacheNeed, caches_of, dataset_id, initial_id, probe_id, run_id
from softlabels.grid.parts.initial import TorchvisionWeights
from softlabels.grid.parts.probes import AnyProbe, Translations
from softlabels.grid.plan import Artifact, Plan, chain
from softlabels.grid.spec import Run, initial_of, parents_of, teacher_of
from softlabels.layout import Layout


class Job(NamedTuple):
    """One network trained, or one file of what a network says."""

    run: Run
    """The run that is trained or asked; of a cache, a student that reads it."""
    seed: int
    """Of a cache, the seed of the teacher."""
    makes: CacheNeed | AnyProbe | None
    """None: the training itself."""
    layout: Layout

    @property
    def rule(self) -> str:
        """The name of its rule."""
        if self.makes is None:
            return "train_teacher" if teacher_of(self.run) is None else "train_student"
        if isinstance(self.makes, CacheNeed):
            return "cache_logits"
        return "translate" if isinstance(self.makes, Translations) else "evaluate"

    @property
    def output(self) -> Path:
        """The file that its rule declares; written last, so what it describes is there too."""
        if self.makes is None:
            return _record(self.layout, run_id(self.run), self.seed)
        if isinstance(self.makes, CacheNeed):
            return _cache_manifest(self.layout, self.makes.id, self.seed)
        return self.layout.probe(run_id(self.run), self.seed, probe_id(self.makes))

    @property
    def folder(self) -> Path:
        """Where it writes, and holds a lease meanwhile."""
        return self.layout.store(run_id(self.run), self.seed) if self.makes is None else self.output.parent

    @property
    def inputs(self) -> list[Path]:
        """The prepared data, weights to begin with, and what other jobs have made of teachers."""
        found = [_data_manifest(self.layout, dataset_id(self.run.dataset))]
        if self.makes is None:
            return found + self._read_by_training()
        if isinstance(self.makes, CacheNeed):
            teacher = self.makes.teacher.run
            return found + ([self._record(teacher, self.seed)] if isinstance(teacher, Run) else [])
        return [*found, self._record(self.run, self.seed)]

    def _read_by_training(self) -> list[Path]:
        needs, initial = caches_of(self.run), initial_of(self.run)
        found = [_cache_manifest(self.layout, need.id, need.seed(self.seed)) for need in needs]
        cached = [need.teacher for need in needs]
        found += [
            self._record(origin, parent.seed_for(self.seed))
            for origin, parent in parents_of(self.run)
            if parent not in cached
        ]
        if initial is not None and isinstance(initial.run, TorchvisionWeights):
            found.append(self.layout.weights(initial_id(self.run.model, initial)))
        return found

    def _record(self, run: Run, seed: int) -> Path:
        return _record(self.layout, run_id(run), seed)


# A plan asks for the same files thousands of times, and joining paths takes longer than finding them again.
@functools.cache
def _record(layout: Layout, run: str, seed: int) -> Path:
    return layout.run(run, seed) / "run.json"


@functools.cache
def _cache_manifest(layout: Layout, cache: str, seed: int) -> Path:
    return layout.cache(cache, seed) / "manifest.json"


@functools.cache
def _data_manifest(layout: Layout, dataset: str) -> Path:
    return layout.data(dataset) / "manifest.json"


def artifact_jobs(artifact: Artifact, layout: Layout) -> dict[Path, Job]:
    """Output → job, of everything that an artifact needs but for data: trainings, teachers' first, caches, probes."""
    found: dict[Path, Job] = {}
    for member in artifact.members:
        for run, seeds in chain(member.run, member.seeds):
            for seed in seeds:
                _add_training(found, run, seed, layout)
    for family, probe in artifact.probes:
        for member in artifact.family(family):
            for seed in member.seeds:
                _add(found, Job(member.run, seed, probe, layout))
    return found


def training_jobs(run: Run, seed: int, layout: Layout) -> dict[Path, Job]:
    """Output → job, of one training and of those behind it."""
    found: dict[Path, Job] = {}
    for spec, seeds in chain(run, [seed]):
        for each in seeds:
            _add_training(found, spec, each, layout)
    return found


def behind(job: Job) -> dict[Path, Job]:
    """Output → job, of one job and of those that it waits for."""
    if job.makes is None:
        return training_jobs(job.run, job.seed, job.layout)
    asked = job.makes.teacher.run if isinstance(job.makes, CacheNeed) else job.run
    found = training_jobs(asked, job.seed, job.layout) if isinstance(asked, Run) else {}
    _add(found, job)
    return found


def every_job(plan: Plan, layout: Layout) -> dict[Path, Job]:
    """Output → job, of a whole plan; what several artifacts need is there once."""
    return {path: job for a in plan.artifacts.values() for path, job in artifact_jobs(a, layout).items()}


def _add_training(found: dict[Path, Job], run: Run, seed: int, layout: Layout) -> None:
    for need in caches_of(run):
        _add(found, Job(need.student, need.seed(seed), need, layout))
    _add(found, Job(run, seed, None, layout))


def _add(found: dict[Path, Job], job: Job) -> None:
    found.setdefault(job.output, job)
