"""Every number that Chandrasegaran et al. 2022 print can stand beside a run of ours, told apart where print fails."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from softlabels.figures import selectors
from softlabels.grid.expand import load_plan
from softlabels.grid.identity import run_id
from softlabels.grid.parts.recipe import Optimiser, Recipe
from softlabels.grid.parts.translation import CorpusSpec, TranslationRecipe
from softlabels.grid.plan import Artifact, Member
from softlabels.grid.spec import (
    DatasetSpec,
    Distill,
    EqualEntropy,
    Hard,
    ModelSpec,
    RunSpec,
    Smooth,
    Teacher,
    TranslationSpec,
    teacher_of,
)
from softlabels.metrics.rows import COLUMNS, key_columns, published_key
from softlabels.papers.flags import MEANING, explain, stem
from softlabels.papers.published import JOIN, all_published, compare, printed_table, published
from softlabels.training.optim import rate_factor

ROOT = Path(__file__).parents[1]
PAPER = "chandrasegaran2022"
RECIPE = Recipe(64, Optimiser(0.1), steps=10)
TEXT = TranslationRecipe(100, 1e-3, 10, 20)
LARGER = 0.2
"""Our α where the paper's is lost in print."""


def network(name: str, targets: object, data: str, steps: int = 10) -> RunSpec | TranslationSpec:
    if data.startswith("iwslt"):
        return TranslationSpec(
            CorpusSpec("sentences"), ModelSpec("transformer_iwslt_small"), targets, TEXT, "translation"
        )
    return RunSpec(DatasetSpec("glyphs"), ModelSpec(name), targets, Recipe(64, Optimiser(0.1), steps=steps))


def member(family: str, run: RunSpec | TranslationSpec, data: str, student: str, teacher: str = "") -> Member:
    names = {"dataset": data, "student": student, "reported_on": "val" if data.startswith("iwslt") else "test"}
    return Member(family, (), run, (0,), tuple((names | ({"teacher": teacher} if teacher else {})).items()))


def plausible(data: str, students: Iterable[str], alphas: Iterable[float], ts: Iterable[float]) -> list[Member]:
    """Teachers trained on hard and smoothed labels, and students of each at each T, as a grid would declare them."""
    of = "transformer" if data.startswith("iwslt") else "resnet50"
    taught = {a: network("resnet50", Smooth(a) if a else Hard(), data) for a in alphas}
    members = [member("teachers", run, data, of) for run in taught.values()]
    for number, student in enumerate(students):
        for run in taught.values():
            members += [
                member(student, network("small_cnn", Distill(Teacher(run), t), data, 11 + number), data, student, of)
                for t in ts
            ]
    return members


def artifact(name: str, members: Iterable[Member], **options: object) -> Artifact:
    return Artifact(f"{PAPER}.{name}", name, "table", "compare_table", tuple(members), (), options, ())


def answers(asked: Artifact, method: str = "kd") -> pd.DataFrame:
    """A row of each member for everything that the paper prints for the artifact, as our modules name it."""
    printed = published(PAPER, str(asked.options.get("compare_with", asked.name)))
    wanted = printed[["split", "metric", "target_class"]].drop_duplicates()
    rows = []
    for number, m in enumerate(asked.members):
        own = key_columns(asked, m, f"run{number}", "demo")
        own["method"] = own["method"].replace("kd", method)
        for split, metric, target_class in wanted.itertuples(index=False):
            temperatures = ["1", "2", "3", "64", ""] if metric == "entropy" else [own["kd_temperature"]]
            for t in temperatures:
                place = {"split": "test" if split == "val" else split, "metric": metric, "target_class": target_class}
                rows.append({**own, **place, "kd_temperature": t, "value": 50.0, "seed": 0, "checkpoint": "last"})
    return pd.DataFrame(rows, columns=list(COLUMNS))


IN, CUB, DE, RU = "imagenet", "cub200_2011", "iwslt_en_de", "iwslt_en_ru"
FOUR, TWO, PAIR = (1.0, 2.0, 3.0, 64.0), (1.0, 3.0), (0.0, 0.1)
GRIDS = {
    "table2a": (IN, ["resnet18", "resnet50"], PAIR, FOUR),
    "table2b": (CUB, ["resnet18", "resnet50"], PAIR, FOUR),
    "table3": (IN, ["resnet18", "resnet50"], PAIR, TWO),
    "text_sec5": (IN, ["resnet18", "resnet50"], PAIR, TWO),
    "table4": (CUB, ["mobilenet_v2"], PAIR, FOUR),
    "table5": (DE, ["transformer"], PAIR, FOUR),
    "tableB1": (CUB, ["convnext_tiny"], PAIR, TWO),
    "tableB2": (RU, ["transformer"], PAIR, FOUR),
    "tableB3": (IN, ["efficientnet_b0"], PAIR, TWO),
    "tableB4": (IN, ["efficientnet_b0"], PAIR, TWO),
    "tableB5": (CUB, ["resnet50"], PAIR, TWO),
    "tableD1": (IN, ["resnet18", "resnet50"], PAIR, FOUR),
    "tableD2": (CUB, ["resnet18", "resnet50"], PAIR, FOUR),
    "tableD3": (DE, ["transformer"], PAIR, FOUR),
    "tableD4": (CUB, ["mobilenet_v2"], PAIR, FOUR),
    "text_E": (IN, [], PAIR, ()),
    "tableG1": (IN, [], [0.0], ()),
    "tableH1": (CUB, [], PAIR, ()),
    "tableI1": (IN, ["resnet18"], PAIR, (1.0, 2.0, 3.0)),
    "tableI2": (IN, ["resnet18"], PAIR, (1.0, 2.0, 3.0)),
    "tableI3": (IN, ["resnet18"], PAIR, (1.0, 2.0, 3.0)),
    "tableJ1": (CUB, ["mobilenet_v2"], (*PAIR, LARGER), FOUR),
    "tableK1": (IN, ["resnet18"], PAIR, TWO),
    "readme_imagenet": (IN, ["resnet18", "resnet50"], PAIR, FOUR),
}
"""Artifact → data set, students, α of the teachers, T. Each network is of the demo and stands for the paper's."""
STUDIES = {  # H.2 to H.4: students, T with the smoothed teacher, whether the hard-label one is made as soft or at T too
    "tableH2": (["resnet50", "resnet18"], 1.0, True),
    "tableH3": (["resnet18", "mobilenet_v2"], 3.0, True),
    "tableH4": (["resnet18", "resnet50", "mobilenet_v2"], 64.0, False),
}
NUMBERS = {
    "table2a": 36, "table2b": 36, "table3": 80, "text_sec5": 2, "text_params": 3, "table4": 20, "table5": 10,
    "tableB1": 12, "tableB2": 10, "tableB3": 12, "tableB4": 40, "tableB5": 12, "tableD1": 32, "tableD2": 32,
    "tableD3": 8, "tableD4": 16, "text_E": 3, "tableG1": 22, "tableH1": 13, "tableH2": 12, "tableH3": 12, "tableH4": 18,
    "tableI1": 24, "tableI2": 36, "tableI3": 36, "tableJ1": 30, "tableK1": 40, "readme_imagenet": 36,
}  # fmt: skip
"""How many numbers each artifact prints; of the other 11 of the 39 (images, words) none."""
WITHOUT_A_RUN = {"tableH1": 1}
"""Numbers that no network has: the entropy of the uniform distribution."""


def asked_for(name: str) -> Artifact:
    if name in GRIDS:
        return artifact(name, plausible(*GRIDS[name]))
    if name == "text_params":
        return artifact(name, ())
    members = plausible(CUB, [], PAIR, ())
    taught = {selectors.alpha_of(m.run): m.run for m in members}
    students, t, solved = STUDIES[name]
    for number, student in enumerate(students):
        for alpha in PAIR:
            as_soft = EqualEntropy(Teacher(taught[0.1]), t) if solved and alpha == 0 else t
            run = network("small_cnn", Distill(Teacher(taught[alpha]), as_soft), CUB, 11 + number)
            members.append(member("students", run, CUB, student, "resnet50"))
    return artifact(name, members)


def measured(name: str, asked: Artifact) -> pd.DataFrame:
    if name == "text_params":
        named = dict.fromkeys(COLUMNS, "") | {"dataset": "none", "method": "none", "metric": "params", "value": 1.0}
        students = ("resnet50", "mobilenet_v2", "efficientnet_b0")
        return pd.DataFrame([{**named, "student": s, "seed": 0, "run_id": s} for s in students], columns=list(COLUMNS))
    rows = answers(asked, "overhaul_kd" if name == "tableB5" else "kd")
    if name in STUDIES:  # a teacher's entropy is measured where it teaches
        _, t, solved = STUDIES[name]
        where = {"0.1": f"{t:g}", "0.0": "" if solved else f"{t:g}"}
        there = [
            metric != "entropy" or where.get(alpha) == at
            for metric, alpha, at in zip(rows["metric"], rows["student_alpha"], rows["kd_temperature"], strict=True)
        ]
        rows = rows[there]
    return rows


@pytest.mark.parametrize("name", sorted(NUMBERS))
def test_every_printed_number_finds_its_network(name: str) -> None:
    printed = published(PAPER, name)
    assert len(printed) == NUMBERS[name]
    asked = asked_for(name)
    compared = compare(measured(name, asked), asked)
    joined = compared[compared["published"].notna() & (compared["n"] > 0)]
    # A number that is printed twice in one table, as the entropies of H.2 to H.4, is compared once.
    distinct = printed.drop_duplicates([*JOIN, "value"])
    assert len(joined) == len(distinct) - WITHOUT_A_RUN.get(name, 0)
    assert not joined.duplicated(["run_id", "metric", "split", "target_class", "kd_temperature"]).any()
    assert set(compared[compared["n"] == 0]["metric"]) <= {"entropy_max"}


def test_the_artifacts_that_print_numbers_are_these() -> None:
    table = all_published()
    assert set(table[table["paper"] == PAPER]["artifact"]) == set(NUMBERS)


def at(compared: pd.DataFrame, **select: object) -> pd.DataFrame:
    chosen = pd.Series(True, index=compared.index)
    for column, value in select.items():
        chosen &= compared[column] == value
    return compared[chosen]


def test_two_numbers_of_one_network_are_both_compared() -> None:
    asked = asked_for("table2a")
    rows = measured("table2a", asked)
    names = [published_key({str(k): v for k, v in row.items()}) for row in rows.to_dict("records")]
    own = {name: [key[name] for key in names] for name in ("dataset", "teacher", "student")}
    compared = compare(rows.assign(**own, stands_for=""), asked)  # as if nothing stood in for the paper's
    here = at(compared, student="resnet18", teacher_alpha=0.1, metric="top1")
    found = here[
        ["kd_temperature", "published", "elsewhere", "printed_elsewhere", "difference", "difference_elsewhere"]
    ]
    assert found.iloc[0].tolist()[:3] == [1.0, 71.616, ""]
    np.testing.assert_allclose(
        found.iloc[1:].drop(columns="elsewhere").astype(float),
        [
            [2, 68.428, 68.799, 50 - 68.428, 50 - 68.799],
            [3, 66.570, 67.699, 50 - 66.570, 50 - 67.699],
            [64, 65.472, 64.506, 50 - 65.472, 50 - 64.506],
        ],
    )
    assert compared["printed_elsewhere"].notna().sum() == 6
    assert "elsewhere" in printed_table(compared)
    other = asked_for("tableD1")
    back = compare(measured("tableD1", other), other)
    assert at(back, student="resnet18", teacher_alpha=0.1, metric="top1")["printed_elsewhere"].dropna().tolist() == [
        68.428, 66.570, 65.472,
    ]  # fmt: skip
    assert "elsewhere" not in printed_table(compare(measured("table4", asked_for("table4")), asked_for("table4")))


def test_a_quoted_drop_stands_beside_that_of_the_other_table() -> None:
    asked = asked_for("text_sec5")
    compared = compare(measured("text_sec5", asked), asked).dropna(subset="published").set_index("student")
    assert compared["published"].to_dict() == {"resnet18": 5.05, "resnet50": 1.21}
    assert compared.loc["resnet18", "printed_elsewhere"] == pytest.approx(71.616 - 67.699)
    assert np.isnan(compared.loc["resnet50", "printed_elsewhere"])


def test_lost_settings_stand_beside_what_is_left_of_ours() -> None:
    asked = asked_for("tableJ1")
    compared = compare(measured("tableJ1", asked), asked)
    at_1 = at(compared, metric="top1", kd_temperature=1.0)
    assert dict(zip(at_1["teacher_alpha"], at_1["published"], strict=True)) == {0.0: 81.144, 0.1: 81.731, 0.2: 81.498}
    teachers = at(compared, metric="top1", method="ls")
    assert dict(zip(teachers["student_alpha"], teachers["published"], strict=True)) == {0.1: 82.068, 0.2: 81.412}

    asked = artifact("tableJ1", plausible(CUB, ["mobilenet_v2"], (*PAIR, 0.2, 0.3), (1.0,)))
    compared = at(compare(answers(asked), asked), metric="top1", method="kd", kd_temperature=1.0)
    assert compared["published"].tolist() == [81.144, 81.731, 81.498, 81.498]  # one number beside each of two

    # A temperature that is solved for is no setting of ours either.
    asked = asked_for("tableH2")
    compared = compare(measured("tableH2", asked), asked)
    hard = at(compared, teacher_alpha=0.0, metric="top1")
    assert hard["kd_temperature"].isna().all()
    assert dict(zip(hard["student"], hard["published"], strict=True)) == {"resnet18": 80.808, "resnet50": 82.603}

    # A number of one lost student stands beside each of ours.
    asked = artifact("tableK1", plausible(IN, ["resnet18", "resnet50"], PAIR, (3.0,)))
    compared = at(
        compare(answers(asked), asked), target_class="king_snake", split="train", metric="eta_pairwise_similar"
    )
    assert at(compared, teacher_alpha=0.1)[["student", "published"]].values.tolist() == [
        ["resnet18", -5.454], ["resnet50", -5.454],
    ]  # fmt: skip


def test_a_row_is_for_a_student_at_one_temperature_by_its_teachers_smoothing() -> None:
    asked = asked_for("table2a")
    table = printed_table(compare(measured("table2a", asked), asked))
    students = table[table["method"] == "kd"]
    order = students[["student", "kd_temperature", "teacher_alpha"]].drop_duplicates().values.tolist()
    assert order[:3] == [["resnet18", 1.0, 0.0], ["resnet18", 1.0, 0.1], ["resnet18", 2.0, 0.0]]
    assert order == sorted(order)


def test_runs_that_differ_in_what_is_not_shown_are_told_apart() -> None:
    members = plausible(IN, ["resnet18"], PAIR, (1.0, 2.0))
    longer = [
        Member("trained longer", m.values, network("small_cnn", m.run.targets, IN, 99), m.seeds, m.published)
        for m in members
        if m.family == "resnet18"
    ]
    told = selectors.variants(artifact("x", [*members, *longer]), lambda m: (m.published, repr(m.run.targets)))
    assert told == ["", "", *4 * ["resnet18"], *4 * ["trained longer"]]
    asked = artifact("table2a", [*members, *longer])
    names = {f"run{i}": m for i, m in enumerate(asked.members)}
    rows = answers(asked)
    compared = compare(rows.assign(run_id=[run_id(names[name].run) for name in rows["run_id"]]), asked)
    assert set(compared[compared["method"] == "kd"]["variant"]) == {
        "",
        "resnet18",
        "trained longer",
    }  # "": only printed
    within = [Member("views", (("views", v),), network("small_cnn", Hard(), IN, v), (0,), ()) for v in (1, 4)]
    assert selectors.variants(artifact("x", within), lambda m: m.published) == ["views 1", "views 4"]


def test_every_flag_is_explained() -> None:
    table = all_published()
    ours = table[table["paper"].isin(["muller2019", PAPER])]
    used = {stem(flag) for flags in ours["flags"] for flag in flags.split(";") if flag}
    assert used <= set(MEANING)
    (said,) = explain(["conflict_with:tableD1", "n_runs_implied_2;label_error", ""])
    assert said.startswith("Flags of the printed numbers. conflict_with: the paper prints another")
    assert "n_runs_implied: its digits" in said
    assert explain(["", ""]) == []


@pytest.mark.parametrize("scale", ["paper", "demo"])
def test_the_grid_has_a_network_for_every_printed_number(scale: str) -> None:
    plan = load_plan({"scale": scale, "papers": [PAPER]}, ROOT)
    for name in sorted(NUMBERS):
        asked = plan.artifacts[f"{PAPER}.{name}"]
        if name == "text_params":
            assert {n["network"] for n in asked.options["networks"]} == set(published(PAPER, name)["student"])
            continue
        compared = compare(_of_the_grid(asked), asked)
        alone = compared[compared["published"].notna() & (compared["n"] == 0)]
        subsampled = any("subsampled" in note for note in asked.notes)
        left_out = alone[alone["metric"] != "entropy_max"]["kd_temperature"]
        assert set(left_out) <= ({2.0} if subsampled else set()), name  # the demo has T = 1, 3 and 64
        assert len(alone) - len(left_out) == WITHOUT_A_RUN.get(name, 0)


def _of_the_grid(asked: Artifact) -> pd.DataFrame:
    """As `answers`, entropies where a network teaches; of Table H.1 at the temperatures that it asks for."""
    rows = answers(asked)
    if asked.name == "tableH1":
        return rows
    at = {
        (f"run{number}", key_columns(asked, student, "", "")["kd_temperature"])
        for number, m in enumerate(asked.members)
        for student in selectors.distilled(asked)
        if selectors.teaches(m, student)
    }
    places = zip(rows["metric"], rows["run_id"], rows["kd_temperature"], strict=True)
    return rows[[metric != "entropy" or (run, t) in at for metric, run, t in places]]


@pytest.mark.parametrize("name", ["table2a", "table2a_warmup"])
def test_imagenet_students_decay_after_80_and_160_epochs(name: str) -> None:
    """With warm-up too, which is part of the 200 epochs."""
    plan = load_plan({"scale": "paper", "variants": True}, ROOT)
    schedules = {
        m.run.recipe.schedule for m in plan.artifacts[f"chandrasegaran2022.{name}"].members if teacher_of(m.run)
    }
    (schedule,) = schedules
    factors = [rate_factor(schedule, epoch * 5000, 200 * 5000) for epoch in range(6, 200)]
    assert [epoch for epoch, (a, b) in enumerate(itertools.pairwise(factors), 7) if b < a] == [80, 160]
