"""BLEU, sacreBLEU and chrF of files of translations, against values by hand and fairseq's own scorer."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from refusals import refused

from softlabels.errors import DataError
from softlabels.files import write_json
from softlabels.metrics.bleu import (
    TranslationFile,
    bleu_scores,
    check_origin,
    check_weights,
    read_translations,
    signature_line,
    signatures,
)

PROBE = {"what": "translations", "temperature": 2}
CONTENT: dict[str, Any] = {
    "run": "sentences.transformer_tiny.hard.00000000", "seed": 1, "probe": PROBE, "weights": "ab" * 32,
    "languages": ["en", "de"], "hypotheses": ["Der Hund, der bellt.", "Ein Haus."],
    "references": ["Der Hund, der bellt.", "Ein altes Haus."],
    "tokenised_hypotheses": ["der hund , der bellt .", "ein haus ."],
    "tokenised_references": ["der hund , der bellt .", "ein altes haus ."],
}  # fmt: skip


def texts(hypotheses: list[str], references: list[str], **other: list[str]) -> TranslationFile:
    """The same text detokenised and tokenised unless told otherwise."""
    both = {"hypotheses": hypotheses, "references": references}
    both |= {f"tokenised_{name}": text for name, text in both.items()} | other
    return TranslationFile("run", 0, {}, "", ("en", "de"), **both)


# ---------------------------------------------------------------- values


def test_bleu_by_hand():
    file = texts(["the cat sat on the mat", "a dog ."], ["the cat sat on a mat", "a dog ."])
    # 1- to 4-grams over both sentences; the second "the" is one too many. As many tokens: no brevity penalty.
    precisions = [8 / 9, 5 / 7, 3 / 5, 1 / 3]
    expected = 100 * math.exp(sum(map(math.log, precisions)) / 4)
    assert bleu_scores(file)["bleu"] == pytest.approx(expected)


def test_brevity_by_hand():
    file = texts(["a b c d e f g h"], ["a b c d e f g h i j"])
    assert bleu_scores(file)["bleu"] == pytest.approx(100 * math.exp(1 - 10 / 8))


def test_perfect_and_hopeless_translations():
    perfect = texts(["Das ist ein kleiner Hund ."], ["Das ist ein kleiner Hund ."])
    assert bleu_scores(perfect) == pytest.approx({"bleu": 100, "sacrebleu": 100, "chrf": 100})
    hopeless = bleu_scores(texts(["x x x x x"], ["a b c d e"]))
    assert hopeless["bleu"] == 0  # no smoothing, as in fairseq
    assert hopeless["chrf"] == 0
    assert bleu_scores(texts(["", ""], ["a b", "c"]))["bleu"] == 0


def test_the_papers_bleu_ignores_case_and_tokenises_nothing_and_sacrebleu_does_neither():
    reference = "Das ist ein Hund, kein Haus."
    file = texts(
        ["das ist ein hund, kein haus."],
        [reference],
        tokenised_hypotheses=["Das ist ein Hund , kein Haus ."],
        tokenised_references=["das ist ein hund , kein haus ."],
    )
    found = bleu_scores(file)
    assert found["bleu"] == pytest.approx(100)
    assert found["sacrebleu"] < 60
    assert bleu_scores(texts([reference], [reference.lower()]))["bleu"] == pytest.approx(100)
    # "hund," stays one token where nothing is tokenised
    glued = texts(["ein hund, ein haus b c"], ["ein hund , ein haus b c"])
    assert glued.hypotheses != glued.references
    assert bleu_scores(glued)["bleu"] < bleu_scores(glued)["sacrebleu"] == pytest.approx(100)


@pytest.mark.parametrize("seed", range(4))
def test_bleu_is_that_of_fairseqs_scorer(seed):
    """Random text at several degrees of agreement, repeats and lengths included."""
    torch = pytest.importorskip("torch")
    scoring = pytest.importorskip("fairseq.scoring.bleu")
    rng = np.random.default_rng(seed)
    scorer = scoring.Scorer(scoring.BleuConfig(pad=1, eos=2, unk=3))
    hypotheses, references = [], []
    for _ in range(60):
        reference = rng.integers(4, 4 + 12 * (seed + 1), size=rng.integers(3, 25))
        kept = rng.random(len(reference)) > 0.12 * (seed + 1)
        hypothesis = np.where(rng.random(len(reference)) > 0.1, reference, rng.integers(4, 40, len(reference)))[kept]
        if len(hypothesis) == 0:
            hypothesis = reference[:1]
        scorer.add(torch.tensor(reference, dtype=torch.int32), torch.tensor(hypothesis, dtype=torch.int32))
        references.append(" ".join(f"w{i}" for i in reference))
        hypotheses.append(" ".join(f"w{i}" for i in hypothesis))
    assert 1 < scorer.score() < 99
    assert bleu_scores(texts(hypotheses, references))["bleu"] == pytest.approx(scorer.score(), rel=1e-9)


def test_signatures_tell_how_each_is_counted():
    found = signatures()
    assert "case:lc" in found["bleu"]
    assert "tok:none" in found["bleu"]
    assert "case:mixed" in found["sacrebleu"]
    assert "tok:13a" in found["sacrebleu"]
    assert "nc:6|nw:0" in found["chrf"]
    assert all("version:" in signature and signature in signature_line() for signature in found.values())


# ---------------------------------------------------------------- files


def test_a_file_is_read_as_it_was_written(tmp_path):
    write_json(tmp_path / "t.json", CONTENT)
    file = read_translations(tmp_path / "t.json")
    assert file == TranslationFile(**CONTENT)
    found = bleu_scores(file)
    assert 0 < found["bleu"] < 100
    check_origin(tmp_path / "t.json", file, CONTENT["run"], 1, PROBE)
    check_weights(tmp_path / "t.json", file, {"weights.safetensors": "ab" * 32})


BAD = [
    ({"hypotheses": ["one"]}, "hypotheses"),
    ({name: [] for name in CONTENT if name.endswith(("ses", "ces"))}, "hypotheses"),
    ({"references": ["a", 3]}, "references"),
    ({"weights": None}, "weights"),
    ({"languages": "en"}, "languages"),
]


@pytest.mark.parametrize(("change", "named"), BAD)
def test_a_file_of_another_form_is_named(tmp_path, change, named):
    write_json(tmp_path / "t.json", CONTENT | change)
    with refused(DataError, "t.json", named):
        read_translations(tmp_path / "t.json")


def test_a_damaged_or_missing_file_is_named(tmp_path: Path):
    path = tmp_path / "t.json"
    with refused(DataError, path):
        read_translations(path)
    path.write_text(json.dumps(CONTENT)[:-5])
    with refused(DataError, path):
        read_translations(path)
    path.write_text("[1]")
    with refused(DataError, path, "run"):
        read_translations(path)


def test_translations_of_another_origin_are_refused(tmp_path):
    file, path = TranslationFile(**CONTENT), tmp_path / "t.json"
    for name, other in (("run", "another.run"), ("seed", 2), ("probe", {"what": "translations"})):
        asked = {"run": CONTENT["run"], "seed": 1, "probe": PROBE, name: other}
        with refused(DataError, path, name):
            check_origin(path, file, **asked)
    for files in ({"weights.safetensors": "cd" * 32}, {}):
        with refused(DataError, path, "weights.safetensors"):
            check_weights(path, file, files)
