"""The embedded corpus: English sentences and their German translations, generated with the grammar of both.

Gender and number agree, verbs govern cases, German verbs stand second, first or last, and some choices of the German
side (synonyms, word order, perfect or preterite) cannot be told from the English one, as in real text. The corpus is a
pure function of `SEED`; no sentence of either language stands in two splits.
"""

from __future__ import annotations

from softlabels.translation.corpus.generated import english, german
from softlabels.translation.corpus.generated.draw import Draw
from softlabels.translation.corpus.parallel import Pair, Parallel, untouched

SEED = 2019
SIZES = {"train": 4000, "val": 400, "test": 400}
LENGTHS = range(4, 17)  # tokens
MAX_RATIO = 1.5  # as cleaning allows, so that it leaves nothing out


def generate() -> dict[str, list[Pair]]:
    """The pairs of each split: lower-case tokens separated by spaces, English first."""
    draw = Draw(SEED)
    seen: set[str] = set()
    pairs: list[Pair] = []
    while len(pairs) < sum(SIZES.values()):
        sentence = draw.sentence()
        both = english.say(sentence), german.say(sentence)
        texts = " ".join(both[0]), " ".join(both[1])
        lengths = sorted(len(words) for words in both)
        fits = lengths[0] in LENGTHS and lengths[1] in LENGTHS and lengths[1] <= MAX_RATIO * lengths[0]
        if not fits or not seen.isdisjoint(texts):
            continue
        seen.update(texts)
        pairs.append(texts)
    splits, start = {}, 0
    for split, size in SIZES.items():
        splits[split] = pairs[start : start + size]
        start += size
    return splits


def read_sentences(languages: Pair) -> Parallel:
    """The corpus from one language to the other, generated anew (half a second)."""
    german_first = languages[0] == "de"
    splits = {
        split: [(pair[1], pair[0]) if german_first else pair for pair in pairs] for split, pairs in generate().items()
    }
    return Parallel(lambda: iter(splits["train"]), untouched(splits["val"]), untouched(splits["test"]))
