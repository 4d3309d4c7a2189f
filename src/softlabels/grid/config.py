"""What stands in config.yaml, in the files of grids and in those of scales: their keys, and how YAML is read.

`$axis` may stand for a value below `run` of a family, so targets and initial weights are checked when it is replaced
(`families`), and so are probes, which may list several temperatures where a spec has one.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import re
import sys
from collections.abc import Mapping
from dataclasses import field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, Field, TypeAdapter
from pydantic.dataclasses import dataclass

from softlabels.errors import SpecError
from softlabels.grid.parse import STRICT, key, require_known, rule
from softlabels.grid.parts.probes import AnyProbe
from softlabels.grid.parts.recipe import Recipe
from softlabels.grid.parts.translation import CorpusSpec, TranslationRecipe
from softlabels.grid.plan import JobSettings
from softlabels.grid.spec import DatasetSpec, ModelSpec, Targets

_SCIENTIFIC = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+")


def _unique(values: tuple[Any, ...]) -> tuple[Any, ...]:
    repeated = next((v for i, v in enumerate(values) if v in values[:i]), None)
    rule(repeated is None, f"{repeated!r} is given twice")
    return values


Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
Checkpoint = Annotated[str, Field(pattern=r"^(last|best|step:[1-9][0-9]*)$")]
Rate = Annotated[float, Field(gt=0)]
Seeds = (
    Annotated[int, Field(ge=1)]
    | Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1), AfterValidator(_unique)]
)
"""A count (0, 1, …), or a list."""
Values = Annotated[tuple[Any, ...], Field(min_length=1), AfterValidator(_unique)]
Entries = dict[Name, dict[str, Any]]
Probes = dict[str, dict[str, Any] | tuple[dict[str, Any], ...]]


# ---------------------------------------------------------------- a grid


@dataclass(frozen=True, config=STRICT)
class FamilyRun:
    """One run of a family; a text `$axis` stands for the value on an axis."""

    dataset: str
    """Name under `datasets`."""
    model: str
    """Name under `models`."""
    recipe: str
    """Name under `recipes`."""
    targets: dict[str, Any]
    """`kind` and the fields of that class of `grid.spec.Targets`; `teacher` is a member of a family, chosen by its
    values on the family's axes, or a network (weights, model, sha256, normalise) or logits (logits, sha256) of
    your own."""
    initial: str | dict[str, Any] | None = None
    """What the weights begin with, null for the seed: a name under `weights`, the same with `head` (new or kept), or a
    member of a family of the same network."""


@dataclass(frozen=True, config=STRICT)
class NamedWeights:
    """Weights that a run begins with, where it says more than their name."""

    weights: str
    """Name under `weights`."""
    head: Literal["new", "kept"] = "new"
    """The last layer: drawn from the seed, or taken over, for the same classes."""


@dataclass(frozen=True, config=STRICT)
class Published:
    """The paper's names where a family stands for another one, and what it reports on."""

    dataset: str | None = None
    """Data set in the paper."""
    student: str | None = None
    """Network in the paper."""
    teacher: str | None = None
    """Teacher in the paper."""
    method: str | None = None
    """Name of the method in the paper's numbers, as re_kd."""
    reported_on: Literal["val", "test"] | None = None
    """Our split that the paper's validation numbers are of; test where it reports on an official validation set."""


@dataclass(frozen=True, config=STRICT)
class Family:
    """Runs that differ on axes."""

    run: FamilyRun
    """One run of the family."""
    axes: dict[Name, Values] = field(default_factory=dict)
    """Values by the axis's name; the family is their product."""
    generations: Annotated[int, Field(ge=1)] | None = None
    """A chain: the axis `generation`, 1 to this number. The first learns from targets.teacher, each later one from the
    one before it."""
    published: Published = field(default_factory=Published)
    """The paper's names of it."""


@dataclass(frozen=True, config=STRICT)
class ArtifactEntry:
    """A figure or table."""

    title: str
    """Its title."""
    kind: Literal["figure", "table"]
    """What it is."""
    plot: str
    """Module of `softlabels.figures` that measures and draws it; custom:my_figures for one of your own."""
    families: tuple[str, ...]
    """Whose runs it shows; [] of one without networks, which has neither seeds nor probes."""
    seeds: Seeds | dict[str, Seeds] | None = None
    """How many seeds, or a list of them; or one of these for each family."""
    probes: Probes | None = None
    """Per family what its networks are evaluated on beyond val and test: one probe or a list (`grid.parts.probes`)."""
    options: dict[str, Any] = field(default_factory=dict)
    """What the drawing module reads."""
    variants: tuple[str, ...] = ()
    """Ids of the discrepancies (docs/conventions.md) whose default or variant this runs."""
    variant: bool = False
    """A labelled deviation, made only with `variants: true` in config.yaml."""

    def __post_init__(self) -> None:
        rule(bool(self.families) == (self.seeds is not None), "seeds are needed with families, and only there")
        rule(bool(self.families) or self.probes is None, "probes have no effect without families")


@dataclass(frozen=True, config=STRICT)
class GridFile:
    """Families of runs over axes, and the figures and tables made of them: `workflow/grids`, `grid` in config.yaml."""

    paper: Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*$")]
    """Prefix of the artifacts' names: muller2019, own."""
    datasets: Entries
    """Data sets under the names that families use: `grid.spec.DatasetSpec`, `grid.parts.translation.CorpusSpec`."""
    models: Entries
    """Networks under the names that families use: `grid.spec.ModelSpec`."""
    recipes: Entries
    """Ways of training under the names that families use: `grid.parts.recipe.Recipe`,
    `grid.parts.translation.TranslationRecipe`, and `base`, a recipe from which every key that is not given is taken
    over."""
    families: dict[Name, Family]
    """Sets of runs that differ on named axes; a family can teach another."""
    artifacts: dict[Name, ArtifactEntry]
    """Figures and tables; fig5 of muller2019 is made by the target muller2019_fig5."""
    weights: Entries = field(default_factory=dict)
    """Trained weights from elsewhere: torchvision's entry; weights and sha256 of a file; or a member of a family."""
    checkpoints: dict[Name, Checkpoint] = field(default_factory=dict)
    """Checkpoints under the names that teachers and initial weights use, so that a scale can replace them."""

    def __post_init__(self) -> None:
        rule(not {"last", "best"} & self.checkpoints.keys(), "checkpoints: last and best are names already")


# ---------------------------------------------------------------- a scale


@dataclass(frozen=True, config=STRICT)
class Substitutes:
    """What stands for something of the papers, by its name in their grids."""

    datasets: Entries = field(default_factory=dict)
    """Data sets, by name."""
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By name, or by dataset/name."""
    weights: dict[Name, dict[str, Any] | None] = field(default_factory=dict)
    """null: the runs are trained from scratch."""
    checkpoints: dict[Name, Checkpoint] = field(default_factory=dict)
    """Checkpoints, by name."""
    recipes: Entries = field(default_factory=dict)
    """`base` can be the published recipe of the same name."""


@dataclass(frozen=True, config=STRICT)
class ArtifactChange:
    """What a scale says of one artifact."""

    seeds: Seeds | dict[str, Seeds] | None = None
    """Its seeds: a count, a list, or one of these for each family."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options that replace the published ones."""
    probes: Probes = field(default_factory=dict)
    """Probes of families that replace the published ones."""


@dataclass(frozen=True, config=STRICT)
class ScaleFile:
    """What replaces the published settings so that the same grids run on smaller machines: `workflow/scales`.

    It contains no logic, what it changes is said on every figure, and it leaves a grid of your own as it is.
    """

    scale: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    """Results lie in results/<scale>."""
    base: str | None = None
    """Another scale, that this one begins as. What is said here replaces what the base says under the same name: one
    data set, one recipe, the axes of one family ({}: all their values), the seeds, probes or options of one
    artifact."""
    only: Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_unique)] | None = None
    """The artifacts that are planned, by id (muller2019.fig5), variants among them too."""
    seeds: Seeds | None = None
    """Seeds of every artifact (a count or a list), null for the published ones."""
    flops_per_second: Rate | None = None
    """Assumed rate of the device where no training is recorded yet."""
    translation_flops_per_second: Rate | None = None
    """The same of translation runs, where it differs."""
    substitute: Substitutes = field(default_factory=Substitutes)
    """What stands for data sets, networks, weights, checkpoints and recipes of the papers."""
    subsample: dict[str, dict[str, dict[str, Values]]] = field(default_factory=dict)
    """Values that are kept on an axis: paper, family, axis."""
    artifacts: dict[str, ArtifactChange] = field(default_factory=dict)
    """Changes of single artifacts, by id (muller2019.fig1)."""

    def __post_init__(self) -> None:
        given = self.base is not None or self.flops_per_second is not None
        rule(given, "the key 'flops_per_second' is missing; a scale needs it, or a base that has it")


# ---------------------------------------------------------------- config.yaml


@dataclass(frozen=True, config=STRICT)
class DataSource:
    """Where data come from."""

    root: str = "data"
    """Folder that holds or receives the official files."""
    mirror: str | None = None
    """Address from which official files are fetched instead of their own."""
    download: bool = False
    """Whether missing files may be fetched."""


@dataclass(frozen=True, config=STRICT)
class CacheLimit:
    """The logits caches."""

    max_bytes: Rate | None = None
    """A plan whose caches are larger is refused, null for no limit."""


@dataclass(frozen=True, config=STRICT)
class Config:
    """The one file that a user edits."""

    scale: str = "demo"
    """A file of workflow/scales: tour, demo or paper."""
    papers: Annotated[tuple[str, ...], AfterValidator(_unique)] = (
        "muller2019", "chandrasegaran2022", "yuan2020", "zhang2020", "ablations",
    )  # fmt: skip
    """Files of workflow/grids whose artifacts are made."""
    seeds: Seeds | None = None
    """Seeds of everything (a count or a list), null for those of scale and grid."""
    variants: bool = False
    """Whether labelled deviations from the published protocol are made too."""
    subsample: bool = True
    """Whether a scale may leave out values of axes."""
    data: DataSource = field(default_factory=DataSource)
    """Where data come from."""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:[0-9]+)?)$")] = "auto"
    """auto, cpu, cuda or cuda:<n>"""
    jobs: JobSettings = field(default_factory=JobSettings)
    """What jobs ask of a cluster; no number depends on it."""
    cache: CacheLimit = field(default_factory=CacheLimit)
    """The logits caches."""
    grid: dict[str, Any] | None = None
    """A grid of your own, in the format of workflow/grids (`GridFile`)."""


SCHEMAS: dict[str, Any] = {
    "config": Config, "scale": ScaleFile, "grid": GridFile, "dataset": DatasetSpec, "corpus": CorpusSpec,
    "model": ModelSpec, "recipe": Recipe, "translation_recipe": TranslationRecipe, "targets": Targets,
    "probe": AnyProbe,
}  # fmt: skip
"""What a JSON Schema can be had of: files, and what stands in grids."""


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema of a kind of file, or of what stands in a grid (`softlabels schema`).

    Raises:
        SpecError: neither; the nearest name is said.
    """
    require_known(name, SCHEMAS, "of", "what it describes")
    found = TypeAdapter(SCHEMAS[name]).json_schema()
    for part in (found, *found.get("$defs", {}).values()):
        described = _docstrings(part.get("title", ""))
        for field_name, content in part.get("properties", {}).items():
            if field_name in described:
                content["description"] = described[field_name]
    return found


@cache
def _docstrings(cls: str) -> Mapping[str, str]:
    """What is written below each field of a class of this package; read only here, because it takes its time."""
    for module in [m for name, m in sys.modules.items() if name.startswith("softlabels.grid.")]:
        if dataclasses.is_dataclass(getattr(module, cls, None)):
            nodes = ast.walk(ast.parse(inspect.getsource(getattr(module, cls))))
            body = next(node.body for node in nodes if isinstance(node, ast.ClassDef))
            return {
                ast.unparse(above.target): inspect.cleandoc(ast.literal_eval(below.value))
                for above, below in itertools.pairwise(body)
                if isinstance(above, ast.AnnAssign) and isinstance(below, ast.Expr)
            }
    return {}


# ---------------------------------------------------------------- YAML


RENAMED = {"thin": "subsample", "draw": "plot"}
"""Key as it was called → as it is called. The old names go with the next version."""
RENAMED_OPTIONS = {"targets": "classes"}
"""The same of an artifact's `options`."""


def with_new_names(content: Any, where: str, names: Mapping[str, str] = RENAMED) -> Any:
    """What was read from a config, scale or grid, its old keys under their new names, with a warning for each.

    An old one counts more than a new one, which stands in config.yaml when the old one is given by `--config`.
    """
    if not isinstance(content, Mapping):
        return content
    renamed = {name: value for name, value in content.items() if name not in names}
    for name, new in names.items():
        if name not in content:
            continue
        print(
            f"warning: {key(where, name)} is called {new} now; the old name goes with the next version", file=sys.stderr
        )
        renamed[new] = _custom(content[name])
    if isinstance(artifacts := content.get("artifacts"), Mapping):
        renamed["artifacts"] = {
            name: with_new_names(entry, key(where, f"artifacts.{name}")) for name, entry in artifacts.items()
        }
    if "grid" in content:
        renamed["grid"] = with_new_names(content["grid"], key(where, "grid"))
    if "options" in content:
        renamed["options"] = with_new_names(content["options"], key(where, "options"), RENAMED_OPTIONS)
    return renamed


def _custom(value: Any) -> Any:
    """`draw: own:my_figures` was written for what is `plot: custom:my_figures`."""
    return "custom:" + value.removeprefix("own:") if isinstance(value, str) and value.startswith("own:") else value


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Safe YAML that refuses a key given twice, which YAML libraries silently let the last one win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for name, _ in node.value:
            if name.value in seen and name.value != "<<":
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {name.value!r} is given twice", name.start_mark
                )
            seen.add(name.value)
        result: dict[Any, Any] = super().construct_mapping(node, deep)
        return result


def read_yaml(path: Path) -> Any:
    """The content of a YAML file.

    Raises:
        SpecError: the file is missing, is no YAML, or gives a key twice.
    """
    try:
        return numbers(yaml.load(path.read_text(encoding="utf-8"), _Loader))
    except FileNotFoundError:
        raise SpecError(f"{path} does not exist") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise SpecError(f"{path}, line {line}: {error.problem}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} is no YAML: {error}") from None


def numbers(value: Any) -> Any:
    """YAML 1.1 reads 1e-4 as a text (it wants 1.0e-4); here it is the number that was meant."""
    if isinstance(value, Mapping):
        return {name: item if name == "sha256" else numbers(item) for name, item in value.items()}
    if isinstance(value, list):
        return [numbers(item) for item in value]
    return float(value) if isinstance(value, str) and _SCIENTIFIC.fullmatch(value) else value
