"""What entropies of teachers' targets need: logits of the whole training split, and temperatures."""

from __future__ import annotations

from collections.abc import Mapping

from softlabels.errors import SpecError
from softlabels.figures import roles
from softlabels.figures.declared.drawing import Drawing
from softlabels.figures.declared.targets import probe_of
from softlabels.figures.declared.temperatures import check_temperatures
from softlabels.grid.plan import Artifact, Member
from softlabels.grid.probes import Probe


def training_probe(artifact: Artifact, family: str) -> Probe | None:
    """The family's probe of the logits of all training images."""
    probe = probe_of(artifact, family, "logits", "train")
    return probe if isinstance(probe, Probe) and probe.classes is None and probe.per_class is None else None


def matches_of(artifact: Artifact) -> dict[str, float]:
    """Name of a solved temperature → T of the smoothed teacher whose entropy the hard-label teacher has there."""
    return {str(name): float(t) for name, t in artifact.options.get("match", {}).items()}


def matched_pairs(artifact: Artifact) -> list[tuple[Member, Member]]:
    """Hard-label teachers, each with every smoothed one of the same network and data."""
    return [
        (hard, smooth)
        for hard in artifact.members
        for smooth in artifact.members
        if roles.alpha_of(hard.run) == 0 < roles.alpha_of(smooth.run)
        and (hard.run.dataset, hard.run.model) == (smooth.run.dataset, smooth.run.model)
    ]


def _check(artifact: Artifact, where: str) -> None:
    check_temperatures(artifact, where)
    for family in dict.fromkeys(member.family for member in artifact.members):
        if training_probe(artifact, family) is None:
            raise SpecError(
                f"{where} family {family} needs a probe of what: logits and split: train, of all classes and images"
            )
    match = artifact.options.get("match", {})
    fits = isinstance(match, Mapping) and all(isinstance(t, int | float) and t > 0 for t in match.values())
    if not fits:
        raise SpecError(f"{where} options.match must map names to temperatures, as {{T_a: 1, T_b: 3}}")
    pairs = matched_pairs(artifact)
    if match and (not pairs or len({hard.run for hard, _ in pairs}) < len(pairs)):
        raise SpecError(f"{where} options.match needs one hard-label and one smoothed teacher (α > 0) of a network")


DRAWING = Drawing(("table", "figure"), ("temperatures", "match", "compare_with"), labels_only=True, check=_check)
