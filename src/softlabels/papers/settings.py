"""The papers' settings, one by one: what the text says, what the released code has, and what the grids run.

`settings.csv` has the text's and the code's value; ours is read off the plan at the scale `paper`. All are written
alike, so that they can be compared: a value, and the place where it stands in brackets. In quotation marks “…” stand
words of the source that several values fit, or a value that no field has.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from softlabels.grid.declared.corpora import settled
from softlabels.grid.declared.datasets import info
from softlabels.grid.identity import run_id
from softlabels.grid.parts.initial import TorchvisionWeights
from softlabels.grid.parts.label_targets import Hard
from softlabels.grid.parts.recipe import Augment, Normalise, Optimiser, ParameterGroup, Precision
from softlabels.grid.plan import Artifact, Member, Plan
from softlabels.grid.spec import (
    EqualEntropy,
    MeanLabel,
    ModelSpec,
    Parent,
    Run,
    RunSpec,
    TranslationSpec,
    cache_kind,
    initial_of,
    teacher_of,
)
from softlabels.metrics.rows import ECE_BINS

NOT_STATED, NO_CODE = "not stated", "–"
"""For a setting that the text does not name, and for one of which no code was compared."""
LISTED = 12
"""So many values of an axis are written out."""
AT_T_1 = ("targets.t2", "targets.student_tempered")
"""Settings without a meaning at T = 1."""


@dataclass(frozen=True)
class Setting:
    """A line of the table: one setting of some families of a paper."""

    paper: str
    experiment: str
    families: tuple[str, ...]
    """Names of families, each with values of its axes if it is not all of them: `kd[student=resnet18]`."""
    setting: str
    """A key of the spec, as `recipe.optimiser.lr`; or `seeds`, `bleu`, `ece`, `ece20`."""
    text: str
    """The paper's value, and in brackets where it stands; "" where it does not say."""
    code: str
    """The released code's, likewise."""
    register: tuple[str, ...]
    """Ids of the register."""

    @property
    def stated(self) -> tuple[str, str]:
        """Values of text and code without the places where they stand; "" where there is none, or words alone."""
        return _value(self.text), _value(self.code)

    @property
    def expected(self) -> str:
        """What the policy of docs/settings.md makes the default: the text's value, else the code's, else ""."""
        text, code = self.stated
        return text or code


def settings() -> list[Setting]:
    """All lines, in the order of the file; a line without families has those of the line before."""
    found: list[Setting] = []
    with resources.files("softlabels.papers").joinpath("settings.csv").open(encoding="utf-8") as handle:
        for row in csv.DictReader(handle):
            families = tuple(row["families"].split()) or found[-1].families
            found.append(
                Setting(
                    row["paper"], row["experiment"], families, row["setting"], row["text"], row["code"],
                    tuple(row["register"].split()),
                )
            )  # fmt: skip
    return found


def members(plan: Plan, line: Setting) -> list[tuple[Artifact, Member]]:
    """The runs that a line is about, in every artifact that has them."""
    wanted = [re.fullmatch(r"(\w+)(?:\[(\w+)=([\w,.]+)\])?", name) for name in line.families]
    found = []
    for artifact in plan.artifacts.values():
        if artifact.paper != line.paper:
            continue
        for member in artifact.members:
            for match in wanted:
                assert match is not None, line.families
                family, axis, values = match.groups()
                if member.family == family and (axis is None or str(member.value(axis)) in values.split(",")):
                    found.append((artifact, member))
    return found


def ours(plan: Plan, line: Setting) -> str:
    """What the grids run: the values of all runs of the line, each once, as the grid orders them; "" if none has it."""
    found = members(plan, line)
    if line.setting == "seeds":  # of a run that several artifacts share, all
        seeds: dict[str, set[int]] = {}
        for _, member in found:
            seeds.setdefault(run_id(member.run), set()).update(member.seeds)
        values = list(dict.fromkeys(str(len(own)) for own in seeds.values()))
    else:
        values = list(dict.fromkeys(value for place in found for value in values_of(*place, line.setting)))
    if len(values) > LISTED:  # a grid of numbers
        return f"{values[0]} to {values[-1]} by {_number(float(values[1]) - float(values[0]))}"
    return ", ".join(values)


def trainings(plan: Plan, lines: Iterable[Setting]) -> int:
    """Networks times seeds behind some lines; a training that several artifacts share counts once, and a network that
    is only measured does not."""
    found = set()
    for line in lines:
        for _, member in members(plan, line):
            if getattr(member.run.recipe, "steps", None) != 0:
                found |= {(run_id(member.run), seed) for seed in member.seeds}
    return len(found)


def _value(cell: str) -> str:
    return "" if cell.startswith("“") else re.sub(r" \([^()]*\)$", "", cell)


def values_of(artifact: Artifact, member: Member, setting: str) -> Iterator[str]:
    """The values of one run, as `settings.csv` writes them; none where it has no such setting."""
    run = member.run
    if setting in ECE_BINS:
        yield f"{ECE_BINS[setting]} bins"
    elif setting in AT_T_1 and getattr(run.targets, "temperature", None) == 1:
        return
    elif setting == "bleu":
        for family, probe in artifact.probes:
            if family == member.family and probe.what == "translations":
                longest = _longest(probe.max_len_a, probe.max_len_b)
                yield f"beam {probe.beam}, length penalty {_number(probe.lenpen)}, {longest}"
    elif setting in DERIVED:
        if (value := DERIVED[setting](run)) is not None:
            yield value
    else:
        found: Any = run
        for name in setting.split("."):
            if not hasattr(found, name):
                return
            found = getattr(found, name)
        yield _written(found)


def _written(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return _number(value)
        case None:
            return "none"
        case Optimiser():
            return _optimiser(value)
        case Augment():
            return _augment(value)
        case Precision():
            return "fp32" if value.autocast == "none" else value.autocast
        case ModelSpec():
            return " ".join([value.name, *(f"{name}={_written(option)}" for name, option in value.options)])
        case Parent():
            if isinstance(value.run, TorchvisionWeights):
                return f"torchvision {value.run.torchvision}"
            return f"{value.run.dataset.name} {value.run.model.name}"  # type: ignore[union-attr]
        case MeanLabel():
            return f"mean label {_number(value.label)}"
        case EqualEntropy():
            return f"entropy of T = {_number(value.temperature)}"
        case tuple() | list():
            return " ".join(map(_written, value))
    return str(value)


def _number(value: float) -> str:
    return f"{value:.10f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _longest(a: float, b: int) -> str:
    return f"{b} tokens" if a == 0 else f"source + {b} tokens"


def _optimiser(own: Optimiser) -> str:
    if own.name == "adam":
        return "Adam"
    parts = [f"momentum {_number(own.momentum)}"] if own.momentum else []
    parts += [f"dampening {_number(own.dampening)}"] if own.dampening else []
    parts += ["Nesterov"] if own.nesterov else []
    return ", ".join(["SGD", *parts])


def _augment(own: Augment) -> str:
    parts = [f"crop of {_number(100 * own.scale[0])} to {_number(100 * own.scale[1])} %"] if own.scale else []
    parts += [f"sides {' to '.join(f'{x:.2f}' for x in own.ratio)}"] if own.ratio else []
    parts += [f"pad {own.pad}, crop"] if own.pad else []
    parts += [f"shift {own.shift}"] if own.shift else []
    parts += [f"crop of side {own.crop}"] if own.crop else []
    parts += ["flip"] if own.flip else []
    how = f" {own.rotate_by}" if own.side else " nearest"
    parts += [f"rotate {_number(own.rotate)}°{how}"] if own.rotate else []
    parts += [f"grayscale {_number(own.grayscale)}"] if own.grayscale else []
    brightness, contrast = own.brightness or own.jitter_brightness, own.contrast or own.jitter_contrast
    parts += [f"brightness {_number(brightness)}"] if brightness else []
    parts += [f"contrast {_written(contrast)}"] if contrast else []
    return ", ".join(parts) or "none"


def _at(run: Run, share: float) -> str:
    """A fraction of a run in its own units."""
    assert isinstance(run, RunSpec)
    whole = run.recipe.steps or run.recipe.epochs
    assert whole is not None
    return _number(round(share * whole, 6))


def _counted(number: str, unit: str) -> str:
    return f"{number} {unit}" if number == "1" else f"{number} {unit}s"


def _schedule(run: Run) -> str:
    if not isinstance(run, RunSpec):
        return "inverse square root"
    own, unit = run.recipe.schedule, "steps" if run.recipe.steps else "epochs"
    if own.kind == "steps":
        return f"× {_number(own.factor or 0)} after {' '.join(_at(run, b) for b in own.boundaries)} {unit}"
    if own.kind == "exponential":
        every = _at(run, own.every or 0)
        return f"× {_number(own.factor or 0)} after every {unit.rstrip('s') if every == '1' else f'{every} {unit}'}"
    return f"{own.kind} to 0" if own.kind in ("linear", "cosine") else own.kind


def _warmup(run: Run) -> str:
    if not isinstance(run, RunSpec):
        return f"{run.recipe.warmup_updates} updates"
    if not run.recipe.schedule.warmup:
        return "none"
    return _counted(_at(run, run.recipe.schedule.warmup), "step" if run.recipe.steps else "epoch")


def _length(run: Run) -> str | None:
    own = run.recipe
    if not isinstance(run, RunSpec):
        return f"at most {own.updates} updates" if own.patience else f"{own.updates} updates"  # type: ignore[union-attr]
    if run.recipe.steps == 0:
        return None
    return f"{run.recipe.steps} steps" if run.recipe.steps else f"{_number(run.recipe.epochs or 0)} epochs"


def _held_out(run: Run) -> str:
    if not isinstance(run, RunSpec):
        corpus = settled(run.dataset)
        every = corpus.holdout_every
        return "test part" if corpus.validate_on_test else f"1 pair of {every}" if every else "validation part"
    declared = info(run.dataset)
    holdout = declared.holdout if run.dataset.holdout is None else run.dataset.holdout
    return f"{_number(100 * holdout)} %" if isinstance(holdout, float) else f"{holdout} of {declared.train_size}"


def _rate(run: Run) -> str | None:
    if not isinstance(run, RunSpec):
        return _number(run.recipe.lr)
    if run.recipe.steps == 0:
        return None
    own = run.recipe.optimiser
    return _by_group(own.lr, [(g, own.lr * g.lr_factor) for g in own.groups if g.lr_factor != 1])


def _decay(run: Run) -> str | None:
    if not isinstance(run, RunSpec):
        return _number(run.recipe.weight_decay)
    if run.recipe.steps == 0:
        return None
    own = run.recipe.optimiser
    return _by_group(own.weight_decay, [(g, g.weight_decay) for g in own.groups if g.weight_decay is not None])


def _by_group(value: float, others: Iterable[tuple[ParameterGroup, float]]) -> str:
    """The value of all parameters but those of some groups, and theirs."""
    return "; ".join([_number(value), *(f"{_group(group)} {_number(own)}" for group, own in others)])


def _group(own: ParameterGroup) -> str:
    return re.sub(r"[\\^$]", "", own.parameters).rstrip(".")


INPUTS: Mapping[Normalise, str] = {
    "none": "0 to 1",
    "dataset": "the data set's mean and deviation",
    "per_image": "each image standardised",
    "imagenet": "ImageNet's mean and deviation",
}


def _input(run: Run) -> str | None:
    return INPUTS[run.recipe.normalise] if isinstance(run, RunSpec) else None


def _checkpoint(run: Run) -> str | None:
    """Of the network that teaches, or that is measured as it was in its training; a step as epochs."""
    parent = teacher_of(run) or initial_of(run)
    if parent is None or not isinstance(parent.run, RunSpec | TranslationSpec):
        return None
    if not parent.checkpoint.startswith("step:"):
        return parent.checkpoint
    of = parent.run
    assert isinstance(of, RunSpec)
    size = info(of.dataset).train_size
    assert size is not None
    assert isinstance(of.dataset.holdout, int)
    step = int(parent.checkpoint.removeprefix("step:"))
    return _counted(f"{step * of.recipe.batch_size / (size - of.dataset.holdout):.0f}", "epoch")


def _views(run: Run) -> str | None:
    views = getattr(run.targets, "views", None)
    return None if views is None else "each view" if views == "all" else f"{views} views of each image"


DERIVED: Mapping[str, Callable[[Run], str | None]] = {
    "dataset.holdout": _held_out,
    "dataset.num_subwords": lambda run: _written(settled(run.dataset).num_subwords),  # type: ignore[arg-type]
    "recipe.length": _length,
    "recipe.optimiser": lambda run: (
        _optimiser(run.recipe.optimiser) if isinstance(run, RunSpec) else "Adam " + _written(run.recipe.betas)
    ),
    "recipe.optimiser.lr": _rate,
    "recipe.optimiser.weight_decay": _decay,
    "recipe.schedule": _schedule,
    "recipe.schedule.warmup": _warmup,
    "recipe.normalise": _input,
    "checkpoint": _checkpoint,
    "targets.cache": cache_kind,
    "targets.alpha": lambda run: "0" if isinstance(run.targets, Hard) else _alpha(run),
    "targets.views": _views,
}
"""Settings that are no field by themselves, or are written in other words."""


def _alpha(run: Run) -> str | None:
    alpha = getattr(run.targets, "alpha", None)
    return None if alpha is None else _number(alpha)


def table(plan: Plan, paper: str) -> tuple[Sequence[str], list[list[str]]]:
    """Head and rows of a paper's table; a value of ours is bold where the policy would have another."""
    rows: list[list[str]] = []
    lines = [line for line in settings() if line.paper == paper]
    for before, line in zip([None, *lines], lines, strict=False):
        whole = [other for other in lines if other.experiment == line.experiment]
        value = ours(plan, line)
        rows.append(
            [
                _place(plan, line, before, whole), f"`{line.setting}`", line.text or NOT_STATED, line.code or NO_CODE,
                f"**{value}**" if departs(line, value) else value, ", ".join(line.register),
            ]
        )  # fmt: skip
    return ("experiment", "setting", "paper's text", "released code", "ours", "register"), rows


def _place(plan: Plan, line: Setting, before: Setting | None, whole: Sequence[Setting]) -> str:
    """The first cell of a row: the experiment where it begins, the families where they change."""
    begins = before is None or before.experiment != line.experiment
    everything = {family.split("[")[0] for other in whole for family in other.families}
    if not begins and before is not None and before.families == line.families:
        return ""
    named = ", ".join(f"`{name}`" for name in line.families)
    if not begins:
        return "all" if everything == set(line.families) else named
    artifacts = dict.fromkeys(artifact.name for other in whole for artifact, _ in members(plan, other))
    count = _counted(str(trainings(plan, whole)), "training")
    said = f"**{line.experiment}**: {', '.join(f'`{name}`' for name in artifacts)}; {count}"
    return said if everything == set(line.families) else f"{said}. {named}"


def departs(line: Setting, value: str) -> bool:
    """Whether ours is not what the policy would have: what the text says, or what the code has where the text is
    silent."""
    return line.expected not in ("", value)
