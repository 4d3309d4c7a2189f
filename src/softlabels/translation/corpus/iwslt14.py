"""IWSLT'14: TED talks, in the archive of the evaluation campaign.

As in fairseq's `prepare-iwslt14.sh`: lines of links and keywords are left out, titles and descriptions are text, and
the test part is dev2010, dev2012, tst2010, tst2011 and tst2012 one after the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import unescape

from softlabels.errors import DataError
from softlabels.translation.corpus.parallel import Pair, Parallel, Part, read_lines

TEST_SETS = ("dev2010", "dev2012", "tst2010", "tst2011", "tst2012")
OPTIONAL = ("dev2012",)  # TEDx talks, which not every pair of languages has
_LEFT_OUT = ("<url>", "<talkid>", "<keywords>")
_NAMES = ("<reviewer", "<translator")  # of later editions of the archives
_TAGS = re.compile(r"</?(?:title|description)>")
_SEGMENT = re.compile(r'<seg id="\d+">\s*(.*?)\s*</seg>')
_ENTITIES = {"&quot;": '"', "&apos;": "'"}


def find_iwslt14(folder: Path, languages: Pair) -> dict[str, tuple[Path, Path]]:
    """Training files and those of every test set, by name; files may lie in a folder of `folder`.

    Raises:
        DataError: a file is missing.
    """
    found = {"train": _both(folder, ["train.tags.{pair}.{language}"], languages)}
    for name in TEST_SETS:
        kinds = ("TEDX", "TED") if name in OPTIONAL else ("TED",)
        patterns = [f"IWSLT14.{kind}.{name}.{{pair}}.{{language}}.xml" for kind in kinds]
        found[name] = _both(folder, patterns, languages)
    missing = [name for name, paths in found.items() if paths is None and name not in OPTIONAL]
    if missing:
        source, target = languages
        wanted = {"train": f"train.tags.{source}-{target}.*"}
        raise DataError(
            f"{folder} has no {wanted.get(missing[0], f'IWSLT14.TED.{missing[0]}.{source}-{target}.*.xml')} "
            f"for both {source} and {target} (nor {target}-{source}); put the whole archive of IWSLT'14 there"
        )
    return {name: paths for name, paths in found.items() if paths is not None}


def read_iwslt14(folder: Path, languages: Pair) -> Parallel:
    """The corpus of an unpacked archive; validation is held out from training.

    Raises:
        DataError: files are missing, or those of the two languages are not of the same length.
    """
    files = find_iwslt14(folder, languages)
    sets = [name for name in TEST_SETS if name in files]
    raw: list[Pair] = []
    for name in sets:
        _same_length(files[name], *(len(list(_segments(path))) for path in files[name]))
        raw += zip(*(_segments(path) for path in files[name]), strict=True)
    # typographic apostrophes are straightened in the text, as the script does, not in the references
    text = [(source.replace("’", "'"), target.replace("’", "'")) for source, target in raw]
    train = files["train"]
    _same_length(train, *(sum(1 for _ in _talks(path)) for path in train))
    return Parallel(
        train=lambda: zip(_talks(train[0]), _talks(train[1]), strict=True),
        val=None,
        test=Part(raw, text),
        test_sets=tuple(sets),
    )


def _both(folder: Path, patterns: list[str], languages: Pair) -> tuple[Path, Path] | None:
    """The files of both languages; the pair may be named in either order."""
    source, target = languages
    for pattern in patterns:
        for pair in (f"{source}-{target}", f"{target}-{source}"):
            first, second = (
                next(iter(sorted(folder.rglob(pattern.format(pair=pair, language=language)))), None)
                for language in languages
            )
            if first is not None and second is not None:
                return first, second
    return None


def _talks(path: Path) -> Iterator[str]:
    """The text of a training file."""
    for line in read_lines(path):
        if not any(tag in line for tag in _LEFT_OUT) and not line.startswith(_NAMES):
            yield _TAGS.sub("", line).strip()


def _segments(path: Path) -> Iterator[str]:
    """The segments of a test file; XML's escapes are undone."""
    for line in read_lines(path):
        if match := _SEGMENT.search(line):
            yield unescape(match.group(1), _ENTITIES)


def _same_length(paths: tuple[Path, Path], source: int, target: int) -> None:
    if source != target or not source:
        raise DataError(
            f"{paths[0]} has {source} sentences and {paths[1]} has {target}; put the whole archive of IWSLT'14 there"
        )
