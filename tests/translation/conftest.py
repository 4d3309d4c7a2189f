"""A prepared corpus and a trained teacher, made once and shared; tests that change something work in a copy."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_text import Forge, Project

from softlabels.grid.spec import TranslationSpec
from softlabels.translation.network import Corpus, Translator


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The corpus, and a teacher trained with hard labels (seeds 0 and 1). Read only."""
    base = tmp_path_factory.getbasetemp()
    if base.name.startswith("popen-"):  # one of several pytest-xdist processes, which share it
        base = base.parent
    root = base / "small_text"
    with open(base / "small_text.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        project = Project.create(root)
        project.train(project.run(), seeds=(0, 1))  # nothing to do the second time
    return project


@pytest.fixture
def project(shared: Project, tmp_path: Path) -> Project:
    """A copy to change."""
    return shared.copy(tmp_path)


@pytest.fixture(scope="session")
def teacher(shared: Project) -> TranslationSpec:
    """The run that teaches."""
    return shared.run()


@pytest.fixture(scope="session")
def corpus(shared: Project) -> Corpus:
    """The corpus as fairseq reads it."""
    return shared.open()


@pytest.fixture(scope="session")
def translator(shared: Project, teacher: TranslationSpec, corpus: Corpus) -> Translator:
    """The trained teacher."""
    return shared.translator(teacher, corpus)


@pytest.fixture(scope="session")
def forge() -> Iterator[Forge]:
    """Where processes that run a command come from."""
    forge = Forge()
    yield forge
    forge.close()
