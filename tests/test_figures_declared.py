"""What an artifact asks of its drawing module is refused when the plan is made, without the libraries that draw."""

from __future__ import annotations

import importlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from softlabels.errors import SpecError
from softlabels.figures.declared import DRAWINGS, check
from softlabels.files import sha256
from softlabels.grid.config import read_yaml
from softlabels.grid.expand import load_plan
from softlabels.grid.files import artifact_dict, digest
from softlabels.grid.plan import Artifact, Jobs, Member
from softlabels.grid.probes import Probe
from softlabels.grid.recipe import Optimiser, Recipe
from softlabels.grid.spec import DatasetSpec, Distill, Hard, LogitMatch, ModelSpec, RunSpec, Teacher

ROOT = Path(__file__).parents[1]
RUN = RunSpec(DatasetSpec("digits"), ModelSpec("mlp"), Hard(), Recipe(64, Optimiser(0.1), steps=10, milestone_every=5))
NAMES = (("dataset", "cifar10"), ("student", "alexnet"))
TAUGHT = replace(RUN, targets=Distill(Teacher(RUN), 2.0))
TAUGHT_BY_BEST = replace(RUN, targets=Distill(Teacher(RUN, checkpoint="best"), 2.0))
MATCHED = replace(RUN, targets=LogitMatch(Teacher(RUN), 0.5))
TRAIN, VAL = (Probe(split=split, what="features", classes=(0, 1, 2)) for split in ("train", "val"))
CLEAN = Probe()
NOISY = Probe(classes=(0, 5), views=3, checkpoints="milestones")
ROW = {"family": "alone", "dataset": "cifar10", "classes": [0, 1, 2], "names": ["a", "b", "c"]}


def artifact(
    draw: str, *probes: Probe, kind: str = "figure", taught: RunSpec | None = None, **options: Any
) -> Artifact:
    members = [Member("alone", (), RUN, (0,), NAMES)]
    members += [Member("taught", (), taught, (0,), (*NAMES, ("teacher", "resnet56")))] if taught else []
    probed = tuple(("alone", probe) for probe in probes)
    return Artifact("own.one", "One", kind, draw, tuple(members), probed, options, ())


def rows(*changed: dict[str, Any]) -> Artifact:
    return artifact("projection", TRAIN, VAL, rows=[ROW | change for change in changed])


def test_every_module_is_declared_as_it_is() -> None:
    files = {p.stem for p in (ROOT / "src/softlabels/figures").glob("*.py") if "def measure(" in p.read_text()}
    assert set(DRAWINGS) == files
    schema = read_yaml(ROOT / "workflow/schemas/grid.schema.yaml")
    assert schema["$defs"]["artifact"]["properties"]["draw"]["anyOf"][1]["enum"] == sorted(DRAWINGS)
    for name, drawing in DRAWINGS.items():
        module = importlib.import_module(f"softlabels.figures.{name}")
        for kind, function in (("figure", "draw"), ("table", "table")):
            assert hasattr(module, function) == (kind in drawing.kinds), (name, kind)


def test_checking_imports_no_heavy_library() -> None:
    heavy = "{'pandas', 'numpy', 'matplotlib', 'torch'}"
    code = f"import sys, softlabels.figures.declared; print(*{heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_tables_wait_for_no_library_that_draws() -> None:
    tables = [name for name, drawing in DRAWINGS.items() if drawing.kinds == ("table",)]
    modules = ", ".join(f"softlabels.figures.{name}" for name in ("make", *tables))
    code = f"import sys, {modules}; print(*{{'matplotlib', 'seaborn', 'torch'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
    assert len(tables) > 5


@pytest.mark.parametrize("scale", ["demo", "paper"])
def test_the_papers_artifacts_pass(scale: str) -> None:
    for found in load_plan({"scale": scale, "variants": True}, ROOT).artifacts.values():
        check(found)


GOOD = [
    artifact("compare_table", kind="table", taught=TAUGHT, compare_with="table2"),
    artifact("distillation_grid", kind="table", taught=TAUGHT, checkpoint="best"),
    artifact("smoothing_curves", CLEAN, taught=TAUGHT),
    artifact("information", NOISY),
    artifact("projection", VAL, TRAIN, rows=[ROW]),
    artifact("reliability"),
]


@pytest.mark.parametrize("good", GOOD, ids=lambda found: found.draw)
def test_what_can_be_drawn_passes(good: Artifact) -> None:
    check(good)


BAD = [
    (artifact("os"), "draw must be one of accuracy_curves, .*, not 'os'"),
    (artifact("reliability", kind="table"), "draw: reliability makes no table; use kind: figure"),
    (artifact("compare_table"), "draw: compare_table makes no figure; use kind: table"),
    (artifact("distillation_grid", chekpoint="last"), r"options\.chekpoint: .* its options are checkpoint"),
    (artifact("distillation_grid", checkpoint="step:5"), r"options\.checkpoint must be last or best"),
    (artifact("information", NOISY, classes=[0, 5]), r"options\.classes: .* it has none"),
    (artifact("reliability", taught=TAUGHT), "reliability shows .* those of taught have a teacher"),
    (artifact("smoothing_curves", taught=TAUGHT), "γ of family taught needs its teacher.*a probe of split: train"),
    (artifact("smoothing_curves", VAL, taught=TAUGHT), "γ of family taught needs its teacher"),
    (artifact("smoothing_curves", CLEAN, taught=TAUGHT_BY_BEST), r"γ of .* at its last checkpoint \(here: best\)"),
    (artifact("smoothing_curves", CLEAN, taught=MATCHED), "γ of .* logit matching has no temperature"),
    (artifact("information"), "information needs probes"),
    (artifact("information", CLEAN), "the probe of alone needs two classes"),
    (artifact("information", replace(NOISY, views=2)), "the probe of alone needs .* at least 3 views"),
    (artifact("information", replace(NOISY, checkpoints="last")), "the probe of alone needs .* milestones"),
    (artifact("projection", TRAIN, VAL), r"options\.rows must list"),
    (rows({"classes": 3}), r"options\.rows\[0\]\.classes must name three"),
    (rows({}, {"name": "x"}), r"options\.rows\[1\] has no key 'name'"),
    (rows({"names": ["x"]}), r"options\.rows\[0\]\.names must name the three"),
    (rows({"dataset": "mnist"}), r"options\.rows\[0\] selects no member"),
    (rows({"classes": [0, 1, 7]}), r"options\.rows\[0\]\.classes: 7 is not in the train probe"),
    (artifact("projection", TRAIN, rows=[ROW]), r"options\.rows\[0\]: family alone needs two probes"),
]


@pytest.mark.parametrize(("bad", "says"), BAD)
def test_what_cannot_be_drawn_is_refused_in_one_sentence(bad: Artifact, says: str) -> None:
    with pytest.raises(SpecError, match=f"^artifact own.one: {says}") as caught:
        check(bad)
    assert "\n" not in str(caught.value)


def test_one_data_set_of_the_paper_is_reported_on_one_split() -> None:
    found = artifact("compare_table", kind="table", taught=TAUGHT)
    one, other = found.members
    mixed = replace(found, members=(one, replace(other, published=(*other.published, ("reported_on", "test")))))
    with pytest.raises(SpecError, match=r"the families of cifar10 differ in published\.reported_on"):
        check(mixed)


def test_an_artifact_is_measured_anew_when_a_published_number_changes() -> None:
    found = artifact("reliability")
    rules = {
        "PLAN": SimpleNamespace(runs={}, jobs=Jobs()),
        "ARTIFACTS": {found.id: found},
        "artifact_dict": artifact_dict,
    }
    names: dict[str, Any] = {**rules, "digest": digest}
    exec((ROOT / "rules" / "common.smk").read_text(), names)  # plain Python, once the plan is there
    assert sha256(ROOT / "src/softlabels/papers/targets.csv") in names["PUBLISHED"]
    before = names["artifact_digest"](SimpleNamespace(paper="own", name="one"))
    names["PUBLISHED"] = ["another"]
    assert names["artifact_digest"](SimpleNamespace(paper="own", name="one")) != before
