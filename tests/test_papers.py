"""The printed numbers, and ours joined to them under the paper's names."""

from __future__ import annotations

import csv
from importlib import resources

import numpy as np
import pandas as pd
import pytest
from refusals import refused

from softlabels.errors import SoftlabelsError
from softlabels.grid.parts.recipe import Optimiser, Recipe
from softlabels.grid.parts.translation import CorpusSpec, TranslationRecipe
from softlabels.grid.plan import Artifact, Member
from softlabels.grid.spec import DatasetSpec, Hard, ModelSpec, RunSpec, TranslationSpec
from softlabels.metrics.rows import COLUMNS
from softlabels.papers.published import JOIN, _with_unsaid, all_published, compare, printed_table, published

TRANSLATION = TranslationSpec(
    CorpusSpec("wmt_en_de"),
    ModelSpec("transformer_wmt_en_de"),
    Hard(),
    TranslationRecipe(100, 1e-3, 10, 20),
    "translation",
)
RUN = RunSpec(DatasetSpec("digits"), ModelSpec("mlp"), Hard(), Recipe(64, Optimiser(0.1), steps=10))


def artifact(name: str, dataset: str = "cifar10", reported_on: str = "val", **options: str) -> Artifact:
    names = (("dataset", dataset), ("student", "alexnet"), ("reported_on", reported_on))
    member = Member("family", (), RUN, (0, 1), names)
    return Artifact(f"muller2019.{name}", name, "table", "compare_table", (member,), (), options, ())


def row(value: float, seed: int, checkpoint: str = "last", **changes: object) -> dict[str, object]:
    """One of our rows of table 2: digits and an mlp stand for CIFAR-10 and AlexNet."""
    return {
        "paper": "muller2019", "artifact": "table2", "dataset": "digits", "task": "image", "method": "ce",
        "teacher": "", "student": "mlp", "teacher_alpha": "", "student_alpha": "0.0", "kd_temperature": "",
        "kd_beta": "", "split": "val", "metric": "top1", "target_class": "", "value": value,
        "run_id": "digits.mlp.hard.00000000", "seed": seed, "checkpoint": checkpoint, "scale": "demo",
        "stands_for": "dataset=cifar10;student=alexnet",
        **changes,
    }  # fmt: skip


def frame(*rows: dict[str, object]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(COLUMNS))


def test_every_printed_number_is_there() -> None:
    table = all_published()
    assert len(table) == 822
    assert table["row_id"].is_unique
    # no printed digit is lost or invented on the way to a number
    with resources.files("softlabels.papers").joinpath("published.csv").open(encoding="utf-8") as handle:
        raw = [line["value"] for line in csv.DictReader(handle)]
    assert table["printed"].tolist() == raw
    np.testing.assert_array_equal(table["value"], [float(text) if text else np.nan for text in raw])


@pytest.mark.parametrize(
    ("name", "select", "value", "std"),
    [
        ("table2", {"dataset": "cifar10", "student_alpha": 0.0}, 86.8, 0.2),
        ("table2", {"dataset": "cifar100", "student_alpha": 0.1}, 72.7, 0.3),
        ("table3", {"dataset": "cifar100", "method": "ls", "metric": "ece"}, 0.024, np.nan),
        ("text_mnist", {"student": "fc_2x800", "teacher_alpha": 0.1, "kd_temperature": np.inf}, 0.91, np.nan),
    ],
)
def test_numbers_read_in_the_paper(name: str, select: dict[str, object], value: float, std: float) -> None:
    table = published("muller2019", name)
    found = table[np.logical_and.reduce([table[column] == wanted for column, wanted in select.items()])]
    assert len(found) == 1
    np.testing.assert_equal((found["value"].item(), found["std"].item()), (value, std))


def test_nothing_is_printed_for_an_artifact_of_our_own() -> None:
    assert published("ablations", "truncation").empty


def test_ours_join_under_the_papers_names() -> None:
    ours = frame(row(87.0, 0), row(88.0, 1), row(89.0, 0, "best"), row(50.0, 0, split="test"))
    compared = compare(ours, artifact("table2"))
    last = compared[(compared["checkpoint"] == "last") & (compared["split"] == "val")]
    test = compared[(compared["split"] == "test")]
    assert test[["published_split", "mean", "n"]].values.tolist() == [["", 50.0, 1]]  # beside it, and not compared
    assert test["published"].isna().all()
    assert last[["dataset", "student", "stands_for"]].values.tolist() == [
        ["cifar10", "alexnet", "dataset=cifar10;student=alexnet"]
    ]
    np.testing.assert_allclose(
        last[["published", "published_std", "mean", "std", "n", "difference"]].astype(float),
        [[86.8, 0.2, 87.5, 0.5**0.5, 2, np.nan]],  # a stand-in has no difference to the paper
    )
    names = {"dataset": "cifar10", "student": "alexnet", "stands_for": ""}
    own = compare(frame(row(87.0, 0, **names), row(88.0, 1, **names)), artifact("table2"))
    assert own[own["n"] > 0]["difference"].tolist() == pytest.approx([0.7])
    best = compared[compared["checkpoint"] == "best"]
    assert best[["mean", "n"]].values.tolist() == [[89.0, 1]]
    absent = compared[compared["n"] == 0]
    assert len(absent) == 5  # the other printed numbers stay visible
    assert absent["mean"].isna().all()
    assert absent["difference"].isna().all()


def test_an_official_validation_set_is_our_test_split() -> None:
    names = {"stands_for": "dataset=imagenet;student=inception_v4"}
    ours = frame(row(70.0, 0, **names), row(60.0, 0, split="test", **names))
    compared = compare(ours, artifact("table2", "imagenet", "test"))
    found = compared[compared["n"] > 0]
    assert found[["split", "published_split", "published", "mean"]].values.tolist() == [["test", "val", 80.9, 60.0]]
    absent = compared[(compared["n"] == 0) & (compared["dataset"] == "imagenet")]
    assert absent["split"].tolist() == ["test"]  # the smoothed network, of which there is no run
    assert set(compared[compared["dataset"] == "cifar100"]["split"]) == {"val"}


def test_a_smoothing_that_the_paper_does_not_print_stays_apart() -> None:
    compared = compare(frame(row(87.0, 0, student_alpha="0.2", method="ls")), artifact("table2"))
    ours = compared[compared["n"] > 0]
    assert ours["published"].isna().all()
    assert ours["student_alpha"].tolist() == [0.2]


def test_runs_of_one_number_are_not_averaged_together() -> None:
    compared = compare(frame(row(80.0, 0), row(90.0, 0, run_id="digits.mlp.hard.ffffffff")), artifact("table2"))
    assert sorted(compared["mean"].dropna()) == [80.0, 90.0]


def test_a_variant_stands_beside_the_artifact_it_names() -> None:
    compared = compare(frame(row(87.0, 0)), artifact("table2_wd", compare_with="table2"))
    assert compared[["published", "mean"]].values.tolist() == [[86.8, 87.0]]


def test_another_reading_of_a_metric_stands_beside_the_printed_one() -> None:
    settings = {"dataset": "glyphs", "student": "cnn", "stands_for": "dataset=cifar100;student=resnet56"}
    ours = [row(v, 0, metric=m, method="temp_scaling", **settings) for m, v in (("ece", 0.03), ("ece_min_ece", 0.01))]
    compared = compare(frame(*ours), artifact("table3"), variants={"ece_min_ece": "ece"})
    found = compared[compared["n"] > 0].set_index("metric")["published"]
    assert found.to_dict() == {"ece": 0.021, "ece_min_ece": 0.021}


def test_a_number_of_one_class_stands_beside_that_class_alone() -> None:
    settings = {
        "paper": "chandrasegaran2022", "artifact": "table3", "dataset": "imagenet", "stands_for": "", "split": "train",
        "metric": "eta_similar", "method": "kd", "teacher": "resnet50", "teacher_alpha": "0.1", "student": "resnet18",
        "student_alpha": "", "kd_temperature": "3",
    }  # fmt: skip
    ours = [row(v, 0, target_class=name, **settings) for v, name in ((-1.0, "curly-coated_retriever"), (-2.0, ""))]
    member = Member("students", (), RUN, (0,), (("dataset", "imagenet"), ("student", "resnet18")))
    asked = Artifact("chandrasegaran2022.table3", "", "table", "compare_table", (member,), (), {}, ())
    found = compare(frame(*ours), asked)
    found = found[found["n"] > 0]
    assert found[["target_class", "mean"]].values.tolist() == [["", -2.0], ["curly-coated_retriever", -1.0]]
    assert found["published"].tolist()[1] == -0.578
    assert np.isnan(found["published"].tolist()[0])


def test_every_published_key_that_is_compared_names_one_number() -> None:
    table = all_published()
    twice = table[table.duplicated(["paper", "artifact", *JOIN, "value"], keep="first")]
    distinct = table.drop(twice.index)
    several = distinct[distinct.duplicated(["paper", "artifact", *JOIN], keep=False)]
    # A survey that nothing of ours is compared with; of Table H.1 two temperatures are lost in print, and have names.
    assert set(several["artifact"]) == {"table1"}
    lost = published("chandrasegaran2022", "tableH1").set_index(["method", "metric"])["value"]
    assert (lost["ce", "entropy_at_T_a"].item(), lost["ls", "entropy_at_T_b"].item()) == (0.888, 5.269)


def test_two_numbers_under_one_key_are_refused() -> None:
    with refused(SoftlabelsError, "table1", "wsj"):
        compare(frame(), Artifact("muller2019.table1", "", "table", "compare_table", (), (), {}, ()))


def test_a_number_printed_of_both_networks_stands_beside_each() -> None:
    names = {"task": "translation", "dataset": "wmt_en_de", "student": "transformer_base", "stands_for": ""}
    accuracy = {"split": "train", "metric": "next_token_accuracy", **names}
    hard, smoothed = row(81.0, 0, **accuracy), row(75.0, 0, method="ls", student_alpha="0.1", **accuracy)
    runs = [dict(m, run_id=f"wmt_en_de.{i}") for i, m in enumerate((hard, smoothed))]
    member = Member("pair", (), TRANSLATION, (0,), (("dataset", "wmt_en_de"), ("student", "transformer_base")))
    asked = Artifact("muller2019.text_appB", "", "table", "compare_table", (member,), (), {}, ())
    both = compare(frame(*runs), asked)
    assert both[["method", "published", "mean"]].values.tolist() == [["ce", 80.0, 81.0], ["ls", 80.0, 75.0]]
    one = compare(frame(runs[0]), asked)
    assert one[["method", "published", "n"]].values.tolist() == [["ce", 80.0, 1]]
    alone = compare(frame(), asked)
    assert alone[["method", "published", "n"]].values.tolist() == [["ce_or_ls", 80.0, 0]]
    # another network is not what was printed
    other = compare(frame(dict(hard, student="transformer")), asked)
    assert other[other["n"] > 0]["published"].isna().all()


def test_the_reader_sees_last_and_best_side_by_side() -> None:
    compared = compare(
        frame(row(87.0, 0), row(88.0, 1), row(89.0, 0, "best"), row(90.0, 1, "best")), artifact("table2")
    )
    table = printed_table(compared)
    ours = table[table["n"] > 0]
    assert ours[["mean", "mean_best", "published"]].values.tolist() == [[87.5, 89.5, 86.8]]
    assert len(table) == 6
    assert "teacher" not in table  # says nothing in this artifact


def test_a_setting_that_some_runs_of_a_method_lack_is_not_taken_as_said() -> None:
    paper = pd.DataFrame({"method": ["re_kd", "kd"], "teacher_alpha": [np.nan] * 2, "kd_temperature": [20.0] * 2})
    ours = pd.DataFrame(
        {"method": ["re_kd", "re_kd", "kd"], "teacher_alpha": [0.0, np.nan, 0.0], "kd_temperature": [20.0] * 3}
    )
    filled = _with_unsaid(paper, ours)
    assert filled["teacher_alpha"].isna().tolist() == [True, False]
