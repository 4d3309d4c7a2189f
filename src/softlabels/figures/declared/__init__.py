"""What each drawing module can be asked for, checked when the plan is made: before anything is trained.

A module here is named as the drawing module that it declares; those without a check of their own stand in `DRAWINGS`
alone. Imports neither pandas nor matplotlib, so that a dry run can call it.
"""

from __future__ import annotations

from collections.abc import Mapping

from softlabels.errors import SpecError
from softlabels.figures import roles
from softlabels.figures.declared import (
    bleu_table,
    class_accuracy,
    class_probabilities,
    class_sets,
    compare_table,
    complexity,
    decoding_temperature,
    diffusion,
    entropy,
    figure_index,
    information,
    projection,
    samples,
    self_distillation,
    smoothing_curves,
    softened_teacher,
    step_size,
    truncation,
)
from softlabels.figures.declared.drawing import ANY, Drawing
from softlabels.figures.declared.own import MADE_OF_ANYTHING, is_own
from softlabels.grid.label_targets import Hard, Smooth, VirtualTeacher
from softlabels.grid.plan import Artifact
from softlabels.grid.spec import is_solved, on_labels, reference_of, teacher_of


def _check_search(artifact: Artifact, where: str) -> None:
    """Networks on labels, one of them hard for each network, and virtual teachers."""
    for members in roles.facets(artifact.members).values():
        if not any(on_labels(m.run) and roles.alpha_of(m.run) == 0 for m in members):
            raise SpecError(f"{where} smoothing_search needs hard labels for {members[0].family} too; add their family")
    for member in artifact.members:
        if not isinstance(member.run.targets, Hard | Smooth | VirtualTeacher):
            raise SpecError(f"{where} smoothing_search shows no {member.run.targets.kind}; take out {member.family}")


DRAWINGS: Mapping[str, Drawing] = {
    "accuracy_curves": Drawing(("figure",)),
    "bleu_table": bleu_table.DRAWING,
    "calibration_table": Drawing(("table",), ("compare_with",), labels_only=True, tasks=ANY),
    "class_accuracy": class_accuracy.DRAWING,
    "class_probabilities": class_probabilities.DRAWING,
    "class_sets": class_sets.DRAWING,
    "compare_table": compare_table.DRAWING,
    "complexity": complexity.DRAWING,
    "decoding_temperature": decoding_temperature.DRAWING,
    "diffusion": diffusion.DRAWING,
    "distillation_grid": Drawing(("figure", "table"), ("checkpoint",), by_temperature=True),
    "entropy": entropy.DRAWING,
    "figure_index": figure_index.DRAWING,
    "information": information.DRAWING,
    "methods": Drawing(("figure",)),
    "projection": projection.DRAWING,
    "projection_steps": Drawing(("table",), of_networks=False),
    "quoted": Drawing(("table",), of_networks=False),
    "reliability": Drawing(("figure",), labels_only=True, tasks=ANY),
    "samples": samples.DRAWING,
    "self_distillation": self_distillation.DRAWING,
    "smoothing_curves": smoothing_curves.DRAWING,
    "smoothing_search": Drawing(("figure",), check=_check_search),
    "softened_teacher": softened_teacher.DRAWING,
    "step_size": step_size.DRAWING,
    "truncation": truncation.DRAWING,
}


def check(artifact: Artifact) -> None:
    """Refuse an artifact that its drawing module could not measure or draw.

    Raises:
        SpecError: naming the artifact and the key.
    """
    where = f"artifact {artifact.id}:"
    drawing = MADE_OF_ANYTHING if is_own(artifact.draw) else DRAWINGS.get(artifact.draw)
    if drawing is None:
        raise SpecError(f"{where} draw must be one of {', '.join(DRAWINGS)} or own:<module>, not {artifact.draw!r}")
    if artifact.kind not in drawing.kinds:
        raise SpecError(f"{where} draw: {artifact.draw} makes no {artifact.kind}; use kind: {drawing.kinds[0]}")
    for key in () if is_own(artifact.draw) else artifact.options:
        if key not in drawing.options:
            known = f"its options are {', '.join(drawing.options)}" if drawing.options else "it has none"
            raise SpecError(f"{where} options.{key}: {artifact.draw} has no such option; {known}")
    if drawing.of_networks != bool(artifact.members):
        needs = (
            "shows networks; name their families" if drawing.of_networks else "shows no networks; leave families empty"
        )
        raise SpecError(f"{where} families: {artifact.draw} {needs}")
    for member in artifact.members:
        if member.run.task not in drawing.tasks:
            raise SpecError(
                f"{where} {artifact.draw} shows networks of task {' or '.join(drawing.tasks)}, and those of "
                f"{member.family} are of task {member.run.task}; take the family out of families"
            )
    taught = next((m for m in artifact.members if not on_labels(m.run)), None)
    if drawing.labels_only and taught:
        learns = "have a teacher" if teacher_of(taught.run) else f"learn from {taught.run.targets.kind}"
        raise SpecError(
            f"{where} {artifact.draw} shows networks trained on labels, and those of {taught.family} {learns}; "
            "take the family out of families"
        )
    solved = next((m for m in artifact.members if is_solved(m.run)), None)
    if drawing.by_temperature and solved:
        key = "entropy_of" if reference_of(solved.run) else "label"
        raise SpecError(
            f"{where} {artifact.draw} places students by their temperature, and that of {solved.family} is solved for "
            f"only when it is trained ({key}); take the family out of families"
        )
    _check_splits(artifact, where)
    if artifact.options.get("checkpoint", "last") not in ("last", "best"):
        raise SpecError(f"{where} options.checkpoint must be last or best, not {artifact.options['checkpoint']!r}")
    if drawing.check is not None:
        try:
            drawing.check(artifact, where)
        except SpecError as error:  # a rule of class sets, say, which does not know the artifact
            said = str(error)
            raise SpecError(said if said.startswith(where[:-1]) else f"{where} {said}") from None


def _check_splits(artifact: Artifact, where: str) -> None:
    """The paper's numbers name a data set, not a family: its families must agree which split they are of."""
    found: dict[str | None, str] = {}
    for member in artifact.members:
        name = dict(member.published).get("dataset")
        if found.setdefault(name, roles.reported_on(member)) != roles.reported_on(member):
            raise SpecError(f"{where} the families of {name} differ in published.reported_on; give them one value")
