"""What an artifact asks of its drawing module is refused when the plan is made, without the libraries that draw."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from refusals import refused

from softlabels.errors import SpecError
from softlabels.figures import drawing
from softlabels.figures.drawing import DRAWINGS, Drawing, check, kinds_of
from softlabels.grid.expand import load_plan
from softlabels.grid.parts.probes import Probe
from softlabels.grid.parts.recipe import Optimiser, Recipe
from softlabels.grid.plan import Artifact, Member
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


def test_every_drawing_module_can_be_asked_for() -> None:
    for name, path in DRAWINGS.items():
        module = importlib.import_module(path)
        assert isinstance(module.DRAWING, Drawing), name
        assert callable(module.measure), name
        assert callable(module.remarks), name
        assert kinds_of(name), name


def test_checking_imports_no_heavy_library() -> None:
    heavy = "{'pandas', 'numpy', 'matplotlib', 'seaborn', 'scipy', 'torch'}"
    modules = ", ".join(DRAWINGS.values())
    code = f"import sys, {modules}; print(*{heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_measuring_and_tables_wait_for_no_library_that_draws() -> None:
    code = "import sys, softlabels.figures.make; print(*{'matplotlib', 'seaborn', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


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


@pytest.mark.parametrize("good", GOOD, ids=lambda found: found.plot)
def test_what_can_be_drawn_passes(good: Artifact) -> None:
    check(good)


BAD = [
    (artifact("os"), "plot"),
    (artifact("reliability", kind="table"), "kind: figure"),
    (artifact("compare_table"), "kind: table"),
    (artifact("distillation_grid", chekpoint="last"), "options.chekpoint"),
    (artifact("distillation_grid", checkpoint="step:5"), "options.checkpoint"),
    (artifact("information", NOISY, classes=[0, 5]), "options.classes"),
    (artifact("reliability", taught=TAUGHT), "taught"),
    (artifact("smoothing_curves", taught=TAUGHT), "family taught"),
    (artifact("smoothing_curves", VAL, taught=TAUGHT), "family taught"),
    (artifact("smoothing_curves", CLEAN, taught=TAUGHT_BY_BEST), "best"),
    (artifact("smoothing_curves", CLEAN, taught=MATCHED), "logit matching"),
    (artifact("information"), "information"),
    (artifact("information", CLEAN), "alone"),
    (artifact("information", replace(NOISY, views=2)), "3 views"),
    (artifact("information", replace(NOISY, checkpoints="last")), "milestones"),
    (artifact("projection", TRAIN, VAL), "options.rows"),
    (rows({"classes": 3}), "options.rows[0].classes"),
    (rows({}, {"name": "x"}), "options.rows[1]"),
    (rows({"names": ["x"]}), "options.rows[0].names"),
    (rows({"dataset": "mnist"}), "options.rows[0]"),
    (rows({"classes": [0, 1, 7]}), "options.rows[0].classes"),
    (artifact("projection", TRAIN, rows=[ROW]), "options.rows[0]"),
]


@pytest.mark.parametrize(("bad", "named"), BAD)
def test_what_cannot_be_drawn_is_refused_in_one_sentence(bad: Artifact, named: str) -> None:
    with refused(SpecError, "artifact own.one", named):
        check(bad)


def test_one_data_set_of_the_paper_is_reported_on_one_split() -> None:
    found = artifact("compare_table", kind="table", taught=TAUGHT)
    one, other = found.members
    mixed = replace(found, members=(one, replace(other, published=(*other.published, ("reported_on", "test")))))
    with refused(SpecError, "cifar10", "published.reported_on"):
        check(mixed)


def test_an_artifact_is_measured_anew_when_a_published_number_changes(tmp_path: Path) -> None:
    found = artifact("reliability")
    assert set(drawing.artifact_digest(found, {found.id: found})) <= set("0123456789abcdef")
    papers = shutil.copytree(ROOT / "src/softlabels/papers", tmp_path / "same")
    changed = shutil.copytree(papers, tmp_path / "changed")
    table = changed / "published.csv"
    table.write_text(table.read_text().replace("1", "2", 1))
    before, same, after = (drawing.artifact_digest(found, {found.id: found}, *at) for at in ((), (papers,), (changed,)))
    assert before == same != after
