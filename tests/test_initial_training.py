"""Networks that begin with given weights, trained and measured by the real command."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import DIGITS
from PIL import Image
from refusals import refused, says

from softlabels import tensors
from softlabels.cli import main
from softlabels.data.load import open_data
from softlabels.data.prepare import prepare
from softlabels.errors import EXIT_ERROR, Stopped
from softlabels.files import read_json, sha256, write_json
from softlabels.grid.files import write_plan
from softlabels.grid.identity import dataset_id, initial_id, needed_cache, probe_id, run_id
from softlabels.grid.parts.initial import TorchvisionWeights, UserWeights
from softlabels.grid.parts.probes import Probe
from softlabels.grid.parts.recipe import Augment, Optimiser, Recipe
from softlabels.grid.plan import Artifact, Member, Plan
from softlabels.grid.spec import DatasetSpec, Distill, Hard, Initial, ModelSpec, RunSpec, Smooth, Teacher
from softlabels.layout import Layout
from softlabels.models import build
from softlabels.store import finished
from softlabels.training.images import ImageSplit
from softlabels.training.teachers import load_initial
from softlabels.training.trainer import Trainer

GLYPHS = DatasetSpec("glyphs", train_limit=400)
CNN = ModelSpec("small_cnn", (("hidden", 16), ("widths", (4, 8))))
RECIPE = Recipe(batch_size=32, steps=30, optimiser=Optimiser(lr=0.1, momentum=0.9), milestones=(0,), eval_every=0.5)
SEEN_AS_DIGITS = dataclasses.replace(RECIPE, augment=Augment(crop=8))
FIRST = RunSpec(GLYPHS, CNN, Smooth(0.1), SEEN_AS_DIGITS)
SECOND = RunSpec(DIGITS, CNN, Hard(), RECIPE, initial=Initial(FIRST, checkpoint="best"))
MEASURED = RunSpec(
    DIGITS, CNN, Hard(), Recipe(1, Optimiser(lr=1.0), steps=0), initial=Initial(SECOND, seed=0, head="kept")
)
PROBE = Probe(split="val", what="features", per_class=2)
STUDENT = RunSpec(DIGITS, CNN, Distill(Teacher(MEASURED), 2.0), RECIPE, initial=Initial(FIRST))
RUNS = (FIRST, SECOND, MEASURED, STUDENT)


def train(layout: Layout, spec: RunSpec, seeds: Sequence[int] = (0,)) -> int:
    paths = [str(layout.run(run_id(spec), seed) / "run.json") for seed in seeds]
    return main(["train", "--device", "cpu", *paths])


def weights(layout: Layout, spec: RunSpec, seed: int = 0, file: str = "weights.safetensors") -> dict[str, torch.Tensor]:
    return tensors.load(layout.store(run_id(spec), seed) / file)[0]


def write(layout: Layout, *runs: RunSpec) -> None:
    """Specs of runs, of a probe of each."""
    members = tuple(Member("all", (), run, (0, 1), ()) for run in runs)
    artifact = Artifact("own.all", "All", "table", "compare_table", members, (("all", PROBE),), {}, ())
    specs = {run_id(run): run for run in runs}
    plan = Plan("demo", {"own.all": artifact}, specs, dict.fromkeys(specs, (0, 1)), 2, 1, 1e9)
    write_plan(plan, layout.root / "specs")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """All of `RUNS`, one after another, two seeds."""
    layout = Layout(tmp_path_factory.mktemp("trained") / "results" / "demo")
    write(layout, *RUNS)
    for dataset in (GLYPHS, DIGITS):
        prepare(dataset, layout.data(dataset_id(dataset)))
    for spec in (FIRST, SECOND, MEASURED):
        assert train(layout, spec, (0, 1)) == 0
    return layout


@pytest.fixture
def copied(trained: Layout, tmp_path: Path) -> Layout:
    shutil.copytree(trained.root.parent, tmp_path / "results")
    return Layout(tmp_path / "results" / "demo")


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


# ---------------------------------------------------------------- trained on


def test_a_network_begins_with_the_best_weights_of_another_and_a_head_of_its_own(trained: Layout) -> None:
    for seed in (0, 1):
        source, begun = weights(trained, FIRST, seed), weights(trained, SECOND, seed, "milestones/step0.safetensors")
        torch.manual_seed(seed)
        fresh = build(CNN, 10, (1, 8, 8)).state_dict()
        for name, tensor in begun.items():
            expected = fresh[name] if name.startswith("head.") else source[f"best/{name}"]
            assert torch.equal(tensor, expected), name
        assert not torch.equal(weights(trained, SECOND, seed)["last/hidden.weight"], begun["hidden.weight"])
        record = finished(trained.store(run_id(SECOND), seed))
        assert record is not None
        assert record["initial_files"] == read_json(trained.store(run_id(FIRST), seed) / "run.json")["files"]


def test_resumed_is_bit_identical(trained: Layout, tmp_path: Path) -> None:
    """Also when the weights it began with are asked for again by the second attempt."""
    data = open_data(trained.data(dataset_id(DIGITS)))
    images = [ImageSplit(data, split, torch.device("cpu")) for split in ("train", "val")]

    def trainer(calls: int) -> Trainer:
        left = iter([False] * calls)
        return Trainer(
            SECOND, 0, *images, tmp_path, identity="x", should_stop=lambda: next(left, True),
            init_weights=lambda network: load_initial(network, SECOND, 0, trained, data),
        )  # fmt: skip

    with refused(Stopped, "step 7 of 30"):
        trainer(6).run()
    last, whole = trainer(999).run().last, weights(trained, SECOND)
    assert all(torch.equal(tensor, whole[f"last/{name}"]) for name, tensor in last.items())


def test_killed_and_run_again_is_bit_identical(copied: Layout) -> None:
    slow = dataclasses.replace(SECOND, recipe=dataclasses.replace(RECIPE, steps=1500))
    write(copied, slow)
    folder, record = copied.store(run_id(slow), 0), copied.run(run_id(slow), 0) / "run.json"
    command = "import sys; from softlabels.cli import main; sys.exit(main())"
    arguments = ["train", "--device", "cpu", "--checkpoint-seconds", "0.05", str(record)]
    with subprocess.Popen([sys.executable, "-c", command, *arguments], stderr=subprocess.DEVNULL) as process:
        while not (folder / "checkpoint.safetensors").exists():
            assert process.poll() is None
            time.sleep(0.001)
        process.kill()
    assert finished(folder) is None
    assert train(copied, slow) == 0
    assert len(read_json(record)["attempts"]) == 2
    killed = {name: (folder / name).read_bytes() for name in ("weights.safetensors", "history.csv")}
    shutil.rmtree(folder)
    assert train(copied, slow) == 0
    assert killed == {name: (folder / name).read_bytes() for name in killed}


def test_weights_that_were_trained_again_since_are_refused(copied: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    path = copied.store(run_id(FIRST), 0) / "run.json"
    record = read_json(path)
    record["files"]["history.csv"] = "0" * 64
    write_json(path, record)
    capsys.readouterr()
    assert train(copied, SECOND) == EXIT_ERROR
    folder = copied.store(run_id(SECOND), 0)
    says(one_line(capsys), folder)
    assert train(copied, SECOND, (1,)) == 0


def test_weights_that_have_changed_are_refused(copied: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(copied.store(run_id(SECOND), 0))
    path = copied.store(run_id(FIRST), 0) / "weights.safetensors"
    tensors.save(path, weights(copied, FIRST, 1))
    capsys.readouterr()
    assert train(copied, SECOND) == EXIT_ERROR
    says(one_line(capsys), path, "SHA-256")
    shutil.rmtree(path.parent)
    assert train(copied, SECOND) == EXIT_ERROR
    says(one_line(capsys), path.parent)


# ---------------------------------------------------------------- only measured


def test_a_network_that_is_only_measured_says_what_its_source_says(trained: Layout) -> None:
    source = weights(trained, SECOND, 0, "logits.safetensors")
    for seed in (0, 1):  # which both begin with seed 0
        folder = trained.run(run_id(MEASURED), seed)
        measured = tensors.load(folder / "logits.safetensors")[0]
        for split in ("val", "test"):
            assert torch.equal(measured[f"{split}/last"], source[f"{split}/last"])
            assert torch.equal(measured[f"{split}/best"], source[f"{split}/last"])
        with open(folder / "history.csv", newline="") as file:
            (row,) = csv.DictReader(file)
        assert (row["step"], set(row)) == ("0", {"step", "epoch", "val_top1", "val_nll"})
        record = read_json(folder / "run.json")
        assert (record["steps"], record["best_step"]) == (0, 0)
    assert train(trained, MEASURED, (0, 1)) == 0  # published again


def test_a_network_that_is_only_measured_answers_probes_and_teaches(copied: Layout) -> None:
    answers = []
    for spec in (SECOND, MEASURED):
        path = copied.probe(run_id(spec), 0, probe_id(PROBE))
        assert main(["evaluate", "--device", "cpu", str(path)]) == 0
        answers.append(tensors.load(path)[0])
    assert answers[0].keys() == answers[1].keys()
    assert all(torch.equal(tensor, answers[1][name]) for name, tensor in answers[0].items())
    need = needed_cache(STUDENT)
    assert need is not None
    assert main(["cache", "--device", "cpu", str(copied.cache(need.id, 0) / "manifest.json")]) == 0
    assert train(copied, STUDENT) == 0
    record = read_json(copied.run(run_id(STUDENT), 0) / "run.json")
    assert record["teacher_files"] == read_json(copied.run(run_id(MEASURED), 0) / "run.json")["files"]
    assert record["initial_files"] == read_json(copied.run(run_id(FIRST), 0) / "run.json")["files"]


# ---------------------------------------------------------------- files from elsewhere


def own(path: Path, state: dict[str, torch.Tensor], **fields: Any) -> RunSpec:
    tensors.save(path, state)
    return dataclasses.replace(MEASURED, initial=Initial(UserWeights(str(path), sha256(path)), head="kept"), **fields)


def test_a_network_of_ones_own_is_measured(copied: Layout, tmp_path: Path) -> None:
    state = {n.removeprefix("last/"): t for n, t in weights(copied, SECOND).items() if n.startswith("last/")}
    spec = own(tmp_path / "mine.safetensors", state)
    write(copied, spec)
    assert train(copied, spec) == 0
    ours, theirs = (weights(copied, run, 0, "logits.safetensors") for run in (spec, SECOND))
    assert torch.equal(ours["test/last"], theirs["test/last"])
    assert finished(copied.store(run_id(spec), 0))["initial_files"] is None  # type: ignore[index]


@pytest.mark.parametrize(
    ("name", "change", "named"),
    [
        ("hidden.weight", None, "hidden.weight"),
        ("hidden.weight", torch.zeros(3, 3), "[3, 3]"),
        ("head.bias", torch.zeros(20), "head.bias"),
        ("more.weight", torch.zeros(1), "more.weight"),
        ("convolutions.0.weight", torch.zeros(4, 3, 3, 3), "3 channels"),
        ("convolutions.0.weight", torch.zeros(4, 1, 7, 7), "model.options.stem"),
    ],
)
def test_weights_of_another_network_are_one_sentence(
    copied: Layout, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, change: Any, named: str
) -> None:
    state = {n.removeprefix("last/"): t for n, t in weights(copied, SECOND).items() if n.startswith("last/")}
    state.pop(name, None)
    path = tmp_path / "mine.safetensors"
    spec = own(path, state if change is None else state | {name: change})
    write(copied, spec)
    capsys.readouterr()
    assert train(copied, spec) == EXIT_ERROR
    says(one_line(capsys), path, named)
    path.write_bytes(b"changed")
    assert train(copied, spec) == EXIT_ERROR
    says(one_line(capsys), path, "SHA-256")
    path.unlink()
    assert train(copied, spec) == EXIT_ERROR
    says(one_line(capsys), path)


def test_a_head_of_ones_own_needs_none_in_the_file(copied: Layout, tmp_path: Path) -> None:
    body = {n.removeprefix("last/"): t for n, t in weights(copied, SECOND).items() if n.startswith("last/")}
    body = {n: t for n, t in body.items() if not n.startswith("head.")}
    path = tmp_path / "body.safetensors"
    tensors.save(path, body)
    torch.manual_seed(3)
    network = build(CNN, 20, (1, 8, 8))
    head = network.head.weight.clone()
    begun = dataclasses.replace(SECOND, initial=Initial(UserWeights(str(path), sha256(path))))
    load_initial(network, begun, 3, copied, open_data(copied.data(dataset_id(DIGITS))))
    assert all(torch.equal(network.state_dict()[n], t) for n, t in body.items())
    assert torch.equal(network.head.weight, head)


def test_a_training_begins_with_torchvisions_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for index, name in enumerate(("a", "b")):
        for number in range(8):
            path = tmp_path / "images" / "train" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(10 * index + number).integers(0, 255, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
    dataset = DatasetSpec("folder", path=str(tmp_path / "images"), num_classes=2, image_size=32, holdout=2)
    recipe = Recipe(4, Optimiser(lr=0.01), steps=1, milestones=(0,), normalise="imagenet")
    spec = RunSpec(dataset, ModelSpec("resnet18"), Hard(), recipe, initial=Initial(TorchvisionWeights("IMAGENET1K_V1")))
    layout = Layout(tmp_path / "results" / "demo")
    write(layout, spec)
    prepare(dataset, layout.data(dataset_id(dataset)))
    assert spec.initial is not None
    manifest = layout.weights(initial_id(spec.model, spec.initial))
    assert train(layout, spec) == EXIT_ERROR
    says(one_line(capsys), manifest)

    torch.manual_seed(7)  # what the rule fetch_weights leaves, under torchvision's own names
    published = build(ModelSpec("resnet18"), 1000, (3, 32, 32)).state_dict()
    names = {name.removeprefix("body.").replace("head.", "fc."): tensor for name, tensor in published.items()}
    tensors.save(manifest.with_suffix(".safetensors"), names)
    manifest.write_text(json.dumps({"sha256": sha256(manifest.with_suffix(".safetensors"))}))
    assert train(layout, spec) == 0
    begun = weights(layout, spec, 0, "milestones/step0.safetensors")
    assert begun["head.weight"].shape == (2, 512)
    assert all(torch.equal(begun[name], published[name]) for name in begun if name.startswith("body."))
