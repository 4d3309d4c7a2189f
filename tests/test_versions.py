"""The lock on numerical code."""

import inspect
import json
from pathlib import Path

import pytest
from refusals import refused

from softlabels import versions
from softlabels.errors import SpecError
from softlabels.grid.parts.probes import Probe, Tokens, Translations

CODE = '"""Doc."""\nX: int = 1\n"""What X is."""\n\ndef f(x):\n    """Doc."""\n    return x + 1  # why\n'


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of one stage with a lock that agrees."""
    (tmp_path / "stage.py").write_text(CODE)
    lock = tmp_path / "code_versions.lock"
    entry = {
        "version": 3,
        "files": ["stage.py", "later/*.py"],
        "ast_sha256": versions.ast_digest([tmp_path / "stage.py"]),
    }
    lock.write_text(json.dumps({"stage": entry}))
    monkeypatch.setattr(versions, "PACKAGE", tmp_path)
    monkeypatch.setattr(versions, "LOCK", lock)
    return tmp_path


def test_the_lock_agrees_with_the_code() -> None:
    assert versions.check() == []


def test_every_stage_has_files_and_a_version() -> None:
    assert set(versions.stages()) == {
        "data", "models", "training", "cache", "corpora", "translation", "metrics", "figures",
    }  # fmt: skip
    for stage in versions.stages():
        assert versions.files_of(stage)
        assert versions.code_version(stage) >= 1


@pytest.mark.parametrize(
    ("cls", "stage"), [(Probe, "training"), (Tokens, "translation"), (Translations, "translation")]
)
def test_defaults_that_the_name_of_an_answer_leaves_out_are_locked(cls: type, stage: str) -> None:
    assert Path(inspect.getfile(cls)) in versions.files_of(stage)


@pytest.mark.parametrize(
    "text",
    [
        CODE.replace("# why", "# because"),
        CODE.replace("Doc.", "Another text."),
        CODE.replace("What X is.", "What it is."),
        CODE.replace("x + 1", "(x +\n            1)"),
    ],
)
def test_comments_docstrings_and_layout_change_nothing(package: Path, text: str) -> None:
    (package / "stage.py").write_text(text)
    assert versions.check() == []


@pytest.mark.parametrize("text", [CODE.replace("x + 1", "x + 2"), CODE.replace("+", "-"), CODE + "f(1)\n"])
def test_changed_code_is_found_until_it_is_accepted(package: Path, text: str) -> None:
    (package / "stage.py").write_text(text)
    (problem,) = versions.check()
    assert "stage" in problem
    versions.accept("stage", raised=True)
    assert versions.check() == []
    assert versions.code_version("stage") == 4
    (package / "stage.py").write_text(CODE)
    versions.accept("stage", raised=False)
    assert versions.check() == []
    assert versions.code_version("stage") == 4


def test_a_new_file_of_a_stage_is_found(package: Path) -> None:
    (package / "later").mkdir()
    (package / "later" / "new.py").write_text("y = 2\n")
    assert len(versions.check()) == 1


def test_an_unknown_stage_is_named(package: Path) -> None:
    with refused(SpecError, "other"):
        versions.code_version("other")
