"""The papers' claims: each kind of comparison on tables with known answers, and all claims on printed numbers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from refusals import refused, says
from scipy.stats import binom

from softlabels.cli import main
from softlabels.errors import DataError, SpecError
from softlabels.grid.expand import load_plan
from softlabels.grid.plan import Plan
from softlabels.layout import Layout
from softlabels.metrics.rows import COLUMNS, read_rows, write_rows
from softlabels.papers.claims import Claim, Tests, all_claims, claim
from softlabels.papers.coverage import artifacts
from softlabels.papers.effects import FEWEST, combined, corrected, decided, difference
from softlabels.papers.identities import IDENTITIES
from softlabels.papers.numbers import Numbers, Values
from softlabels.papers.planned import check_claims
from softlabels.papers.predicates import (
    Quantified,
    above,
    all_of,
    any_of,
    at,
    below,
    best,
    correlated,
    falling,
    highest,
    lowest_at,
    most_of,
    rank_correlated,
    rising,
    slope,
    within,
)
from softlabels.papers.verdicts import Judged, beside, grouped, judge, judge_scale, table

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


Function = Callable[[Numbers], Tests]


def judged(rows: pd.DataFrame, tests: Function, paper: str = "muller2019") -> Judged:
    made = Claim("X01", paper, "result", "s", "", "Sec. 1", (f"{paper}.table2",), (), tests)
    (one,) = judge(rows, "demo", "metrics.csv", [made])
    return one


def top1(m: Numbers, **columns: Any) -> Values:
    return m("table2", "top1", **{"dataset": "cifar100", **columns})


def hard(m: Numbers) -> Values:
    return top1(m, student_alpha=0.0)


def smooth(m: Numbers) -> Values:
    return top1(m, student_alpha=0.1)


def higher(m: Numbers) -> Tests:
    yield all_of([above(smooth(m), hard(m))])


@pytest.mark.parametrize(
    ("without", "with_it", "verdict"),
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
    tmp_path: Path, without: list[float], with_it: list[float], verdict: str
) -> None:
    rows = metrics(tmp_path, values("a", without), values("b", with_it, **SMOOTH))
    one = judged(rows, higher)
    assert one.verdict == verdict
    effect = one.outcomes[0].effect
    assert effect is not None
    assert effect.mean == pytest.approx(np.mean(with_it) - np.mean(without))
    assert effect.n == len(without)
    assert one.outcomes[0].runs == ["a", "b"]
    # The same, said the other way.
    assert judged(rows, lambda m: [all_of([below(hard(m), smooth(m))])]).verdict == verdict


def test_the_interval_is_students_t(tmp_path: Path) -> None:
    from scipy.stats import ttest_rel

    low, high = [70.0, 71.0, 72.5, 70.2], [71.0, 72.1, 72.9, 71.9]
    rows = metrics(tmp_path, values("a", low), values("b", high, **SMOOTH))
    effect = judged(rows, higher).outcomes[0].effect
    assert effect is not None
    known = ttest_rel(high, low).confidence_interval(0.95)
    assert (effect.low, effect.high) == pytest.approx((known.low, known.high))


def test_runs_of_other_seeds_are_compared_by_welch(tmp_path: Path) -> None:
    from scipy.stats import ttest_ind

    low, high = [70.0, 71.0, 72.5], [75.0, 76.1, 75.9, 75.5]
    rows = metrics(tmp_path, values("a", low), values("b", high, first_seed=10, **SMOOTH))
    one = judged(rows, higher)
    known = ttest_ind(high, low, equal_var=False).confidence_interval(0.95)
    effect = one.outcomes[0].effect
    assert effect is not None
    assert (effect.low, effect.high, effect.n) == pytest.approx((known.low, known.high, 3))
    assert one.verdict == "holds"
    few = metrics(tmp_path, values("a", low), values("b", [75.0, 76.0], first_seed=10, **SMOOTH))
    assert judged(few, higher).verdict == "undecided"


def on_each(*datasets: str, quantifier: Callable[..., Quantified] = all_of) -> Function:
    def tests(m: Numbers) -> Tests:
        yield quantifier(above(*(top1(m, dataset=d, student_alpha=alpha) for alpha in (0.1, 0.0))) for d in datasets)  # type: ignore[arg-type]

    return tests


def test_a_missing_run_leaves_it_undecided_and_is_named(tmp_path: Path) -> None:
    one = judged(metrics(tmp_path, values("a", [70.0, 71.0, 72.0])), higher)
    assert one.verdict == "undecided"
    assert "table2 (metric top1, dataset cifar100, student_alpha 0.1)" in one.outcomes[0].missing
    # A comparison that would decide does not, while another one is missing.
    rows = metrics(tmp_path, values("a", [70.0, 71.0, 72.0]), values("b", [80.0, 81.0, 82.5], **SMOOTH))
    both = judged(rows, on_each("cifar100", "cifar10"))
    assert both.verdict == "undecided"
    assert [o.verdict for o in both.outcomes] == ["holds", "undecided"]
    assert [o.binding for o in both.outcomes] == [{"dataset": "cifar100"}, {"dataset": "cifar10"}]


@pytest.mark.parametrize(
    ("apart", "verdict"), [([0.1, 0.2, 0.15], "holds"), ([3.0, 3.1, 3.2], "fails"), ([0.0, 2.0, 0.5], "undecided")]
)
def test_a_tolerance_holds_by_the_whole_interval(tmp_path: Path, apart: list[float], verdict: str) -> None:
    low = [70.0, 71.0, 72.0]
    rows = metrics(tmp_path, values("a", low), values("b", [h + a for h, a in zip(low, apart, strict=True)], **SMOOTH))
    assert judged(rows, lambda m: [all_of([within(smooth(m), hard(m), 1.0)])]).verdict == verdict
    assert judged(rows, lambda m: [all_of([within(hard(m), smooth(m), 1.0)])]).verdict == verdict


def sweep(tmp_path: Path, columns: dict[int, list[float]]) -> pd.DataFrame:
    """Students at several temperatures."""
    own = [
        values(f"T{t}", numbers, method="kd", teacher="resnet56", teacher_alpha="0.1", kd_temperature=str(t))
        for t, numbers in columns.items()
    ]
    return metrics(tmp_path, *own)


FALLING = {1: [75.0, 76.0, 77.0], 2: [74.0, 75.1, 75.9], 3: [72.0, 73.1, 74.1]}
HUMP = {1: [72.0, 73.1, 74.1], 2: [75.0, 76.0, 77.1], 3: [72.2, 73.0, 74.0]}


def student(m: Numbers, T: float) -> Values:
    return top1(m, teacher_alpha=0.1, kd_temperature=T)


def curve(m: Numbers) -> dict[float, Values]:
    """Of whatever T there are."""
    found = m.present("kd_temperature", "table2", "top1", dataset="cifar100", teacher_alpha=0.1)
    return {T: student(m, T) for T in found}


def test_an_order_needs_every_step(tmp_path: Path) -> None:
    def falls(m: Numbers) -> Tests:
        yield all_of([falling([student(m, T) for T in (1, 2, 3)])])

    assert judged(sweep(tmp_path, FALLING), falls).verdict == "holds"
    assert judged(sweep(tmp_path, FALLING), lambda m: [all_of([rising([*curve(m).values()])])]).verdict == "fails"
    assert judged(sweep(tmp_path, HUMP), falls).verdict == "fails"
    flat = FALLING | {2: [75.0, 75.9, 77.1]}
    assert judged(sweep(tmp_path, flat), falls).verdict == "undecided"
    two = sweep(tmp_path, {1: FALLING[1], 3: FALLING[3]})
    assert "kd_temperature 2" in judged(two, falls).outcomes[0].missing
    assert judged(two, lambda m: [all_of([falling([*curve(m).values()])])]).verdict == "holds"
    none = judged(sweep(tmp_path, {1: FALLING[1]}), lambda m: [all_of([falling([*curve(m).values()])])])
    assert "several values" in none.outcomes[0].missing


def test_the_best_of_several(tmp_path: Path) -> None:
    def of(columns: dict[int, list[float]], *expected: float, lowest: bool = False) -> str:
        return judged(sweep(tmp_path, columns), lambda m: [all_of([best(curve(m), expected, lowest)])]).verdict

    assert of(HUMP, 2) == "holds"
    assert of(FALLING, 2) == "fails"
    assert of(HUMP, 1, lowest=True) == "undecided"
    assert of({2: HUMP[2]}, 2) == "undecided"  # nothing to compare with
    assert of(HUMP, 4) == "undecided"  # which is not there


def test_the_best_is_chosen_on_other_seeds_than_it_is_tested_on() -> None:
    """A curve that rises and stays: "then falls" is found less than half as often as by the highest mean."""
    random = np.random.default_rng(0)
    held = naive = 0
    for _ in range(1000):
        cells = [sample(*random.normal(size=5)) for _ in range(15)]
        peak = max(cells[1:-1], key=lambda cell: sum(cell.by_seed.values()))
        every = dict(enumerate(cells))
        (_, last) = best(every, range(1, 14)).effects  # above the first cell, and above the last
        held += last.verdict == "holds"
        naive += difference(peak, cells[-1]).verdict == "holds"
    assert naive > 80
    assert held < naive / 2


def sample(*numbers: float) -> Values:
    return Values(dict(enumerate(map(float, numbers))), "top1")


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
        p_values = [difference(sample(*cell), 0.0).p_values for cell in cells]
        for quantifier in QUANTIFIERS:
            wrong[quantifier] += decided(*combined(p_values, quantifier)) != "undecided"
    chance = binom(trials, 0.05).ppf(0.999)  # of this simulation
    assert max(wrong.values()) <= chance, wrong
    assert bindings > 1 or min(wrong.values()) > binom(trials, 0.05).ppf(0.001)  # and no less: nothing is given away


def test_p_values_decide_as_the_interval_does() -> None:
    random = np.random.default_rng(1)
    for limits in ({"at_least": 0.5}, {"at_least": -1.0, "at_most": 1.0}):
        for _ in range(300):
            effect = difference(sample(*random.normal(0.8, 0.5, size=5)), 0.0, **limits)
            inside = effect.at_least < effect.low and effect.high < effect.at_most
            outside = effect.high < effect.at_least or effect.low > effect.at_most
            assert effect.verdict == ("holds" if inside else "fails" if outside else "undecided")


def test_an_undecided_claim_says_how_many_seeds_would_decide_it(tmp_path: Path) -> None:
    """By hand: differences 0.5, 1.5, −0.5 have mean 0.5, std 1; t(n − 1) / √n falls below 0.5 at n = 18."""
    rows = metrics(tmp_path, values("a", [70.0, 70.0, 70.0]), values("b", [70.5, 71.5, 69.5], **SMOOTH))
    found = table([judged(rows, higher)], "demo").loc[0]
    assert (found["verdict"], found["seeds_needed"], found["comparisons"]) == ("undecided", 18, 1)
    rows = metrics(tmp_path, values("a", [70.0, 71.0, 72.0]), values("b", [75.0, 76.1, 77.0], **SMOOTH))
    assert pd.isna(table([judged(rows, higher)], "demo").loc[0, "seeds_needed"])


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
        assert judged(rows, higher).verdict == verdict
        other = judged(rows, lambda m: [all_of([above(hard(m), smooth(m))])])
        assert other.verdict == verdict.replace("holds", "fails")


def test_seeds_that_agree_to_the_last_digit_decide_nothing(tmp_path: Path) -> None:
    rows = metrics(tmp_path, values("a", [1.0, 1.0, 1.0]), values("b", [2.0, 2.0, 2.0], **SMOOTH))
    one = judged(rows, higher)
    assert one.verdict == "undecided"
    assert table([one], "demo").loc[0, ["effect", "n"]].tolist() == [1.0, 3]


def test_an_interval_is_no_narrower_than_one_example(tmp_path: Path) -> None:
    """Of 50 images one is 2 points, more than three seeds that differ by 1 to 1.2 points can tell."""

    def of(count: float | None, low: list[float], high: list[float]) -> Judged:
        rows = [values("a", low), values("b", high, **SMOOTH)]
        if count is not None:
            rows += [values(run, [count] * len(low), metric="num_examples") for run in "ab"]
        return judged(metrics(tmp_path, *rows), higher)

    for count, verdict in ((None, "holds"), (10_000, "holds"), (50, "undecided")):
        one = of(count, [70.0, 71.0, 72.0], [71.0, 72.1, 73.2])
        assert one.verdict == verdict
    effect = one.outcomes[0].effect
    assert effect is not None
    assert (effect.low, effect.mean, effect.high) == pytest.approx((-0.9, 1.1, 3.1))
    # Seeds that agree are known as well as one example is.
    assert of(50, [70.0] * 3, [76.0] * 3).verdict == "holds"
    assert of(50, [70.0] * 3, [72.0] * 3).verdict == "undecided"
    assert of(50, [70.0] * 3, [66.0] * 3).verdict == "fails"
    assert of(50, [70.0] * 2, [76.0] * 2).verdict == "undecided"


def test_more_seeds_do_not_help_below_one_example() -> None:
    apart = replace(sample(0.3, 0.4, 0.2), resolution=0.53)
    assert difference(apart, 0.0).seeds_needed is None
    assert difference(replace(apart, resolution=0.0), 0.0, at_least=0.2).seeds_needed is not None


def test_what_is_no_share_is_not_known_by_examples() -> None:
    """Correlations, slopes and ratios have other units; of the largest value one example is what it is of each."""
    values = [replace(sample(70.0 + n, 71.0, 72.0 - n), resolution=2.0) for n in range(3)]
    assert correlated(values, values).resolution == slope([1, 2, 3], values).resolution == 0
    assert (values[0] / values[1]).resolution == 0
    assert highest(values).resolution == highest(values[:1]).resolution == (values[0] - values[1]).resolution == 2
    assert (0.5 * values[0]).resolution == 1


def test_a_measured_network_is_compared_with_every_seed_of_others() -> None:
    fixed = replace(sample(70.0), runs=frozenset({"imagenet.resnet50.hard-measured-v1.0191ad96"}))
    trained = replace(sample(71.0, 71.5, 72.0), runs=frozenset({"b"}))
    assert [*(trained - fixed).by_seed.values()] == [1.0, 1.5, 2.0]
    assert [*(fixed - trained).by_seed.values()] == [-1.0, -1.5, -2.0]


def test_constant_sides_without_a_common_seed_are_decided_by_their_number() -> None:
    def of(n: int) -> str:
        left, right = (Values({first + i: value for i in range(n)}, "nll") for first, value in ((0, 1.0), (50, 2.0)))
        return difference(right, left).verdict

    assert (of(3), of(6)) == ("undecided", "holds")


def test_the_best_without_a_common_seed_is_missing() -> None:
    cells = {n: Values({n: 1.0}, "top1") for n in range(3)}
    assert best(cells, [0, 1]).missing


def test_a_share_that_is_one_for_all_seeds_is_decided(tmp_path: Path) -> None:
    def nearly_always(m: Numbers) -> Tests:
        yield all_of([above(m("table2", "overconfident_share"), 0.9)])

    rows = [values("a", [1.0] * 5, metric="overconfident_share"), values("a", [500.0] * 5, metric="num_examples")]
    assert judged(metrics(tmp_path, *rows), nearly_always).verdict == "holds"


def test_a_network_that_is_only_measured_is_decided_by_one_value(tmp_path: Path) -> None:
    def consistent(m: Numbers) -> Tests:
        yield all_of([within(m("table2", "consistency_similar"), 0.85, 0.02)])

    for run, value, verdict in (
        ("imagenet.resnet50.hard-measured-resnet50-v1.0191ad96", 0.855, "holds"),
        ("imagenet.resnet50.hard-measured-resnet50-v1.0191ad96", 0.95, "fails"),
        ("imagenet.resnet50.hard.0191ad96", 0.855, "undecided"),
    ):
        for seeds in (1, 3):
            rows = metrics(tmp_path, values(run, [value] * seeds, metric="consistency_similar"))
            assert judged(rows, consistent).verdict == verdict


def test_a_metric_without_a_unit_is_no_effect(tmp_path: Path) -> None:
    with refused(SpecError, "colours", "UNITS"):
        judged(metrics(tmp_path), lambda m: [all_of([above(m("table2", "colours"), 0.0)])])


def test_a_verdict_says_what_it_ran_on_and_shows_both_numbers(tmp_path: Path) -> None:
    named = {"dataset": "glyphs", "student": "mlp", "stands_for": "dataset=cifar100;student=resnet56"}
    rows = [values("a", [70.0, 71.0, 72.0], **named), values("b", [75.0, 76.1, 77.0], **named, **SMOOTH)]
    (found,) = judge(metrics(tmp_path, *rows), "demo", "metrics.csv", [c for c in all_claims() if c.id == "M01"])
    row = table([found], "demo").loc[0]
    assert (row["ran_on"], row["basis"]) == ("glyphs: mlp", "experiment")
    assert beside(found.deciding()) == "76.03 and 71, in print 72.7 and 72.1"
    few = [values("a", [70.0], **named), values("b", [75.0], **named, **SMOOTH)]
    (found,) = judge(metrics(tmp_path, *few), "demo", "metrics.csv", [c for c in all_claims() if c.id == "M01"])
    assert found.basis == "few seeds"
    assert grouped(table([found], "demo")) == "1 undecided of fewer than three seeds"


def test_terms_without_a_common_seed_are_missing(tmp_path: Path) -> None:
    rows = metrics(tmp_path, values("a", [70.0, 71.0, 72.0]), values("b", [75.0, 76.0, 77.0], first_seed=5, **SMOOTH))
    one = judged(rows, lambda m: [all_of([above(smooth(m) - hard(m), 0.0)])])
    assert "a seed that both sides of top1 have" in one.outcomes[0].missing


def test_a_constant_of_the_papers_data_says_nothing_of_what_stands_for_them(tmp_path: Path) -> None:
    def many(m: Numbers) -> Tests:
        yield all_of([above(hard(m), 900.0, own_data=True)])

    own = metrics(tmp_path, values("a", [950.0, 951.0, 960.0]))
    assert judged(own, many).verdict == "holds"
    other = metrics(tmp_path, values("a", [9.0, 9.5, 9.8], stands_for="dataset=cifar100;student=resnet56"))
    one = judged(other, many)
    assert one.verdict == "undecided"
    assert "(in place of dataset=cifar100)" in one.outcomes[0].missing


def test_an_effect_has_the_unit_of_its_own_metric(tmp_path: Path) -> None:
    def both(m: Numbers) -> Tests:
        yield all_of([above(hard(m), 0.0) & above(m("table2", "nll", dataset="cifar100"), 1.0)])

    rows = metrics(tmp_path, values("a", [70.0, 71.0, 72.0]), values("a", [0.9, 1.1, 1.0], metric="nll"))
    decides = judged(rows, both).deciding()
    assert decides is not None
    assert decides.effect is not None
    assert decides.effect.unit == "nats"


def test_it_is_said_when_one_network_stands_behind_all_seeds(tmp_path: Path) -> None:
    names = ["glyphs.mlp.kd-T1-cnn-hard-s0.a686efce", "glyphs.mlp.kd-T1-cnn-ls0.1-s0.0191ad96"]
    rows = metrics(tmp_path, values(names[0], [70.0, 71.0, 72.0]), values(names[1], [75.0, 76.1, 77.0], **SMOOTH))
    said = table([judged(rows, higher)], "demo")["given"].tolist()
    assert said == ["seed 0 of the networks that teach or begin them"]
    rows = metrics(tmp_path, values("glyphs.mlp.hard.a686efce", [70.0, 71.0, 72.0]), values("b", [75.0], **SMOOTH))
    assert table([judged(rows, higher)], "demo")["given"].tolist() == [""]


def test_rank_correlation_and_operations_over_x(tmp_path: Path) -> None:
    def along(direction: int) -> Function:
        return lambda m: [all_of([rank_correlated([*curve(m)], [*curve(m).values()], direction)])]

    # That three seeds put three values into one order can be an accident.
    assert judged(sweep(tmp_path, FALLING), along(-1)).verdict == "undecided"
    long = sweep(tmp_path, {t: [80.0 - t, 81.1 - t, 82.3 - t] for t in range(1, 7)})
    assert judged(long, along(-1)).verdict == "holds"
    assert judged(long, along(1)).verdict == "fails"

    hump = sweep(tmp_path, HUMP)
    operations: dict[float, Callable[[list[Values]], Values]] = {
        76.03: lambda c: highest(c),
        2.0: lambda c: lowest_at([1, 2, 3], [-1.0 * value for value in c]),
        73.61: lambda c: at(Values({0: 1.2, 1: 1.2, 2: 1.2}), [1, 2, 3], c),  # 73.067 + 0.2 · 2.967
        73.067: lambda c: at(Values({0: 0.5, 1: 0.5, 2: 0.5}), [1, 2, 3], c),
        0.0: lambda c: slope([1, 2, 3], c),
        -2.9667: lambda c: c[0] - c[1],
        2.9667: lambda c: abs(c[0] - c[1]),
        0.9610: lambda c: c[0] / c[1],
        36.53: lambda c: 0.5 * c[0],
    }
    for known, operation in operations.items():

        def tests(m: Numbers, operation: Callable[[list[Values]], Values] = operation) -> Tests:
            yield all_of([above(operation([student(m, T) for T in (1, 2, 3)]), 0.0)])

        one = judged(hump, tests)
        effect = one.outcomes[0].effect
        assert effect is not None
        assert effect.mean == pytest.approx(known, rel=1e-3, abs=0.07)


@pytest.mark.parametrize(
    ("quantifier", "better", "verdict"),
    [(all_of, 3, "holds"), (all_of, 2, "fails"), (most_of, 2, "holds"), (most_of, 1, "fails"), (any_of, 1, "holds"),
     (any_of, 0, "fails")],
)  # fmt: skip
def test_quantifiers(tmp_path: Path, quantifier: Callable[..., Quantified], better: int, verdict: str) -> None:
    rows = []
    for n, name in enumerate(("cifar10", "cifar100", "imagenet")):
        shift = 2.0 if n < better else -2.0
        rows += [values(f"a{n}", [70.0, 71.0, 72.0], dataset=name)]
        rows += [values(f"b{n}", [70.1 + shift, 71.0 + shift, 72.0 + shift], dataset=name, **SMOOTH)]
    tests = on_each("cifar10", "cifar100", "imagenet", quantifier=quantifier)
    assert judged(metrics(tmp_path, *rows), tests).verdict == verdict


def test_the_test_split_counts_and_validation_where_there_is_none(tmp_path: Path) -> None:
    own = {"test": ([70.0, 71.0, 72.0], [69.0, 70.1, 71.0]), "val": ([70.0, 71.0, 72.0], [75.0, 76.0, 77.1])}
    rows = {
        split: [values("a", hard, split=split), values("b", smooth, split=split, **SMOOTH)]
        for split, (hard, smooth) in own.items()
    }
    assert judged(metrics(tmp_path, *rows["test"], *rows["val"]), higher).verdict == "fails"
    assert judged(metrics(tmp_path, *rows["val"]), higher).verdict == "holds"


def test_the_checkpoint_of_best_validation_has_a_verdict_of_its_own(tmp_path: Path) -> None:
    last = [values("a", [70.0, 71.0, 72.0]), values("b", [69.0, 70.1, 71.0], **SMOOTH)]
    best = [
        values("a", [70.0, 71.0, 72.0], checkpoint="best"),
        values("b", [72.0, 73.1, 74.0], checkpoint="best", **SMOOTH),
    ]
    assert judged(metrics(tmp_path, *last), higher).verdict_other == ""
    one = judged(metrics(tmp_path, *last, *best), higher)
    assert (one.verdict, one.verdict_other) == ("fails", "holds")


@pytest.mark.parametrize(("paper", "verdict"), [("muller2019", "fails"), ("zhang2020", "holds")])
def test_judged_is_the_checkpoint_that_the_paper_reports(tmp_path: Path, paper: str, verdict: str) -> None:
    one = {"paper": paper, "artifact": "fig1"}
    rows = [
        values(run, [mean, mean + 1.0, mean + (2.1 if columns else 2.0)], checkpoint=checkpoint, **one, **columns)
        for checkpoint, means in (("last", (71.0, 70.0)), ("best", (70.0, 72.0)))
        for run, mean, columns in zip("ab", means, ({}, SMOOTH), strict=True)
    ]

    def tests(m: Numbers) -> Tests:
        yield all_of([above(m("fig1", "top1", student_alpha=0.1), m("fig1", "top1", student_alpha=0.0))])

    found = judged(metrics(tmp_path, *rows), tests, paper)
    other = {"holds": "fails", "fails": "holds"}[verdict]
    assert (found.verdict, found.verdict_other) == (verdict, other)


def test_what_stands_for_the_papers_names_counts_and_is_said(tmp_path: Path) -> None:
    named = {"dataset": "glyphs", "stands_for": "dataset=cifar100"}
    rows = metrics(
        tmp_path, values("a", [70.0, 71.0, 72.0], **named), values("b", [75.0, 76.1, 77.0], **named, **SMOOTH)
    )
    one = judged(rows, higher)
    assert one.verdict == "holds"
    assert table([one], "demo")["stands_for"].tolist() == ["dataset=cifar100"]


# ------------------------------------------------------------ bad input


def test_a_claim_that_names_a_missing_column(tmp_path: Path) -> None:
    rows = metrics(tmp_path, values("a", [70.0]))
    with refused(SpecError, "X01", "colour"):
        judged(rows, lambda m: [all_of([above(top1(m, colour="red"), 0.0)])])


def test_a_claim_that_selects_several_runs(tmp_path: Path) -> None:
    rows = metrics(tmp_path, values("a", [70.0]), values("b", [71.0], **SMOOTH))
    with refused(SpecError, "X01", "table2", "a, b"):
        judged(rows, lambda m: [all_of([above(top1(m), 0.0)])])


def test_a_claim_is_there_once_and_says_what_it_is() -> None:
    for identifier, kind in (("M01", "result"), ("X02", "guess")):
        with pytest.raises(ValueError, match=identifier):
            claim(identifier, "Sec. 1", "table2", kind=kind)(higher)
    with pytest.raises(ValueError, match="X02"):
        claim("X02", "Sec. 1", "table2")(lambda m: higher(m))


def test_metrics_of_another_scale(tmp_path: Path) -> None:
    rows = metrics(tmp_path, values("a", [70.0], scale="paper"))
    with refused(DataError, "metrics.csv", "paper", "demo"):
        judged(rows, higher)


def test_rows_that_are_there_twice(tmp_path: Path) -> None:
    rows = metrics(tmp_path, values("a", [70.0]), values("a", [71.0]))
    with refused(DataError, "metrics.csv", "top1", "seed 0", "muller2019.table2"):
        judged(rows, higher)


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


def test_every_claim_is_of_artifacts_that_exist() -> None:
    claims = all_claims()
    assert Counter(c.paper for c in claims) == {
        "muller2019": 33,
        "chandrasegaran2022": 31,
        "yuan2020": 13,
        "zhang2020": 23,
    }
    known = {row["id"] for row in artifacts()} | {"zhang2020.fig3_variants"}
    assert not [name for c in claims for name in c.artifacts if name not in known]


def test_the_printed_numbers_are_judged_by_the_same_tests(tmp_path: Path) -> None:
    rows = table(judge(metrics(tmp_path), "demo", "metrics.csv"), "demo")
    assert rows["in_print"].value_counts().to_dict() == {"not checkable": 55, "holds": 38, "partly": 7}
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

    def tests(m: Numbers) -> Tests:
        accuracy, nll, ece = ([m("table2", f"{name}_T{t}") for t in T] for name in ("top1", "nll", "ece"))
        yield all_of([above(correlated(accuracy, nll), correlated(accuracy, ece))])

    effect = judged(metrics(tmp_path, *rows), tests).outcomes[0].effect
    assert effect is not None
    assert effect.mean == pytest.approx(1 - np.corrcoef(np.minimum(T, 4) + 0.001 * T, np.exp(T) + 0.001 * T)[0, 1])


@pytest.mark.parametrize(("above_collapsed", "verdict"), [(0.0, "undecided"), (0.1, "holds"), (0.5, "fails")])
def test_information_is_compared_with_that_of_a_collapsed_network(
    tmp_path: Path, above_collapsed: float, verdict: str
) -> None:
    """Two clusters without any information lie above log 2 = 0.693 by the reused draws, and are no support (M-MI)."""
    rows, own = [], {"artifact": "fig6", "dataset": "cifar10", "split": "train"}
    for draws, limit in (("reused", 0.805), ("fresh", 0.627)):
        for alpha in ("0.0", "0.1"):
            found = {
                "": [*(limit + above_collapsed + 0.1 * SEEDS)],
                "_collapsed": [limit] * 3,
                "_step400": [1.0, 1.1, 1.2],
            }
            for end, numbers in found.items():
                metric = f"mutual_information_{draws}{end}"
                rows.append(values(f"net{alpha}", numbers, metric=metric, student_alpha=alpha, **own))
    assert verdict_of(tmp_path, "M22", *rows) == verdict


@pytest.mark.parametrize(("better", "verdict"), [(0.2, "holds"), (-0.2, "fails")])
def test_students_are_compared_with_baselines_of_their_gamma(tmp_path: Path, better: float, verdict: str) -> None:
    """A baseline that falls with α: at γ = 0.3 it is 84, at every α but 0 worse than at γ."""
    own = {"artifact": "fig5", "dataset": "cifar10", "student": "alexnet"}
    noise = [np.roll(SEEDS, n) for n in range(3)]
    rows = [
        values(f"alone{alpha}", [*(90 - 20 * alpha + noise[0])], student_alpha=str(alpha), **own)
        for alpha in (0.0, 0.6)
    ]
    own |= {"teacher": "resnet56", "teacher_alpha": "0.0", "student_alpha": "", "kd_temperature": "2", "method": "kd"}
    rows.append(values("taught", [*(84 + better + noise[0] + 0.1 * noise[1])], **own))
    rows.append(values("taught", [0.3] * 3, metric="gamma", split="train", **own))
    assert verdict_of(tmp_path, "M18", *rows) == verdict


def test_without_runs_only_formulas_are_decided(tmp_path: Path) -> None:
    rows = table(judge(metrics(tmp_path), "demo", "metrics.csv"), "demo")
    decided = rows[rows["verdict"] != "undecided"]
    assert decided[["id", "verdict", "n"]].values.tolist() == [
        [name, "holds", 0] for name in ("M29", "Y09", "Z04", "Z20", "Z21")
    ]
    assert (rows[rows["verdict"] == "undecided"]["missing"] != "").all()


@pytest.mark.parametrize("name", IDENTITIES)
def test_identities_hold(name: str) -> None:
    left, right = IDENTITIES[name]()
    np.testing.assert_allclose(left, right, atol=1e-8)


def test_the_command_writes_a_row_for_each_and_prints_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout(tmp_path / "results" / "demo")
    write_rows(layout.joined_metrics, values("a", [70.0, 71.0, 72.0]) + values("b", [75.0, 76.1, 77.0], **SMOOTH))
    monkeypatch.chdir(tmp_path)
    assert main(["claims", "--scale", "demo"]) == 0
    text = capsys.readouterr().out
    said = "1 hold by experiment, 5 hold by algebra, 94 undecided without runs"
    assert text.startswith(f"scale demo: {said}; in print 38 hold, 7 partly, 55 not checkable")
    assert "M01  holds      +5.03 (4.89 to 5.18) points, n = 3" in text
    written = pd.read_csv(layout.claims)
    assert len(written) == 100
    assert main(["claims", "--scale", "demo", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [c["id"] for c in listed] == written["id"].tolist()
    assert listed[0]["bindings"][0]["effect"]["n"] == FEWEST
    assert judge_scale(layout, "demo")[0].verdict == "holds"
    assert list(pd.read_csv(layout.joined_metrics).columns) == list(COLUMNS)


# ------------------------------------------------------------ claims and the plan


@pytest.fixture(scope="module")
def plan() -> Plan:
    """At the scale of the papers, variants too."""
    return load_plan({"scale": "paper", "variants": True}, Path(__file__).parents[1])


def test_every_number_that_a_claim_selects_is_planned_at_the_scale_of_the_papers(plan: Plan) -> None:
    check_claims(plan)
    selected = {
        f"{one.paper}.{s['artifact']}"
        for one in all_claims()
        for test in one.tests(Numbers(one.paper))
        for c in test.comparisons
        for value in c.values
        for s in value.selected
    }
    assert selected <= {name for name, artifact in plan.artifacts.items() if artifact.members}
    assert {name for one in all_claims() if one.kind != "identity" for name in one.artifacts} >= selected


def test_a_claim_that_names_a_run_which_no_grid_has(plan: Plan) -> None:
    table3 = plan.artifacts["muller2019.table3"]
    fewer = replace(table3, members=tuple(m for m in table3.members if m.run.task == "image"))
    with refused(SpecError, "claim M05", "table3", "dataset wmt_en_de"):
        check_claims(replace(plan, artifacts={**plan.artifacts, "muller2019.table3": fewer}))
