"""Our numbers beside the paper's (Müller et al. 2019, Table 2, the MNIST numbers of Sec. 4, the accuracy of App. B;
Chandrasegaran et al. 2022, Tables 2, 4, B.1, B.3, B.5, D.1, D.2, D.4, H.2 to H.4, J.1 and the drops of Sec. 5; Yuan et
al. 2020, Tables 1, 2, 5, 6 and those of the README)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

from softlabels.errors import SpecError
from softlabels.figures import selectors
from softlabels.figures.drawing import ANY, Drawing
from softlabels.figures.lazy import np, pd
from softlabels.figures.source import Measured, Row, Source, by_seed, tidy
from softlabels.grid.identity import run_id
from softlabels.grid.parse import require_known
from softlabels.grid.parts.translation import CorpusSpec
from softlabels.grid.plan import Artifact, Member
from softlabels.grid.spec import (
    DatasetSpec,
    Distill,
    EqualEntropy,
    MeanLabel,
    ModelSpec,
    Parent,
    Run,
    is_solved,
    on_labels,
)
from softlabels.papers.flags import explain


def _check(artifact: Artifact, where: str) -> None:
    selectors.check_teacher_probes(artifact, where)
    for family in dict.fromkeys(member.family for member in artifact.members):
        for probe in selectors.token_probes(artifact, family):
            if probe.split != "train":
                raise SpecError(
                    f"{where} the probe of {family}: compare_table has the tokens of {probe.split} already; "
                    "give split: train"
                )
    if "baseline" in artifact.options:
        _check_baseline(artifact, f"{where} options.baseline")
    if "drop" in artifact.options:
        _check_drop(artifact, f"{where} options.drop")


def _check_drop(artifact: Artifact, where: str) -> None:
    """Two temperatures, and students at both."""
    drop = artifact.options["drop"]
    if not isinstance(drop, list | tuple) or len(drop) != 2 or not all(isinstance(t, int | float) for t in drop):
        raise SpecError(f"{where} must list two temperatures, as [1, 3]")
    students = [m for m in artifact.members if isinstance(m.run.targets, Distill)]
    if absent := [t for t in drop if all(selectors.temperature_of(m.run) != t for m in students)]:
        raise SpecError(f"{where}: no student of the artifact is distilled at T = {absent[0]:g}")


def trained(member: Member) -> tuple[DatasetSpec | CorpusSpec, ModelSpec, str]:
    """What a network must share with another to be compared with it: data, network, and the paper's name of it."""
    return member.run.dataset, member.run.model, dict(member.published)["student"]


def _check_baseline(artifact: Artifact, where: str) -> None:
    """Families of networks on labels, and one of them for each other member."""
    families = artifact.options["baseline"]
    if not isinstance(families, list | tuple) or not families:
        raise SpecError(f"{where} must list families")
    for family in families:
        require_known(family, dict.fromkeys(m.family for m in artifact.members), where, "the families of the artifact")
    alone = {trained(m): m for m in artifact.members if m.family in families}
    for member in artifact.members:
        if member.family in families and not on_labels(member.run):
            raise SpecError(f"{where}: {member.family} has a teacher; a baseline is trained on labels")
        if trained(member) not in alone:
            raise SpecError(f"{where} has no network like those of {member.family}; add the family without a teacher")


DRAWING = Drawing(("compare_with", "drop", "baseline"), tasks=ANY, check=_check)


def measure(artifact: Artifact, source: Source) -> Measured:
    """The standard metrics of every member and seed; plotted: those the paper prints, beside its numbers.

    Of translation networks also on the sentences of their probes of every token: what the paper says of training. Of
    image teachers with a probe of training logits the mean entropy of their targets (nats), at each checkpoint and T at
    which they teach a member. With `options.drop: [T, T′]` what students lose of top-1 accuracy from T to T′, with
    `options.baseline` what a network gains over itself in these families, both paired by seed.
    """
    from softlabels.papers.published import SHOWN, compare

    standard_rows = [(m, source.standard(artifact, m)) for m in artifact.members]
    rows = [row for m, standard in standard_rows for row in (*standard, *_probed(artifact, source, m))]
    rows += [row for m in artifact.members for row in _entropies(artifact, source, m)]
    if drop := artifact.options.get("drop"):
        rows += _drops(artifact, source, standard_rows, *drop)
    baseline = artifact.options.get("baseline", ())
    rows += _gains(artifact, source, standard_rows, baseline)
    frame = tidy(rows)
    shown = [*SHOWN, *((split, "top1_delta") for split in ("val", "test") if baseline)]
    return Measured(frame, _with_weights(compare(frame, artifact, otherwise=shown), artifact))


def _probed(artifact: Artifact, source: Source, member: Member) -> list[Row]:
    """The metrics of `token_rows` on the probes of a member."""
    from softlabels.metrics.tokens import token_rows

    return [
        source.row(artifact, member, seed, *found)
        for probe in selectors.token_probes(artifact, member.family)
        for seed in member.seeds
        if (file := source.token_probe(member, seed, probe)) is not None
        for found in token_rows(file)
    ]


def _entropies(artifact: Artifact, source: Source, member: Member) -> list[Row]:
    """Mean entropy of a teacher's targets at each checkpoint and T at which it teaches; nothing of other networks.

    A T that is solved for is a result: its row has none.
    """
    from softlabels.metrics.soft_targets import entropy

    pupils = [m.run.targets for m in selectors.distilled(artifact) if selectors.teaches(member, m)]
    taught = dict.fromkeys(
        (t.teacher.checkpoint, t.temperature)
        for t in pupils
        if isinstance(t, Distill) and not isinstance(t.temperature, MeanLabel)
    )
    rows = []
    for seed, (checkpoint, t) in itertools.product(member.seeds, taught):
        found = source.training_logits(artifact, Parent(member.run, seed, checkpoint), seed, unchanged=True)
        if found is None:
            continue
        logits, _ = found
        at = _solved(artifact, source, t, seed, logits) if isinstance(t, EqualEntropy) else t
        if at is not None:
            row = source.row(artifact, member, seed, "train", checkpoint, "entropy", entropy(logits, at))
            rows.append(row | {"kd_temperature": "" if isinstance(t, EqualEntropy) else f"{t:g}"})
    return rows


def _solved(artifact: Artifact, source: Source, wanted: EqualEntropy, seed: int, logits: np.ndarray) -> float | None:
    """The T at which logits are as soft as another teacher's targets; None where those are not there."""
    from softlabels.metrics.soft_targets import equal_entropy_temperature

    reference = source.training_logits(artifact, wanted.entropy_of, seed, unchanged=True)
    return None if reference is None else equal_entropy_temperature(logits, reference[0], wanted.temperature)


def _drops(
    artifact: Artifact, source: Source, standard_rows: list[tuple[Member, list[Row]]], first: float, last: float
) -> list[Row]:
    """Top-1 accuracy at T = first minus that at T = last of students that differ in T alone, for each seed of both."""
    at_first = {_at_1(m): rows for m, rows in standard_rows if selectors.temperature_of(m.run) == first}
    return [
        source.row(artifact, m, seed, split, checkpoint, f"top1_drop_T{first:g}_to_T{last:g}", before[seed] - after)
        for m, rows in standard_rows
        if selectors.temperature_of(m.run) == last and _at_1(m) in at_first
        for split in ("val", "test")
        for checkpoint in ("last", "best")
        for before in [by_seed(at_first[_at_1(m)], split, "top1", checkpoint)]
        for seed, after in by_seed(rows, split, "top1", checkpoint).items()
        if seed in before
    ]


def _gains(
    artifact: Artifact, source: Source, standard_rows: list[tuple[Member, list[Row]]], baseline: Sequence[str]
) -> list[Row]:
    """Top-1 accuracy minus that of the same network on the same data in the families `baseline`, in points, for each
    seed of both."""
    alone = {trained(m): rows for m, rows in standard_rows if m.family in baseline}
    return [
        source.row(artifact, m, seed, split, checkpoint, "top1_delta", value - before[seed])
        for m, rows in standard_rows
        if m.family not in baseline and trained(m) in alone
        for split in ("val", "test")
        for checkpoint in ("last", "best")
        for before in [by_seed(alone[trained(m)], split, "top1", checkpoint)]
        for seed, value in by_seed(rows, split, "top1", checkpoint).items()
        if seed in before
    ]


def _with_weights(compared: pd.DataFrame, artifact: Artifact) -> pd.DataFrame:
    """With the column kd_beta, where the weights of soft targets differ."""
    from softlabels.metrics.rows import key_columns

    betas = {run_id(m.run): key_columns(artifact, m, "", "")["kd_beta"] for m in artifact.members}
    if len({beta for beta in betas.values() if beta}) > 1:
        place = list(compared).index("kd_temperature") + 1
        compared.insert(place, "kd_beta", compared["run_id"].map(betas).fillna(""))
    return compared


def _at_1(member: Member) -> Run:
    """A student as it would be at T = 1, where fields that count at higher T alone have no effect."""
    assert isinstance(member.run.targets, Distill)
    return replace(member.run, targets=replace(member.run.targets, temperature=1.0))


def table(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Ours beside the paper's."""
    from softlabels.papers.published import printed_table

    return printed_table(plotted)


def remarks(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """What the numbers are."""
    from softlabels.papers.published import READING

    said = f"Accuracy and error in percent. mean and std (n − 1): over n seeds. {READING}"
    for probe in dict.fromkeys(p for m in artifact.members for p in selectors.token_probes(artifact, m.family)):
        part = "all sentences" if probe.sentences is None else f"the first {probe.sentences:,} sentences"
        said += f" next_token_accuracy on {probe.split}: {part}, each token predicted from the right prefix."
    if drop := artifact.options.get("drop"):
        said += (
            f" The drop is in points, top-1 accuracy at T = {drop[0]:g} minus that at T = {drop[1]:g}, paired by seed."
        )
    if "baseline" in artifact.options:
        said += " top1_delta: gain in points over the same network without a teacher, paired by seed."
    if (plotted["metric"] == "entropy").any():
        said += " entropy: of the teacher's targets at kd_temperature, mean over the training images, in nats."
    if any(is_solved(m.run) for m in artifact.members):
        said += " kd_temperature is empty where T is solved for, so that targets are as soft as is asked."
    return [said, *_twice(plotted), *explain(plotted["flags"].dropna())]


def _twice(plotted: pd.DataFrame) -> list[str]:
    """Which of two numbers that a paper prints for one thing is compared: both."""
    found = plotted[plotted["printed_elsewhere"].notna() & (plotted["checkpoint"] != "best")]
    if found.empty:
        return []
    others = ", ".join(dict.fromkeys(found["elsewhere"]))
    return [
        f"Of {len(found)} rows the paper prints two numbers, here and in {others}: published and difference are of the "
        "one printed here, printed_elsewhere and difference_elsewhere of the other."
    ]
