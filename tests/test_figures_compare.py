"""What a comparison measures beside the standard metrics: drops over T, and entropies of teachers' targets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from refusals import refused
from scipy.special import log_softmax
from test_figures import TEACHER, K, artifact, made, member, smooth, spec, write_probe, write_run

from softlabels.errors import SpecError
from softlabels.figures.drawing import check
from softlabels.grid.parts.probes import Probe
from softlabels.grid.plan import Artifact
from softlabels.grid.spec import Distill, EqualEntropy, Teacher
from softlabels.layout import Layout

CLEAN = Probe(split="train", what="logits")
TEACHERS = {a: spec(smooth(a), TEACHER) for a in (0.0, 0.1)}
TEMPERATURES = (1.0, 2.0, 3.0)
ACCURACY = {1.0: 0.9, 2.0: 0.8, 3.0: 0.7}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "demo")


def table(layout: Layout, skip: tuple[tuple[float, int], ...] = (), **options: object) -> Artifact:
    members = [member("teachers", run) for run in TEACHERS.values()]
    for m in members:
        for seed in m.seeds:
            write_run(layout, m.run, seed, 0.95)
            z = np.random.default_rng(seed).normal(0, 4, (50, 1, K)).astype(np.float32)
            write_probe(layout, m.run, seed, CLEAN, {"labels": np.arange(50) % K, "logits/last": z})
    for a, run in TEACHERS.items():
        for t in TEMPERATURES if a else (2.0,):
            members.append(member("students", spec(Distill(Teacher(run), t))))
            for seed in range(3):
                if (t, seed) not in skip:
                    write_run(layout, members[-1].run, seed, ACCURACY[t] + 0.01 * seed * t)
    return artifact("compare_table", members, "table", [("teachers", CLEAN)], options, "own.compared")


def test_drops_are_paired_by_seed(layout: Layout) -> None:
    art = table(layout, skip=((3.0, 1),), drop=[1, 3])
    check(art)
    rows, _, provenance = made(art, layout)
    drops = rows[(rows["metric"] == "top1_drop_T1_to_T3") & (rows["checkpoint"] == "last")]
    assert set(drops["kd_temperature"]) == {3.0}
    assert set(drops["teacher_alpha"]) == {0.1}  # of the other teacher there is no student at 1 and 3
    for split in ("val", "test"):
        own = drops[drops["split"] == split].sort_values("seed")
        assert own[["seed"]].values.tolist() == [[0], [2]]
        np.testing.assert_allclose(own["value"], [20, 16])  # 90 − 70, 92 − 76
    assert "top-1 accuracy at T = 1 minus that at T = 3" in provenance["face"][0]


@pytest.mark.parametrize(("drop", "named"), [([1], "options.drop"), ([1, 64], "T = 64")])
def test_a_drop_needs_students_at_both_temperatures(layout: Layout, drop: list[float], named: str) -> None:
    with refused(SpecError, "options.drop", named):
        check(table(layout, drop=drop))


def test_a_teachers_targets_are_as_soft_as_where_they_teach(layout: Layout) -> None:
    rows, _, _ = made(table(layout), layout)
    found = rows[rows["metric"] == "entropy"]
    at = {method: sorted(own["kd_temperature"].unique()) for method, own in found.groupby("method")}
    assert at == {"ce": [2.0], "ls": [1.0, 2.0, 3.0]}
    one = found[(found["method"] == "ls") & (found["seed"] == 1) & (found["kd_temperature"] == 3)]
    z = np.random.default_rng(1).normal(0, 4, (50, 1, K)).astype(np.float32)[:, 0]
    log_p = log_softmax(z.astype(float) / 3, axis=1)
    assert one["value"].item() == pytest.approx(-(np.exp(log_p) * log_p).sum(axis=1).mean())
    assert one[["split", "checkpoint"]].values.tolist() == [["train", "last"]]


def test_a_solved_temperature_makes_targets_equally_soft(layout: Layout) -> None:
    members = [member("teachers", run) for run in TEACHERS.values()]
    for scale, m in zip((9, 3), members, strict=True):
        for seed in m.seeds:
            z = np.random.default_rng(seed).normal(0, scale, (50, 1, K)).astype(np.float32)
            write_probe(layout, m.run, seed, CLEAN, {"labels": np.arange(50) % K, "logits/last": z})
    as_soft = EqualEntropy(Teacher(TEACHERS[0.1]), 2.0)
    members += [member("students", spec(Distill(Teacher(TEACHERS[a]), t))) for a, t in ((0.0, as_soft), (0.1, 2.0))]
    art = artifact("compare_table", members, "table", [("teachers", CLEAN)], name="own.soft")
    rows, _, provenance = made(art, layout)
    assert "kd_temperature is empty where T is solved for" in provenance["face"][0]
    found = rows[rows["metric"] == "entropy"].pivot(index="seed", columns="method", values="value")
    assert len(found) == 3
    np.testing.assert_allclose(found["ce"], found["ls"], rtol=1e-6)
    assert rows[(rows["metric"] == "entropy") & (rows["method"] == "ce")]["kd_temperature"].isna().all()
