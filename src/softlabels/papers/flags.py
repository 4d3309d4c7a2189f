"""What the flags of printed numbers (`published.csv`) mean, for those who read a table of ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

MEANING: Mapping[str, str] = {
    "approximate": "the text rounds it",
    "bound": "a bound, not a measured number",
    "derived": "computed from other printed numbers",
    "spread_definition_unstated": "what its ± is, is not said",
    "split_assumed": "of which split it is, is not said",
    "ece_bins_assumed": "the number of bins is not said",
    "T_is_logit_matching": "T stands for matched logits, its limit",
    "conflict_with": "the paper prints another number for the same networks in the artifact that is named",
    "preferred": "of two such numbers the one that the released results support",
    "readme_confirmed": "the released results say the same",
    "std_duplicated": "its ± is a copy of another cell's: not to be compared",
    "label_error": "the paper's row names another student; these are the numbers of the one named here",
    "n_runs_implied": "its digits fit so many runs, not the three that the paper says",
    "columns_inferred": "what the columns are, is lost in the text at hand and inferred",
    "sign_exception": "an exception that the paper names",
    "T_inferred": "its T is lost in the text at hand and inferred",
    "T_lost": "its T is lost in the text at hand",
    "T_a": "a T between 1 and 2",
    "T_b": "a T between 3 and 64",
    "alpha_lost": "its α is lost in the text at hand, and above 0.1; it stands beside ours",
    "student_inferred": "the student is not named",
    "student_unstated": "the student is not named",
    "aggregate": "a mean over classes",
    "order_suspect": "its column looks reversed; the mean is unaffected",
    "n_train_not_1300": "impossible with the 1300 training images that the paper counts",
    "counterexample": "number of the paper's counterexample",
    "literature_value": "quoted from earlier work",
    "layout_shifted": "its row is shifted in the text at hand, and placed by the released results",
    "delta_mismatch": "the printed gain is not the difference of the printed accuracies",
    "ambiguous": "of which variant it is, is not said",
}
"""Flag, without its number or artifact (`n_runs_implied_2`, `conflict_with:tableD1`) → what it says of a number."""


def stem(flag: str) -> str:
    """A flag without its number or the artifact that it names."""
    whole = flag.partition(":")[0]
    name, _, last = whole.rpartition("_")
    return name if last.isdigit() and whole not in MEANING else whole


def explain(flags: Iterable[str]) -> list[str]:
    """One sentence on the flags that occur in some `;`-separated lists, in the order of `MEANING`; none without any."""
    found = {stem(flag) for listed in flags for flag in str(listed).split(";") if flag}
    said = [f"{name}: {meaning}" for name, meaning in MEANING.items() if name in found]
    return [f"Flags of the printed numbers. {'; '.join(said)}."] if said else []
