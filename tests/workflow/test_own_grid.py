"""A user's own images, own trained teacher and own logits, from the example of `config.yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file
from workflow_tree import Tree, example_grid

from softlabels.files import read_json, sha256

pytestmark = pytest.mark.workflow


def write_images(folder: Path) -> None:
    """Three classes of 30 images for training and 10 for test, 12 × 12, told apart by their colour."""
    random = np.random.default_rng(0)
    for split, count in (("train", 30), ("test", 10)):
        for k, name in enumerate(("ash", "birch", "cedar")):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                image = random.integers(0, 120, (12, 12, 3))
                image[..., k] += 100
                Image.fromarray(image.astype(np.uint8)).save(folder / split / name / f"{i:02}.png")


def tiny_grid() -> dict[str, Any]:
    """The example with other numbers, as its reader is told to set them."""
    grid = example_grid()
    grid["datasets"]["my_images"] |= {
        "path": "data/trees", "num_classes": 3, "image_size": 12, "holdout": 0.2, "train_size": 72,
    }  # fmt: skip
    grid["models"] = {
        "my_teacher": {"name": "mlp", "options": {"hidden": [12]}},
        "my_student": {"name": "mlp", "options": {"hidden": [6]}},
    }
    grid["recipes"]["my_recipe"] |= {"epochs": 3, "batch_size": 24, "augment": {"pad": 1, "flip": True}}
    grid["recipes"]["my_recipe"]["optimiser"] = {"lr": 0.02, "momentum": 0.9}
    for family in ("my_teachers", "my_baseline"):
        grid["families"][family]["axes"]["alpha"] = [0, 0.1]
    grid["families"]["my_students"]["axes"] = {"alpha": [0, 0.1], "T": [2]}
    grid["families"]["my_students"]["run"]["targets"]["views"] = 2
    grid["artifacts"]["distillation"]["seeds"] = 2
    return grid


def configure(tree: Tree, grid: dict[str, Any]) -> None:
    tree.configure(yaml.safe_dump({"scale": "tiny", "papers": [], "device": "cpu", "grid": grid}))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """The example's question, answered for generated images."""
    root = tmp_path_factory.mktemp("own")
    tree = Tree.create(root)
    write_images(root / "data" / "trees")
    configure(tree, tiny_grid())
    tree.snakemake("own_distillation")
    return tree


def test_the_question_is_answered_for_own_images(own: Tree) -> None:
    figure = own.results / "figures" / "own" / "distillation.png"
    assert figure.stat().st_size > 0
    assert figure.with_suffix(".pdf").stat().st_size > 0
    rows = pd.read_csv(own.results / "metrics" / "own" / "distillation.csv")
    assert set(rows.dataset) == {"trees"}
    assert set(rows.split) >= {"val", "test"}
    students = rows[(rows.method == "kd") & (rows.metric == "top1")]
    assert set(students.teacher_alpha) == {0, 0.1}
    assert set(students.kd_temperature) == {2}
    assert set(rows.seed) == {0, 1}
    assert "Nothing to be done" in own.snakemake("-n", "own_distillation")


def other_teachers(own: Tree) -> tuple[dict[str, Any], dict[str, Any]]:
    """A network and logits of the user's own, as the example's comments have them."""
    trained = [load_file(path) for path in own.results.glob("runs/*.hard.*/seed0/weights.safetensors")]
    (teacher,) = [state for state in trained if state["last/head.weight"].shape == (3, 12)]
    weights = {name.removeprefix("last/"): t for name, t in teacher.items() if name.startswith("last/")}
    save_file(weights, own.root / "my_net.safetensors")
    labels = np.load(next(own.results.parent.glob("data/*/train_labels.npy")))
    logits = np.random.default_rng(1).normal(size=(72, 3)).astype(np.float32) + 5 * np.eye(3, dtype=np.float32)[labels]
    np.save(own.root / "my_logits.npy", logits)
    return (
        {
            "weights": "my_net.safetensors", "model": "my_teacher", "normalise": "dataset",
            "sha256": sha256(own.root / "my_net.safetensors"),
        },
        {"logits": "my_logits.npy", "sha256": sha256(own.root / "my_logits.npy")},
    )  # fmt: skip


def taught_by(teachers: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A grid with a family of students for each teacher, and an artifact for each family."""
    grid = tiny_grid()
    example = grid["families"]["my_students"]
    grid["recipes"]["plain"] = grid["recipes"]["my_recipe"] | {"augment": {}}
    artifact = grid["artifacts"]["distillation"] | {"probes": {}, "seeds": 1}
    grid["artifacts"] = {}
    for name, teacher in teachers.items():
        run = example["run"] | {"recipe": "plain", "targets": example["run"]["targets"] | {"teacher": teacher}}
        if "logits" in teacher:
            run["targets"]["views"] = 1
        grid["families"][name] = {"axes": {"T": [1, 4]}, "run": run}
        grid["artifacts"][name] = artifact | {"families": ["my_baseline", name]}
    return grid


def test_own_weights_and_own_logits_can_teach(own: Tree) -> None:
    weights, logits = other_teachers(own)
    configure(own, taught_by({"of_weights": weights, "of_logits": logits}))
    own.snakemake("own_of_weights", "own_of_logits")
    for name in ("of_weights", "of_logits"):
        assert (own.results / "figures" / "own" / f"{name}.png").stat().st_size > 0
        rows = pd.read_csv(own.results / "metrics" / "own" / f"{name}.csv")
        assert set(rows[rows.method == "kd"].kd_temperature) == {1, 4}
    face = read_json(own.results / "figures" / "own" / "of_logits.provenance.json")["face"]
    assert any(line.startswith("my_logits.npy: ") and "training images right, ECE" in line for line in face)
    assert "my_logits.npy: " in own.softlabels("show", next(own.results.glob("runs/*own-logits*")).name)
    shards = [np.load(path) for path in own.results.glob("cache/*/seed*/*.npy")]
    given = np.load(own.root / "my_logits.npy").astype(np.float16)
    assert any(s.size == given.size and np.array_equal(s.reshape(given.shape), given) for s in shards)


def test_wrong_teachers_of_ones_own_are_refused(own: Tree) -> None:
    weights, logits = other_teachers(own)
    np.save(own.root / "five.npy", np.zeros((72, 5), np.float32))
    torch.save({"head.weight": torch.zeros(3, 12)}, own.root / "pickle.safetensors")
    right = np.load(own.root / "my_logits.npy")
    np.save(own.root / "shuffled.npy", np.random.default_rng(0).permutation(right))
    np.save(own.root / "other_order.npy", right[:, [2, 0, 1]])
    np.save(own.root / "pickle.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    save_file({"head.weight": torch.zeros(5, 12)}, own.root / "other.safetensors")
    faults = {
        "wrong_sum": (weights | {"sha256": "0" * 64}, "my_net.safetensors has SHA-256"),
        "five_classes": (logits | {"logits": "five.npy"}, "five.npy holds float32 [72, 5]"),
        "pickled_net": (weights | {"weights": "pickle.safetensors"}, "pickled weights are not accepted"),
        "shuffled": (logits | {"logits": "shuffled.npy"}, "no more than by chance"),
        "other_order": (
            logits | {"logits": "other_order.npy"},
            "say classes: ['cedar', 'ash', 'birch'] beside the file",
        ),
        "pickled_logits": (logits | {"logits": "pickle.npy"}, "pickle.npy is no plain .npy array"),
        "other_net": (weights | {"weights": "other.safetensors"}, "other.safetensors"),
    }
    for name, (teacher, _) in faults.items():
        if name != "wrong_sum":
            file = own.root / teacher.get("weights", teacher.get("logits", ""))
            teacher["sha256"] = sha256(file)
    configure(own, taught_by({name: teacher for name, (teacher, _) in faults.items()}))
    done = own.run("snakemake", "--cores", "2", "--keep-going", *(f"own_{name}" for name in faults))
    assert done.returncode != 0
    assert "Traceback" not in done.stdout
    for _, sentence in faults.values():
        lines = {
            x for x in done.stdout.splitlines() if x.startswith(("softlabels cache:", "failed,")) and sentence in x
        }
        assert lines
        assert max(map(len, lines)) < 400


def test_what_a_failing_job_has_finished_stays(own: Tree) -> None:
    """One of two networks diverges; the other one is finished all the same."""
    grid = tiny_grid()
    grid["recipes"]["wild"] = grid["recipes"]["my_recipe"] | {"optimiser": {"lr": 1.0e9, "momentum": 0.9}}
    grid["recipes"]["calm"] = grid["recipes"]["my_recipe"] | {"optimiser": {"lr": 0.03, "momentum": 0.9}}
    baseline = grid["families"]["my_baseline"]
    for name in ("calm", "wild"):
        grid["families"][name] = {"run": baseline["run"] | {"recipe": name, "targets": {"kind": "hard"}}}
    grid["artifacts"] = {
        "both": grid["artifacts"]["distillation"] | {"families": ["calm", "wild"], "seeds": 1, "probes": {}}
    }
    configure(own, grid)
    before = set(own.results.glob("runs/*/seed0/run.json"))
    done = own.run("snakemake", "--cores", "1", "--keep-going", "own_both")
    assert done.returncode != 0
    assert "loss" in done.stdout
    (calm,) = set(own.results.glob("runs/*/seed0/run.json")) - before
    assert calm.with_name("weights.safetensors").exists()
