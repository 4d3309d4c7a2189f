"""Printed numbers of which something is lost in print, or printed twice and differently: what they stand beside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

LOST: Mapping[str, str] = {"T_lost": "kd_temperature", "alpha_lost": "teacher_alpha", "student_unstated": "student"}
"""Flag of a number → the column that is lost; of networks trained on labels alpha_lost is student_alpha."""
CONFLICT = "conflict_with:"
"""Beginning of the flag that names the artifact in which a number is printed differently."""


def has(flags: pd.Series, flag: str) -> pd.Series:
    """Which rows have a flag."""
    return flags.map(lambda found: flag in found.split(";")).astype(bool)


def match_partial(paper: pd.DataFrame, ours: pd.DataFrame, key: Sequence[str]) -> pd.DataFrame:
    """The printed numbers, those with a lost setting under the settings of ours that they stand beside.

    A candidate is a setting of ours at the same place (the rest of the key) under which the artifact prints no other
    number there. One lost number stands beside every candidate. Several stay as they are, and join what of ours has no
    setting there either, as a temperature that is solved for.

    Args:
        paper: printed numbers of one artifact, with `flags`.
        ours: our numbers, one row each.
        key: the columns that name a number, in both tables.
    """
    for flag, column in LOST.items():
        for of_labels in (False, True):
            rows = has(paper["flags"], flag) & (paper["method"].isin(["ce", "ls"]) == of_labels)
            lost = "student_alpha" if of_labels and flag == "alpha_lost" else column
            if rows.any():
                known = paper[~rows]
                paper = pd.concat([known, *_filled(paper[rows], known, ours, key, lost)])
    return paper.reset_index(drop=True)


def _filled(
    lost: pd.DataFrame, known: pd.DataFrame, ours: pd.DataFrame, key: Sequence[str], column: str
) -> Iterator[pd.DataFrame]:
    place = [name for name in key if name != column]
    for where, rows in lost.groupby(place, dropna=False, sort=False):
        taken = set(_at(known, place, where)[column])
        free = sorted(set(_at(ours, place, where)[column].dropna()) - taken)
        if rows["published"].nunique() == 1 and free:
            yield from (rows.assign(**{column: setting}) for setting in free)
        else:
            yield rows


def _at(table: pd.DataFrame, place: Sequence[str], where: tuple[object, ...]) -> pd.DataFrame:
    """The rows of a table whose columns `place` have the values `where`; NaN equals NaN."""
    same = pd.Series(True, index=table.index)
    for name, value in zip(place, where, strict=True):
        same &= table[name].isna() if pd.isna(value) else table[name] == value  # type: ignore[call-overload]
    return table[same]


def elsewhere(paper: pd.DataFrame, printed: pd.DataFrame, key: Sequence[str]) -> pd.DataFrame:
    """Printed numbers with `elsewhere`, the artifact that prints another number for the same thing, and that number.

    A drop from T to T′ (metric `top1_drop_T1_to_T3`) is there the difference of two printed accuracies.

    Args:
        paper: numbers of one artifact, with `flags`.
        printed: those of the whole paper.
        key: the columns that name a number within an artifact.
    """
    found = [_other({str(k): v for k, v in row.items()}, printed, key) for row in paper.to_dict("records")]
    return paper.assign(elsewhere=[name for name, _ in found], printed_elsewhere=[value for _, value in found])


def _other(row: Mapping[str, object], printed: pd.DataFrame, key: Sequence[str]) -> tuple[str, float]:
    names = [flag for flag in str(row["flags"]).split(";") if flag.startswith(CONFLICT)]
    if not names:
        return "", float("nan")
    artifact = names[0].removeprefix(CONFLICT)
    other = printed[printed["artifact"] == artifact]
    steps = drop_of(str(row["metric"]))
    if steps is None:
        return artifact, _only(_at(other, key, tuple(row[name] for name in key)))
    values = [
        _only(_at(other, key, tuple((dict(row) | {"metric": "top1", "kd_temperature": t})[name] for name in key)))
        for t in steps
    ]
    return artifact, values[0] - values[1]


def drop_of(metric: str) -> tuple[float, float] | None:
    """T and T′ of a metric `top1_drop_T<T>_to_T<T′>`; None of any other."""
    if not metric.startswith("top1_drop_T"):
        return None
    first, _, last = metric.removeprefix("top1_drop_T").partition("_to_T")
    return float(first), float(last)


def _only(rows: pd.DataFrame) -> float:
    return float(rows["value"].iloc[0]) if len(rows) == 1 else float("nan")
