"""What would run, what is there, what it costs: `softlabels audit`. Needs neither data nor torch."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from softlabels.errors import SoftlabelsError
from softlabels.files import read_json
from softlabels.grid import costs
from softlabels.grid.expand import chain
from softlabels.grid.identity import needed_cache, run_id, spec_digest
from softlabels.grid.plan import Plan
from softlabels.grid.spec import RunSpec
from softlabels.layout import Layout

Training = tuple[str, int]
"""Run id and seed."""


def audit(plan: Plan, root: Path) -> dict[str, Any]:
    """The state and the cost of every artifact with its whole chain of teachers.

    `trainings` = runs × seeds, shared ones counted once in the totals; `device_hours` and `cache_bytes`
    are those of all trainings, done or not, and `hours_missing` of what is left. Hours are those of recorded
    trainings of the same run, else of runs that differ in targets only ("benchmark"), else operations
    divided by the scale's assumed rate ("flops"). `stale` names runs in the store that older code made
    from a spec of this plan.

    Args:
        root: the folder that holds `results/`.
    """
    layout = Layout(root / "results" / plan.scale)
    records = _records(layout)
    done = {
        (name, seed)
        for name, seeds in plan.seeds.items()
        for seed in seeds
        if (name, seed) in records and _complete(layout, name, seed)
    }
    hours = {name: _hours(run, name, plan, records) for name, run in plan.runs.items()}

    artifacts = {}
    for artifact in plan.artifacts.values():
        trainings = {
            (run_id(spec), seed)
            for member in artifact.members
            for spec, seeds in chain(member.run, member.seeds)
            for seed in seeds
        }
        artifacts[artifact.id] = _summary(plan, trainings, done, hours)
    everything = {(name, seed) for name, seeds in plan.seeds.items() for seed in seeds}
    total = _summary(plan, everything, done, hours)
    return {"scale": plan.scale, "artifacts": artifacts, **total, "stale": _stale(plan, records)}


def _records(layout: Layout) -> dict[Training, dict[str, Any]]:
    """`run.json` of every finished training in the store; one that cannot be read counts as not there."""
    records = {}
    for path in layout.root.glob("store/*/seed*/run.json"):
        seed = path.parent.name.removeprefix("seed")
        try:
            record = read_json(path)
        except SoftlabelsError:
            continue
        if seed.isdecimal() and isinstance(record, dict) and record.get("status") == "finished":
            records[path.parent.parent.name, int(seed)] = record
    return records


def _complete(layout: Layout, name: str, seed: int) -> bool:
    places = (layout.store(name, seed), layout.run(name, seed))
    return all(any((place / file).exists() for place in places) for file in layout.RUN_FILES)


def _hours(run: RunSpec, name: str, plan: Plan, records: dict[Training, dict[str, Any]]) -> tuple[float, str]:
    """Device hours of one seed and where they come from."""
    timed = {k: float(r["seconds"]) for k, r in records.items() if isinstance(r.get("seconds"), int | float)}
    same = [seconds for (other, _), seconds in timed.items() if other == name]
    alike = [
        seconds
        for (other, _), seconds in timed.items()
        if other in plan.runs and _without_targets(plan.runs[other]) == _without_targets(run)
    ]
    if same or alike:
        return statistics.fmean(same or alike) / 3600, "benchmark"
    flops = costs.training_flops(run)
    return (0.0, "unknown") if flops is None else (flops / plan.flops_per_second / 3600, "flops")


def _caching_hours(plan: Plan, trainings: Iterable[Training]) -> float:
    """Device hours of the caches behind some trainings, shared ones counted once, by FLOPs."""
    needs = {
        (need.id, need.seed(seed)): need
        for name, seed in trainings
        if (need := needed_cache(plan.runs[name])) is not None
    }
    return sum(costs.caching_flops(need) for need in needs.values()) / plan.flops_per_second / 3600


def _without_targets(run: RunSpec) -> tuple[Any, ...]:
    return run.dataset, run.model, run.recipe


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
        "hours_source": sources.pop() if len(sources) == 1 else "mixed" if sources else "unknown",
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
    widths = [max(len(row[i]) for row in (columns, *rows)) for i in range(len(columns))]
    lines = [
        "  ".join(cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
        for row in (columns, *rows)
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    lines.insert(-1, lines[1])
    head = f"scale {found['scale']}: device hours of all trainings and of those left, from recorded runs or FLOPs"
    stale = [f"made by older code, kept but not used: {name}" for name in found["stale"]]
    return "\n".join([head, *lines, *stale])


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
