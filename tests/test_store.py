"""The store: published by hard link, checked before, and written by one process at a time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from refusals import refused

from softlabels.errors import SoftlabelsError
from softlabels.files import sha256, write_json
from softlabels.layout import Layout
from softlabels.store import finished, publish

NAMES = ("history.csv", "weights.safetensors", "logits.safetensors", "milestones/step0.safetensors")


@pytest.fixture
def layout(results: Path) -> Layout:
    """A store with one finished training."""
    layout = Layout(results)
    folder = layout.store("run", 0)
    for name in NAMES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode() * 100)
    record = {"status": "finished", "files": {name: sha256(folder / name) for name in NAMES}}
    write_json(folder / "run.json", record)
    return layout


# ------------------------------------------------------------ publishing


def test_publishing_is_a_hard_link_and_can_be_repeated(layout: Layout) -> None:
    for _ in range(2):
        publish(layout, "run", 0)
        source, target = layout.store("run", 0), layout.run("run", 0)
        assert {path.name for path in target.iterdir()} == set(Layout.run_files("image"))
        assert all((target / name).samefile(source / name) for name in Layout.run_files("image"))
    (target / "history.csv").unlink()  # what Snakemake does before it runs a job again
    (target / "run.json").unlink()
    publish(layout, "run", 0)
    assert (target / "history.csv").samefile(source / "history.csv")


def test_without_hard_links_files_are_copied(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    publish(layout, "run", 0)
    target, source = layout.run("run", 0), layout.store("run", 0)
    for name in Layout.run_files("image"):
        assert (target / name).read_bytes() == (source / name).read_bytes()
        assert not (target / name).samefile(source / name)
    assert not list(target.glob(".*"))


@pytest.mark.parametrize("name", NAMES)
def test_one_changed_byte_is_refused_and_named(layout: Layout, name: str) -> None:
    folder = layout.store("run", 0)
    content = bytearray((folder / name).read_bytes())
    content[37] ^= 1
    (folder / name).write_bytes(content)
    with refused(SoftlabelsError, folder / name, folder):
        publish(layout, "run", 0)
    assert not layout.run("run", 0).exists()


def test_a_missing_file_is_named(layout: Layout) -> None:
    path = layout.store("run", 0) / "logits.safetensors"
    path.unlink()
    with refused(SoftlabelsError, path):
        publish(layout, "run", 0)


def test_what_is_not_finished_is_not_published(layout: Layout) -> None:
    folder = layout.store("run", 0)
    write_json(folder / "run.json", {"status": "training", "files": {}})
    assert finished(folder) is None
    assert finished(layout.store("run", 1)) is None
    with refused(SoftlabelsError, "seed0"):
        publish(layout, "run", 0)
