"""Translate a split with fairseq's beam search; a temperature divides the logits before each step's log-softmax."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from typing import Any

import torch
from tqdm import tqdm

from softlabels.errors import SoftlabelsError
from softlabels.grid.parts.probes import Translations
from softlabels.grid.spec import to_dict
from softlabels.translation.corpus.text import Moses, split
from softlabels.translation.network import Corpus, Translator


@torch.no_grad()
def translate(
    translator: Translator, corpus: Corpus, probe: Translations, after_batch: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """The content of a translation file (`softlabels.metrics.bleu`); `after_batch` is called before each batch.

    Raises:
        SoftlabelsError: another number of hypotheses than of sentences came out.
    """
    task, count = corpus.task, len(corpus.sentences(probe.split))
    if probe.sentences is not None:
        count = min(count, probe.sentences)
    options = Namespace(
        beam=probe.beam, lenpen=probe.lenpen, temperature=probe.temperature, max_len_a=probe.max_len_a,
        max_len_b=probe.max_len_b,
    )  # fmt: skip
    generator = task.build_generator([translator.network], options)
    subwords: dict[int, str] = {}
    batches = list(corpus.batches(probe.split, range(count), max_tokens=8000 // probe.beam, by_source=True))
    for sample in tqdm(batches, unit="batch", disable=None, leave=False):
        after_batch()
        for i, hypotheses in zip(sample["id"].tolist(), generator.generate([translator.network], sample), strict=True):
            subwords[i] = task.target_dictionary.string(hypotheses[0]["tokens"].int().cpu())
    manifest, language = corpus.manifest, corpus.manifest["languages"][1]
    lines = manifest["sizes"][probe.split]
    if sorted(subwords) != list(range(count)) or len(corpus.sentences(probe.split)) != lines:
        raise SoftlabelsError(
            f"{len(subwords)} hypotheses for {count} of {lines} lines of {probe.split}: fairseq has left out some; "
            f"delete {corpus.folder} to prepare it again"
        )
    as_written = _Text(manifest)
    written = [as_written(subwords[i]) for i in range(count)]
    return {
        "seed": translator.seed,
        "probe": to_dict(probe),
        "weights": translator.weights_sha256,
        "languages": manifest["languages"],
        "hypotheses": [text for text, _ in written],
        "references": _lines(corpus, "raw", probe.split, language, count),
        "tokenised_hypotheses": [tokens for _, tokens in written],
        "tokenised_references": _lines(corpus, "tok", probe.split, language, count),
    }


class _Text:
    """From subwords to (running text, tokens), the way the corpus was cut in the other direction."""

    def __init__(self, manifest: dict[str, Any]) -> None:
        source, target = manifest["languages"]
        self.moses = Moses((source, target))
        self.pieces = manifest["subwords"] == "sentencepiece"
        self.tokenised = manifest["moses"]

    def __call__(self, subwords: str) -> tuple[str, str]:
        if self.pieces:
            text = split(subwords.replace(" ", "").replace("\u2581", " "))
        else:
            text = f"{subwords} ".replace("@@ ", "").strip()
        if self.tokenised:
            return self.moses.detokenisers[1].detokenize(text.split(), return_str=True), text
        # sentencepiece reads running text, which the tokenised BLEU cannot count
        return text, split(self.moses.tokenisers[1].tokenize(text, return_str=True)) if self.pieces else text


def _lines(corpus: Corpus, kind: str, part: str, language: str, count: int) -> list[str]:
    path = corpus.folder / kind / f"{part}.{language}"
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    if len(lines) < count:
        raise SoftlabelsError(f"{path} has {len(lines)} lines, the binarised split more; delete {corpus.folder}")
    return lines[:count]
