"""Precision by what the machine has: no bf16 on a CPU, in plans and in jobs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import DIGITS
from refusals import says

from softlabels.cli import main
from softlabels.data.prepare import prepare
from softlabels.errors import EXIT_USAGE
from softlabels.files import read_json
from softlabels.grid.audit import warnings_about
from softlabels.grid.config import read_yaml
from softlabels.grid.expand import load_plan
from softlabels.grid.files import write_plan
from softlabels.grid.identity import caches_of, dataset_id, run_id
from softlabels.grid.jobs import every_job
from softlabels.grid.parts.recipe import Optimiser, Precision, Recipe
from softlabels.grid.parts.translation import CorpusSpec, TranslationRecipe
from softlabels.grid.plan import Plan
from softlabels.grid.spec import Distill, ModelSpec, Run, RunSpec, Smooth, Teacher, TranslationSpec
from softlabels.layout import Layout
from softlabels.training.job import train
from softlabels.training.worker import Worker

ROOT = Path(__file__).parents[1]
NETWORK = ModelSpec("mlp", (("hidden", (16,)),))
PRECISE = Recipe(batch_size=32, steps=20, optimiser=Optimiser(lr=0.05))
ROUGH = dataclasses.replace(PRECISE, precision=Precision("bf16"))
TEACHER = RunSpec(DIGITS, NETWORK, Smooth(0.1), ROUGH)
STUDENT = RunSpec(DIGITS, NETWORK, Distill(Teacher(TEACHER), 2.0), PRECISE)
BESIDE = RunSpec(DIGITS, NETWORK, Distill(Teacher(TEACHER), 2.0, cache="online"), PRECISE)
TEXT = TranslationSpec(
    dataset=CorpusSpec("sentences"),
    model=ModelSpec("transformer_tiny"),
    targets=Smooth(0.1),
    recipe=TranslationRecipe(max_tokens=500, lr=0.007, warmup_updates=2, updates=4, precision=Precision("bf16")),
    task="translation",
)


def plan_of(scale: str, **changes: Any) -> Plan:
    return load_plan(read_yaml(ROOT / "config.yaml") | {"scale": scale} | changes, ROOT)


def about_bf16(plan: Plan) -> list[str]:
    return [w for w in warnings_about(plan, every_job(plan, Layout(ROOT / "nowhere"))) if "bf16" in w]


@pytest.mark.parametrize("scale", ["demo", "tour", "multi30k"])
def test_scales_for_cpus_compute_in_fp32(scale: str) -> None:
    papers = ["ablations"] if scale == "multi30k" else plan_papers()
    as_it_is, cpu = (plan_of(scale, device=device, papers=papers) for device in ("auto", "cpu"))
    text = {run.recipe.precision.autocast for run in as_it_is.runs.values() if run.task == "translation"}
    assert text == {"none"}
    assert as_it_is.runs == cpu.runs
    assert not about_bf16(cpu)


def plan_papers() -> list[str]:
    papers: list[str] = read_yaml(ROOT / "config.yaml")["papers"]
    return papers


def test_on_a_cpu_what_recipes_say_in_bf16_is_planned_in_fp32() -> None:
    """Ids follow the arithmetic, of those that learn from such a network too; all others keep theirs."""
    gpu, cpu = plan_of("paper", device="auto"), plan_of("paper", device="cpu")
    bf16 = {name for name, run in gpu.runs.items() if run.recipe.precision.autocast == "bf16"}
    assert bf16
    assert {run.recipe.precision.autocast for run in cpu.runs.values()} == {"none"}
    assert sum(run.recipe.precision.channels_last for run in cpu.runs.values()) == len(bf16)
    assert gpu.runs.keys() & cpu.runs.keys() == gpu.runs.keys() - bf16
    assert len(cpu.runs) == len(gpu.runs)
    assert all(run_id(run) == name for name, run in cpu.runs.items())
    assert not about_bf16(gpu)
    assert about_bf16(cpu) == [
        f"device: cpu: {len(bf16)} runs whose recipes say bf16 are planned in fp32, under ids of their own, as a "
        "CPU has no units for bf16"
    ]


def test_the_audit_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "workflow").symlink_to(ROOT / "workflow")
    config = (ROOT / "config.yaml").read_text().replace("device: auto", "device: cpu ")
    (tmp_path / "config.yaml").write_text(config)
    monkeypatch.chdir(tmp_path)
    assert main(["audit", "--scale", "paper"]) == 0
    assert "runs whose recipes say bf16 are planned in fp32" in "".join(capsys.readouterr())


# ---------------------------------------------------------------- jobs


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Data and specs, nothing trained."""
    layout = Layout(tmp_path / "results" / "demo")
    runs: dict[str, Run] = {run_id(run): run for run in (TEACHER, STUDENT, BESIDE, TEXT)}
    write_plan(Plan("demo", {}, runs, dict.fromkeys(runs, (0,)), flops_per_second=1e9), layout.specs)
    prepare(DIGITS, layout.data(dataset_id(DIGITS)))
    return layout


def refused(capsys: pytest.CaptureFixture[str], command: str, named: Run) -> None:
    says(capsys.readouterr().err, f"softlabels {command}", run_id(named), "recipe.precision")


@pytest.mark.parametrize(
    ("run", "named"),
    [(TEACHER, TEACHER), (BESIDE, TEACHER), (TEXT, TEXT)],
    ids=("alone", "beside its teacher", "text"),
)
def test_a_training_on_a_cpu_is_refused(
    layout: Layout, capsys: pytest.CaptureFixture[str], run: Run, named: Run
) -> None:
    assert main(["train", str(layout.run(run_id(run), 0) / "run.json"), "--device", "cpu"]) == EXIT_USAGE
    refused(capsys, "train", named)
    assert not layout.run(run_id(run), 0).exists()


def test_a_cache_on_a_cpu_is_refused(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    (need,) = caches_of(STUDENT)
    assert main(["cache", str(layout.cache(need.id, 0) / "manifest.json"), "--device", "cpu"]) == EXIT_USAGE
    refused(capsys, "cache", TEACHER)
    assert not (layout.cache(need.id, 0) / "manifest.json").exists()


def test_what_a_gpu_has_trained_is_published_on_a_cpu(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a run on a cluster: the store has it, so nothing is computed."""
    output = layout.run(run_id(TEACHER), 0) / "run.json"
    with monkeypatch.context() as there:  # trained here, as if this CPU were a GPU
        there.setattr("softlabels.training.job.require_units", lambda worker, run: None)
        train(Worker(layout, torch.device("cpu")), [(run_id(TEACHER), 0)])
    output.unlink()
    assert main(["train", str(output), "--device", "cpu"]) == 0
    assert read_json(output)["run_id"] == run_id(TEACHER)
