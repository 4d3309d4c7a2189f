"""The corpus of the demo: 4800 English sentences and their German translations, as text in the package.

`sentences.tsv.gz` has a pair a line (English, tab, German), lower-case tokens separated by single spaces: first the
training pairs, then those of validation, then those of test. A grammar of both languages with 184 entries in its
lexicon made it (seed 2019); commit 97cbcf4 of this project is the last one that has the generator, in the folder
`generated` beside this module. Gender and number agree, verbs govern cases, German verbs stand second, first or last,
and some choices of the German side (synonyms, word order, perfect or preterite) cannot be told from the English one, as
in real text. No sentence of either language stands twice, so none stands in two splits.
"""

from __future__ import annotations

import hashlib
from importlib import resources
from itertools import islice

from softlabels.errors import DataError
from softlabels.translation.corpus.parallel import Pair, Parallel, read_lines, untouched

PACKAGE, FILE = "softlabels.translation.corpus", "sentences.tsv.gz"
SIZES = {"train": 4000, "val": 400, "test": 400}
SHA256 = "a1d212a096cf325fee4f032f3696c9c0cabf1ad1d78f3bc2fc32c9f16dd42dbc"
"""Of the text. Whoever changes it changes numbers: raise `version` of the corpus in `grid.declared.corpora` too."""


def load_pairs() -> dict[str, list[Pair]]:
    """The pairs of each split, English first.

    Raises:
        DataError: the file has changed or is damaged.
    """
    with resources.as_file(resources.files(PACKAGE).joinpath(FILE)) as path:
        lines = list(read_lines(path))
        if (found := hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()) != SHA256:
            raise DataError(f"the text of {path} has sha256 {found} and not {SHA256}; install softlabels again")
    pairs = ((english, german) for english, _, german in (line.partition("\t") for line in lines))
    return {split: list(islice(pairs, size)) for split, size in SIZES.items()}


def read_sentences(languages: Pair) -> Parallel:
    """The corpus from one language to the other (raises as `load_pairs`)."""
    step = -1 if languages[0] == "de" else 1
    splits = {split: [(pair[::step][0], pair[::step][1]) for pair in pairs] for split, pairs in load_pairs().items()}
    return Parallel(lambda: iter(splits["train"]), untouched(splits["val"]), untouched(splits["test"]))
