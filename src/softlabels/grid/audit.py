"""What would run, what is there, what it costs: `softlabels audit`. Needs neither data nor torch."""

from __future__ import annotations

import dataclasses
import difflib
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from softlabels.errors import SpecError
from softlabels.files import read_json
from softlabels.grid import costs
from softlabels.grid.identity import CacheNeed, run_id, spec_digest
from softlabels.grid.jobs import Job, artifact_jobs, behind, every_job
from softlabels.grid.plan import Artifact, Plan
from softlabels.grid.resources import Estimator, Recorded
from softlabels.grid.spec import Distill, Run
from softlabels.layout import Layout

JobsByOutput = Mapping[Path, Job]


def audit(plan: Plan, root: Path, names: Collection[str] = ()) -> dict[str, Any]:
    """The state and the cost of artifacts with their whole chains of teachers.

    `trainings` = runs × seeds, shared ones counted once in the totals; `device_hours` and `cache_bytes`
    are those of all jobs, done or not, and `hours_missing` of what is left. Hours of a training are those of recorded
    ones of the same run, else of runs that differ in targets only ("recorded"), else operations
    divided by the scale's assumed rate ("flops"), plus the time that starting takes. Caches, probes and translations
    are counted by operations. `stale` names runs in the store that older code made from a spec of this plan. `jobs`
    lists what Snakemake would run for what is missing, and what each job asks for at its first attempt.
    `warnings` are sentences about what can be run and probably should not.

    Args:
        root: the folder that holds `results/`.
        names: artifacts (`muller2019_fig5` or `muller2019.fig5`); none: all of them.

    Raises:
        SpecError: there is no such artifact; the nearest name is said.
    """
    layout = Layout(root / "results" / plan.scale)
    recorded = Recorded(plan, layout)
    done = _done(plan, layout, recorded)
    wanted = dict.fromkeys(artifact_of(plan, name).id for name in names) or plan.artifacts
    jobs = {name: artifact_jobs(plan.artifacts[name], layout) for name in wanted}
    everything = {path: job for found in jobs.values() for path, job in found.items()}
    return {
        "scale": plan.scale,
        "artifacts": {name: _summary(found, done, recorded) for name, found in jobs.items()},
        **_summary(everything, done, recorded),
        "free_bytes": _free_bytes(root),
        "stale": _stale(plan, recorded),
        "warnings": warnings_about(plan, everything),
        "jobs": _missing_jobs(plan, layout, wanted, Estimator(plan, layout, recorded)),
    }


def total(plan: Plan, root: Path, targets: Collection[str]) -> dict[str, Any]:
    """What `audit` says of everything behind Snakemake's targets together; none: all artifacts (raises as `audit`)."""
    layout = Layout(root / "results" / plan.scale)
    recorded = Recorded(plan, layout)
    jobs = jobs_behind(plan, layout, targets)
    summary = _summary(jobs, _done(plan, layout, recorded), recorded)
    said = {"free_bytes": _free_bytes(root), "warnings": warnings_about(plan, jobs)}
    return {"scale": plan.scale, "targets": list(targets), **summary, **said}


def seconds_left(plan: Plan, root: Path, targets: Collection[str]) -> dict[Path, float]:
    """Files behind Snakemake's targets that are not there → estimated seconds of making each (raises as `audit`)."""
    layout = Layout(root / "results" / plan.scale)
    recorded = Recorded(plan, layout)
    found = {path: recorded.seconds(job)[0] for path, job in jobs_behind(plan, layout, targets).items()}
    for a in [a for a in plan.artifacts.values() if a.target in targets] or plan.artifacts.values():
        made = (layout.metrics(a.paper, a.name), layout.output(a.kind, a.paper, a.name, ".csv"))
        found |= dict.fromkeys(made, costs.ANALYSIS_SECONDS)
    return {path: seconds for path, seconds in found.items() if not path.exists()}


def artifact_of(plan: Plan, name: str) -> Artifact:
    """The artifact that is called so, as an id or as a target.

    Raises:
        SpecError: none; the nearest name is said.
    """
    known = {called: a for a in plan.artifacts.values() for called in (a.id, a.target)}
    if name not in known:
        raise unknown(f"{name!r} is no artifact of scale {plan.scale}", name, known)
    return known[name]


def jobs_behind(plan: Plan, layout: Layout, targets: Collection[str]) -> dict[Path, Job]:
    """The jobs behind targets of Snakemake together, shared ones once; none: all of the plan.

    Raises:
        SpecError: a file of a run, cache, probe, seed, artifact or scale that the plan does not have.
    """
    if not targets:
        return every_job(plan, layout)
    return {path: job for target in targets for path, job in _behind(plan, layout, target).items()}


def _behind(plan: Plan, layout: Layout, target: str) -> dict[Path, Job]:
    """Of an artifact, a file below the scale's folder, or a rule, which asks for everything."""
    artifacts = {a.target: a for a in plan.artifacts.values()}
    if target in artifacts:
        return artifact_jobs(artifacts[target], layout)
    if "/" not in target:
        return every_job(plan, layout)
    top, scale, *parts = (*Path(target).parts, "")
    if top != layout.root.parts[-2] or scale == "data":
        return {}
    if scale != plan.scale:
        raise SpecError(f"{target} is of another scale than {plan.scale}; say --config scale={scale}")
    match [part for part in parts if part]:
        case ["figures" | "tables" | "metrics", paper, file]:
            return artifact_jobs(artifact_of(plan, f"{paper}.{file.split('.')[0]}"), layout)
        case ["runs" | "cache" | "probes" as kind, name, seed, _]:
            if (job := every_job(plan, layout).get(layout.root.joinpath(*parts[:4]))) is not None:
                return behind(job)
            _refuse(plan, layout, target, kind, name, seed)
        case [_]:  # what is made of all artifacts
            return every_job(plan, layout)
    raise unknown(f"{target} is no file that a rule makes", target, artifacts)


def _refuse(plan: Plan, layout: Layout, target: str, kind: str, name: str, seed: str) -> NoReturn:
    """Say what is wrong with a file below `kind`: the run or cache, the seed, or the file itself."""
    caches = costs.needed_caches(plan)
    known = {cache: seeds for cache, (_, seeds) in caches.items()} if kind == "cache" else plan.seeds
    what = "needs this cache" if kind == "cache" else "has this run"
    if name not in known:
        raise unknown(f"{target}: no grid of scale {plan.scale} {what}", name, known)
    if seed not in {f"seed{k}" for k in known[name]}:
        seeds = ", ".join(map(str, known[name]))
        raise SpecError(f"{target}: the plan has the seeds {seeds} of it; raise `seeds` of the configuration for more")
    made = [str(path.relative_to(layout.root.parents[1])) for path in every_job(plan, layout)]
    raise unknown(f"{target} is no file that a rule makes", target, [path for path in made if f"/{name}/" in path])


def warnings_about(plan: Plan, jobs: JobsByOutput) -> list[str]:
    """Of runs that can be trained and probably should not, and of those that are not trained as their recipes say."""
    runs = {run_id(job.run): job.run for job in jobs.values() if job.makes is None}
    lowered, flat = plan.in_fp32 & runs.keys(), [name for name, run in runs.items() if _is_flat(run)]
    found = []
    if lowered:
        found.append(
            f"device: cpu: {len(lowered)} runs whose recipes say bf16 are planned in fp32, under ids of their own, as "
            "a CPU has no units for bf16"
        )
    if flat:
        found.append(
            f"warning: {len(flat)} runs distil from topk_lse caches above T = 2, where the evenly spread rest of the "
            f"mass teaches little ({flat[0]}{', …' if len(flat) > 1 else ''}); use cache: features unless that is "
            "the question"
        )
    return found


def _is_flat(run: Run) -> bool:
    targets = run.targets
    return isinstance(targets, Distill) and targets.cache == "topk_lse" and targets.given_temperature > 2


def require_known(plan: Plan, layout: Layout, targets: Iterable[str], rules: Collection[str]) -> None:
    """Refuse targets of Snakemake that nothing makes, before it looks for a rule.

    Args:
        rules: names of rules, short targets among them.

    Raises:
        SpecError: the first such target; the nearest name is said.
    """
    for target in targets:
        if "/" in target:
            _behind(plan, layout, target)
        elif target not in rules and not Path(target).exists():
            raise unknown(f"{target!r} is neither an artifact nor a rule", target, rules)


def unknown(sentence: str, name: str, known: Iterable[str]) -> SpecError:
    """An error about a name that does not exist, with the nearest that does."""
    nearest = difflib.get_close_matches(name, list(known), 1, 0.4)
    way_out = f"the nearest is {nearest[0]}" if nearest else "softlabels audit lists all artifacts"
    return SpecError(f"{sentence}; {way_out}")


def _free_bytes(root: Path) -> int:
    """Of the disk on which results are, or will be."""
    place = (root / "results").absolute()
    return shutil.disk_usage(next(folder for folder in (place, *place.parents) if folder.exists())).free


def _done(plan: Plan, layout: Layout, recorded: Recorded) -> set[Path]:
    """Outputs of trainings that the store holds."""
    return {
        Job(plan.runs[name], seed, None, layout).output
        for name, seeds in plan.seeds.items()
        for seed in set(seeds) & set(recorded.of(name))
        if _complete(layout, name, seed, plan.runs[name].task)
    }


def _missing_jobs(plan: Plan, layout: Layout, names: Iterable[str], estimator: Estimator) -> list[dict[str, Any]]:
    """Every job that computes and that Snakemake would run: a training whose record is not there, a probe that an
    artifact has not been measured on yet, what is not there and one of these reads, and what reads it: a job whose
    lost input is made again runs again, be it only to see that nothing is left to do."""
    jobs: dict[Path, Job] = {}
    reads: dict[Path, list[Path]] = {}  # of jobs by their outputs, and of measuring by its rows
    wanted: list[Path] = []
    for artifact in (plan.artifacts[name] for name in names):
        found = artifact_jobs(artifact, layout)
        probes = [path for path, job in found.items() if job.rule in ("evaluate", "translate")]
        rows, measured = layout.metrics(artifact.paper, artifact.name), _measured_on(artifact, layout)
        reads[rows] = probes + [Job(m.run, seed, None, layout).output for m in artifact.members for seed in m.seeds]
        if any(str(path.relative_to(layout.root)) not in measured for path in probes):
            wanted.append(rows)
        jobs |= found
    reads |= {path: job.inputs for path, job in jobs.items()}
    lost = {path for path in jobs if not path.exists()}
    readers: dict[Path, list[Path]] = {}
    for path, sources in reads.items():
        for source in lost.intersection(sources):
            readers.setdefault(source, []).append(path)
    wanted += [path for path in lost if jobs[path].makes is None]
    run: set[Path] = set()
    while wanted:
        if (path := wanted.pop()) not in run:
            run.add(path)
            wanted += [*lost.intersection(reads[path]), *readers.get(path, ())]
    return [
        {"rule": job.rule, "output": str(path.relative_to(layout.root)), **dataclasses.asdict(estimator.of(job))}
        for path, job in jobs.items()
        if path in run
    ]


def _measured_on(artifact: Artifact, layout: Layout) -> Collection[str]:
    """The files below the scale's folder that an artifact is measured on; none where it is not, or not wholly."""
    rows = [place(artifact.paper, artifact.name) for place in (layout.metrics, layout.plotted, layout.inputs)]
    files: dict[str, str] = read_json(rows[-1])["files"] if all(path.exists() for path in rows) else {}
    return files


def _complete(layout: Layout, name: str, seed: int, task: str) -> bool:
    places = (layout.store(name, seed), layout.run(name, seed))
    return all(any((place / file).exists() for place in places) for file in layout.run_files(task))


def _summary(jobs: JobsByOutput, done: set[Path], recorded: Recorded) -> dict[str, Any]:
    """Counts and costs of some jobs; a cache or a probe whose file is there is not left."""
    trainings = [path for path, job in jobs.items() if job.makes is None]
    seconds = {path: recorded.seconds(job) for path, job in jobs.items()}
    left = [path for path, job in jobs.items() if not (path in done if job.makes is None else path.exists())]
    sources = {seconds[path][1] for path in trainings}
    return {
        "runs": len({run_id(jobs[path].run) for path in trainings}),
        "trainings": len(trainings),
        "done": sum(path in done for path in trainings),
        "missing": sum(path not in done for path in trainings),
        "cache_bytes": sum(job.makes.bytes for job in jobs.values() if isinstance(job.makes, CacheNeed)),
        "device_hours": _rounded(seconds[path][0] / 3600 for path in sorted(jobs)),
        "hours_missing": _rounded(seconds[path][0] / 3600 for path in sorted(left)),
        "hours_source": sources.pop() if len(sources) == 1 else "mixed" if sources else "no runs",
    }


def _rounded(hours: Iterable[float]) -> float:
    return float(f"{sum(hours):.6g}")


def _stale(plan: Plan, recorded: Recorded) -> list[str]:
    wanted = {spec_digest(run) for run in plan.runs.values()}
    older = (name for name in recorded.names if name not in plan.runs)
    return sorted(name for name in older if any(r.get("spec_digest") in wanted for r in recorded.of(name).values()))


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
    """What everything behind some targets costs, in three lines, and then what should not be run."""
    hours, left = _say_hours(found["device_hours"]), _say_hours(found["hours_missing"])
    caches, free = _say_bytes(found["cache_bytes"]), _say_bytes(found["free_bytes"])
    return "\n".join(
        [
            f"scale {found['scale']}, {', '.join(found['targets']) or 'all artifacts'}:",
            f"  {found['trainings']} trainings, {found['done']} of them done; {hours} of device time, {left} left",
            f"  {caches} of logits caches; {free} free on this disk",
            *found["warnings"],
        ]
    )


def render_jobs(found: dict[str, Any]) -> str:
    """What each job of an audit asks for, as a table to read."""
    columns = ("rule", "gpu", "cpus", "memory", "time", "disk", "output")
    rows = [
        (
            job["rule"],
            f"{job['shards']} shards" if job["shards"] else "as profile" if job["gpu"] is None else str(job["gpu"]),
            str(job["cpus"]),
            f"{job['mem_mb']} MB",
            f"{job['minutes']} min",
            f"{job['disk_mb']} MB",
            job["output"],
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
