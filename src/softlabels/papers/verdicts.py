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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd

from softlabels.files import atomic
from softlabels.layout import Layout
from softlabels.metrics.rows import read_rows
from softlabels.papers.claims import Binding, Claim, all_claims, kind_of, products
from softlabels.papers.effects import Effect, combined, corrected, decided, effects, is_present, present
from softlabels.papers.names import reported
from softlabels.papers.numbers import Missing, Numbers, Trace, by_artifact, ours, printed

COLUMNS = (
    "id", "paper", "kind", "statement", "verdict", "verdict_best", "effect", "low", "high", "unit", "n", "comparisons",
    "seeds_needed", "holds", "fails", "undecided", "in_print", "missing", "artifacts", "runs", "given", "stands_for",
    "scale",
)  # fmt: skip
"""Of `claims.csv`. effect, low, high: of the binding that decides, or is nearest to deciding; comparisons: effects
behind the verdict, which is corrected for their number; seeds_needed: of an undecided claim, how many seeds would
decide this effect if mean and spread stay; holds, fails, undecided: how many bindings, corrected where one of them
decides the claim; verdict_best: at the checkpoint of best validation, where all numbers are there for it; given: the
one seed of networks that teach or begin all the runs, so that the interval is of students alone."""


@dataclass
class Outcome:
    """What became of one binding of one test."""

    binding: dict[str, Any]
    verdict: str
    effect: Effect | None = None
    missing: str = ""
    p_values: tuple[float, float] = (1.0, 1.0)
    """That it holds, that it fails (`effects.combined`)."""
    comparisons: int = 0
    """Effects that its test has."""
    runs: list[str] = field(default_factory=list)
    stands_for: list[str] = field(default_factory=list)


@dataclass
class Judged:
    """A claim with what became of each binding of its tests, at the checkpoint that is reported of its paper."""

    claim: Claim
    verdict: str
    verdict_best: str
    in_print: str
    outcomes: list[Outcome]

    def deciding(self) -> Outcome | None:
        """The outcome that decides, or is nearest to deciding: the weakest of those with the claim's verdict; of
        `any` the strongest."""
        told = [o for o in self.outcomes if o.effect is not None]
        own = [o for o in told if o.verdict == self.verdict] or told
        return (max if self.claim.quantifier == "any" else min)(own, key=_slack, default=None)


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
        best = _outcomes(claim, Numbers(claim.paper, own, "best", claim.id))
        at_best = "" if any(o.missing for _, each in best for o in each) else _verdict(claim, best)
        listed = [outcome for _, each in outcomes for outcome in each]
        verdict = _verdict(claim, outcomes)
        in_print = _in_print(claim, Numbers(claim.paper, printed(claim.paper), None, claim.id))
        found.append(Judged(claim, verdict, at_best, in_print, listed))
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
                "verdict_best": one.verdict_best,
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
                "runs": ";".join(runs := sorted({run for o in one.outcomes for run in o.runs})),
                "given": given(runs),
                "stands_for": ";".join(sorted({s for o in one.outcomes for s in o.stands_for})),
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
    lines = [f"scale {scale}: {counts(rows['verdict'])}; in print {counts(rows['in_print'])}"]
    for paper, own in rows.groupby("paper", sort=False):
        lines += ["", f"{paper}: {counts(own['verdict'])}"]
        for one in (judged[n] for n in own.index):
            lines += [f"  {one.claim.id}  {one.verdict:<9}  {said(one.deciding()):<42}  {one.claim.statement}"]
    return "\n".join(lines)


WORDS = {"holds": "hold", "fails": "fail"} | {word: word for word in ("partly", "undecided", "not checkable")}


def counts(verdicts: Iterable[str]) -> str:
    """`5 hold, 87 undecided`, in the order of `WORDS`."""
    found = Counter(verdicts)
    return ", ".join(f"{found[verdict]} {word}" for verdict, word in WORDS.items() if found[verdict])


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


def _outcomes(claim: Claim, numbers: Numbers) -> list[tuple[Mapping[str, Any], list[Outcome]]]:
    found = [(test, [_outcome(test, b, numbers) for b in _bindings(test, numbers)]) for test in claim.tests]
    for test, each in found:
        there = [o for o in each if not o.missing]
        holds, fails = ([o.p_values[side] for o in there] for side in (0, 1))
        # The side on which one binding decides the claim.
        if _quantifier(test, claim) == "any":
            holds = corrected(holds)
        if _quantifier(test, claim) == "all":
            fails = corrected(fails)
        for outcome, *p_values in zip(there, holds, fails, strict=True):
            outcome.verdict = decided(*p_values)
    return found


def _verdict(claim: Claim, outcomes: list[tuple[Mapping[str, Any], list[Outcome]]]) -> str:
    """Of the claim: undecided where anything is missing; holds if every test does, fails if one does."""
    if any(o.missing for _, each in outcomes for o in each):
        return "undecided"
    p_values = [combined([o.p_values for o in each], _quantifier(test, claim)) for test, each in outcomes]
    return decided(*combined(p_values, "all"))


def _quantifier(test: Mapping[str, Any], claim: Claim) -> str:
    return str(test.get("quantifier", claim.quantifier))


def _in_print(claim: Claim, numbers: Numbers) -> str:
    """The same tests on single printed numbers, as far as they are printed: holds, partly, fails, not checkable."""
    verdicts: list[str] = []
    every: list[bool] = []
    for test, each in _outcomes(claim, numbers):
        there = [o for o in each if not o.missing]
        verdicts += [o.verdict for o in there]
        p_values = [o.p_values for o in there]
        every.append(not there or decided(*combined(p_values, _quantifier(test, claim))) == "holds")
    if not verdicts or "identity" in {kind_of(test) for test in claim.tests}:
        return "not checkable"
    return "holds" if all(every) else "partly" if "holds" in verdicts else "fails"


# ------------------------------------------------------------ tests


def _bindings(test: Mapping[str, Any], numbers: Numbers) -> Iterator[Binding]:
    """Of `over`; a list that is `present` holds the values of the first selection that has it."""
    over = test.get("over", [{}])
    if not isinstance(over, Mapping):
        yield from over
        return
    fixed = {name: values for name, values in over.items() if not is_present(values)}
    for binding in products(fixed):
        there = {n: present(test, n, v, binding, numbers) for n, v in over.items() if is_present(v)}
        yield from ({**binding, **more} for more in products(there)) if all(there.values()) else [binding]


def _outcome(test: Mapping[str, Any], binding: Binding, numbers: Numbers) -> Outcome:
    trace = Trace()
    try:
        found = effects(test, binding, numbers, trace)
    except Missing as missing:
        return Outcome(dict(binding), "undecided", missing=str(missing), runs=sorted(trace.runs))
    p_values = combined([effect.p_values for effect in found], "all")
    verdict = decided(*p_values)
    weakest = min([e for e in found if e.verdict == verdict] or found, key=lambda e: e.slack)
    runs, others = sorted(trace.runs), sorted(trace.stands_for)
    return Outcome(dict(binding), verdict, weakest, "", p_values, len(found), runs, others)
