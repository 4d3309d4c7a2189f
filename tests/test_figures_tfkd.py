"""Gains over a baseline, the search over α, curves by epoch and softened teachers, on generated files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from refusals import refused
from safetensors.numpy import save_file
from scipy.special import softmax
from test_figures import (
    CLEAN,
    STUDENT,
    TEACHER,
    K,
    artifact,
    made,
    make_logits,
    member,
    smooth,
    spec,
    write_probe,
    write_run,
)  # fmt: skip

from softlabels.errors import SpecError
from softlabels.figures.drawing import check
from softlabels.files import write_json
from softlabels.grid.identity import run_id
from softlabels.grid.parts.label_targets import EntropyBonus, VirtualTeacher
from softlabels.grid.plan import Artifact
from softlabels.grid.spec import Distill, RunSpec, Teacher
from softlabels.layout import Layout

HARD = spec(smooth(0))
BIG = spec(smooth(0), TEACHER)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "demo")


# ---------------------------------------------------------------- gains


def gains(layout: Layout, **options: object) -> Artifact:
    students = [spec(Distill(Teacher(BIG), 20.0, beta=beta)) for beta in (0.6, 0.95)]
    members = [member("alone", HARD), member("big", BIG), *(member("kd", run) for run in students)]
    for accuracy, m in zip((0.70, 0.90, 0.75, 0.65), members, strict=True):
        for seed in m.seeds:
            write_run(layout, m.run, seed, accuracy + 0.01 * seed * (m.run != HARD))
    options = {"baseline": ["alone", "big"]} | options
    return artifact("compare_table", members, kind="table", options=options, name="own.gains")


def test_gains_are_paired_by_seed(layout: Layout) -> None:
    rows, plotted, provenance = made(gains(layout), layout)
    found = rows[(rows["metric"] == "top1_delta") & (rows["split"] == "test") & (rows["checkpoint"] == "last")]
    by_beta = found.groupby("kd_beta")["value"].apply(list).to_dict()
    assert by_beta[0.6] == pytest.approx([5, 6, 7])
    assert by_beta[0.95] == pytest.approx([-5, -4, -3])
    assert set(found["method"]) == {"kd"}  # a baseline gains nothing over itself
    assert set(plotted["metric"]) >= {"top1", "top1_delta"}
    assert sorted(set(plotted["kd_beta"].dropna())) == [0.6, 0.95]  # told apart, since they differ
    assert any("gain in points over the same network" in line for line in provenance["face"])


@pytest.mark.parametrize(
    ("baseline", "named"),
    [
        ([], "options.baseline"),
        (["alon"], "alon"),
        (["big"], "options.baseline"),
        (["alone", "big", "kd"], "kd"),
    ],
)
def test_bad_baselines_are_refused(layout: Layout, baseline: list[str], named: str) -> None:
    with refused(SpecError, named):
        check(gains(layout, baseline=baseline))


# ---------------------------------------------------------------- the search over α


def write_splits(layout: Layout, run: RunSpec, seed: int, val: float, test: float) -> None:
    rng = np.random.default_rng(seed)
    tensors = {}
    for split, accuracy in (("val", val), ("test", test)):
        z, labels = make_logits(rng, 200, accuracy)
        tensors |= {f"{split}/last": z, f"{split}/best": z + 0, f"{split}/labels": labels}
    path = layout.run(run_id(run), seed) / "logits.safetensors"
    path.parent.mkdir(parents=True)
    save_file(tensors, path)


def search(layout: Layout) -> Artifact:
    alphas = {0.1: (0.80, 0.79), 0.19: (0.85, 0.80), 0.5: (0.85, 0.84), 0.9: (0.70, 0.86)}
    runs = [("hard", HARD, (0.75, 0.75)), ("reg", spec(VirtualTeacher(40, 0.95)), (0.8, 0.82))]
    runs += [("lsr", spec(smooth(alpha)), accuracy) for alpha, accuracy in alphas.items()]
    members = [member(family, run, paper="cifar100") for family, run, _ in runs]
    members = [replace(m, published=(("dataset", "cifar100"), ("student", "mobilenet_v2"))) for m in members]
    for m, (_, run, (val, test)) in zip(members, runs, strict=True):
        for seed in m.seeds:
            write_splits(layout, run, seed, val + 0.01 * seed, test + 0.01 * seed)
    return artifact("smoothing_search", members, name="yuan2020.table4")


def test_validation_chooses_alpha_and_the_papers_way_stands_beside_it(layout: Layout) -> None:
    rows, plotted, provenance = made(search(layout), layout)
    chosen = rows[rows["metric"] == "optimal_alpha"].groupby("split")["value"].unique().to_dict()
    assert chosen == {"val": [0.19], "test": [0.9]}  # of equal ones the smaller, seed by seed and in the mean
    test = plotted[plotted["split"] == "test"].set_index("alpha")
    assert test.loc[0.19, ["mean", "std", "n", "chosen"]].tolist() == pytest.approx([81, 1, 3, "val"])
    assert test.loc[0.9, "chosen"] == "test"
    # Printed beside the networks that they are of: 69.54 at α = 0.19, 68.38 of hard labels, 70.88 of Tf-KD_reg.
    assert test.loc[0.19, "published"] == 69.54
    labelled = plotted[plotted["split"] == "test"].set_index("kind")["published"]
    assert (labelled["hard labels"], labelled["virtual teacher"]) == (68.38, 70.88)
    gained = rows[(rows["metric"] == "top1_delta") & (rows["method"] == "tf_kd_reg") & (rows["checkpoint"] == "last")]
    assert gained["value"].tolist() == pytest.approx([7, 7, 7])
    face = provenance["face"][1]
    assert "label smoothing α = 0.19 (chosen on validation) 81.00, printed 69.54" in face
    assert "label smoothing α = 0.9 (best on test) 87.00" in face
    assert "α = 0.5" not in face


def test_a_search_needs_hard_labels_and_shows_no_teacher(layout: Layout) -> None:
    found = search(layout)
    with refused(SpecError, "smoothing_search", "reg"):
        check(replace(found, members=found.members[1:]))
    taught = member("kd", spec(Distill(Teacher(BIG), 2.0)), paper="cifar100")
    taught = replace(taught, published=found.members[0].published)
    with refused(SpecError, "smoothing_search", "kd"):
        check(replace(found, members=(*found.members, taught)))


def test_a_search_without_files_still_draws(layout: Layout) -> None:
    _, plotted, provenance = made(search(layout), Layout(layout.root.parent / "empty"))
    assert plotted.empty
    assert provenance["face"][-1] == "Nothing to draw yet."


# ---------------------------------------------------------------- curves by epoch


def test_curves_are_of_validation_by_epoch(layout: Layout) -> None:
    own, other = spec(Distill(Teacher(HARD), 20.0)), spec(Distill(Teacher(BIG), 20.0))
    names = {"self": "alexnet", "of": "resnet56"}
    members = [member("alone", HARD)]
    for family, run in (("self", own), ("of", other)):
        published = (("dataset", "cifar10"), ("student", "alexnet"), ("teacher", names[family]))
        members.append(replace(member(family, run), published=published))
    for number, m in enumerate(members):
        for seed in m.seeds:
            write_run(layout, m.run, seed, 0.7 + 0.05 * number)
            curve = {"step": [0, 5, 10], "epoch": [0, 0.5, 1], "val_top1": [np.nan, 50 + seed, 60 + number]}
            history = pd.DataFrame(curve)
            history.to_csv(layout.run(run_id(m.run), seed) / "history.csv", index=False)
    rows, plotted, provenance = made(artifact("accuracy_curves", members, name="own.curves"), layout)
    assert list(dict.fromkeys(plotted["line"])) == ["hard labels", "self-training", "taught by resnet56"]
    line = plotted[plotted["line"] == "self-training"].set_index("epoch")
    assert line.index.tolist() == [0.5, 1]
    assert line.loc[0.5, ["mean", "min", "max", "n"]].tolist() == [51, 50, 52, 3]
    assert provenance["face"][1].startswith("Test accuracy after the last step: hard labels 70.00 %; self-")
    assert "the test set at every epoch" in provenance["face"][0]
    assert len(rows)


# ---------------------------------------------------------------- softened teachers


def softened(**options: object) -> Artifact:
    settings = {"target": 5, "temperatures": [1, 20], "alpha": 0.1} | options
    teachers = [member("teacher", BIG, 2)]
    return artifact("softened_teacher", teachers, probes=[("teacher", CLEAN)], options=settings, name="yuan2020.figS1")


def test_a_teacher_is_softened_towards_uniform(layout: Layout) -> None:
    means = []
    for seed in range(2):
        write_run(layout, BIG, seed, 0.9)
        z, labels = make_logits(np.random.default_rng(seed), 300, 1.0, 2.0)
        write_probe(layout, BIG, seed, CLEAN, {"labels": labels, "logits/last": z[:, None]})
        _describe(layout, seed)
        means.append(softmax(z[labels == 5].astype(np.float64) / 20, axis=1).mean(0))
    rows, plotted, provenance = made(softened(), layout)
    at_20 = plotted[plotted["temperature"] == 20].sort_values("class")
    np.testing.assert_allclose(at_20["mean"], np.mean(means, axis=0), rtol=1e-6)
    np.testing.assert_allclose(at_20["smoothed"], [0.01] * 5 + [0.91] + [0.01] * 4)
    kl = rows[rows["metric"] == "kl_to_uniform"].set_index(["kd_temperature", "seed"])["value"]
    assert kl[20, 0] == pytest.approx((means[0] * np.log(K * means[0])).sum(), rel=1e-6)
    assert kl[20, 0] < kl[1, 0]
    assert "C6 (5)" in provenance["face"][0]


def _describe(layout: Layout, seed: int) -> None:
    """The metadata that a probe's file has: the names of all classes."""
    import json

    from safetensors.numpy import load_file

    from softlabels.grid.identity import probe_id

    path = layout.probe(run_id(BIG), seed, probe_id(CLEAN))
    meta = {"weights": {}, "class_names": [str(k) for k in range(K)]}
    save_file(load_file(path), path, {"meta": json.dumps(meta)})
    write_json(layout.run(run_id(BIG), seed) / "run.json", {"files": {}})


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"target": 10}, "options.target"),
        ({"temperatures": [1, 0]}, "options.temperatures"),
        ({"alpha": 1}, "options.alpha"),
    ],
)
def test_bad_options_of_softened_teachers(options: dict[str, object], named: str) -> None:
    with refused(SpecError, named):
        check(softened(**options))
    with refused(SpecError, "teacher", "split: train"):
        check(replace(softened(), probes=()))


def test_networks_on_labels_alone_where_a_drawing_needs_them() -> None:
    run = spec(EntropyBonus(0.1), STUDENT)
    with refused(SpecError, "reliability", "e"):
        check(artifact("reliability", [member("e", run)]))
