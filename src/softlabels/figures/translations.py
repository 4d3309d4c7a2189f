"""BLEU, sacreBLEU and chrF of the translations that an artifact's probes ask for, as tidy rows."""

from __future__ import annotations

from collections.abc import Iterable

from softlabels.errors import SpecError
from softlabels.figures import selectors
from softlabels.figures.source import Row, Source
from softlabels.grid.parts.probes import Translations
from softlabels.grid.plan import Artifact, Member
from softlabels.metrics.bleu import bleu_scores


def check(artifact: Artifact, where: str) -> None:
    """Refuse an artifact with a family whose test split is not translated at the last checkpoint, or at one at which
    it teaches."""
    for member in artifact.members:
        translated = selectors.translations_on_test(artifact, member.family)
        for checkpoint in ("last", *selectors.taught_at(artifact, member)):
            if checkpoint not in translated:
                raise SpecError(
                    f"{where} family {member.family} needs a probe of what: translations, split: test, temperature: 1 "
                    f"and checkpoint: {checkpoint}"
                )


def bleu_rows(
    artifact: Artifact, source: Source, member: Member, probes: Iterable[Translations], ending: str = ""
) -> list[Row]:
    """A row for each metric of `bleu_scores`, seed and probe; `ending` is added to the metrics' names."""
    return [
        source.row(artifact, member, seed, probe.split, probe.checkpoint, metric + ending, value)
        for probe in probes
        for seed in member.seeds
        if (file := source.translations(member, seed, probe)) is not None
        for metric, value in bleu_scores(file).items()
    ]


def bleu_on_test(artifact: Artifact, source: Source, member: Member) -> list[Row]:
    """`bleu_rows` of the test split at decoding temperature 1, of every checkpoint that is translated."""
    return bleu_rows(artifact, source, member, selectors.translations_on_test(artifact, member.family).values())


def decoding(probes: Iterable[Translations]) -> str:
    """How these translations were made, in words for the face: `beam 4, length penalty 1, at most 200 tokens`."""
    said = []
    for probe in probes:
        part = "" if probe.sentences is None else f", first {probe.sentences:,} sentences"
        longest = f"{probe.max_len_a:g} × source + {probe.max_len_b}" if probe.max_len_a else f"{probe.max_len_b}"
        said.append(f"beam {probe.beam}, length penalty {probe.lenpen:g}, at most {longest} tokens{part}")
    return " or ".join(dict.fromkeys(said))
