"""BLEU of teachers and of their students over T, beside the paper's (Chandrasegaran et al. 2022, Tables 5, B.2, D.3).

`bleu` (tokenised, lower case) joins the published numbers; sacreBLEU and chrF stand beside it. Each student's row shows
its teacher and how far below or above it lies, paired by seed: student minus the teacher that taught it.
"""

from __future__ import annotations

from typing import Any

from softlabels.errors import SpecError
from softlabels.figures import selectors, translations
from softlabels.figures.drawing import Drawing
from softlabels.figures.lazy import np, pd
from softlabels.figures.source import Measured, Row, Source, by_seed, spread, tidy
from softlabels.grid.identity import run_id
from softlabels.grid.plan import Artifact, Member
from softlabels.grid.spec import Distill, teacher_of
from softlabels.metrics.bleu import METRICS, signature_line

Scores = dict[tuple[str, str], dict[str, dict[int, float]]]
"""(run, checkpoint) → metric → seed → value."""
SETTINGS = ["dataset", "student", "method", "student_alpha", "teacher", "teacher_alpha", "kd_temperature"]
COLUMNS = (
    *SETTINGS, "kd_beta", "hard_alpha", "gradient_norm", "cache", "checkpoint", "published", "published_std",
    "published_to_teacher", "bleu", "std", "n", "difference", "to_teacher", "to_teacher_std", "sacrebleu",
    "sacrebleu_std", "chrf", "chrf_std", "stands_for", "flags", "run_id",
)  # fmt: skip


def _check(artifact: Artifact, where: str) -> None:
    """Every network has translations of the test split, and every student its teacher beside it."""
    translations.check(artifact, where)
    for member in selectors.distilled(artifact):
        teacher = teacher_of(member.run)
        assert teacher is not None
        if selectors.teacher_place(artifact, member) is None:
            raise SpecError(
                f"{where} family {member.family} needs its teacher in a family of the artifact, with a probe of what: "
                f"translations, split: test, temperature: 1 and checkpoint: {teacher.checkpoint}"
            )


DRAWING = Drawing(("compare_with",), tasks=("translation",), check=_check)


def measure(artifact: Artifact, source: Source) -> Measured:
    """The standard metrics and BLEU on the test split of every member and seed; plotted: one row per network."""
    from softlabels.papers.published import compare

    rows: list[Row] = []
    found: Scores = {}
    for member in artifact.members:
        bleu = translations.bleu_on_test(artifact, source, member)
        rows += [*source.standard(artifact, member), *bleu]
        for checkpoint in selectors.translations_on_test(artifact, member.family):
            found[run_id(member.run), checkpoint] = {name: by_seed(bleu, "test", name, checkpoint) for name in METRICS}
    beside = {
        (run_id(member.run), checkpoint): _extra_columns(artifact, member, checkpoint, found)
        for member in artifact.members
        for checkpoint in selectors.translations_on_test(artifact, member.family)
    }
    frame = tidy(rows)
    # What is printed of students names no smoothing of their hard term, whatever it is: it is shown, and not joined.
    labels = frame["student_alpha"].where(frame["method"] != "kd", "")
    compared = compare(frame.assign(student_alpha=labels), artifact)
    compared = compared[compared["metric"] == "bleu"].rename(columns={"mean": "bleu"})
    places = zip(compared["run_id"], compared["checkpoint"], strict=True)
    cells = pd.DataFrame([beside.get(place, {}) for place in places])
    table = pd.concat([compared.reset_index(drop=True), cells], axis=1)
    table["published_to_teacher"] = _printed_change(table)
    return Measured(frame, _sorted(table.reindex(columns=list(COLUMNS))))


def _extra_columns(artifact: Artifact, member: Member, checkpoint: str, scores: Scores) -> dict[str, Any]:
    """What stands beside a network's BLEU: the other metrics, its cache, β, and the difference to its teacher."""
    by_metric = scores[run_id(member.run), checkpoint]
    cells: dict[str, Any] = {"cache": selectors.cache_name(member.run)}
    for metric in ("sacrebleu", "chrf"):
        if by_metric[metric]:
            found = spread([*by_metric[metric].values()])
            cells |= {metric: found["mean"], f"{metric}_std": found["std"]}
    targets, place = member.run.targets, selectors.teacher_place(artifact, member)
    if not isinstance(targets, Distill) or place is None:
        return cells
    cells |= {"kd_beta": targets.beta, "hard_alpha": targets.hard_alpha or np.nan}
    cells["gradient_norm"] = "" if targets.gradient_norm == "free" else targets.gradient_norm
    teacher = scores[run_id(place[0].run), targets.teacher.checkpoint]["bleu"]
    taught_by = {seed: targets.teacher.seed_for(seed) for seed in by_metric["bleu"]}
    changes = [
        value - teacher[taught_by[seed]] for seed, value in by_metric["bleu"].items() if taught_by[seed] in teacher
    ]
    if changes:
        found = spread(changes)
        cells |= {"to_teacher": found["mean"], "to_teacher_std": found["std"]}
    return cells


def _printed_change(table: pd.DataFrame) -> list[float]:
    """Published student minus published teacher, where the artifact prints both."""
    labelled = table[table["method"].isin(["ce", "ls"]) & table["published"].notna()]
    teachers = {(r["dataset"], r["student"], r["student_alpha"]): r["published"] for r in labelled.to_dict("records")}
    return [
        r["published"] - teachers.get((r["dataset"], r["teacher"], r["teacher_alpha"]), np.nan)
        for r in table.to_dict("records")
    ]


def _sorted(table: pd.DataFrame) -> pd.DataFrame:
    """By data set and network; teachers first, then students by teacher and T; the last checkpoint before the best."""
    order = table.assign(
        role=table["method"] == "kd",
        alpha=table["teacher_alpha"].fillna(table["student_alpha"]),
        at=table["checkpoint"].map({"last": 0, "best": 1}).fillna(2),
    )
    by = ["dataset", "student", "role", "alpha", "kd_temperature", "cache", "at"]
    return table.loc[order.sort_values(by, kind="stable", na_position="first").index].reset_index(drop=True)


def table(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Ours beside the paper's; columns that say nothing in this artifact are left out."""
    plotted = plotted.drop(columns="run_id")
    empty = plotted.isna() | (plotted == "")
    silent = [c for c in plotted if len(plotted) and empty[c].all() and c not in ("published", "bleu")]
    return plotted.drop(columns=silent)


def remarks(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """What the numbers are."""
    probes = [p for m in artifact.members for p in selectors.translations_on_test(artifact, m.family).values()]
    return [
        f"bleu: mean over n seeds on the test split ({translations.decoding(probes)}), beside the paper's number; std: "
        "n − 1. to_teacher: student minus the network that taught it, paired by seed; published_to_teacher: the same "
        "of the printed numbers. cache: what was kept of the teacher's logits. checkpoint best: of least validation "
        "loss. difference: ours minus published; where stands_for names what a scale replaced, it compares different "
        "data or networks and says nothing about the reproduction.",
        signature_line(),
    ]
