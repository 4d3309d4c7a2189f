"""What softened outputs of one class can be asked for."""

from __future__ import annotations

from dataclasses import dataclass

from softlabels.errors import SpecError
from softlabels.figures.declared.drawing import Drawing
from softlabels.figures.declared.targets import probe_of
from softlabels.grid import datasets
from softlabels.grid.plan import Artifact
from softlabels.grid.probes import PictureProbe
from softlabels.grid.spec import RunSpec


@dataclass(frozen=True)
class Settings:
    """`options` and the probe that they are asked of."""

    label: int
    temperatures: tuple[float, ...]
    alpha: float
    probe: PictureProbe


def settings_of(artifact: Artifact) -> Settings:
    """The options of an artifact.

    Raises:
        SpecError: a class that the data do not have, temperatures or an α that are none, no probe of training logits.
    """
    where = f"artifact {artifact.id}:"
    options, member = artifact.options, artifact.members[0]
    assert isinstance(member.run, RunSpec)
    K = datasets.info(member.run.dataset).num_classes
    label, alpha = options.get("target"), options.get("alpha", 0.1)
    if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < K:
        raise SpecError(f"{where} options.target must be a class by its index, 0 to {K - 1}, not {label!r}")
    temperatures = options.get("temperatures")
    if not isinstance(temperatures, list | tuple) or not temperatures or not all(_is_positive(t) for t in temperatures):
        raise SpecError(f"{where} options.temperatures must list temperatures above 0, as [1, 20]")
    if not isinstance(alpha, int | float) or not 0 <= alpha < 1:
        raise SpecError(f"{where} options.alpha must lie in [0, 1), not {alpha!r}")
    probe = probe_of(artifact, member.family, "logits", "train")
    if probe is None:
        raise SpecError(f"{where} probes: {member.family} needs {{split: train, what: logits}}")
    return Settings(label, tuple(float(t) for t in temperatures), float(alpha), probe)


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _check(artifact: Artifact, where: str) -> None:
    if len({member.run for member in artifact.members}) != 1:
        raise SpecError(f"{where} softened_teacher shows one network; name a family of one")
    settings_of(artifact)


DRAWING = Drawing(("figure",), ("target", "temperatures", "alpha"), labels_only=True, check=_check)
