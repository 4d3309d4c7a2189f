"""A teacher from elsewhere against the labels: wrong ones are refused, right ones are not."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import DIGITS, write_jpegs
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused
from safetensors.torch import load_file, save_file
from sklearn.metrics import cohen_kappa_score

from softlabels.cli import main
from softlabels.data.load import Data
from softlabels.errors import SoftlabelsError, SpecError
from softlabels.files import sha256
from softlabels.grid.identity import run_id
from softlabels.grid.parse import from_dict
from softlabels.grid.parts.initial import UserWeights
from softlabels.grid.parts.recipe import Augment, Optimiser, Recipe
from softlabels.grid.spec import Distill, Hard, Initial, ModelSpec, RunSpec, Teacher, UserLogits, UserNetwork
from softlabels.layout import Layout
from softlabels.metrics.agreement import Agreement, agreement, better_order, describe, doubt
from softlabels.metrics.calibration import ece
from softlabels.training.agreement import compare_with_labels
from softlabels.training.images import ImageSplit
from softlabels.training.teachers import load_teacher
from softlabels.training.trainer import Trainer

NETWORK = ModelSpec("mlp", (("hidden", (32,)),))
RECIPE = Recipe(
    batch_size=50, steps=400, optimiser=Optimiser(lr=0.1, momentum=0.9), normalise="dataset", augment=Augment(shift=1)
)
NAMES = tuple("0123456789")


def made_up(N: int, K: int, right: float, seed: int = 0, shares: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are right on a share of the images, and elsewhere name any class; and labels."""
    random = np.random.default_rng(seed)
    labels = random.choice(K, N, p=shares)
    answers = np.where(random.random(N) < right, labels, random.integers(0, K, N))
    return np.eye(K)[answers] * 4 + random.normal(size=(N, K)) * 0.3, labels


def doubted(logits: np.ndarray, labels: np.ndarray) -> str | None:
    order = better_order(logits, labels)
    return doubt(agreement(logits, labels), None if order is None else [str(k) for k in order])


# ---------------------------------------------------------------- numbers


def test_the_numbers_are_those_of_other_libraries() -> None:
    logits, labels = made_up(400, 5, 0.6)
    found = agreement(logits, labels)
    answers = logits.argmax(axis=1)
    assert found.images == 400
    assert found.top1 == np.mean(answers == labels)
    assert found.kappa == pytest.approx(cohen_kappa_score(labels, answers))
    assert found.ece == ece(logits, labels)
    assert found.probabilities == 0
    # The error of κ where nothing agrees: its spread over labels in random order.
    random = np.random.default_rng(0)
    spread = np.std([cohen_kappa_score(random.permutation(labels), answers) for _ in range(2000)])
    assert found.kappa_error == pytest.approx(spread, rel=0.1)


def test_one_answer_for_all_is_chance_however_common_the_class() -> None:
    labels = np.array([0] * 95 + [1] * 5)
    logits = np.tile([3.0, -3.0], (100, 1))
    found = agreement(logits, labels)
    assert (found.top1, found.kappa) == (0.95, 0)
    assert "no more than by chance" in (doubted(logits, labels) or "")


# ---------------------------------------------------------------- right teachers


@settings(max_examples=200, derandomize=True)
@given(
    st.integers(2, 30), st.integers(100, 400), st.floats(0.6, 1), st.integers(0, 10**6), st.sampled_from([0.5, 1, 3])
)
def test_a_teacher_that_is_often_right_is_not_doubted(K: int, N: int, right: float, seed: int, even: float) -> None:
    shares = np.random.default_rng(seed).dirichlet(np.full(K, even * 10))
    assert doubted(*made_up(N, K, right, seed, shares)) is None


def test_a_teacher_that_never_names_a_class_is_not_doubted() -> None:
    """It takes every cat for a dog: no other order is better."""
    logits, labels = made_up(1000, 10, 0.95)
    logits[labels == 3] = np.eye(10)[5] * 4
    assert doubted(logits, labels) is None


def test_logarithms_of_probabilities_are_logits() -> None:
    logits, labels = made_up(300, 10, 0.9)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert doubted(np.log(probabilities), labels) is None
    assert "not logits; save their logarithms" in (doubted(probabilities, labels) or "")
    assert "not logits" in (doubted(np.eye(10)[labels], labels) or "")
    assert "not logits" in (doubted(probabilities.astype(np.float16), labels) or "")


# ---------------------------------------------------------------- wrong teachers


@pytest.mark.parametrize(("N", "K", "right"), [(46, 4, 0.98), (60, 3, 0.8), (500, 10, 0.5), (10_000, 1000, 0.8)])
def test_another_order_of_classes_is_found(N: int, K: int, right: float) -> None:
    """Folders 1, 2, … 10, 11 sort as 1, 10, 11, … 2."""
    sorted_as_text = np.argsort([str(k + 1) for k in range(K)]) if K > 9 else np.roll(np.arange(K), 1)
    logits, labels = made_up(N, K, right)
    theirs = logits[:, sorted_as_text]  # output o of theirs stands for class sorted_as_text[o]
    order = better_order(theirs, labels)
    assert order is not None
    if K < 1000:
        assert order.tolist() == sorted_as_text.tolist()
    else:  # with five images of a class a few stay where they are
        assert np.mean(order == sorted_as_text) > 0.9


def test_two_classes_of_a_hundred_that_changed_places_are_found() -> None:
    logits, labels = made_up(5000, 100, 0.9)
    swapped = np.arange(100)
    swapped[[12, 57]] = 57, 12
    order = better_order(logits[:, swapped], labels)
    assert order is not None
    assert order.tolist() == swapped.tolist()


def test_rows_in_another_order_are_chance() -> None:
    for seed in range(50):
        logits, labels = made_up(92, 4, 0.98, seed)
        shuffled = np.random.default_rng(seed).permutation(len(labels))
        assert "no more than by chance" in (doubted(logits[shuffled], labels) or ""), seed


# ---------------------------------------------------------------- networks


@pytest.fixture(scope="module")
def trained(digits: Data, cpu: torch.device, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network trained on digits with `normalise: dataset`, as a user has its weights."""
    folder = tmp_path_factory.mktemp("elsewhere")
    images = [ImageSplit(digits, split, cpu) for split in ("train", "val")]
    done = Trainer(RunSpec(DIGITS, NETWORK, Hard(), RECIPE), 0, *images, folder, identity="x").run()
    save_file({name: t.contiguous() for name, t in done.last.items()}, folder / "net.safetensors")
    return folder / "net.safetensors"


def compared(network: UserNetwork, digits: Data, cpu: torch.device) -> dict[str, Any]:
    teacher = load_teacher(Teacher(network), 0, Layout(Path("nowhere")), digits, cpu)
    return compare_with_labels(teacher, ImageSplit(digits, "train", cpu), Augment(shift=1), 0, network)


def own(path: Path, **options: Any) -> UserNetwork:
    return from_dict(
        UserNetwork,
        {"model": NETWORK, "weights": str(path), "sha256": sha256(path), "normalise": "dataset"} | options,
        "teacher",
    )


def test_a_right_network_is_taken_and_its_agreement_said(
    trained: Path, digits: Data, cpu: torch.device, capsys: pytest.CaptureFixture[str]
) -> None:
    found = compared(own(trained), digits, cpu)
    assert found["top1"] > 0.8
    assert found["images"] == 300
    assert "doubt" not in found
    said = f"{trained}: {100 * found['top1']:.1f} % of 300 training images right, ECE {100 * found['ece']:.1f} points"
    assert said in capsys.readouterr().out


def test_another_normalise_is_refused(trained: Path, digits: Data, cpu: torch.device) -> None:
    with refused(SoftlabelsError, trained, "normalise: none", "trust: true", varies=r"\d+\.\d %"):
        compared(own(trained, normalise="none"), digits, cpu)


def test_another_order_is_refused_and_can_be_said(trained: Path, digits: Data, cpu: torch.device) -> None:
    right = compared(own(trained), digits, cpu)
    weights = load_file(trained)
    theirs = [3, 1, 4, 0, 5, 9, 2, 6, 8, 7]
    moved = trained.with_name("moved.safetensors")
    save_file({k: (v[theirs].clone() if k.startswith("head.") else v) for k, v in weights.items()}, moved)
    listed = ", ".join(f"'{k}'" for k in theirs)
    with refused(SoftlabelsError, moved, f"classes: [{listed}]", "trust: true", varies=r"\d+\.\d %"):
        compared(own(moved), digits, cpu)
    said = compared(own(moved, classes=theirs), digits, cpu)
    assert said | {"file": ""} == right | {"file": ""}
    trusted = compared(own(moved, trust=True), digits, cpu)
    assert listed in trusted["doubt"]
    assert "trusted although" in describe(trusted)
    # The given order is wrong as well: the sentence gives the right one for the outputs as they are in the file.
    with refused(SoftlabelsError, moved, f"classes: [{listed}]", varies=r"\d+\.\d %"):
        compared(own(moved, classes=[*theirs[1:], theirs[0]]), digits, cpu)


def test_classes_that_are_none_of_the_data_are_refused(trained: Path, digits: Data, cpu: torch.device) -> None:
    with refused(SoftlabelsError, trained, "cat"):
        compared(own(trained, classes=["cat", *"123456789"]), digits, cpu)
    with refused(SpecError, "teacher.classes", "1"):
        own(trained, classes=["1", "1"])


def test_logits_are_reordered_and_compared(digits: Data, cpu: torch.device, tmp_path: Path) -> None:
    labels, theirs = digits.labels("train"), [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    np.save(tmp_path / "z.npy", (np.eye(10, dtype=np.float32)[labels] * 6 - 3)[:, theirs])
    given = UserLogits(str(tmp_path / "z.npy"), sha256(tmp_path / "z.npy"))
    images = ImageSplit(digits, "train", cpu)

    def compare(spec: UserLogits) -> dict[str, Any]:
        logits = load_teacher(Teacher(spec), 0, Layout(tmp_path), digits, cpu)
        return compare_with_labels(logits, images, Augment(), 0, spec)

    with refused(SoftlabelsError, given.logits, "classes: [" + ", ".join(f"'{k}'" for k in theirs) + "]"):
        compare(given)
    assert compare(replace(given, classes=tuple(map(str, theirs))))["top1"] == 1


# ---------------------------------------------------------------- specs


def test_trust_names_no_other_run_and_an_order_does() -> None:
    def student(**options: Any) -> str:
        teacher = UserNetwork(NETWORK, "net.safetensors", "0" * 64, "dataset", **options)
        return run_id(RunSpec(DIGITS, NETWORK, Distill(Teacher(teacher), 2.0), RECIPE))

    assert student(trust=True) == student()
    assert student(classes=NAMES) != student()


def test_an_own_network_says_its_normalise() -> None:
    with refused(SpecError, "teacher.normalise"):
        from_dict(UserNetwork, {"model": NETWORK, "weights": "net.safetensors", "sha256": "0" * 64}, "teacher")


def test_what_is_said_of_a_head_that_is_new_is_refused() -> None:
    for options in ({"classes": NAMES}, {"trust": True}):
        with refused(SpecError, "initial", "head: kept"):
            Initial(UserWeights("net.safetensors", "0" * 64, **options))


def test_a_record_reads_as_a_sentence() -> None:
    found = asdict(Agreement(92, 0.978, 0.031, 0.97, 0.06, 0.0))
    assert describe(found) == "97.8 % of 92 training images right, ECE 3.1 points"


def test_the_order_of_classes_is_printed_as_it_can_be_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_jpegs(tmp_path, {"train": 1}, ("1", "2", "10", "11"))
    assert main(["fingerprint", str(tmp_path)]) == 0
    digest, classes = capsys.readouterr().out.splitlines()
    assert len(digest) == 64
    assert classes == 'classes: ["1", "10", "11", "2"]'
