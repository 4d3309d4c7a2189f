"""Every number that Yuan et al. and Zhang & Sabuncu print stands beside a run of the grids, at both scales."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from softlabels.grid.declared.datasets import info
from softlabels.grid.expand import load_plan
from softlabels.grid.identity import run_id
from softlabels.grid.parts.label_targets import VirtualTeacher
from softlabels.grid.plan import Artifact, Plan
from softlabels.metrics.rows import COLUMNS, key_columns
from softlabels.metrics.virtual_teacher import released_smoothing
from softlabels.papers.published import compare, published

ROOT = Path(__file__).parents[1]
README = ("baseline", "re_kd", "de_kd", "tf_self", "reg_lsr", "text")
COMPARED = ("table2", *(f"readme_{name}" for name in README))
"""Artifacts of Yuan et al. that compare_table shows, and that print numbers of runs."""
WITHOUT_A_RUN = {"readme_text": 1}
"""A parameter count, which Table 3 has too."""


@pytest.fixture(scope="module", params=["paper", "demo"])
def plan(request: pytest.FixtureRequest) -> Plan:
    return load_plan({"scale": request.param}, ROOT)


def answers(artifact: Artifact) -> pd.DataFrame:
    """A row of each member for everything that the paper prints for the artifact; gains of all but the baseline."""
    wanted = published(artifact.paper, artifact.name)[["split", "metric", "target_class"]].drop_duplicates()
    rows = []
    for m in artifact.members:
        own = key_columns(artifact, m, run_id(m.run), "demo")
        for split, metric, target_class in wanted.itertuples(index=False):
            if metric == "top1_delta" and m.family in artifact.options.get("baseline", ()):
                continue
            place = {"split": "test" if split == "val" else split, "metric": metric, "target_class": target_class}
            rows.append({**own, **place, "value": 50.0, "seed": 0, "checkpoint": "last"})
    return pd.DataFrame(rows, columns=list(COLUMNS)).drop_duplicates()


@pytest.mark.parametrize("name", COMPARED)
def test_every_printed_number_has_a_run(plan: Plan, name: str) -> None:
    artifact = plan.artifacts[f"yuan2020.{name}"]
    table = compare(answers(artifact), artifact)
    printed = table[table["published"].notna()]
    alone = printed[printed["n"] == 0]
    assert len(alone) == WITHOUT_A_RUN.get(name, 0), alone.to_string()
    assert len(printed) >= len(published("yuan2020", name))


def test_settings_are_those_of_the_tables() -> None:
    """T and β of the supplement (Table 1, 2, 5, 6) on CIFAR-100, by teacher and student; released multipliers."""
    plan = load_plan({"scale": "paper"}, ROOT)
    found = {}
    for name in ("table1", "table2", "table5", "table6"):
        artifact = plan.artifacts[f"yuan2020.{name}"]
        for m in artifact.members:
            row = key_columns(artifact, m, "", "")
            if row["dataset"] == "cifar100" and row["method"] not in ("ce", "ls"):
                key = (name, row["method"], row["teacher"], row["student"])
                found[key] = (row["kd_temperature"], row["kd_beta"])
    assert found["table1", "kd", "resnet18", "mobilenet_v2"] == ("20", "0.95")
    assert found["table1", "kd", "resnext29_8x64d", "resnet18"] == ("20", "0.6")
    assert found["table1", "re_kd", "shufflenet_v2", "densenet121"] == ("20", "0.6")
    assert found["table2", "de_kd", "resnet50", "resnet18"] == ("20", "0.6")
    assert found["table2", "de_kd", "resnext29_8x64d", "shufflenet_v2"] == ("20", "0.95")
    assert found["table5", "tf_kd_self", "resnet18", "resnet18"] == ("6", "0.95")
    assert found["table5", "tf_kd_self", "googlenet", "googlenet"] == ("20", "0.4")
    assert found["table6", "tf_kd_reg", "", "mobilenet_v2"] == ("40", "0.95")
    assert found["table6", "tf_kd_reg", "", "googlenet"] == ("40", "0.1")
    assert len(found) == 8 + 8 + 8 + 6 + 4


RELEASED = {
    ("kd", "resnet18", "mobilenet_v2"): (128, 1), ("kd", "resnet50", "mobilenet_v2"): (128, 1),
    ("kd", "densenet121", "shufflenet_v2"): (128, 1), ("kd", "resnext29_8x64d", "mobilenet_v2"): (64, 1),
    ("kd", "resnext29_8x64d", "resnet18"): (64, 1), ("re_kd", "mobilenet_v2", "resnet18"): (128, 1),
    ("re_kd", "mobilenet_v2", "resnet50"): (128, 1), ("re_kd", "shufflenet_v2", "resnet50"): (128, 1),
    ("re_kd", "mobilenet_v2", "densenet121"): (128, 1), ("re_kd", "shufflenet_v2", "densenet121"): (100, 1),
    ("re_kd", "mobilenet_v2", "resnext29_8x64d"): (64, 1), ("re_kd", "resnet18", "resnext29_8x64d"): (64, 1),
    ("de_kd", "resnet18", "mobilenet_v2"): (128, 1), ("de_kd", "resnet50", "shufflenet_v2"): (128, 1),
    ("de_kd", "resnext29_8x64d", "mobilenet_v2"): (64, 1), ("de_kd", "resnext29_8x64d", "shufflenet_v2"): (64, 1),
    ("de_kd", "resnet50", "resnet18"): (64, 1), ("de_kd", "resnext29_8x64d", "resnet18"): (64, 1),
    ("tf_kd_self", "mobilenet_v2", "mobilenet_v2"): (128, 1), ("tf_kd_self", "resnet18", "resnet18"): (128, 50),
    ("tf_kd_self", "googlenet", "googlenet"): (64, 50), ("tf_kd_self", "densenet121", "densenet121"): (100, 50),
    ("tf_kd_self", "resnext29_8x64d", "resnext29_8x64d"): (64, 100), ("tf_kd_reg", "", "mobilenet_v2"): (128, 1),
    ("tf_kd_reg", "", "shufflenet_v2"): (128, 1), ("tf_kd_reg", "", "resnet18"): (128, 100),
    ("tf_kd_reg", "", "googlenet"): (64, 50),
}  # fmt: skip
"""Method, teacher, student on CIFAR-100 → batch and multiplier of the code's params.json (commit c0d926e)."""


def test_batches_and_multipliers_are_those_of_the_settings_files() -> None:
    plan = load_plan({"scale": "paper"}, ROOT)
    found = {}
    for name in ("table1", "table2", "table5", "table6", "readme_reg_lsr"):
        artifact = plan.artifacts[f"yuan2020.{name}"]
        for m in artifact.members:
            row = key_columns(artifact, m, "", "")
            if row["dataset"] == "cifar100" and m.run.recipe.steps != 0:  # type: ignore[union-attr]
                recipe, multiplier = m.run.recipe, getattr(m.run.targets, "multiplier", 1)
                found[row["method"], row["teacher"], row["student"]] = (recipe.batch_size, multiplier)  # type: ignore[union-attr]
                assert recipe.optimiser.lr == pytest.approx(0.1 * recipe.batch_size / 128)  # type: ignore[union-attr]
    assert RELEASED.items() <= found.items()


def test_images_of_tiny_imagenet_are_rotated_by_nearest_neighbours() -> None:
    """torchvision's default, which the code leaves as it is (Y-AUG)."""
    found = load_plan({"scale": "paper"}, ROOT).artifacts["yuan2020.table5"].family("tiny_self")
    assert {(m.run.recipe.augment.rotate, m.run.recipe.augment.rotate_by) for m in found} == {(20, "nearest")}  # type: ignore[union-attr]


@pytest.mark.parametrize("artifact", ["table6", "readme_text"])
def test_no_virtual_teacher_is_without_effect(artifact: str) -> None:
    """Y-REG: averaged over K classes too, a term of β = 0.1 without a multiplier smooths by less than 0.001."""
    for m in load_plan({"scale": "paper"}, ROOT).artifacts[f"yuan2020.{artifact}"].members:
        targets = m.run.targets
        if isinstance(targets, VirtualTeacher):
            num_classes = info(m.run.dataset).num_classes  # type: ignore[arg-type]
            assert released_smoothing(num_classes, targets.temperature, targets.beta, targets.multiplier)[0] > 0.05


def test_the_searched_alphas_are_fifty() -> None:
    plan = load_plan({"scale": "paper"}, ROOT)
    lsr = plan.artifacts["yuan2020.table4"].family("lsr")
    alphas = sorted({m.value("alpha") for m in lsr})
    assert alphas == pytest.approx([0.01 + 0.02 * i for i in range(50)])
    assert len(lsr) == 3 * 50


def test_poor_teachers_are_milestones_of_the_baselines() -> None:
    """One training is the baseline, the good teacher and the poor one."""
    plan = load_plan({"scale": "paper"}, ROOT)
    table = plan.artifacts["yuan2020.table2"]
    baselines = {m.run for m in plan.artifacts["yuan2020.readme_baseline"].members}
    for family, checkpoint in (("poor_resnet18", "step:352"), ("poor_resnet50", "step:35156")):
        (poor,) = table.family(family)
        assert poor.run.initial.run in baselines  # type: ignore[union-attr]
        assert poor.run.initial.checkpoint == checkpoint  # type: ignore[union-attr]
    (student, _) = table.family("de_kd_of_resnet50")
    assert student.run.targets.teacher.run in baselines  # type: ignore[union-attr]
    assert student.run.targets.teacher.checkpoint == "step:35156"  # type: ignore[union-attr]


def test_every_method_of_fig3_has_the_same_mean_label() -> None:
    plan = load_plan({"scale": "paper"}, ROOT)
    kinds = {}
    for m in plan.artifacts["zhang2020.fig3"].members:
        row = key_columns(plan.artifacts["zhang2020.fig3"], m, "", "")
        kinds.setdefault((row["dataset"], row["student"]), []).append((row["method"], len(m.seeds)))
    methods = [("ce", 5), ("ls", 5), ("beta_smoothing", 5), ("self_distillation", 5)]
    wanted = [(d, s) for d in ("cifar100", "tiny_imagenet", "cub200") for s in ("resnet", "densenet")]
    assert kinds == dict.fromkeys(wanted, methods)
