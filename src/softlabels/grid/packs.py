"""What one job makes: blocks of seeds, and packs of blocks that need the same generation and data set.

Start-up (torch and its first optimiser) is paid once per job, not once per network. What goes together is decided by
the plan alone, never by what has been recorded: a pack is the same today and tomorrow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from softlabels.grid.costs import caching_flops, needed_caches, probe_flops, training_flops
from softlabels.grid.identity import CacheNeed, caches_of, dataset_id, initial_id, probe_id, run_id
from softlabels.grid.initial import TorchvisionWeights
from softlabels.grid.plan import Plan, chain
from softlabels.grid.probes import AnyProbe, Translations
from softlabels.grid.spec import Parent, Run, initial_of, parents_of
from softlabels.layout import Layout


class Member(NamedTuple):
    """One thing that a job makes, and its file."""

    run: Run
    """The run that is trained or asked; of a cache, a student that reads it."""
    seed: int
    """Of a cache, the seed of the teacher."""
    makes: CacheNeed | AnyProbe | None
    """None: the training itself."""
    output: Path

    @property
    def flops(self) -> float | None:
        """Floating-point operations; None where a network or the number of images is unknown."""
        if self.makes is None:
            return training_flops(self.run)
        if isinstance(self.makes, CacheNeed):
            return caching_flops(self.makes)
        return probe_flops(self.run, self.makes)


@dataclass(frozen=True)
class Pack:
    """What one job makes, one after another, and the files that it reads."""

    kind: str
    """`train`, `write_caches`, `evaluate` or `translate`."""
    name: str
    members: tuple[Member, ...]
    inputs: tuple[Path, ...]

    @property
    def rule(self) -> str:
        """The name of its rule."""
        return f"{self.kind}_{self.name}"

    @property
    def outputs(self) -> list[Path]:
        """One file of each member, in their order."""
        return [member.output for member in self.members]


class Block(NamedTuple):
    """Members that always share a job."""

    members: list[Member]
    inputs: list[Path]
    minutes: float
    """By FLOPs; of something unknown, all that a pack may take."""


def generation(spec: Run) -> int:
    """0 for a run that needs no other one first, else one more than the latest that it needs."""
    return max((_after(parent) for _, parent in parents_of(spec)), default=0)


def _after(parent: Parent) -> int:
    return generation(parent.run) + 1 if isinstance(parent.run, Run) else 0


def blocks(seeds: Iterable[int], size: int) -> Iterator[tuple[int, ...]]:
    """Seeds in blocks; seed k always falls into block k // size, whatever other seeds there are."""
    ordered = sorted(seeds)
    for number in sorted({seed // size for seed in ordered}):
        yield tuple(seed for seed in ordered if seed // size == number)


def training_packs(plan: Plan, layout: Layout) -> list[Pack]:
    """Every seed of every run, by its `run.json`."""
    found: list[Block] = []
    for run, spec in plan.runs.items():
        each = _minutes(training_flops(spec), spec, plan)
        for seeds in _affordable(plan.seeds[run], each, plan):
            members = [Member(spec, seed, None, layout.run(run, seed) / "run.json") for seed in seeds]
            found.append(Block(members, _read_by(spec, seeds, layout), each * len(seeds)))
    return _packed("train", found, plan)


def cache_packs(plan: Plan, layout: Layout) -> list[Pack]:
    """Every cache that a student reads, for every seed of its teacher, by its `manifest.json`."""
    found: list[Block] = []
    for name, (need, all_seeds) in needed_caches(plan).items():
        student = need.student
        each = _minutes(caching_flops(need), student, plan)
        for seeds in _affordable(all_seeds, each, plan):
            inputs = [_manifest(student, layout)]
            if isinstance(need.teacher.run, Run):
                inputs += [layout.run(run_id(need.teacher.run), seed) / "run.json" for seed in seeds]
            members = [Member(student, seed, need, layout.cache(name, seed) / "manifest.json") for seed in seeds]
            found.append(Block(members, inputs, each * len(seeds)))
    return _packed("write_caches", found, plan)


def probe_packs(plan: Plan, layout: Layout) -> list[Pack]:
    """Every probe of every run and seed but for translations."""
    return _asking("evaluate", plan, layout)


def translation_packs(plan: Plan, layout: Layout) -> list[Pack]:
    """Every split that some run translates, at every temperature."""
    return _asking("translate", plan, layout)


def _asking(kind: str, plan: Plan, layout: Layout) -> list[Pack]:
    probes: dict[str, AnyProbe] = {}
    asked: dict[tuple[str, str], set[int]] = {}  # (run, probe) → the seeds that any artifact wants
    for artifact in plan.artifacts.values():
        for family, probe in artifact.probes:
            if isinstance(probe, Translations) != (kind == "translate"):
                continue
            probes[name := probe_id(probe)] = probe
            for member in artifact.family(family):
                asked.setdefault((run_id(member.run), name), set()).update(member.seeds)
    together: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for (run, name), wanted in asked.items():
        for seeds in blocks(wanted, plan.block):
            together.setdefault((run, seeds), []).append(name)
    found: list[Block] = []
    for (run, block), names in together.items():
        spec = plan.runs[run]
        each = sum(_minutes(probe_flops(spec, probes[name]), spec, plan) for name in names)
        for seeds in _affordable(block, each, plan):
            inputs = [_manifest(spec, layout), *(layout.run(run, seed) / "run.json" for seed in seeds)]
            members = [
                Member(spec, seed, probes[name], layout.probe(run, seed, name))
                for name in sorted(names)
                for seed in seeds
            ]
            found.append(Block(members, inputs, each * len(seeds)))
    return _packed(kind, found, plan)


def _minutes(flops: float | None, run: Run, plan: Plan) -> float:
    return (plan.pack_minutes or 0.0) if flops is None else flops / plan.rate(run) / 60


def _affordable(seeds: Iterable[int], each: float, plan: Plan) -> Iterator[tuple[int, ...]]:
    """Blocks of seeds, split into single ones where a block takes longer than a pack may."""
    for block in blocks(seeds, plan.block):
        if plan.pack_minutes is not None and each * len(block) > plan.pack_minutes:
            yield from ((seed,) for seed in block)
        else:
            yield block


def _packed(kind: str, found: Iterable[Block], plan: Plan) -> list[Pack]:
    """At most `plan.pack` blocks a pack, dealt like cards so that packs cost alike, and cut at `plan.pack_minutes`.

    Where minutes count, a job holds nothing that another artifact alone needs: who asks for one figure gets its runs.
    """
    asked = {} if plan.pack_minutes is None else _asked(plan)
    groups: dict[tuple[str, str, frozenset[str]], list[Block]] = {}
    for block in found:
        run, makes = block.members[0].run, block.members[0].makes
        # What reads a cache may be of a later generation than all else that does, and the cache is needed by the first.
        number = _after(makes.teacher) if isinstance(makes, CacheNeed) else generation(run)
        shared = (f"generation{number}", dataset_id(run.dataset), asked.get(run_id(run), frozenset()))
        groups.setdefault(shared, []).append(block)
    packs: list[Pack] = []
    for (step, *_), group in groups.items():
        count = -(-len(group) // plan.pack)
        for dealt in (group[i::count] for i in range(count)):
            for together in _within(dealt, plan.pack_minutes):
                members = tuple(member for block in together for member in block.members)
                inputs = tuple(dict.fromkeys(path for block in together for path in block.inputs))
                packs.append(Pack(kind, f"{step}_{len(packs)}", members, inputs))
    return packs


def _within(dealt: Iterable[Block], limit: float | None) -> Iterator[list[Block]]:
    """Neighbours together until one more would take longer than the limit; a block that does so alone is alone."""
    together: list[Block] = []
    for block in dealt:
        if together and limit is not None and sum(b.minutes for b in together) + block.minutes > limit:
            yield together
            together = []
        together.append(block)
    yield together


def _asked(plan: Plan) -> dict[str, frozenset[str]]:
    """Run id → the artifacts that need it, for themselves or for another run."""
    asked: dict[str, set[str]] = {}
    for artifact in plan.artifacts.values():
        for member in artifact.members:
            for spec, _ in chain(member.run, member.seeds):
                asked.setdefault(run_id(spec), set()).add(artifact.id)
    return {run: frozenset(artifacts) for run, artifacts in asked.items()}


def _manifest(spec: Run, layout: Layout) -> Path:
    return layout.data(dataset_id(spec.dataset)) / "manifest.json"


def _read_by(spec: Run, seeds: Iterable[int], layout: Layout) -> list[Path]:
    """What training these seeds reads: the data, initial weights, and the caches or the online teachers' records."""
    needs, initial, found = caches_of(spec), initial_of(spec), [_manifest(spec, layout)]
    for need in needs:
        found += [layout.cache(need.id, need.seed(seed)) / "manifest.json" for seed in seeds]
    for origin, parent in parents_of(spec):
        if parent not in [need.teacher for need in needs]:
            found += [layout.run(run_id(origin), parent.seed_for(seed)) / "run.json" for seed in seeds]
    if initial is not None and isinstance(initial.run, TorchvisionWeights):
        found.append(layout.weights(initial_id(spec.model, initial)))
    return found
