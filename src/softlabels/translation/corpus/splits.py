"""Training, validation and test parts: cleaned, held out, and with no test pair in training or validation."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from softlabels.errors import DataError
from softlabels.grid.parts.translation import CorpusSpec
from softlabels.translation.corpus.parallel import Pair, PairWriter, Parallel, Part, paths_of, read_pairs
from softlabels.translation.corpus.text import Normaliser, unfit


@dataclass(frozen=True)
class Splits:
    """Validation and test (`text` is normalised); training pairs stand in two files."""

    val: Part
    test: Part
    validation: str
    """Where validation comes from: own, holdout or test."""
    removed: dict[str, int]
    """Why pairs were left out → how many."""


def divide(spec: CorpusSpec, corpus: Parallel, languages: Pair, normalise: Normaliser, train: Path) -> Splits:
    """Divide a corpus by a settled spec and write the normalised training pairs to `<train>.<language>`.

    Training pairs are cleaned first, then every `holdout_every`-th is held out, then overlaps go: pairs of training
    or validation that are test pairs, pairs of training that are validation pairs, compared as normalised text.

    Raises:
        DataError: a part has no pair left.
    """
    assert spec.max_ratio is not None
    assert spec.max_length is not None
    removed: Counter[str] = Counter()
    test = _normalised(corpus.test, normalise, "test", removed)
    held = Part([], [])
    cleaned = train.with_name(f"{train.name}.cleaned")
    kept = 0
    with PairWriter(cleaned, languages) as writer:
        for raw in corpus.train():
            pair = normalise(raw)
            if why := unfit(pair, spec.max_ratio, spec.max_length):
                removed[f"train: {why}"] += 1
                continue
            kept += 1
            if spec.holdout_every is not None and kept % spec.holdout_every == 0:
                held.raw.append(corpus.untokenised(raw))
                held.text.append(pair)
            else:
                writer.write(pair)
    if spec.validate_on_test:
        validation, val = "test", test
    elif spec.holdout_every is not None:
        validation, val = "holdout", held
    else:
        assert corpus.val is not None
        validation, val = "own", _normalised(corpus.val, normalise, "val", removed)
    if spec.overlap == "drop" and not spec.validate_on_test:
        val = _without(val, set(test.text), "val: in test", removed)
    in_test, in_val = (set(test.text), set(val.text)) if spec.overlap == "drop" else (set(), set())
    left = 0
    with PairWriter(train, languages) as writer:
        for pair in read_pairs(*paths_of(cleaned, languages)):
            if pair in in_test:
                removed["train: in test"] += 1
            elif pair in in_val:
                removed["train: in val"] += 1
            else:
                writer.write(pair)
                left += 1
    for path in paths_of(cleaned, languages):
        path.unlink()
    for name, count in (("training", left), ("validation", len(val.text)), ("test", len(test.text))):
        if not count:
            raise DataError(
                f"corpus {spec.name} has no {name} pair left (left out: {dict(removed)}); "
                "see dataset.max_ratio, max_length, holdout_every and overlap"
            )
    splits = Splits(val, test, validation, dict(sorted(removed.items())))
    if spec.overlap == "drop":
        _check_disjoint(splits, train, languages)
    return splits


def _normalised(part: Part, normalise: Normaliser, name: str, removed: Counter[str]) -> Part:
    """A part with its text normalised; pairs with an empty side, which nothing can translate, are left out."""
    raw, text = [], []
    for written, given in zip(part.raw, part.text, strict=True):
        pair = normalise(given)
        if all(pair):
            raw.append(written)
            text.append(pair)
        else:
            removed[f"{name}: empty"] += 1
    return Part(raw, text)


def _without(part: Part, others: set[Pair], why: str, removed: Counter[str]) -> Part:
    kept = [index for index, pair in enumerate(part.text) if pair not in others]
    if len(kept) < len(part.text):
        removed[why] += len(part.text) - len(kept)
    return Part([part.raw[index] for index in kept], [part.text[index] for index in kept])


def _check_disjoint(splits: Splits, train: Path, languages: Pair) -> None:
    """What was written, read again: no test pair in training, none in validation unless validation is test."""
    test = set(splits.test.text)
    parts = {"training": read_pairs(*paths_of(train, languages))}
    if splits.validation != "test":
        parts["validation"] = iter(splits.val.text)
    for name, pairs in parts.items():
        if any(pair in test for pair in pairs):
            raise DataError(f"a {name} pair is a test pair, although overlaps were dropped; this is a bug, report it")
