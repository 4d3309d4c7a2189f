"""Our numbers beside the paper's (Müller et al. 2019, Table 2, the MNIST numbers of Sec. 4, the accuracy of App. B;
Chandrasegaran et al. 2022, Tables 2, 4, B.1, B.3, B.5, D.1, D.2, D.4, H.2 to H.4, J.1 and the drops of Sec. 5; Yuan et
al. 2020, Tables 1, 2, 5, 6 and those of the README)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from softlabels.figures import roles
from softlabels.figures.declared.compare_table import trained
from softlabels.figures.declared.targets import probe_of
from softlabels.figures.source import Measured, Row, Source, by_seed, tidy
from softlabels.grid.identity import run_id
from softlabels.grid.plan import Artifact, Member
from softlabels.grid.spec import Distill, EqualEntropy, MeanLabel, Run, is_solved
from softlabels.metrics.rows import key_columns, read_probe
from softlabels.metrics.soft_targets import entropy, equal_entropy_temperature
from softlabels.metrics.tokens import token_rows
from softlabels.papers.flags import explain
from softlabels.papers.published import READING, SHOWN, compare, printed_table


def measure(artifact: Artifact, source: Source) -> Measured:
    """The standard metrics of every member and seed; plotted: those the paper prints, beside its numbers.

    Of translation networks also on the sentences of their probes of every token: what the paper says of training. Of
    image teachers with a probe of training logits the mean entropy of their targets (nats), at each T at which they
    teach a member. With `options.drop: [T, T′]` what students lose of top-1 accuracy from T to T′, with
    `options.baseline` what a network gains over itself in these families, both paired by seed.
    """
    own = [(m, source.standard(artifact, m)) for m in artifact.members]
    rows = [row for m, standard in own for row in (*standard, *_probed(artifact, source, m))]
    rows += [row for m in artifact.members for row in _entropies(artifact, source, m)]
    if drop := artifact.options.get("drop"):
        rows += _drops(artifact, source, own, *drop)
    baseline = artifact.options.get("baseline", ())
    rows += _gains(artifact, source, own, baseline)
    frame = tidy(rows)
    shown = [*SHOWN, *((split, "top1_delta") for split in ("val", "test") if baseline)]
    return Measured(frame, _with_weights(compare(frame, artifact, otherwise=shown), artifact))


def _probed(artifact: Artifact, source: Source, member: Member) -> list[Row]:
    """The metrics of `token_rows` on the probes of a member."""
    return [
        source.row(artifact, member, seed, *found)
        for probe in roles.token_probes(artifact, member.family)
        for seed in member.seeds
        if (file := source.token_probe(member, seed, probe)) is not None
        for found in token_rows(file)
    ]


def _entropies(artifact: Artifact, source: Source, member: Member) -> list[Row]:
    """Mean entropy of a teacher's targets at each T of its students; nothing of other networks.

    A T that is solved for is a result: its row has none.
    """
    pupils = [m.run.targets for m in roles.distilled(artifact) if roles.teaches(member, m)]
    asked = dict.fromkeys(t.temperature for t in pupils if isinstance(t, Distill))
    temperatures = [t for t in asked if not isinstance(t, MeanLabel)]
    rows = []
    for seed in member.seeds:
        logits = _training_logits(artifact, source, member, seed) if temperatures else None
        if logits is None:
            continue
        for t in temperatures:
            at = _solved(artifact, source, t, seed, logits) if isinstance(t, EqualEntropy) else t
            if at is not None:
                row = source.row(artifact, member, seed, "train", "last", "entropy", entropy(logits, at))
                rows.append(row | {"kd_temperature": "" if isinstance(t, EqualEntropy) else f"{t:g}"})
    return rows


def _training_logits(artifact: Artifact, source: Source, member: Member, seed: int) -> np.ndarray | None:
    """A teacher's logits [N, K] of training images; None where no probe asks for them or it is not there."""
    probe = probe_of(artifact, member.family, "logits", "train")
    tensors = None if probe is None else source.answers(member, seed, probe, read_probe)
    return None if tensors is None else tensors["logits/last"][:, 0]


def _solved(artifact: Artifact, source: Source, asked: EqualEntropy, seed: int, logits: np.ndarray) -> float | None:
    """The T at which logits are as soft as another teacher's targets; None where those are not there."""
    other = asked.entropy_of
    for member in artifact.members:
        if member.run == other.run:
            reference = _training_logits(artifact, source, member, other.seed_for(seed))
            return None if reference is None else equal_entropy_temperature(logits, reference, asked.temperature)
    return None


def _drops(
    artifact: Artifact, source: Source, own: list[tuple[Member, list[Row]]], first: float, last: float
) -> list[Row]:
    """Top-1 accuracy at T = first minus that at T = last of students that differ in T alone, for each seed of both."""
    at_first = {_at_1(m): rows for m, rows in own if roles.temperature_of(m.run) == first}
    return [
        source.row(artifact, m, seed, split, checkpoint, f"top1_drop_T{first:g}_to_T{last:g}", before[seed] - after)
        for m, rows in own
        if roles.temperature_of(m.run) == last and _at_1(m) in at_first
        for split in ("val", "test")
        for checkpoint in ("last", "best")
        for before in [by_seed(at_first[_at_1(m)], split, "top1", checkpoint)]
        for seed, after in by_seed(rows, split, "top1", checkpoint).items()
        if seed in before
    ]


def _gains(
    artifact: Artifact, source: Source, own: list[tuple[Member, list[Row]]], baseline: Sequence[str]
) -> list[Row]:
    """Top-1 accuracy minus that of the same network on the same data in the families `baseline`, in points, for each
    seed of both."""
    alone = {trained(m): rows for m, rows in own if m.family in baseline}
    return [
        source.row(artifact, m, seed, split, checkpoint, "top1_delta", value - before[seed])
        for m, rows in own
        if m.family not in baseline and trained(m) in alone
        for split in ("val", "test")
        for checkpoint in ("last", "best")
        for before in [by_seed(alone[trained(m)], split, "top1", checkpoint)]
        for seed, value in by_seed(rows, split, "top1", checkpoint).items()
        if seed in before
    ]


def _with_weights(compared: pd.DataFrame, artifact: Artifact) -> pd.DataFrame:
    """With the column kd_beta, where the weights of soft targets differ."""
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
    return printed_table(plotted)


def remarks(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """What the numbers are."""
    said = f"Accuracy and error in percent. mean and std (n − 1): over n seeds. {READING}"
    for probe in dict.fromkeys(p for m in artifact.members for p in roles.token_probes(artifact, m.family)):
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
