"""What the audit counts, with and without results."""

import dataclasses
from pathlib import Path

import pytest
from refusals import refused

from softlabels.errors import SpecError
from softlabels.files import write_json
from softlabels.grid import costs
from softlabels.grid import spec as s
from softlabels.grid.audit import audit, jobs_behind, render, render_jobs, render_total, require_known, total
from softlabels.grid.config import read_yaml
from softlabels.grid.costs import caching_flops, needed_caches, probe_flops, training_flops
from softlabels.grid.expand import load_plan
from softlabels.grid.identity import run_id, spec_digest
from softlabels.grid.jobs import every_job
from softlabels.grid.parts import recipe as r
from softlabels.grid.parts.probes import Translations
from softlabels.grid.plan import Plan
from softlabels.grid.tasks import task_of
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
    assert set(found) == KEYS | {"scale", "artifacts", "free_bytes", "stale", "warnings", "jobs"}
    assert (fig5["runs"], fig5["trainings"], fig5["done"], fig5["missing"]) == (24, 120, 0, 120)
    # 390,000 steps of 128 begin 1248 epochs of 40,000 images; six teachers, five seeds, ten fp16 logits.
    assert fig5["cache_bytes"] == 1248 * 40_000 * 10 * 2 * 6 * 5
    assert fig5["hours_source"] == "flops"
    assert found["trainings"] == sum(map(len, plan.seeds.values()))
    assert found["trainings"] < sum(entry["trainings"] for entry in found["artifacts"].values())
    assert found["stale"] == []
    assert found["free_bytes"] > 0
    assert list(tmp_path.iterdir()) == []


def test_hours_from_flops(tmp_path: Path) -> None:
    """And of starting each job, of the steps of a training, and of each token that is translated."""
    plan = demo()
    found = audit(plan, tmp_path)
    assert plan.translation_flops_per_second != plan.flops_per_second
    seconds = 0.0
    for name, run in plan.runs.items():
        each = training_flops(run) / plan.rate(run) + costs.START_SECONDS + task_of(run).steps() * costs.STEP_SECONDS
        seconds += len(plan.seeds[name]) * each
    for need, seeds in needed_caches(plan).values():
        seconds += len(seeds) * (caching_flops(need) / plan.rate(need.student) + costs.START_SECONDS)
    for job in every_job(plan, Layout(tmp_path / "results" / "demo")).values():
        if job.rule in ("evaluate", "translate"):
            seconds += probe_flops(job.run, job.makes) / plan.rate(job.run) + costs.START_SECONDS
            if isinstance(job.makes, Translations):
                seconds += task_of(job.run).probe_rows(job.makes) * costs.DECODE_SECONDS
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
    layout = Layout(tmp_path / "results" / "demo")
    probes = [job for job in jobs_behind(plan, layout, ["muller2019_fig6"]).values() if job.makes is not None]
    asked = sum(costs.seconds(job.run, job.makes, plan.rate(job.run)) or 0.0 for job in probes)
    assert len(probes) == 10
    each = 72 + costs.START_SECONDS
    assert fig6["device_hours"] == pytest.approx((10 * each + asked) / 3600, rel=1e-5)
    assert fig6["hours_source"] == "recorded"
    assert fig6["hours_missing"] == pytest.approx((8 * each + asked) / 3600, rel=1e-5)
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
    lines = {line.split()[-1]: line.split() for line in table.splitlines()[3:]}
    layout = Layout(tmp_path / "results" / "demo")
    assert [*lines] == [job["output"] for job in found["jobs"]]
    assert set(lines) == {str(path.relative_to(layout.root)) for path in every_job(plan, layout)}
    for job in found["jobs"]:
        asked = {job["rule"], *(str(job[key]) for key in ("cpus", "mem_mb", "minutes", "disk_mb"))}
        assert asked <= set(lines[job["output"]])
    assert sum(job["rule"].startswith("train_") for job in found["jobs"]) == found["missing"]


# ---------------------------------------------------------------- of some targets


@pytest.mark.parametrize("name", ["muller2019_fig5", "muller2019.fig5"])
def test_of_one_artifact_the_totals_are_its_row(tmp_path: Path, name: str) -> None:
    plan = demo()
    train(plan, tmp_path, run_id(plan.artifacts["muller2019.fig5"].family("teachers")[0].run), 0)
    everything, found = audit(plan, tmp_path), audit(plan, tmp_path, [name])
    assert found["artifacts"] == {"muller2019.fig5": everything["artifacts"]["muller2019.fig5"]}
    assert {key: found[key] for key in KEYS} == found["artifacts"]["muller2019.fig5"]
    assert 0 < found["done"] < found["trainings"] < everything["trainings"]
    assert {job["output"] for job in found["jobs"]} < {job["output"] for job in everything["jobs"]}


def test_of_several_artifacts_what_they_share_counts_once(tmp_path: Path) -> None:
    plan = demo()
    found = audit(plan, tmp_path, ["muller2019_fig5", "muller2019.fig6", "muller2019_fig5"])
    assert [*found["artifacts"]] == ["muller2019.fig5", "muller2019.fig6"]
    one, other = (entry["trainings"] for entry in found["artifacts"].values())
    assert max(one, other) < found["trainings"] < one + other  # fig6 is of two of fig5's teachers, and of more seeds
    summary = total(plan, tmp_path, ["muller2019_fig5", "muller2019_fig6"])
    assert {key: summary[key] for key in KEYS} == {key: found[key] for key in KEYS}


def test_the_total_of_no_target_is_that_of_all(tmp_path: Path) -> None:
    plan = demo()
    everything = audit(plan, tmp_path)
    for targets in ([], ["all"], ["results/demo/metrics.csv"], ["muller2019_fig5", "all"]):
        summary = total(plan, tmp_path, targets)
        assert {key: summary[key] for key in KEYS} == {key: everything[key] for key in KEYS}
    assert render_total(total(plan, tmp_path, [])).startswith("scale demo, all artifacts:\n")


def test_behind_a_file_is_what_it_waits_for(tmp_path: Path) -> None:
    plan = demo()
    layout = Layout(tmp_path / "results" / "demo")
    jobs = every_job(plan, layout)
    rules = dict.fromkeys(job.rule for job in jobs.values())
    for job in (job for rule in rules for job in [j for j in jobs.values() if j.rule == rule][::40]):
        path, target = job.output, str(job.output.relative_to(tmp_path))
        found = jobs_behind(plan, layout, [target])
        assert [*found][-1] == path
        read = {source for source in job.inputs if "data" not in source.parts}
        assert read <= set(found) <= set(jobs)
        assert all(found[source].inputs for source in read)
    fig5 = jobs_behind(plan, layout, ["muller2019_fig5"])
    for file in ("figures/muller2019/fig5.pdf", "metrics/muller2019/fig5.plotted.csv"):
        assert jobs_behind(plan, layout, [f"results/demo/{file}"]) == fig5
    assert jobs_behind(plan, layout, ["results/data/digits.00000000/manifest.json", "docs/nothing.md"]) == {}


def test_what_no_grid_has_is_one_sentence_with_the_nearest(tmp_path: Path) -> None:
    plan = demo()
    layout = Layout(tmp_path / "results" / "demo")
    run = run_id(plan.artifacts["muller2019.fig5"].family("teachers")[0].run)
    cache = next(iter(needed_caches(plan)))
    other_run, other_cache = (name[:-1] + ("1" if name[-1] == "0" else "0") for name in (run, cache))
    faults = {
        "muller2019_fgi5": "muller2019_fig5",
        "results/demo/figures/muller2019/fig55.png": "muller2019.fig5",
        f"results/demo/runs/{other_run}/seed0/run.json": run,
        f"results/demo/runs/{run}/seed77/run.json": "seeds",
        f"results/demo/runs/{run}/0/run.json": "seeds",
        f"results/demo/runs/{run}/seed0/run.jsn": f"results/demo/runs/{run}/seed0/run.json",
        f"results/demo/cache/{other_cache}/seed0/manifest.json": cache,
        f"results/demo/cache/{cache}/seed77/manifest.json": "seeds",
        f"results/demo/probes/{run}/seed0/nothing.safetensors": "nothing.safetensors",
        f"results/demo/runs/{run}": run,
        "results/demo/nothing/at/all": "nothing",
        f"results/paper/runs/{run}/seed0/run.json": "--config scale=paper",
    }
    for target, named in faults.items():
        with refused(SpecError, "fig55" if "fig55" in target else target, named):
            require_known(plan, layout, ["all", target], ["all", *(a.target for a in plan.artifacts.values())])
    with refused(SpecError, "muller2019.fgi5", "muller2019.fig5"):
        audit(plan, tmp_path, ["muller2019.fgi5"])
