"""All about one run or one artifact, and what no current grid needs. No torch."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from softlabels.errors import SpecError
from softlabels.figures.drawing import KINDS, module_of
from softlabels.files import read_json
from softlabels.grid.identity import caches_of, dataset_id, run_id
from softlabels.grid.plan import Artifact, Plan
from softlabels.grid.spec import initial_of, parents_of, reference_of, teacher_of, to_dict
from softlabels.grid.tasks import task_of
from softlabels.layout import Layout
from softlabels.lease import describe, holder
from softlabels.metrics.agreement import describe as describe_agreement
from softlabels.store import attempts_of, finished


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
    flops = task_of(spec).forward_flops()
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
        f"forward_flops_per_{'image' if spec.task == 'image' else 'token'}": flops,
        "seeds": seeds,
        "agreement_with_labels": _agreement(layout, name, plan.seeds[name]),
        "spec": page,
    }
    return _page(facts)


def show_artifact(plan: Plan, layout: Layout, artifact: Artifact, root: Path, config: Path) -> str:
    """A readable page about a figure or table: where it is declared, where its code is, how it is made.

    Args:
        root: the folder that holds `workflow/`.
        config: the configuration file, whose `grid` may declare it.

    Raises:
        SpecError: its drawing module is the user's and cannot be imported.
    """
    module = module_of(artifact)
    code = _below(Path(str(module.__file__)), root)
    functions = {"measured": module.measure, "drawn": getattr(module, KINDS[artifact.kind])}
    suffixes = (".pdf", ".png", ".csv") if artifact.kind == "figure" else (".csv", ".md")
    return _page(
        {
            "artifact": artifact.id,
            "title": artifact.title,
            "declared": _declaration(artifact, root, config),
            **{step: f"{code}:{f.__code__.co_firstlineno} ({f.__name__})" for step, f in functions.items()},
            "make": f"snakemake {artifact.target} --config scale={plan.scale}",
            "files": [str(layout.output(artifact.kind, artifact.paper, artifact.name, suffix)) for suffix in suffixes],
            "numbers": str(layout.metrics(artifact.paper, artifact.name)),
            "notes": list(artifact.notes),
            "seeds": {run_id(m.run): ", ".join(map(str, m.seeds)) for m in artifact.members},
        }
    )


def _declaration(artifact: Artifact, root: Path, config: Path) -> str:
    """`workflow/grids/muller2019.yaml:190 (artifacts.fig5)`, or a line of the configuration."""
    for file in sorted((root / "workflow" / "grids").rglob("*.yaml")):
        text = file.read_text()
        is_of_paper = re.search(rf"^paper: *{re.escape(artifact.paper)}\b", text, re.MULTILINE)
        if is_of_paper and (line := _line(text, "artifacts", artifact.name)):
            return f"{_below(file, root)}:{line} (artifacts.{artifact.name})"
    line = _line(config.read_text(), "grid", "artifacts", artifact.name)
    return f"{config}:{line} (grid.artifacts.{artifact.name})" if line else f"{config} (grid)"


def _line(text: str, *keys: str) -> int | None:
    """The line of a nested key in YAML, counted from 1; None where it is not there."""
    node, line = yaml.compose(text, yaml.SafeLoader), None
    for key in keys:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        found = next(((name, value) for name, value in pairs if name.value == key), None)
        if found is None:
            return None
        line, node = found[0].start_mark.line + 1, found[1]
    return line


def _below(path: Path, root: Path) -> Path:
    return path.relative_to(root) if path.is_relative_to(root) else path


def _page(facts: dict[str, Any]) -> str:
    shown = {name: value for name, value in facts.items() if value}
    return yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=1000).rstrip()


def _state(folder: Path) -> str:
    """Finished, at work, stopped or missing, and how far."""
    record = finished(folder)
    if record is not None:
        spent = f"{record['steps']} steps in {record['seconds']} s on {record['device']}"
        return f"finished, {spent}, best at {record['best_step']}, {_attempts(record)}"
    if not (folder / "progress.json").exists():
        return "missing"
    progress = read_json(folder / "progress.json")
    owner = holder(folder)
    who = f"{describe(owner)} is at work" if owner else "nobody is at work"
    return f"step {progress['step']} of {progress['steps']}, {who}, {_attempts(progress)}"


def _agreement(layout: Layout, run: str, seeds: Iterable[int]) -> dict[int, str]:
    """Of the teacher, or of the user's network that a run begins with, for each finished seed."""
    said = {}
    for seed in seeds:
        record = finished(layout.store(run, seed)) or {}
        found = [record[key] for key in ("teacher_agreement", "initial_agreement") if record.get(key)]
        if found:
            said[seed] = "; ".join(f"{one.get('file', 'teacher')}: {describe_agreement(one)}" for one in found)
    return said


def _attempts(record: Mapping[str, Any]) -> str:
    """In how many jobs a training was done, and what that cost."""
    attempts = attempts_of(record)
    again = sum(attempt["recomputed"] for attempt in attempts)
    return f"{len(attempts)} attempt{'s' * (len(attempts) != 1)}, {again} steps computed again"


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
