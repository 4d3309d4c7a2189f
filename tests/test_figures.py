"""Measure → draw on generated files: the numbers that are drawn, what is said on the face, what is missing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import seaborn
from refusals import refused
from safetensors.numpy import load_file, save_file
from scipy.special import log_softmax, softmax

from softlabels.errors import DataError, SpecError
from softlabels.figures import make, style
from softlabels.figures.intervals import bounds
from softlabels.figures.source import Source
from softlabels.files import write_json
from softlabels.grid.identity import probe_id, run_id
from softlabels.grid.parts.probes import Probe
from softlabels.grid.parts.recipe import Optimiser, Recipe
from softlabels.grid.plan import Artifact, Member
from softlabels.grid.spec import DatasetSpec, Distill, Hard, ModelSpec, RunSpec, Smooth, Targets, Teacher
from softlabels.layout import Layout
from softlabels.metrics.calibration import ece
from softlabels.metrics.rows import read_rows

K = 10
RECIPE = Recipe(batch_size=64, steps=100, optimiser=Optimiser(lr=0.1), milestone_every=20)
TEACHER, STUDENT = ModelSpec("resnet56"), ModelSpec("alexnet")


def spec(targets: Targets, model: ModelSpec = STUDENT, data: str = "digits") -> RunSpec:
    return RunSpec(DatasetSpec(data), model, targets, RECIPE)


def smooth(alpha: float) -> Targets:
    return Smooth(alpha) if alpha else Hard()


def member(family: str, run: RunSpec, seeds: int = 3, paper: str = "cifar10") -> Member:
    teacher = {"teacher": "resnet56"} if hasattr(run.targets, "teacher") else {}
    names = {"dataset": paper, "student": run.model.name, **teacher}
    return Member(family, (), run, tuple(range(seeds)), tuple(names.items()))


def artifact(draw: str, members, kind="figure", probes=(), options=None, name="muller2019.fig5") -> Artifact:
    return Artifact(
        name, f"Test of {draw}", kind, draw, tuple(members), tuple(probes), options or {},
        ("demo: digits stand for CIFAR-10; 3 seeds instead of 5; α of teachers subsampled to 0, 0.3, 0.6",
         "demo: recipes of this scale"),
    )  # fmt: skip


def make_logits(rng, n: int, accuracy: float, scale: float = 1.0):
    """Logits [n, K] of which exactly round(n·accuracy) rows are right, and their labels [n]."""
    labels = rng.integers(0, K, n)
    z = rng.normal(0, 1, (n, K))
    top = labels.copy()
    wrong = rng.permutation(n)[: n - round(n * accuracy)]
    top[wrong] = (labels[wrong] + rng.integers(1, K, len(wrong))) % K
    z[np.arange(n), top] = z.max(axis=1) + rng.exponential(3, n)
    return (scale * z).astype(np.float32), labels


def write_run(layout: Layout, run: RunSpec, seed: int, accuracy: float, scale: float = 1.0, n: int = 400):
    rng = np.random.default_rng([seed, int(1000 * accuracy)])
    tensors = {}
    for split in ("val", "test"):
        z, labels = make_logits(rng, n, accuracy, scale)
        tensors |= {f"{split}/last": z, f"{split}/best": z + 0, f"{split}/labels": labels}
    path = layout.run(run_id(run), seed) / "logits.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)


def write_probe(layout: Layout, run: RunSpec, seed: int, probe: Probe, tensors: dict) -> None:
    path = layout.probe(run_id(run), seed, probe_id(probe))
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {"ids": np.arange(len(tensors["labels"])), **tensors}
    save_file({name: np.ascontiguousarray(t) for name, t in tensors.items()}, path)


def made(art: Artifact, layout: Layout, scale: str = "demo"):
    """Measure and draw; returns rows, plotted and provenance, having checked the files of the kind."""
    make.measure_artifact(art, layout, scale)
    make.draw_artifact(art, layout, scale)
    rows = read_rows(layout.metrics(art.paper, art.name))
    plotted = pd.read_csv(layout.plotted(art.paper, art.name))
    suffixes = (".pdf", ".png", ".csv") if art.kind == "figure" else (".csv", ".md")
    for suffix in suffixes:
        assert layout.output(art.kind, art.paper, art.name, suffix).stat().st_size > 30
    return rows, plotted, json.loads(layout.output(art.kind, art.paper, art.name, ".provenance.json").read_text())


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "demo")


# ---------------------------------------------------------------- Fig. 5

ALPHAS = (0.0, 0.3, 0.6)
TEMPERATURES = (1.0, 2.0, 4.0, 8.0, 16.0)
CLEAN = Probe(split="train", what="logits")


def fig5(layout: Layout, skip=()) -> Artifact:
    teachers = {a: spec(smooth(a), TEACHER) for a in ALPHAS}
    members = [member("teachers", run) for run in teachers.values()]
    members += [member("baselines", spec(smooth(a))) for a in ALPHAS]
    kd = [spec(Distill(Teacher(teachers[0.0]), t, t2=False, student_tempered=False)) for t in TEMPERATURES]
    members += [member("kd_temperatures", run) for run in kd]
    members += [member("kd_alphas", spec(Distill(Teacher(teachers[a]), 1.0))) for a in ALPHAS]
    for number, m in enumerate(members):
        for seed in m.seeds:
            if (number, seed) in skip:
                continue
            write_run(layout, m.run, seed, 0.80 + 0.01 * seed + 0.015 * (number % 5) + 0.05 * (number < 3))
    for a, run in teachers.items():
        for seed in range(3):
            rng = np.random.default_rng(seed)
            z, labels = make_logits(rng, 300, 1.0, 2.0)
            if a:
                z = np.log(np.eye(K)[labels] * (1 - a) + a / K).astype(np.float32)
            write_probe(layout, run, seed, CLEAN, {"labels": labels, "logits/last": z[:, None]})
    return artifact("smoothing_curves", members, probes=[("teachers", CLEAN)])


def test_teachers_that_are_not_drawn_are_in_the_provenance(layout: Layout) -> None:
    first = spec(smooth(0.1), TEACHER)
    second = spec(Distill(Teacher(first, seed=4), 2.0), TEACHER)
    members = [member("kd", spec(Distill(Teacher(second), 2.0))), member("alone", spec(smooth(0.0)))]
    _, _, provenance = made(artifact("compare_table", members, kind="table"), layout)
    assert provenance["teachers"] == {run_id(first): [4], run_id(second): [0, 1, 2]}


def test_smoothing_curves(layout: Layout) -> None:
    art = fig5(layout)
    rows, plotted, provenance = made(art, layout)
    by_curve = plotted.groupby("curve").size().to_dict()
    assert by_curve == {"teacher": 3, "baseline": 3, "kd_hard": 5, "kd_smooth": 3}

    teacher = plotted[(plotted["curve"] == "teacher") & (plotted["alpha"] == 0.3)].iloc[0]
    assert teacher["gamma"] == 0.3
    # accuracies 86.5, 87.5, 88.5 % were written for member 1
    np.testing.assert_allclose(teacher[["mean", "min", "max", "std", "n"]].astype(float), [87.5, 86.5, 88.5, 1, 3])

    # γ of targets smoothed exactly by α is α; of a hard teacher it is the softened mass off the label, at T
    smoothed = plotted[plotted["curve"] == "kd_smooth"].set_index("alpha")["gamma"]
    np.testing.assert_allclose(smoothed[[0.3, 0.6]], [0.3, 0.6], rtol=1e-6)
    by_seed = []
    for seed in range(3):
        z, labels = make_logits(np.random.default_rng(seed), 300, 1.0, 2.0)
        p = softmax(z.astype(np.float64) / 4, axis=1)
        by_seed.append((1 - p[np.arange(300), labels]).mean() * K / (K - 1))
    hard = plotted[plotted["curve"] == "kd_hard"].set_index("temperature")["gamma"]
    assert hard[4.0] == pytest.approx(np.mean(by_seed), rel=1e-6)
    assert hard.is_monotonic_increasing

    # the run that two families share is in the rows once, and both checkpoints are there
    assert not rows.duplicated().any()
    assert set(rows[rows["metric"] == "top1"]["checkpoint"]) == {"last", "best"}
    assert provenance["missing"] == {}
    assert provenance["teachers"] == {run_id(m.run): [0, 1, 2] for m in art.family("teachers")}
    assert len(provenance["inputs"]) == 13 * 3 + 3 * 3 + 2
    assert provenance["face"][-1] == f"{art.notes[0]}; recipes of this scale."
    assert "n = 3 seeds" in provenance["face"][0]


def test_missing_seeds_are_said_and_the_rest_is_drawn(layout: Layout) -> None:
    art = fig5(layout, skip={(3, 1), (3, 2), (7, 0), (7, 1), (7, 2)})
    _, plotted, provenance = made(art, layout)
    baseline = plotted[(plotted["curve"] == "baseline") & (plotted["alpha"] == 0)].iloc[0]
    assert baseline["n"] == 1
    assert baseline["min"] == baseline["max"] == baseline["mean"]
    assert 2.0 not in set(plotted["temperature"])
    assert provenance["missing"] == {run_id(art.members[3].run): [1, 2], run_id(art.members[7].run): [0, 1, 2]}
    assert f"MISSING: {run_id(art.members[3].run)} seeds 1, 2; " in provenance["face"][-1]
    assert "n = 1 to 3 seeds" in provenance["face"][0]


def test_nothing_there_still_draws_and_says_so(layout: Layout) -> None:
    art = fig5(Layout(layout.root.parent / "elsewhere"))
    _, plotted, provenance = made(art, layout)
    assert plotted.empty
    assert provenance["face"][-1] == "Nothing to draw yet."
    assert "and 9 more" in provenance["face"][-2]


def test_every_module_draws_before_anything_is_trained(layout: Layout) -> None:
    grid = own_grid(layout)
    pair = tuple(m for m in grid.members if m.family == "alone")
    features = [("alone", Probe(split=s, what="features")) for s in ("train", "val")]
    over_time = Probe(classes=(0, 1), views=6, checkpoints="milestones")
    empty = Layout(layout.root.parent / "empty")
    options = {"rows": [{"classes": [0, 1, 2]}]}
    for draw, kind, members, probes in (
        ("distillation_grid", "figure", grid.members, ()),
        ("distillation_grid", "table", grid.members, ()),
        ("reliability", "figure", pair, ()),
        ("projection", "figure", pair, features),
        ("information", "figure", pair, [("alone", over_time)]),
        ("compare_table", "table", pair, ()),
        ("calibration_table", "table", pair, ()),
    ):
        rows, _, provenance = made(
            artifact(draw, members, kind, probes, options if draw == "projection" else {}, f"own.{draw}"), empty
        )
        assert rows.empty
        assert set(provenance["missing"]) >= {run_id(m.run) for m in pair}


def test_a_student_without_validation_split_is_drawn_but_not_selected(layout: Layout) -> None:
    art = own_grid(layout)
    for m in art.members:
        for seed in m.seeds:
            path = layout.run(run_id(m.run), seed) / "logits.safetensors"
            save_file({n: t for n, t in load_file(path).items() if n.startswith("test")}, path)
    _, plotted, provenance = made(art, layout)
    assert plotted["n"].eq(3).all()
    assert not plotted["selected"].any()
    assert "nothing is selected" in provenance["face"][1]


def test_equal_numbers_give_equal_bytes(layout: Layout) -> None:
    art = fig5(layout)
    contents = []
    for _ in range(2):
        made(art, layout)
        contents.append([layout.output("figure", "muller2019", "fig5", s).read_bytes() for s in (".pdf", ".png")])
    assert contents[0] == contents[1]


def test_gamma_needs_the_teacher_with_a_probe(layout: Layout) -> None:
    art = fig5(layout)
    bare = artifact("smoothing_curves", art.members)
    with refused(SpecError, "kd_temperatures"):
        make.measure_artifact(bare, layout, "demo")


# ---------------------------------------------------------------- Fig. 2, Table 3, Table 2


def write_calibrated(layout: Layout, run: RunSpec, seed: int, scale: float, n: int = 2000) -> None:
    """Labels drawn from softmax(z), logits scale·z written: T = scale calibrates them."""
    rng = np.random.default_rng([seed, int(10 * scale)])
    tensors = {}
    for split in ("val", "test"):
        z = rng.normal(0, 2.5, (n, K))
        labels = (z + rng.gumbel(size=(n, K))).argmax(axis=1)
        tensors |= {f"{split}/{c}": (scale * z).astype(np.float32) for c in ("last", "best")}
        tensors[f"{split}/labels"] = labels
    path = layout.run(run_id(run), seed) / "logits.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)


def calibration_members(layout: Layout) -> list[Member]:
    members = []
    for data, paper, alpha in (("glyphs", "cifar100", 0.05), ("glyphs", "imagenet", 0.1)):
        for a in (0.0, alpha):
            run = spec(smooth(a), TEACHER, data)
            members.append(member(f"{paper}", run, 2, paper))
            for seed in range(2):
                write_calibrated(layout, run, seed, 3.0 if a == 0 else 1.2 - 2 * a)
    return members


def test_reliability(layout: Layout) -> None:
    members = calibration_members(layout)
    rows, plotted, provenance = made(artifact("reliability", members, name="muller2019.fig2"), layout)
    assert plotted.groupby(["facet", "line"], sort=False).ngroups == 6
    hard = plotted[(plotted["line"] == "hard labels") & plotted["facet"].str.contains("cifar100")]
    assert len(hard) == 15
    assert hard["count"].sum() == 2 * 2000

    # by hand: the last bin and the ECE of each seed
    right, confident, errors = [], [], []
    for seed in range(2):
        tensors = load_file(layout.run(run_id(members[0].run), seed) / "logits.safetensors")
        p = softmax(tensors["val/last"].astype(np.float64), axis=1)
        c, ok = p.max(axis=1), p.argmax(axis=1) == tensors["val/labels"]
        bins = np.ceil(c * 15 - 1e-12).astype(int) - 1
        errors.append(sum(abs((ok[bins == b] * 1.0 - c[bins == b]).sum()) for b in range(15)) / len(c))
        right.append(ok[bins == 14])
        confident.append(c[bins == 14])
    last = hard.iloc[-1]
    assert last["count"] == len(np.concatenate(right))
    assert last["accuracy"] == pytest.approx(np.concatenate(right).mean())
    assert last["confidence"] == pytest.approx(np.concatenate(confident).mean())
    assert last["ece_mean"] == pytest.approx(np.mean(errors))

    # a tuned T calibrates the over-confident network, and it stands in the rows under the paper's method
    tuned = plotted[plotted["line"] == "hard labels, tuned T"].groupby("facet").first()
    np.testing.assert_allclose(tuned["temperature"], 3.0, rtol=0.05)
    assert (tuned["ece_mean"].to_numpy() < last["ece_mean"] / 4).all()
    assert set(rows[rows["method"] == "temp_scaling"]["metric"]) == {"ece", "calibration_temperature"}
    assert "pooled over seeds, on the split named above" in provenance["face"][0]
    assert set(plotted["split"]) == {"val"}


def official(layout: Layout) -> list[Member]:
    """ImageNet's two networks, reported on our test split, whose logits are twice as large as those of val."""
    members = []
    for a in (0.0, 0.1):
        run = spec(smooth(a), TEACHER, "glyphs")
        found = member("imagenet", run, 2, "imagenet")
        published = {**dict(found.published), "student": "inception_v4", "reported_on": "test"}
        members.append(replace(found, published=tuple(published.items())))
        for seed in range(2):
            write_calibrated(layout, run, seed, 1.5)
            path = layout.run(run_id(run), seed) / "logits.safetensors"
            save_file({n: 2 * t if n in ("test/last", "test/best") else t for n, t in load_file(path).items()}, path)
    return members


def test_an_official_validation_set_is_scored_with_a_temperature_tuned_elsewhere(layout: Layout) -> None:
    members = official(layout)
    rows, plotted, _ = made(artifact("reliability", members, name="muller2019.fig2"), layout)
    assert set(plotted["split"]) == {"test"}
    tensors = load_file(layout.run(run_id(members[0].run), 0) / "logits.safetensors")
    z, y = tensors["test/last"].astype(np.float64), tensors["test/labels"]
    own = rows[(rows["run_id"] == run_id(members[0].run)) & (rows["seed"] == 0) & (rows["checkpoint"] == "last")]
    tuned = own[own["method"] == "temp_scaling"].set_index(["split", "metric"])["value"]
    assert tuned["test", "calibration_temperature"] == pytest.approx(1.5, rel=0.05)  # 3 would calibrate the test split
    assert tuned["test", "ece"] == pytest.approx(ece(z, y, 15, tuned["test", "calibration_temperature"]))
    hard = rows[(rows["metric"] == "ece") & (rows["split"] == "test") & (rows["method"] == "ce")]
    drawn = plotted[plotted["line"] == "hard labels"]["ece_mean"].iloc[0]
    assert drawn == pytest.approx(hard[hard["checkpoint"] == "last"]["value"].mean())

    made(artifact("calibration_table", members, kind="table", name="muller2019.table3"), layout)
    table = pd.read_csv(layout.output("table", "muller2019", "table3", ".csv"))
    found = table[table["n"] > 0]
    assert set(zip(found["split"], found["published_split"], strict=True)) == {("test", "val")}
    scaled = found[found["method"] == "temp_scaling"].set_index("metric")
    assert scaled.loc[["ece", "calibration_temperature"], "published"].tolist() == [0.022, 1.4]
    assert scaled.loc["calibration_temperature", "mean"] == pytest.approx(1.5, rel=0.05)
    assert scaled.loc["ece", "mean"] > 0.05  # twice too large at that T, and not retuned


def test_probes_of_other_weights_are_refused(layout: Layout) -> None:
    art = fig5(layout)
    run, digest = run_id(art.members[0].run), "ab" * 32
    record = layout.run(run, 0) / "run.json"
    write_json(record, {"files": {"weights.safetensors": digest, "milestones/step20.safetensors": digest}})
    path = layout.probe(run, 0, probe_id(CLEAN))
    tensors = load_file(path)
    source = Source(layout, "demo")
    for meta in ({"run": run}, {"weights": {"last": digest}}, {"weights": {"last": digest, "step20": digest}}):
        save_file(tensors, path, {"meta": json.dumps(meta)})
        assert source.probe(art.members[0], 0, CLEAN) is not None
    for label in ("last", "step20", "step40"):
        save_file(tensors, path, {"meta": json.dumps({"weights": {label: "cd" * 32}})})
        with refused(DataError, "train-logits"):
            source.probe(art.members[0], 0, CLEAN)


def test_calibration_table(layout: Layout) -> None:
    members = calibration_members(layout)
    art = artifact("calibration_table", members, kind="table", name="muller2019.table3")
    rows, _, _ = made(art, layout)
    table = pd.read_csv(layout.output("table", "muller2019", "table3", ".csv"))
    scaled = table[(table["method"] == "temp_scaling") & (table["dataset"] == "cifar100") & (table["split"] == "val")]
    last = scaled.set_index("metric")
    assert last["published"].to_dict() == {
        "ece": 0.021, "ece_min_ece": 0.021, "calibration_temperature": 1.9, "calibration_temperature_min_ece": 1.9
    }  # fmt: skip
    assert last.loc["ece_min_ece", "mean"] <= last.loc["ece", "mean"] + 0.01
    assert (last["n"] == 2).all()
    assert "wmt_en_de" not in set(table["dataset"])  # image rows only

    # T by likelihood is where the validation likelihood is highest
    t = rows[(rows["metric"] == "calibration_temperature") & (rows["run_id"] == run_id(members[0].run))]
    t = t[(t["seed"] == 0) & (t["checkpoint"] == "last")]["value"].iloc[0]
    tensors = load_file(layout.run(run_id(members[0].run), 0) / "logits.safetensors")
    z, y = tensors["val/last"].astype(np.float64), tensors["val/labels"]
    loss = [-log_softmax(z / x, axis=1)[np.arange(len(y)), y].mean() for x in (0.98 * t, t, 1.02 * t)]
    assert loss[1] == min(loss)


def test_compare_table(layout: Layout) -> None:
    members = []
    for a, accuracy in ((0.0, 0.90), (0.1, 0.88)):
        run = spec(smooth(a))
        members.append(member("alexnet", run))
        for seed in range(3):
            write_run(layout, run, seed, accuracy + 0.01 * seed)
    art = artifact("compare_table", members, kind="table", name="muller2019.table2")
    _, _, provenance = made(art, layout)
    table = pd.read_csv(layout.output("table", "muller2019", "table2", ".csv"))
    both = table[table["dataset"] == "cifar10"]
    test = both[both["split"] == "test"]
    assert test["mean"].tolist() == [91.0, 89.0]  # the official test split, beside it
    assert test[["published", "published_split"]].isna().all(axis=None)
    ours = both[both["split"] == "val"].set_index("student_alpha")
    np.testing.assert_allclose(
        ours.loc[[0.0, 0.1], ["published", "published_std", "mean", "std", "n", "mean_best"]].astype(float),
        [[86.8, 0.2, 91.0, 1.0, 3, 91.0], [86.7, 0.3, 89.0, 1.0, 3, 89.0]],
    )
    assert "difference" not in table  # between a stand-in and the paper
    assert (ours["stands_for"] == "dataset=cifar10").all()
    absent = table[table["dataset"] == "imagenet"]
    assert len(absent) == 2
    assert (absent["n"] == 0).all()
    assert absent["mean"].isna().all()
    text = layout.output("table", "muller2019", "table2", ".md").read_text()
    assert text.startswith("# Test of compare_table [DEMO]\n\n| dataset |")
    assert "| 86.80 | 0.2 | 91 | 1 | 3 | 91 | 1 | dataset=cifar10 |" in text
    assert provenance["runs"] == {run_id(m.run): [0, 1, 2] for m in members}


# ---------------------------------------------------------------- Fig. 1


def test_projection(layout: Layout) -> None:
    d, classes = 16, (2, 5, 7)
    probes = [Probe(split=s, what="features", classes=(2, 5, 7, 8), per_class=50) for s in ("train", "val")]
    members = [member("alexnet", spec(smooth(a))) for a in (0.0, 0.1)]
    for m, spread in zip(members, (0.5, 0.02), strict=True):
        for seed in (1, 2):  # seed 0 is missing
            write_run(layout, m.run, seed, 0.8)
            rng = np.random.default_rng(seed)
            weight = rng.normal(size=(K, d)).astype(np.float32)
            for probe in probes:
                labels = np.repeat(probe.classes, 50)
                x = weight[labels] + spread * rng.normal(size=(200, d)) * (2 if probe.split == "val" else 1)
                tensors = {
                    "labels": labels, "features/last": x[:, None].astype(np.float32),
                    "logits/last": np.zeros((200, 1, K), np.float32),
                    "head.weight/last": weight, "head.bias/last": np.zeros(K, np.float32),
                }  # fmt: skip
                write_probe(layout, m.run, seed, probe, tensors)
    entry = {"family": "alexnet", "dataset": "cifar10", "classes": list(classes), "names": ["two", "five", "seven"]}
    art = artifact(
        "projection", members, probes=[("alexnet", p) for p in probes], options={"rows": [entry, entry]},
        name="muller2019.fig1",
    )  # fmt: skip
    rows, plotted, provenance = made(art, layout)
    assert set(plotted["seed"]) == {1}
    assert len(plotted) == 2 * 2 * 2 * 150
    assert set(plotted["name"]) == {"two", "five", "seven"}

    # plane coordinates keep distances between templates: class means lie near the projected templates
    panel = plotted[(plotted["row"] == 1) & (plotted["alpha"] == 0.1) & (plotted["split"] == "train")]
    means = panel.groupby("class")[["x", "y"]].mean()
    weight = np.random.default_rng(1).normal(size=(K, d))
    for a, b in ((2, 5), (5, 7)):
        distance = np.linalg.norm(means.loc[a] - means.loc[b])
        assert distance == pytest.approx(np.linalg.norm(weight[a] - weight[b]), rel=0.01)
    xy = panel[["x", "y"]].to_numpy()
    within = sum(((xy[panel["class"] == c] - means.loc[c].to_numpy()) ** 2).sum() for c in classes)
    ratio = within / ((xy - xy.mean(axis=0)) ** 2).sum()
    assert panel["spread_ratio"].iloc[0] == pytest.approx(ratio)
    measured = rows[(rows["metric"] == "within_class_spread_ratio_row1") & (rows["split"] == "train")]
    assert len(measured) == 2 * 2  # networks × seeds that are there
    assert measured[measured["method"] == "ls"]["value"].max() < measured[measured["method"] == "ce"]["value"].min()
    # the training of seed 0 is said to be missing; that its probes are, too, goes without saying
    names = [run_id(m.run) for m in members]
    assert provenance["face"][-1] == f"MISSING: {names[0]} seed 0; {names[1]} seed 0."
    assert len(provenance["missing"]) == 2 + 2 * 2


def test_projection_refuses_a_row_that_selects_nothing(layout: Layout) -> None:
    entry = {"dataset": "cifar100", "classes": [0, 1, 2]}
    art = artifact("projection", [member("alexnet", spec(Hard()))], options={"rows": [entry]})
    with refused(SpecError, "options.rows[0]"):
        make.measure_artifact(art, layout, "demo")


# ---------------------------------------------------------------- Fig. 6


def test_information(layout: Layout) -> None:
    n = 60
    probe = Probe(split="train", classes=(0, 5), per_class=n // 2, views=6, checkpoints="milestones")
    members = [member("teachers", spec(smooth(a), TEACHER), 2) for a in (0.0, 0.1)]
    for m in members:
        for seed in m.seeds:
            rng = np.random.default_rng(seed)
            labels = np.repeat([0, 5], n // 2)
            tensors = {"labels": labels}
            for step in range(0, 101, 20):
                # pure noise at first, then examples far apart, then two clusters that grow tight
                own = np.arange(n) * 10 * np.exp(-max(step - 20, 0) / (12 if m is members[0] else 7)) * (
                    step > 0
                ) - 2000 * (labels == 5)
                z = np.zeros((n, 6, K))
                z[:, :, 0] = own[:, None] + 0.1 * rng.normal(size=(n, 6)) * (100 if step == 0 else 1)
                tensors[f"logits/step{step}"] = z.astype(np.float32)
            write_probe(layout, m.run, seed, probe, tensors)
    art = artifact("information", members, probes=[("teachers", probe)], name="muller2019.fig6")
    rows, plotted, provenance = made(art, layout)
    assert len(plotted) == 2 * 2 * 6
    assert (plotted["examples"] == n).all()
    assert (plotted["n"] == 2).all()
    peak = plotted[(plotted["step"] == 20) & (plotted["draws"] == "fresh")]
    # examples that lie far apart: only x' = x counts in the inner sum, and its term cancels
    np.testing.assert_allclose(peak["mean"], np.log(n), atol=1e-9)
    assert (plotted["max"] >= plotted["mean"]).all()
    final = rows[rows["metric"] == "mutual_information_reused"]
    assert sorted(final[["seed", "method"]].itertuples(index=False, name=None)) == [
        (0, "ce"), (0, "ls"), (1, "ce"), (1, "ls")
    ]  # fmt: skip
    for draws, value in (("reused", 0.804719), ("fresh", 0.627365)):  # what two clusters give of five draws
        limits = rows[rows["metric"] == f"mutual_information_{draws}_collapsed"]["value"]
        np.testing.assert_allclose(limits, [value] * 4, atol=1e-6)
        tight = plotted[(plotted["alpha"] == 0.1) & (plotted["step"] == 100) & (plotted["draws"] == draws)]
        np.testing.assert_allclose(tight[["mean", "collapsed"]], value, atol=0.1)
    last = plotted[(plotted["step"] == 100) & (plotted["draws"] == "reused") & (plotted["alpha"] == 0)].iloc[0]
    assert final[final["method"] == "ce"]["value"].mean() == pytest.approx(last["mean"])
    # the run's own logits were not written: said, and the probe is drawn all the same
    assert set(provenance["missing"]) == {run_id(m.run) for m in members}


def test_information_needs_two_classes(layout: Layout) -> None:
    probe = Probe(classes=(0, 1, 2), views=6, checkpoints="milestones")
    art = artifact("information", [member("teachers", spec(Hard()))], probes=[("teachers", probe)])
    with refused(SpecError, "artifact muller2019.fig5", "probe of teachers"):
        make.measure_artifact(art, layout, "demo")


# ---------------------------------------------------------------- the user's own grid


def own_grid(layout: Layout, kind: str = "figure", better: float = 0.02) -> Artifact:
    teachers = {a: spec(smooth(a), TEACHER) for a in (0.0, 0.1)}
    members = [member("teacher", r) for r in teachers.values()]
    members += [member("alone", spec(smooth(a))) for a in (0.0, 0.1)]
    for run in members:
        for seed in run.seeds:
            write_run(layout, run.run, seed, 0.80 + 0.01 * seed)
    for a, teacher in teachers.items():
        for t in (1.0, 2.0, 4.0):
            run = spec(Distill(Teacher(teacher), t))
            members.append(member("student", run))
            for seed in range(3):
                gain = better * (a == 0) + 0.01 * (t == 2.0) + 0.0025 * (seed == 2) * (a == 0)
                write_run(layout, run, seed, 0.82 + 0.01 * seed + gain)
    return artifact("distillation_grid", members, kind=kind, name="own.grid")


def test_distillation_grid_answers(layout: Layout) -> None:
    rows, plotted, provenance = made(own_grid(layout), layout)
    chosen = plotted[plotted["selected"]]
    assert len(chosen) == 1
    assert (chosen.iloc[0]["alpha"], chosen.iloc[0]["temperature"]) == (0.0, 2.0)
    # students of the hard teacher at T = 2: 85, 86, 87.25 %
    assert chosen.iloc[0]["mean"] == pytest.approx((85 + 86 + 87.25) / 3)
    answer = provenance["face"][1]
    assert answer.startswith(
        "Best by validation accuracy (86.08 %): T = 2, teacher resnet56, α = 0; test accuracy 86.08 %"
    )
    smoothing = provenance["face"][2]
    # paired differences −2, −2, −2.25: t(0.975, 2) = 4.3027 times the standard error 0.0833
    assert "−2.08 points (−2.44 to −1.72, n = 3): smoothing the teacher hurts." in smoothing
    assert rows["artifact"].eq("grid").all()


def test_distillation_grid_draws_a_line_for_each_way_of_training(layout: Layout) -> None:
    art = own_grid(layout)
    longer = [
        member("trained_longer", replace(m.run, recipe=replace(RECIPE, steps=200)))
        for m in art.members
        if m.family == "student"
    ]
    for m in longer:
        for seed in m.seeds:
            write_run(layout, m.run, seed, 0.9)
    art = artifact("distillation_grid", [*art.members, *longer], name="own.grid")
    _, plotted, _ = made(art, layout)
    lines = plotted[plotted["role"] == "student"].groupby("line").size().to_dict()
    named = ("student", "trained longer")
    assert lines == {f"teacher resnet56, α = {a:g}, {name}": 3 for a in (0.0, 0.1) for name in named}
    assert set(plotted[plotted["role"] == "baseline"]["line"]) == {"hard labels", "label smoothing, α = 0.1"}


def test_distillation_grid_is_undecided_where_the_interval_holds_zero(layout: Layout) -> None:
    _, _, provenance = made(own_grid(layout, better=0.0), layout)
    assert provenance["face"][2].endswith("undecided.")


def test_distillation_grid_as_table(layout: Layout) -> None:
    made(own_grid(layout, kind="table"), layout)
    table = pd.read_csv(layout.output("table", "own", "grid", ".csv"))
    assert table.groupby("role").size().to_dict() == {"baseline": 2, "student": 6, "teacher": 2}
    assert "smoothing the teacher hurts" in layout.output("table", "own", "grid", ".md").read_text()


def test_the_test_split_selects_nothing(layout: Layout) -> None:
    art = own_grid(layout)
    loser = art.members[-1].run
    for seed in range(3):  # by far the best on test, the worst on validation
        path = layout.run(run_id(loser), seed) / "logits.safetensors"
        rng = np.random.default_rng(seed)
        tensors = {}
        for split, accuracy in (("val", 0.5), ("test", 1.0)):
            z, labels = make_logits(rng, 400, accuracy)
            tensors |= {f"{split}/last": z, f"{split}/best": z + 0, f"{split}/labels": labels}
        save_file(tensors, path)
    _, plotted, _ = made(art, layout)
    assert plotted[plotted["run_id"] == run_id(loser)]["mean"].item() == 100
    assert not plotted[plotted["run_id"] == run_id(loser)]["selected"].item()


def test_interval_by_hand() -> None:
    # 1, 2, 3: mean 2, standard error 1/√3, t(0.975, 2) = 4.302653
    assert bounds([1.0, 2.0, 3.0]) == pytest.approx((2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5))
    assert bounds([1.0]) == (-np.inf, np.inf)


# ---------------------------------------------------------------- make


def test_unknown_module_and_kind_are_refused(layout: Layout) -> None:
    with refused(SpecError, "artifact muller2019.fig5", "plot"):
        make.measure_artifact(artifact("os", []), layout, "demo")
    with refused(SpecError, "artifact muller2019.fig5", "kind: table"):
        make.measure_artifact(artifact("compare_table", own_grid(layout).members), layout, "demo")


def test_merge_metrics_keeps_every_digit(layout: Layout, tmp_path: Path) -> None:
    tables = []
    for name in ("fig5", "fig2"):
        art = own_grid(layout)
        art = artifact("distillation_grid", art.members, name=f"muller2019.{name}")
        make.measure_artifact(art, layout, "demo")
        tables.append(layout.metrics("muller2019", name))
    make.merge_metrics([*tables, tables[0]], tmp_path / "metrics.csv")
    first, second = (path.read_text().splitlines() for path in tables)
    assert (tmp_path / "metrics.csv").read_text().splitlines() == first + second[1:]


def test_the_palette_is_the_one_of_seaborn_for_colour_blind_readers() -> None:
    assert [c.upper() for c in seaborn.color_palette("colorblind").as_hex()] == style.PALETTE
