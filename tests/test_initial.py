"""Initial weights in specs, grids, scales and plans: names, order, and what is refused. Needs no torch."""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from refusals import refused

from softlabels.errors import SpecError
from softlabels.grid import spec as s
from softlabels.grid.audit import audit
from softlabels.grid.config import read_yaml
from softlabels.grid.costs import training_flops
from softlabels.grid.expand import load_plan
from softlabels.grid.identity import read_spec, run_id, spec_digest, write_spec_files
from softlabels.grid.jobs import every_job
from softlabels.grid.parts import initial as i
from softlabels.grid.parts import recipe as r
from softlabels.grid.plan import Plan, chain
from softlabels.layout import Layout
from softlabels.store_report import collect_garbage, show

ROOT = Path(__file__).parents[1]
RECIPE = r.Recipe(batch_size=128, optimiser=r.Optimiser(lr=0.1), steps=1000, milestones=(500,))
LARGE = r.Augment(side=224)
MEASURE = dataclasses.replace(RECIPE, batch_size=7, steps=0, normalise="imagenet", augment=LARGE)
R50 = s.ModelSpec("resnet50")
IMAGENET = s.RunSpec(s.DatasetSpec("imagenet"), R50, s.Smooth(0.1), dataclasses.replace(RECIPE, augment=LARGE))
V1 = i.TorchvisionWeights("IMAGENET1K_V1")
OWN = i.UserWeights("a.safetensors", "ab" * 32)


def begun(source: Any, recipe: r.Recipe = RECIPE, dataset: str = "cifar10", **fields: Any) -> s.RunSpec:
    """A run that begins with weights."""
    return s.RunSpec(s.DatasetSpec(dataset), R50, s.Hard(), recipe, initial=s.Initial(source, **fields))


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("run", "name"),
    [
        (begun(V1), "cifar10.resnet50.hard-init-imagenet1k_v1"),
        (begun(V1, head="kept"), "cifar10.resnet50.hard-kept-imagenet1k_v1"),
        (begun(V1, MEASURE, "imagenet", head="kept"), "imagenet.resnet50.hard-measured-imagenet1k_v1"),
        (begun(IMAGENET), "cifar10.resnet50.hard-init-imagenet-ls0.1"),
        (begun(IMAGENET, seed=3, checkpoint="best"), "cifar10.resnet50.hard-init-imagenet-ls0.1-best-s3"),
        (begun(OWN), "cifar10.resnet50.hard-init-own"),
    ],
)
def test_a_run_id_says_what_the_weights_began_with(run: s.RunSpec, name: str, tmp_path: Path) -> None:
    assert re.fullmatch(re.escape(name) + r"\.[0-9a-f]{8}", run_id(run))
    write_spec_files(Plan("x", {}, {run_id(run): run}, {run_id(run): (0,)}, 1, 1, 1.0), tmp_path)
    assert read_spec(tmp_path / f"{run_id(run)}.json") == run


def test_what_decides_the_beginning_decides_the_id() -> None:
    other = dataclasses.replace(IMAGENET, targets=s.Hard())
    runs = [
        dataclasses.replace(begun(V1), initial=None),
        begun(V1),
        begun(i.TorchvisionWeights("IMAGENET1K_V2")),
        begun(V1, head="kept"),
        begun(IMAGENET),
        begun(other),
        begun(IMAGENET, seed=0),
        begun(IMAGENET, checkpoint="best"),
        begun(IMAGENET, checkpoint="step:500"),
        begun(OWN),
        begun(dataclasses.replace(OWN, sha256="cd" * 32)),
    ]
    assert len({run_id(run) for run in runs}) == len({spec_digest(run) for run in runs}) == len(runs)
    assert run_id(begun(OWN)) == run_id(begun(dataclasses.replace(OWN, weights="elsewhere/b.safetensors")))


def test_what_only_training_needs_is_settled_where_nothing_is_trained() -> None:
    measured = begun(V1, MEASURE, "imagenet", head="kept")
    again = dataclasses.replace(MEASURE, batch_size=64, ema=0.9, optimiser=r.Optimiser(lr=1e-3, name="adam"))
    assert begun(V1, again, "imagenet", head="kept") == measured
    assert measured.recipe.normalise == "imagenet"
    assert measured != begun(V1, dataclasses.replace(MEASURE, normalise="none"), "imagenet", head="kept")
    passes = 50_000 + 50_000  # validation and test, once each
    assert training_flops(measured) == pytest.approx(passes * 8_174_272_512, rel=0.01)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: begun(V1, MEASURE, "imagenet"), "recipe.steps"),
        (lambda: dataclasses.replace(IMAGENET, recipe=MEASURE), "recipe.steps"),
        (
            lambda: dataclasses.replace(
                begun(V1, MEASURE, "imagenet", head="kept"), targets=s.Distill(s.Teacher(IMAGENET), 2.0)
            ),
            "recipe.steps",
        ),
        (lambda: begun(i.TorchvisionWeights("IMAGENET1K_V3")), "IMAGENET1K_V3"),
        (lambda: dataclasses.replace(begun(V1), model=s.ModelSpec("alexnet")), "resnet18"),
        (
            lambda: dataclasses.replace(begun(V1), model=s.ModelSpec("resnet50", (("stem", "cifar"),))),
            "model.options.stem",
        ),
        (lambda: dataclasses.replace(begun(IMAGENET), model=s.ModelSpec("resnet18")), "resnet18 {}"),
        (lambda: begun(IMAGENET, checkpoint="step:7"), "initial.checkpoint"),
        (lambda: begun(V1, seed=1), "initial.checkpoint"),
    ],
)  # fmt: skip
def test_weights_that_are_not_of_the_network_are_refused(make: Callable[[], s.RunSpec], named: str) -> None:
    with refused(SpecError, named):
        make()


# ---------------------------------------------------------------- grids


def grid() -> dict[str, Any]:
    """Networks on digits that begin with ones of glyphs, and one that is only measured; both see 8×8 pixels."""
    cnn = {"model": "cnn", "targets": {"kind": "smooth", "alpha": "$alpha"}}
    taught_by = {"family": "second", "alpha": "$alpha"}
    on_digits = {"dataset": "digits", "recipe": "short"}
    return {
        "paper": "own",
        "datasets": {"glyphs": {"name": "glyphs"}, "digits": {"name": "digits"}, "birds": {"name": "cifar100"}},
        "models": {"cnn": {"name": "small_cnn", "options": {"widths": [4, 8]}}, "r18": {"name": "resnet18"}},
        "weights": {
            "torchvision_v1": {"torchvision": "IMAGENET1K_V1"},
            "mine": {"weights": "mine.safetensors", "sha256": "ab" * 32},
        },
        "recipes": {
            "short": {"batch_size": 32, "steps": 20, "optimiser": {"lr": 0.1}},
            "cropped": {"base": "short", "augment": {"crop": 8}},
            "measured": {"steps": 0},
        },
        "families": {
            "first": {"axes": {"alpha": [0, 0.1]}, "run": cnn | {"dataset": "glyphs", "recipe": "cropped"}},
            "second": {
                "axes": {"alpha": [0, 0.1]},
                "run": cnn | on_digits | {"initial": {"family": "first", "alpha": "$alpha", "seed": 1}},
            },
            "students": {
                "axes": {"alpha": [0, 0.1]},
                "run": on_digits
                | {
                    "model": "cnn",
                    "initial": {"family": "first", "alpha": 0},
                    "targets": {"kind": "distill", "temperature": 2, "teacher": taught_by},
                },
            },
            "measured": {
                "run": {
                    "dataset": "digits",
                    "model": "cnn",
                    "recipe": "measured",
                    "initial": {"family": "second", "alpha": 0, "head": "kept"},
                    "targets": {"kind": "hard"},
                },
            },
            "birds": {
                "run": {
                    "dataset": "birds",
                    "model": "r18",
                    "recipe": "short",
                    "initial": "torchvision_v1",
                    "targets": {"kind": "hard"},
                },
            },
        },
        "artifacts": {
            "all": {
                "title": "All of them",
                "kind": "table",
                "plot": "compare_table",
                "families": ["students", "measured", "birds"],
                "seeds": [4, 5],
            },
        },
    }  # fmt: skip


def plan_of(content: dict[str, Any], root: Path = ROOT) -> Plan:
    return load_plan({"scale": "paper", "papers": [], "grid": content}, root)


def family(plan: Plan, name: str) -> list[s.RunSpec]:
    return [m.run for m in plan.artifacts["own.all"].family(name)]  # type: ignore[misc]


def test_a_grid_names_the_weights_that_runs_begin_with() -> None:
    plan = plan_of(grid())
    (birds,), (measured,) = family(plan, "birds"), family(plan, "measured")
    assert birds.initial == s.Initial(V1)
    assert measured.initial is not None
    assert (measured.initial.head, measured.recipe.steps) == ("kept", 0)
    for student in family(plan, "students"):
        teacher = s.teacher_of(student)
        assert teacher is not None
        assert student.initial is not None
        first = student.initial.run
        assert isinstance(first, s.RunSpec)
        assert isinstance(teacher.run, s.RunSpec)
        assert (first.dataset.name, first.targets) == ("glyphs", s.Hard())
        assert teacher.run.initial is not None
        assert teacher.run.initial.seed == 1


def test_a_chain_has_each_run_once_after_those_that_it_needs() -> None:
    plan = plan_of(grid())
    hard, smooth = family(plan, "students")
    found = dict(chain(hard, (4, 5)))
    second = s.teacher_of(hard).run  # type: ignore[union-attr]
    first = hard.initial.run  # type: ignore[union-attr]
    assert list(found) == [first, second, hard]
    assert found == {first: (1, 4, 5), second: (4, 5), hard: (4, 5)}
    assert len(chain(smooth, (4,))) == 4
    assert [{parent for parent, _ in s.parents_of(run)} for run in found] == [set(), {first}, {first, second}]
    assert plan.seeds[run_id(first)] == (1, 4, 5)
    order = list(plan.runs)
    for name, run in plan.runs.items():
        assert all(order.index(run_id(parent)) < order.index(name) for parent, _ in s.parents_of(run))


def test_jobs_wait_for_initial_weights_and_the_audit_counts_their_runs(tmp_path: Path) -> None:
    plan, layout = plan_of(grid()), Layout(tmp_path / "results" / "paper")
    jobs = every_job(plan, layout)
    for name, run in plan.runs.items():
        for seed in plan.seeds[name]:
            job = jobs[layout.run(name, seed) / "run.json"]
            assert (job.rule, job.output) == (
                "train_teacher" if s.teacher_of(run) is None else "train_student",
                layout.run(name, seed) / "run.json",
            )
            for parent, part in s.parents_of(run):
                record = layout.run(run_id(parent), part.seed_for(seed)) / "run.json"
                assert record != job.output
                assert record in job.inputs or part.role == "teacher"  # whose logits come from its cache
    (birds,) = family(plan, "birds")
    assert layout.weights("resnet18-f37072fd") in jobs[layout.run(run_id(birds), 4) / "run.json"].inputs
    assert layout.weights("resnet18-f37072fd") == tmp_path / "results" / "data" / "weights" / "resnet18-f37072fd.json"
    found = audit(plan, tmp_path)
    assert found["trainings"] == sum(map(len, plan.seeds.values())) == (3 + 1) + 2 * 2 + 2 * 2 + 2 + 2
    assert found["device_hours"] > 0


def test_show_and_gc_know_the_parents(tmp_path: Path) -> None:
    plan, layout = plan_of(grid()), Layout(tmp_path)
    (measured,) = family(plan, "measured")
    second = measured.initial.run  # type: ignore[union-attr]
    for name in (*plan.runs, "other.run.12345678"):
        (layout.root / "store" / name / "seed0").mkdir(parents=True)
    page = yaml.safe_load(show(plan, layout, run_id(measured)))
    assert page["spec"]["initial"]["run"] == run_id(second)
    assert run_id(measured) in yaml.safe_load(show(plan, layout, run_id(second)))["begins"]
    assert "other.run" in collect_garbage(plan, layout, remove=False)
    assert run_id(second) not in collect_garbage(plan, layout, remove=False)


Change = Callable[[dict[str, Any]], Any]


def of(g: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = g["families"][name]["run"]
    return found


BAD: list[tuple[Change, str]] = [
    (lambda g: of(g, "birds").update(initial="torchvision"), "initial.weights"),
    (lambda g: g["weights"].update(torchvision_v1={"torchvision": "V9"}), "V9"),
    (lambda g: g["weights"].update(mine={"weights": "a"}), "weights.mine"),
    (lambda g: g["weights"].update(mine={"weights": "a", "sha256": "b", "head": "new"}), "weights.mine"),
    (lambda g: of(g, "birds").update(initial={"weights": "mine", "seed": 1}), "seed"),
    (lambda g: of(g, "birds").update(initial={"head": "kept"}), "birds.run.initial"),
    (lambda g: of(g, "birds").update(initial={"weights": "mine", "head": "old"}), "initial.head"),
    (lambda g: of(g, "birds").update(initial={"weights": "torchvision_v1", "head": "kept"}),
     "initial.head"),
    (lambda g: of(g, "birds").update(dataset="digits"), "digits"),
    (lambda g: of(g, "birds").update(initial={"family": "first", "alpha": 0}), "small_cnn"),
    (lambda g: of(g, "second")["initial"].update(alpha=0.2), "first(alpha=0.2)"),
    (lambda g: of(g, "second")["initial"].pop("alpha"), "alpha"),
    (lambda g: of(g, "second")["initial"].update(beta=1), "beta"),
    (lambda g: of(g, "second")["initial"].update(head="kept"), "digits"),
    (lambda g: of(g, "first").update(recipe="short"), "small_cnn"),
    (lambda g: of(g, "first").update(initial={"family": "second", "alpha": "$alpha"}), "second(alpha=0)"),
    (lambda g: of(g, "measured").pop("initial"), "measured.run"),
    (lambda g: of(g, "measured")["initial"].update(head="new"), "measured.run"),
    (lambda g: g["families"]["first"]["axes"].update(head=[1]), "head"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "named"), BAD, ids=range(len(BAD)))
def test_a_bad_beginning_is_one_sentence_that_names_file_and_key(change: Change, named: str) -> None:
    content = copy.deepcopy(grid())
    change(content)
    with refused(SpecError, named) as caught:
        plan_of(content)
    assert str(caught.value).startswith("config.yaml: grid")


# ---------------------------------------------------------------- scales


@pytest.fixture
def scaled(tmp_path: Path) -> Callable[..., Plan]:
    """The plan of the grid as a paper's, under a scale that substitutes weights."""
    for folder in ("grids", "scales"):
        (tmp_path / "workflow" / folder).mkdir(parents=True)
    (tmp_path / "workflow" / "grids" / "own.yaml").write_text(yaml.safe_dump(grid()))

    def plan(**substitute: Any) -> Plan:
        scale = read_yaml(ROOT / "workflow" / "scales" / "paper.yaml") | {"scale": "small", "substitute": substitute}
        (tmp_path / "workflow" / "scales" / "small.yaml").write_text(yaml.safe_dump(scale))
        return load_plan({"scale": "small", "papers": ["own"]}, tmp_path)

    return plan


def first_of(plan: Plan) -> s.RunSpec:
    initial = family(plan, "students")[0].initial
    assert initial is not None
    assert isinstance(initial.run, s.RunSpec)
    return initial.run


def test_a_scale_can_train_from_scratch_or_take_other_weights(scaled: Callable[..., Plan]) -> None:
    plan = scaled(weights={"torchvision_v1": None})
    assert family(plan, "birds")[0].initial is None
    assert "small: trained from scratch in place of torchvision_v1" in plan.artifacts["own.all"].notes
    plan = scaled(weights={"torchvision_v1": {"weights": "other.safetensors", "sha256": "cd" * 32}})
    assert family(plan, "birds")[0].initial == s.Initial(i.UserWeights("other.safetensors", "cd" * 32))
    assert any("other.safetensors in place of torchvision_v1" in note for note in plan.artifacts["own.all"].notes)
    plan = scaled(
        weights={"torchvision_v1": {"family": "first", "alpha": 0.1, "seed": 2}},
        datasets={"birds": {"name": "digits"}}, models={"r18": grid()["models"]["cnn"]},
    )  # fmt: skip
    assert family(plan, "birds")[0].initial == s.Initial(dataclasses.replace(first_of(plan), targets=s.Smooth(0.1)), 2)
    note = "small: begun with first (alpha=0.1, seed=2) in place of torchvision_v1"
    assert note in plan.artifacts["own.all"].notes
    # Images of another network's input need no torchvision either.
    plan = scaled(
        weights={"torchvision_v1": None}, datasets={"birds": {"name": "glyphs"}}, models={"r18": {"name": "small_cnn"}}
    )
    assert family(plan, "birds")[0].model.name == "small_cnn"


def test_a_scale_cannot_replace_weights_that_no_grid_has(scaled: Callable[..., Plan]) -> None:
    with refused(SpecError, "small.yaml", "substitute.weights", "torchvision"):
        scaled(weights={"torchvision": None})
    with refused(SpecError, "substitute.weights.torchvision_v1"):
        scaled(weights={"torchvision_v1": {"torchvison": "IMAGENET1K_V1"}})
