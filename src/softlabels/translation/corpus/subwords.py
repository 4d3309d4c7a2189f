"""Subwords: one model for both languages, learned on training text alone."""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import sentencepiece
from subword_nmt import apply_bpe, learn_bpe  # type: ignore[import-untyped]

from softlabels.errors import DataError
from softlabels.files import atomic
from softlabels.grid.parts.translation import CorpusSpec
from softlabels.translation.corpus.parallel import read_lines

Segment = Callable[[str], str]
"""From a normalised sentence to its subwords, separated by single spaces."""


def learn(spec: CorpusSpec, train: tuple[Path, Path], folder: Path) -> Segment:
    """Learn what a settled spec asks for on both training files, and keep it in `folder`.

    Written is `codes` (bpe) or `model` (sentencepiece); nothing for text that is segmented already.

    Raises:
        DataError: the text is too small for so many subwords.
    """
    if spec.subwords == "given":
        return str
    assert spec.num_subwords is not None
    text = itertools.chain.from_iterable(read_lines(path) for path in train)
    folder.mkdir(parents=True, exist_ok=True)
    if spec.subwords == "bpe":
        return _bpe(text, spec.num_subwords, folder / "codes")
    return _sentencepiece(text, spec.num_subwords, folder / "model")


def _bpe(text: Iterator[str], merges: int, path: Path) -> Segment:
    codes = io.StringIO()
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # a progress bar
            learn_bpe.learn_bpe(text, codes, merges)
    except ValueError:  # no word of two letters
        raise DataError("the training text has no pair of letters to merge; give more text for dataset.train") from None
    with atomic(path) as part:
        part.write_text(codes.getvalue(), encoding="utf-8")
    segment: Segment = apply_bpe.BPE(codes).process_line
    return segment


def _sentencepiece(text: Iterator[str], size: int, path: Path) -> Segment:
    model = io.BytesIO()
    sentencepiece.set_random_generator_seed(1)
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=text,
            model_writer=model,
            model_type="unigram",
            vocab_size=size,
            character_coverage=1.0,
            shuffle_input_sentence=False,
            num_threads=1,  # sums in a fixed order: the same model each time
            minloglevel=2,
        )
    except RuntimeError as error:
        cause = " ".join(str(error).split()).rpartition("] ")[2]
        raise DataError(
            f"sentencepiece cannot make {size} subwords of the training text ({cause}); change dataset.num_subwords"
        ) from None
    with atomic(path) as part:
        part.write_bytes(model.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    return lambda sentence: " ".join(processor.encode(sentence, out_type=str))
