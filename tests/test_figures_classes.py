"""Drawings of single classes on real small runs: η, class sets, accuracies, probabilities, entropies, samples."""

from __future__ import annotations

import base64
import json
import shutil
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from refusals import refused
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from scipy.special import softmax

from softlabels.data.prepare import prepare
from softlabels.errors import DataError, SoftlabelsError, SpecError
from softlabels.figures import make
from softlabels.figures.drawing import check
from softlabels.figures.shown_classes import custom_tables
from softlabels.files import read_json
from softlabels.grid.costs import probe_flops
from softlabels.grid.expand import load_plan
from softlabels.grid.files import read_artifact, write_plan
from softlabels.grid.identity import dataset_id, needed_cache, probe_id, run_id
from softlabels.grid.parts.probes import ClassMeans, Probe
from softlabels.grid.parts.recipe import Augment, Optimiser, Recipe
from softlabels.grid.plan import Artifact, Member, Plan
from softlabels.grid.spec import DatasetSpec, Hard, ModelSpec, RunSpec
from softlabels.grid.tasks.image import ImageTask
from softlabels.layout import Layout
from softlabels.metrics.class_sets import by_groups, families
from softlabels.metrics.diffusion import diffusion_index, pairwise_distances
from softlabels.metrics.geometry import span_pca
from softlabels.metrics.probe_outputs import read_class_means, read_features
from softlabels.metrics.rows import read_rows
from softlabels.metrics.soft_targets import entropy
from softlabels.training import job
from softlabels.training.device import configure
from softlabels.training.probes import _chosen
from softlabels.training.worker import Worker

ROOT = Path(__file__).parents[1]
CLASSES = ["ring_0", {"snake": "comb_3"}]
SEEDS = (0, 1)
MEANS = [{"what": "class_means", "split": split} for split in ("train", "val")]


def artifact(kind: str, draw: str, families: list[str], probes: dict[str, Any], **options: Any) -> dict[str, Any]:
    return {
        "title": f"Test of {draw}", "kind": kind, "plot": draw, "families": families, "seeds": list(SEEDS),
        "probes": probes, "options": options,
    }  # fmt: skip


def taught(alpha: float) -> dict[str, Any]:
    return {"kind": "smooth", "alpha": alpha}


GRID: dict[str, Any] = {
    "paper": "own",
    "datasets": {"glyphs": {"name": "glyphs", "train_limit": 400}},
    "models": {"small_cnn": {"name": "small_cnn", "options": {"widths": [8, 16], "hidden": 24}}},
    "recipes": {"r": {"steps": 60, "batch_size": 64, "optimiser": {"lr": 0.05, "momentum": 0.9}}},
    "families": {
        "hard": {"run": {"dataset": "glyphs", "model": "small_cnn", "recipe": "r", "targets": taught(0)}},
        "smooth": {"run": {"dataset": "glyphs", "model": "small_cnn", "recipe": "r", "targets": taught(0.1)}},
        "students": {
            "axes": {"T": [1, 3]},
            "run": {
                "dataset": "glyphs", "model": "small_cnn", "recipe": "r",
                "targets": {"kind": "distill", "temperature": "$T", "teacher": {"family": "smooth"}},
            },
        },
    },
    "artifacts": {
        "eta": artifact(
            "table", "diffusion", ["students"], {"students": MEANS}, classes=CLASSES, sets={"by": "families"}
        ),
        "eta_drawn": artifact(
            "figure", "diffusion", ["students", "hard"], {"students": MEANS, "hard": MEANS}, classes=CLASSES,
            sets={"by": "distance", "reference": "hard", "nearest": 15, "farthest": 80},
        ),
        "pairs": artifact(
            "table", "diffusion", ["students"],
            {"students": [{"what": "features", "split": s, "per_class": 8} for s in ("train", "val")]},
            classes=CLASSES, distance="pairwise",
            sets={"by": "list", "of": {"ring_0": {"similar": ["ring_1", 2], "dissimilar": ["box_0"]},
                                       "snake": {"similar": ["comb_0"], "dissimilar": ["box_0", "box_1"]}}},
        ),
        "sets": artifact(
            "table", "class_sets", ["hard"], {"hard": MEANS[1]}, classes=CLASSES, method_1={"by": "families"},
            method_2={"by": "distance", "reference": "hard", "nearest": 15, "farthest": 80},
        ),
        "accuracy": artifact(
            "table", "class_accuracy", ["students"], {"students": {"classes": ["comb_3", "ring_0"]}}, classes=CLASSES
        ),
        "probabilities": artifact(
            "figure", "class_probabilities", ["smooth"], {"smooth": {"classes": [0, 19]}}, classes=CLASSES,
            temperatures=[1, 4],
        ),
        "counts": artifact(
            "table", "class_probabilities", ["smooth"], {"smooth": {"classes": [0, 19]}}, classes=CLASSES,
            temperatures=[1], similar={"snake": ["comb_2", "comb_1"]},
        ),
        "entropies": artifact(
            "table", "entropy", ["hard", "smooth"], {"hard": {}, "smooth": {}}, temperatures=[1, 3],
            match={"T_a": 1, "T_b": 3},
        ),
        "entropies_drawn": artifact(
            "figure", "entropy", ["hard", "smooth"], {"hard": {}, "smooth": {}}, temperatures=[1, 3], match={"T_a": 1}
        ),
        "samples": artifact(
            "figure", "samples", ["hard"], {"hard": {"what": "pictures", "classes": [19, 0], "per_class": 3}},
            classes=CLASSES,
        ),
    },
}  # fmt: skip


def planned(change: Callable[[dict[str, Any]], None] = lambda grid: None) -> Plan:
    grid = json.loads(json.dumps(GRID))
    change(grid)
    return load_plan({"scale": "demo", "papers": [], "grid": grid}, ROOT)


def asked(name: str, **probes: Any) -> Callable[[dict[str, Any]], None]:
    """Other probes of an artifact."""
    return lambda grid: grid["artifacts"][name]["probes"].update(probes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """Every run and every probe of the grid."""
    layout, plan = Layout(tmp_path_factory.mktemp("classes") / "demo"), planned()
    write_plan(plan, layout.root / "specs")
    for run in plan.runs.values():
        assert isinstance(run.dataset, DatasetSpec)
        prepare(run.dataset, layout.data(dataset_id(run.dataset)))
    worker = Worker(layout, configure("cpu"))
    for name, run in plan.runs.items():
        if need := needed_cache(run):
            job.cache(worker, [(need.id, seed) for seed in SEEDS])
        job.train(worker, [(name, seed) for seed in SEEDS])
    questions = [
        (run_id(m.run), seed, probe_id(p))
        for a in plan.artifacts.values() for family, p in a.probes for m in a.family(family) for seed in SEEDS
    ]  # fmt: skip
    job.evaluate_probes(worker, list(dict.fromkeys(questions)))
    torch.set_flush_denormal(False)
    return layout


@pytest.fixture
def layout(trained: Layout, tmp_path: Path) -> Layout:
    """A copy that a test may damage."""
    shutil.copytree(trained.root, tmp_path / "demo")
    return Layout(tmp_path / "demo")


def made(layout: Layout, name: str | Artifact) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Measured and drawn: rows, the plotted numbers, and what is said on the face."""
    art = read_artifact(layout.root / "specs", f"own.{name}") if isinstance(name, str) else name
    make.measure_artifact(art, layout, "demo")
    make.draw_artifact(art, layout, "demo")
    suffixes = (".pdf", ".png", ".csv") if art.kind == "figure" else (".csv", ".md")
    for suffix in suffixes:
        assert layout.output(art.kind, art.paper, art.name, suffix).stat().st_size > 30
    face = read_json(layout.output(art.kind, art.paper, art.name, ".provenance.json"))["face"]
    plotted = pd.read_csv(layout.plotted(art.paper, art.name), keep_default_na=True)
    return read_rows(layout.metrics(art.paper, art.name)), plotted, face


def member(name: str, family: str, **values: Any) -> Member:
    return next(m for m in planned().artifacts[f"own.{name}"].family(family) if m.values == tuple(values.items()))


def answered(layout: Layout, name: str, family: str, number: int, seed: int, **values: Any) -> Path:
    """The file of the family's probe of that number."""
    probes = [probe for f, probe in planned().artifacts[f"own.{name}"].probes if f == family]
    return layout.probe(run_id(member(name, family, **values).run), seed, probe_id(probes[number]))


def value_of(rows: pd.DataFrame, **key: Any) -> float:
    for column, wanted in key.items():
        rows = rows[rows[column] == wanted]
    assert len(rows) == 1
    return float(rows["value"].iloc[0])


# ---------------------------------------------------------------- probes


def test_class_means_are_the_means_of_the_features(trained: Layout) -> None:
    means = load_file(answered(trained, "eta", "students", 1, 1, T=3))
    few = load_file(answered(trained, "pairs", "students", 1, 1, T=3))
    assert means["means/last"].dtype == np.float32
    assert means["means/last"].shape == (20, 24)
    np.testing.assert_array_equal(means["labels"], range(20))
    data = np.load(trained.data(dataset_id(member("eta", "students", T=1).run.dataset)) / "val_labels.npy")
    np.testing.assert_array_equal(means["counts"], np.bincount(data, minlength=20))
    # 8 images of each class have been asked for their features: the same means of as many images
    worker = Worker(trained, configure("cpu"))
    torch.set_flush_denormal(False)
    probe = ClassMeans("class_means", "val", per_class=8)
    (trained.root / "specs" / "probes" / f"{probe_id(probe)}.json").write_text(
        '{"what": "class_means", "split": "val", "per_class": 8}'
    )
    run = run_id(member("eta", "students", T=3).run)
    job.evaluate_probes(worker, [(run, 1, probe_id(probe))])
    found = load_file(trained.probe(run, 1, probe_id(probe)))
    assert (found["counts"] == 8).all()
    by_hand = [few["features/last"][few["labels"] == k, 0].mean(axis=0, dtype=np.float64) for k in range(20)]
    np.testing.assert_allclose(found["means/last"], by_hand, rtol=1e-5, atol=1e-6)


def test_classes_by_name_and_by_index_are_one_question() -> None:
    by_name, by_index = (
        planned(),
        planned(lambda g: g["artifacts"]["accuracy"]["probes"].update(students={"classes": [19, 0]})),
    )
    assert by_name.artifacts["own.accuracy"].probes == by_index.artifacts["own.accuracy"].probes
    assert by_name.artifacts["own.accuracy"].probes[0][1] == Probe(classes=(19, 0))


def test_names_that_only_the_data_tell_are_looked_up_there() -> None:
    data = SimpleNamespace(num_classes=3, class_names=("ant", "bee", "cat"))
    images: Any = SimpleNamespace(data=data, labels=torch.tensor([2, 0, 2, 1, 2]), device=torch.device("cpu"))
    assert _chosen(images, Probe(classes=("cat", 1), per_class=1), "probe x").tolist() == [0, 3]
    with refused(SpecError, "probe x", "cats", "cat"):
        _chosen(images, Probe(classes=("cats",)), "probe x")
    with refused(SpecError, "probe x", "cat"):
        _chosen(images, Probe(classes=(2, "cat")), "probe x")
    images.labels = torch.tensor([0, 1])
    with refused(SoftlabelsError, "class 2", "train"):
        _chosen(images, ClassMeans("class_means"), "probe x")


def test_means_of_all_of_imagenet_stay_small() -> None:
    recipe = Recipe(256, Optimiser(0.1), epochs=90, augment=Augment(side=224))
    run = RunSpec(DatasetSpec("imagenet"), ModelSpec("resnet50"), Hard(), recipe)
    of_probe = ImageTask(run).probe_bytes
    means, features = ClassMeans("class_means"), Probe(what="features")
    assert of_probe(means) < 20e6 < 1e9 < of_probe(features)
    assert probe_flops(run, features) == 2 * (probe_flops(run, means) or 0)


# ---------------------------------------------------------------- η


def test_diffusion_is_by_class_means_of_paired_seeds(trained: Layout) -> None:
    rows, plotted, face = made(trained, "eta")
    sets = by_groups(families("glyphs"), "comb_3")
    found = []
    for seed in SEEDS:
        first, second = (read_class_means(answered(trained, "eta", "students", 1, seed, T=t)) for t in (1, 3))
        eta = diffusion_index(first, second, sets)
        key = {"seed": seed, "split": "val", "target_class": "snake", "kd_temperature": 3}
        assert value_of(rows, metric="eta_similar", **key) == pytest.approx(eta["similar"])
        assert value_of(rows, metric="eta_unnormalised_dissimilar", **key) == pytest.approx(
            eta["unnormalised_dissimilar"]
        )
        found.append(eta)
    cell = plotted[(plotted["metric"] == "eta_dissimilar") & (plotted["target_class"] == "snake")]
    cell = cell[cell["split"] == "val"].iloc[0]
    assert (cell["our_class"], cell["set_size"], cell["n"]) == ("comb_3", 16, 2)
    assert cell["mean"] == pytest.approx(np.mean([eta["dissimilar"] for eta in found]))
    assert cell["unnormalised"] == pytest.approx(np.mean([eta["unnormalised_dissimilar"] for eta in found]))
    assert cell["run_id"] == run_id(member("eta", "students", T=3).run)
    signs = plotted.pivot_table(index=["split", "target_class"], columns="metric", values="mean")
    both = (signs["eta_similar"] < 0) & (signs["eta_dissimilar"] > 0)
    assert f"val: η(S1) < 0 < η(S2) for {both['val'].sum()} of 2" in face[2]


def test_diffusion_stands_beside_the_paper_and_stand_ins_are_said(trained: Layout) -> None:
    art = read_artifact(trained.root / "specs", "own.eta")
    names = (("dataset", "imagenet"), ("student", "resnet18"), ("teacher", "resnet50"))
    assert not made(trained, "eta")[0]["stands_for"].any()
    art = replace(
        art, id="chandrasegaran2022.table3", members=tuple(replace(m, published=names) for m in art.members),
        options={**art.options, "classes": [{"king_snake": "comb_3"}]},
    )  # fmt: skip
    rows, plotted, _ = made(trained, art)
    assert set(rows["target_class"]) == {"comb_3"}
    assert rows["stands_for"].str.endswith(";target_class=king_snake").all()
    ours = plotted[plotted["n"] > 0].set_index(["split", "metric"])
    assert set(ours["target_class"]) == {"king_snake"}
    assert ours["published"].to_dict() == {
        ("train", "eta_similar"): -2.474, ("train", "eta_dissimilar"): 0.521,
        ("val", "eta_similar"): -4.577, ("val", "eta_dissimilar"): 0.840,
    }  # fmt: skip
    assert len(plotted) == 80
    doubtful = plotted[(plotted["student"] == "resnet50") & (plotted["target_class"] == "king_snake")]
    assert doubtful[doubtful["split"] == "val"]["flags"].str.contains("sign_exception").all()


def test_pairwise_distances_are_of_activations_projected_by_each_students_own_templates(trained: Layout) -> None:
    rows, _, _ = made(trained, "pairs")
    sets = replace(by_groups(families("glyphs"), "ring_0"), similar=("ring_1", "ring_2"), dissimilar=("box_0",))
    planes = []
    for t in (1, 3):
        train, shown = (read_features(answered(trained, "pairs", "students", k, 0, T=t)) for k in (0, 1))
        classes = [0, 1, 2, 12]
        assert [train.x.class_names[k] for k in classes] == [sets.target, *sets.classes]
        inside = np.isin(train.x.labels, classes)
        plane = span_pca(train.weight, train.bias, classes, train.x.features[inside], train.x.labels[inside])
        planes.append(replace(shown.x, features=plane(shown.x.features)))
    eta = diffusion_index(*planes, sets, pairwise_distances)
    key = {"seed": 0, "split": "val", "target_class": "ring_0"}
    assert value_of(rows, metric="eta_pairwise_similar", **key) == pytest.approx(eta["similar"])
    art = read_artifact(trained.root / "specs", "own.pairs")
    rows, _, _ = made(trained, replace(art, options={**art.options, "distance": "pairwise_unprojected"}))
    assert value_of(rows, metric="eta_pairwise_unprojected_similar", **key) != pytest.approx(eta["similar"])


def test_what_is_missing_is_said_and_the_rest_is_drawn(layout: Layout) -> None:
    answered(layout, "eta_drawn", "students", 0, 1, T=1).unlink()
    rows, plotted, face = made(layout, "eta_drawn")
    assert set(rows[rows["split"] == "train"]["seed"]) == {0}
    assert set(rows[rows["split"] == "val"]["seed"]) == {0, 1}
    assert set(plotted["n"]) == {1, 2}
    assert face[-1].startswith("MISSING: ") or "MISSING" in face[-2]
    answered(layout, "eta_drawn", "hard", 1, 0).unlink()  # the network that tells distances
    _, plotted, face = made(layout, "eta_drawn")
    assert plotted.empty
    assert face[-1] == "Nothing to draw yet."


def test_every_drawing_draws_before_anything_is_trained(trained: Layout, tmp_path: Path) -> None:
    empty = Layout(tmp_path / "empty")
    shutil.copytree(trained.root / "specs", empty.root / "specs")
    for name in GRID["artifacts"]:
        rows, _, face = made(empty, name)
        assert rows.empty
        assert any(line.startswith("MISSING") for line in face), name


# ---------------------------------------------------------------- the other drawings


def test_class_sets_by_two_methods(trained: Layout) -> None:
    rows, plotted, _ = made(trained, "sets")
    cell = plotted[(plotted["target_class"] == "snake") & (plotted["metric"] == "consistency_similar")].iloc[0]
    assert cell["method_1"] == "comb_0, comb_1, comb_2"
    centroids = read_class_means(answered(trained, "sets", "hard", 0, 0)).features.astype(np.float64)
    nearest = np.argsort(np.linalg.norm(centroids - centroids[19], axis=1))[1:4]
    share = np.isin([16, 17, 18], nearest).mean()
    assert value_of(rows, seed=0, target_class="snake", metric="consistency_similar") == share
    means = rows[rows["target_class"] == ""].groupby("metric")["value"].count()
    assert means.to_dict() == {"consistency_similar": 2, "consistency_dissimilar": 2}


def test_class_accuracy_on_training_and_held_out_images(trained: Layout) -> None:
    rows, plotted, _ = made(trained, "accuracy")
    run = run_id(member("accuracy", "students", T=3).run)
    tensors = load_file(trained.run(run, 1) / "logits.safetensors")
    own = tensors["test/labels"] == 19
    by_hand = 100 * (tensors["test/last"][own].argmax(axis=1) == 19).mean()
    key = {"run_id": run, "seed": 1, "checkpoint": "last"}
    assert value_of(rows, split="test", metric="class_top1", target_class="snake", **key) == pytest.approx(by_hand)
    probe = load_file(answered(trained, "accuracy", "students", 0, 1, T=3))
    right = [100 * (probe["logits/last"][probe["labels"] == k, 0].argmax(axis=1) == k).mean() for k in (0, 19)]
    assert value_of(rows, split="train", metric="class_top1_mean", **key) == pytest.approx(np.mean(right))
    assert list(dict.fromkeys(plotted["target_class"].fillna("mean"))) == ["ring_0", "snake", "mean"]


def test_class_probabilities(trained: Layout) -> None:
    rows, plotted, _ = made(trained, "probabilities")
    p = []
    for seed in SEEDS:
        probe = load_file(answered(trained, "probabilities", "smooth", 0, seed))
        z = probe["logits/last"][probe["labels"] == 19, 0].astype(np.float64)
        p.append(softmax(z / 4, axis=1).mean(axis=0))
    at_4 = plotted[(plotted["temperature"] == 4) & (plotted["target_class"] == "snake")].set_index("class")
    assert at_4["rank"]["comb_3"] == 0
    assert at_4["mean"]["box_2"] == pytest.approx(np.mean([q[14] for q in p]))
    assert at_4.groupby("rank").size().tolist() == [1] * 20
    second = value_of(rows, metric="p_second", seed=0, target_class="snake", kd_temperature=4)
    assert second == pytest.approx(np.delete(p[0], 19).max())
    counted, table, _ = made(trained, "counts")
    means = softmax(z, axis=1).mean(axis=0)  # of the last seed; 17, 18, 19 are comb_1, comb_2 and the target
    for which, largest in (("similar", means[[17, 18]].max()), ("other", means[:17].max())):
        found = value_of(counted, metric=f"p_largest_{which}", seed=SEEDS[-1], target_class="snake")
        assert found == pytest.approx(largest)
    assert table["metric"].eq("n_classes_100x_below_second").all()
    assert table["kd_temperature"].isna().all()
    assert table["p_second"].gt(0).all()
    assert counted["kd_temperature"].isna().all()


def test_entropy_and_the_temperatures_of_equal_entropy(trained: Layout) -> None:
    rows, plotted, face = made(trained, "entropies")
    hard, smooth = (load_file(answered(trained, "entropies", f, 0, 1))["logits/last"][:, 0] for f in ("hard", "smooth"))
    assert len(hard) == 400
    run = run_id(member("entropies", "smooth").run)
    at_3 = value_of(rows, run_id=run, metric="entropy", kd_temperature=3, seed=1)
    assert at_3 == pytest.approx(entropy(smooth, 3))
    solved = value_of(rows, metric="T_b", seed=1)
    assert entropy(hard, solved) == pytest.approx(at_3)
    lost = rows[(rows["metric"] == "entropy_at_T_b") & (rows["seed"] == 1)].set_index("method")["value"]
    assert lost["ce"] == pytest.approx(at_3)
    assert lost["ls"] == pytest.approx(entropy(smooth, solved))
    assert rows[rows["metric"].str.contains("T_")]["kd_temperature"].isna().all()
    assert face[2].startswith("T_b = ")
    assert plotted["solved_temperature"].notna().sum() == 4
    _, drawn, _ = made(trained, "entropies_drawn")
    star = drawn[drawn["name"] == "T_a"].iloc[0]
    assert star["alpha"] == 0
    curve = drawn[(drawn["name"] == "curve") & (drawn["alpha"] == 0)]
    assert star["mean"] == pytest.approx(np.interp(star["temperature"], curve["temperature"], curve["mean"]), rel=0.02)


def test_printed_entropies_at_lost_temperatures_stand_beside_ours(trained: Layout) -> None:
    art = read_artifact(trained.root / "specs", "own.entropies")
    names = (("dataset", "cub200_2011"), ("student", "resnet50"))
    art = replace(art, id="chandrasegaran2022.tableH1", members=tuple(replace(m, published=names) for m in art.members))
    _, plotted, _ = made(trained, art)
    beside = plotted[plotted["n"] > 0].set_index(["method", "metric", "kd_temperature"])["published"]
    assert beside.xs("entropy_at_T_a", level="metric").tolist() == [0.888, 3.225]
    assert beside["ls", "entropy", 3.0] == 5.118


def test_samples_are_the_images_of_the_data(trained: Layout) -> None:
    _, plotted, face = made(trained, "samples")
    folder = trained.data(dataset_id(member("samples", "hard").run.dataset))
    labels, images = np.load(folder / "train_labels.npy"), np.load(folder / "train_images.npy")
    third = plotted[(plotted["target_class"] == "snake") & (plotted["number"] == 2)].iloc[0]
    pixels = np.frombuffer(zlib.decompress(base64.b64decode(third["pixels"])), dtype=np.uint8)
    np.testing.assert_array_equal(pixels.reshape(1, 16, 16), images[np.flatnonzero(labels == 19)[2]])
    assert plotted["target_class"].tolist() == ["ring_0"] * 3 + ["snake"] * 3
    assert face[0].startswith("The first 3 train images")


# ---------------------------------------------------------------- faults


def changed(layout: Layout, path: Path, change: Callable[[dict[str, np.ndarray]], object]) -> None:
    """The same file with other tensors."""
    with safe_open(path, framework="numpy") as file:
        about = file.metadata()
    tensors = load_file(path)
    change(tensors)
    path.unlink()
    save_file(tensors, path, metadata=about)


def test_a_class_without_images_is_said(layout: Layout) -> None:
    paths = [answered(layout, "eta", "students", 0, 0, T=t) for t in (1, 3)]
    for path in paths:
        changed(layout, path, lambda tensors: tensors.update({name: t[:-1] for name, t in tensors.items()}))
    with refused(DataError, paths[0].name, "comb_3"):
        made(layout, "eta")


def test_the_answers_of_another_run_are_refused(layout: Layout) -> None:
    other = answered(layout, "eta", "students", 0, 0, T=1)
    path = answered(layout, "eta", "students", 0, 0, T=3)
    path.unlink()
    shutil.copy(other, path)
    with refused(DataError, path.name, "weights.safetensors"):
        made(layout, "eta")


def test_means_that_do_not_belong_together_are_refused(layout: Layout) -> None:
    path = answered(layout, "eta", "students", 0, 0, T=1)
    changed(layout, path, lambda tensors: tensors.update(counts=tensors["counts"][1:]))
    with refused(DataError, path.name):
        made(layout, "eta")
    changed(layout, path, lambda tensors: [tensors.pop("counts")])
    with refused(DataError, path.name):
        made(layout, "eta")


def of(name: str, **options: Any) -> Callable[[dict[str, Any]], None]:
    """Other options of an artifact; None takes one out."""

    def change(grid: dict[str, Any]) -> None:
        found = grid["artifacts"][name]["options"] | options
        grid["artifacts"][name]["options"] = {key: value for key, value in found.items() if value is not None}

    return change


DISTANCE = {"by": "distance", "reference": "hard"}
BAD = [
    (of("eta", classes=["ring_9"]), "ring_9"),
    (of("eta", classes=[20]), "options.classes"),
    (of("eta", classes={"snake": 3}), "options.classes"),
    (of("eta", classes=["ring_0", {"ring_0": 3}]), "options.classes"),
    (of("eta", classes=[{"a": 3}, {"b": "ring_3"}]), "ring_3"),
    (of("eta", temperatures=[3, 1]), "options.temperatures"),
    (of("eta", temperatures=[2, 3]), "T = 2"),
    (of("eta", temperatures=[1, 64]), "T = 64"),
    (of("eta", distance="far"), "options.distance"),
    (of("eta", distance="pairwise"), "what: features"),
    (of("eta", sets=None), "options.sets.by"),
    (of("eta", sets={"by": "families", "nearest": 1}), "options.sets.nearest"),
    (of("eta", sets={"by": "groups"}), "options.sets.file"),
    (of("eta", sets=DISTANCE), "hard"),
    (of("eta_drawn", sets=DISTANCE | {"farthest": 120}), "options.sets.farthest"),
    (of("eta_drawn", sets=DISTANCE | {"reference": "students"}), "students"),
    (
        of("pairs", sets={"by": "list", "of": {"ring_0": {"similar": ["ring_1"], "dissimilar": ["box_0", "ring_1"]}}}),
        "ring_0",
    ),
    (of("pairs", sets={"by": "list", "of": {}}), "options.sets.of.ring_0"),
    (asked("eta", students=MEANS[0]), "what: class_means"),
    (asked("eta", students=[MEANS[0] | {"classes": [0, 1]}, MEANS[1]]), "comb_3"),
    (asked("accuracy", students={"classes": ["ring_0"]}), "comb_3"),
    (asked("sets", hard=MEANS[1] | {"classes": [0]}), "what: class_means"),
    (of("sets", method_2={"by": "families"}), "options.method_2.by"),
    (of("counts", temperatures=[0]), "options.temperatures"),
    (of("counts", temperatures=[]), "options.temperatures"),
    (asked("entropies", hard={"per_class": 3}), "what: logits"),
    (of("entropies", match={"T_a": -1}), "options.match"),
    (lambda grid: grid["artifacts"]["entropies"].update(families=["smooth"], probes={"smooth": {}}), "options.match"),
    (asked("samples", hard={}), "what: pictures"),
    (asked("samples", hard={"what": "pictures", "classes": [0]}), "comb_3"),
]


@pytest.mark.parametrize(("change", "named"), BAD)
def test_what_cannot_be_drawn_is_refused_when_the_plan_is_made(
    change: Callable[[dict[str, Any]], None], named: str
) -> None:
    with refused(SpecError, "artifact", named):
        planned(change)


BAD_PROBES = [
    ({"classes": ["ring_9"]}, "probes.students.classes"),
    ({"classes": [0, "ring_0"]}, "probes.students.classes"),
    ({"classes": [20]}, "probes.students.classes"),
    ({"what": "class_means", "views": 3}, "views"),
    ({"what": "pictures"}, "classes"),
]


@pytest.mark.parametrize(("probe", "named"), BAD_PROBES)
def test_what_cannot_be_asked_is_refused_when_the_plan_is_made(probe: dict[str, Any], named: str) -> None:
    with refused(SpecError, named):
        planned(asked("accuracy", students=probe))


def test_a_table_of_groups_is_checked_where_it_is_there_and_else_asked_for(trained: Layout, tmp_path: Path) -> None:
    table = tmp_path / "groups.csv"
    by_table = of("eta", sets={"by": "groups", "file": str(table)})
    art = planned(by_table).artifacts["own.eta"]  # a plan needs no data
    assert custom_tables(art) == []
    with refused(SpecError, table):
        made(trained, art)
    table.write_text("class,group\nring_0,a\nring_1,a\ncomb_3,b\ncomb_0,b\n")
    assert custom_tables(art) == [table]
    check(art)
    _, plotted, _ = made(trained, art)
    assert set(plotted["set_size"]) == {1, 2}
    table.write_text("class,group\nring_0,a\nring_1,a\ncomb_3,b\nwheel,b\n")
    with refused(SpecError, "groups.csv", "wheel"):
        planned(by_table)
