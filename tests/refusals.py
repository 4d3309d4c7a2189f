"""Errors of the package: tests assert their type and what they name, and messages.txt holds their sentences.

`python -m pytest --renew-messages [FILE …]` writes messages.txt anew for the tests that run.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from softlabels.errors import SoftlabelsError

MESSAGES = Path(__file__).with_name("messages.txt")
_test = SimpleNamespace(item=None, temporary=None)  # the one that runs in this process
_sentences: dict[str, list[str] | None] = {}  # of every test that was reported, by a worker too; None: it did not pass


@contextmanager
def refused(kind: type[SoftlabelsError], *names: object, varies: str = "$^") -> Iterator[pytest.ExceptionInfo]:
    """The block raises exactly `kind`, with a sentence that names each of `names`: file, key, id or value."""
    with pytest.raises(kind) as caught:
        yield caught
    assert caught.type is kind
    says(str(caught.value), *names, varies=varies)


def says(sentence: str, *names: object, varies: str = "$^") -> None:
    """It names all of `names` and stands in messages.txt, but for what matches `varies`: words of a library, say."""
    sentence = sentence.strip()
    absent = [name for name in names if not re.search(rf"(?<!\w){re.escape(str(name))}(?!\w)", sentence)]
    assert names, "say what the sentence must name"
    assert not absent, f"{sentence!r} does not name {[*map(str, absent)]}"
    assert len(sentence.splitlines()) == 1
    for pattern, word in (
        (varies, "…"),
        (rf"{re.escape(str(_test.temporary))}/[\w.-]+", "TMP"),
        (re.escape(str(_test.item.config.rootpath)), "ROOT"),
        (r"(?<![ (]\d\.)\b[0-9a-f]{8,64}\b", "HEX"),  # ids and checksums
        (r"(?<=127\.0\.0\.1:)\d+", "PORT"),
    ):
        sentence = re.sub(pattern, word, sentence)
    _test.item.user_properties.append(("says", sentence))
    if not _test.item.config.getoption("renew_messages"):
        renew = f"python -m pytest --renew-messages {_test.item.location[0]}"
        assert sentence in read().get(_test.item.nodeid, ()), f"new in {MESSAGES.name}: {sentence!r}; {renew}"


@functools.cache
def read() -> dict[str, list[str]]:
    """Sentences of each test: a line of its name, and one of each sentence, indented."""
    blocks = re.split(r"^(?=\S)", MESSAGES.read_text(encoding="utf-8"), flags=re.M)[1:]
    return {name: [*map(str.strip, sentences)] for name, *sentences in map(str.splitlines, blocks)}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--renew-messages", action="store_true", help="write tests/messages.txt for the tests that run")


@pytest.fixture(autouse=True)
def _running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> None:
    _test.item, _test.temporary = request.node, tmp_path_factory.getbasetemp()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    passed = report.when == "call" and report.passed
    found = dict.fromkeys(str(value) for name, value in report.user_properties if name == "says")
    _sentences[report.nodeid] = [*found] if passed else _sentences.get(report.nodeid)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """What a test said before stays where it did not run or pass; it goes where its whole file ran without it."""
    option = session.config.option
    if option.renew_messages and not hasattr(session.config, "workerinput"):
        whole = exitstatus == 0 and not (option.keyword or option.markexpr or "::" in "".join(session.config.args))
        files = {name.split("::")[0] for name in _sentences if whole}
        kept = {k: v for k, v in read().items() if k in _sentences or k.split("::")[0] not in files}
        kept |= {name: found for name, found in _sentences.items() if found is not None}
        lines = (line for name in sorted(kept) if kept[name] for line in (name, *(f"    {s}" for s in kept[name])))
        MESSAGES.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
