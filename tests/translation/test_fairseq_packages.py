"""The two packages of fairseq that envs/fairseq.txt chooses from: where they differ, and that we do not notice."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from small_text import ROOT, Project, recipe

from softlabels.files import read_json
from softlabels.grid.parts.probes import Translations
from softlabels.grid.spec import TranslationSpec
from softlabels.translation.decode import translate
from softlabels.translation.network import Corpus, Translator

DIFFERENT = {
    "fairseq/version.py": "the version",
    "fairseq/models/wav2vec/wav2vec2.py": "speech; two more options",
    "fairseq/models/multires_hubert/__init__.py": "speech; only in ve-fairseq",
    "fairseq/models/multires_hubert/multires_hubert.py": "speech; only in ve-fairseq",
    "fairseq/models/multires_hubert/multires_hubert_asr.py": "speech; only in ve-fairseq",
    "fairseq/tasks/multires_hubert_pretraining.py": "speech; only in ve-fairseq",
    "fairseq/modules/positional_embedding.py": "passes auto_expand on",
    "fairseq/modules/sinusoidal_positional_embedding.py": "auto_expand=True, the default, does what was done before",
}
"""Files that are not the same in both; fairseq's examples, which nothing here imports, are not compared."""
THE_SAME = "6662bd682eaa5ce5a3ff8e1af3032915ea664f3ec1d6f390c03f65cadbef61fe"
"""SHA-256 over the names and SHA-256 of all others, .py and .yaml, with lines that end in LF (one package has CRLF)."""


def files(archive: dict[str, bytes]) -> dict[str, str]:
    """Name → SHA-256 of what is compared."""
    return {
        name: hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest()
        for name, content in sorted(archive.items())
        if re.fullmatch(r"fairseq(_cli)?/(?!examples/).*\.(py|yaml)", name)
    }


def digest_of_the_same(found: dict[str, str]) -> str:
    lines = [f"{name} {digest}\n" for name, digest in found.items() if name not in DIFFERENT]
    assert len(lines) > 400
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def test_the_installed_package_has_the_files_that_both_have() -> None:
    (package,) = set(importlib.metadata.packages_distributions()["fairseq"])
    listed = importlib.metadata.files(package) or ()
    installed = {file.as_posix(): file.locate() for file in listed if file.suffix in (".py", ".yaml")}
    found = files({name: Path(str(path)).read_bytes() for name, path in installed.items()})
    assert package in {"ve-fairseq", "fairseq-fixed"}
    assert digest_of_the_same(found) == THE_SAME


def test_a_record_names_the_version_of_the_installed_package(shared: Project, teacher: TranslationSpec) -> None:
    (package,) = set(importlib.metadata.packages_distributions()["fairseq"])
    record = read_json(shared.store(teacher) / "run.json")
    assert record["versions"]["fairseq"] == importlib.metadata.version(package)


def test_of_what_differs_only_sinusoidal_positions_run(
    project: Project, translator: Translator, corpus: Corpus
) -> None:
    """fairseq imports all of its files. Here: those whose functions run in a training and in a beam search."""
    import fairseq

    place = Path(fairseq.__file__).parents[1]
    ran: set[str] = set()

    def note(frame: Any, event: str, argument: Any) -> None:
        if frame.f_code.co_name != "<module>":
            ran.add(frame.f_code.co_filename)

    sys.setprofile(note)
    try:
        project.train(project.run(recipe=recipe(updates=4, validate_updates=2)))
        translate(translator, corpus, Translations("translations", "test", beam=2, max_len_b=5, sentences=3))
    finally:
        sys.setprofile(None)
    of_fairseq = {Path(name).relative_to(place).as_posix() for name in ran if name.startswith(f"{place}/fairseq")}
    assert {"fairseq/trainer.py", "fairseq/sequence_generator.py", "fairseq_cli/train.py"} < of_fairseq
    assert of_fairseq & set(DIFFERENT) == {name for name in DIFFERENT if name.endswith("positional_embedding.py")}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    """Package → name → content, as the index has them."""
    pinned = re.findall(r"^([a-z-]+)(==\S+); .*?((?: --hash=\S+)+)$", (ROOT / "envs" / "fairseq.txt").read_text(), re.M)
    assert {name for name, _, _ in pinned} == {"ve-fairseq", "fairseq-fixed"}
    wheel = ["--only-binary=:all:", "--python-version=3.11", "--platform=manylinux_2_28_x86_64"]
    content: dict[str, dict[str, bytes]] = {}
    for name, version, hashes in pinned:
        folder = tmp_path_factory.mktemp(name)
        (folder / "pin.txt").write_text(name + version + hashes)
        options = wheel if name == "ve-fairseq" else ["--no-build-isolation", f"--no-binary={name}"]
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--retries=1", *options]
        done = subprocess.run(
            [*command, "--dest", folder, "-r", folder / "pin.txt"], capture_output=True, text=True, check=False
        )
        assert "DO NOT MATCH THE HASHES" not in done.stderr
        if done.returncode:
            pytest.skip(f"{name} cannot be downloaded: {done.stderr.strip().splitlines()[-1]}")
        (path,) = (path for path in folder.iterdir() if path.name != "pin.txt")
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as archive:
                content[name] = {entry: archive.read(entry) for entry in archive.namelist()}
        else:
            with tarfile.open(path) as source:
                content[name] = {
                    entry.name.partition("/")[2]: source.extractfile(entry).read()  # type: ignore[union-attr]
                    for entry in source.getmembers()
                    if entry.isfile()
                }
    return content


def test_both_packages_differ_in_these_files_alone(both: dict[str, dict[str, bytes]]) -> None:
    one, other = (files(content) for content in both.values())
    assert {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)} == set(DIFFERENT)
    assert digest_of_the_same(one) == digest_of_the_same(other) == THE_SAME


@pytest.mark.parametrize("training", [True, False], ids=["all positions", "one step of decoding"])
@pytest.mark.parametrize("length", [1, 7, 40], ids=["one", "within the table", "beyond the table"])
def test_sinusoidal_positions_are_the_same_bytes(
    both: dict[str, dict[str, bytes]], tmp_path: Path, training: bool, length: int
) -> None:
    """The table holds 20 positions, so that longer sentences make it grow; asked twice, shorter the second time."""
    tokens = torch.randint(2, 9, (3, length), generator=torch.Generator().manual_seed(0))
    tokens[1, length // 2 :] = 1  # padding
    said = []
    for name, content in both.items():
        path = tmp_path / f"positions_{name.replace('-', '_')}.py"
        path.write_bytes(content["fairseq/modules/sinusoidal_positional_embedding.py"])
        positions = loaded(path).SinusoidalPositionalEmbedding(16, 1, init_size=20)
        state = None if training else {}
        said.append([positions(part, incremental_state=state) for part in (tokens, tokens[:, :5])])
        said[-1].append(positions.weights)
        assert "weights" not in positions.state_dict()
    for mine, theirs in zip(*said, strict=True):
        assert mine.shape == theirs.shape
        assert mine.numpy().tobytes() == theirs.numpy().tobytes()


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
