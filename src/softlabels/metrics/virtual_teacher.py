"""The virtual teacher of Yuan et al. 2020 (supplement, Sec. 2): what it teaches, and what its released loss computes.

pᵈ is `correct` on the true class, (1 − correct)/(K − 1) on each other (S.4). In this project's letters α is label
smoothing and β the weight of the soft targets, the paper's α.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.special import softmax

from softlabels.errors import require
from softlabels.metrics.arrays import checked_temperature, checked_weight

CORRECT = 0.99
"""Probability of the true class; only the released code states it."""


def softened(
    num_classes: int, temperature: float, form: Literal["equations", "released"], correct: float = CORRECT
) -> tuple[float, float]:
    """What pᵈ, softened at T, gives to the true class and to each other.

    `equations` tempers as of any teacher, softmax(log pᵈ / T). `released` takes the softmax of the probabilities,
    softmax(pᵈ / T), which is nearly uniform: all its inputs lie within [0, 1/T] (Y-REG in docs/conventions.md).

    Raises:
        SpecError: fewer than 2 classes, `correct` not between 1/K and 1, T ≤ 0, or an unknown form.
    """
    require(num_classes >= 2, f"a virtual teacher needs 2 or more classes, not {num_classes}")
    require(1 / num_classes < correct < 1, f"correct must be above 1/{num_classes} and below 1, not {correct}")
    require(form in ("equations", "released"), f"form must be equations or released, not {form!r}")
    p = np.full(num_classes, (1 - correct) / (num_classes - 1))
    p[0] = correct
    q = softmax((np.log(p) if form == "equations" else p) / checked_temperature(temperature))
    return float(q[0]), float(q[1])


def released_smoothing(
    num_classes: int, temperature: float, beta: float, multiplier: float = 1.0, correct: float = CORRECT
) -> tuple[float, float]:
    """α and scale s of the label smoothing that the released Tf-KD_reg is: its loss is s·H(y(1 − α) + α/K, p) + const.

    The released loss is (1 − β)·H(y, p) + β·multiplier·KL(q ‖ p)/K: the student is not tempered, there is no T², and
    its KL is averaged over classes too (Y-RED). q is `softened(…, "released")`, one value on all wrong classes, hence

        s = 1 − β + β·multiplier/K          α = K · q_wrong · (β·multiplier/K) / s

    exactly. A plain SGD step on s·H is one on H at s times the learning rate; weight decay λ does not shrink with it.

    Raises:
        SpecError: as `softened`; β not in (0, 1], or a multiplier that is not positive and finite.
    """
    require(0 < multiplier < np.inf, f"multiplier must be positive and finite, not {multiplier}")
    _, wrong = softened(num_classes, temperature, "released", correct)
    soft = checked_weight(beta) * multiplier / num_classes
    scale = 1 - beta + soft
    return num_classes * wrong * soft / scale, scale
