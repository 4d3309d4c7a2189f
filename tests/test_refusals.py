"""The helper that other tests assert errors with fails where it must, and renews its file."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import refusals
from refusals import refused

from softlabels.errors import DataError, SoftlabelsError, SpecError

KNOWN = "a.yaml: seeds must be ≥ 1, not 0"


def raising(error: Exception, kind: type[SoftlabelsError] = SpecError, *names: str) -> Callable[[], None]:
    def test() -> None:
        with refused(kind, *names):
            raise error

    return test


FAULTS = {
    "another type": raising(DataError(KNOWN), SpecError, "a.yaml"),
    "a subclass": raising(SpecError(KNOWN), SoftlabelsError, "a.yaml"),
    "a name that is absent": raising(SpecError(KNOWN), SpecError, "a.yaml", "steps"),
    "a part of a name": raising(SpecError(KNOWN), SpecError, "seed"),
    "nothing to name": raising(SpecError(KNOWN), SpecError),
    "another sentence": raising(SpecError(KNOWN + "0"), SpecError, "a.yaml"),
    "two lines": raising(SpecError(f"{KNOWN}\n{KNOWN}"), SpecError, "a.yaml"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_not_as_asserted_fails(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, fault: str):
    monkeypatch.setattr(refusals, "read", lambda: {request.node.nodeid: [KNOWN]})
    monkeypatch.setattr(request.config.option, "renew_messages", False)
    raising(SpecError(KNOWN), SpecError, "a.yaml", "seeds", "0")()
    with pytest.raises((AssertionError, DataError)):
        FAULTS[fault]()
    with pytest.raises(pytest.fail.Exception), refused(SpecError, "a.yaml"):
        pass
    request.node.user_properties.clear()  # nothing of this is for the file


def test_one_command_renews_the_sentences_of_the_tests_that_run(tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
            cwd=tmp_path, capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout

    def write(name: str, **sentences: str) -> None:
        tests = (
            f"def test_{k}(tmp_path):\n    with refused(SpecError, 'b'):\n        raise SpecError(f'{v}')\n"
            for k, v in sentences.items()
        )
        head = "from refusals import refused\nfrom softlabels.errors import SpecError\n"
        (tmp_path / name).write_text(head + "".join(tests))

    shutil.copy(refusals.__file__, tmp_path)
    (tmp_path / "conftest.py").write_text("pytest_plugins = ['refusals']\n")
    messages = tmp_path / "messages.txt"
    messages.touch()
    write("test_one.py", first="{tmp_path}/b is missing", second="no key b")
    write("test_two.py", third="b is given twice")
    assert "3 failed" in (said := run())
    assert "python -m pytest --renew-messages test_two.py" in said
    assert "3 passed" in run("-n2", "--renew-messages")
    assert "3 passed" in run()
    one, two, three = (
        "test_one.py::test_first\n    TMP/b is missing\n",
        "test_one.py::test_second\n    no key b\n",
        "test_two.py::test_third\n    b is given twice\n",
    )
    assert messages.read_text() == one + two + three
    write("test_one.py", first="c and b", second="b is no key")
    run("--renew-messages", "test_one.py::test_first")
    assert messages.read_text() == one.replace("TMP/b is missing", "c and b") + two + three
    write("test_one.py", second="b is no key")  # the first one is gone
    run("--renew-messages", "test_one.py")
    assert messages.read_text() == two.replace("no key b", "b is no key") + three


def test_every_sentence_is_of_a_test_that_there_is() -> None:
    for name in refusals.read():
        file, test = name.partition("[")[0].split("::")
        assert f"def {test}(" in (Path(__file__).parents[1] / file).read_text(), f"take {name} out of messages.txt"
