"""Translations of a split, and their scores: BLEU as the papers count it, sacreBLEU, chrF. Never one for another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from softlabels.errors import DataError, SoftlabelsError
from softlabels.files import read_json

TEXTS = ("hypotheses", "references", "tokenised_hypotheses", "tokenised_references")
METRICS = ("bleu", "sacrebleu", "chrf")


@dataclass(frozen=True)
class TranslationFile:
    """The JSON of a probe (`grid.parts.probes.Translations`); its keys are the fields. Texts: an entry a sentence."""

    run: str
    seed: int
    probe: Mapping[str, Any]
    """The probe asked, as `grid.spec.to_dict` writes it."""
    weights: str
    """SHA-256 of the run's `weights.safetensors`."""
    languages: Sequence[str]
    """Source, target."""
    hypotheses: Sequence[str]
    """`[n]`, detokenised."""
    references: Sequence[str]
    """`[n]`, as in the corpus."""
    tokenised_hypotheses: Sequence[str]
    """`[n]`, tokens joined from subwords by spaces, lower case if the corpus is."""
    tokenised_references: Sequence[str]


def read_translations(path: Path) -> TranslationFile:
    """Read and check a file of translations.

    Raises:
        DataError: the file is missing, damaged, or its texts are not as many hypotheses as references.
    """
    try:
        content = read_json(path)
    except SoftlabelsError as bad:
        raise DataError(str(bad)) from None
    again = "delete it to have it made again"
    kinds = {"run": str, "seed": int, "probe": dict, "weights": str, **dict.fromkeys(("languages", *TEXTS), list)}
    for name, kind in kinds.items():
        value = content.get(name) if isinstance(content, dict) else None
        if not isinstance(value, kind) or (isinstance(value, list) and not all(isinstance(t, str) for t in value)):
            raise DataError(f"{path} holds no {name}, or not of the form of translations; {again}")
    counts = {len(content[name]) for name in TEXTS}
    if len(counts) != 1 or counts == {0}:
        listed = ", ".join(f"{len(content[name])} {name.replace('_', ' ')}" for name in TEXTS)
        raise DataError(f"{path} holds {listed}, where the numbers must be equal and not 0; {again}")
    return TranslationFile(**{name: content[name] for name in kinds})


def check_origin(path: Path, file: TranslationFile, run: str, seed: int, probe: Mapping[str, Any]) -> None:
    """Refuse translations that another run, seed or question gave.

    Raises:
        DataError: the file is not what its place says.
    """
    asked = {"run": run, "seed": seed, "probe": dict(probe)}
    for name, expected in asked.items():
        if getattr(file, name) != expected:
            raise DataError(f"{path} is of another {name}, {getattr(file, name)!r}; delete it to have it made again")


def check_weights(path: Path, file: TranslationFile, files: Mapping[str, str]) -> None:
    """Refuse translations by other weights than those of the run now; `files` of the run's `run.json`.

    Raises:
        DataError: the checksums differ.
    """
    if files.get("weights.safetensors") != file.weights:
        raise DataError(
            f"{path} is of other weights than the run's weights.safetensors; delete it to have it made again"
        )


def bleu_scores(file: TranslationFile) -> dict[str, float]:
    """bleu, sacrebleu and chrf, each of 0 to 100, over all sentences (`signatures` tells how they are counted)."""
    return {name: score for name, (score, _) in _scored(file).items()}


def signatures() -> dict[str, str]:
    """sacreBLEU's signature of each metric: case, tokeniser, smoothing, version."""
    one = ["a"]
    scored = _scored(TranslationFile("", 0, {}, "", (), one, one, one, one))
    return {name: signature for name, (_, signature) in scored.items()}


def signature_line(metrics: Sequence[str] = METRICS) -> str:
    """What metrics are, and their signatures, as a line for the face of a figure or table."""
    words = {
        "bleu": "bleu: 4-gram BLEU of tokenised lower-case text, the kind of number that the papers print",
        "sacrebleu": "sacrebleu: cased and detokenised, another scale",
        "chrf": "chrf: chrF2",
    }
    found = signatures()
    return " ".join(f"{words[name]} ({found[name]})." for name in metrics)


def _scored(file: TranslationFile) -> dict[str, tuple[float, str]]:
    """Metric → (score, signature)."""
    from sacrebleu.metrics.bleu import BLEU  # a tenth of a second, which tables of images need not wait for
    from sacrebleu.metrics.chrf import CHRF

    tokenised = (list(file.tokenised_hypotheses), [list(file.tokenised_references)])
    plain = (list(file.hypotheses), [list(file.references)])
    # Without smoothing, as the scorer of fairseq and multi-bleu; `force`: that the text is tokenised is intended.
    counters = {
        "bleu": (BLEU(lowercase=True, force=True, tokenize="none", smooth_method="none"), tokenised),
        "sacrebleu": (BLEU(), plain),
        "chrf": (CHRF(), plain),
    }
    scored = {}
    for name, (counter, texts) in counters.items():
        score = float(counter.corpus_score(*texts).score)
        scored[name] = (score, str(counter.get_signature()))
    return scored
