"""The numbers the papers print (`published.csv`), and ours beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import resources

import pandas as pd

from softlabels.errors import SoftlabelsError
from softlabels.figures import selectors
from softlabels.grid.identity import run_id
from softlabels.grid.plan import Artifact, Member
from softlabels.metrics.rows import key_columns, published_keys
from softlabels.papers.partial_numbers import LOST, elsewhere, has, match_partial

SETTINGS = ["teacher_alpha", "student_alpha", "kd_temperature"]
JOIN = ["dataset", "method", "teacher", "student", *SETTINGS, "split", "metric", "target_class"]
"""What names one number of an artifact: the natural key of the published table."""
ORDER = ["dataset", "method", "teacher", "student", "kd_temperature", "teacher_alpha", "student_alpha"]
"""Of the rows of a comparison, as the papers print them: students by network, T and teacher's α."""
SHOWN = tuple((split, metric) for split in ("val", "test") for metric in ("top1", "next_token_accuracy", "bleu"))
"""What is shown where the paper prints nothing."""
SOLVED = ("T_a", "T_b")
"""Flags of numbers at temperatures that are lost in print: solved for, so results and no settings (Table H.1)."""
COMPARED = (
    "dataset", "method", "student", "student_alpha", "teacher", "teacher_alpha", "kd_temperature", "split",
    "published_split", "metric", "target_class", "variant", "checkpoint", "published", "published_std", "mean", "std",
    "n", "difference", "elsewhere", "printed_elsewhere", "difference_elsewhere", "stands_for", "flags", "run_id",
)  # fmt: skip
READING = (
    "split: ours (val: held out of training, or the corpus' own; test: the official one); published_split: the paper's "
    "name of it, empty where it prints no such number. difference: ours (last checkpoint) minus published; where "
    "stands_for names what a scale replaced, it compares different data or networks and says nothing about the "
    "reproduction. mean_best: the checkpoint of best validation accuracy (translation: likelihood)."
)


def all_published() -> pd.DataFrame:
    """Every printed number of the four papers, one row each; `printed` and `printed_std` keep the digits.

    The entropies of Table H.1 at two temperatures that are lost in print are `entropy_at_T_a` and `entropy_at_T_b`.
    Columns: the key columns of our metrics, std, then unit, note, source, role, target_class, flags and
    row_id. A number that a row does not have is NaN, a name is "".
    """
    with resources.files("softlabels.papers").joinpath("published.csv").open(encoding="utf-8") as handle:
        table = pd.read_csv(handle, dtype=str, keep_default_na=False)
    table = table.assign(printed=table["value"], printed_std=table["std"])
    for name in SOLVED:
        solved = has(table["flags"], name) & (table["metric"] == "entropy") & (table["artifact"] == "tableH1")
        table.loc[solved, "metric"] = f"entropy_at_{name}"
    for column in (*SETTINGS, "kd_beta", "value", "std"):
        table[column] = pd.to_numeric(table[column].replace("", None), errors="coerce")
    return table


def published(paper: str, artifact: str) -> pd.DataFrame:
    """The printed numbers of one artifact, as `published("muller2019", "table2")`; empty where none is printed."""
    table = all_published()
    return table[(table["paper"] == paper) & (table["artifact"] == artifact)].reset_index(drop=True)


def compare(
    metrics: pd.DataFrame,
    artifact: Artifact,
    variants: Mapping[str, str] | None = None,
    otherwise: Iterable[tuple[str, str]] = SHOWN,
) -> pd.DataFrame:
    """Our numbers of an artifact beside the paper's, joined under the paper's names; one row per number and checkpoint.

    Shown are the metrics that the paper prints for the artifact, on the split it prints them for and on the
    official test split; where it prints none, the (split, metric) of `otherwise`. Our split that stands beside the
    paper's `val` is the one of `selectors.reported_on`. `variants` maps another reading of a metric to the printed one
    that it stands beside. A setting that is printed for no number of the artifact is the one that ours have, if it is
    one. A number printed of networks trained on hard or smoothed labels alike (method `ce_or_ls`) stands
    beside each of ours; one whose setting is lost beside ours that no other is of (`match_partial`). A printed
    number that we have nothing for stays with n = 0. A variant (`options.compare_with`) stands beside the numbers of
    the artifact it names, as far as it has their runs. An artifact without networks has the paper's numbers of any
    task.

    Returns:
        Columns dataset, method, student, student_alpha, teacher, teacher_alpha, kd_temperature, split (ours),
        published_split (the paper's name of it, "" where it prints nothing), metric, target_class, variant (what tells
        a run from others listed alike), checkpoint, published, published_std, mean, std (n − 1), n, difference (mean −
        published; none of what stands for the paper's), elsewhere, printed_elsewhere, difference_elsewhere (of a number
        that the paper prints differently in another artifact), stands_for, flags, run_id. By data set, students by
        network, T and teacher's α.

    Raises:
        SoftlabelsError: the paper prints different numbers under one key.
    """
    names = variants or {}
    variant_of = artifact.options.get("compare_with")
    paper = published(artifact.paper, variant_of or artifact.name)
    if artifact.members:
        paper = paper[paper["task"].isin({member.run.task for member in artifact.members})]
    whole = all_published()
    paper = elsewhere(paper, whole[whole["paper"] == artifact.paper], JOIN)
    official = {dict(m.published).get("dataset") for m in artifact.members if selectors.reported_on(m) == "test"}
    shown = {*zip(paper["split"], paper["metric"], strict=True)} or {*otherwise}

    def own_split(dataset: str, split: str) -> str:
        return "test" if split == "val" and dataset in official else split

    def is_shown(dataset: str, split: str, metric: str) -> bool:
        return any(metric == m and split in ("test", own_split(dataset, s)) for s, m in shown)

    ours = metrics.copy()
    keys = published_keys(ours)
    for name in ("dataset", "teacher", "student", "target_class"):
        ours[name] = [key[name] for key in keys]
    printed = ours["metric"].replace(names)
    kept = [is_shown(*row) for row in zip(ours["dataset"], ours["split"], printed, strict=True)]
    ours = ours[pd.Series(kept, index=ours.index, dtype=bool)]
    group = [*JOIN, "checkpoint", "stands_for", "run_id"]
    ours[SETTINGS] = ours[SETTINGS].apply(pd.to_numeric, errors="coerce")
    ours = ours.astype({name: float if name in SETTINGS else str for name in JOIN})  # also where there is no row
    ours = ours.groupby(group, dropna=False, sort=False)["value"].agg(["mean", "std", "count"]).reset_index()
    ours = ours.rename(columns={"count": "n"}).assign(joined=ours["metric"].replace(names))

    paper = paper.rename(columns={"value": "published", "std": "published_std", "metric": "joined"})
    paper = paper.assign(published_split=paper["split"])
    ours_is = [own_split(*row) for row in zip(paper["dataset"], paper["split"], strict=True)]
    paper["split"] = pd.Series(ours_is, index=paper.index, dtype=str)  # also where nothing is printed
    paper = _with_unsaid(_spelled_out(paper, ours), ours)
    key = ["joined" if name == "metric" else name for name in JOIN]
    paper = match_partial(paper, ours, key)
    paper = paper[[*key, "published_split", "published", "published_std", "flags", "elsewhere", "printed_elsewhere"]]
    paper = paper.drop_duplicates([*key, "published_split", "published"])  # some are printed twice
    lost = pd.concat([has(paper["flags"], flag) for flag in LOST], axis=1).any(axis=1)
    if (twice := paper[paper.duplicated([*key, "published_split"]) & ~lost]).size:
        raise SoftlabelsError(
            f"papers/published.csv: {artifact.paper} {variant_of or artifact.name} has several numbers for "
            f"{', '.join(f'{name} {value}' for name, value in twice.iloc[0][key].items() if value == value and value)}"
        )
    both = paper.merge(ours, on=key, how="outer", sort=False)
    both["metric"] = both["metric"].fillna(both["joined"])
    both["n"] = both["n"].fillna(0).astype(int)
    if variant_of:
        both = both[both["n"] > 0].copy()
    both["variant"] = both["run_id"].map(_variants(artifact))
    for name in ("published_split", "variant", "checkpoint", "elsewhere", "stands_for", "run_id", "flags"):
        both[name] = both[name].astype(object).where(both[name].notna(), "")
    ours_alone = both["mean"].where(both["stands_for"] == "")  # a stand-in has no difference to the paper
    both["difference"] = ours_alone - both["published"]
    both["difference_elsewhere"] = ours_alone - both["printed_elsewhere"]
    order = both["checkpoint"].map({"last": 0, "best": 1}).fillna(2)
    both = both.assign(order=order, first=both.groupby(["dataset"], sort=False).ngroup())
    within = [name for name in key if name not in ORDER]
    return both.sort_values(["first", *ORDER, *within, "metric", "order"], ignore_index=True)[list(COMPARED)]


def _variants(artifact: Artifact) -> dict[str, str]:
    """Run id → what tells a run from others that a comparison lists under the same names and settings."""

    def listed(member: Member) -> tuple[str, ...]:
        row = key_columns(artifact, member, "", "")
        return tuple(row[name] for name in (*ORDER, "kd_beta", "stands_for"))

    told = zip(artifact.members, selectors.variants(artifact, listed), strict=True)
    return {run_id(member.run): variant for member, variant in reversed([*told])}


def _spelled_out(paper: pd.DataFrame, ours: pd.DataFrame) -> pd.DataFrame:
    """The printed numbers, those of `ce_or_ls` once for each of our networks on labels that they are of."""
    either = paper["method"] == "ce_or_ls"
    place = ["dataset", "student", "split", "joined"]
    labels = ours[ours["method"].isin(["ce", "ls"])]
    found = labels[[*place, "method", "student_alpha"]].drop_duplicates()
    spelled = paper[either].drop(columns=["method", "student_alpha"]).merge(found, on=place)
    unused = paper[either & ~paper["row_id"].isin(spelled["row_id"])]
    return pd.concat([paper[~either], spelled, unused], ignore_index=True) if len(spelled) else paper


def _with_unsaid(paper: pd.DataFrame, ours: pd.DataFrame) -> pd.DataFrame:
    """The printed numbers, under a setting that the artifact prints for none of them and of which ours have one alone:
    α of teachers that are all trained on hard labels, say."""
    for name in ("teacher_alpha", "kd_temperature"):
        own = ours[["method", name]].dropna()
        if len(paper) and paper[name].isna().all() and own[name].nunique() == 1:
            without = ours["method"][ours[name].isna()]  # of a method that also has runs without it, print says those
            here = paper["method"].isin(set(own["method"]) - set(without))
            paper = paper.assign(**{name: paper[name].where(~here, own[name].iloc[0])})
    return paper


def printed_table(compared: pd.DataFrame) -> pd.DataFrame:
    """A result of `compare` for the reader: the last checkpoint, validation-selected means beside it.

    `mean_best` and `std_best` are of the checkpoint of best validation accuracy, `difference` of the last one. What is
    of another checkpoint alone, as of a teacher that taught at it, says which in the column checkpoint. Columns that
    say nothing in this artifact are left out.
    """
    key = [*JOIN, "stands_for", "run_id"]
    is_best = compared["checkpoint"] == "best"
    others = compared.loc[~is_best, key].drop_duplicates()
    alone = (compared[key].merge(others, on=key, how="left", indicator=True)["_merge"] != "both").to_numpy()
    best = compared[is_best & ~alone][[*key, "mean", "std"]]
    table = compared[~is_best | alone]
    table = table.assign(checkpoint=table["checkpoint"].where(table["checkpoint"] != "last", ""))
    table = table.merge(best, on=key, how="left", suffixes=("", "_best")).drop(columns="run_id")
    empty = table.isna() | (table == "")
    silent = [c for c in table if len(table) and empty[c].all() and c not in ("published", "mean")]
    last = ["stands_for", "flags"]
    table = table.drop(columns=silent)
    return table[[c for c in table if c not in last] + [c for c in last if c in table]]
