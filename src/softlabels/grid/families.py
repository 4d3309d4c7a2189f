"""One grid file under one scale: families over axes become the members of artifacts.

`$axis` stands in for the value on an axis; a scale's substitutions and subsampled axes are remembered in words.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from softlabels.errors import SpecError
from softlabels.grid import zoo
from softlabels.grid.config import NamedWeights
from softlabels.grid.declared import corpora, datasets
from softlabels.grid.files import probe_from
from softlabels.grid.parse import check_part, freeze, from_dict, key, require_known
from softlabels.grid.parts.initial import TorchvisionWeights, UserWeights
from softlabels.grid.parts.probes import AnyProbe
from softlabels.grid.parts.recipe import NO_TRAINING, Recipe
from softlabels.grid.parts.translation import CorpusSpec, TranslationRecipe
from softlabels.grid.plan import Artifact, Member
from softlabels.grid.spec import (
    DatasetSpec,
    Initial,
    ModelSpec,
    Run,
    RunSpec,
    Teacher,
    UserLogits,
    UserNetwork,
    run_from,
    to_dict,
)
from softlabels.grid.tasks import task_of
from softlabels.grid.zoo.transformers import TRANSFORMERS

LENGTHS = ("steps", "updates", "epochs")
"""Keys of a recipe of which one replaces another."""
OF_A_PARENT = ("family", "seed", "checkpoint", "head")
"""Keys of a teacher or of initial weights that no axis can be named by."""


@dataclass(frozen=True)
class _Point:
    """One member of a family before seeds are given, with what the scale changed to get it."""

    values: dict[str, Any]
    run: Run
    published: dict[str, str]
    changes: tuple[str, ...]


class Grid:
    """One grid file under one scale."""

    def __init__(
        self, grid: Mapping[str, Any], where: str, scale: Mapping[str, Any], scale_where: str, on_cpu: bool = False
    ) -> None:
        self.grid, self.where, self.scale = grid, where, scale
        self.paper: str = grid["paper"]
        self.scale_where = f"{scale_where}:"
        self.substitute: Mapping[str, Any] = scale.get("substitute") or {}
        self.subsample: Mapping[str, Any] = (scale.get("subsample") or {}).get(self.paper, {})
        self.axes = {name: self._axes(name) for name in grid["families"]}
        for family in self.subsample:
            self._known("families", family, key(self.scale_where, f"subsample.{self.paper}"))
        self.on_cpu = on_cpu
        self.in_fp32: set[Run] = set()
        """Runs whose recipes say bf16, as they are planned for a CPU."""
        self._points: dict[tuple[str, Any], _Point] = {}
        self._recipes: dict[tuple[str, bool], Recipe | TranslationRecipe] = {}
        self._open: list[str] = []
        self._declared: dict[str, Any] = {}
        """Place → data set, network or weights: each is read once, whether a family uses it or not."""
        for content, place in ((grid, where), (self.substitute, key(self.scale_where, "substitute"))):
            for name, recipe in content.get("recipes", {}).items():
                check_part((Recipe, TranslationRecipe), recipe, key(place, f"recipes.{name}"), also=("base",))
            for name, dataset in content.get("datasets", {}).items():
                is_text = dataset.get("name") in corpora.CORPORA
                self._declare(CorpusSpec if is_text else DatasetSpec, dataset, key(place, f"datasets.{name}"))
            for name, model in content.get("models", {}).items():
                self._declare(ModelSpec, model, key(place, f"models.{name}"))
            for name, source in content.get("weights", {}).items():
                if source is not None and "family" not in source:
                    cls = UserWeights if "weights" in source else TorchvisionWeights
                    self._declare(cls, source, key(place, f"weights.{name}"))

    def _declare(self, cls: type, content: Mapping[str, Any], place: str) -> None:
        self._declared[place] = from_dict(cls, content, place)

    def _known(self, section: str, name: str, where: str) -> Any:
        require_known(name, self.grid.get(section, ()), where, f"the {section} of {self.paper}")
        return self.grid[section][name]

    # ---------------------------------------------------------------- families

    def _axes(self, family: str) -> dict[str, list[Any]]:
        declared = self.grid["families"][family]
        axes = dict(declared.get("axes") or {})
        for axis in set(axes) & set(OF_A_PARENT):
            raise SpecError(f"{self.where} families.{family}.axes: {axis!r} cannot be the name of an axis")
        if "generations" in declared:
            where = key(self.where, f"families.{family}.generations")
            if "generation" in axes or "teacher" not in declared["run"]["targets"]:
                raise SpecError(
                    f"{where}: each generation learns from the one before it, so the family needs targets.teacher, "
                    "the first one's, and has the axis generation already"
                )
            axes = {"generation": list(range(1, declared["generations"] + 1)), **axes}
        for axis, kept in self.subsample.get(family, {}).items():
            where = f"{self.scale_where} subsample.{self.paper}.{family}.{axis}"
            is_chain = "generations" in declared and axis == "generation"
            if is_chain and sorted(kept) != list(range(1, len(kept) + 1)):
                raise SpecError(
                    f"{where}: no generation can be left out before another; keep the first ones, as [1, 2]"
                )
            if axis not in axes:
                raise SpecError(f"{where}: the family has no such axis; its axes are {', '.join(axes) or 'none'}")
            for value in kept:
                if value not in axes[axis]:
                    raise SpecError(f"{where}: {value!r} is not among the values of the grid, {axes[axis]}")
            axes[axis] = [value for value in axes[axis] if value in kept]
        return axes

    def points(self, family: str) -> list[_Point]:
        axes = self.axes[family]
        return [self._point(family, dict(zip(axes, v, strict=True))) for v in itertools.product(*axes.values())]

    def _point(self, family: str, values: dict[str, Any]) -> _Point:
        label = f"{family}({', '.join(f'{k}={v}' for k, v in values.items())})"
        if label in self._open:
            raise SpecError(f"{self.where} families: the teachers {' ← '.join([*self._open, label])} form a cycle")
        found = self._points.get((family, freeze(values)))
        if found is None:
            self._open.append(label)
            found = self._build(family, values)
            self._points[family, freeze(values)] = found
            self._open.pop()
        return found

    def _build(self, family: str, values: dict[str, Any]) -> _Point:
        declared = self.grid["families"][family]
        where = key(self.where, f"families.{family}.run")
        run = _substituted(declared["run"], values, where)
        changes: list[str] = []
        dataset = self._dataset(run["dataset"], key(where, "dataset"), changes)
        is_text = isinstance(dataset, CorpusSpec)
        model = self._model(run["model"], run["dataset"], is_text, key(where, "model"), changes)
        recipe = self._recipe(run["recipe"], is_text, key(where, "recipe"), changes)
        lowered = self.on_cpu and recipe.precision.autocast == "bf16"
        if lowered:
            recipe = replace(recipe, precision=replace(recipe.precision, autocast="none"))
        published = {"dataset": run["dataset"], "student": run["model"]}
        targets = dict(run["targets"])
        if "teacher" in targets:
            teacher = targets["teacher"]
            if "generations" in declared and values["generation"] > 1:
                which = {k: teacher[k] for k in ("seed", "checkpoint") if k in teacher}
                teacher = {"family": family, **values, "generation": values["generation"] - 1, **which}
            targets["teacher"], published["teacher"] = self._teacher(
                teacher, run["dataset"], is_text, key(where, "targets.teacher"), changes
            )
        if isinstance(softness := targets.get("temperature"), Mapping) and "entropy_of" in softness:
            place = key(where, "targets.temperature.entropy_of")
            reference, _ = self._teacher(softness["entropy_of"], run["dataset"], is_text, place, changes)
            targets["temperature"] = {**softness, "entropy_of": reference}
        parts: dict[str, Any] = {"dataset": dataset, "model": model, "recipe": recipe, "targets": targets}
        if run.get("initial") is not None:
            parts["initial"] = self._initial(run["initial"], key(where, "initial"), changes)
        spec = run_from(parts | ({"task": "translation"} if is_text else {}), where)
        _located(task_of(spec).require_compatible, where)()
        if lowered:
            self.in_fp32.add(spec)
        for axis in values.keys() - ({"generation"} if "generations" in declared else set()):
            if f"'${axis}'" not in repr(declared["run"]):
                raise SpecError(f"{where}: no value is ${axis}, so the axis {axis} has no effect")
        return _Point(values, spec, published | declared.get("published", {}), tuple(dict.fromkeys(changes)))

    # ---------------------------------------------------------------- names to specs

    def _dataset(self, alias: str, where: str, changes: list[str]) -> DatasetSpec | CorpusSpec:
        content, where = self._known("datasets", alias, where), key(self.where, f"datasets.{alias}")
        if (other := self.substitute.get("datasets", {}).get(alias)) is not None:
            content, where = other, key(self.scale_where, f"substitute.datasets.{alias}")
            changes.append(f"{content.get('name')} stands in for {alias}")
        spec: DatasetSpec | CorpusSpec = self._declared[where]
        _located(corpora.settled if isinstance(spec, CorpusSpec) else datasets.sizes, where)(spec)
        return spec

    def _model(self, alias: str, dataset: str, is_text: bool, where: str, changes: list[str]) -> ModelSpec:
        content, where = self._known("models", alias, where), key(self.where, f"models.{alias}")
        for name in (f"{dataset}/{alias}", alias):
            if (other := self.substitute.get("models", {}).get(name)) is not None:
                content, where = other, key(self.scale_where, f"substitute.models.{name}")
                changes.append(f"{content.get('name')} stands in for {alias}")
                break
        spec: ModelSpec = self._declared[where]
        _located(zoo.check_options, where)(spec.name, spec.options, TRANSFORMERS if is_text else zoo.OPTIONS)
        return spec

    def _recipe(self, name: str, is_text: bool, where: str, changes: list[str]) -> Recipe | TranslationRecipe:
        self._known("recipes", name, where)
        replaced = name in self.substitute.get("recipes", {})
        if replaced:
            changes.append("training recipes of this scale")
        if (name, is_text) in self._recipes:
            return self._recipes[name, is_text]
        content = self._merged(name, where, original=False, seen=())
        file = self.scale_where if replaced else self.where
        where = key(file, f"substitute.recipes.{name}" if replaced else f"recipes.{name}")
        if content.get("steps") == 0:  # nothing is trained, so what only training needs may be left out
            content = NO_TRAINING | content
        spec = from_dict(TranslationRecipe, content, where) if is_text else from_dict(Recipe, content, where)
        return self._recipes.setdefault((name, is_text), spec)

    def _merged(self, name: str, where: str, original: bool, seen: tuple[str, ...]) -> dict[str, Any]:
        """A recipe with what it takes over from its `base`; a scale's recipe may build on the paper's of its name."""
        content = dict(self._known("recipes", name, where))
        scaled = self.substitute.get("recipes", {}).get(name)
        label = name if original or scaled is None else f"{name} (scale)"
        if label in seen:
            raise SpecError(f"{self.where} recipes: the bases {' ← '.join([*seen, label])} form a cycle")
        if scaled is not None and not original:
            content = dict(scaled)
        base = content.pop("base", None)
        if base is None:
            return content
        below = self._merged(base, f"{where} base", original=base == name, seen=(*seen, label))
        if set(LENGTHS) & set(content):  # the one that is given replaces the other
            below = {k: v for k, v in below.items() if k not in LENGTHS}
        return below | content

    # ---------------------------------------------------------------- teachers, initial weights

    def _teacher(
        self, content: Mapping[str, Any], dataset: str, is_text: bool, where: str, changes: list[str]
    ) -> tuple[Teacher, str]:
        """The teacher and its name in the paper."""
        named = self._which(content, ("seed", "checkpoint"), where, changes)
        if "family" not in content:
            if not {"weights", "logits"} & set(content):
                raise SpecError(f"{where} needs a family of this grid, or weights or logits of your own")
            own = {k: v for k, v in content.items() if k not in named}
            if "model" in own:
                own["model"] = to_dict(self._model(own["model"], dataset, is_text, key(where, "model"), changes))
            run = from_dict(UserNetwork if "weights" in own else UserLogits, own, where)
            return from_dict(Teacher, {"run": run, **named}, where), content.get("model", "own logits")
        point = self._chosen(content, "teacher", where, changes)
        return from_dict(Teacher, {"run": point.run, **named}, where), point.published["student"]

    def _initial(self, content: Any, where: str, changes: list[str]) -> Initial | None:
        """The weights that a run begins with; None where the scale has none of them."""
        content = {"weights": content} if isinstance(content, str) else content
        if "family" not in content:
            from_dict(NamedWeights, content, where)
        named = self._which(content, ("seed", "checkpoint", "head"), where, changes)
        if "family" in content:
            run: Any = self._chosen(content, "run", where, changes).run
            if not isinstance(run, RunSpec):
                raise SpecError(f"{where}.family: {content['family']} is of translation networks, which begin no other")
            return from_dict(Initial, {"run": run, **named}, where)
        name = content["weights"]
        source, place = self._known("weights", name, key(where, "weights")), key(self.where, f"weights.{name}")
        if name in self.substitute.get("weights", {}):
            source, place = self.substitute["weights"][name], key(self.scale_where, f"substitute.weights.{name}")
            changes.append(f"{_beginning(source)} in place of {name}")
        if source is None:
            return None
        if "family" in source:
            return self._initial({**source, **named}, place, changes)
        return from_dict(Initial, {"run": self._declared[place], **named}, where)

    def _which(
        self, content: Mapping[str, Any], keys: tuple[str, ...], where: str, changes: list[str]
    ) -> dict[str, Any]:
        """What a parent says beside its family: seed, checkpoint (by name or as it is), head."""
        found = {k: content[k] for k in keys if k in content}
        if "checkpoint" in found:
            found["checkpoint"] = self._checkpoint(found["checkpoint"], key(where, "checkpoint"), changes)
        return found

    def _checkpoint(self, name: Any, where: str, changes: list[str]) -> Any:
        """The checkpoint of a name under `checkpoints`, the scale's where it has one; anything else as it is."""
        as_it_is = not isinstance(name, str) or name in ("last", "best", "milestones") or ":" in name
        if as_it_is or "checkpoints" not in self.grid:
            return name
        found = self._known("checkpoints", name, where)
        if name in self.substitute.get("checkpoints", {}):
            found = self.substitute["checkpoints"][name]
            changes.append(f"checkpoint {found} in place of {name}")
        return found

    def _chosen(self, content: Mapping[str, Any], what: str, where: str, changes: list[str]) -> _Point:
        """The member of a family that is named by its values on the axes."""
        family = content["family"]
        self._known("families", family, key(where, "family"))
        chosen = {k: v for k, v in content.items() if k not in OF_A_PARENT}
        axes = self.axes[family]
        for axis, value in chosen.items():
            if axis not in axes:
                raise SpecError(
                    f"{where}: family {family} has no axis {axis!r}; its axes are {', '.join(axes) or 'none'}"
                )
            if value not in axes[axis]:
                raise SpecError(
                    f"{where}: no {what} {family}({axis}={value}) in the grid; {axis} is one of {axes[axis]}"
                    + (f" (subsampled by {self.scale_where[:-1]})" if axis in self.subsample.get(family, {}) else "")
                )
        open_axes = [axis for axis in axes if axis not in chosen and len(axes[axis]) > 1]
        if open_axes:
            raise SpecError(f"{where}: family {family} has several members; say which by {', '.join(open_axes)}")
        point = self._point(family, {axis: chosen.get(axis, axes[axis][0]) for axis in axes})
        changes += point.changes
        return point

    # ---------------------------------------------------------------- artifacts

    def artifacts(self, seeds: Any, variants: bool) -> list[Artifact]:
        """Those that the scale names under `only`; without it all, variants where they are asked for."""
        only = self.scale.get("only")
        return [
            self._artifact(name, declared, seeds)
            for name, declared in self.grid["artifacts"].items()
            if (variants or not declared.get("variant", False) if only is None else f"{self.paper}.{name}" in only)
        ]

    def _artifact(self, name: str, declared: Mapping[str, Any], seeds: Any) -> Artifact:
        where = key(self.where, f"artifacts.{name}")
        scale_where = key(self.scale_where, f"artifacts.{self.paper}.{name}")
        scaled = (self.scale.get("artifacts") or {}).get(f"{self.paper}.{name}", {})
        for family in declared["families"]:
            self._known("families", family, key(where, "families"))
        if not declared["families"] and (unused := {"seeds", "probes"} & set(scaled)):
            raise SpecError(f"{scale_where}.{min(unused)} has no effect: the artifact has no families")
        for given, place in ((declared, where), (scaled, scale_where)):
            for section in ("seeds", "probes"):
                for family in given[section] if isinstance(given.get(section), Mapping) else ():
                    require_known(family, declared["families"], key(place, section), "the families of the artifact")
        published_seeds, scale_seeds = declared.get("seeds"), scaled.get("seeds", self.scale.get("seeds"))
        chosen = next((s for s in (seeds, scale_seeds, published_seeds) if s is not None), None)
        members: list[Member] = []
        changes: list[str] = []
        subsampled: list[str] = []
        for family in declared["families"]:
            own = _seeds(chosen, family, key(where if chosen is published_seeds else scale_where, "seeds"))
            asked = _seeds(published_seeds, family, key(where, "seeds"))
            if len(own) != len(asked):
                subsampled.append(f"{len(own)} seeds instead of {len(asked)}")
            for axis in self.subsample.get(family, {}):
                kept = ", ".join(f"{value}" for value in self.axes[family][axis])
                subsampled.append(f"{axis} of {family.replace('_', ' ')} subsampled to {kept}")
            for point in self.points(family):
                changes += point.changes
                members.append(
                    Member(family, tuple(point.values.items()), point.run, own, tuple(point.published.items()))
                )
        probes: list[tuple[str, AnyProbe]] = []
        for family, found in ((declared.get("probes") or {}) | scaled.get("probes", {})).items():
            place = key(scale_where if family in scaled.get("probes", {}) else where, f"probes.{family}")
            for content in found if isinstance(found, list) else [found]:
                if "checkpoints" in content:
                    named = self._checkpoint(content["checkpoints"], key(place, "checkpoints"), changes)
                    content = {**content, "checkpoints": named}
                asked_of = [m.run for m in members if m.family == family]
                probes += [(family, probe) for probe in _probes(content, asked_of, place)]
        options = dict(declared.get("options") or {}) | scaled.get("options", {})
        subsampled += [f"{section} of this scale" for section in ("probes", "options") if scaled.get(section)]
        if "compare_with" in options:
            self._known("artifacts", options["compare_with"], key(where, "options.compare_with"))
        for other in options.get("artifacts", ()):
            self._known("artifacts", other, key(where, "options.artifacts"))
        return Artifact(
            id=f"{self.paper}.{name}",
            title=declared["title"],
            kind=declared["kind"],
            plot=declared["plot"],
            members=tuple(members),
            probes=tuple(probes),
            options=options,
            notes=tuple(
                f"{self.scale['scale']}: {change}" for change in dict.fromkeys([*sorted(changes), *subsampled])
            ),
            variants=tuple(declared.get("variants") or ()),
        )


def _probes(content: Mapping[str, Any], runs: Sequence[Run], where: str) -> Iterator[AnyProbe]:
    """A probe for each combination of the values that are given as a list where a probe takes one.

    Args:
        runs: the networks that are asked.

    Raises:
        SpecError: as `parse.from_dict`, or a question that these networks cannot answer.
    """
    several = [name for name in ("temperature", "checkpoint") if isinstance(content.get(name), list)]
    for values in itertools.product(*(content[name] for name in several)):
        probe = probe_from({**content, **dict(zip(several, values, strict=True))}, where)
        for run in runs:
            probe = task_of(run).fitting(probe, where)
        yield probe


def _beginning(weights: Mapping[str, Any] | None) -> str:
    """What a scale lets runs begin with, in words."""
    if weights is None:
        return "trained from scratch"
    kinds = ("family", "torchvision", "weights")
    name = next(weights[kind] for kind in kinds if kind in weights)
    chosen = ", ".join(f"{k}={v}" for k, v in weights.items() if k not in (*kinds, "sha256"))
    return f"begun with {name}" + (f" ({chosen})" if chosen else "")


def _located(check: Callable[..., Any], where: str) -> Callable[..., Any]:
    def located(*args: Any) -> Any:
        try:
            return check(*args)
        except SpecError as error:
            raise SpecError(f"{where}: {error}") from None

    return located


def _substituted(value: Any, axes: Mapping[str, Any], where: str) -> Any:
    """`$axis` replaced by its value, wherever it stands as a whole value."""
    if isinstance(value, Mapping):
        return {name: _substituted(item, axes, key(where, name)) for name, item in value.items()}
    if isinstance(value, list):
        return [_substituted(item, axes, where) for item in value]
    if isinstance(value, str) and value.startswith("$"):
        if value[1:] not in axes:
            raise SpecError(f"{where}: {value} is no axis of the family; its axes are {', '.join(axes) or 'none'}")
        return axes[value[1:]]
    return value


def _seeds(chosen: Any, family: str, where: str) -> tuple[int, ...]:
    """Seeds from a count, a list, or one of these for each family."""
    if isinstance(chosen, Mapping):
        if family not in chosen:
            raise SpecError(f"{where} gives no seeds for the family {family}")
        chosen = chosen[family]
    return tuple(range(chosen)) if isinstance(chosen, int) else tuple(dict.fromkeys(chosen))
