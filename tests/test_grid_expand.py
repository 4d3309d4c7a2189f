"""Configuration and grids to a plan; the files that are shipped, and what is refused."""

import copy
import dataclasses
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from refusals import refused

from softlabels.errors import SpecError
from softlabels.grid import spec as s
from softlabels.grid.config import SCHEMAS, read_yaml, schema, with_new_names
from softlabels.grid.costs import check_cache_budget, needed_caches
from softlabels.grid.expand import load_plan
from softlabels.grid.identity import run_id
from softlabels.grid.parts import recipe as r
from softlabels.grid.plan import Plan
from softlabels.papers import coverage

ROOT = Path(__file__).parents[1]
TRANSLATED = {f"chandrasegaran2022.{name}" for name in ("table5", "tableB2", "tableD3")}
IMAGES = {
    *{row["id"] for row in coverage.artifacts() if row["id"].startswith("chandrasegaran2022.")} - TRANSLATED,
    *(f"muller2019.{name}" for name in ("table1", "table2", "table3", "fig1", "fig2", "fig5", "fig6", "text_mnist")),
    *(row["id"] for row in coverage.artifacts() if row["id"].startswith(("yuan2020.", "zhang2020."))),
    *(
        f"ablations.{name}"
        for name in ("step_size", "scaled_ce", "mnist_methods", "mnist_generations", "mnist_temperatures")
    ),
}
TRANSLATION = {
    *(f"muller2019.{name}" for name in ("fig3", "fig4", "fig7", "text_appB")),
    *TRANSLATED,
    "ablations.truncation",
}
NAMES_IN_PRINT = {  # of data sets, students and teachers
    "image": (
        {"cifar10", "cifar100", "imagenet", "cub200_2011", "mnist", "tiny_imagenet", "cub200", "mnist_2000"},
        {"alexnet", "resnet56", "inception_v4", "fc_2x1200", "fc_2x800", "mlp"}
        | {"resnet18", "resnet50", "mobilenet_v2", "efficientnet_b0", "convnext_tiny"}
        | {"mobilenet_v2", "shufflenet_v2", "resnet18", "resnet50", "googlenet", "densenet121"}
        | {"plain_cnn", "resnext29_8x64d", "resnext101_32x8d", "resnet34", "resnet", "densenet"},
        {"resnet56", "fc_2x1200", "mlp", "resnet50", "plain_cnn", "resnext29_8x64d", "resnet34", "resnet", "densenet"}
        | {"mobilenet_v2", "shufflenet_v2", "resnet18", "googlenet", "densenet121"},
    ),
    "translation": (
        {"wmt_en_de", "iwslt_en_de", "iwslt_en_ru"},
        {"transformer_base", "transformer"},
        {"transformer"},
    ),
}


def config(**changes: Any) -> dict[str, Any]:
    """The configuration that is shipped, changed."""
    return read_yaml(ROOT / "config.yaml") | changes


def own_grid() -> dict[str, Any]:
    """The example in the comments of `config.yaml`, uncommented as its reader is told to."""
    lines = (ROOT / "config.yaml").read_text().splitlines()
    example = [line.removeprefix("# ") for line in lines[lines.index("# grid:") :]]
    grid: dict[str, Any] = yaml.safe_load("\n".join(example))["grid"]
    return grid


def plan_of(grid: dict[str, Any] | None = None, **changes: Any) -> Plan:
    """The plan of a grid of one's own alone."""
    return load_plan(config(papers=[], grid=grid or own_grid(), **changes), ROOT)


# ---------------------------------------------------------------- what is shipped


@pytest.mark.parametrize("scale", ["demo", "paper"])
@pytest.mark.parametrize("variants", [False, True])
def test_the_grid_expands_at_every_scale(scale: str, variants: bool) -> None:
    plan = load_plan(config(scale=scale, variants=variants), ROOT)
    assert set(plan.artifacts) >= IMAGES | TRANSLATION
    assert (set(plan.artifacts) == IMAGES | TRANSLATION) == (not variants)
    order = list(plan.runs)
    for name, run in plan.runs.items():
        teacher = s.teacher_of(run)
        if teacher is not None and isinstance(teacher.run, s.Run):
            assert order.index(run_id(teacher.run)) < order.index(name)
            needed = {teacher.seed_for(seed) for seed in plan.seeds[name]}
            assert needed <= set(plan.seeds[run_id(teacher.run)])


def test_fig5_at_paper_scale_is_24_runs_of_5_seeds() -> None:
    artifact = load_plan(config(scale="paper"), ROOT).artifacts["muller2019.fig5"]
    runs = {run_id(m.run): m.seeds for m in artifact.members}
    assert len(artifact.members) == 24
    assert len(runs) == 24
    assert set(runs.values()) == {(0, 1, 2, 3, 4)}


def test_the_teacher_of_fig5_is_the_network_of_fig6() -> None:
    artifacts = load_plan(config(scale="paper"), ROOT).artifacts
    hard = [m.run for m in artifacts["muller2019.fig5"].family("teachers") if m.value("alpha") == 0]
    assert hard[0] == artifacts["muller2019.fig6"].members[0].run
    assert hard[0].recipe.all_milestones(40_000) == tuple(range(0, 64_001, 4000))


def test_the_published_protocol() -> None:
    plan = load_plan(config(scale="paper"), ROOT)
    by_name = {name.rsplit(".", 1)[0]: run for name, run in plan.runs.items()}
    alexnet, resnet = by_name["cifar10.alexnet.kd-T3-resnet56-hard"], by_name["cifar10.resnet56.hard"]
    assert (alexnet.recipe.steps, alexnet.recipe.loss_scale, alexnet.recipe.optimiser.momentum) == (390_000, 3, 0)
    assert [round(b * 390_000) for b in alexnet.recipe.schedule.boundaries] == [130_000, 260_000]
    assert (resnet.recipe.steps, resnet.recipe.clip_norm, resnet.recipe.optimiser.nesterov) == (64_000, 1, True)
    assert [b * 64_000 for b in resnet.recipe.schedule.boundaries] == [32_000, 48_000]
    assert alexnet.recipe.augment == resnet.recipe.augment
    assert isinstance(alexnet.targets, s.Distill)
    assert (alexnet.targets.student_tempered, alexnet.targets.t2, alexnet.targets.beta) == (False, False, 1)
    mnist = by_name["mnist.fc_2x1200.ls0.1"]
    assert (mnist.recipe.optimiser.momentum, mnist.recipe.optimiser.dampening) == (0.9, 0.9)
    assert mnist.recipe.optimiser.groups[0].lr_factor == 0.1
    student = by_name["mnist.fc_2x800.match-b0.6-fc_2x1200-ls0.1"]
    assert student.recipe == dataclasses.replace(mnist.recipe, augment=r.Augment())


def test_step_size_has_every_way_temperature_and_teacher() -> None:
    artifact = load_plan(config(scale="paper"), ROOT).artifacts["ablations.step_size"]
    students = {name: artifact.family(f"mlp_students{name}") for name in ("", "_matched", "_adam")}
    for members in students.values():
        assert {(m.value("alpha"), m.value("T")) for m in members} == {(a, T) for a in (0, 0.1) for T in (1, 2, 3, 64)}
        assert min(len(m.seeds) for m in members) >= 5
    for one, other in zip(students[""], students["_matched"], strict=True):
        matched = dataclasses.replace(one.run.targets, gradient_norm="matched")  # type: ignore[type-var]
        assert other.run == dataclasses.replace(one.run, targets=matched)
        assert (other.run == one.run) == (one.value("T") == 1)
    for one, other in zip(students[""], students["_adam"], strict=True):
        assert other.run.recipe.optimiser == r.Optimiser(0.001, "adam")
        assert other.run == dataclasses.replace(one.run, recipe=other.run.recipe)
    assert {m.run.recipe.optimiser.name for m in artifact.family("mlp_teachers")} == {"sgd"}


def test_every_published_sweep_over_t_has_a_variant_with_matched_norms() -> None:
    for scale in ("demo", "paper"):
        artifacts = load_plan(config(scale=scale, variants=True), ROOT).artifacts
        tables = ("table2a", "table2b", "table4", "tableB1", "tableB3", "tableB5", "tableJ1", "table5", "tableB2")
        for name in ("muller2019.fig5", *(f"chandrasegaran2022.{table}" for table in tables)):
            swept, matched = ({m.run for m in artifacts[n].members} for n in (name, f"{name}_matched"))
            wanted = {
                dataclasses.replace(run, targets=dataclasses.replace(run.targets, gradient_norm="matched"))
                if isinstance(run.targets, s.Distill)
                else run
                for run in swept
            }
            assert matched == wanted
            assert swept != wanted


def test_published_names_are_those_of_the_paper() -> None:
    for scale in ("demo", "paper"):
        plan = load_plan(config(scale=scale, variants=True), ROOT)
        for artifact in plan.artifacts.values():
            for member in artifact.members:
                names = dict(member.published)
                datasets, students, teachers = NAMES_IN_PRINT[member.run.task]
                assert names["dataset"] in datasets
                assert names["student"] in students
                if s.teacher_of(member.run):
                    assert names["teacher"] in teachers


def test_demo_says_what_it_changed_and_paper_changes_nothing() -> None:
    demo, paper = load_plan(config(), ROOT), load_plan(config(scale="paper"), ROOT)
    fig5 = demo.artifacts["muller2019.fig5"].notes
    assert "demo: digits stands in for cifar10" in fig5
    assert any(note.startswith("demo: T of students of hard subsampled to") for note in fig5)
    assert not any("mnist" in note or "glyphs" in note for note in fig5)
    assert not any(artifact.notes for artifact in paper.artifacts.values())


def test_the_whole_demo_leaves_no_value_out() -> None:
    """`subsample: false`: the axes are the paper's, everything else is the demo."""
    whole, paper = load_plan(config(subsample=False), ROOT), load_plan(config(scale="paper"), ROOT)
    for name, artifact in whole.artifacts.items():
        assert [m.values for m in artifact.members] == [m.values for m in paper.artifacts[name].members]
        assert not any("subsampled" in note for note in artifact.notes)
    assert len(load_plan(config(), ROOT).runs) < len(whole.runs)


def test_the_demo_needs_only_embedded_data() -> None:
    plan = load_plan(config(variants=True), ROOT)
    assert {run.dataset.name for run in plan.runs.values()} == {"digits", "glyphs", "sentences"}


def test_a_scale_is_named_as_its_file() -> None:
    for path in (ROOT / "workflow" / "scales").glob("*.yaml"):
        assert read_yaml(path)["scale"] == path.stem


def test_every_variant_is_in_the_register() -> None:
    register = re.findall(r"^\| ([CMYZ]-[A-Z0-9]+) \|", (ROOT / "docs" / "conventions.md").read_text(), re.MULTILINE)
    for path in (ROOT / "workflow" / "grids").glob("**/*.yaml"):
        for name, artifact in read_yaml(path)["artifacts"].items():
            assert set(artifact.get("variants", ())) <= set(register), f"{path.stem}.{name}"


def test_the_audit_side_imports_no_torch() -> None:
    code = "import sys, softlabels.grid.audit; sys.exit(bool({'torch', 'numpy', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---------------------------------------------------------------- a grid of one's own


def test_the_example_in_the_configuration_works() -> None:
    artifact = plan_of().artifacts["own.distillation"]
    assert artifact.target == "own_distillation"
    assert (len(artifact.family("my_teachers")), len(artifact.family("my_students"))) == (4, 16)
    student = artifact.family("my_students")[0].run
    assert student.recipe.optimiser.weight_decay == 5e-4
    assert isinstance(student.targets, s.Distill)
    assert student.targets.teacher.run == artifact.family("my_teachers")[0].run
    assert artifact.notes == ()


def test_the_other_teachers_of_the_example_work() -> None:
    example = (ROOT / "config.yaml").read_text().replace("…", "0" * 64)
    text = [line.strip("# ") for line in example.splitlines()]
    network, logits = (
        yaml.safe_load(line)["teacher"] for line in text if line.startswith(("teacher: {w", "teacher: {l"))
    )
    grid = own_grid()
    grid["families"]["my_students"]["run"]["targets"]["teacher"] = network
    del grid["families"]["my_students"]["axes"]["alpha"]
    members = plan_of(grid).artifacts["own.distillation"].family("my_students")
    assert isinstance(members[0].run.targets, s.Distill)
    assert isinstance(members[0].run.targets.teacher.run, s.UserNetwork)
    assert dict(members[0].published)["teacher"] == "my_teacher"
    grid["recipes"]["my_recipe"]["augment"] = {}
    grid["families"]["my_students"]["run"]["targets"]["teacher"] = logits
    members = plan_of(grid).artifacts["own.distillation"].family("my_students")
    assert isinstance(members[0].run.targets, s.Distill)
    assert isinstance(members[0].run.targets.teacher.run, s.UserLogits)


def test_seeds_of_the_command_line_come_first() -> None:
    assert set(plan_of(seeds=[4, 7]).seeds.values()) == {(4, 7)}
    members = [m for artifact in load_plan(config(seeds=2), ROOT).artifacts.values() for m in artifact.members]
    assert {member.seeds for member in members} == {(0, 1)}


def test_a_fixed_teacher_is_trained_once_for_all_students() -> None:
    grid = own_grid()
    grid["families"]["my_students"]["run"]["targets"]["teacher"]["seed"] = 5
    grid["artifacts"]["distillation"]["families"] = ["my_students"]
    grid["artifacts"]["distillation"]["probes"] = {}
    plan = plan_of(grid)
    assert {plan.seeds[name] for name, run in plan.runs.items() if s.teacher_of(run) is None} == {(5,)}
    assert {seeds for _, seeds in needed_caches(plan).values()} == {(5,)}


def test_a_member_can_be_taught_by_another_of_its_family() -> None:
    grid = own_grid()
    grid["families"]["my_students"]["axes"] = {"teacher": ["my_teachers", "my_baseline"]}
    grid["families"]["my_students"]["run"]["targets"] |= {
        "temperature": 2,
        "teacher": {"family": "$teacher", "alpha": 0},
    }
    members = plan_of(grid).artifacts["own.distillation"].family("my_students")
    assert [dict(m.published)["teacher"] for m in members] == ["my_teacher", "my_student"]


def test_editing_one_alpha_changes_only_what_it_must() -> None:
    grid = own_grid()
    before = plan_of(grid).runs
    grid["families"]["my_teachers"]["axes"]["alpha"][3] = 0.3
    grid["families"]["my_students"]["axes"]["alpha"][3] = 0.3
    after = plan_of(grid).runs
    gone = set(before) - set(after)
    assert len(before) == len(after)
    assert len(gone) == 5
    assert all("ls0.2" in name for name in gone)


def test_imagenets_constants_are_refused_for_grey_images() -> None:
    grid = own_grid()
    grid["recipes"]["my_recipe"]["normalise"] = "imagenet"
    assert all(run.recipe.normalise == "imagenet" for run in plan_of(grid).runs.values())
    for dataset in ({"name": "digits"}, {"name": "mnist"}):
        grid["datasets"]["my_images"] = dataset
        with refused(SpecError, "recipe.normalise", dataset["name"]):
            plan_of(grid)


def targets_of(grid: dict[str, Any]) -> dict[str, Any]:
    """The targets of the students of the example."""
    found: dict[str, Any] = grid["families"]["my_students"]["run"]["targets"]
    return found


Change = Callable[[dict[str, Any]], Any]
BAD: list[tuple[Change, str]] = [
    (lambda g: g.update(familys={}), "familys"),
    (lambda g: g["recipes"]["my_recipe"].update(lr=1), "lr"),
    (lambda g: g["recipes"]["my_recipe"].update(updates=9), "updates"),
    (lambda g: g["recipes"]["my_recipe"]["optimiser"].update(lr="fast"), "my_recipe.optimiser.lr"),
    (lambda g: g["recipes"]["my_recipe"].update(steps=10), "steps"),
    (lambda g: g["recipes"]["my_recipe"].pop("batch_size"), "my_recipe.batch_size"),
    (lambda g: g["families"]["my_teachers"]["axes"].update(alpha=[0, 1]), "alpha"),
    (lambda g: g["families"]["my_teachers"]["axes"].update(seed=[0]), "seed"),
    (lambda g: g["families"]["my_students"]["axes"].update(T=[0]), "temperature"),
    (lambda g: g["families"]["my_students"]["axes"].update(alpha=[0.3]), "my_teachers(alpha=0.3)"),
    (lambda g: targets_of(g).update(temperature="$tau"), "$tau"),
    (lambda g: targets_of(g).update(temperature="hot"), "hot"),
    (lambda g: targets_of(g).update(temprature=2), "temprature"),
    (lambda g: targets_of(g).update(kind="distil"), "targets.kind"),
    (lambda g: targets_of(g).update(views=0), "targets.views"),
    (lambda g: targets_of(g)["teacher"].update(family="nobody"), "nobody"),
    (lambda g: targets_of(g)["teacher"].pop("alpha"), "alpha"),
    (lambda g: targets_of(g)["teacher"].update(beta=1), "beta"),
    (lambda g: targets_of(g)["teacher"].update(checkpoint="step:7"), "step 7"),
    (
        lambda g: targets_of(g).update(teacher={"family": "my_students", "alpha": "$alpha", "T": "$T"}),
        "my_students(alpha=0, T=1)",
    ),
    (lambda g: targets_of(g).update(teacher={"weights": "a", "sha256": "b" * 64}), "teacher.model"),
    (lambda g: targets_of(g).update(teacher={"logits": "a", "sha256": "b" * 64}), "augment"),
    (lambda g: targets_of(g).update(teacher={}), "teacher"),
    (lambda g: g["models"]["my_student"].update(name="resnet19"), "resnet19"),
    (lambda g: g["models"]["my_student"].update(options={"stm": 1}), "mobilenet_v2"),
    (lambda g: g["datasets"]["my_images"].update(name="cfar"), "datasets.my_images"),
    (lambda g: g["datasets"]["my_images"].pop("num_classes"), "num_classes"),
    (lambda g: g["families"]["my_students"]["run"].update(dataset="other"), "run.dataset"),
    (lambda g: g["artifacts"]["distillation"].update(families=["x"]), "distillation.families"),
    (lambda g: g["artifacts"]["distillation"].update(probes={"x": {}}), "distillation.probes"),
    (lambda g: g["artifacts"]["distillation"]["probes"]["my_teachers"].update(split="all"), "probes.my_teachers"),
    (lambda g: g["artifacts"]["distillation"]["probes"]["my_teachers"].update(classes=[10]), "probes.my_teachers"),
    (lambda g: g["artifacts"]["distillation"]["probes"]["my_teachers"].update(checkpoints="milestones"), "milestones"),
    (lambda g: g["artifacts"]["distillation"].update(seeds={"my_teachers": 1}), "my_baseline"),
    (
        lambda g: g["artifacts"]["distillation"].update(seeds=dict.fromkeys(g["families"], 1) | {"my_teacher": 1}),
        "my_teacher",
    ),
    (
        lambda g: g["artifacts"]["distillation"].update(
            kind="table", plot="compare_table", probes={}, options={"compare_with": "distilation"}
        ),
        "distilation",
    ),
    (lambda g: g["recipes"].update(my_recipe={"base": "b"}, b={"base": "my_recipe"}), "my_recipe ← b ← my_recipe"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "named"), BAD, ids=range(len(BAD)))
def test_a_bad_grid_is_one_sentence_that_names_file_and_key(change: Change, named: str) -> None:
    grid = copy.deepcopy(own_grid())
    change(grid)
    with refused(SpecError, named) as caught:
        plan_of(grid)
    assert str(caught.value).startswith("config.yaml: grid")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"scal": "demo"}, "scal"),
        ({"scale": "huge"}, "huge"),
        ({"papers": ["nobody"]}, "nobody"),
        ({"papers": "muller2019"}, "papers"),
        ({"seeds": 0}, "seeds"),
        ({"seeds": "three"}, "seeds"),
        ({"cache": {"max_byte": 1}}, "max_byte"),
        ({"jobs": {"max_minute": 60}}, "max_minute"),
        ({"jobs": {"sbatch": "--nice=5 --gres=gpu:2"}}, "--gres"),
        ({"jobs": {"sbatch": "-pfast"}}, "-p"),
        ({"jobs": {"max_minutes": 1}}, "jobs.max_minutes"),
    ],
)
def test_a_bad_configuration_is_one_sentence(changes: dict[str, Any], named: str) -> None:
    with refused(SpecError, named):
        load_plan(config(**changes), ROOT)


# ---------------------------------------------------------------- scales


@pytest.fixture
def workflow(tmp_path: Path) -> Callable[..., Plan]:
    """Plans of the demo scale with some of its keys replaced."""
    (tmp_path / "workflow" / "scales").mkdir(parents=True)
    (tmp_path / "workflow" / "grids").symlink_to(ROOT / "workflow" / "grids")

    def plan(changes: dict[str, Any], **of_config: Any) -> Plan:
        scale = read_yaml(ROOT / "workflow" / "scales" / "demo.yaml") | changes
        (tmp_path / "workflow" / "scales" / "demo.yaml").write_text(yaml.safe_dump(scale))
        return load_plan(config(**of_config), tmp_path)

    return plan


@pytest.mark.parametrize(
    ("subsample", "named"),
    [
        ({"teachers": {"alpha": [0, 0.2]}}, "subsample.muller2019.teachers.alpha"),
        ({"teachers": {"beta": [0]}}, "subsample.muller2019.teachers.beta"),
        ({"techers": {"alpha": [0]}}, "techers"),
        ({"teachers": {"alpha": [0]}}, "teachers(alpha=0.15)"),
    ],
)
def test_bad_subsampling(workflow: Callable[..., Plan], subsample: dict[str, Any], named: str) -> None:
    with refused(SpecError, named):
        workflow({"subsample": {"muller2019": subsample}})


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"substitute": {"datasets": {"cifar": {"name": "digits"}}}}, "cifar"),
        ({"substitute": {"models": {"alex": {"name": "mlp"}}}}, "alex"),
        ({"substitute": {"models": {"cifar1000/resnet56": {"name": "mlp"}}}}, "cifar1000/resnet56"),
        ({"substitute": {"recipes": {"iwslt_teachers": {"base": "iwslt_teacher"}}}}, "iwslt_teachers"),
        ({"subsample": {"muller19": {"teachers": {"alpha": [0]}}}}, "muller19"),
        ({"subsample": {"muller2019": {"techers": {"alpha": [0]}}}}, "techers"),
        ({"artifacts": {"ablations.truncate": {"seeds": 1}}}, "ablations.truncate"),
        ({"artifacts": {"ablations.truncation": {"seeds": {"techers": 1}}}}, "artifacts.ablations.truncation.seeds"),
        ({"artifacts": {"ablations.truncation": {"seeds": {"teachers": 1}}}}, "of_all_logits"),
        (
            {"artifacts": {"ablations.truncation": {"probes": {"techers": {"what": "translations"}}}}},
            "artifacts.ablations.truncation.probes",
        ),
    ],
)
def test_a_scale_that_names_what_no_grid_has(
    workflow: Callable[..., Plan], changes: dict[str, Any], named: str
) -> None:
    with refused(SpecError, "workflow/scales/demo.yaml", named):
        workflow(changes, papers=["ablations"])


def test_a_scales_recipe_builds_on_the_published_one(workflow: Callable[..., Plan]) -> None:
    short = {"recipes": {"resnet56_cifar100": {"base": "resnet56_cifar100", "epochs": 2}}}
    plan = workflow({"substitute": short, "subsample": {}, "artifacts": {}})
    runs = [m.run for m in plan.artifacts["muller2019.fig5"].family("teachers")]
    # The CIFAR-10 recipe builds on the one that the scale shortened and keeps its own milestones.
    assert {(r.recipe.steps, r.recipe.epochs, r.recipe.milestone_every, r.recipe.loss_scale) for r in runs} == {
        (None, 2, 4000, 3)
    }


def test_a_scale_leaves_a_grid_of_ones_own_alone() -> None:
    grid = own_grid()
    grid["datasets"]["my_images"] = {"name": "mnist"}
    grid["datasets"]["cifar10"] = {"name": "cifar10"}
    grid["families"]["my_baseline"]["run"]["dataset"] = "cifar10"
    names = {run.dataset.name for run in plan_of(grid).runs.values()}
    assert names == {"mnist", "cifar10"}


def test_the_cache_budget(tmp_path: Path) -> None:
    # Images: Fig. 5, little of MNIST, two teachers of ImageNet (20), three of birds (1.3). Of text, three seeds of two
    # teachers, in GB: features (EN-DE 2, EN-RU 2.3),
    # the 4 largest (0.06), and for each of four T the 4 and the 64 largest with normaliser (0.08, 1).
    for papers, size in ((["muller2019"], "30"), (["muller2019", "chandrasegaran2022", "ablations"], "105")):
        plan = load_plan(config(scale="paper", papers=papers, cache={"max_bytes": 1e9}), ROOT)
        with refused(SpecError, "cache.max_bytes", f"{size} GB"):
            check_cache_budget(plan)
    for variants in (False, True):
        check_cache_budget(load_plan(config(scale="paper", variants=variants), ROOT))
    check_cache_budget(load_plan(config(scale="paper", cache={"max_bytes": None}), ROOT))


# ---------------------------------------------------------------- YAML and schemas


@pytest.mark.parametrize(("text", "named"), [("a: 1\nb: 2\na: 3\n", "line 3"), ("a: [1", "line 2")])
def test_bad_yaml_names_file_and_line(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with refused(SpecError, named) as caught:
        read_yaml(path)
    assert str(path) in str(caught.value)


def test_scientific_numbers_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("lr: 1e-4\nsha256: 1234e5\nname: e5\n")
    assert read_yaml(path) == {"lr": 1e-4, "sha256": "1234e5", "name": "e5"}


@pytest.fixture(scope="module")
def schemas() -> dict[str, Any]:
    """As the command prints them: pydantic loses descriptions where a class was completed for something else before."""
    code = "import json; from softlabels.grid.config import SCHEMAS as all, schema; "
    code += "print(json.dumps({name: schema(name) for name in all}))"
    found: dict[str, Any] = json.loads(
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout
    )
    return found


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_key_is_described_and_no_other_is_let_through(schemas: dict[str, Any], name: str) -> None:
    made = schemas[name]
    for cls, node in {name: made, **made.get("$defs", {})}.items():
        if "properties" not in node:
            continue
        assert node["additionalProperties"] is False, cls
        assert node["description"], cls
        for key, item in node["properties"].items():
            inherited = cls in ("Teacher", "Initial") and key in ("seed", "checkpoint")  # described in Parent
            assert key == "kind" or inherited or "description" in item or "$ref" in item, f"{cls}.{key}"


@pytest.mark.parametrize("path", sorted((ROOT / "workflow").glob("grids/**/*.yaml")), ids=lambda path: path.stem)
def test_the_schema_takes_the_grids_that_there_are(path: Path) -> None:
    jsonschema.validate(read_yaml(path), schema("grid"))


# ---------------------------------------------------------------- keys as they were called


def test_old_names_of_keys_work_with_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(ROOT / "workflow", tmp_path / "workflow")
    replaced = {"scales/demo.yaml": ("\nsubsample:", "\nthin:"), "grids/zhang2020.yaml": ("    plot: ", "    draw: ")}
    for name, (new, old) in replaced.items():
        file = tmp_path / "workflow" / name
        file.write_text(file.read_text().replace(new, old))
    before, after = load_plan(config(thin=True), tmp_path), load_plan(config(subsample=True), ROOT)
    assert (before.runs, before.artifacts) == (after.runs, after.artifacts)
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == 2 + file.read_text().count("    draw: ")  # config.yaml, the scale, and every artifact
    assert "warning: config.yaml: thin is called subsample now; the old name goes with the next version" in warnings


def test_the_workflow_uses_no_old_names(capsys: pytest.CaptureFixture[str]) -> None:
    for path in (ROOT / "workflow" / "scales").glob("*.yaml"):
        load_plan(config(scale=path.stem, variants=True), ROOT)
    assert capsys.readouterr().err == ""


def test_an_old_name_on_the_command_line_counts(capsys: pytest.CaptureFixture[str]) -> None:
    """config.yaml has the new one."""
    assert load_plan(config(thin=False), ROOT).runs == load_plan(config(subsample=False), ROOT).runs
    assert capsys.readouterr().err.count("is called subsample now") == 1


def test_old_names_of_drawings_work(capsys: pytest.CaptureFixture[str]) -> None:
    entry: dict[str, Any] = {"title": "T", "kind": "figure", "families": ["a"], "draw": "own:my_figures"}
    entry["options"] = {"targets": ["ring_0"], "targets_of": 1}
    assert with_new_names({"artifacts": {"one": entry}}, "config.yaml: grid") == {
        "artifacts": {
            "one": {
                "title": "T", "kind": "figure", "families": ["a"], "plot": "custom:my_figures",
                "options": {"classes": ["ring_0"], "targets_of": 1},
            }
        }
    }  # fmt: skip
    said = capsys.readouterr().err
    assert "config.yaml: grid.artifacts.one.draw is called plot now" in said
    assert "config.yaml: grid.artifacts.one.options.targets is called classes now" in said
