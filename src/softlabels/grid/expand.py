"""A configuration to the runs it asks for: grid files, a scale's substitutions, and seeds become a `Plan`.

A grid declares families of runs over axes; `$axis` stands in for the value on an axis. An artifact lists
the families it draws. Equal specs are one run, whatever family declared them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from softlabels.errors import SpecError
from softlabels.figures.declared import check as check_drawable
from softlabels.grid.config import numbers, read_yaml, validate
from softlabels.grid.families import Grid
from softlabels.grid.identity import run_id
from softlabels.grid.parse import key, require_known
from softlabels.grid.plan import Artifact, Jobs, Plan, chain
from softlabels.grid.spec import Distill, Run, to_dict

DEFAULTS: dict[str, Any] = {
    "scale": "demo",
    "papers": ["muller2019", "chandrasegaran2022", "yuan2020", "zhang2020", "ablations"],
    "seeds": None,
    "variants": False,
    "thin": True,
    "device": "auto",
    "jobs": {},
    "cache": {},
    "grid": None,
}


def load_plan(config: Mapping[str, Any], root: Path) -> Plan:
    """The plan of a configuration (`config.yaml`, with what the command line put on top of it).

    Args:
        config: parsed; every key may be left out.
        root: the folder that holds `workflow/`.

    Raises:
        SpecError: anything in configuration, grid or scale that cannot be used, in one sentence.
    """
    schemas = root / "workflow" / "schemas"
    # What `snakemake --config` cannot read as Python (true, [0, 3]) arrives as text.
    try:
        config = numbers({k: yaml.safe_load(v) if isinstance(v, str) else v for k, v in config.items()})
    except yaml.YAMLError as error:
        raise SpecError(f"--config: a value is no YAML ({' '.join(str(error).split())})") from None
    validate(config, "config", schemas, "config.yaml")
    settings = {**DEFAULTS, **config}
    scale_file = root / "workflow" / "scales" / f"{settings['scale']}.yaml"
    if not scale_file.exists():
        known = ", ".join(sorted(path.stem for path in scale_file.parent.glob("*.yaml")))
        raise SpecError(f"config.yaml: scale: there is no scale {settings['scale']!r}; there are {known}")
    scale = read_yaml(scale_file)
    validate(scale, "scale", schemas, _relative(scale_file, root))
    if not settings["thin"]:
        scale = {**scale, "thin": {}}

    # All of them, whatever is asked for: a scale that names what no grid has would replace nothing, in silence.
    papers = {}
    for path in sorted((root / "workflow" / "grids").iterdir()):
        if not path.is_dir() and path.suffix != ".yaml":
            continue
        content = read_grid(path, schemas, root)
        papers[path.stem] = Grid(content, f"{_relative(path, root)}:", scale, _relative(scale_file, root))
    _check_names(scale, f"{_relative(scale_file, root)}:", [grid.grid for grid in papers.values()])
    grids = []
    for paper in settings["papers"]:
        if paper not in papers:
            raise SpecError(f"config.yaml: papers: there is no grid of {paper!r}; there are {', '.join(papers)}")
        grids.append(papers[paper])
    if settings["grid"] is not None:
        # A scale replaces what the papers used; a user's own data stay what they are.
        only_size = {name: scale[name] for name in ("scale", "block", "pack", "flops_per_second")}
        only_size["translation_flops_per_second"] = scale.get("translation_flops_per_second")
        grids.append(Grid(settings["grid"], "config.yaml: grid", only_size, ""))

    artifacts: dict[str, Artifact] = {}
    for grid in grids:
        for artifact in grid.artifacts(settings["seeds"], settings["variants"]):
            if artifact.id in artifacts:
                raise SpecError(f"{grid.where} artifact {artifact.id} is declared twice")
            check_drawable(artifact)
            artifacts[artifact.id] = artifact
    runs, seeds = _shared_runs(artifacts.values())
    return Plan(
        scale=scale["scale"],
        artifacts=artifacts,
        runs=runs,
        seeds=seeds,
        block=scale["block"],
        pack=scale["pack"],
        flops_per_second=float(scale["flops_per_second"]),
        translation_flops_per_second=scale.get("translation_flops_per_second"),
        max_cache_bytes=None if (limit := settings["cache"].get("max_bytes")) is None else int(limit),
        pack_minutes=scale.get("pack_minutes"),
        jobs=Jobs(device=settings["device"], **settings["jobs"]),
        warnings=tuple(_warnings(runs)),
    )


def _check_names(scale: Mapping[str, Any], where: str, grids: Sequence[Mapping[str, Any]]) -> None:
    """Refuse what a scale says of a data set, network, recipe, weights, paper or artifact that no grid has."""
    for section, replaced in (scale.get("substitute") or {}).items():
        known = {name for grid in grids for name in grid.get(section, ())}
        if section == "models":
            known |= {f"{data}/{model}" for grid in grids for data in grid["datasets"] for model in grid["models"]}
        for name in replaced:
            require_known(name, sorted(known), key(where, f"substitute.{section}"), f"the {section} of any grid")
    for paper in scale.get("thin") or {}:
        require_known(paper, [grid["paper"] for grid in grids], key(where, "thin"), "the papers that have a grid")
    artifacts = [f"{grid['paper']}.{name}" for grid in grids for name in grid["artifacts"]]
    for artifact in scale.get("artifacts") or {}:
        require_known(artifact, artifacts, key(where, "artifacts"), "the artifacts of any grid")


def _warnings(runs: Mapping[str, Run]) -> Iterator[str]:
    flat = [
        name
        for name, run in runs.items()
        if isinstance(run.targets, Distill) and run.targets.cache == "topk_lse" and run.targets.given_temperature > 2
    ]
    if flat:
        yield (
            f"warning: {len(flat)} runs distil from topk_lse caches above T = 2, where the evenly spread rest of the "
            f"mass teaches little ({flat[0]}{', …' if len(flat) > 1 else ''}); use cache: features unless that is the "
            "question"
        )


def read_grid(path: Path, schemas: Path, root: Path) -> dict[str, Any]:
    """A paper's grid: one file, or a folder of files that say together what one file would.

    Raises:
        SpecError: a file that is no grid, or two files of a folder that declare the same name or different papers.
    """
    grid: dict[str, Any] = {}
    for file in sorted(path.glob("*.yaml")) if path.is_dir() else [path]:
        content, where = read_yaml(file), _relative(file, root)
        validate(content, "grid", schemas, where)
        if content["paper"] != grid.setdefault("paper", content["paper"]):
            raise SpecError(f"{where}: paper: the files of one folder are of one paper, {grid['paper']}")
        for section, names in content.items():
            if section == "paper":
                continue
            if twice := set(names) & set(grid.setdefault(section, {})):
                raise SpecError(f"{where}: {section}.{min(twice)}: another file of the folder declares it too")
            grid[section] |= names
    if not grid:
        raise SpecError(f"{_relative(path, root)} holds no grid; put a .yaml file there, or remove it")
    return grid


def _relative(path: Path, root: Path) -> str:
    return str(path.relative_to(root))


def _shared_runs(artifacts: Iterable[Artifact]) -> tuple[dict[str, Run], dict[str, tuple[int, ...]]]:
    runs: dict[str, Run] = {}
    seeds: dict[str, set[int]] = {}
    for artifact in artifacts:
        for member in artifact.members:
            for spec, needed in chain(member.run, member.seeds):
                name = run_id(spec)
                if to_dict(runs.setdefault(name, spec)) != to_dict(spec):
                    raise SpecError(
                        f"artifact {artifact.id}: two different specs have the id {name}; "
                        "give files of one sha256 by one path, or change a field of one of them"
                    )
                seeds.setdefault(name, set()).update(needed)
    return runs, {name: tuple(sorted(found)) for name, found in seeds.items()}
