"""Distillation of features as in "A Comprehensive Overhaul of Feature Distillation" (Heo et al. 2019)."""

from __future__ import annotations

from typing import Literal

from pydantic.dataclasses import dataclass

from softlabels.errors import require
from softlabels.grid.parse import STRICT


@dataclass(frozen=True, config=STRICT)
class Overhaul:
    """weight · Σ_l 2^(l − L)·d(connector(student's features), teacher's) at the ends of L stages, before their ReLU.

    d is the partial squared distance to the teacher's features after a margin ReLU, summed over channels and places,
    mean over the batch (`training.feature_distillation`). Where stages end: `grid.zoo`. The teacher looks at each
    image beside the student, once, for features and logits.
    """

    weight: float
    """The authors' code has 1e-3 for CIFAR and 1e-4 for images of 224 px."""
    teacher_mode: Literal["train", "eval"] = "train"
    """Statistics of the teacher's batch norm: `train`, those of the batch, as the authors' code has by design; `eval`,
    the running ones. Neither changes the teacher, and nothing is dropped in it."""
    kind: Literal["overhaul"] = "overhaul"

    def __post_init__(self) -> None:
        require(self.weight > 0, f"targets.features.weight must be > 0, not {self.weight}")
