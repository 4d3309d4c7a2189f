"""Generations, temperatures and methods side by side (Zhang & Sabuncu 2020), measured and drawn on generated files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from refusals import refused
from safetensors.numpy import save_file
from test_figures import CLEAN, TEACHER, K, artifact, made, make_logits, member, smooth, spec, write_run

from softlabels.errors import DataError, SpecError
from softlabels.figures.drawing import check
from softlabels.files import write_json
from softlabels.grid.expand import load_plan
from softlabels.grid.identity import probe_id, run_id
from softlabels.grid.parts.label_targets import BetaSmoothing, Smooth
from softlabels.grid.plan import Artifact, Member
from softlabels.grid.spec import Distill, MeanLabel, RunSpec, Teacher
from softlabels.layout import Layout
from softlabels.metrics.diversity import confidence_diversity
from softlabels.metrics.soft_targets import effective_label, entropy

FIRST = spec(smooth(0), TEACHER)
SEEDS = 3
ROOT = Path(__file__).parents[1]
ZHANG: dict[str, Any] = {"form": "ce", "student_tempered": False, "t2": False}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "demo")


def of(run: RunSpec, T: float = 1.0) -> RunSpec:
    return spec(Distill(Teacher(run), T, **ZHANG), TEACHER)


def chain(length: int = 3) -> list[Member]:
    members, run = [], FIRST
    for generation in range(1, length + 1):
        run = of(run)
        members.append(replace(member("generations", run), values=(("generation", generation),)))
    return members


def said(run: RunSpec, seed: int, scale: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits and labels of a network on its training images."""
    return make_logits(np.random.default_rng([seed, len(run_id(run))]), 300, 1.0, scale)


def write(layout: Layout, run: RunSpec, accuracy: float, scale: float = 2.0, **record: Any) -> None:
    for seed in range(SEEDS):
        write_run(layout, run, seed, accuracy + 0.01 * seed)
        z, labels = said(run, seed, scale)
        path = layout.probe(run_id(run), seed, probe_id(CLEAN))
        path.parent.mkdir(parents=True, exist_ok=True)
        meta = {"weights": {}, "class_names": [str(k) for k in range(K)]}
        tensors = {"ids": np.arange(300), "labels": labels, "logits/last": np.ascontiguousarray(z[:, None])}
        save_file(tensors, path, {"meta": json.dumps(meta)})
        write_json(layout.run(run_id(run), seed) / "run.json", {"files": {}, **record})


def figure(members: list[Member], **options: Any) -> Artifact:
    families = dict.fromkeys(m.family for m in members)
    probes = [(family, CLEAN) for family in families if family in ("first", "generations")]
    return artifact("self_distillation", members, probes=probes, options=options, name="zhang2020.fig1")


def generations(layout: Layout, scale: float = 2.0) -> list[Member]:
    members = [member("first", FIRST), *chain()]
    for number, m in enumerate(members):
        write(layout, m.run, 0.80 + 0.02 * number, scale)  # type: ignore[arg-type]
    return members


def test_generations_and_what_their_teachers_said(layout: Layout) -> None:
    members = generations(layout)
    rows, plotted, provenance = made(figure(members), layout)
    top1 = plotted[plotted["metric"] == "top1"].set_index("x")
    assert top1["mean"].to_dict() == pytest.approx({0: 81, 1: 83, 2: 85, 3: 87})
    assert set(plotted[plotted["metric"] == "confidence_diversity"]["x"]) == {1, 2, 3}  # the first has no teacher
    second = rows[(rows["run_id"] == run_id(members[2].run)) & (rows["seed"] == 1)].set_index("metric")["value"]
    z, labels = said(members[1].run, 1)  # type: ignore[arg-type]
    assert second["predictive_uncertainty"] == pytest.approx(entropy(z, 1.0))
    assert second["confidence_diversity"] == pytest.approx(confidence_diversity(z, labels, 1.0, 3))
    assert second["confidence_diversity_k10"] == pytest.approx(confidence_diversity(z, labels, 1.0, 10))
    assert "n = 3 seeds" in provenance["face"][0]
    assert "by 3 nearest neighbours" in provenance["face"][0]
    assert provenance["face"][1].startswith("With 1, 5, 10 in place of 3 neighbours diversity differs by at most")


def test_temperatures_and_the_best_generation_as_a_line(layout: Layout) -> None:
    members = generations(layout)
    over = [member("temperatures", of(FIRST, T)) for T in (1.0, 2.0, 5.0, 10.0)]
    for number, m in enumerate(over):
        write(layout, m.run, 0.83 + 0.01 * number)  # type: ignore[arg-type]
    _, plotted, provenance = made(figure([*members, *over], over="temperature"), layout)
    lines = plotted.groupby("line")["x"].unique().to_dict()
    assert sorted(lines["temperatures"]) == [1, 2, 5, 10]
    assert sorted(lines["generations at T = 1"]) == [1, 2, 3]
    uncertainty = plotted[(plotted["metric"] == "predictive_uncertainty") & (plotted["line"] == "temperatures")]
    assert uncertainty.sort_values("x")["mean"].is_monotonic_increasing
    assert any("diversity" in line and "pooled std" in line for line in provenance["face"][1:])
    assert "Dashed: the best mean of 3 generations at T = 1." in provenance["face"]


def test_the_flat_lines_of_fig2_are_the_best_of_fig1(layout: Layout) -> None:
    """Of all four quantities: a generation whose logits nobody probed would make the line too low."""
    members = generations(layout)
    over = [member("temperatures", of(FIRST, T)) for T in (1.0, 2.0)]
    for m in over:
        write(layout, m.run, 0.83)  # type: ignore[arg-type]
    fig1 = made(figure(members), layout)[1]
    fig2 = made(replace(figure([*members, *over], over="temperature"), id="zhang2020.fig2"), layout)[1]
    best = fig1[fig1["x"] > 0].groupby("metric")["mean"].agg(["min", "max"])
    flat = fig2[fig2["line"] == "generations at T = 1"].groupby("metric")["mean"].agg(["min", "max"])
    assert len(flat) == 4
    np.testing.assert_array_equal(flat, best.loc[flat.index])
    without = replace(figure([*members, *over], over="temperature"), probes=(("first", CLEAN),))
    with refused(SpecError, "zhang2020.fig1", "generations"):
        check(without)


def test_both_figures_of_the_grid_probe_every_teacher() -> None:
    plan = load_plan({"scale": "paper"}, ROOT)
    probed = [dict(plan.artifacts[f"zhang2020.{name}"].probes) for name in ("fig1", "fig2")]
    assert probed[0] == probed[1]


def test_tied_probabilities_are_left_out_and_said(layout: Layout) -> None:
    members = generations(layout)
    tied = members[1].run
    for seed in range(SEEDS):
        z, labels = said(tied, seed)  # type: ignore[arg-type]
        z[labels == 3] = np.eye(K)[3] * 5  # thirty or so examples of one confidence
        path = layout.probe(run_id(tied), seed, probe_id(CLEAN))
        meta = {"meta": json.dumps({"weights": {}, "class_names": [str(k) for k in range(K)]})}
        tensors = {"ids": np.arange(300), "labels": labels, "logits/last": np.ascontiguousarray(z[:, None])}
        save_file(tensors, path, meta)
    rows, _, provenance = made(figure(members), layout)
    assert run_id(members[2].run) not in set(rows[rows["metric"] == "confidence_diversity"]["run_id"])
    assert "Left out: 3 of 9 teachers, whose tied probabilities have no diversity." in provenance["face"]


def test_no_diversity_at_all_is_an_error(layout: Layout) -> None:
    members = generations(layout)[:2]
    for seed in range(SEEDS):
        path = layout.probe(run_id(FIRST), seed, probe_id(CLEAN))
        meta = {"meta": json.dumps({"weights": {}, "class_names": [str(k) for k in range(K)]})}
        tied = {"ids": np.arange(50), "labels": np.arange(50) % K, "logits/last": np.zeros((50, 1, K), np.float32)}
        save_file(tied, path, meta)
    with refused(DataError, "zhang2020.fig1", "confidence diversity"):
        made(figure(members), layout)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"over": "epoch"}, "options.over"),
        ({"neighbours": [0]}, "options.neighbours"),
        ({"neighbours": []}, "options.neighbours"),
    ],
)
def test_bad_options(layout: Layout, options: dict[str, Any], named: str) -> None:
    with refused(SpecError, named):
        check(figure([member("first", FIRST), *chain()], **options))


def test_teachers_must_be_shown_and_asked(layout: Layout) -> None:
    with refused(SpecError, "artifact zhang2020.fig1", "generations"):
        check(figure(chain()))
    with refused(SpecError, "first", "split: train"):
        check(replace(figure([member("first", FIRST), *chain()]), probes=()))


# ---------------------------------------------------------------- methods


def test_methods_are_compared_with_hard_labels_seed_by_seed(layout: Layout) -> None:
    runs = {
        "ce": FIRST,
        "ls": spec(Smooth(0.15, "others"), TEACHER),
        "beta": spec(BetaSmoothing(3, beta=0.6), TEACHER),
        "sd": spec(Distill(Teacher(FIRST), MeanLabel(0.85), beta=0.4, **ZHANG), TEACHER),
    }
    members = [member(family, run) for family, run in runs.items()]
    members[3] = replace(members[3], published=(*members[3].published, ("method", "self_distillation")))
    for number, (m, T) in enumerate(zip(members, (None, None, None, 2.5), strict=True)):
        write(layout, m.run, 0.80 + 0.02 * number, **({"temperature": T} if T else {}))  # type: ignore[arg-type]
    art = artifact("methods", members, probes=[("ce", CLEAN)], name="zhang2020.fig3")
    rows, plotted, provenance = made(art, layout)
    top1 = plotted[plotted["metric"] == "top1"].set_index("method")
    assert top1["gain"].to_dict() == pytest.approx(
        {"labels": float("nan"), "label smoothing, 0.15": 2, "Beta smoothing": 4, "self-distillation": 6}, nan_ok=True
    )
    assert top1.loc["self-distillation", ["low", "high"]].tolist() == pytest.approx([6, 6])
    label = rows[rows["metric"] == "mean_true_class_target"].groupby("method")["value"].mean()
    z, labels = said(FIRST, 0)
    sd = rows[(rows["metric"] == "mean_true_class_target") & (rows["method"] == "self_distillation")].set_index("seed")
    assert sd.loc[0, "value"] == pytest.approx(effective_label(z, labels, 2.5, 0.4))
    assert (label["ls"], label["beta_smoothing"]) == pytest.approx((0.85, 0.85))
    assert rows[rows["metric"] == "temperature"]["value"].tolist() == [2.5] * SEEDS
    assert any("Temperatures solved for: 2.5 to 2.5" in line for line in provenance["face"])


def test_a_mean_label_that_no_temperature_gives_is_drawn_and_said(layout: Layout) -> None:
    """Z-LABEL: a weak teacher, on 0.625 of the images or fewer right."""
    asked = MeanLabel(0.85, otherwise="nearest")
    student = spec(Distill(Teacher(FIRST), asked, beta=0.4, **ZHANG), TEACHER)
    members = [member("ce", FIRST), member("sd", student)]
    write(layout, FIRST, 0.5)
    write(layout, student, 0.52, temperature=0.001, mean_label=0.812)
    for seed, label in ((0, 0.85), (1, 0.807)):
        path = layout.run(run_id(student), seed) / "run.json"
        write_json(path, {"files": {}, "temperature": 0.001 if seed else 1.7, "mean_label": label})
    rows, plotted, provenance = made(
        artifact("methods", members, probes=[("ce", CLEAN)], name="zhang2020.fig3"), layout
    )
    top1 = plotted[(plotted["metric"] == "top1") & (plotted["method"] == "distillation")]
    assert top1["n"].tolist() == [3]
    assert sorted(rows[rows["metric"] == "mean_label"]["value"]) == [0.807, 0.812, 0.85]
    (line,) = [line for line in provenance["face"] if "Z-LABEL" in line]
    assert "of 2 of 3 seeds a mean label of 0.85; the nearest are 0.807 to 0.812, at T = 0.001 to 0.001" in line
