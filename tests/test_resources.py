"""What jobs make and read, and what each asks of a cluster."""

import dataclasses
import math
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest
import torch

from softlabels.files import write_json
from softlabels.grid import resources
from softlabels.grid.config import read_yaml
from softlabels.grid.costs import needed_caches, seconds
from softlabels.grid.expand import load_plan
from softlabels.grid.identity import run_id
from softlabels.grid.jobs import Job, artifact_jobs, every_job, training_jobs
from softlabels.grid.plan import Jobs, Plan, chain
from softlabels.grid.resources import Estimator, Resources
from softlabels.grid.spec import ModelSpec, RunSpec
from softlabels.grid.tasks.image import ImageTask
from softlabels.grid.zoo import MODELS
from softlabels.layout import Layout
from softlabels.models import build, parameter_count

ROOT = Path(__file__).parents[1]


def plan_of(scale: str = "demo", **changes: Any) -> Plan:
    plan = load_plan(read_yaml(ROOT / "config.yaml") | {"scale": scale}, ROOT)
    return dataclasses.replace(plan, **changes)


def layout_of(plan: Plan, root: Path) -> Layout:
    return Layout(root / "results" / plan.scale)


def jobs_of(plan: Plan, root: Path) -> list[Job]:
    return [*every_job(plan, layout_of(plan, root)).values()]


def record(plan: Plan, root: Path, name: str, seed: int = 0, **fields: float) -> None:
    """What a finished training leaves in the store."""
    write_json(layout_of(plan, root).store(name, seed) / "run.json", {"status": "finished", **fields})


def training_on(plan: Plan, root: Path, dataset: str) -> Job:
    name, run = next((name, run) for name, run in plan.runs.items() if run.dataset.name == dataset)
    return Job(run, plan.seeds[name][0], None, layout_of(plan, root))


def minutes(job: Job, plan: Plan) -> float:
    """By operations."""
    found = seconds(job.run, job.makes, plan.rate(job.run))
    assert found is not None
    return found / 60


# ---------------------------------------------------------------- jobs


@pytest.mark.parametrize("scale", ["demo", "paper"])
def test_every_seed_of_every_run_and_cache_is_one_job(tmp_path: Path, scale: str) -> None:
    plan = plan_of(scale)
    layout, jobs = layout_of(plan, tmp_path), every_job(plan, layout_of(plan, tmp_path))
    assert [job.output for job in jobs.values()] == list(jobs)
    assert {path for path, job in jobs.items() if job.makes is None} == {
        layout.run(name, seed) / "run.json" for name, seeds in plan.seeds.items() for seed in seeds
    }
    assert {path for path, job in jobs.items() if job.rule == "cache_logits"} == {
        layout.cache(name, seed) / "manifest.json" for name, (_, seeds) in needed_caches(plan).items() for seed in seeds
    }


@pytest.mark.parametrize("scale", ["demo", "paper"])
def test_what_a_job_reads_is_made_by_another_and_none_waits_for_itself(tmp_path: Path, scale: str) -> None:
    plan = load_plan(read_yaml(ROOT / "config.yaml") | {"scale": scale, "variants": True}, ROOT)
    jobs = every_job(plan, layout_of(plan, tmp_path))
    read = {path for job in jobs.values() for path in job.inputs}
    assert {path for path in read if "data" not in path.parts} <= set(jobs)
    needs = {path: [source for source in job.inputs if source in jobs] for path, job in jobs.items()}
    assert len([*TopologicalSorter(needs).static_order()]) == len(jobs)


@pytest.mark.parametrize("scale", ["demo", "paper"])
def test_a_probe_that_artifacts_ask_of_different_seeds_is_made_once(tmp_path: Path, scale: str) -> None:
    plan = load_plan(read_yaml(ROOT / "config.yaml") | {"scale": scale, "variants": True}, ROOT)
    asked = [path for a in plan.artifacts.values() for path in artifact_jobs(a, layout_of(plan, tmp_path))]
    assert len(asked) > len(set(asked))
    outputs = set(every_job(plan, layout_of(plan, tmp_path)))
    assert outputs == set(asked)
    of_one_seed = {
        f"own.{name}": dataclasses.replace(
            artifact, members=tuple(dataclasses.replace(m, seeds=m.seeds[:1]) for m in artifact.members)
        )
        for name, artifact in plan.artifacts.items()
    }
    more = dataclasses.replace(plan, artifacts=of_one_seed | dict(plan.artifacts))
    assert set(every_job(more, layout_of(plan, tmp_path))) == outputs


def test_one_figure_of_the_paper_trains_nothing_for_another(tmp_path: Path) -> None:
    plan = plan_of("paper")
    for artifact in plan.artifacts.values():
        alone = {
            (run_id(spec), seed) for m in artifact.members for spec, seeds in chain(m.run, m.seeds) for seed in seeds
        }
        jobs = artifact_jobs(artifact, layout_of(plan, tmp_path)).values()
        assert {(run_id(job.run), job.seed) for job in jobs if job.makes is None} == alone, artifact.id


def test_one_training_needs_its_teachers_and_their_caches_of_one_seed_alone(tmp_path: Path) -> None:
    plan = plan_of()
    layout = layout_of(plan, tmp_path)
    everything = every_job(plan, layout)
    for name, run in plan.runs.items():
        seed = plan.seeds[name][-1]
        found = training_jobs(run, seed, layout)
        assert [*found][-1] == layout.run(name, seed) / "run.json"
        behind: set[Path] = set()
        wanted = [layout.run(name, seed) / "run.json"]
        while wanted:
            if (path := wanted.pop()) in everything and path not in behind:
                behind.add(path)
                wanted += everything[path].inputs
        assert set(found) == behind, name


def test_what_is_recorded_changes_no_job(tmp_path: Path) -> None:
    plan = plan_of("paper")
    before = jobs_of(plan, tmp_path)
    read = [job.inputs for job in before]
    for name in plan.runs:
        record(plan, tmp_path, name, seconds=1e6)
    assert jobs_of(plan, tmp_path) == before
    assert [job.inputs for job in jobs_of(plan, tmp_path)] == read


def test_a_network_of_unknown_cost_may_take_the_longest_time(tmp_path: Path) -> None:
    plan = plan_of("paper")
    run = next(run for run in plan.runs.values() if run.dataset.name == "mnist")
    unknown = dataclasses.replace(run, model=ModelSpec("somebody.nets:build"))
    name = run_id(unknown)
    plan = dataclasses.replace(plan, runs={name: unknown}, seeds={name: (0, 1, 2)}, artifacts={})
    estimate = Estimator(plan, layout_of(plan, tmp_path)).of(Job(unknown, 0, None, layout_of(plan, tmp_path)))
    assert estimate.minutes == plan.jobs.max_minutes


# ---------------------------------------------------------------- time


def test_minutes_are_those_recorded_else_flops(tmp_path: Path) -> None:
    plan = plan_of(jobs=Jobs(device="cpu", max_minutes=10_000))
    job, layout = training_on(plan, tmp_path, "digits"), layout_of(plan, tmp_path)
    jobs = [other for other in jobs_of(plan, tmp_path) if other.run.dataset == job.run.dataset]
    before = {other.output: Estimator(plan, layout).of(other).minutes for other in jobs}
    for other in jobs:
        by_flops = resources.STARTUP_MINUTES + resources.TIME_MARGIN * minutes(other, plan)
        assert before[other.output] == math.ceil(by_flops)
    # One recorded seed tells the time of every run that differs in targets only, and costs nothing more itself.
    record(plan, tmp_path, run_id(job.run), job.seed, seconds=3600)
    estimator, timed = Estimator(plan, layout), 0
    for other in jobs:
        alike = (other.run.model, other.run.recipe) == (job.run.model, job.run.recipe)
        found = estimator.of(other).minutes
        if other.makes is None and other == job:
            assert found == resources.STARTUP_MINUTES
        elif other.makes is None and alike:
            assert found == pytest.approx(resources.STARTUP_MINUTES + resources.TIME_MARGIN * 60, abs=1)
            timed += 1
        else:
            assert found == before[other.output]
    assert timed > 1


def test_every_attempt_asks_for_twice_as_much_up_to_the_longest_job(tmp_path: Path) -> None:
    plan = plan_of(jobs=Jobs(device="cpu", max_minutes=30))
    estimator = Estimator(plan, layout_of(plan, tmp_path))
    for job in jobs_of(plan, tmp_path):
        first, third = estimator.of(job), estimator.of(job, 3)
        assert third.mem_mb == 4 * first.mem_mb
        assert third.minutes == min(4 * first.minutes, 30)
        assert (third.disk_mb, third.gpu) == (first.disk_mb, first.gpu)


def test_what_only_has_to_be_published_costs_a_start(tmp_path: Path) -> None:
    plan = plan_of(jobs=Jobs(device="cpu"))
    job = training_on(plan, tmp_path, "glyphs")
    record(plan, tmp_path, run_id(job.run), job.seed, seconds=1e5)
    found = Estimator(plan, layout_of(plan, tmp_path)).of(job)
    assert found.minutes == resources.STARTUP_MINUTES
    assert found.mem_mb == resources.SNAKEMAKE_MB + resources.BASE_MB["cpu"]


# ---------------------------------------------------------------- memory and disk


def test_memory_is_the_recorded_peak(tmp_path: Path) -> None:
    plan = plan_of(jobs=Jobs(device="cpu"))
    job = training_on(plan, tmp_path, "glyphs")
    plan = dataclasses.replace(plan, seeds={**plan.seeds, run_id(job.run): tuple(range(9))})
    record(plan, tmp_path, run_id(job.run), seed=8, peak_mb=4000)
    expected = 4000 * resources.MEMORY_MARGIN + resources.SNAKEMAKE_MB
    assert Estimator(plan, layout_of(plan, tmp_path)).of(job).mem_mb == expected


def test_a_peak_of_mapped_images_is_no_need(tmp_path: Path) -> None:
    plan = plan_of("paper")
    job = training_on(plan, tmp_path, "imagenet")
    before = Estimator(plan, layout_of(plan, tmp_path)).of(job)
    record(plan, tmp_path, run_id(job.run), seed=99, peak_mb=300_000)
    assert Estimator(plan, layout_of(plan, tmp_path)).of(job).mem_mb == before.mem_mb < 20_000


def test_staged_data_count_on_the_disk(tmp_path: Path) -> None:
    plan = plan_of("paper")
    staged = dataclasses.replace(plan, jobs=Jobs(stage="$TMPDIR"))
    layout = layout_of(plan, tmp_path)
    job = training_on(plan, tmp_path, "imagenet")
    extra = Estimator(staged, layout).of(job).disk_mb - Estimator(plan, layout).of(job).disk_mb
    assert extra == pytest.approx((1_281_167 + 50_000) * 115_000 / 1e6, rel=0.01)


COUNTED_NAMES = sorted(name for name, info in MODELS.items() if info.counted)


@pytest.mark.parametrize("name", ["alexnet", "resnet56", "fc_2x800", "plain_cnn", *COUNTED_NAMES])
def test_no_network_has_more_weights_than_counted(name: str) -> None:
    run = next(run for run in plan_of("paper").runs.values() if run.dataset.name == "imagenet")
    assert isinstance(run, RunSpec)
    counted = ImageTask(run).parameters(ModelSpec(name))
    with torch.device("meta"):
        weights = [p for p in build(ModelSpec(name), 1000, (3, 299, 299)).parameters() if p.ndim > 1]
    assert counted is not None
    assert counted >= sum(p.numel() for p in weights)
    if name in COUNTED_NAMES:
        with torch.device("meta"):
            assert counted == parameter_count(build(ModelSpec(name), 1000, (3, 299, 299)))


# ---------------------------------------------------------------- GPUs


@pytest.mark.parametrize(("device", "gpu"), [("cpu", 0), ("cuda", 1), ("cuda:1", 1), ("auto", None)])
def test_who_says_how_many_gpus(tmp_path: Path, device: str, gpu: int | None) -> None:
    if device == "auto" and Path("/dev/nvidiactl").exists():
        gpu = 1
    plan = plan_of(jobs=Jobs(device=device))
    estimator = Estimator(plan, layout_of(plan, tmp_path))
    assert {estimator.gpu(job) for job in jobs_of(plan, tmp_path)} == {gpu}
    assert not any(estimator.shards(job) for job in jobs_of(plan, tmp_path))


def test_small_networks_share_a_gpu_where_the_site_can(tmp_path: Path) -> None:
    plan = plan_of("paper", jobs=Jobs(device="cuda", gpu_share=4))
    estimator = Estimator(plan, layout_of(plan, tmp_path))
    data = {"imagenet", "cub200_2011", "wmt_en_de"}  # IWSLT's networks and V are small
    networks = {"densenet121", "googlenet_cifar", "resnet34", "resnet50", "resnext29_8x64d"}  # of 32 pixels and more

    for job in jobs_of(plan, tmp_path):
        at_work = {(job.run.dataset.name, network.name) for network in resources._networks(job)}
        large = any(d in data or n in networks or (d, n) == ("tiny_imagenet", "resnet18") for d, n in at_work)
        asked = estimator.of(job)
        assert (asked.shards, asked.gpu) == ((0, 1) if large else (4, 0)), job.output
    on_cpu = dataclasses.replace(plan, jobs=Jobs(device="cpu", gpu_share=4))
    assert not any(Estimator(on_cpu, layout_of(plan, tmp_path)).shards(job) for job in jobs_of(plan, tmp_path))


def test_jobs_on_files_ask_for_processes_that_decode(tmp_path: Path) -> None:
    def estimate(dataset: str, workers: int) -> Resources:
        plan = plan_of("paper", flops_per_second=1e14, jobs=Jobs(device="cuda", max_minutes=10**5, workers=workers))
        return Estimator(plan, layout_of(plan, tmp_path)).of(training_on(plan, tmp_path, dataset))

    files = {workers: estimate("imagenet", workers) for workers in (0, 1, 4, 64)}
    assert {workers: found.cpus for workers, found in files.items()} == {0: 1, 1: 2, 4: 5, 64: 65}
    assert files[4].mem_mb == files[0].mem_mb + 4 * resources.WORKER_MB
    images = 200 * 1_231_167  # epochs of the Inception network's recipe
    assert files[1].minutes == pytest.approx(2 * images / resources.DECODED_PER_SECOND / 60, rel=0.001)
    assert files[0].minutes == files[1].minutes > files[4].minutes > files[64].minutes  # then the network takes longer
    assert {estimate("cifar10", workers).cpus for workers in (0, 4)} == {1}
