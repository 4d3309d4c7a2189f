"""A configuration to the runs it asks for: grid files, a scale's substitutions, and seeds become a `Plan`.

A grid declares families of runs over axes; `$axis` stands in for the value on an axis. An artifact lists
the families it draws. Equal specs are one run, whatever family declared them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from softlabels.errors import SpecError
from softlabels.figures.drawing import check as check_drawable
from softlabels.figures.drawing import check_teachers
from softlabels.grid.config import Config, GridFile, ScaleFile, numbers, read_yaml, with_new_names
from softlabels.grid.families import Grid
from softlabels.grid.identity import run_id
from softlabels.grid.parse import from_dict, key, require_known
from softlabels.grid.plan import Artifact, Jobs, Plan, chain
from softlabels.grid.spec import Run, to_dict


def load_plan(config: Mapping[str, Any], root: Path) -> Plan:
    """The plan of a configuration (`config.yaml`, with what the command line put on top of it).

    Args:
        config: parsed; every key may be left out.
        root: the folder that holds `workflow/`.

    Raises:
        SpecError: anything in configuration, grid or scale that cannot be used, in one sentence.
    """
    # What `snakemake --config` cannot read as Python (true, [0, 3]) arrives as text.
    try:
        config = numbers({k: yaml.safe_load(v) if isinstance(v, str) else v for k, v in config.items()})
    except yaml.YAMLError as error:
        raise SpecError(f"--config: a value is no YAML ({' '.join(str(error).split())})") from None
    config = with_new_names(config, "config.yaml:")
    settings = from_dict(Config, config, "config.yaml:")
    scale, scale_where = read_scale(settings.scale, root)
    if not settings.subsample:
        scale = {**scale, "subsample": {}}

    # All of them, whatever is asked for: a scale that names what no grid has would replace nothing, in silence.
    on_cpu = settings.device == "cpu"
    papers = {}
    for path in sorted((root / "workflow" / "grids").iterdir()):
        if not path.is_dir() and path.suffix != ".yaml":
            continue
        content = read_grid(path, root)
        papers[path.stem] = Grid(content, f"{_relative(path, root)}:", scale, scale_where, on_cpu)
    _check_names(scale, f"{scale_where}:", [grid.grid for grid in papers.values()])
    grids = []
    for paper in settings.papers:
        if paper not in papers:
            raise SpecError(f"config.yaml: papers: there is no grid of {paper!r}; there are {', '.join(papers)}")
        grids.append(papers[paper])
    if settings.grid is not None:
        from_dict(GridFile, settings.grid, "config.yaml: grid")
        # A scale replaces what the papers used; a user's own data stay what they are.
        only_size = {name: scale[name] for name in ("scale", "flops_per_second")}
        only_size["translation_flops_per_second"] = scale.get("translation_flops_per_second")
        grids.append(Grid(settings.grid, "config.yaml: grid", only_size, "", on_cpu))

    artifacts: dict[str, Artifact] = {}
    for grid in grids:
        for artifact in grid.artifacts(settings.seeds, settings.variants):
            if artifact.id in artifacts:
                raise SpecError(f"{grid.where} artifact {artifact.id} is declared twice")
            check_drawable(artifact)
            artifacts[artifact.id] = artifact
    runs, seeds = _shared_runs(artifacts.values())
    check_teachers(artifacts.values(), runs.values())
    lowered = {run_id(run) for grid in grids for run in grid.in_fp32} & runs.keys()
    return Plan(
        scale=scale["scale"],
        artifacts=artifacts,
        runs=runs,
        seeds=seeds,
        flops_per_second=float(scale["flops_per_second"]),
        translation_flops_per_second=scale.get("translation_flops_per_second"),
        max_cache_bytes=None if (limit := settings.cache.max_bytes) is None else int(limit),
        jobs=Jobs(device=settings.device, **vars(settings.jobs)),
        in_fp32=frozenset(lowered),
    )


def read_scale(name: str, root: Path) -> tuple[dict[str, Any], str]:
    """A scale with what it takes over from its `base`, and where it is written, for messages.

    What a scale says replaces what its base says under the same name: one data set, the recipe of one name, the axes of
    one family, the seeds, probes or options of one artifact; nothing below is mixed.

    Raises:
        SpecError: no such scale, one that cannot be used, or bases that form a cycle.
    """
    content: dict[str, Any] = {}
    files: list[str] = []
    asked, by = name, "config.yaml: scale"
    while asked is not None:
        file = root / "workflow" / "scales" / f"{asked}.yaml"
        if not file.exists():
            known = ", ".join(sorted(path.stem for path in file.parent.glob("*.yaml")))
            raise SpecError(f"{by}: there is no scale {asked!r}; there are {known}")
        where = _relative(file, root)
        if where in files:
            raise SpecError(f"{by}: the scales {' ← '.join([*files, where])} form a cycle; name another one")
        files.append(where)
        own = with_new_names(read_yaml(file), f"{where}:")
        from_dict(ScaleFile, own, f"{where}:")
        content = _replaced(own, content, 3)
        asked, by = own.get("base"), f"{where}: base"
    return content, files[0] + (f" (base: {', '.join(files[1:])})" if files[1:] else "")


def _replaced(below: Mapping[str, Any], own: Mapping[str, Any], levels: int) -> dict[str, Any]:
    """`below` with what is in `own` in its place, in mappings of mappings name by name."""
    both = {k for k in own.keys() & below.keys() if isinstance(own[k], Mapping) and isinstance(below[k], Mapping)}
    merged = {k: _replaced(below[k], own[k], levels - 1) for k in both} if levels > 1 else {}
    return {**below, **own, **merged}


def _check_names(scale: Mapping[str, Any], where: str, grids: Sequence[Mapping[str, Any]]) -> None:
    """Refuse what a scale says of a data set, network, recipe, weights, paper or artifact that no grid has."""
    for section, replaced in (scale.get("substitute") or {}).items():
        known = {name for grid in grids for name in grid.get(section, ())}
        if section == "models":
            known |= {f"{data}/{model}" for grid in grids for data in grid["datasets"] for model in grid["models"]}
        for name in replaced:
            require_known(name, sorted(known), key(where, f"substitute.{section}"), f"the {section} of any grid")
    for paper in scale.get("subsample") or {}:
        require_known(paper, [grid["paper"] for grid in grids], key(where, "subsample"), "the papers that have a grid")
    artifacts = [f"{grid['paper']}.{name}" for grid in grids for name in grid["artifacts"]]
    for section in ("artifacts", "only"):
        for artifact in scale.get(section) or ():
            require_known(artifact, artifacts, key(where, section), "the artifacts of any grid")


def read_grid(path: Path, root: Path) -> dict[str, Any]:
    """A paper's grid: one file, or a folder of files that say together what one file would.

    Raises:
        SpecError: a file that is no grid, or two files of a folder that declare the same name or different papers.
    """
    grid: dict[str, Any] = {}
    for file in sorted(path.glob("*.yaml")) if path.is_dir() else [path]:
        where = _relative(file, root)
        content = with_new_names(read_yaml(file), f"{where}:")
        from_dict(GridFile, content, f"{where}:")
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
                known = runs.setdefault(name, spec)
                if known != spec and to_dict(known) != to_dict(spec):
                    raise SpecError(
                        f"artifact {artifact.id}: two different specs have the id {name}; "
                        "give files of one sha256 by one path, or change a field of one of them"
                    )
                seeds.setdefault(name, set()).update(needed)
    return runs, {name: tuple(sorted(found)) for name, found in seeds.items()}
