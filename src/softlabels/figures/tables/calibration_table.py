"""Expected calibration error of hard, temperature-scaled and smoothed networks (Müller et al. 2019, Table 3).

T is tuned on our validation split, by likelihood (the default of register M-TS) and by ECE on the grid
0.1, 0.2, …; it is scored there, as in the paper for CIFAR-100, and on the test split, which tuned nothing.
Of a translation network the first 10,000 tokens of a split count, as about in the paper (A.3); `ece_all` is of all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from softlabels.figures import selectors
from softlabels.figures.drawing import ANY, Drawing
from softlabels.figures.lazy import pd
from softlabels.figures.source import Measured, Source, tidy
from softlabels.grid.plan import Artifact
from softlabels.grid.spec import TranslationSpec

if TYPE_CHECKING:
    from softlabels.figures.predictions import Criterion, Predictions


BINS = 15
CRITERIA: Mapping[Criterion, str] = {"nll": "", "ece": "_min_ece"}
"""Criterion → ending of the metric's name; the default has the paper's name."""
VARIANTS = {f"{metric}_min_ece": metric for metric in ("ece", "calibration_temperature")}
VARIANTS |= {"ece_all": "ece", "ece_all_min_ece": "ece"}


DRAWING = Drawing(("compare_with",), labels_only=True, tasks=ANY)


def measure(artifact: Artifact, source: Source) -> Measured:
    """The standard metrics of every network; of hard-label ones also the tuned T and the ECE at it."""
    from softlabels.papers.published import compare

    rows = []
    for member in artifact.members:
        rows += source.standard(artifact, member)
        if selectors.alpha_of(member.run) != 0:
            continue
        for seed in member.seeds:
            found = source.predictions(member, seed)
            for split, checkpoint, metric, value in scaled(found, selectors.reported_on(member)) if found else ():
                row = source.row(artifact, member, seed, split, checkpoint, metric, value)
                rows.append(row | {"method": "temp_scaling"})
    frame = tidy(rows)
    return Measured(frame, compare(frame, artifact, variants=VARIANTS))


def scaled(predictions: Predictions, reported: str = "val") -> list[tuple[str, str, str, float]]:
    """(split, checkpoint, metric, value) of temperature scaling: the ECE at T on every split, and T itself.

    T is tuned on val whatever is scored; it is given under the split that the paper reports on, beside its ECE.
    """
    found = []
    for checkpoint in predictions.checkpoints:
        fitted = {criterion: predictions.fit(checkpoint, criterion, BINS) for criterion in CRITERIA}
        errors = {
            split: predictions.errors(split, checkpoint, [*fitted.values()], BINS) for split in predictions.splits
        }
        for criterion, t in fitted.items():
            ending = CRITERIA[criterion]
            found.append((reported, checkpoint, f"calibration_temperature{ending}", t))
            found += [
                (split, checkpoint, f"{metric}{ending}", value)
                for split, of_split in errors.items()
                for metric, value in of_split[t].items()
            ]
    return found


def table(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Ours beside the paper's."""
    from softlabels.papers.published import printed_table

    return printed_table(plotted)


def remarks(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """What the numbers are."""
    from softlabels.metrics.tokens import ECE_TOKENS
    from softlabels.papers.published import READING

    said = (
        "ECE: 15 bins, a fraction. temp_scaling: T tuned on our validation split, by likelihood "
        "(ece, calibration_temperature) or by ECE (…_min_ece), also where it stands in a row of the test split, which "
        "tuned nothing; on the validation split it is scored where it was tuned. std: over seeds, n − 1. "
    )
    if any(isinstance(member.run, TranslationSpec) for member in artifact.members):
        said += (
            f"Of translation networks ece is of the first {ECE_TOKENS:,} tokens of a split (ends of sentences "
            "counted), of which T is tuned too; ece_all is of all tokens. "
        )
    return [said + READING]
