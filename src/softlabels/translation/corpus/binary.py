"""Subwords as fairseq reads them: `fairseq-preprocess` with one dictionary for both languages."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from softlabels.errors import DataError, SoftlabelsError
from softlabels.translation.corpus.parallel import Pair, paths_of, read_lines

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")  # of fairseq's dictionary, in its order
FILES = {"train": "train", "val": "valid", "test": "test"}
"""fairseq's name of each split."""
LOG = "preprocess.log"


def binarise(subwords: Path, out: Path, languages: Pair, largest: int | None = None) -> int:
    """Make `out`, a data folder of fairseq, of `subwords/{train,val,test}.<language>`.

    Args:
        subwords: folder of the text.
        out: folder to make.
        languages: source and target.
        largest: types that the dictionary may have, the rarest left out; None: all that there are.

    Returns:
        V, the number of types of the joint dictionary, special ones included.

    Raises:
        DataError: fairseq failed; the message ends with its last line.
        SoftlabelsError: it is not installed.
    """
    if importlib.util.find_spec("fairseq") is None:
        raise SoftlabelsError("fairseq is not installed; run make setup")
    source, target = languages
    command = [sys.executable, "-m", "fairseq_cli.preprocess", "--task", "translation", "--joined-dictionary"]
    command += ["--source-lang", source, "--target-lang", target, "--destdir", str(out), "--workers", "1"]
    for split, name in FILES.items():
        command += [f"--{name}pref", str(subwords / split)]
    if largest is not None:
        command += ["--nwordssrc", str(largest), "--nwordstgt", str(largest)]
    # fairseq reads files in the encoding of the locale, except where it says otherwise
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONUTF8": "1"})
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise DataError(f"fairseq-preprocess failed on {subwords} with exit code {done.returncode}: {''.join(last)}")
    (out / LOG).unlink(missing_ok=True)  # names paths of this machine
    return len(SPECIAL) + sum(1 for _ in read_lines(out / f"dict.{target}.txt"))


def count_tokens(prefix: Path, languages: Pair) -> tuple[int, dict[str, int]]:
    """Pairs of a split, and its tokens per language, the end of each sentence counted.

    Raises:
        DataError: a token is a special symbol of fairseq, which would end or hide text without a word.
    """
    counts, pairs = {}, 0
    for language, path in zip(languages, paths_of(prefix, languages), strict=True):
        pairs = total = 0
        for number, line in enumerate(read_lines(path), 1):
            tokens = line.split(" ")
            special = set(SPECIAL).intersection(tokens)
            if special:
                raise DataError(
                    f"sentence {number} of the {prefix.name} part ({language}) contains {min(special)}, which is a "
                    "special symbol to fairseq; remove it from the text, or set dataset.tokenise: true"
                )
            pairs, total = pairs + 1, total + len(tokens) + 1
        counts[language] = total
    return pairs, counts
