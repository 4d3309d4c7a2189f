"""What the audit counts, with and without results."""

import dataclasses
from pathlib import Path

import pytest

from softlabels.files import write_json
from softlabels.grid import recipe as r
from softlabels.grid import spec as s
from softlabels.grid.audit import audit, render, render_jobs
from softlabels.grid.config import read_yaml
from softlabels.grid.costs import caching_flops, needed_caches, training_flops
from softlabels.grid.expand import load_plan
from softlabels.grid.identity import run_id, spec_digest
from softlabels.grid.plan import Plan
from softlabels.layout import Layout

ROOT = Path(__file__).parents[1]
KEYS = {"runs", "trainings", "done", "missing", "cache_bytes", "device_hours", "hours_missing", "hours_source"}


def demo() -> Plan:
    """The plan that is shipped."""
    return load_plan(read_yaml(ROOT / "config.yaml"), ROOT)


def train(plan: Plan, root: Path, name: str, seed: int, seconds: float = 36.0, folder: str = "") -> Path:
    """What a finished training leaves in the store."""
    store = Layout(root / "results" / plan.scale).store(folder or name, seed)
    record = {"status": "finished", "seconds": seconds, "device": "cpu", "spec_digest": spec_digest(plan.runs[name])}
    write_json(store / "run.json", record)
    for file in Layout.run_files(plan.runs[name].task):
        (store / file).touch()
    return store


def test_the_paper_without_any_data(tmp_path: Path) -> None:
    plan = load_plan(read_yaml(ROOT / "config.yaml") | {"scale": "paper"}, ROOT)
    found = audit(plan, tmp_path)
    fig5 = found["artifacts"]["muller2019.fig5"]
    assert set(fig5) == KEYS
    assert set(found) == KEYS | {"scale", "artifacts", "stale", "jobs"}
    assert (fig5["runs"], fig5["trainings"], fig5["done"], fig5["missing"]) == (24, 120, 0, 120)
    # 390,000 steps of 128 begin 1248 epochs of 40,000 images; six teachers, five seeds, ten fp16 logits.
    assert fig5["cache_bytes"] == 1248 * 40_000 * 10 * 2 * 6 * 5
    assert fig5["hours_source"] == "flops"
    assert found["trainings"] == sum(map(len, plan.seeds.values()))
    assert found["trainings"] < sum(entry["trainings"] for entry in found["artifacts"].values())
    assert found["stale"] == []
    assert list(tmp_path.iterdir()) == []


def test_hours_from_flops(tmp_path: Path) -> None:
    plan = demo()
    found = audit(plan, tmp_path)
    assert plan.translation_flops_per_second != plan.flops_per_second
    seconds = sum(training_flops(run) * len(plan.seeds[name]) / plan.rate(run) for name, run in plan.runs.items())
    seconds += sum(
        caching_flops(need) * len(seeds) / plan.rate(need.student) for need, seeds in needed_caches(plan).values()
    )
    assert found["device_hours"] == pytest.approx(seconds / 3600, rel=1e-5)
    assert found["device_hours"] == found["hours_missing"]


def test_the_flops_of_a_training_can_be_counted_by_hand() -> None:
    recipe = r.Recipe(batch_size=10, optimiser=r.Optimiser(lr=1), steps=7)
    digits = s.DatasetSpec("digits")
    teacher = s.RunSpec(digits, s.ModelSpec("mlp", (("hidden", (16,)),)), s.Hard(), recipe)
    forward = 2 * (64 * 16 + 16 * 10)
    assert training_flops(teacher) == 70 * 3 * forward
    cached = dataclasses.replace(teacher, targets=s.Distill(s.Teacher(teacher), 2))
    online = dataclasses.replace(teacher, targets=s.Distill(s.Teacher(teacher), 2, cache="online"))
    assert training_flops(cached) == 70 * 3 * forward
    assert training_flops(online) == 70 * 4 * forward
    assert training_flops(dataclasses.replace(teacher, model=s.ModelSpec("a.b:c"))) is None


def test_done_counts_the_whole_chain_and_shared_runs_once(tmp_path: Path) -> None:
    plan = demo()
    hard = plan.artifacts["muller2019.fig5"].family("teachers")[0].run
    train(plan, tmp_path, run_id(hard), 0)
    found = audit(plan, tmp_path)
    assert found["done"] == 1
    assert found["artifacts"]["muller2019.fig5"]["done"] == 1
    assert found["artifacts"]["muller2019.fig6"]["done"] == 1  # the same network
    assert found["artifacts"]["muller2019.table2"]["done"] == 0
    assert found["missing"] == found["trainings"] - 1


def test_an_unfinished_or_incomplete_training_is_missing(tmp_path: Path) -> None:
    plan = demo()
    name = next(iter(plan.runs))
    store = train(plan, tmp_path, name, 0)
    (store / "weights.safetensors").unlink()
    train(plan, tmp_path, name, 1)
    write_json(Layout(tmp_path / "results" / "demo").store(name, 1) / "run.json", {"status": "running"})
    (train(plan, tmp_path, name, 2) / "run.json").write_text("{")
    assert audit(plan, tmp_path)["done"] == 0
    published = Layout(tmp_path / "results" / "demo").run(name, 0)
    published.mkdir(parents=True)
    (published / "weights.safetensors").touch()
    assert audit(plan, tmp_path)["done"] == 1


def test_a_translation_is_done_with_its_features_in_place_of_logits(tmp_path: Path) -> None:
    plan = demo()
    name = next(name for name, run in plan.runs.items() if isinstance(run, s.TranslationSpec))
    store = train(plan, tmp_path, name, 0)
    assert audit(plan, tmp_path)["done"] == 1
    (store / "features.safetensors").rename(store / "logits.safetensors")
    assert audit(plan, tmp_path)["done"] == 0


def test_hours_from_recorded_trainings(tmp_path: Path) -> None:
    plan = demo()
    teachers = [run_id(m.run) for m in plan.artifacts["muller2019.fig6"].members]
    before = audit(plan, tmp_path)["artifacts"]["muller2019.fig6"]
    assert before["hours_source"] == "flops"
    train(plan, tmp_path, teachers[0], 0, seconds=36)
    train(plan, tmp_path, teachers[0], 1, seconds=108)
    found = audit(plan, tmp_path)
    # The smoothed network differs in its targets only, so the hard one tells its time: 10 trainings of 72 s.
    fig6 = found["artifacts"]["muller2019.fig6"]
    assert (fig6["device_hours"], fig6["hours_source"]) == (0.2, "benchmark")
    assert fig6["hours_missing"] == pytest.approx(8 * 72 / 3600)
    assert found["hours_source"] == "mixed"


def test_runs_of_older_code_are_named(tmp_path: Path) -> None:
    plan = demo()
    name = next(iter(plan.runs))
    old = name.rsplit(".", 1)[0] + ".00000000"
    train(plan, tmp_path, name, 0, folder=old)
    found = audit(plan, tmp_path)
    assert found["stale"] == [old]
    assert found["done"] == 0
    assert old in render(found)


def test_the_table_names_every_artifact(tmp_path: Path) -> None:
    plan = demo()
    table = render(audit(plan, tmp_path))
    assert all(name in table for name in plan.artifacts)
    assert str(sum(map(len, plan.seeds.values()))) in table


def test_caches_are_counted_for_every_seed_of_the_teacher(tmp_path: Path) -> None:
    plan = demo()
    expected = sum(need.bytes * len(seeds) for need, seeds in needed_caches(plan).values())
    assert audit(plan, tmp_path)["cache_bytes"] == expected > 0


def test_every_job_that_is_left_is_listed_with_what_it_asks_for(tmp_path: Path) -> None:
    plan = demo()
    found = audit(plan, tmp_path)
    table = render_jobs(found)
    assert table.startswith(f"{len(found['jobs'])} jobs to run")
    for job in found["jobs"]:
        (line,) = (line.split() for line in table.splitlines() if line.startswith(f"{job['rule']} "))
        assert {str(job[key]) for key in ("members", "cpus", "mem_mb", "minutes", "disk_mb")} <= set(line)
    made = sum(job["members"] for job in found["jobs"] if job["rule"].startswith("train_"))
    assert made == found["missing"]
