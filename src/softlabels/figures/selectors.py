"""Select networks and probes of an artifact by their specs (teacher, student, baseline, α, T), not by family names."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

from softlabels.errors import SpecError
from softlabels.grid.identity import run_id
from softlabels.grid.parts.label_targets import Hard, Smooth
from softlabels.grid.parts.probes import AnyProbe, ImageProbe, Probe, Tokens, Translations, covers
from softlabels.grid.plan import Artifact, Member
from softlabels.grid.spec import (
    Distill,
    LogitMatch,
    Parent,
    Run,
    RunSpec,
    cache_kind,
    is_solved,
    on_labels,
    reference_of,
    teacher_of,
)
from softlabels.papers.names import data_name, in_print, reported


def alpha_of(run: Run) -> float:
    """α of the labels a network is trained on, as declared (over all classes or the others): 0 for hard labels.

    Raises:
        SpecError: the network is not trained on labels alone.
    """
    if isinstance(run.targets, Smooth):
        return run.targets.alpha
    if isinstance(run.targets, Hard):
        return 0.0
    raise SpecError(f"a run with targets.kind: {run.targets.kind} has no label smoothing α")


def teacher_alpha(run: Run) -> float | None:
    """α of a distilled run's teacher; None where the teacher is not a network trained on labels here."""
    teacher = teacher_of(run)
    if teacher is None or not isinstance(teacher.run, Run) or not on_labels(teacher.run):
        return None
    return alpha_of(teacher.run)


def temperature_of(run: Run) -> float | None:
    """T of a distilled run: infinite for logit matching, NaN where it depends on results, None without a teacher."""
    if isinstance(run.targets, Distill):
        return float("nan") if is_solved(run) else run.targets.given_temperature
    return float("inf") if isinstance(run.targets, LogitMatch) else None


def stepping(artifact: Artifact, member: Member) -> str:
    """What sets the length of an image network's steps, in words: its optimiser, and whether norms are matched.

    A family is matched as a whole: at T = 1, where there is nothing to match, its members are those of another family.
    """
    assert isinstance(member.run, RunSpec)
    family = (m.run.targets for m in artifact.members if m.family == member.family)
    matched = any(isinstance(targets, Distill) and targets.gradient_norm == "matched" for targets in family)
    optimiser = {"sgd": "SGD", "adam": "Adam"}[member.run.recipe.optimiser.name]
    return optimiser + (", norm matched to T = 1" if matched else "")


def distilled(artifact: Artifact) -> tuple[Member, ...]:
    """The members that learn from a teacher."""
    return tuple(m for m in artifact.members if teacher_of(m.run) is not None)


def teachers(artifact: Artifact) -> tuple[Member, ...]:
    """The families trained on labels of which at least one member teaches another member."""
    taught = {teacher.run for m in distilled(artifact) if (teacher := teacher_of(m.run)) is not None}
    families = {m.family for m in artifact.members if m.run in taught}
    return tuple(m for m in artifact.members if m.family in families and on_labels(m.run))


def baselines(artifact: Artifact) -> tuple[Member, ...]:
    """The students' network trained on labels alone; where students and teachers are one network, the teachers."""
    students = {(m.run.dataset, m.run.model) for m in distilled(artifact)}
    alone = [m for m in artifact.members if on_labels(m.run)]
    taught = {(m.family, m.run) for m in teachers(artifact)}
    not_teaching = tuple(
        m for m in alone if (m.run.dataset, m.run.model) in students and (m.family, m.run) not in taught
    )
    return not_teaching or tuple(m for m in alone if (m.run.dataset, m.run.model) in students)


def teaches(member: Member, student: Member) -> bool:
    """Whether a member is the network that taught another."""
    teacher = teacher_of(student.run)
    return teacher is not None and teacher.run == member.run


def reported_checkpoint(artifact: Artifact) -> str:
    """The checkpoint whose numbers are drawn: last or best; of `options.checkpoint`, else the one the paper reports."""
    return str(artifact.options.get("checkpoint", reported(artifact.paper)))


def taught_at(artifact: Artifact, member: Member | None = None) -> tuple[str, ...]:
    """The checkpoints at which a member teaches others of the artifact, or all members that do."""
    students = [m for m in distilled(artifact) if member is None or teaches(member, m)]
    return tuple(dict.fromkeys(t.checkpoint for m in students if (t := teacher_of(m.run)) is not None))


def of_teachers(artifact: Artifact) -> str:
    """What a face says beside "last checkpoint" where teachers are drawn at the best one (`shown_at`)."""
    return ", of teachers the best" if "best" in taught_at(artifact) else ""


def shown_at(artifact: Artifact, member: Member) -> str:
    """The checkpoint whose accuracy is drawn of a member: the one at which it teaches, else the reported one."""
    return next(iter(taught_at(artifact, member)), reported_checkpoint(artifact))


def teacher_probe(artifact: Artifact, parent: Parent, unchanged: bool = False) -> tuple[Member, Probe] | None:
    """A teacher among the members, and its probe of training images at the checkpoint that teaches.

    None where there is none; with `unchanged` its images must not be augmented.
    """
    return next(
        (
            (member, probe)
            for member, probe in _teacher_probes(artifact, parent)
            if covers(probe, parent.checkpoint) and not (unchanged and probe.views)
        ),
        None,
    )


def _teacher_probes(artifact: Artifact, parent: Parent) -> Iterable[tuple[Member, Probe]]:
    """A teacher among the members, and each of its probes of training images."""
    for member in artifact.members:
        if member.run == parent.run:
            for family, probe in artifact.probes:
                if family == member.family and isinstance(probe, Probe) and probe.split == "train":
                    yield member, probe


def check_teacher_probes(artifact: Artifact, where: str) -> None:
    """Refuse a teacher whose training images are probed, but not at the checkpoint that teaches.

    Raises:
        SpecError: naming the family of the teacher.
    """
    for student in distilled(artifact):
        for parent in filter(None, (teacher_of(student.run), reference_of(student.run))):
            other = next(iter(_teacher_probes(artifact, parent)), None)
            if other is not None and teacher_probe(artifact, parent) is None:
                raise SpecError(
                    f"{where} probes: {other[0].family} teaches {student.family} at {parent.checkpoint} and is probed "
                    f"at {other[1].checkpoints}; give its probe checkpoints: {parent.checkpoint}"
                )


def check_shown(artifact: Artifact, where: str) -> None:
    """Refuse a teacher whose accuracy cannot be drawn: that of several checkpoints, or of one without predictions.

    Raises:
        SpecError: naming the family of the teacher.
    """
    for member in teachers(artifact):
        found = taught_at(artifact, member)
        if len(found) > 1 or not {*found} <= {"last", "best"}:
            raise SpecError(
                f"{where} {artifact.plot} shows {member.family} at the checkpoint that taught, last or best, and it "
                f"teaches at {' and at '.join(found)}; take those students out of families"
            )


def probe_of(artifact: Artifact, family: str, what: str, split: str, checkpoint: str = "last") -> ImageProbe | None:
    """The family's first probe of a kind on a split, of unchanged images at a checkpoint."""
    found: Iterable[AnyProbe] = (probe for name, probe in artifact.probes if name == family)
    for probe in found:
        if (
            isinstance(probe, ImageProbe)
            and (probe.what, probe.split, probe.views) == (what, split, 0)
            and covers(probe, checkpoint)
        ):
            return probe
    return None


def feature_probes(artifact: Artifact, family: str) -> dict[str, Probe | Tokens]:
    """Split → the family's first probe of features of chosen classes or tokens there, training first."""
    found: dict[str, Probe | Tokens] = {}
    for name, probe in artifact.probes:
        if name != family or not isinstance(probe, Probe | Tokens) or probe.checkpoints != "last":
            continue
        if probe.tokens if isinstance(probe, Tokens) else probe.what == "features":
            found.setdefault(probe.split, probe)
    return dict(sorted(found.items(), key=lambda item: item[0] != "train"))


def token_probes(artifact: Artifact, family: str) -> list[Tokens]:
    """The family's probes of every next token of some sentences."""
    return [p for name, p in artifact.probes if name == family and isinstance(p, Tokens) and not p.tokens]


def translations_on_test(artifact: Artifact, family: str) -> dict[str, Translations]:
    """Checkpoint → the family's first probe of translations of the test split at temperature 1, last before best."""
    found: dict[str, Translations] = {}
    for probe in _translations(artifact, family):
        if probe.split == "test" and probe.temperature == 1:
            found.setdefault(probe.checkpoint, probe)
    return dict(sorted(found.items(), reverse=True))


def over_temperature(artifact: Artifact, member: Member) -> dict[float, Translations]:
    """T → the first probe of translations of the split reported on (`reported_on`), by T, the last checkpoint."""
    found: dict[float, Translations] = {}
    for probe in _translations(artifact, member.family):
        if probe.split == reported_on(member) and probe.checkpoint == "last":
            found.setdefault(probe.temperature, probe)
    return dict(sorted(found.items()))


def _translations(artifact: Artifact, family: str) -> list[Translations]:
    return [probe for name, probe in artifact.probes if name == family and isinstance(probe, Translations)]


def teacher_place(artifact: Artifact, student: Member) -> tuple[Member, Translations] | None:
    """A student's teacher among the members, and its translations of the test split at the checkpoint that taught."""
    teacher = teacher_of(student.run)
    if teacher is None:
        return None
    for member in artifact.members:
        probe = translations_on_test(artifact, member.family).get(teacher.checkpoint)
        if member.run == teacher.run and probe is not None:
            return member, probe
    return None


def cache_name(run: Run) -> str:
    """How a student gets its teacher's logits, in words: `features`, `top 4, tail dropped`; "" without a teacher."""
    k = run.targets.top_k if isinstance(run.targets, Distill) else None
    endings = {"topk_drop": f"top {k}, tail dropped", "topk_lse": f"top {k}, tail spread"}
    kind = cache_kind(run) or ""
    return endings.get(kind, kind)


def of_row(artifact: Artifact, entry: Mapping[str, Any]) -> list[Member]:
    """The networks of one entry of `options.rows`, by their α or their teachers'; its `dataset` is the paper's name or
    the one trained on, its `temperature` that of students (none: networks trained on labels)."""
    found = [
        m
        for m in artifact.members
        if entry.get("family") in (None, m.family)
        and entry.get("dataset") in (None, dict(m.published).get("dataset"), data_name(m.run))
        and entry.get("temperature") == temperature_of(m.run)
    ]
    return sorted(found, key=lambda m: labels_alpha(m.run) or 0.0)


def labels_alpha(run: Run) -> float | None:
    """α of the labels that a network is trained on, or that its teacher was; None where that is not known."""
    return alpha_of(run) if on_labels(run) else teacher_alpha(run)


def reported_on(member: Member) -> str:
    """Our split that the paper's `val` is: test for ImageNet, whose official validation set is our test split."""
    return dict(member.published).get("reported_on", "val")


def facets(members: Iterable[Member]) -> dict[str, list[Member]]:
    """Members by title (`title`), in order."""
    found: dict[str, list[Member]] = {}
    for member in members:
        found.setdefault(title(member), []).append(member)
    return found


def title(member: Member) -> str:
    """`digits / mlp (for cifar10 / alexnet)`: what was trained, and the paper's names where they differ."""
    listed, replaced = in_print(member.run, dict(member.published))
    paper = listed | replaced
    named = " / ".join(listed[name] for name in ("dataset", "student"))
    differs = {"dataset", "student"} & set(replaced)
    return named + (f"\n(for {paper['dataset']} / {paper['student']})" if differs else "")


def line_name(member: Member) -> str:
    """How a network trained on labels is called in a legend."""
    return labels_name(alpha_of(member.run))


def labels_name(alpha: Any) -> str:
    """`hard labels`, or the smoothing of labels."""
    return "hard labels" if alpha == 0 else f"label smoothing, α = {alpha:g}"


def teacher_name(alpha: Any) -> str:
    """A teacher trained on labels, by its α."""
    return "hard-label teacher" if alpha == 0 else f"smoothed teacher, α = {alpha:g}"


def role(artifact: Artifact, member: Member) -> str:
    """`student` of a teacher, `baseline` (the students' network on labels alone) or `teacher`."""
    if teacher_of(member.run) is not None:
        return "student"
    return "baseline" if member in baselines(artifact) else "teacher"


def variants(artifact: Artifact, looks: Callable[[Member], Hashable]) -> list[str]:
    """For each member what tells it from others that look alike, "" where nothing has to.

    Members that look alike and are different runs differ in what is not shown, such as recipe, views, cache or initial
    weights. They are told apart by their family, within a family by its axes; all members of a family alike, so that a
    line of them has one name.
    """
    alike: dict[Hashable, list[Member]] = {}
    for member in artifact.members:
        alike.setdefault(looks(member), []).append(member)
    families: set[str] = set()
    axes: set[tuple[str, str]] = set()
    for group in alike.values():
        for one, other in itertools.permutations(group, 2):
            if run_id(one.run) == run_id(other.run):
                continue
            if one.family != other.family:
                families.add(one.family)
            else:
                axes |= {(one.family, axis) for axis, value in one.values if other.value(axis) != value}
    return [
        ", ".join(
            [m.family.replace("_", " ")] * (m.family in families)
            + [f"{axis} {value}" for axis, value in m.values if (m.family, axis) in axes]
        )
        for m in artifact.members
    ]
