"""Artifacts without networks: words, an index, sizes, an algorithm. A grid may declare them, and they cost nothing."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from refusals import refused
from test_figures import made, member, smooth, spec

from softlabels.errors import SpecError
from softlabels.figures.drawing import DRAWINGS, check
from softlabels.grid.audit import audit, render
from softlabels.grid.expand import load_plan
from softlabels.grid.files import read_artifact, write_plan
from softlabels.grid.identity import run_id
from softlabels.grid.plan import Artifact, Plan
from softlabels.grid.spec import Distill, Teacher
from softlabels.layout import Layout
from softlabels.papers.quotes import quoted

ROOT = Path(__file__).parents[1]
PAPER = "chandrasegaran2022"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "demo")


def artifact(name: str, draw: str, **options: Any) -> Artifact:
    return Artifact(f"{PAPER}.{name}", name, "table", draw, (), (), options, ())


def shown(art: Artifact, layout: Layout) -> tuple[pd.DataFrame, dict[str, Any]]:
    check(art)
    _, _, provenance = made(art, layout)
    return pd.read_csv(layout.output("table", art.paper, art.name, ".csv"), keep_default_na=False), provenance


def test_positions_are_quoted_with_what_measures_them(layout: Layout) -> None:
    table, provenance = shown(artifact("table1", "quoted"), layout)
    assert len(table) == len(quoted(PAPER, "table1")) == 13
    assert set(table["who"]) == {"Müller et al. (2019)", "Shen et al. (2021b)", "Chandrasegaran et al. (2022)"}
    one = table[table["text"].str.startswith("LS-trained teacher can hurt")].iloc[0]
    assert one[["claims", "measured_by"]].tolist() == ["M04, M19", "muller2019_fig5, muller2019_text_mnist"]
    assert provenance["runs"] == provenance["missing"] == {}


def test_every_quote_is_in_its_place() -> None:
    table = pd.concat([quoted(PAPER, name) for name in ("table1", "tableA1")])
    claims = [claim for listed in table["claims"] for claim in listed.split(";") if claim]
    assert all(claim[0] in "MC" and claim[1:].isdigit() for claim in claims)
    targets = {target for listed in table["measured_by"] for target in listed.split(";") if target}
    assert all(target.split(".")[0] in ("muller2019", PAPER) for target in targets)
    grid = yaml.safe_load((ROOT / "workflow/grids/muller2019.yaml").read_text())
    assert {t.split(".")[1] for t in targets if t.startswith("muller2019.")} <= set(grid["artifacts"])


def test_an_index_reads_the_grid(layout: Layout) -> None:
    teacher = spec(smooth(0.1))
    students = [member("students", spec(Distill(Teacher(teacher), t)), paper="imagenet") for t in (3.0, 1.0)]
    listed = Artifact(f"{PAPER}.fig1", "Fig. 1", "figure", "projection", tuple(students), (), {}, ())
    runs = {run_id(run): run for run in (teacher, *(m.run for m in students))}
    plan = Plan("demo", {listed.id: listed}, runs, dict.fromkeys(runs, (0,)), 1, 1, 1e9)
    write_plan(plan, layout.root / "specs")

    art = artifact("tableA1", "figure_index", artifacts=["fig1", "figA9"])  # figA9 is not in this plan
    table, provenance = shown(art, layout)
    (row,) = table.to_dict("records")
    assert row["target"] == f"{PAPER}_fig1"
    assert (row["teacher"], row["student"], row["dataset"]) == ("resnet56", "alexnet", "imagenet")
    assert row["temperatures"] == "1, 3"
    assert row["alphas"] == 0.1
    assert row["printed"] == "Figure 1"
    assert row["printed_networks"] == "ResNet-50 / ResNet-18"
    assert row["stands_for"].startswith("digits / alexnet (for imagenet")
    assert f"specs/artifacts/{PAPER}.fig1.json" in provenance["inputs"]
    with refused(SpecError, "options.artifacts"):
        check(artifact("tableA1", "figure_index"))


def test_sizes_stand_beside_those_quoted(layout: Layout) -> None:
    names = ("resnet50", "mobilenet_v2", "efficientnet_b0")
    networks = [{"network": name, "model": name, "classes": 1000, "side": 224} for name in names]
    table, _ = shown(artifact("text_params", "complexity", networks=networks), layout)
    found = {r["network"]: (r["parameters"], r["published_millions"]) for r in table.to_dict("records")}
    assert found == {
        "resnet50": (25_557_032, 25.6), "mobilenet_v2": (3_504_872, 3.5), "efficientnet_b0": (5_288_548, 5.3)
    }  # fmt: skip
    assert (table["millions_difference"].abs() < 0.05).all()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model": "resnet_50"}, "resnet_50"),
        ({"stem": "small"}, "stem"),
        ({"classes": 1}, "resnet50"),
        ({"width": 2}, "width"),
    ],
)
def test_networks_that_cannot_be_counted_are_refused(change: dict[str, Any], named: str) -> None:
    network = {"network": "resnet50", "model": "resnet50", "classes": 1000, "side": 224}
    with refused(SpecError, named):
        check(artifact("text_params", "complexity", networks=[network | change]))
    with refused(SpecError, "options.networks"):
        check(artifact("text_params", "complexity"))


def test_costs_stand_beside_those_printed(layout: Layout) -> None:
    """Table 3 of Yuan et al. is of ImageNet networks but for one; those that are trained stand there too."""
    grid = load_plan({"scale": "paper", "papers": ["yuan2020"]}, ROOT).artifacts["yuan2020.table3"]
    table, _ = shown(grid, layout)
    rows = {(r["network"], r["classes"]): r for r in table.to_dict("records")}
    assert len(rows) == 14
    for (network, classes), row in rows.items():
        assert (row["published_millions"] == "") == (classes == 100 and network != "resnext29_8x64d")
    assert rows["resnext29_8x64d", 100]["parameters"] == 34_518_948
    assert rows["resnet18", 1000]["giga_multiply_adds"] == pytest.approx(1.814, abs=1e-3)
    printed = [r for r in rows.values() if r["published_millions"] != "" and r["network"] != "googlenet"]
    assert all(abs(float(r["millions_difference"])) <= 0.011 for r in printed)


def test_the_algorithm_is_worked_through(layout: Layout) -> None:
    table, provenance = shown(artifact("algF", "projection_steps"), layout)
    assert table["step"].tolist() == list(range(1, 8))
    assert (table["largest_difference"] < 1e-12).all()
    assert "% of the variance" in provenance["face"][1]


def test_networks_and_drawing_go_together() -> None:
    with refused(SpecError, "quoted", "families"):
        check(replace(artifact("table1", "quoted"), members=(member("m", spec(smooth(0.1))),)))
    with refused(SpecError, "compare_table", "families"):
        check(artifact("table1", "compare_table"))
    assert not any(import_module(DRAWINGS[name]).DRAWING.of_networks for name in ("quoted", "complexity"))


GRID = {"paper": "own", "datasets": {}, "models": {}, "recipes": {}, "families": {}}


def declared(**changed: Any) -> dict[str, Any]:
    content = {"title": "T", "kind": "table", "plot": "projection_steps", "families": []} | changed
    return {"papers": [], "grid": GRID | {"artifacts": {"alg": content}}}


def test_a_grid_declares_them_without_seeds_and_they_cost_nothing(tmp_path: Path) -> None:
    plan = load_plan(declared(), ROOT)
    assert plan.runs == {}
    assert plan.artifacts["own.alg"].members == ()
    found = audit(plan, tmp_path)
    assert found["artifacts"]["own.alg"]["trainings"] == 0
    assert "no runs" in render(found)
    write_plan(plan, tmp_path / "specs")
    assert read_artifact(tmp_path / "specs", "own.alg") == plan.artifacts["own.alg"]
    assert load_plan(declared() | {"seeds": 3}, ROOT).runs == {}


@pytest.mark.parametrize("changed", [{"seeds": 3}, {"probes": {}}])
def test_a_grid_gives_them_nothing_without_effect(changed: dict[str, Any]) -> None:
    with refused(SpecError, "artifacts.alg"):
        load_plan(declared(**changed), ROOT)


def test_an_index_names_artifacts_of_its_grid() -> None:
    content = declared(plot="figure_index", options={"artifacts": ["fig9"]})
    with refused(SpecError, "options.artifacts", "fig9"):
        load_plan(content, ROOT)
