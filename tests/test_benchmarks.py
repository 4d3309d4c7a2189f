"""Benchmarks run and write what they measured; how long anything takes is not tested."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from softlabels.grid.expand import load_plan
from softlabels.grid.jobs import every_job
from softlabels.layout import Layout
from softlabels.pages import benchmarks as benchmarks_page

ROOT = Path(__file__).parents[1]


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT)
    import benchmarks.measure

    return benchmarks.measure


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT)
    import benchmarks.demo

    return benchmarks.demo


def test_every_trainer_and_grid_is_measured(tmp_path: Path) -> None:
    names = ["distillation", "throughput", "dry_run"]
    command = [sys.executable, "-m", "benchmarks", *names, "--quick", "--repetitions", "2", "--out", str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    shown = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout
    counts = {}
    for name in names:
        record = json.loads((tmp_path / f"{name}.json").read_text())
        assert record["quick"]
        assert record["before"]["cores"] >= record["before"]["threads"] == 1
        assert len(record["before"]["load_average"]) == 3
        counts[name] = len(record["ratios"])
        for ratio in record["ratios"]:
            for clock, key in (("wall", "ratio"), ("cpu", "cpu_ratio")):
                over, under = ratio["seconds_over"][clock], ratio["seconds_under"][clock]
                assert len(over) == len(under) == ratio["repetitions"] == 2
                assert ratio[key] == pytest.approx((over[0] / under[0] + over[1] / under[1]) / 2)
            assert ratio["name"] in shown
    assert counts == {"distillation": 4, "throughput": 3, "dry_run": 1}


def test_the_ratio_is_the_median_of_pairs(measure: ModuleType) -> None:
    """A repetition in which the whole machine was ten times slower counts like any other."""

    def ratio(over: list[float], under: list[float], aim: tuple[str, float] | None = None) -> dict[str, Any]:
        return measure.Ratio("r", measure.Seconds(over), measure.Seconds(under), aim, {"jobs": 3}).as_dict()

    record = ratio([1.0, 30.0, 2.0], [1.0, 10.0, 1.0], ("≤", 2.0))
    assert record["ratio"] == 2
    assert record["quartiles"] == [1.5, 2.5]
    assert record["met"]
    assert record["jobs"] == 3
    assert ratio([1.0], [2.0], ("≥", 0.95))["met"] is False
    assert ratio([1.0], [2.0])["met"] is None


def test_variants_take_turns(measure: ModuleType) -> None:
    calls: list[str] = []
    variants = {name: lambda name=name: calls.append(name) for name in "ab"}
    seconds = measure.take_turns(variants, repetitions=3)
    assert "".join(calls) == "ba" + "ab" + "ba" + "ab"  # one round is not counted
    assert {name: len(s.wall) for name, s in seconds.items()} == {"a": 3, "b": 3}


LOG = """\
SNAKEMAKE
=========
  Date: {begun}

Building DAG of jobs...
Provided cores: 2
{end}
Elapsed time: 0:01:40.500000
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A demo of two trainings of 30 and 37.5 seconds, in one call of 100.5 seconds on two cores."""
    begun = datetime(2030, 1, 1, 12).timestamp()
    for seed, seconds in enumerate((30.0, 37.5)):
        record = tmp_path / "results" / "demo" / "runs" / "a" / f"seed{seed}" / "run.json"
        record.parent.mkdir(parents=True)
        record.write_text(json.dumps({"seconds": seconds}))
        os.utime(record, (begun + 40 * (seed + 1),) * 2)
    write_log(tmp_path, "2030-01-01 12:00:00")
    return tmp_path


def write_log(project: Path, begun: str, end: str = "Complete log(s)") -> None:
    log = project / ".snakemake" / "log" / f"{begun.replace(' ', 'T')}.snakemake.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(LOG.format(begun=begun, end=end))


def test_training_in_the_demo(demo: ModuleType, project: Path) -> None:
    write_log(project, "2030-01-01 13:00:00")  # a later call that trained nothing
    record = demo.measure(project).as_dict()
    assert record["ratio"] == pytest.approx(67.5 / 201)
    assert record["trainings"] == 2


@pytest.mark.parametrize("end", ["Exiting because a job execution failed.", "Complete log(s)"])
def test_a_demo_in_pieces_is_not_measured(demo: ModuleType, measure: ModuleType, project: Path, end: str) -> None:
    write_log(project, "2030-01-01 12:00:00", end)
    if end == "Complete log(s)":  # finished, but one network is older than the call
        os.utime(next(project.rglob("run.json")), (0, 0))
    with pytest.raises(measure.Unavailable, match="no single snakemake call"):
        demo.measure(project)


def test_the_audits_estimate_of_the_demo(demo: ModuleType, measure: ModuleType, tmp_path: Path) -> None:
    """Every job of the demo took two seconds; one training was published again since, in a tenth of one."""
    demo.copy_project(tmp_path / "project")
    plan = load_plan({"scale": "demo"}, ROOT)
    jobs = every_job(plan, Layout(tmp_path / "project" / "results" / "demo"))
    for path, job in jobs.items():
        kind = {"train_teacher": "train", "train_student": "train", "cache_logits": "cache"}.get(job.rule, job.rule)
        below = path.relative_to(job.layout.root).parts[1:3]
        name = Path(*below, path.stem) if kind in ("evaluate", "translate") else Path(*below)
        table = job.layout.root / "benchmarks" / kind / f"{name}.tsv"
        table.parent.mkdir(parents=True, exist_ok=True)
        table.write_text("s\th:m:s\n2.0\t0:00:02\n")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"seconds": 1.5}))
    table.write_text("s\th:m:s\n0.1\t0:00:00\n")
    ratios = {ratio.name.split(": ")[0]: ratio for ratio in demo.estimated(tmp_path / "project")}
    kinds = ("train image", "train translation", "cache_logits", "evaluate", "translate")
    assert set(ratios) == {f"demo, {kind}" for kind in (*kinds, "all")}
    shorter = 0.5 if job.makes is None else 1.9
    assert ratios["demo, all"].under.wall == pytest.approx([2.0 * len(jobs) - shorter])
    assert sum(ratios[f"demo, {kind}"].about["jobs"] for kind in kinds) == len(jobs)
    table.unlink()
    with pytest.raises(measure.Unavailable, match=f"{table.name} is missing"):
        list(demo.estimated(tmp_path / "project"))


@pytest.mark.parametrize(("value", "met"), [(0.4, False), (0.5, True), (1.9, True), (2.1, False)])
def test_an_estimate_may_err_by_a_factor(measure: ModuleType, value: float, met: bool) -> None:
    record = measure.Ratio("r", measure.Seconds([value]), measure.Seconds([1.0]), ("factor", 2.0)).as_dict()
    assert record["met"] is met
    assert record["aim"] == "factor 2.0"
    assert ("missed" not in benchmarks_page._met(value, record["aim"])) is met


def test_planning_is_measured_at_two_sizes(tmp_path: Path) -> None:
    pytest.importorskip("snakemake_executor_plugin_slurm", reason="make setup EXTRAS=slurm")
    record = bench(tmp_path, "planning")
    reading, planning = record["ratios"]
    for ratio in (reading, planning):
        assert "at 200 jobs" in ratio["note"]
        assert min(ratio["peak_mb_over"][0], ratio["peak_mb_under"][0]) > 50
    assert planning["peak_mb_over"][0] > planning["peak_mb_under"][0]


def test_without_a_slurm_to_measure_it_says_so(tmp_path: Path) -> None:
    """An environment in which no program but Python's own is found."""
    record = bench(tmp_path, "slurm", PATH=str(Path(sys.executable).parent))
    assert record["ratios"] == []
    assert record["unavailable"] in (
        "a private SLURM has to be started by root",
        "there is no slurmctld (make test-slurm installs it)",
    )


def test_translation_is_measured_against_fairseq(tmp_path: Path) -> None:
    """Every kind of cache, its student beside fairseq's own criterion, and both commands on the same text."""
    ratios = {ratio["name"]: ratio for ratio in bench(tmp_path, "translation")["ratios"]}
    kinds = ["features", "topk_drop k=4", "topk_lse k=4", "dense"]
    students = [f"cached {kind}" for kind in [*kinds, "features, β 0.9"]]
    assert list(ratios) == [
        *(f"cache {kind}: writing it ÷ plain forward pass" for kind in kinds),
        *(f"update {student} ÷ plain" for student in students),
        *(f"update {student} ÷ teacher online" for student in students),
        "update teacher online ÷ plain",
        "saving the state ÷ 1 plain updates",
        "target tokens/s, softlabels train ÷ fairseq's own command",
    ]
    for ratio in ratios.values():
        assert 0 < ratio["ratio"] < math.inf
        assert 0 < ratio["cpu_ratio"] < math.inf
        assert ratio["repetitions"] == 1
    features, drop, lse, dense = (ratios[f"cache {kind}: writing it ÷ plain forward pass"] for kind in kinds)
    rows = {2 * 16: features, 4 * 4: drop, 4 * 4 + 4: lse, 2 * 104: dense}  # d = 16, k = 4, V = 104
    for payload, ratio in rows.items():
        assert payload < ratio["bytes_per_token"] < payload + 8  # and what tells where sentences begin
    assert features["bytes_once"] > 4 * 16 * 104  # the output matrix


def test_the_stream_of_files_is_measured_against_a_data_loader(tmp_path: Path) -> None:
    record = bench(tmp_path, "streaming", SOFTLABELS_CIFAR10_JPEG="")
    assert [ratio["workers"] for ratio in record["ratios"]] == [1, 2]
    for ratio in record["ratios"]:
        assert 0 < ratio["ratio"] < math.inf
        assert ratio["images"] == 14  # 15 % of 16 are the test split


def bench(out: Path, name: str, **environment: str) -> dict[str, Any]:
    """What a quick benchmark writes."""
    command = [sys.executable, "-m", "benchmarks", name, "--quick", "--repetitions", "1", "--out", str(out)]
    subprocess.run(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"} | environment, check=True)
    record: dict[str, Any] = json.loads((out / f"{name}.json").read_text())
    return record
