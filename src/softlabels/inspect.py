"""Look into the store: all about one run, and what no current grid needs. No torch."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import yaml

from softlabels.errors import SpecError
from softlabels.files import read_json
from softlabels.grid.costs import forward_flops
from softlabels.grid.identity import caches_of, dataset_id, run_id
from softlabels.grid.plan import Plan
from softlabels.grid.spec import initial_of, parents_of, reference_of, teacher_of, to_dict
from softlabels.layout import Layout
from softlabels.lease import describe, holder
from softlabels.store import finished


def show(plan: Plan, layout: Layout, beginning: str) -> str:
    """A readable page about the one run whose id begins so.

    Raises:
        SpecError: no run, or several, begin so.
    """
    found = [name for name in plan.runs if name.startswith(beginning)]
    if len(found) != 1:
        names = found or list(plan.runs)
        listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        raise SpecError(f"{len(found)} runs of scale {plan.scale} begin with {beginning!r}; choose of {listed}")
    name = found[0]
    spec, needs = plan.runs[name], caches_of(plan.runs[name])
    page = to_dict(spec)
    places = {"initial": page, "teacher": page["targets"], "entropy_of": page["targets"].get("temperature")}
    for origin, parent in parents_of(spec):
        role = "entropy_of" if parent is reference_of(spec) else parent.role
        places[role][role]["run"] = run_id(origin)
    flops = forward_flops(spec)
    wanted = [a.target for a in plan.artifacts.values() if any(run_id(m.run) == name for m in a.members)]
    taught = [n for n, other in plan.runs.items() if (t := teacher_of(other)) and t.run == spec]
    softens = [n for n, other in plan.runs.items() if (r := reference_of(other)) and r.run == spec]
    begun = [n for n, other in plan.runs.items() if (i := initial_of(other)) and i.run == spec]
    seeds = {seed: _state(layout.store(name, seed)) for seed in plan.seeds[name]}
    facts = {
        "run": name,
        "artifacts": wanted,
        "teaches": taught,
        "sets_temperature_of": softens,
        "begins": begun,
        "data": str(layout.data(dataset_id(spec.dataset))),
        "store": str(layout.store(name, 0).parent),
        "cache": "; ".join(f"{layout.cache(need.id, 0).parent} ({need.bytes:,} bytes a seed)" for need in needs),
        f"forward_flops_per_{'picture' if spec.task == 'image' else 'token'}": flops,
        "seeds": seeds,
        "spec": page,
    }
    return yaml.safe_dump(
        {k: v for k, v in facts.items() if v}, sort_keys=False, allow_unicode=True, width=1000
    ).rstrip()


def _state(folder: Path) -> str:
    """Finished, at work, stopped or missing, and how far."""
    record = finished(folder)
    if record is not None:
        spent = f"{record['steps']} steps in {record['seconds']} s on {record['device']}"
        return f"finished, {spent}, best at {record['best_step']}, {_sat(record.get('sittings', []))}"
    if not (folder / "progress.json").exists():
        return "missing"
    progress = read_json(folder / "progress.json")
    owner = holder(folder)
    who = f"{describe(owner)} is at work" if owner else "nobody is at work"
    return f"step {progress['step']} of {progress['steps']}, {who}, {_sat(progress['sittings'])}"


def _sat(sittings: list[dict[str, int]]) -> str:
    """In how many jobs a training was done, and what that cost."""
    again = sum(sitting["recomputed"] for sitting in sittings)
    return f"{len(sittings)} sitting{'s' * (len(sittings) != 1)}, {again} steps computed again"


def collect_garbage(plan: Plan, layout: Layout, remove: bool) -> str:
    """List (with `remove`: delete) what no artifact of the plan needs, but for folders a job is at work in."""
    caches = {need.id for spec in plan.runs.values() for need in caches_of(spec)}
    unneeded = [
        *_others(layout.root / "store", set(plan.runs)),
        *_others(layout.root / "runs", set(plan.runs)),
        *_others(layout.root / "probes", set(plan.runs)),
        *_others(layout.root / "cache", caches),
    ]
    lines = [f"{_size(path):>15,} bytes  {path}" for path in unneeded]
    if remove:
        for path in unneeded:
            shutil.rmtree(path)
    total = "removed" if remove else "not needed by any current grid; --remove deletes them"
    return "\n".join([*lines, f"{len(unneeded)} folders {total}"])


def _others(folder: Path, needed: set[str]) -> Iterator[Path]:
    if folder.exists():
        for path in sorted(folder.iterdir()):
            if path.is_dir() and path.name not in needed and not any(map(holder, path.glob("seed*"))):
                yield path


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
