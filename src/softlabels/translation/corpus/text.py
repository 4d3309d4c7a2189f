"""From written sentences to tokens separated by single spaces, and which training pairs are kept.

The tokeniser is Moses' (sacremoses), with its defaults: XML escapes, no aggressive splitting of dashes. The rules are
those of Moses' `clean-corpus-n`.
"""

from __future__ import annotations

from sacremoses import MosesDetokenizer, MosesTokenizer  # type: ignore[import-untyped]

from softlabels.grid.parts.translation import CorpusSpec
from softlabels.translation.corpus.parallel import Pair


def split(sentence: str) -> str:
    """Tokens as they stand, separated by single spaces; any white space of Unicode separates."""
    return " ".join(sentence.split())


def joined(pair: Pair) -> Pair:
    """Text that was segmented with `@@` marks, in whole words."""
    return pair[0].replace("@@ ", ""), pair[1].replace("@@ ", "")


class Moses:
    """Moses' tokeniser for both languages."""

    def __init__(self, languages: Pair) -> None:
        self.tokenisers = [MosesTokenizer(lang=language) for language in languages]
        self.detokenisers = [MosesDetokenizer(lang=language) for language in languages]

    def tokenise(self, pair: Pair) -> Pair:
        source, target = (
            split(tokeniser.tokenize(sentence, return_str=True))
            for tokeniser, sentence in zip(self.tokenisers, pair, strict=True)
        )
        return source, target

    def detokenise(self, pair: Pair) -> Pair:
        source, target = (
            detokeniser.detokenize(sentence.split(), return_str=True)
            for detokeniser, sentence in zip(self.detokenisers, pair, strict=True)
        )
        return source, target


class Normaliser:
    """What happens to every sentence before it is cut into subwords, by a settled spec."""

    def __init__(self, spec: CorpusSpec, languages: Pair) -> None:
        self.moses = Moses(languages)
        self.tokenise, self.lowercase, self.given = spec.tokenise, spec.lowercase, spec.subwords == "given"
        self.plain = spec.subwords == "sentencepiece" and not spec.tokenise

    def __call__(self, pair: Pair) -> Pair:
        """The text that becomes subwords."""
        source, target = self.moses.tokenise(pair) if self.tokenise else (split(pair[0]), split(pair[1]))
        return (source.lower(), target.lower()) if self.lowercase else (source, target)

    def tokens(self, text: Pair) -> Pair:
        """Of normalised text, the tokens that BLEU on tokenised text counts."""
        if self.given:
            return joined(text)
        # sentencepiece reads running text, which the tokenised BLEU cannot count
        return self.moses.tokenise(text) if self.plain else text


def unfit(pair: Pair, max_ratio: float, max_length: int) -> str | None:
    """Why a training pair of tokens is left out: empty, too long or ratio; None: it is kept."""
    source, target = (sentence.count(" ") + 1 if sentence else 0 for sentence in pair)
    if not source or not target:
        return "empty"
    if max(source, target) > max_length:
        return "too long"
    if max(source, target) > max_ratio * min(source, target):
        return "ratio"
    return None
