"""Predictions of a network and their calibration error, whether it classifies images or predicts the next token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import pandas as pd

from softlabels.metrics import tokens
from softlabels.metrics.calibration import ece, fit_temperature, reliability, reliability_of
from softlabels.metrics.tokens import ECE_TOKENS, TokenFile

Criterion = Literal["nll", "ece"]


class Predictions(Protocol):
    """The predictions of one seed of a run. T divides its logits; `bins` are those of the ECE."""

    @property
    def splits(self) -> tuple[str, ...]:
        """val (where there is one) and test."""

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """Checkpoints with predictions on val, of which T can be tuned."""

    def fit(self, checkpoint: str, criterion: Criterion, bins: int) -> float:
        """T tuned on val."""

    def errors(
        self, split: str, checkpoint: str, temperatures: Sequence[float], bins: int
    ) -> dict[float, dict[str, float]]:
        """T → metric → calibration error: ece, and for tokens ece_all."""

    def reliability(self, split: str, checkpoint: str, temperature: float, bins: int) -> pd.DataFrame:
        """The table behind `ece` (`metrics.calibration.reliability`)."""


def _with_val(names: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(name.removeprefix("val/") for name in names if name.startswith("val/"))


@dataclass(frozen=True, eq=False)
class Classes:
    """Logits of an image network (`metrics.rows.read_predictions`)."""

    logits: Mapping[str, np.ndarray]
    labels: Mapping[str, np.ndarray]

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.labels)

    @property
    def checkpoints(self) -> tuple[str, ...]:
        return _with_val(self.logits)

    def fit(self, checkpoint: str, criterion: Criterion, bins: int) -> float:
        return fit_temperature(self.logits[f"val/{checkpoint}"], self.labels["val"], criterion, bins)

    def errors(
        self, split: str, checkpoint: str, temperatures: Sequence[float], bins: int
    ) -> dict[float, dict[str, float]]:
        z, y = self.logits[f"{split}/{checkpoint}"], self.labels[split]
        return {t: {"ece": ece(z, y, bins, t)} for t in temperatures}

    def reliability(self, split: str, checkpoint: str, temperature: float, bins: int) -> pd.DataFrame:
        return reliability(self.logits[f"{split}/{checkpoint}"], self.labels[split], bins, temperature)


@dataclass(frozen=True, eq=False)
class NextTokens:
    """Features of a translation network (`metrics.tokens`): T is tuned and `ece` scored on the first `ECE_TOKENS`."""

    file: TokenFile

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.file.labels)

    @property
    def checkpoints(self) -> tuple[str, ...]:
        return _with_val(self.file.features)

    def fit(self, checkpoint: str, criterion: Criterion, bins: int) -> float:
        x, y = self.file.features[f"val/{checkpoint}"], self.file.labels["val"]
        return tokens.fit_temperature(x, self.file.output[checkpoint], y, criterion, bins=bins)

    def errors(
        self, split: str, checkpoint: str, temperatures: Sequence[float], bins: int
    ) -> dict[float, dict[str, float]]:
        found = self._scores(split, checkpoint, temperatures, None)
        return {t: {"ece": found.ece(t, ECE_TOKENS, bins), "ece_all": found.ece(t, None, bins)} for t in temperatures}

    def reliability(self, split: str, checkpoint: str, temperature: float, bins: int) -> pd.DataFrame:
        found = self._scores(split, checkpoint, (temperature,), ECE_TOKENS)
        return reliability_of(found.confidence[temperature], found.right, bins)

    def _scores(self, split: str, checkpoint: str, temperatures: Sequence[float], count: int | None) -> tokens.Scores:
        x, y = self.file.features[f"{split}/{checkpoint}"][:count], self.file.labels[split][:count]
        return tokens.scores(x, self.file.output[checkpoint], y, temperatures)
