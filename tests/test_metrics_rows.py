"""The tidy rows: keys, names, units, and what is read from run files and by notebooks."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from refusals import refused
from safetensors.numpy import save_file

from softlabels.errors import DataError, SoftlabelsError
from softlabels.files import write_json
from softlabels.grid.parts.recipe import Optimiser, Recipe
from softlabels.grid.parts.translation import CorpusSpec, TranslationRecipe
from softlabels.grid.plan import Artifact, Member
from softlabels.grid.spec import (
    DatasetSpec,
    Distill,
    Hard,
    LogitMatch,
    ModelSpec,
    RunSpec,
    Smooth,
    Teacher,
    TranslationSpec,
    UserLogits,
    UserNetwork,
    to_dict,
)
from softlabels.metrics.rows import (
    COLUMNS,
    KEY,
    key_columns,
    published_key,
    read_predictions,
    read_probe,
    read_rows,
    standard_rows,
    write_rows,
)
from softlabels.notebook import load

RECIPE = Recipe(batch_size=8, steps=1, optimiser=Optimiser(lr=0.1))
ARTIFACT = Artifact("muller2019.text_mnist", "", "table", "errors", (), (), {}, ())
HARD = RunSpec(DatasetSpec("mnist"), ModelSpec("fc_2x1200"), Hard(), RECIPE)
SMOOTH = replace(HARD, targets=Smooth(0.1))


def student(targets) -> RunSpec:
    return RunSpec(DatasetSpec("mnist"), ModelSpec("fc_2x800"), targets, RECIPE)


def columns(run: RunSpec, published: dict[str, str] | None = None) -> dict[str, str]:
    member = Member("family", (), run, (0,), tuple((published or {}).items()))
    return key_columns(ARTIFACT, member, "some.run.id", "demo")


# ---------------------------------------------------------------- keys


def test_keys_are_those_of_the_published_rows_of_mnist():
    """As the published table has them: the four numbers of Müller Sec. 4 on MNIST."""
    published = """\
paper,artifact,dataset,task,method,teacher,student,teacher_alpha,student_alpha,kd_temperature,kd_beta
muller2019,text_mnist,mnist,image,ce,,fc_2x1200,,0.0,,
muller2019,text_mnist,mnist,image,kd,fc_2x1200,fc_2x800,0.0,,inf,0.6
muller2019,text_mnist,mnist,image,ls,,fc_2x1200,,0.1,,
muller2019,text_mnist,mnist,image,kd,fc_2x1200,fc_2x800,0.1,,inf,0.6
""".splitlines()
    runs = (
        HARD,
        student(LogitMatch(Teacher(HARD), 0.6)),
        SMOOTH,
        student(LogitMatch(Teacher(SMOOTH), 0.6)),
    )
    for expected, run in zip(csv.DictReader(published), runs, strict=True):
        ours = columns(run, {"dataset": "mnist"})
        assert {name: ours[name] for name in expected} == expected
        assert ours["stands_for"] == ""


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (Smooth(0.1 + 0.2), ("ls", "", "0.3", "", "")),
        (Smooth(0.15, over="others"), ("ls", "", "0.15", "", "")),
        (Distill(Teacher(HARD), temperature=3), ("kd", "0.0", "", "3", "1.0")),
        (Distill(Teacher(SMOOTH), temperature=1.5, beta=0.95), ("kd", "0.1", "", "1.5", "0.95")),
        (
            Distill(Teacher(SMOOTH), temperature=20, beta=0.4, hard_alpha=0.2),
            ("kd", "0.1", "0.2", "20", "0.4"),
        ),
        (LogitMatch(Teacher(student(Distill(Teacher(HARD), 2))), 0.5), ("kd", "", "", "inf", "0.5")),
    ],
)
def test_targets_become_method_alphas_temperature_and_beta(targets, expected):
    names = ("method", "teacher_alpha", "student_alpha", "kd_temperature", "kd_beta")
    assert tuple(columns(student(targets))[name] for name in names) == expected


def test_a_users_own_teacher_is_named_by_its_network_or_file():
    network = UserNetwork(ModelSpec("my.package:net"), "net.safetensors", "0" * 64, "none")
    for own, name in [
        (network, "my.package:net"),
        (UserLogits("/data/big_teacher.npy", "0" * 64), "big_teacher"),
    ]:
        row = columns(student(Distill(Teacher(own), 2)))
        assert (row["teacher"], row["teacher_alpha"]) == (name, "")


def test_an_image_folder_is_named_by_its_last_part():
    folder = DatasetSpec("folder", path="/data/birds", num_classes=4, image_size=32)
    assert columns(replace(HARD, dataset=folder))["dataset"] == "birds"


def test_networks_for_cifar_are_listed_under_the_papers_names():
    run = replace(HARD, model=ModelSpec("shufflenet_v2_cifar"))
    row = columns(run, {"student": "shufflenet_v2"})
    assert (row["student"], row["stands_for"]) == ("shufflenet_v2", "")
    assert columns(run, {"student": "mobilenet_v2"})["stands_for"] == "student=mobilenet_v2"


def test_the_paper_and_we_may_have_two_names_of_one_thing():
    recipe = TranslationRecipe(100, 1e-3, 10, 20)
    teacher = TranslationSpec(
        CorpusSpec("iwslt14_en_de"),
        ModelSpec("transformer_iwslt_small"),
        Smooth(0.1, over="others"),
        recipe,
        "translation",
    )
    run = replace(teacher, targets=Distill(Teacher(teacher), 64.0))
    row = columns(run, {"dataset": "iwslt_en_de", "student": "transformer", "teacher": "transformer"})
    assert (row["dataset"], row["teacher"], row["student"], row["task"]) == (
        "iwslt_en_de", "transformer", "transformer", "translation"
    )  # fmt: skip
    assert row["stands_for"] == ""
    assert (row["method"], row["teacher_alpha"], row["kd_temperature"]) == ("kd", "0.1", "64")
    unnamed = columns(run)
    assert (unnamed["dataset"], unnamed["student"]) == ("iwslt14_en_de", "transformer_iwslt_small")
    # a small network is no transformer_base
    other = columns(run, {"dataset": "wmt_en_de", "student": "transformer_base", "teacher": "transformer"})
    assert other["stands_for"] == "dataset=wmt_en_de;student=transformer_base"


def test_what_a_scale_replaced_is_said_and_can_be_taken_back():
    run = student(Distill(Teacher(SMOOTH), temperature=1))
    names = {"dataset": "cifar10", "student": "alexnet", "teacher": "resnet56"}
    row = columns(run, names)
    assert (row["dataset"], row["teacher"], row["student"]) == ("mnist", "fc_2x1200", "fc_2x800")
    assert row["stands_for"] == "dataset=cifar10;teacher=resnet56;student=alexnet"
    back = published_key({**row, "split": "val", "metric": "top1", "target_class": ""})
    assert tuple(back) == KEY
    assert {name: back[name] for name in names} == names
    untouched = set(KEY) - set(names) - {"split", "metric", "target_class"}
    assert {name: back[name] for name in untouched} == {name: row[name] for name in untouched}
    partly = columns(run, {"dataset": "mnist", "student": "alexnet", "teacher": "fc_2x1200"})
    assert partly["stands_for"] == "student=alexnet"


# ---------------------------------------------------------------- values


def test_standard_rows_have_the_units_of_the_published_table():
    uniform, certain = np.zeros((20, 10)), 100.0 * np.eye(10)[np.arange(20) % 10]
    labels = np.arange(20) % 10
    rows = standard_rows({"val/last": uniform, "test/best": certain}, {"val": labels, "test": labels})
    values = {(split, checkpoint, metric): value for split, checkpoint, metric, value in rows}
    assert len(values) == len(rows) == 14
    assert values["val", "last", "top1"] == 10  # percent
    assert values["val", "last", "top5"] == 50
    assert values["val", "last", "num_examples"] == 20
    assert values["val", "last", "error"] == 90
    assert values["val", "last", "nll"] == pytest.approx(np.log(10))  # nats
    assert values["test", "best", "error"] == 0
    assert values["test", "best", "ece"] == pytest.approx(0, abs=1e-12)  # fraction
    assert values["test", "best", "ece20"] == pytest.approx(0, abs=1e-12)


def test_top5_is_left_out_where_it_says_nothing():
    rows = standard_rows({"test/last": np.zeros((4, 9))}, {"test": np.arange(4)})
    assert "top5" not in {metric for _, _, metric, _ in rows}


def rows_of(run: RunSpec) -> list[dict[str, object]]:
    base = {**columns(run, {"dataset": "cifar10"}), "seed": 3, "target_class": ""}
    measured = standard_rows({"test/last": np.eye(4)}, {"test": np.arange(4)})
    return [{**base, "split": s, "checkpoint": c, "metric": m, "value": v} for s, c, m, v in measured]


def test_rows_are_written_whole_and_read_back(tmp_path):
    path = tmp_path / "metrics.csv"
    rows = rows_of(student(LogitMatch(Teacher(HARD), 0.6)))
    write_rows(path, rows)
    assert tuple(path.read_text().splitlines()[0].split(",")) == COLUMNS
    frame = read_rows(path)
    assert frame["value"].tolist() == [row["value"] for row in rows]  # no digit lost
    first = frame.iloc[0]
    assert (first["kd_temperature"], first["kd_beta"], first["teacher_alpha"]) == (np.inf, 0.6, 0.0)
    assert np.isnan(first["student_alpha"])
    assert (first["stands_for"], first["seed"]) == ("dataset=cifar10", 3)
    assert published_key(first)["dataset"] == "cifar10"


def test_rows_with_other_columns_are_refused_and_nothing_overwritten(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("as it was")
    row = rows_of(HARD)[0]
    with refused(SoftlabelsError, "seed"):
        write_rows(path, [{k: v for k, v in row.items() if k != "seed"}])
    with refused(SoftlabelsError, "colour"):
        write_rows(path, [{**row, "colour": "red"}])
    assert path.read_text() == "as it was"
    with refused(SoftlabelsError, path, "paper"):
        read_rows(path)
    with refused(SoftlabelsError, "other.csv"):
        read_rows(tmp_path / "other.csv")


# ---------------------------------------------------------------- files of runs


def run_tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    logits = {f"{s}/{c}": rng.normal(size=(6, 4)).astype("f4") for s in ("val", "test") for c in ("last", "best")}
    return {**logits, "val/labels": np.arange(6) % 4, "test/labels": np.arange(6) % 3}


def test_logits_of_a_run_are_read(tmp_path):
    tensors = run_tensors()
    save_file(tensors, tmp_path / "logits.safetensors")
    logits, labels = read_predictions(tmp_path / "logits.safetensors")
    assert sorted(logits) == ["test/best", "test/last", "val/best", "val/last"]
    assert (logits["val/best"] == tensors["val/best"]).all()
    assert (labels["test"] == np.arange(6) % 3).all()
    assert len(standard_rows(logits, labels)) == 4 * 6


def test_bad_logits_are_named(tmp_path):
    path = tmp_path / "logits.safetensors"
    with refused(DataError, path):
        read_predictions(path)
    save_file(run_tensors(), path)
    path.write_bytes(path.read_bytes()[:-8])
    with refused(DataError, path, varies=r"\(.*\)"):
        read_predictions(path)
    path.write_bytes(b"\x80\x04pickle")
    with refused(DataError, path, varies=r"\(.*\)"):
        read_predictions(path)
    for change, named in [
        ({"val/labels": np.arange(6)}, "val/best"),
        ({"test/labels": np.arange(3)}, "6 integers"),
        ({"test/last": np.full((6, 4), np.nan, "f4")}, "NaN"),
        ({"extra/last": np.zeros((6, 4), "f4")}, "extra/labels"),
    ]:
        save_file({**run_tensors(), **change}, path)
        with refused(DataError, path, named):
            read_predictions(path)
    save_file({"test/labels": np.arange(3)}, path)
    with refused(DataError, path):
        read_predictions(path)


def test_probes_are_read_and_checked(tmp_path):
    path = tmp_path / "probe.safetensors"
    probe = {"labels": np.arange(3), "ids": np.arange(3), "logits/step10": np.zeros((3, 2, 4), "f4")}
    save_file(probe, path)
    assert read_probe(path)["logits/step10"].shape == (3, 2, 4)
    for change, named in [
        ({"labels": np.arange(2)}, "2 labels"),
        ({"labels": np.array([0, 1, 4])}, "label 4"),
        ({"features/last": np.zeros((3, 5), "f4")}, "features/last"),
    ]:
        save_file({**probe, **change}, path)
        with refused(DataError, path, named):
            read_probe(path)
    # features of chosen tokens: a head for each, and no logits
    words = {name: probe[name] for name in ("labels", "ids")}
    words |= {"features/last": np.zeros((3, 1, 5), "f4"), "head.weight/last": np.zeros((3, 5), "f4")}
    words["head.bias/last"] = np.zeros(3, "f4")
    save_file(words, path)
    assert read_probe(path)["features/last"].shape == (3, 1, 5)
    for change, named in [
        ({"head.weight/last": np.zeros((3, 4), "f4")}, "[3, 4]"),
        ({"head.bias/last": np.zeros(2, "f4")}, "[2] biases"),
        ({"labels": np.array([0, 1, 3])}, "label 3"),
    ]:
        save_file({**words, **change}, path)
        with refused(DataError, path, named):
            read_probe(path)
    save_file({name: t for name, t in words.items() if name != "head.bias/last"}, path)
    with refused(DataError, path, "head.bias/last"):
        read_probe(path)
    save_file({"labels": np.arange(3)}, path)
    with refused(DataError, path, "ids"):
        read_probe(path)


# ---------------------------------------------------------------- notebooks


@pytest.fixture
def results(tmp_path: Path) -> Path:
    root = tmp_path / "results" / "demo"
    write_rows(root / "metrics.csv", rows_of(HARD))
    for run in ("digits.mlp.hard.aaaa1111", "digits.mlp.ls0.1.bbbb2222"):
        folder = root / "runs" / run / "seed3"
        folder.mkdir(parents=True)
        save_file(run_tensors(), folder / "logits.safetensors")
        (folder / "history.csv").write_text("step,loss\n10,2.5\n20,1.5\n")
        write_json(root / "specs" / f"{run}.json", {"run_id": run, "spec_digest": "", "spec": to_dict(SMOOTH)})
    return root


def test_load_gives_results_as_pandas_and_numpy(results):
    demo = load(results)
    assert demo.runs == ["digits.mlp.hard.aaaa1111", "digits.mlp.ls0.1.bbbb2222"]
    assert demo.seeds("digits.mlp.hard") == [3]
    assert demo.metrics["value"].dtype == float
    assert demo.spec("digits.mlp.ls") == SMOOTH
    assert demo.history("digits.mlp.ls", 3)["loss"].tolist() == [2.5, 1.5]
    logits, labels = demo.logits("digits.mlp.ls", 3, split="val", checkpoint="best")
    assert (logits.shape, labels.tolist()) == ((6, 4), [0, 1, 2, 3, 0, 1])


def test_load_says_what_is_not_there(results):
    demo = load(results)
    with refused(SoftlabelsError, "digits", "digits.mlp.hard.aaaa1111"):
        demo.spec("digits")
    with refused(SoftlabelsError, "cifar"):
        demo.history("cifar", 0)
    with refused(SoftlabelsError, "seed0/history.csv"):
        demo.history("digits.mlp.ls", 0)
    with refused(SoftlabelsError, "train/last", "test/best"):
        demo.logits("digits.mlp.ls", 3, split="train")
    with refused(SoftlabelsError, results.parent / "paper"):
        load(results.parent / "paper")
