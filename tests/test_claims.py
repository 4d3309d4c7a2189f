"""The papers' claims as predicates: each kind of test on tables with known answers, and all 92 on printed numbers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from refusals import refused, says
from scipy.stats import binom

from softlabels.cli import main
from softlabels.errors import DataError, SpecError
from softlabels.grid.expand import load_plan
from softlabels.layout import Layout
from softlabels.metrics.rows import COLUMNS, key_columns, published_key, read_rows, write_rows
from softlabels.papers.claims import Claim, all_claims, bound, products, read_claims
from softlabels.papers.coverage import artifacts
from softlabels.papers.effects import FEWEST, _effect, _top, combined, corrected, decided
from softlabels.papers.identities import IDENTITIES
from softlabels.papers.verdicts import Judged, judge, judge_scale, table

RUN = {
    "paper": "muller2019", "artifact": "table2", "dataset": "cifar100", "task": "image", "method": "ce", "teacher": "",
    "student": "resnet56", "teacher_alpha": "", "student_alpha": "0.0", "kd_temperature": "", "kd_beta": "",
    "split": "test", "metric": "top1", "target_class": "", "checkpoint": "last", "scale": "demo", "stands_for": "",
}  # fmt: skip
SMOOTH = {"method": "ls", "student_alpha": "0.1"}


def values(run: str, numbers: list[float], first_seed: int = 0, **columns: str) -> list[dict[str, object]]:
    """The rows of one run: a value for each seed."""
    return [
        {**RUN, **columns, "run_id": run, "seed": first_seed + n, "value": value} for n, value in enumerate(numbers)
    ]


def metrics(tmp_path: Path, *rows: list[dict[str, object]]) -> pd.DataFrame:
    """As read from a file, which is how claims get them."""
    write_rows(tmp_path / "metrics.csv", [row for own in rows for row in own])
    return read_rows(tmp_path / "metrics.csv")


def claim(tmp_path: Path, *tests: object, **columns: object) -> Path:
    """A file with one claim."""
    entry = {
        "id": "X01", "paper": "muller2019", "kind": "result", "statement": "s", "source": "Sec. 1",
        "artifacts": ["muller2019.table2"], "tests": list(tests), **columns,
    }  # fmt: skip
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump({"bindings": {}, "claims": [entry]}))
    return path


def judged(tmp_path: Path, rows: pd.DataFrame, *tests: object, **columns: object) -> Judged:
    (one,) = judge(rows, "demo", "metrics.csv", read_claims(claim(tmp_path, *tests, **columns)))
    return one


def selection(**columns: object) -> dict[str, object]:
    return {"artifact": "table2", "dataset": "cifar100", "metric": "top1", **columns}


HARD, LS = selection(student_alpha=0.0), selection(student_alpha=0.1)
HIGHER = {"compare": [LS, ">", HARD]}


@pytest.mark.parametrize(
    ("hard", "smooth", "verdict"),
    [
        ([70.0, 71.0, 72.0], [71.0, 72.1, 72.9], "holds"),  # apart by less than seeds are, but paired
        ([71.0, 72.1, 72.9], [70.0, 71.0, 72.0], "fails"),
        ([70.0, 71.0, 72.0], [71.0, 70.0, 72.5], "undecided"),
        ([70.0, 71.0], [75.0, 76.0], "undecided"),  # two seeds say nothing
        ([70.0], [75.0], "undecided"),
        ([70.0, 71.0, 72.0], [70.0, 71.0, 72.0], "undecided"),  # equal
    ],
)
def test_a_comparison_is_decided_by_the_interval_of_paired_differences(
    tmp_path: Path, hard: list[float], smooth: list[float], verdict: str
) -> None:
    rows = metrics(tmp_path, values("a", hard), values("b", smooth, **SMOOTH))
    one = judged(tmp_path, rows, HIGHER)
    assert one.verdict == verdict
    effect = one.outcomes[0].effect
    assert effect is not None
    assert effect.mean == pytest.approx(np.mean(smooth) - np.mean(hard))
    assert effect.n == len(hard)
    assert one.outcomes[0].runs == ["a", "b"]
    assert judged(tmp_path, rows, {"compare": [HARD, "<", LS]}).verdict == verdict  # the same, said the other way


def test_the_interval_is_students_t(tmp_path: Path) -> None:
    from scipy.stats import ttest_rel

    hard, smooth = [70.0, 71.0, 72.5, 70.2], [71.0, 72.1, 72.9, 71.9]
    rows = metrics(tmp_path, values("a", hard), values("b", smooth, **SMOOTH))
    effect = judged(tmp_path, rows, HIGHER).outcomes[0].effect
    assert effect is not None
    known = ttest_rel(smooth, hard).confidence_interval(0.95)
    assert (effect.low, effect.high) == pytest.approx((known.low, known.high))


def test_runs_of_other_seeds_are_compared_by_welch(tmp_path: Path) -> None:
    from scipy.stats import ttest_ind

    hard, smooth = [70.0, 71.0, 72.5], [75.0, 76.1, 75.9, 75.5]
    rows = metrics(tmp_path, values("a", hard), values("b", smooth, first_seed=10, **SMOOTH))
    one = judged(tmp_path, rows, HIGHER)
    known = ttest_ind(smooth, hard, equal_var=False).confidence_interval(0.95)
    effect = one.outcomes[0].effect
    assert effect is not None
    assert (effect.low, effect.high, effect.n) == pytest.approx((known.low, known.high, 3))
    assert one.verdict == "holds"
    few = metrics(tmp_path, values("a", hard), values("b", [75.0, 76.0], first_seed=10, **SMOOTH))
    assert judged(tmp_path, few, HIGHER).verdict == "undecided"


def test_a_missing_run_leaves_it_undecided_and_is_named(tmp_path: Path) -> None:
    one = judged(tmp_path, metrics(tmp_path, values("a", [70.0, 71.0, 72.0])), HIGHER)
    assert one.verdict == "undecided"
    assert "table2 (dataset cifar100, metric top1, student_alpha 0.1)" in one.outcomes[0].missing
    # A binding that would decide does not, while another one is missing.
    rows = metrics(tmp_path, values("a", [70.0, 71.0, 72.0]), values("b", [80.0, 81.0, 82.5], **SMOOTH))
    over = {"compare": [selection(dataset="$d", student_alpha=0.1), ">", selection(dataset="$d", student_alpha=0.0)]}
    both = judged(tmp_path, rows, over | {"over": {"d": ["cifar100", "cifar10"]}})
    assert both.verdict == "undecided"
    assert [o.verdict for o in both.outcomes] == ["holds", "undecided"]


@pytest.mark.parametrize(
    ("apart", "verdict"), [([0.1, 0.2, 0.15], "holds"), ([3.0, 3.1, 3.2], "fails"), ([0.0, 2.0, 0.5], "undecided")]
)
def test_a_tolerance_holds_by_the_whole_interval(tmp_path: Path, apart: list[float], verdict: str) -> None:
    hard = [70.0, 71.0, 72.0]
    rows = metrics(
        tmp_path, values("a", hard), values("b", [h + a for h, a in zip(hard, apart, strict=True)], **SMOOTH)
    )
    assert judged(tmp_path, rows, {"within": [LS, HARD], "max": 1.0}).verdict == verdict
    assert judged(tmp_path, rows, {"within": [HARD, LS], "max": 1.0}).verdict == verdict


def sweep(tmp_path: Path, columns: dict[int, list[float]]) -> pd.DataFrame:
    """Students at several temperatures."""
    own = [
        values(f"T{t}", numbers, method="kd", teacher="resnet56", teacher_alpha="0.1", kd_temperature=str(t))
        for t, numbers in columns.items()
    ]
    return metrics(tmp_path, *own)


AT_T = selection(teacher_alpha=0.1, kd_temperature="$T")
FALLING = {1: [75.0, 76.0, 77.0], 2: [74.0, 75.1, 75.9], 3: [72.0, 73.1, 74.1]}
HUMP = {1: [72.0, 73.1, 74.1], 2: [75.0, 76.0, 77.1], 3: [72.2, 73.0, 74.0]}


def test_an_order_needs_every_step(tmp_path: Path) -> None:
    falls = {"ordered": AT_T, "x": {"T": [1, 2, 3]}, "direction": "decreasing"}
    assert judged(tmp_path, sweep(tmp_path, FALLING), falls).verdict == "holds"
    assert judged(tmp_path, sweep(tmp_path, FALLING), falls | {"direction": "increasing"}).verdict == "fails"
    assert judged(tmp_path, sweep(tmp_path, HUMP), falls).verdict == "fails"
    flat = FALLING | {2: [75.0, 75.9, 77.1]}
    assert judged(tmp_path, sweep(tmp_path, flat), falls).verdict == "undecided"
    assert judged(tmp_path, sweep(tmp_path, {1: FALLING[1], 3: FALLING[3]}), falls).verdict == "undecided"  # T = 2
    assert judged(
        tmp_path, sweep(tmp_path, {1: FALLING[1], 3: FALLING[3]}), falls | {"x": {"T": "present"}}
    ).verdict == ("holds")


def test_the_best_of_several(tmp_path: Path) -> None:
    best = {"best": AT_T, "x": {"T": "present"}, "expected": [{"T": 2}]}
    assert judged(tmp_path, sweep(tmp_path, HUMP), best).verdict == "holds"
    assert judged(tmp_path, sweep(tmp_path, FALLING), best).verdict == "fails"
    assert judged(tmp_path, sweep(tmp_path, HUMP), best | {"expected": "interior"}).verdict == "holds"
    assert (
        judged(tmp_path, sweep(tmp_path, HUMP), best | {"expected": [{"T": 1}], "lowest": True}).verdict == "undecided"
    )
    assert judged(tmp_path, sweep(tmp_path, {2: HUMP[2]}), best).verdict == "undecided"  # nothing to compare with


def test_the_best_is_chosen_on_other_seeds_than_it_is_tested_on() -> None:
    """A curve that rises and stays: "then falls" is found less than half as often as by the highest mean."""
    random = np.random.default_rng(0)
    held = naive = 0
    for _ in range(1000):
        cells = [{seed: float(random.normal()) for seed in range(5)} for _ in range(15)]
        highest = max(cells[1:-1], key=lambda cell: sum(cell.values()))
        held += _effect(_top(cells[1:-1], lowest=False), cells[-1], single=False).verdict == "holds"
        naive += _effect(highest, cells[-1], single=False).verdict == "holds"
    assert naive > 80
    assert held < naive / 2


QUANTIFIERS = ("all", "any", "majority")


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("bindings", [1, 2, 3, 7, 18, 80])
def test_without_any_effect_at_most_one_claim_in_twenty_is_decided(seeds: int, bindings: int) -> None:
    """Claims hold or fail by chance in 5 % at most, whatever their quantifier and the number of their comparisons."""
    random = np.random.default_rng([seeds, bindings])
    trials = 1200 if bindings < 10 else 400
    wrong = dict.fromkeys(QUANTIFIERS, 0)
    for _ in range(trials):
        cells = random.normal(size=(bindings, seeds))
        p_values = [_effect(dict(enumerate(map(float, cell))), 0.0, single=False).p_values for cell in cells]
        for quantifier in QUANTIFIERS:
            wrong[quantifier] += decided(*combined(p_values, quantifier)) != "undecided"
    chance = binom(trials, 0.05).ppf(0.999)  # of this simulation
    assert max(wrong.values()) <= chance, wrong
    assert bindings > 1 or min(wrong.values()) > binom(trials, 0.05).ppf(0.001)  # and no less: nothing is given away


def test_p_values_decide_as_the_interval_does() -> None:
    random = np.random.default_rng(1)
    for limits in ({"at_least": 0.5}, {"at_least": -1.0, "at_most": 1.0}):
        for _ in range(300):
            values = dict(enumerate(map(float, random.normal(0.8, 0.5, size=5))))
            effect = _effect(values, 0.0, single=False, **limits)
            inside = effect.at_least < effect.low and effect.high < effect.at_most
            outside = effect.high < effect.at_least or effect.low > effect.at_most
            assert effect.verdict == ("holds" if inside else "fails" if outside else "undecided")


def test_an_undecided_claim_says_how_many_seeds_would_decide_it(tmp_path: Path) -> None:
    """By hand: differences 0.5, 1.5, −0.5 have mean 0.5, std 1; t(n − 1) / √n falls below 0.5 at n = 18."""
    rows = metrics(tmp_path, values("a", [70.0, 70.0, 70.0]), values("b", [70.5, 71.5, 69.5], **SMOOTH))
    found = table([judged(tmp_path, rows, HIGHER)], "demo").loc[0]
    assert (found["verdict"], found["seeds_needed"], found["comparisons"]) == ("undecided", 18, 1)
    rows = metrics(tmp_path, values("a", [70.0, 71.0, 72.0]), values("b", [75.0, 76.1, 77.0], **SMOOTH))
    assert pd.isna(table([judged(tmp_path, rows, HIGHER)], "demo").loc[0, "seeds_needed"])


def test_holms_correction_is_that_of_his_paper() -> None:
    """By hand: 4 · 0.005, 3 · 0.01, 2 · 0.03, then no smaller than what came before."""
    assert corrected([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert corrected([]) == []
    assert combined([(0.01, 1.0)] * 4, "any")[0] == pytest.approx(0.04)
    assert combined([(0.01, 1.0)] * 4, "all")[0] == pytest.approx(0.01)
    assert combined([(0.01, 1.0), (0.02, 1.0), (0.9, 0.1)], "majority")[0] == pytest.approx(0.04)  # 2 of 3: 2 · 0.02


def test_seeds_that_agree_are_decided_by_their_number(tmp_path: Path) -> None:
    """The sign test: six of six are no accident (1/64), five are (1/32)."""
    for n, verdict in ((5, "undecided"), (6, "holds"), (30, "holds")):
        rows = metrics(tmp_path, values("a", [1.0] * n), values("b", [2.0] * n, **SMOOTH))
        assert judged(tmp_path, rows, HIGHER).verdict == verdict
        assert judged(tmp_path, rows, {"compare": [HARD, ">", LS]}).verdict == verdict.replace("holds", "fails")


def test_seeds_that_agree_to_the_last_digit_decide_nothing(tmp_path: Path) -> None:
    rows = metrics(tmp_path, values("a", [1.0, 1.0, 1.0]), values("b", [2.0, 2.0, 2.0], **SMOOTH))
    one = judged(tmp_path, rows, HIGHER)
    assert one.verdict == "undecided"
    assert table([one], "demo").loc[0, ["effect", "n"]].tolist() == [1.0, 3]


def test_terms_without_a_common_seed_are_missing(tmp_path: Path) -> None:
    rows = metrics(tmp_path, values("a", [70.0, 71.0, 72.0]), values("b", [75.0, 76.0, 77.0], first_seed=5, **SMOOTH))
    one = judged(tmp_path, rows, {"compare": [{"minus": [LS, HARD]}, ">", 0]})
    assert "a seed that both sides of a minus of top1 have" in one.outcomes[0].missing


def test_a_constant_of_the_papers_data_says_nothing_of_what_stands_for_them(tmp_path: Path) -> None:
    many = {"compare": [HARD, ">", 900], "own_data": True}
    own = metrics(tmp_path, values("a", [950.0, 951.0, 960.0]))
    assert judged(tmp_path, own, many).verdict == "holds"
    other = metrics(tmp_path, values("a", [9.0, 9.5, 9.8], stands_for="dataset=cifar100;student=resnet56"))
    one = judged(tmp_path, other, many)
    assert one.verdict == "undecided"
    assert "(in place of dataset=cifar100)" in one.outcomes[0].missing


def test_an_effect_has_the_unit_of_its_own_metric(tmp_path: Path) -> None:
    first = {"compare": [HARD, ">", 0]}
    second = {"compare": [selection(metric="nll", student_alpha=0.0), ">", 1]}
    rows = metrics(tmp_path, values("a", [70.0, 71.0, 72.0]), values("a", [0.9, 1.1, 1.0], metric="nll"))
    decides = judged(tmp_path, rows, {"both": [first, second]}).deciding()
    assert decides is not None
    assert decides.effect is not None
    assert decides.effect.unit == "nats"


def test_it_is_said_when_one_network_stands_behind_all_seeds(tmp_path: Path) -> None:
    names = ["glyphs.mlp.kd-T1-cnn-hard-s0.a686efce", "glyphs.mlp.kd-T1-cnn-ls0.1-s0.0191ad96"]
    rows = metrics(tmp_path, values(names[0], [70.0, 71.0, 72.0]), values(names[1], [75.0, 76.1, 77.0], **SMOOTH))
    said = table([judged(tmp_path, rows, HIGHER)], "demo")["given"].tolist()
    assert said == ["seed 0 of the networks that teach or begin them"]
    rows = metrics(tmp_path, values("glyphs.mlp.hard.a686efce", [70.0, 71.0, 72.0]), values("b", [75.0], **SMOOTH))
    assert table([judged(tmp_path, rows, HIGHER)], "demo")["given"].tolist() == [""]


def test_rank_correlation_and_operations_over_x(tmp_path: Path) -> None:
    falls = {"correlation": AT_T, "x": {"T": "present"}, "direction": "decreasing"}
    assert judged(tmp_path, sweep(tmp_path, FALLING), falls).verdict == "undecided"  # three seeds in one order of three
    long = sweep(tmp_path, {t: [80.0 - t, 81.1 - t, 82.3 - t] for t in range(1, 7)})
    assert judged(tmp_path, long, falls).verdict == "holds"
    assert judged(tmp_path, long, falls | {"direction": "increasing"}).verdict == "fails"
    over = {"x": {"T": "present"}}
    hump = sweep(tmp_path, HUMP)
    for term, known in ((("max",), 76.03), (("min",), 73.0), (("argmax",), 2.0), (("slope",), 0.0)):
        one = judged(tmp_path, hump, {"compare": [{term[0]: AT_T, **over}, ">", 0]})
        effect = one.outcomes[0].effect
        assert effect is not None
        assert effect.mean == pytest.approx(known, abs=0.07)
    at = {t: selection(teacher_alpha=0.1, kd_temperature=t) for t in (1, 2, 3)}
    for name, known in (("minus", -2.9667), ("distance", 2.9667), ("ratio", 0.9610)):
        one = judged(tmp_path, hump, {"compare": [{name: [at[1], at[2]]}, ">", 0]})
        effect = one.outcomes[0].effect
        assert effect is not None
        assert effect.mean == pytest.approx(known, rel=1e-3)


@pytest.mark.parametrize(
    ("quantifier", "better", "verdict"),
    [("all", 3, "holds"), ("all", 2, "fails"), ("majority", 2, "holds"), ("majority", 1, "fails"), ("any", 1, "holds"),
     ("any", 0, "fails")],
)  # fmt: skip
def test_quantifiers(tmp_path: Path, quantifier: str, better: int, verdict: str) -> None:
    rows = []
    for n, name in enumerate(("cifar10", "cifar100", "imagenet")):
        shift = 2.0 if n < better else -2.0
        rows += [values(f"a{n}", [70.0, 71.0, 72.0], dataset=name)]
        rows += [values(f"b{n}", [70.1 + shift, 71.0 + shift, 72.0 + shift], dataset=name, **SMOOTH)]
    test = {
        "compare": [selection(dataset="$d", student_alpha=0.1), ">", selection(dataset="$d", student_alpha=0.0)],
        "over": {"d": ["cifar10", "cifar100", "imagenet"]},
    }
    assert judged(tmp_path, metrics(tmp_path, *rows), test, quantifier=quantifier).verdict == verdict


def test_the_test_split_counts_and_validation_where_there_is_none(tmp_path: Path) -> None:
    own = {"test": ([70.0, 71.0, 72.0], [69.0, 70.1, 71.0]), "val": ([70.0, 71.0, 72.0], [75.0, 76.0, 77.1])}
    rows = {
        split: [values("a", hard, split=split), values("b", smooth, split=split, **SMOOTH)]
        for split, (hard, smooth) in own.items()
    }
    assert judged(tmp_path, metrics(tmp_path, *rows["test"], *rows["val"]), HIGHER).verdict == "fails"
    assert judged(tmp_path, metrics(tmp_path, *rows["val"]), HIGHER).verdict == "holds"


def test_the_checkpoint_of_best_validation_has_a_verdict_of_its_own(tmp_path: Path) -> None:
    last = [values("a", [70.0, 71.0, 72.0]), values("b", [69.0, 70.1, 71.0], **SMOOTH)]
    best = [
        values("a", [70.0, 71.0, 72.0], checkpoint="best"),
        values("b", [72.0, 73.1, 74.0], checkpoint="best", **SMOOTH),
    ]
    assert judged(tmp_path, metrics(tmp_path, *last), HIGHER).verdict_best == ""
    one = judged(tmp_path, metrics(tmp_path, *last, *best), HIGHER)
    assert (one.verdict, one.verdict_best) == ("fails", "holds")


@pytest.mark.parametrize(("paper", "verdict"), [("muller2019", "fails"), ("zhang2020", "holds")])
def test_judged_is_the_checkpoint_that_the_paper_reports(tmp_path: Path, paper: str, verdict: str) -> None:
    one = {"paper": paper, "artifact": "fig1"}
    rows = [
        values(run, [mean, mean + 1.0, mean + (2.1 if columns else 2.0)], checkpoint=checkpoint, **one, **columns)
        for checkpoint, means in (("last", (71.0, 70.0)), ("best", (70.0, 72.0)))
        for run, mean, columns in zip("ab", means, ({}, SMOOTH), strict=True)
    ]
    test = {"compare": [{**LS, "artifact": "fig1"}, ">", {**HARD, "artifact": "fig1"}]}
    about = {"paper": paper, "artifacts": [f"{paper}.fig1"]}
    found = judged(tmp_path, metrics(tmp_path, *rows), test, **about)
    assert (found.verdict, found.verdict_best) == (verdict, "holds")


def test_what_stands_for_the_papers_names_counts_and_is_said(tmp_path: Path) -> None:
    named = {"dataset": "glyphs", "stands_for": "dataset=cifar100"}
    rows = metrics(
        tmp_path, values("a", [70.0, 71.0, 72.0], **named), values("b", [75.0, 76.1, 77.0], **named, **SMOOTH)
    )
    one = judged(tmp_path, rows, HIGHER)
    assert one.verdict == "holds"
    assert table([one], "demo")["stands_for"].tolist() == ["dataset=cifar100"]


# ------------------------------------------------------------ bad input


def test_a_claim_that_names_a_missing_column(tmp_path: Path) -> None:
    rows = metrics(tmp_path, values("a", [70.0]))
    with refused(SpecError, "X01", "colour"):
        judged(tmp_path, rows, {"compare": [selection(colour="red"), ">", 0]})


def test_a_claim_that_selects_several_runs(tmp_path: Path) -> None:
    rows = metrics(tmp_path, values("a", [70.0]), values("b", [71.0], **SMOOTH))
    with refused(SpecError, "X01", "table2", "a, b"):
        judged(tmp_path, rows, {"compare": [selection(), ">", 0]})


@pytest.mark.parametrize(
    ("test", "named"),
    [
        ({"compare": [HARD, ">", 0], "colour": 1}, "colour"),
        ({"compares": [HARD, ">", 0]}, "compare"),
        ({"compare": [HARD, ">", 0], "over": "nowhere"}, "nowhere"),
        ({"compare": [HARD, ">", 0], "quantifier": "some"}, "quantifier"),
        ({"compare": [HARD, ">", 0], "own_data": "some"}, "own_data"),
    ],
)
def test_unknown_words_in_a_claim(tmp_path: Path, test: object, named: str) -> None:
    with refused(SpecError, named):
        read_claims(claim(tmp_path, test))


def test_metrics_of_another_scale(tmp_path: Path) -> None:
    rows = metrics(tmp_path, values("a", [70.0], scale="paper"))
    with refused(DataError, "metrics.csv", "paper", "demo"):
        judged(tmp_path, rows, HIGHER)


def test_rows_that_are_there_twice(tmp_path: Path) -> None:
    rows = metrics(tmp_path, values("a", [70.0]), values("a", [71.0]))
    with refused(DataError, "metrics.csv", "top1", "seed 0", "muller2019.table2"):
        judged(tmp_path, rows, HIGHER)


@pytest.mark.parametrize("cut", [1, 5, 12, 40])
def test_a_half_written_metrics_file(
    tmp_path: Path, cut: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout(tmp_path / "results" / "demo")
    rows = values("a", [70.0, 71.0], stands_for="dataset=cifar100")
    write_rows(layout.joined_metrics, rows)
    layout.joined_metrics.write_text(layout.joined_metrics.read_text()[:-cut])
    layout.claims.write_text("good\n")
    monkeypatch.chdir(tmp_path)
    assert main(["claims", "--scale", "demo"]) == 1
    says(capsys.readouterr().err, "metrics.csv")
    assert layout.claims.read_text() == "good\n"


def test_no_metrics_yet(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["claims", "--scale", "paper"]) == 1
    says(capsys.readouterr().err, "results/paper/metrics.csv")


# ------------------------------------------------------------ the claims of the papers


def test_there_are_92_claims_each_of_artifacts_that_exist() -> None:
    claims = all_claims()
    assert Counter(c.paper for c in claims) == {
        "muller2019": 29,
        "chandrasegaran2022": 29,
        "yuan2020": 13,
        "zhang2020": 21,
    }
    known = {row["id"] for row in artifacts()} | {"zhang2020.fig3_variants"}
    assert not [name for c in claims for name in c.artifacts if name not in known]


def test_the_printed_numbers_are_judged_by_the_same_tests(tmp_path: Path) -> None:
    rows = table(judge(metrics(tmp_path), "demo", "metrics.csv"), "demo")
    assert rows["in_print"].value_counts().to_dict() == {"not checkable": 49, "holds": 36, "partly": 7}
    partly = rows[rows["in_print"] == "partly"]["id"].tolist()
    assert partly == ["C05", "C06", "C07", "C08", "C09", "Y06", "Y07"]


def verdict_of(tmp_path: Path, name: str, *rows: list[dict[str, object]]) -> str:
    (claim,) = (one for one in all_claims() if one.id == name)
    (one,) = judge(metrics(tmp_path, *rows), "demo", "metrics.csv", [claim])
    return one.verdict


SEEDS = np.array([0.0, 0.1, -0.1])


@pytest.mark.parametrize(("above", "verdict"), [(-2.0, "fails"), (-0.2, "holds"), (3.0, "holds")])
def test_who_reaches_another_may_be_better_than_it(tmp_path: Path, above: float, verdict: str) -> None:
    def of(method: str, student: str, mean: float) -> list[dict[str, object]]:
        columns = {"paper": "zhang2020", "artifact": "fig3", "dataset": "cub200", "method": method, "student": student}
        return values(f"{method}-{student}", [*(mean + SEEDS)], checkpoint="best", **columns)

    noise = [0.05, 0.0, -0.03]
    rows = [of("self_distillation", n, 60.0) for n in ("resnet", "densenet")]
    rows += [
        [{**row, "value": row["value"] + x} for row, x in zip(of("beta_smoothing", n, 60 + above), noise, strict=True)]  # type: ignore[operator]
        for n in ("resnet", "densenet")
    ]
    assert verdict_of(tmp_path, "Z12", *rows) == verdict


@pytest.mark.parametrize(("better", "verdict"), [(0.3, "holds"), (0.6, "fails")])
def test_a_better_network_that_teaches_worse_is_one_network(tmp_path: Path, better: float, verdict: str) -> None:
    """Students of the network of α = 0.3 are worse, of 0.6 better; only one of the two is better than the hard one."""
    rows = []
    for n, (alpha, taught) in enumerate(((0.0, 80.0), (0.3, 70.0), (0.6, 85.0))):
        noise, own = np.roll(SEEDS, n), {"artifact": "fig5", "dataset": "cifar10"}
        network = 90.0 if alpha == 0.0 else 95.0 if alpha == better else 85.0
        rows.append(values(f"network-{alpha}", [*(network + noise)], student_alpha=str(alpha), **own))
        own |= {"teacher": "resnet56", "teacher_alpha": str(alpha), "student_alpha": "", "kd_temperature": "1"}
        rows.append(values(f"taught-{alpha}", [*(taught + noise)], student="alexnet", method="kd", **own))
    assert verdict_of(tmp_path, "M20", *rows) == verdict


def test_a_plateau_is_seen(tmp_path: Path) -> None:
    """Top-1 that levels off goes with what levels off more closely than with what rises on, which ranks do not show."""
    T, rows = np.arange(1, 9), []
    for name, means in (("top1", np.minimum(T, 4)), ("nll", np.minimum(T, 4)), ("ece", np.exp(T))):
        for t, mean in zip(T, means, strict=True):
            own = [mean + 0.001 * t + 0.01 * seed for seed in range(3)]
            rows.append(values(f"t{t}", own, metric=f"{name}_T{t}"))
    terms = [
        {"correlated": [selection(metric="top1_T$T"), selection(metric=f"{name}_T$T")], "x": {"T": "present"}}
        for name in ("nll", "ece")
    ]
    one = judged(tmp_path, metrics(tmp_path, *rows), {"compare": [terms[0], ">", terms[1]]})
    effect = one.outcomes[0].effect
    assert effect is not None
    assert effect.mean == pytest.approx(1 - np.corrcoef(np.minimum(T, 4) + 0.001 * T, np.exp(T) + 0.001 * T)[0, 1])


def test_without_runs_only_formulas_are_decided(tmp_path: Path) -> None:
    rows = table(judge(metrics(tmp_path), "demo", "metrics.csv"), "demo")
    decided = rows[rows["verdict"] != "undecided"]
    assert decided[["id", "verdict", "n"]].values.tolist() == [
        [name, "holds", 0] for name in ("M29", "Y09", "Z20", "Z21")
    ]
    assert (rows[rows["verdict"] == "undecided"]["missing"] != "").all()


@pytest.mark.parametrize("name", IDENTITIES)
def test_identities_hold(name: str) -> None:
    left, right = IDENTITIES[name]()
    np.testing.assert_allclose(left, right, atol=1e-8)


def test_the_command_writes_92_rows_and_prints_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout(tmp_path / "results" / "demo")
    write_rows(layout.joined_metrics, values("a", [70.0, 71.0, 72.0]) + values("b", [75.0, 76.1, 77.0], **SMOOTH))
    monkeypatch.chdir(tmp_path)
    assert main(["claims", "--scale", "demo"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("scale demo: 5 hold, 87 undecided; in print 36 hold, 7 partly, 49 not checkable")
    assert "M01  holds      +5.03 (4.89 to 5.18) points, n = 3" in text
    written = pd.read_csv(layout.claims)
    assert len(written) == 92
    assert main(["claims", "--scale", "demo", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [c["id"] for c in listed] == written["id"].tolist()
    assert listed[0]["bindings"][0]["effect"]["n"] == FEWEST
    assert judge_scale(layout, "demo")[0].verdict == "holds"
    assert list(pd.read_csv(layout.joined_metrics).columns) == list(COLUMNS)


def test_a_file_that_holds_no_claims(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("- 1\n")
    with refused(SpecError, "c.yaml"):
        read_claims(tmp_path / "c.yaml")
    with refused(SpecError, "none.yaml"):
        read_claims(tmp_path / "none.yaml")


# ------------------------------------------------------------ claims and the plan


def selections(part: object) -> list[dict[str, Any]]:
    if isinstance(part, dict):
        if "metric" in part:
            return [part]
        return [found for key, value in part.items() if key != "printed" for found in selections(value)]
    return [found for value in part for found in selections(value)] if isinstance(part, list) else []


def bindings(test: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of `over` and of `x`, as far as they are listed."""
    found: list[dict[str, Any]] = [{}]
    for name in ("over", "x"):
        listed = test.get(name, [{}])
        if isinstance(listed, Mapping):
            listed = {key: values for key, values in listed.items() if isinstance(values, list)}
        found = [{**one, **more} for one in found for more in products(listed)]
    return found


@pytest.fixture(scope="module")
def planned() -> dict[str, list[tuple[str, dict[str, str]]]]:
    """Artifact → its drawing and the papers' keys of its runs, at the scale of the papers, variants too."""
    plan = load_plan({"scale": "paper", "variants": True}, Path(__file__).parents[1])
    return {
        name: [(a.plot, published_key(key_columns(a, member, "", "paper"))) for member in a.members]
        for name, a in plan.artifacts.items()
    }


@pytest.mark.parametrize("one", all_claims(), ids=lambda c: c.id)
def test_every_number_that_a_claim_selects_is_planned_at_the_scale_of_the_papers(
    one: Claim, planned: dict[str, list[tuple[str, dict[str, str]]]]
) -> None:
    # Not of networks: a temperature of a figure, a method that is no training, a class.
    free = {"split", "metric", "target_class", "artifact", "in_print"}
    by_drawing = {"entropy", "class_probabilities", "softened_teacher"}
    for test in one.tests:
        for binding in bindings(test):
            for selection in selections(dict(test)):
                wanted = {name: bound(value, binding) for name, value in selection.items()}
                members = planned.get(f"{one.paper}.{wanted['artifact']}", [])
                assert members, wanted
                compared = {
                    name: value
                    for name, value in wanted.items()
                    if name not in free and "$" not in str(value) and (name, value) != ("method", "temp_scaling")
                    and not (name == "kd_temperature" and members[0][0] in by_drawing)
                }  # fmt: skip
                assert any(all(_same(key[n], v) for n, v in compared.items()) for _, key in members), (
                    wanted,
                    members[:3],
                )


def _same(text: str, value: object) -> bool:
    if isinstance(value, int | float):
        return text != "" and float(text) == value
    return text == str(value)
