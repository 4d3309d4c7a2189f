"""What each drawing module can be asked for, checked when the plan is made: before anything is trained.

Imports neither pandas nor matplotlib, so that a dry run can call it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from softlabels.errors import SpecError
from softlabels.figures import roles
from softlabels.grid.plan import Artifact
from softlabels.grid.probes import Probe, Tokens
from softlabels.grid.spec import Distill, reference_of, teacher_of


@dataclass(frozen=True)
class Drawing:
    """A module of `softlabels.figures`: figures have its `draw`, tables its `table`."""

    kinds: tuple[str, ...]
    options: tuple[str, ...] = ()
    """Keys of an artifact's `options` that it reads."""
    labels_only: bool = False
    """Shows networks trained on labels, without a teacher."""
    by_temperature: bool = False
    """Places students by T, which must be a number."""
    tasks: tuple[str, ...] = ("image",)
    """Tasks of the networks that it shows."""


ANY = ("image", "translation")
DRAWINGS: Mapping[str, Drawing] = {
    "bleu_table": Drawing(("table",), ("compare_with",), tasks=("translation",)),
    "calibration_table": Drawing(("table",), ("compare_with",), labels_only=True, tasks=ANY),
    "compare_table": Drawing(("table",), ("compare_with",), tasks=ANY),
    "decoding_temperature": Drawing(("figure",), labels_only=True, tasks=("translation",)),
    "distillation_grid": Drawing(("figure", "table"), ("checkpoint",), by_temperature=True),
    "information": Drawing(("figure",), labels_only=True),
    "projection": Drawing(("figure",), ("rows",), labels_only=True, tasks=ANY),
    "reliability": Drawing(("figure",), labels_only=True, tasks=ANY),
    "smoothing_curves": Drawing(("figure",), by_temperature=True),
    "step_size": Drawing(("figure",), by_temperature=True),
    "truncation": Drawing(("figure", "table"), ("published",), tasks=("translation",)),
}
ROW_KEYS = ("family", "dataset", "classes", "names")
"""Keys of an entry of `options.rows` of a projection."""


def check(artifact: Artifact) -> None:
    """Refuse an artifact that its drawing module could not measure or draw.

    Raises:
        SpecError: naming the artifact and the key.
    """
    where = f"artifact {artifact.id}:"
    drawing = DRAWINGS.get(artifact.draw)
    if drawing is None:
        raise SpecError(f"{where} draw must be one of {', '.join(DRAWINGS)}, not {artifact.draw!r}")
    if artifact.kind not in drawing.kinds:
        raise SpecError(f"{where} draw: {artifact.draw} makes no {artifact.kind}; use kind: {drawing.kinds[0]}")
    for key in artifact.options:
        if key not in drawing.options:
            known = f"its options are {', '.join(drawing.options)}" if drawing.options else "it has none"
            raise SpecError(f"{where} options.{key}: {artifact.draw} has no such option; {known}")
    for member in artifact.members:
        if member.run.task not in drawing.tasks:
            raise SpecError(
                f"{where} {artifact.draw} shows networks of task {' or '.join(drawing.tasks)}, and those of "
                f"{member.family} are of task {member.run.task}; take the family out of families"
            )
    if drawing.labels_only and (distilled := roles.distilled(artifact)):
        raise SpecError(
            f"{where} {artifact.draw} shows networks trained on labels, and those of {distilled[0].family} "
            "have a teacher; take the family out of families"
        )
    solved = next((m for m in artifact.members if reference_of(m.run)), None)
    if drawing.by_temperature and solved:
        raise SpecError(
            f"{where} {artifact.draw} places students by their temperature, and that of {solved.family} is solved for "
            "only when it is trained (entropy_of); take the family out of families"
        )
    _check_splits(artifact, where)
    if artifact.options.get("checkpoint", "last") not in ("last", "best"):
        raise SpecError(f"{where} options.checkpoint must be last or best, not {artifact.options['checkpoint']!r}")
    if artifact.draw in _SPECIAL:
        _SPECIAL[artifact.draw](artifact, where)


def _check_splits(artifact: Artifact, where: str) -> None:
    """The paper's numbers name a data set, not a family: its families must agree which split they are of."""
    found: dict[str | None, str] = {}
    for member in artifact.members:
        name = dict(member.published).get("dataset")
        if found.setdefault(name, roles.reported_on(member)) != roles.reported_on(member):
            raise SpecError(f"{where} the families of {name} differ in published.reported_on; give them one value")


def _check_projection(artifact: Artifact, where: str) -> None:
    rows = artifact.options.get("rows")
    if not isinstance(rows, list | tuple) or not rows:
        raise SpecError(f"{where} options.rows must list the rows of panels, each with its three classes")
    for number, entry in enumerate(rows):
        _check_row(artifact, entry, f"{where} options.rows[{number}]")


def _check_row(artifact: Artifact, entry: Any, where: str) -> None:
    if not isinstance(entry, Mapping) or not _three(entry.get("classes")):
        raise SpecError(f"{where}.classes must name three class indices")
    if unknown := [key for key in entry if key not in ROW_KEYS]:
        raise SpecError(f"{where} has no key {unknown[0]!r}; allowed: {', '.join(ROW_KEYS)}")
    if not _three(entry.get("names", entry["classes"])):
        raise SpecError(f"{where}.names must name the three classes")
    members = roles.of_row(artifact, entry)
    if not members:
        raise SpecError(f"{where} selects no member; check its family and dataset")
    for family in dict.fromkeys(member.family for member in members):
        probes = roles.feature_probes(artifact, family)
        if "train" not in probes or len(probes) != 2:
            raise SpecError(
                f"{where}: family {family} needs two probes of what: features (or what: tokens, with tokens), one of "
                "split: train and one of val or test"
            )
        for split, probe in probes.items():
            known = range(len(probe.tokens)) if isinstance(probe, Tokens) else probe.classes
            if known is not None and (absent := set(entry["classes"]) - set(known)):
                raise SpecError(f"{where}.classes: {min(absent)} is not in the {split} probe of {family}")
        if len({probe.tokens for probe in probes.values() if isinstance(probe, Tokens)}) > 1:
            raise SpecError(f"{where}: the two probes of {family} differ in tokens; give them one list")


def _three(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 3


def _check_information(artifact: Artifact, where: str) -> None:
    if not artifact.probes:
        raise SpecError(f"{where} information needs probes: of two classes, with at least 3 views, at milestones")
    for family, probe in artifact.probes:
        fits = (
            isinstance(probe, Probe)
            and len(probe.classes or ()) == 2
            and probe.views >= 3
            and probe.checkpoints == "milestones"
        )
        if not fits:
            raise SpecError(
                f"{where} the probe of {family} needs two classes, at least 3 views and checkpoints: milestones"
            )


def _check_curves(artifact: Artifact, where: str) -> None:
    for member in roles.distilled(artifact):
        if roles.temperature_of(member.run) == float("inf"):
            raise SpecError(
                f"{where} γ of family {member.family} is not defined: logit matching has no temperature; "
                "take the family out of families"
            )
        if roles.taught_by(artifact, member) is None:
            teacher = teacher_of(member.run)
            assert teacher is not None
            raise SpecError(
                f"{where} γ of family {member.family} needs its teacher, at its last checkpoint (here: "
                f"{teacher.checkpoint}), in a family of the artifact with a probe of split: train"
            )


def _check_compared(artifact: Artifact, where: str) -> None:
    for family in dict.fromkeys(member.family for member in artifact.members):
        for probe in roles.token_probes(artifact, family):
            if probe.split != "train":
                raise SpecError(
                    f"{where} the probe of {family}: compare_table has the tokens of {probe.split} already; "
                    "give split: train"
                )


def _check_bleu(artifact: Artifact, where: str) -> None:
    """Every network has translations of the test split, and every student its teacher beside it."""
    _check_translated(artifact, where)
    for member in roles.distilled(artifact):
        teacher = teacher_of(member.run)
        assert teacher is not None
        if roles.teacher_place(artifact, member) is None:
            raise SpecError(
                f"{where} family {member.family} needs its teacher in a family of the artifact, with a probe of what: "
                f"translations, split: test, temperature: 1 and checkpoint: {teacher.checkpoint}"
            )


def _check_translated(artifact: Artifact, where: str) -> None:
    for family in dict.fromkeys(member.family for member in artifact.members):
        if "last" not in roles.on_test(artifact, family):
            raise SpecError(
                f"{where} family {family} needs a probe of what: translations, split: test, temperature: 1 and "
                "checkpoint: last"
            )


def _check_truncation(artifact: Artifact, where: str) -> None:
    _check_translated(artifact, where)
    if not isinstance(artifact.options.get("published", False), bool):
        raise SpecError(f"{where} options.published must be true or false, not {artifact.options['published']!r}")
    students = [m for m in artifact.members if isinstance(m.run.targets, Distill)]
    if not students:
        raise SpecError(f"{where} truncation needs a family of distilled students")
    if len({(m.run.dataset, m.run.model) for m in students}) > 1 and artifact.kind == "figure":
        raise SpecError(f"{where} truncation draws students of one network on one corpus; use an artifact for each")


def _check_step_size(artifact: Artifact, where: str) -> None:
    """One student for each way of stepping, teacher's α and T; students of a hard-label and of a smoothed teacher."""
    students = roles.distilled(artifact)
    for member in students:
        if not isinstance(member.run.targets, Distill) or roles.teacher_alpha(member.run) is None:
            raise SpecError(
                f"{where} step_size shows students (kind: distill) of teachers trained on labels; take the family "
                f"{member.family} out of families"
            )
    alphas = {roles.teacher_alpha(m.run) for m in students}
    if 0 not in alphas or len(alphas) < 2:
        raise SpecError(f"{where} step_size needs students of a hard-label teacher (α = 0) and of a smoothed one")
    taken: dict[tuple[object, ...], str] = {}
    for member in students:
        place = (roles.stepping(artifact, member), roles.teacher_alpha(member.run), roles.temperature_of(member.run))
        if place in taken:
            raise SpecError(
                f"{where} step_size shows one student for a way of stepping, a teacher's α and a T; {taken[place]} and "
                f"{member.family} both have one for {place[0]}, α = {place[1]}, T = {place[2]}; split the artifact"
            )
        taken[place] = member.family


def _check_decoding(artifact: Artifact, where: str) -> None:
    for member in artifact.members:
        split = roles.reported_on(member)
        if len(roles.over_temperature(artifact, member)) < 2:
            raise SpecError(
                f"{where} family {member.family} needs probes of what: translations and split: {split} at two or more "
                "temperatures"
            )


_SPECIAL: Mapping[str, Callable[[Artifact, str], None]] = {
    "bleu_table": _check_bleu,
    "compare_table": _check_compared,
    "decoding_temperature": _check_decoding,
    "information": _check_information,
    "projection": _check_projection,
    "smoothing_curves": _check_curves,
    "step_size": _check_step_size,
    "truncation": _check_truncation,
}
