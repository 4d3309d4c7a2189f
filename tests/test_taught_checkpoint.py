"""What is measured and drawn of a teacher is its checkpoint that taught; last and best differ in every test here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from refusals import refused
from safetensors.numpy import load_file, save_file
from test_figures import CLEAN, TEACHER, artifact, made, make_logits, member, smooth, spec, write_probe

from softlabels.data.prepare import prepare
from softlabels.errors import DataError, SpecError
from softlabels.figures import make
from softlabels.figures.drawing import check, check_teachers
from softlabels.figures.selectors import reported_checkpoint
from softlabels.files import read_json, write_json
from softlabels.grid.expand import load_plan
from softlabels.grid.files import write_plan
from softlabels.grid.identity import dataset_id, needed_cache, probe_id, run_id
from softlabels.grid.parts.label_targets import Smooth
from softlabels.grid.parts.probes import Probe
from softlabels.grid.plan import Artifact, Member, Plan
from softlabels.grid.spec import Distill, EqualEntropy, MeanLabel, RunSpec, Teacher, teacher_of
from softlabels.layout import Layout
from softlabels.metrics.diversity import confidence_diversity
from softlabels.metrics.rows import key_columns, read_rows
from softlabels.metrics.soft_targets import effective_label, entropy, equal_entropy_temperature, gamma
from softlabels.papers.published import compare, printed_table
from softlabels.papers.register import told
from softlabels.training import job
from softlabels.training.device import configure
from softlabels.training.worker import Worker

ROOT = Path(__file__).parents[1]
SEEDS = 3
BEST = Probe(checkpoints="best")
CHECKPOINTS = ("last", "best")
ACCURACY = {"last": 0.70, "best": 0.80}
FIRST, SMOOTHED = spec(smooth(0), TEACHER), spec(smooth(0.3), TEACHER)
TAUGHT = {checkpoint: Teacher(FIRST, checkpoint=checkpoint) for checkpoint in CHECKPOINTS}
ZHANG: dict[str, Any] = {"form": "ce", "student_tempered": False, "t2": False}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "demo")


def said(seed: int, checkpoint: str) -> tuple[np.ndarray, np.ndarray]:
    """A teacher's logits and labels of training images at a checkpoint."""
    scale = {"last": 3.0, "best": 1.0, "step:10": 0.5}[checkpoint]
    return make_logits(np.random.default_rng([seed, len(checkpoint)]), 300, 0.9, scale)


def write(layout: Layout, *members: Member, **record: Any) -> None:
    """Predictions of every network, and its answers to both probes."""
    for m in members:
        for seed in m.seeds:
            tensors: dict[str, np.ndarray] = {}
            for split in ("val", "test"):
                for checkpoint in CHECKPOINTS:
                    rng = np.random.default_rng(seed)
                    z, labels = make_logits(rng, 400, ACCURACY[checkpoint] + 0.01 * seed)
                    tensors |= {f"{split}/{checkpoint}": z, f"{split}/labels": labels}
            path = layout.run(run_id(m.run), seed) / "logits.safetensors"
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file(tensors, path)
            write_json(path.with_name("run.json"), {"files": {}, **record})
            for probe in (CLEAN, BEST):
                z, labels = said(seed, probe.checkpoints)
                tensors = {"labels": labels, f"logits/{probe.checkpoints}": z[:, None]}
                write_probe(layout, m.run, seed, probe, tensors)


def of(rows: pd.DataFrame, metric: str, run: RunSpec) -> tuple[dict[int, float], set[str]]:
    """Values by seed of one metric of a run on training images, and the checkpoints of their rows."""
    found = rows[(rows["metric"] == metric) & (rows["run_id"] == run_id(run)) & (rows["split"] == "train")]
    return dict(zip(found["seed"], found["value"], strict=True)), set(found["checkpoint"])


def probed(checkpoint: str) -> list[tuple[str, Probe]]:
    """Both probes of the family first, the one that must not be read before the other."""
    return [("first", probe) for probe in ((CLEAN, BEST) if checkpoint == "best" else (BEST, CLEAN))]


# ---------------------------------------------------------------- the drawings


@pytest.mark.parametrize("checkpoint", CHECKPOINTS)
def test_uncertainty_and_diversity(layout: Layout, checkpoint: str) -> None:
    student = spec(Distill(TAUGHT[checkpoint], 1.0, **ZHANG), TEACHER)
    members = [member("first", FIRST), replace(member("generations", student), values=(("generation", 1),))]
    write(layout, *members)
    options = {"checkpoint": checkpoint}
    found = artifact("self_distillation", members, probes=probed(checkpoint), options=options, name="zhang2020.fig1")
    check(found)
    rows, plotted, provenance = made(found, layout)
    for metric, expected in (
        ("predictive_uncertainty", {seed: entropy(said(seed, checkpoint)[0], 1.0) for seed in range(SEEDS)}),
        ("confidence_diversity", {s: confidence_diversity(*said(s, checkpoint), 1.0, 3) for s in range(SEEDS)}),
    ):
        assert of(rows, metric, student) == (pytest.approx(expected), {checkpoint})
        drawn = plotted[plotted["metric"] == metric]["mean"].item()
        assert drawn == pytest.approx(np.mean([*expected.values()]))
    top1 = plotted[plotted["metric"] == "top1"]["mean"]
    assert top1.tolist() == pytest.approx([100 * ACCURACY[checkpoint] + 1] * 2)
    assert f"; {checkpoint} checkpoint." in provenance["face"][0]
    assert f"of the teacher ({checkpoint} checkpoint)" in provenance["face"][0]


@pytest.mark.parametrize("checkpoint", CHECKPOINTS)
def test_mean_label_of_the_true_class(layout: Layout, checkpoint: str) -> None:
    student = spec(Distill(TAUGHT[checkpoint], MeanLabel(0.85), beta=0.4, **ZHANG), TEACHER)
    members = [member("first", FIRST), member("ls", spec(Smooth(0.15, "others"), TEACHER)), member("sd", student)]
    write(layout, *members, temperature=2.5)
    options = {"checkpoint": checkpoint}
    found = artifact("methods", members, probes=probed(checkpoint), options=options, name="zhang2020.fig3")
    check(found)
    rows, plotted, provenance = made(found, layout)
    expected = {seed: effective_label(*said(seed, checkpoint), 2.5, 0.4) for seed in range(SEEDS)}
    assert of(rows, "mean_true_class_target", student) == (pytest.approx(expected), {checkpoint})
    assert of(rows, "mean_true_class_target", members[1].run)[1] == {checkpoint}
    top1 = plotted[plotted["metric"] == "top1"]["mean"]
    assert top1.tolist() == pytest.approx([100 * ACCURACY[checkpoint] + 1] * 3)
    assert f"{checkpoint} checkpoint; teachers: {checkpoint}; axes" in provenance["face"][0]


@pytest.mark.parametrize("checkpoint", CHECKPOINTS)
@pytest.mark.parametrize("plot", ["smoothing_curves", "distillation_grid"])
def test_gamma(layout: Layout, plot: str, checkpoint: str) -> None:
    student = spec(Distill(TAUGHT[checkpoint], 2.0))
    members = [member("first", FIRST), member("alone", spec(smooth(0))), member("students", student)]
    write(layout, *members)
    found = artifact(plot, members, probes=probed(checkpoint), name="own.one")
    check(found)
    rows, plotted, provenance = made(found, layout)
    expected = {seed: gamma(*said(seed, checkpoint), 2.0) for seed in range(SEEDS)}
    assert of(rows, "gamma", student) == (pytest.approx(expected), {checkpoint})
    if plot == "smoothing_curves":
        drawn = plotted.set_index("curve")
        assert drawn.loc["kd_hard", "gamma"] == pytest.approx(np.mean([*expected.values()]))
        assert drawn.loc["teacher", "mean"] == pytest.approx(100 * ACCURACY[checkpoint] + 1)
        assert drawn.loc["baseline", "mean"] == pytest.approx(71)  # the last, as all but teachers
        assert (", of teachers the best" in provenance["face"][0]) == (checkpoint == "best")
    else:
        drawn = plotted[plotted["role"] == "student"]["gamma"].item()
        assert drawn == pytest.approx(np.mean([*expected.values()]))


@pytest.mark.parametrize("checkpoint", CHECKPOINTS)
def test_entropy_where_a_teacher_teaches(layout: Layout, checkpoint: str) -> None:
    """Also at a milestone, and where T is solved for by another teacher's entropy at its best."""
    early = replace(FIRST, recipe=replace(FIRST.recipe, milestones=(10,)))
    as_soft = EqualEntropy(Teacher(SMOOTHED, checkpoint="best"), 2.0)
    students = [
        spec(Distill(TAUGHT[checkpoint], 2.0)),
        spec(Distill(TAUGHT[checkpoint], as_soft)),
        spec(Distill(Teacher(SMOOTHED, checkpoint="best"), 2.0)),
        spec(Distill(Teacher(early, checkpoint="step:10"), 3.0)),
    ]
    members = [member("first", FIRST), member("smoothed", SMOOTHED), member("early", early)]
    members += [member("students", run) for run in students]
    write(layout, *members)
    milestones = Probe(checkpoints="milestones")
    for seed in range(SEEDS):
        z, labels = said(seed, "step:10")
        write_probe(layout, early, seed, milestones, {"labels": labels, "logits/step10": z[:, None]})
    probes = [*probed(checkpoint), ("smoothed", CLEAN), ("smoothed", BEST), ("early", CLEAN), ("early", milestones)]
    found = artifact("compare_table", members, "table", probes, name="own.one")
    check(found)
    rows = made(found, layout)[0]
    rows = rows[rows["metric"] == "entropy"]
    at, solved = rows[rows["kd_temperature"].notna()], rows[rows["kd_temperature"].isna()]
    ours = {seed: said(seed, checkpoint)[0] for seed in range(SEEDS)}
    theirs = {seed: said(seed, "best")[0] for seed in range(SEEDS)}
    assert of(at, "entropy", FIRST) == (pytest.approx({s: entropy(z, 2.0) for s, z in ours.items()}), {checkpoint})
    as_soft_as = {s: entropy(z, equal_entropy_temperature(z, theirs[s], 2.0)) for s, z in ours.items()}
    assert of(solved, "entropy", FIRST) == (pytest.approx(as_soft_as), {checkpoint})
    assert of(at, "entropy", SMOOTHED) == (pytest.approx({s: entropy(z, 2.0) for s, z in theirs.items()}), {"best"})
    expected = {seed: entropy(said(seed, "step:10")[0], 3.0) for seed in range(SEEDS)}
    assert of(at, "entropy", early) == (pytest.approx(expected), {"step:10"})


def test_a_table_says_the_checkpoint_where_it_is_not_the_last(layout: Layout) -> None:
    students = [spec(Distill(Teacher(run, checkpoint="best"), 2.0)) for run in (FIRST, SMOOTHED)]
    members = [member("first", FIRST), *(member("students", run) for run in students)]
    base = artifact("compare_table", members, "table", name="own.one")
    rows = [
        {**key_columns(base, members[0], "run", "demo"), "split": split, "metric": metric, "target_class": "",
         "value": 1.0, "seed": 0, "checkpoint": checkpoint}
        for split, metric, checkpoint in
        (("train", "entropy", "best"), ("test", "top1", "last"), ("test", "top1", "best"))
    ]  # fmt: skip
    table = printed_table(compare(pd.DataFrame(rows), base, otherwise=[("train", "entropy"), ("test", "top1")]))
    assert table.set_index("metric")["checkpoint"].to_dict() == {"entropy": "best", "top1": ""}
    assert table.set_index("metric")["mean_best"].notna().to_dict() == {"entropy": False, "top1": True}


def test_accuracy_of_teachers_beside_the_size_of_steps(layout: Layout) -> None:
    taught = [spec(Distill(Teacher(run, checkpoint="best"), 1.0)) for run in (FIRST, SMOOTHED)]
    members = [member("teachers", run) for run in (FIRST, SMOOTHED)]
    members += [member("alone", spec(smooth(0))), *(member("students", run) for run in taught)]
    write(layout, *members)
    found = artifact("step_size", members, name="own.one")
    check(found)
    _, plotted, provenance = made(found, layout)
    drawn = plotted[plotted["quantity"] == "accuracy"].groupby("role")[["mean", "checkpoint"]].first()
    assert drawn.loc["teacher"].tolist() == [pytest.approx(81), "best"]
    assert drawn.loc["student"].tolist() == [pytest.approx(71), "last"]
    assert any("the teachers themselves (best checkpoint): hard-label" in line for line in provenance["face"])


# ---------------------------------------------------------------- refused when the plan is made


def asked_at_last(plot: str, **targets: Any) -> Artifact:
    student = spec(Distill(TAUGHT["best"], **{"temperature": 1.0, **ZHANG, **targets}), TEACHER)
    members = [member("first", FIRST), replace(member("taught", student), values=(("generation", 1),))]
    return artifact(plot, members, "table" if plot == "compare_table" else "figure", [("first", CLEAN)], name="own.one")


@pytest.mark.parametrize(
    "plot", ["self_distillation", "methods", "smoothing_curves", "distillation_grid", "compare_table"]
)
def test_a_teacher_asked_at_another_checkpoint_is_refused(plot: str) -> None:
    with refused(SpecError, "own.one", "checkpoints: best"):
        check(asked_at_last(plot))


def test_so_is_the_teacher_that_only_sets_a_temperature() -> None:
    as_soft = EqualEntropy(Teacher(SMOOTHED, checkpoint="best"), 2.0)
    members = [member("first", FIRST), member("smoothed", SMOOTHED)]
    members.append(member("taught", spec(Distill(TAUGHT["last"], as_soft))))
    probes = [("first", CLEAN), ("smoothed", CLEAN)]
    with refused(SpecError, "smoothed", "checkpoints: best"):
        check(artifact("compare_table", members, "table", probes, name="own.one"))


@pytest.mark.parametrize("plot", ["smoothing_curves", "step_size"])
def test_a_teacher_is_drawn_at_one_checkpoint(plot: str) -> None:
    students = [spec(Distill(Teacher(run, checkpoint=c), 1.0)) for run in (FIRST, SMOOTHED) for c in CHECKPOINTS]
    members = [member("first", FIRST), member("first", SMOOTHED), *(member("taught", run) for run in students)]
    with refused(SpecError, "first", "at last and at best"):
        check(artifact(plot, members, probes=[("first", CLEAN), ("first", BEST)], name="own.one"))


def test_a_file_without_the_checkpoint_is_named(layout: Layout) -> None:
    found = asked_at_last("self_distillation")
    found = replace(found, probes=(("first", BEST),))
    write(layout, *found.members)
    z, labels = said(0, "last")
    write_probe(layout, FIRST, 0, BEST, {"labels": labels, "logits/last": z[:, None]})
    with refused(DataError, "logits/best"):
        make.measure_artifact(found, layout, "demo")


# ---------------------------------------------------------------- a grid, and what is trained of it

GRID = """
paper: own
datasets: {digits: {name: digits, train_limit: 300}}
models: {net: {name: mlp, options: {hidden: [24]}}}
checkpoints: {early: 'step:20'}
recipes:
  # The second half at a rate that forgets.
  forgetful:
    batch_size: 32
    steps: 60
    optimiser: {lr: 0.1}
    schedule: {kind: steps, boundaries: [0.5], factor: 60}
    eval_every: 0.05
    milestones: [20]
families:
  first:
    run: {dataset: digits, model: net, recipe: forgetful, targets: {kind: hard}}
  of_best:
    run:
      dataset: digits
      model: net
      recipe: forgetful
      targets: {kind: distill, form: ce, temperature: 1, teacher: {family: first, checkpoint: best}}
  of_early:
    run:
      dataset: digits
      model: net
      recipe: forgetful
      targets: {kind: distill, form: ce, temperature: 1, teacher: {family: first, checkpoint: early}}
artifacts:
  drawn:
    title: Taught by two checkpoints
    kind: figure
    plot: self_distillation
    families: [first, of_best, of_early]
    seeds: 1
    probes:
      first:
        - {split: train, what: logits}
        - {split: train, what: logits, checkpoints: best}
        - {split: train, what: logits, checkpoints: early}
    options: {over: temperature}
"""


def planned(change: Any = lambda grid: None) -> Plan:
    grid = yaml.safe_load(GRID)
    change(grid)
    return load_plan({"scale": "paper", "papers": [], "grid": grid}, ROOT)


def of_first(grid: dict[str, Any]) -> list[dict[str, Any]]:
    """The probes of the teacher."""
    found: list[dict[str, Any]] = grid["artifacts"]["drawn"]["probes"]["first"]
    return found


def test_a_probe_at_a_checkpoint_by_name_is_that_at_the_checkpoint() -> None:
    named = planned().artifacts["own.drawn"]
    assert [probe.checkpoints for _, probe in named.probes] == ["last", "best", "step:20"]  # type: ignore[union-attr]
    assert planned(lambda g: of_first(g)[2].update(checkpoints="step:20")).artifacts["own.drawn"] == named


def beyond(grid: dict[str, Any]) -> None:
    grid["recipes"]["forgetful"]["milestone_every"] = 20
    grid["checkpoints"]["early"] = "step:80"


BEGUN = {"family": "first", "checkpoint": "step:40"}
NOT_KEPT = [
    (lambda g: g["datasets"]["digits"].update(holdout=0), ("of_best.run", "teacher.checkpoint", "dataset.holdout")),
    (lambda g: g["families"]["of_best"]["run"].update(initial=BEGUN), ("of_best.run", "step 40")),
    (beyond, ("of_early.run", "step 80", "60")),
    (lambda g: of_first(g)[2].update(checkpoints="step:30"), ("probes.first.checkpoints", "step 30")),
    (lambda g: of_first(g)[2].update(checkpoints="late"), ("probes.first.checkpoints", "late")),
    (lambda g: of_first(g)[2].update(checkpoints="step:0"), ("probes.first.checkpoints", "step:0")),
    (lambda g: of_first(g).pop(), ("own.drawn", "first", "step:20")),
]  # fmt: skip


@pytest.mark.parametrize(("change", "named"), NOT_KEPT, ids=range(len(NOT_KEPT)))
def test_a_checkpoint_that_is_not_kept_or_not_asked_is_one_sentence_of_the_plan(
    change: Any, named: tuple[str, ...]
) -> None:
    with refused(SpecError, *named):
        planned(change)


def test_a_probe_of_the_best_weights_needs_validation() -> None:
    def change(grid: dict[str, Any]) -> None:
        grid["datasets"]["digits"]["holdout"] = 0
        for family in ("of_best", "of_early"):
            grid["families"].pop(family)
        grid["artifacts"]["drawn"].update(families=["first"], plot="compare_table", kind="table", options={})

    with refused(SpecError, "probes.first.checkpoints", "dataset.holdout"):
        planned(change)


def test_probe_cache_and_figure_are_of_one_checkpoint(layout: Layout) -> None:
    plan = planned()
    (drawn,) = plan.artifacts.values()
    first = drawn.members[0].run
    assert isinstance(first, RunSpec)
    write_plan(plan, layout.root / "specs")
    prepare(first.dataset, layout.data(dataset_id(first.dataset)))
    worker = Worker(layout, configure("cpu"))
    probes = [probe for _, probe in drawn.probes]
    job.train(worker, [(run_id(first), 0)])
    job.evaluate_probes(worker, [(run_id(first), 0, probe_id(probe)) for probe in probes])
    record = read_json(layout.run(run_id(first), 0) / "run.json")
    assert record["best_step"] < record["steps"]
    answered = {
        name.removeprefix("logits/"): tensor[:, 0]
        for probe in probes
        for name, tensor in load_file(layout.probe(run_id(first), 0, probe_id(probe))).items()
        if name.startswith("logits/")
    }
    assert [*answered] == ["last", "best", "step20"]
    for m in drawn.members[1:]:
        need = needed_cache(m.run)
        assert need is not None
        job.cache(worker, [(need.id, 0)])
        (shard,) = layout.cache(need.id, 0).glob("shard-*.npy")
        label = need.teacher.checkpoint.replace(":", "")
        cached = np.load(shard)[0].astype(np.float32)
        np.testing.assert_allclose(cached, answered[label], rtol=2e-3, atol=2e-3)
        others = [z for name, z in answered.items() if name != label]
        assert all(np.abs(cached - z).max() > 0.1 for z in others)
    make.measure_artifact(drawn, layout, "paper")
    rows = read_rows(layout.metrics("own", "drawn"))
    for m, label in zip(drawn.members[1:], ("best", "step20"), strict=True):
        value = of(rows, "predictive_uncertainty", m.run)[0][0]  # type: ignore[arg-type]
        assert value == pytest.approx(entropy(answered[label], 1.0))


# ---------------------------------------------------------------- the papers


@pytest.fixture(scope="module")
def paper() -> Plan:
    return load_plan({"scale": "paper", "variants": True}, ROOT)


def test_the_best_on_validation_teaches_and_is_asked_and_shown_and_the_last_in_the_variant(paper: Plan) -> None:
    """Z-SEL."""
    for found in (a for a in paper.artifacts.values() if a.paper == "zhang2020"):
        checkpoint = "last" if found.name.endswith("_last") else "best"
        teachers = [teacher for m in found.members if (teacher := teacher_of(m.run)) is not None]
        assert teachers, found.id
        assert {teacher.checkpoint for teacher in teachers} == {checkpoint}, found.id
        assert {probe.checkpoints for _, probe in found.probes} == {checkpoint}, found.id  # type: ignore[union-attr]
        assert reported_checkpoint(found) == checkpoint
    assert {a.name for a in paper.artifacts.values() if "Z-SEL" in a.variants} == {
        "fig1", "fig2", "fig3", "fig1_last", "fig2_last", "fig3_last",
    }  # fmt: skip


def test_a_teacher_that_is_drawn_at_the_last_checkpoint_teaches_there(paper: Plan) -> None:
    """These drawings do not see whom it taught."""
    shown = [a for a in paper.artifacts.values() if a.plot in ("entropy", "class_probabilities", "softened_teacher")]
    check_teachers(shown, paper.runs.values())
    teacher = next(m for m in shown[0].members if isinstance(m.run, RunSpec))

    def student(checkpoint: str) -> RunSpec:
        assert isinstance(teacher.run, RunSpec)
        return replace(teacher.run, targets=Distill(Teacher(teacher.run, checkpoint=checkpoint), 1.0))

    with refused(SpecError, f"artifact {shown[0].id}", teacher.family, "best"):
        check_teachers(shown, [student("best")])
    check_teachers(shown, [student("best"), student("last")])


def test_the_register_compares_each_reading_at_the_checkpoint_that_it_reports(paper: Plan) -> None:
    rows = [
        {**key_columns(found, m, run_id(m.run), "paper"), "split": "test", "metric": f"top1_generation{generation}",
         "target_class": "", "value": {"last": 70.0, "best": 75.0}[checkpoint] + generation * seed, "seed": seed,
         "checkpoint": checkpoint, "run_id": run_id(m.run)}
        for found in (paper.artifacts["zhang2020.fig1"], paper.artifacts["zhang2020.fig1_last"])
        for m in found.members
        if (generation := m.value("generation")) is not None
        for seed in m.seeds
        for checkpoint in CHECKPOINTS
    ]  # fmt: skip
    (said_of,) = (one.said for one in told(pd.DataFrame(rows), paper.artifacts) if one.entry.id == "Z-SEL")
    assert said_of.startswith(
        "fig1_last: −5 (−5 to −5) points of top-1 accuracy against fig1, mean of 3 networks, n = 3"
    )
