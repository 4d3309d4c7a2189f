"""What one job makes: blocks of seeds, and packs of blocks that need the same generation and data set.

Start-up (torch and its first optimiser) is paid once per job, not once per network.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from softlabels.grid.costs import needed_caches
from softlabels.grid.identity import dataset_id, needed_cache, probe_id, run_id
from softlabels.grid.plan import Plan
from softlabels.grid.spec import RunSpec, teacher_of
from softlabels.layout import Layout


@dataclass(frozen=True)
class Pack:
    """The files that one job makes one after another, and the files that it reads."""

    name: str
    outputs: tuple[Path, ...]
    inputs: tuple[Path, ...]


Unit = tuple[tuple[str, str], list[Path], list[Path]]
"""(what it may share a job with, outputs, inputs)."""


def gpus(device: str) -> int:
    """GPUs that one job takes: none on `cpu`, and none for `auto` where the kernel has no NVIDIA driver."""
    return int(device.startswith("cuda") or (device == "auto" and Path("/dev/nvidiactl").exists()))


def generation(spec: RunSpec) -> int:
    """0 for a network trained on labels or by a teacher of the user's own, else one more than its teacher."""
    teacher = teacher_of(spec)
    if teacher is None or not isinstance(teacher.run, RunSpec):
        return 0
    return generation(teacher.run) + 1


def blocks(seeds: Iterable[int], size: int) -> Iterator[tuple[int, ...]]:
    """Seeds in blocks; seed k always falls into block k // size, whatever other seeds there are."""
    ordered = sorted(seeds)
    for number in sorted({seed // size for seed in ordered}):
        yield tuple(seed for seed in ordered if seed // size == number)


def training_packs(plan: Plan, layout: Layout) -> list[Pack]:
    """Every seed of every run, by its `run.json`."""
    units: list[Unit] = []
    for run, spec in plan.runs.items():
        for block in blocks(plan.seeds[run], plan.block):
            outputs = [layout.run(run, seed) / "run.json" for seed in block]
            units.append((_shared(spec), outputs, _read_by(spec, block, layout)))
    return _packed(units, plan.pack)


def cache_packs(plan: Plan, layout: Layout) -> list[Pack]:
    """Every cache that a student reads, for every seed of its teacher, by its `manifest.json`."""
    students = {need.id: spec for spec in plan.runs.values() if (need := needed_cache(spec))}
    units: list[Unit] = []
    for name, (need, seeds) in needed_caches(plan).items():
        for block in blocks(seeds, plan.block):
            inputs = [_manifest(students[name], layout)]
            if isinstance(need.teacher.run, RunSpec):
                inputs += [layout.run(run_id(need.teacher.run), seed) / "run.json" for seed in block]
            outputs = [layout.cache(name, seed) / "manifest.json" for seed in block]
            units.append((_shared(students[name]), outputs, inputs))
    return _packed(units, plan.pack)


def probe_packs(plan: Plan, layout: Layout) -> list[Pack]:
    """Every probe of every run and seed."""
    asked: dict[tuple[str, tuple[int, ...]], set[str]] = {}
    for artifact in plan.artifacts.values():
        for family, probe in artifact.probes:
            for member in artifact.family(family):
                for block in blocks(member.seeds, plan.block):
                    asked.setdefault((run_id(member.run), block), set()).add(probe_id(probe))
    units: list[Unit] = []
    for (run, block), names in asked.items():
        spec = plan.runs[run]
        outputs = [layout.probe(run, seed, name) for name in sorted(names) for seed in block]
        inputs = [_manifest(spec, layout), *(layout.run(run, seed) / "run.json" for seed in block)]
        units.append((_shared(spec), outputs, inputs))
    return _packed(units, plan.pack)


def _packed(units: Iterable[Unit], size: int) -> list[Pack]:
    """At most `size` units a pack, dealt like cards so that packs cost alike."""
    groups: dict[tuple[str, str], list[Unit]] = {}
    for unit in units:
        groups.setdefault(unit[0], []).append(unit)
    packs: list[Pack] = []
    for (kind, _), members in groups.items():
        count = -(-len(members) // size)
        for dealt in (members[i::count] for i in range(count)):
            outputs = tuple(path for _, made, _ in dealt for path in made)
            inputs = tuple(dict.fromkeys(path for _, _, read in dealt for path in read))
            packs.append(Pack(f"{kind}_{len(packs)}", outputs, inputs))
    return packs


def _shared(spec: RunSpec) -> tuple[str, str]:
    """What members of a pack have in common."""
    return f"generation{generation(spec)}", dataset_id(spec.dataset)


def _manifest(spec: RunSpec, layout: Layout) -> Path:
    return layout.data(dataset_id(spec.dataset)) / "manifest.json"


def _read_by(spec: RunSpec, seeds: Iterable[int], layout: Layout) -> list[Path]:
    """What training these seeds reads: the data, and the caches or the online teachers' records."""
    need, teacher = needed_cache(spec), teacher_of(spec)
    if need is not None:
        logits = [layout.cache(need.id, need.seed(seed)) / "manifest.json" for seed in seeds]
    elif teacher is not None and isinstance(teacher.run, RunSpec):
        logits = [layout.run(run_id(teacher.run), teacher.seed_for(seed)) / "run.json" for seed in seeds]
    else:
        logits = []
    return [_manifest(spec, layout), *logits]
