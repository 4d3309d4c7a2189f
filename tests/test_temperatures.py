"""Temperatures that depend on results: from a grid to a trained student, and what is refused on the way."""

from __future__ import annotations

import copy
import dataclasses
import math
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from refusals import refused, says

from softlabels.cli import main
from softlabels.data.prepare import prepare
from softlabels.errors import EXIT_ERROR, SpecError
from softlabels.figures.drawing import check
from softlabels.figures.make import _behind
from softlabels.files import read_json, sha256, write_json
from softlabels.grid.audit import audit
from softlabels.grid.config import read_yaml
from softlabels.grid.costs import needed_caches
from softlabels.grid.expand import load_plan
from softlabels.grid.files import write_plan
from softlabels.grid.identity import caches_of, dataset_id, read_spec, run_id, spec_digest
from softlabels.grid.jobs import every_job
from softlabels.grid.plan import Plan, chain
from softlabels.grid.spec import Distill, EqualEntropy, Run, RunSpec, Teacher, parents_of, reference_of, to_dict
from softlabels.layout import Layout
from softlabels.metrics.rows import key_columns
from softlabels.metrics.soft_targets import effective_label, entropy
from softlabels.store_report import collect_garbage, show

ROOT = Path(__file__).parents[1]
TRAINED = r"\b0\.\d{3,}"  # of trained networks, so not the same on each processor
GRID = """
paper: own
datasets: {digits: {name: digits, train_limit: 300}}
models: {net: {name: mlp, options: {hidden: [24]}}}
recipes:
  brief: {batch_size: 32, steps: 80, optimiser: {lr: 0.1, momentum: 0.9}, augment: {shift: 1}}
families:
  teachers:
    axes: {alpha: [0, 0.1]}
    run: {dataset: digits, model: net, recipe: brief, targets: {kind: smooth, alpha: $alpha}}
  students:
    axes: {alpha: [0, 0.1], T: [1, 3]}
    run:
      dataset: digits
      model: net
      recipe: brief
      targets:
        kind: distill
        teacher: {family: teachers, alpha: $alpha}
        temperature: {entropy_of: {family: teachers, alpha: 0.1}, temperature: $T}
artifacts:
  table: {title: Equal entropies, kind: table, plot: compare_table, families: [teachers, students], seeds: 2}
"""


def plan_of(change: Any = lambda grid: None) -> Plan:
    """The plan of the grid, changed."""
    grid = yaml.safe_load(GRID)
    change(grid)
    return load_plan(read_yaml(ROOT / "config.yaml") | {"papers": [], "grid": grid}, ROOT)


def students(plan: Plan) -> dict[tuple[float, float], RunSpec]:
    """(α of the teacher, T of the reference) → run."""
    (artifact,) = plan.artifacts.values()
    return {(m.value("alpha"), m.value("T")): m.run for m in artifact.family("students")}  # type: ignore[misc]


# ---------------------------------------------------------------- names, plans


def test_ids_tell_temperatures_apart_and_plain_ones_stay() -> None:
    found = students(plan_of())
    low, high, plain = found[0, 1], found[0, 3], found[0.1, 3]
    assert run_id(low).startswith("digits.mlp.kd-Teq1-mlp-hard.")
    assert run_id(high).startswith("digits.mlp.kd-Teq3-mlp-hard.")
    assert isinstance(low.targets, Distill)
    assert isinstance(plain.targets, Distill)
    assert plain.targets.temperature == 3  # as soft as itself: the run without a reference, by its own name
    assert run_id(plain).startswith("digits.mlp.kd-T3-mlp-ls0.1.")
    reference = reference_of(low)
    assert reference is not None
    variants = [
        EqualEntropy(reference, 1.0),
        EqualEntropy(reference, 2.0),
        EqualEntropy(Teacher(reference.run, seed=0), 1.0),
        EqualEntropy(Teacher(reference.run, checkpoint="best"), 1.0),
        1.0,
    ]
    runs = [dataclasses.replace(low, targets=dataclasses.replace(low.targets, temperature=v)) for v in variants]
    assert runs[0] == low
    assert len(set(map(run_id, runs))) == len(set(map(spec_digest, runs))) == len(runs)


def test_the_reference_is_a_parent_whose_cache_is_shared() -> None:
    plan = plan_of()
    found = students(plan)
    low = found[0, 1]
    teacher, reference = (parent for _, parent in parents_of(low))
    assert [spec for spec, _ in chain(low, [0, 4])] == [teacher.run, reference.run, low]
    assert chain(low, [0, 4])[1][1] == (0, 4)
    own, other = caches_of(low)
    assert other.id == caches_of(found[0.1, 1])[0].id  # that of the reference's own students
    assert set(needed_caches(plan)) == {own.id, other.id}
    assert audit(plan, Path("nowhere"))["cache_bytes"] == 2 * (own.bytes + other.bytes)
    assert _behind(next(iter(plan.artifacts.values())))["teachers"] == {
        run_id(parent): [0, 1] for parent, _ in parents_of(low)
    }
    # Without its students, the reference is still trained and asked.
    alone = plan_of(lambda g: g["families"]["students"]["axes"].update(alpha=[0]) or _only(g, "students"))
    assert set(needed_caches(alone)) == {own.id, other.id}
    assert len(alone.runs) == 4


def _only(grid: dict[str, Any], family: str) -> None:
    grid["artifacts"]["table"]["families"] = [family]


def _born_again(grid: dict[str, Any]) -> None:
    """A second generation whose temperature is set by a teacher of the first."""
    second = copy.deepcopy(grid["families"]["students"])
    second["run"]["targets"]["teacher"] = {"family": "students", "alpha": 0.1, "T": "$T"}
    second["run"]["targets"]["hard_weight"] = "$alpha"
    grid["families"]["later"] = second
    _only(grid, "later")


def depth(run: Run) -> int:
    """How many runs, one after another, it needs first."""
    return max((1 + depth(origin) for origin, _ in parents_of(run)), default=0)


def test_no_job_waits_for_itself() -> None:
    """A cache that runs of two generations read is written before the earlier one."""
    plan, layout = plan_of(_born_again), Layout(Path("nowhere"))
    assert {depth(run) for run in plan.runs.values()} == {0, 1, 2}
    jobs = every_job(plan, layout)
    assert [job.output for job in jobs.values()] == list(jobs)
    needs = {path: {read for read in job.inputs if read in jobs} for path, job in jobs.items()}
    assert len(list(TopologicalSorter(needs).static_order())) == len(jobs)
    assert {path for job in jobs.values() for path in job.inputs if "data" not in path.parts} <= set(jobs)


def test_rows_have_no_temperature(tmp_path: Path) -> None:
    (artifact,) = plan_of().artifacts.values()
    found = [key_columns(artifact, m, run_id(m.run), "demo") for m in artifact.family("students")]
    assert [(row["teacher_alpha"], row["kd_temperature"]) for row in found] == [
        ("0.0", ""), ("0.0", ""), ("0.1", "1"), ("0.1", "3"),
    ]  # fmt: skip


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("temperature", "named"),
    [
        ({"entropy_of": {"family": "teachers", "alpha": 0.3}, "temperature": 1}, "teachers(alpha=0.3)"),
        ({"entropy_of": {"family": "teachers", "alpha": 0.1}}, "temperature"),
        ({"entropy_of": {"family": "teachers", "alpha": 0.1}, "temperature": 0}, "temperature.temperature"),
        ({"entropy_of": {"family": "teachers", "alpha": 0.1}, "temperature": 1, "T": 2}, "T"),
    ],
)
def test_bad_references_are_refused(temperature: dict[str, Any], named: str) -> None:
    def change(grid: dict[str, Any]) -> None:
        grid["families"]["students"]["run"]["targets"]["temperature"] = temperature
        grid["families"]["students"]["axes"] = {"alpha": [0]}

    with refused(SpecError, named):
        plan_of(change)


@pytest.mark.parametrize("field", [{"cache": "online"}, {"features": {"kind": "overhaul", "weight": 0.001}}])
def test_a_teacher_that_runs_online_has_no_entropy(field: dict[str, Any]) -> None:
    with refused(SpecError, "targets.temperature"):
        plan_of(lambda grid: grid["families"]["students"]["run"]["targets"].update(field))


def test_figures_over_temperature_refuse_one_that_is_not_known_yet() -> None:
    artifact = dataclasses.replace(plan_of().artifacts["own.table"], plot="distillation_grid")
    with refused(SpecError, "distillation_grid"):
        check(artifact)


def test_a_reference_must_be_able_to_teach_the_student() -> None:
    low = students(plan_of())[0, 1]
    reference = reference_of(low)
    assert reference is not None
    assert isinstance(reference.run, RunSpec)
    assert isinstance(low.targets, Distill)
    elsewhere = dataclasses.replace(reference.run, dataset=dataclasses.replace(low.dataset, train_limit=200))
    softness = EqualEntropy(Teacher(elsewhere), 1.0)
    with refused(SpecError, "data set"):
        dataclasses.replace(low, targets=dataclasses.replace(low.targets, temperature=softness))


# ---------------------------------------------------------------- trained


def train(layout: Layout, runs: list[RunSpec], seeds: tuple[int, ...] = (0, 1)) -> int:
    return main(["train", *(str(layout.run(run_id(r), s) / "run.json") for r in runs for s in seeds), *CPU])


CPU = ["--device", "cpu", "--checkpoint-seconds", "3600"]


def written(plan: Plan, tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "results" / "demo")
    write_plan(plan, layout.root / "specs")
    (dataset,) = {run.dataset for run in plan.runs.values() if isinstance(run, RunSpec)}
    prepare(dataset, layout.data(dataset_id(dataset)))
    return layout


def test_students_are_trained_at_equal_entropy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = plan_of()
    layout = written(plan, tmp_path)
    found = students(plan)
    low, high = found[0, 1], found[0, 3]
    assert read_spec(layout.spec(run_id(low))) == low
    caches = caches_of(low)
    assert train(layout, [run for run in plan.runs.values() if not parents_of(run)]) == 0  # type: ignore[misc]
    manifests = [str(layout.cache(need.id, seed) / "manifest.json") for need in caches for seed in (0, 1)]
    assert main(["cache", *manifests, "--device", "cpu"]) == 0
    capsys.readouterr()
    assert train(layout, [low, high]) == 0
    said = capsys.readouterr().out

    solved = {}
    for run, T in ((low, 1), (high, 3)):
        for seed in (0, 1):
            own, other = (np.load(layout.cache(n.id, seed) / "shard-0000.npy")[0] for n in caches)
            solved[run, seed] = temperature = read_json(layout.run(run_id(run), seed) / "run.json")["temperature"]
            assert entropy(own, temperature) == pytest.approx(entropy(other, T), rel=1e-6)
            assert f"{run_id(run)} seed {seed}: temperature {temperature:.6g}, of the entropy of" in said
            assert solved[run, seed] > T  # the smoothed teacher's targets are softer at equal T
    assert len(set(solved.values())) == 4

    # A student told the number is the same training under another name.
    assert isinstance(low.targets, Distill)
    told = dataclasses.replace(low, targets=dataclasses.replace(low.targets, temperature=solved[low, 0]))
    write_json(layout.spec(run_id(told)), {"spec": to_dict(told)})
    assert train(layout, [told], (0,)) == 0
    weights = [layout.run(run_id(run), 0) / "weights.safetensors" for run in (low, told)]
    assert sha256(weights[0]) == sha256(weights[1])

    page = yaml.safe_load(show(plan, layout, run_id(low)))
    reference, own_teacher = run_id(found[0.1, 1].targets.teacher.run), page["spec"]["targets"]["teacher"]["run"]  # type: ignore[union-attr, arg-type]
    assert page["spec"]["targets"]["temperature"]["entropy_of"]["run"] == reference
    assert caches[1].id in page["cache"]
    assert yaml.safe_load(show(plan, layout, reference))["sets_temperature_of"] == [run_id(low), run_id(high)]
    assert own_teacher != reference
    assert "cache" not in collect_garbage(plan, layout, remove=False)

    # A reference that is another network now.
    record = layout.store(reference, 0) / "run.json"
    write_json(record, read_json(record) | {"files": {"weights.safetensors": "0" * 64}})
    assert train(layout, [low], (0,)) == EXIT_ERROR
    says(capsys.readouterr().err.splitlines()[-1], layout.store(run_id(low), 0))


def _by_label(label: float, beta: float = 0.4, **more: str) -> Any:
    def change(grid: dict[str, Any]) -> None:
        grid["families"]["students"]["axes"] = {"alpha": [0]}
        grid["families"]["students"]["run"]["targets"] |= {"temperature": {"label": label, **more}, "beta": beta}

    return change


def test_students_are_trained_at_a_mean_label(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Zhang & Sabuncu Sec. 7.1: T such that the mean of 1 − β + β·p_y(T) over the training images is a given one."""
    plan = plan_of(_by_label(0.75))
    layout = written(plan, tmp_path)
    (run,) = (m.run for m in plan.artifacts["own.table"].family("students"))
    assert isinstance(run, RunSpec)
    assert run_id(run).startswith("digits.mlp.kd-Tlabel0.75-b0.4-mlp-hard.")
    assert len(parents_of(run)) == len(caches_of(run)) == 1
    assert train(layout, [r for r in plan.runs.values() if not parents_of(r)]) == 0  # type: ignore[misc]
    folders = [layout.cache(caches_of(run)[0].id, seed) for seed in (0, 1)]
    assert main(["cache", *(str(folder / "manifest.json") for folder in folders), "--device", "cpu"]) == 0
    capsys.readouterr()
    assert train(layout, [run]) == 0
    said = capsys.readouterr().out
    for seed, folder in enumerate(folders):
        T = read_json(layout.run(run_id(run), seed) / "run.json")["temperature"]
        logits, labels = np.load(folder / "shard-0000.npy")[0], np.load(folder / "labels.npy")
        assert effective_label(logits, labels, T, 0.4) == pytest.approx(0.75, abs=1e-9)
        assert read_json(layout.run(run_id(run), seed) / "run.json")["mean_label"] == pytest.approx(0.75, abs=1e-9)
        assert f"{run_id(run)} seed {seed}: temperature {T:.6g}, of a mean label of 0.75" in said


@pytest.mark.parametrize(
    ("label", "beta", "named"),
    [
        (0.6, 0.4, "temperature.label"),
        (1, 0.4, "temperature.label"),
    ],
)
def test_bad_mean_labels_are_refused(label: float, beta: float, named: str) -> None:
    with refused(SpecError, named):
        plan_of(_by_label(label, beta))


def test_a_mean_label_that_no_temperature_gives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At T → ∞ the true class has 1 − β + β/K of the label, here 0.64."""
    plan = plan_of(_by_label(0.61))
    layout = written(plan, tmp_path)
    (run,) = (m.run for m in plan.artifacts["own.table"].family("students"))
    assert isinstance(run, RunSpec)
    assert train(layout, [r for r in plan.runs.values() if not parents_of(r)], (0,)) == 0  # type: ignore[misc]
    assert main(["cache", str(layout.cache(caches_of(run)[0].id, 0) / "manifest.json"), "--device", "cpu"]) == 0
    assert train(layout, [run], (0,)) == EXIT_ERROR
    error = capsys.readouterr().err.splitlines()[-1]
    says(error, f"{run_id(run)} seed 0", "targets.temperature.label", varies=TRAINED)


@pytest.mark.parametrize(("label", "T"), [(0.61, 1e4), (0.999, None)])
def test_the_nearest_label_where_no_temperature_gives_it(tmp_path: Path, label: float, T: float | None) -> None:
    """0.61 is below that of the hottest targets, 0.999 above that of a teacher that errs."""
    plan = plan_of(_by_label(label, otherwise="nearest"))
    layout = written(plan, tmp_path)
    (run,) = (m.run for m in plan.artifacts["own.table"].family("students"))
    assert isinstance(run, RunSpec)
    assert train(layout, [r for r in plan.runs.values() if not parents_of(r)], (0,)) == 0  # type: ignore[misc]
    folder = layout.cache(caches_of(run)[0].id, 0)
    assert main(["cache", str(folder / "manifest.json"), "--device", "cpu"]) == 0
    assert train(layout, [run], (0,)) == 0
    record = read_json(layout.run(run_id(run), 0) / "run.json")
    logits, labels = np.load(folder / "shard-0000.npy")[0], np.load(folder / "labels.npy")
    reached = {t: effective_label(logits, labels, t, 0.4) for t in np.geomspace(1e-3, 1e4, 29).tolist()}
    nearest = min(reversed(reached), key=lambda t: abs(reached[t] - label))
    assert (record["temperature"], record["mean_label"]) == pytest.approx((T or nearest, reached[nearest]))
    assert abs(record["mean_label"] - label) > 0.001


def test_a_uniform_teacher_has_no_such_temperature(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "flat.npy", np.zeros((300, 10), dtype=np.float32))
    own = {"logits": str(tmp_path / "flat.npy"), "sha256": sha256(tmp_path / "flat.npy"), "trust": True}

    def change(grid: dict[str, Any]) -> None:
        del grid["recipes"]["brief"]["augment"]
        grid["families"]["students"]["axes"] = {"T": [1]}
        grid["families"]["students"]["run"]["targets"]["teacher"] = own

    plan = plan_of(change)
    layout = written(plan, tmp_path)
    (run,) = (m.run for m in plan.artifacts["own.table"].family("students"))
    assert isinstance(run, RunSpec)
    assert train(layout, [run for run in plan.runs.values() if not parents_of(run)], (0,)) == 0  # type: ignore[misc]
    manifests = [str(layout.cache(need.id, 0) / "manifest.json") for need in caches_of(run)]
    assert main(["cache", *manifests, "--device", "cpu"]) == 0
    capsys.readouterr()
    assert train(layout, [run], (0,)) == EXIT_ERROR
    says(
        capsys.readouterr().err,
        f"{run_id(run)} seed 0",
        "targets.temperature.entropy_of",
        f"{math.log(10):.6g}",
        varies=TRAINED,
    )
    assert not (layout.run(run_id(run), 0) / "run.json").exists()
