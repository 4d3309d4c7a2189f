"""The parallel corpora by name: what is declared of each, without a byte of data.

Numbers of pairs and tokens of IWSLT and WMT are estimates from the literature, for the audit only; `softlabels data`
counts the real ones.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from softlabels.errors import SpecError
from softlabels.grid.parts.translation import PARALLEL, CorpusSpec
from softlabels.grid.spec import to_dict


@dataclass(frozen=True)
class CorpusInfo:
    """What is declared of a corpus; None where only the user's own files can tell."""

    version: int
    """Raised by hand when the prepared text changes although the files do not."""
    reader: Literal["sentences", "iwslt14", "wmt16", "files"]
    """Which module of `softlabels.translation.corpus` reads it."""
    source: str | None
    target: str | None
    train_pairs: int | None
    train_tokens: int | None
    """Tokens of the target side."""
    test_tokens: int | None = None
    """Tokens of the target side of test, about as many as of validation."""
    archives: tuple[str, ...] = ()
    """Usual names of the archive below data.root, or of the folder that it unpacks to."""
    url: str | None = None
    tokenise: bool = True
    lowercase: bool = False
    max_ratio: float = 1.5
    max_length: int = 175
    subwords: Literal["bpe", "sentencepiece", "given"] = "bpe"
    num_subwords: int = 10_000
    holdout_every: int | None = None
    note: str = ""


def _iwslt(target: str, archives: tuple[str, ...], url: str | None, pairs: int, tokens: int) -> CorpusInfo:
    return CorpusInfo(
        version=1,
        reader="iwslt14",
        source="en",
        target=target,
        train_pairs=pairs,
        train_tokens=tokens,
        test_tokens=170_000,
        archives=archives,
        url=url,
        lowercase=True,
        holdout_every=23,
        note="TED talks; Moses tokens, lower case, joint BPE; test: dev2010, dev2012, tst2010, tst2011, tst2012",
    )


CORPORA: dict[str, CorpusInfo] = {
    "sentences": CorpusInfo(
        version=1,
        reader="sentences",
        source="en",
        target="de",
        train_pairs=4000,
        train_tokens=56_000,
        test_tokens=6_000,
        tokenise=False,
        lowercase=True,
        num_subwords=1000,
        note="generated English and German sentences with agreement, cases and both German word orders",
    ),
    "iwslt14_en_de": _iwslt(
        "de",
        ("de-en.tgz", "en-de.tgz"),
        "https://dl.fbaipublicfiles.com/fairseq/data/iwslt14/de-en.tgz",
        160_239,
        4_000_000,
    ),
    "iwslt14_en_ru": _iwslt("ru", ("en-ru.tgz", "ru-en.tgz"), None, 170_000, 4_500_000),
    "wmt_en_de": CorpusInfo(
        version=1,
        reader="wmt16",
        source="en",
        target="de",
        train_pairs=4_500_000,
        train_tokens=130_000_000,
        test_tokens=90_000,
        archives=("wmt16_en_de.tar.gz",),
        tokenise=False,  # the archive's text is tokenised and segmented (32,000 joint merges)
        subwords="given",
        num_subwords=32_000,
        max_ratio=float("inf"),
        max_length=250,
        note="WMT'16 English-German as segmented for the Transformer; validation newstest2013, test newstest2014",
    ),
    PARALLEL: CorpusInfo(
        version=1,
        reader="files",
        source=None,
        target=None,
        train_pairs=None,
        train_tokens=None,
        note="text files of your own",
    ),
}
SETTINGS = ("source", "target", "tokenise", "lowercase", "max_ratio", "max_length", "subwords", "num_subwords")
"""Fields of a spec whose default is what the corpus declares."""


def info(spec: CorpusSpec) -> CorpusInfo:
    """What is declared of the corpus that a spec names.

    Raises:
        SpecError: no corpus has this name.
    """
    if spec.name not in CORPORA:
        raise SpecError(f"dataset.name: {spec.name!r} is unknown; give one of {', '.join(CORPORA)}")
    return CORPORA[spec.name]


def settled(spec: CorpusSpec) -> CorpusSpec:
    """The spec with what the corpus declares in every field that it leaves open.

    Raises:
        SpecError: an unknown name, or a field that has no effect on this corpus.
    """
    declared = info(spec)
    if declared.subwords == "given":
        for name in ("tokenise", "subwords", "num_subwords", "max_ratio"):
            if getattr(spec, name) not in (None, getattr(declared, name)):
                raise SpecError(f"dataset.{name} has no effect on {spec.name}, whose text is segmented already")
    if declared.reader == "sentences" and (spec.archive is not None or spec.sha256 is not None):
        raise SpecError("dataset.archive and sha256 have no effect on generated sentences")
    own_holdout = spec.val is None and not spec.validate_on_test
    fields = {name: getattr(declared, name) for name in SETTINGS if getattr(spec, name) is None}
    if spec.holdout_every is None and own_holdout:
        fields["holdout_every"] = declared.holdout_every
    return dataclasses.replace(spec, **fields)


def identity_of(spec: CorpusSpec) -> dict[str, Any]:
    """What decides the prepared text, as JSON values.

    Where files lie is left out (their declared sha256 says what they are), and so are estimates for the audit.
    """
    described: dict[str, Any] = to_dict(settled(spec))
    if spec.sha256 is not None:
        for name in ("train", "val", "test", "archive"):
            described.pop(name, None)
    for name in ("train_pairs", "train_tokens", "vocabulary"):
        described.pop(name, None)
    if described.get("max_ratio") == float("inf"):
        del described["max_ratio"]
    return {"spec": described, "version": info(spec).version}


def tokens(spec: CorpusSpec) -> dict[str, int | None]:
    """Declared tokens of the target side of train, val and test; None where unknown."""
    declared = info(spec)
    train = declared.train_tokens if spec.train_tokens is None else spec.train_tokens
    return {"train": train, "val": declared.test_tokens, "test": declared.test_tokens}


def pairs(spec: CorpusSpec) -> int | None:
    """Declared training pairs; None where unknown."""
    return info(spec).train_pairs if spec.train_pairs is None else spec.train_pairs


def vocabulary(spec: CorpusSpec) -> int:
    """V as far as it can be told without data: subwords, single characters and fairseq's special types."""
    if spec.vocabulary is not None:
        return spec.vocabulary
    subwords = settled(spec).num_subwords
    assert subwords is not None
    return subwords + 768
