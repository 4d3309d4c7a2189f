"""Torchvision's weights, converted from a file made here under a name that says its checksum."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from refusals import refused

from softlabels import tensors
from softlabels.cli import main
from softlabels.data.weights import convert
from softlabels.errors import DataError, SpecError
from softlabels.files import read_json, sha256
from softlabels.grid.parts.initial import IMAGENET_CLASSES
from softlabels.grid.zoo import MODELS
from softlabels.models import library

State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def models() -> Any:
    return library.load("torchvision.models")


@pytest.fixture(scope="module")
def state(models: Any) -> State:
    """A ResNet-18 as torchvision would publish it; as in its oldest files, batches were not counted."""
    torch.manual_seed(0)
    whole = models.resnet18(weights=None).state_dict()
    return {name: t for name, t in whole.items() if not name.endswith("num_batches_tracked")}


Publish = Callable[[Path, Any], str]


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch, models: Any, tmp_path: Path) -> Publish:
    """Save something as the file of ResNet-18's weights, whose name then ends in its checksum; returns the name."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))

    def save(folder: Path, content: Any) -> str:
        buffer = io.BytesIO()
        torch.save(content, buffer)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "part").write_bytes(buffer.getvalue())
        name = f"resnet18-{sha256(folder / 'part')[:8]}"
        (folder / "part").rename(folder / f"{name}.pth")
        declare(monkeypatch, models, name)
        return name

    return save


def declare(monkeypatch: pytest.MonkeyPatch, models: Any, name: str) -> None:
    """Let torchvision, and our copy of its names, have this file; its address answers nobody."""
    url = f"http://127.0.0.1:9/models/{name}.pth"
    monkeypatch.setattr(models.get_model_weights("resnet18")["IMAGENET1K_V1"].value, "url", url)
    monkeypatch.setitem(MODELS["resnet18"].weights, "IMAGENET1K_V1", f"{name}.pth")


def test_the_declared_files_are_torchvisions(models: Any) -> None:
    for model, entries in ((name, info.weights) for name, info in MODELS.items() if info.weights):
        published = {w.name: w for w in models.get_model_weights(model)}
        assert entries == {name: w.url.rpartition("/")[2] for name, w in published.items()}
        assert all(len(w.meta["categories"]) == IMAGENET_CLASSES for w in published.values())


@pytest.mark.parametrize("place", ["data/weights", "torch/hub/checkpoints"])
def test_a_file_is_converted_once(publish: Publish, state: State, tmp_path: Path, place: str) -> None:
    name = publish(tmp_path / place, state)
    out = tmp_path / "results" / "data" / "weights" / f"{name}.json"
    assert main(["weights", str(out), "--root", str(tmp_path / "data"), "--download"]) == 0
    converted, _ = tensors.load(out.with_suffix(".safetensors"))
    assert all(torch.equal(converted[key], t) for key, t in state.items())
    assert converted["bn1.num_batches_tracked"] == 0
    manifest = read_json(out)
    assert manifest["sha256"] == sha256(out.with_suffix(".safetensors"))
    assert manifest["original_sha256"].startswith(name.removeprefix("resnet18-"))
    (tmp_path / place / f"{name}.pth").unlink()
    stamp = out.stat().st_mtime_ns
    convert(out, root=tmp_path / "data")  # whole, so nothing is looked for
    assert out.stat().st_mtime_ns == stamp
    out.with_suffix(".safetensors").write_bytes(b"")
    with refused(DataError, f"{name}.pth"):
        convert(out, root=tmp_path / "data")


def test_a_file_that_is_not_there_is_one_sentence(publish: Publish, state: State, tmp_path: Path) -> None:
    name = publish(tmp_path / "elsewhere", state)
    out, wanted = tmp_path / "out" / f"{name}.json", tmp_path / "data" / "weights" / f"{name}.pth"
    with refused(DataError, f"{name}.pth", wanted):
        convert(out, root=tmp_path / "data")
    with refused(DataError, f"http://127.0.0.1:9/models/{name}.pth"):
        convert(out, root=tmp_path / "data", download=True)
    mirror = (tmp_path / "elsewhere").as_uri()
    convert(out, root=tmp_path / "data", mirror=mirror, download=True)
    assert wanted.exists()
    assert out.exists()


class Harmful:
    """What unpickling must not run."""

    def __reduce__(self) -> Any:
        return (Path("unpickled").write_text, ("",))


@pytest.mark.parametrize("content", [Harmful(), {"conv1.weight": torch.zeros(1)}, [1, 2]])
def test_a_file_of_something_else_is_refused(
    publish: Publish, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    name = publish(tmp_path / "data" / "weights", content)
    with refused(DataError, f"{name}.pth", "resnet18", varies=r"\(.*\)"):
        convert(tmp_path / "out" / f"{name}.json", root=tmp_path / "data")
    assert not (tmp_path / "unpickled").exists()
    assert not (tmp_path / "out" / f"{name}.json").exists()


def test_a_changed_file_is_not_even_opened(publish: Publish, state: State, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "weights"
    name = publish(folder, state)
    for content in (pickle.dumps(Harmful()), (folder / f"{name}.pth").read_bytes()[:-1]):
        (folder / f"{name}.pth").write_bytes(content)
        with refused(DataError, f"{name}.pth"):
            convert(tmp_path / f"{name}.json", root=tmp_path / "data")
    mirrored = tmp_path / "mirror"
    mirrored.mkdir()
    (folder / f"{name}.pth").rename(mirrored / f"{name}.pth")
    with refused(DataError, f"{name}.pth", varies=r"\(.*\)"):
        convert(tmp_path / f"{name}.json", root=tmp_path / "data", mirror=mirrored.as_uri(), download=True)
    assert not (folder / f"{name}.pth").exists()


def test_a_name_that_torchvision_does_not_have(tmp_path: Path) -> None:
    with refused(SpecError, "resnet51-00000000", "resnet18-f37072fd"):
        convert(tmp_path / "resnet51-00000000.json")
