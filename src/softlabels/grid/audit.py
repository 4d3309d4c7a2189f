"""What would run, what is there, what it costs: `softlabels audit`. Needs neither data nor torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from softlabels.grid import costs
from softlabels.grid.identity import caches_of, probe_id, run_id, spec_digest
from softlabels.grid.packs import cache_packs, probe_packs, training_packs, translation_packs
from softlabels.grid.plan import Plan, chain
from softlabels.grid.resources import Estimator, Recorded
from softlabels.layout import Layout

Training = tuple[str, int]
"""Run id and seed."""


def audit(plan: Plan, root: Path) -> dict[str, Any]:
    """The state and the cost of every artifact with its whole chain of teachers.

    `trainings` = runs × seeds, shared ones counted once in the totals; `device_hours` and `cache_bytes`
    are those of all trainings, done or not, and `hours_missing` of what is left. Hours are those of recorded
    trainings of the same run, else of runs that differ in targets only ("benchmark"), else operations
    divided by the scale's assumed rate ("flops"). `stale` names runs in the store that older code made
    from a spec of this plan. `jobs` lists what Snakemake would run for what is missing, and what each job
    asks for at its first attempt.

    Args:
        root: the folder that holds `results/`.
    """
    layout = Layout(root / "results" / plan.scale)
    recorded = Recorded(plan, layout)
    records = {(name, seed): record for name in recorded.names for seed, record in recorded.of(name).items()}
    done, hours = _done(plan, layout, recorded), _hours(plan, recorded)
    artifacts = {}
    for artifact in plan.artifacts.values():
        trainings = {
            (run_id(spec), seed)
            for member in artifact.members
            for spec, seeds in chain(member.run, member.seeds)
            for seed in seeds
        }
        artifacts[artifact.id] = _summary(plan, trainings, done, hours)
    jobs = _jobs(plan, layout, Estimator(plan, layout, recorded))
    whole = total(plan, layout, recorded)
    return {"scale": plan.scale, "artifacts": artifacts, **whole, "stale": _stale(plan, records), "jobs": jobs}


def total(plan: Plan, layout: Layout, recorded: Recorded) -> dict[str, Any]:
    """What `audit` says of everything together, for a dry run, which must not wait for the rest."""
    everything = {(name, seed) for name, seeds in plan.seeds.items() for seed in seeds}
    summary = _summary(plan, everything, _done(plan, layout, recorded), _hours(plan, recorded))
    return {"scale": plan.scale, **summary}


def _done(plan: Plan, layout: Layout, recorded: Recorded) -> set[tuple[str, int]]:
    return {
        (name, seed)
        for name, seeds in plan.seeds.items()
        for seed in set(seeds) & set(recorded.of(name))
        if _complete(layout, name, seed, plan.runs[name].task)
    }


def _hours(plan: Plan, recorded: Recorded) -> dict[str, tuple[float, str]]:
    return {name: recorded.hours(name) for name in plan.runs}


def _jobs(plan: Plan, layout: Layout, estimator: Estimator) -> list[dict[str, Any]]:
    """Every job that computes and is yet to run: caches count where a training reads them, probes where an artifact
    is not measured yet."""
    trainings = training_packs(plan, layout)
    missing = [p for p in trainings if any(_is_unpublished(m.output.parent, m.run.task) for m in p.members)]
    wanted = {path for pack in missing for path in pack.inputs}
    for artifact in plan.artifacts.values():
        rows = [place(artifact.paper, artifact.name) for place in (layout.metrics, layout.plotted, layout.inputs)]
        if not all(path.exists() for path in rows):
            wanted |= {
                layout.probe(run_id(member.run), seed, probe_id(probe))
                for family, probe in artifact.probes
                for member in artifact.family(family)
                for seed in member.seeds
            }
    for pack in (*cache_packs(plan, layout), *probe_packs(plan, layout), *translation_packs(plan, layout)):
        if any(path in wanted and not path.exists() for path in pack.outputs):
            missing.append(pack)
    return [
        {"rule": pack.rule, "members": len(pack.members), **dataclasses.asdict(estimator.of(pack))} for pack in missing
    ]


def _is_unpublished(folder: Path, task: str) -> bool:
    return not all((folder / file).exists() for file in Layout.run_files(task))


def _complete(layout: Layout, name: str, seed: int, task: str) -> bool:
    places = (layout.store(name, seed), layout.run(name, seed))
    return all(any((place / file).exists() for place in places) for file in layout.run_files(task))


def _caching_hours(plan: Plan, trainings: Iterable[Training]) -> float:
    """Device hours of the caches behind some trainings, shared ones counted once, by FLOPs."""
    needs = {(need.id, need.seed(seed)): need for name, seed in trainings for need in caches_of(plan.runs[name])}
    return sum((costs.caching_flops(need) or 0.0) / plan.rate(need.student) for need in needs.values()) / 3600


def _summary(
    plan: Plan, trainings: set[Training], done: set[Training], hours: dict[str, tuple[float, str]]
) -> dict[str, Any]:
    sources = {hours[name][1] for name, _ in trainings}
    missing = trainings - done
    return {
        "runs": len({name for name, _ in trainings}),
        "trainings": len(trainings),
        "done": len(trainings & done),
        "missing": len(missing),
        "cache_bytes": costs.cache_bytes(plan, trainings),
        "device_hours": _rounded([*(hours[name][0] for name, _ in sorted(trainings)), _caching_hours(plan, trainings)]),
        "hours_missing": _rounded([*(hours[name][0] for name, _ in sorted(missing)), _caching_hours(plan, missing)]),
        "hours_source": sources.pop() if len(sources) == 1 else "mixed" if sources else "no runs",
    }


def _rounded(hours: Iterable[float]) -> float:
    return float(f"{sum(hours):.6g}")


def _stale(plan: Plan, records: dict[Training, dict[str, Any]]) -> list[str]:
    wanted = {spec_digest(run) for run in plan.runs.values()}
    return sorted(
        {name for (name, _), r in records.items() if name not in plan.runs and r.get("spec_digest") in wanted}
    )


def render(found: dict[str, Any]) -> str:
    """An audit as a table to read."""
    columns = ("artifact", "runs", "trainings", "done", "missing", "cache", "hours", "left", "from")
    rows = [_row(name, entry) for name, entry in (*found["artifacts"].items(), ("all, shared runs once", found))]
    lines = _table(columns, rows)
    lines.insert(-1, lines[1])
    head = f"scale {found['scale']}: device hours of all trainings and of those left, from recorded runs or FLOPs"
    stale = [f"made by older code, kept but not used: {name}" for name in found["stale"]]
    return "\n".join([head, *lines, *stale])


def render_total(found: dict[str, Any]) -> str:
    """What all of an audit costs, in one line."""
    return (
        f"scale {found['scale']}: {found['trainings']} trainings, {found['done']} of them done; "
        f"{_say_hours(found['device_hours'])} of device time, {_say_hours(found['hours_missing'])} left; "
        f"{_say_bytes(found['cache_bytes'])} of logits caches (softlabels audit tells them apart)"
    )


def render_jobs(found: dict[str, Any]) -> str:
    """What each job of an audit asks for, as a table to read."""
    columns = ("job", "members", "gpu", "cpus", "memory", "time", "disk")
    rows = [
        (
            job["rule"],
            str(job["members"]),
            f"{job['shards']} shards" if job["shards"] else "as profile" if job["gpu"] is None else str(job["gpu"]),
            str(job["cpus"]),
            f"{job['mem_mb']} MB",
            f"{job['minutes']} min",
            f"{job['disk_mb']} MB",
        )
        for job in found["jobs"]
    ]
    head = f"{len(rows)} jobs to run, and what each asks for at its first attempt"
    return "\n".join([head, *_table(columns, rows)])


def _table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[i]) for row in (columns, *rows)) for i in range(len(columns))]
    lines = [
        "  ".join(cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
        for row in (columns, *rows)
    ]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]


def _row(name: str, entry: dict[str, Any]) -> tuple[str, ...]:
    counts = [str(entry[column]) for column in ("runs", "trainings", "done", "missing")]
    hours = [_say_hours(entry["device_hours"]), _say_hours(entry["hours_missing"])]
    return (name, *counts, _say_bytes(entry["cache_bytes"]), *hours, entry["hours_source"])


def _say_hours(hours: float) -> str:
    return f"{hours:.0f} h" if hours >= 10 else f"{hours:.1f} h" if hours >= 1 else f"{hours * 60:.1f} min"


def _say_bytes(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"
