"""What becomes of the papers' claims: holds, fails or undecided, on our runs and on the printed numbers.

An effect is positive in the direction of the claim, per seed where runs are paired by it. A single comparison holds if
its 95 % interval lies where the claim puts it, and fails if it lies wholly elsewhere. Several comparisons (data sets,
networks, temperatures, …) are corrected for their number (`effects.combined`), so that with no effect at all a claim is
decided in at most 5 % of cases. Everything else is undecided: few seeds, too small an effect, missing runs.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd

from softlabels.files import atomic
from softlabels.layout import Layout
from softlabels.metrics.rows import read_rows
from softlabels.papers.claims import Claim, all_claims
from softlabels.papers.effects import FEWEST, Effect, combined, corrected, decided
from softlabels.papers.names import reported
from softlabels.papers.numbers import Numbers, by_artifact, ours, printed
from softlabels.papers.predicates import OTHER_DATA, Comparison, Quantified

COLUMNS = (
    "id", "paper", "kind", "statement", "verdict", "basis", "verdict_other", "effect", "low", "high", "unit", "n",
    "comparisons", "seeds_needed", "holds", "fails", "undecided", "in_print", "missing", "artifacts", "runs", "ran_on",
    "given", "stands_for", "scale",
)  # fmt: skip
"""Of `claims.csv`. basis: what the verdict comes from (`BASES`); effect, low, high: of the binding that decides, or is
nearest to deciding; comparisons: effects behind the verdict, which is corrected for their number; seeds_needed: of an
undecided claim, how many seeds would decide this effect if mean and spread stay; holds, fails, undecided: how many
bindings, corrected where one of them decides the claim; ran_on: our data and networks; verdict_other: at the other
checkpoint than the paper reports (`papers.names.REPORTED`), last or best, where all numbers are there for it; given:
the one seed of networks that teach or begin all the runs, so that the interval is of students alone."""
BASES = {
    "experiment": "by experiment",
    "algebra": "by algebra",
    "interval": "by intervals that contain a limit, after correction",
    "seeds agree": "of too few seeds that agree",
    "few seeds": "of fewer than three seeds",
    "other data": "as a number of the paper's data is in them",
    "no runs": "without runs",
}
"""What a verdict comes from, in words that follow it."""


@dataclass
class Outcome:
    """What became of one comparison of a test."""

    binding: dict[str, str]
    """In what it differs from the others of its test."""
    quantifier: str
    verdict: str
    effect: Effect | None = None
    missing: str = ""
    p_values: tuple[float, float] = (1.0, 1.0)
    """That it holds, that it fails (`effects.combined`)."""
    comparisons: int = 0
    """Effects that it has."""
    runs: list[str] = field(default_factory=list)
    stands_for: list[str] = field(default_factory=list)
    ran_on: list[str] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)
    """Means over seeds of what is compared, in the order of the statement; empty where a number is missing."""
    printed: list[float] = field(default_factory=list)
    """The same of the numbers that the paper prints; empty where it prints none."""


@dataclass
class Judged:
    """A claim with what became of each binding of its tests, at the checkpoint that is reported of its paper."""

    claim: Claim
    verdict: str
    verdict_other: str
    in_print: str
    outcomes: list[Outcome]

    @property
    def basis(self) -> str:
        """One of `BASES`."""
        if self.claim.kind == "identity":
            return "algebra"
        if self.verdict != "undecided":
            return "experiment"
        if missing := [o.missing for o in self.outcomes if o.missing]:
            return "other data" if all(text.startswith(OTHER_DATA) for text in missing) else "no runs"
        undecided = [o.effect for o in self.outcomes if o.effect is not None and o.verdict == "undecided"]
        if any(effect.n < FEWEST for effect in undecided):
            return "few seeds"
        return "seeds agree" if any(effect.seeds_agree for effect in undecided) else "interval"

    def deciding(self) -> Outcome | None:
        """The outcome that decides, or is nearest to deciding: the weakest of those with the claim's verdict; of
        `any` the strongest."""
        told = [o for o in self.outcomes if o.effect is not None]
        own = [o for o in told if o.verdict == self.verdict] or told
        every = {o.quantifier for o in self.outcomes}
        return (max if every == {"any"} else min)(own, key=_slack, default=None)


def judge_scale(layout: Layout, scale: str) -> list[Judged]:
    """Every claim on `metrics.csv` of a scale; writes `claims.csv` beside it.

    Raises:
        SoftlabelsError: there is no `metrics.csv`, or it is none.
        SpecError, DataError: as `judge`.
    """
    path = layout.joined_metrics
    judged = judge(read_rows(path), scale, str(path))
    with atomic(layout.claims) as part:
        table(judged, scale).to_csv(part, index=False)
    return judged


def judge(metrics: pd.DataFrame, scale: str, path: str, claims: Sequence[Claim] | None = None) -> list[Judged]:
    """Every claim on the rows of `metrics.csv`, read from `path`.

    Raises:
        SpecError: a claim names a column that does not exist, or selects several runs.
        DataError: rows of another scale, or one that is there twice.
    """
    rows = {str(paper): by_artifact(own) for paper, own in ours(metrics, scale, path).groupby("paper")}
    found = []
    for claim in all_claims() if claims is None else claims:
        own = rows.get(claim.paper, {})
        outcomes = _outcomes(claim, Numbers(claim.paper, own, reported(claim.paper), claim.id))
        other = "last" if reported(claim.paper) == "best" else "best"
        at_other = _outcomes(claim, Numbers(claim.paper, own, other, claim.id))
        verdict_other = "" if any(o.missing for each in at_other for o in each) else _verdict(at_other)
        listed = [outcome for each in outcomes for outcome in each]
        theirs = _outcomes(claim, Numbers(claim.paper, printed(claim.paper), None, claim.id))
        for each, in_print in zip(outcomes, theirs, strict=True):
            if [o.binding for o in each] == [o.binding for o in in_print]:  # else over values that only one of both has
                for mine, its in zip(each, in_print, strict=True):
                    mine.printed = its.ours
        found.append(Judged(claim, _verdict(outcomes), verdict_other, _in_print(claim, theirs), listed))
    return found


def table(judged: Sequence[Judged], scale: str) -> pd.DataFrame:
    """`claims.csv`: a row for each claim (`COLUMNS`)."""
    rows = []
    for one in judged:
        decides = one.deciding()
        effect = decides.effect if decides else None
        count = pd.Series([o.verdict for o in one.outcomes]).value_counts()
        numbers = {name: getattr(effect, name, math.nan) for name in ("low", "high")}
        rows.append(
            {
                **{name: getattr(one.claim, name) for name in ("id", "paper", "kind", "statement")},
                "verdict": one.verdict,
                "basis": one.basis,
                "verdict_other": one.verdict_other,
                "effect": effect.mean if effect else math.nan,
                **{name: value if math.isfinite(value) else math.nan for name, value in numbers.items()},
                "unit": effect.unit if effect else "",
                "n": effect.n if effect else 0,
                "comparisons": sum(o.comparisons for o in one.outcomes),
                "seeds_needed": effect.seeds_needed if effect and one.verdict == "undecided" else None,
                **{name: int(count.get(name, 0)) for name in ("holds", "fails", "undecided")},
                "in_print": one.in_print,
                "missing": _shortened(list(dict.fromkeys(o.missing for o in one.outcomes if o.missing))),
                "artifacts": ";".join(one.claim.artifacts),
                "runs": ";".join(runs := _every(one.outcomes, "runs")),
                "given": given(runs),
                **{name: ";".join(_every(one.outcomes, name)) for name in ("ran_on", "stands_for")},
                "scale": scale,
            }
        )
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"seeds_needed": "Int64"})


def given(runs: Iterable[str]) -> str:
    """`seed 0 of the networks that teach or begin them`, of runs whose names say that one seed of another network
    stands behind every seed of theirs (`grid.identity`); "" where there is none."""
    seeds = sorted({seed for run in runs for seed in re.findall(r"-s(\d+)(?=[.-])", run)}, key=int)
    return f"seed {', '.join(seeds)} of the networks that teach or begin them" if seeds else ""


def render(judged: Sequence[Judged], scale: str) -> str:
    """For the terminal: counts, then a line for each claim, by paper."""
    rows = table(judged, scale)
    lines = [f"scale {scale}: {grouped(rows)}; in print {counts(rows['in_print'])}"]
    for paper, own in rows.groupby("paper", sort=False):
        lines += ["", f"{paper}: {grouped(own)}"]
        for one in (judged[n] for n in own.index):
            lines += [f"  {one.claim.id}  {one.verdict:<9}  {said(one.deciding()):<42}  {one.claim.statement}"]
    return "\n".join(lines)


def grouped(rows: pd.DataFrame) -> str:
    """`3 hold and 1 fails by experiment, 2 hold by algebra, 5 undecided without runs`, of rows of `table`."""
    found = (
        (counts(own["verdict"]).replace(", ", " and "), words)
        for basis, words in BASES.items()
        if len(own := rows[rows["basis"] == basis])
    )
    return ", ".join(f"{count} {words}" for count, words in found)


WORDS = {"holds": "hold", "fails": "fail"} | {word: word for word in ("partly", "undecided", "not checkable")}


def counts(verdicts: Iterable[str]) -> str:
    """`5 hold, 87 undecided`, in the order of `WORDS`."""
    found = Counter(verdicts)
    return ", ".join(f"{found[verdict]} {word}" for verdict, word in WORDS.items() if found[verdict])


def beside(outcome: Outcome | None) -> str:
    """`76.1 and 75.8, in print 76.0 and 75.9`: what an outcome compares; "" where there are no two numbers."""
    if outcome is None or len(outcome.ours) != 2 or len(outcome.printed) not in (0, 2):
        return ""
    ours, printed = (" and ".join(f"{x:.4g}" for x in own) for own in (outcome.ours, outcome.printed))
    return f"{ours}, in print {printed or 'none'}".replace("-", "−")


def said(outcome: Outcome | None) -> str:
    """The effect of an outcome with its interval, or why there is none."""
    if outcome is None or outcome.effect is None:
        return "runs missing"
    effect = outcome.effect
    if effect.n == 0:
        return "closed form"
    within = f" ({effect.low:.3g} to {effect.high:.3g})" if math.isfinite(effect.low) else ""
    return f"{effect.mean:+.3g}{within} {effect.unit}, n = {effect.n}".replace("-", "−").replace(" ,", ",")


def as_json(judged: Sequence[Judged], scale: str) -> list[dict[str, Any]]:
    """The rows of `table` with source, note and every binding."""
    rows = table(judged, scale).astype(object).where(lambda t: t.notna(), None).to_dict("records")
    more = [
        {
            "source": one.claim.source,
            "note": one.claim.note,
            "bindings": [asdict(o) | {"effect": _finite(o.effect)} for o in one.outcomes],
        }
        for one in judged
    ]
    return [{str(k): v for k, v in row.items()} | extra for row, extra in zip(rows, more, strict=True)]


def _finite(effect: Effect | None) -> dict[str, float | int | str | None] | None:
    if effect is None:
        return None
    return {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in asdict(effect).items()}


def _slack(outcome: Outcome) -> float:
    assert outcome.effect is not None
    return outcome.effect.slack


def _shortened(missing: list[str]) -> str:
    more = f"; and {len(missing) - 3} more" if len(missing) > 3 else ""
    return "; ".join(missing[:3]) + more


# ------------------------------------------------------------ quantifiers


def _outcomes(claim: Claim, numbers: Numbers) -> list[list[Outcome]]:
    """What becomes of each comparison of each test."""
    return [_of_test(test) for test in claim.tests(numbers)]


def _of_test(test: Quantified) -> list[Outcome]:
    found = [_outcome(one, name, test.quantifier) for one, name in zip(test.comparisons, test.names(), strict=True)]
    there = [o for o in found if not o.missing]
    holds, fails = ([o.p_values[side] for o in there] for side in (0, 1))
    # The side on which one comparison decides the claim.
    if test.quantifier == "any":
        holds = corrected(holds)
    if test.quantifier == "all":
        fails = corrected(fails)
    for outcome, *p_values in zip(there, holds, fails, strict=True):
        outcome.verdict = decided(*p_values)
    return found


def _outcome(one: Comparison, name: dict[str, str], quantifier: str) -> Outcome:
    runs = _every(one.values, "runs")
    if one.missing:
        return Outcome(name, quantifier, "undecided", missing=one.missing, runs=runs)
    p_values = combined([effect.p_values for effect in one.effects], "all")
    verdict = decided(*p_values)
    weakest = min([e for e in one.effects if e.verdict == verdict] or one.effects, key=lambda e: e.slack)
    others, ran_on = (_every(one.values, name) for name in ("stands_for", "ran_on"))
    means = [sum(value.by_seed.values()) / len(value.by_seed) for value in one.values]
    return Outcome(
        name, quantifier, verdict, weakest, "", p_values, len(one.effects), runs, others, ran_on, [*means, *one.limits]
    )


def _every(parts: Iterable[Any], name: str) -> list[str]:
    """What any of the parts has under a name, each once."""
    return sorted({item for part in parts for item in getattr(part, name)})


def _verdict(outcomes: list[list[Outcome]]) -> str:
    """Of the claim: undecided where anything is missing; holds if every test does, fails if one does."""
    if any(o.missing for each in outcomes for o in each):
        return "undecided"
    return decided(*combined([combined([o.p_values for o in each], each[0].quantifier) for each in outcomes], "all"))


def _in_print(claim: Claim, outcomes: list[list[Outcome]]) -> str:
    """The same tests on single printed numbers, as far as they are printed: holds, partly, fails, not checkable."""
    verdicts: list[str] = []
    every: list[bool] = []
    for each in outcomes:
        there = [o for o in each if not o.missing]
        verdicts += [o.verdict for o in there]
        every.append(not there or decided(*combined([o.p_values for o in there], there[0].quantifier)) == "holds")
    if not verdicts or claim.kind == "identity":
        return "not checkable"
    return "holds" if all(every) else "partly" if "holds" in verdicts else "fails"
