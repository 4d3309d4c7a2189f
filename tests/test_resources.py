"""What jobs ask of a cluster, and what goes together in one job."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from softlabels.files import write_json
from softlabels.grid import resources
from softlabels.grid.config import read_yaml
from softlabels.grid.costs import parameters, training_flops
from softlabels.grid.expand import load_plan
from softlabels.grid.identity import run_id
from softlabels.grid.packs import Pack, cache_packs, probe_packs, training_packs, translation_packs
from softlabels.grid.plan import Jobs, Plan, chain
from softlabels.grid.resources import Estimator, Resources
from softlabels.grid.spec import ModelSpec, RunSpec
from softlabels.grid.zoo import COUNTED
from softlabels.layout import Layout
from softlabels.models import build, parameter_count

ROOT = Path(__file__).parents[1]


def plan_of(scale: str = "demo", **changes: Any) -> Plan:
    plan = load_plan(read_yaml(ROOT / "config.yaml") | {"scale": scale}, ROOT)
    return dataclasses.replace(plan, **changes)


def layout_of(plan: Plan, root: Path) -> Layout:
    return Layout(root / "results" / plan.scale)


def every_pack(plan: Plan, root: Path) -> list[Pack]:
    layout = layout_of(plan, root)
    kinds = (training_packs, cache_packs, probe_packs, translation_packs)
    return [pack for packs in kinds for pack in packs(plan, layout)]


def record(plan: Plan, root: Path, name: str, seed: int = 0, **fields: float) -> None:
    """What a finished training leaves in the store."""
    write_json(layout_of(plan, root).store(name, seed) / "run.json", {"status": "finished", **fields})


def pack_of(plan: Plan, root: Path, dataset: str, kind: str = "train") -> Pack:
    return next(p for p in every_pack(plan, root) if p.kind == kind and p.members[0].run.dataset.name == dataset)


def minutes(pack: Pack, plan: Plan) -> float:
    return sum((member.flops or 0.0) / plan.rate(member.run) / 60 for member in pack.members)


# ---------------------------------------------------------------- packs


def test_packs_of_the_paper_take_an_hour_and_imagenet_one_seed(tmp_path: Path) -> None:
    plan = plan_of("paper")
    assert plan.pack_minutes == 60
    packs = every_pack(plan, tmp_path)
    assert all(minutes(p, plan) <= 60 or len(p.members) == 1 for p in packs if p.kind == "train")
    assert all(len(p.members) == 1 for p in packs if p.kind == "train" and p.members[0].run.dataset.name == "imagenet")
    assert any(len(p.members) > plan.block for p in packs if p.members[0].run.dataset.name == "mnist")
    made = [path for p in packs for path in p.outputs]
    assert len(made) == len(set(made))
    assert {m.output for p in packs for m in p.members if m.makes is None} == {
        layout_of(plan, tmp_path).run(name, seed) / "run.json" for name, seeds in plan.seeds.items() for seed in seeds
    }


@pytest.mark.parametrize("scale", ["demo", "paper"])
def test_a_probe_that_artifacts_ask_of_different_seeds_is_made_once(tmp_path: Path, scale: str) -> None:
    plan = load_plan(read_yaml(ROOT / "config.yaml") | {"scale": scale, "variants": True}, ROOT)
    outputs = [path for pack in every_pack(plan, tmp_path) for path in pack.outputs]
    assert len(outputs) == len(set(outputs))
    of_one_seed = {
        f"own.{name}": dataclasses.replace(
            artifact, members=tuple(dataclasses.replace(m, seeds=m.seeds[:1]) for m in artifact.members)
        )
        for name, artifact in plan.artifacts.items()
    }
    more = dataclasses.replace(plan, artifacts=of_one_seed | dict(plan.artifacts))
    assert sorted(path for pack in every_pack(more, tmp_path) for path in pack.outputs) == sorted(outputs)


def test_one_figure_of_the_paper_trains_nothing_for_another(tmp_path: Path) -> None:
    plan = plan_of("paper")
    for artifact in plan.artifacts.values():
        alone = {run_id(spec) for m in artifact.members for spec, _ in chain(m.run, m.seeds)}
        for pack in training_packs(plan, layout_of(plan, tmp_path)):
            runs = {run_id(member.run) for member in pack.members}
            assert runs <= alone or not runs & alone, (artifact.id, pack.rule)


def test_what_is_recorded_changes_no_pack(tmp_path: Path) -> None:
    plan = plan_of("paper")
    before = every_pack(plan, tmp_path)
    for name in plan.runs:
        record(plan, tmp_path, name, seconds=1e6)
    assert every_pack(plan, tmp_path) == before


def test_a_network_of_unknown_cost_is_alone_in_its_job(tmp_path: Path) -> None:
    plan = plan_of("paper")
    run = next(run for run in plan.runs.values() if run.dataset.name == "mnist")
    unknown = dataclasses.replace(run, model=ModelSpec("somebody.nets:build"))
    name = run_id(unknown)
    plan = dataclasses.replace(plan, runs={name: unknown}, seeds={name: (0, 1, 2)}, artifacts={})
    packs = training_packs(plan, layout_of(plan, tmp_path))
    assert [len(p.members) for p in packs] == [1, 1, 1]
    unbounded = dataclasses.replace(plan, pack_minutes=None)
    assert [len(p.members) for p in training_packs(unbounded, layout_of(plan, tmp_path))] == [3]
    estimate = Estimator(plan, layout_of(plan, tmp_path)).of(packs[0])
    assert estimate.minutes == plan.jobs.max_minutes


# ---------------------------------------------------------------- time


def test_minutes_are_those_recorded_else_flops(tmp_path: Path) -> None:
    plan = plan_of(jobs=Jobs("cpu", max_minutes=10_000))
    pack, layout = pack_of(plan, tmp_path, "digits"), layout_of(plan, tmp_path)
    by_flops = resources.STARTUP_MINUTES + resources.TIME_MARGIN * minutes(pack, plan)
    assert Estimator(plan, layout).of(pack).minutes == pytest.approx(by_flops, abs=1)
    # One recorded seed tells the time of every run that differs in targets only, and is left out of what is left.
    run, seed = pack.members[0].run, pack.members[0].seed
    record(plan, tmp_path, run_id(run), seed, seconds=3600)
    alike = [
        (m.run.dataset, m.run.model, m.run.recipe) == (run.dataset, run.model, run.recipe) for m in pack.members[1:]
    ]
    flops = sum(training_flops(m.run) or 0 for m, same in zip(pack.members[1:], alike, strict=True) if not same)
    work = 60 * sum(alike) + flops / plan.flops_per_second / 60
    found = Estimator(plan, layout).of(pack).minutes
    assert found == pytest.approx(resources.STARTUP_MINUTES + resources.TIME_MARGIN * work, abs=1)


def test_every_attempt_asks_for_twice_as_much_up_to_the_longest_job(tmp_path: Path) -> None:
    plan = plan_of(jobs=Jobs("cpu", max_minutes=30))
    estimator = Estimator(plan, layout_of(plan, tmp_path))
    for pack in every_pack(plan, tmp_path):
        first, third = estimator.of(pack), estimator.of(pack, 3)
        assert third.mem_mb == 4 * first.mem_mb
        assert third.minutes == min(4 * first.minutes, 30)
        assert (third.disk_mb, third.gpu) == (first.disk_mb, first.gpu)


def test_what_only_has_to_be_published_costs_a_start(tmp_path: Path) -> None:
    plan = plan_of(jobs=Jobs("cpu"))
    pack = pack_of(plan, tmp_path, "glyphs")
    for member in pack.members:
        record(plan, tmp_path, run_id(member.run), member.seed, seconds=1e5)
    found = Estimator(plan, layout_of(plan, tmp_path)).of(pack)
    assert found.minutes == resources.STARTUP_MINUTES
    assert found.mem_mb == resources.SNAKEMAKE_MB + resources.BASE_MB["cpu"]


# ---------------------------------------------------------------- memory and disk


def test_memory_is_the_recorded_peak(tmp_path: Path) -> None:
    plan = plan_of(jobs=Jobs("cpu"))
    pack = pack_of(plan, tmp_path, "glyphs")
    plan = dataclasses.replace(plan, seeds={**plan.seeds, run_id(pack.members[0].run): tuple(range(9))})
    for member in pack.members:
        record(plan, tmp_path, run_id(member.run), seed=8, peak_mb=4000)
    expected = 4000 * resources.MEMORY_MARGIN + resources.SNAKEMAKE_MB
    assert Estimator(plan, layout_of(plan, tmp_path)).of(pack).mem_mb == expected


def test_a_peak_of_mapped_pictures_is_no_need(tmp_path: Path) -> None:
    plan = plan_of("paper")
    pack = pack_of(plan, tmp_path, "imagenet")
    before = Estimator(plan, layout_of(plan, tmp_path)).of(pack)
    record(plan, tmp_path, run_id(pack.members[0].run), seed=99, peak_mb=300_000)
    assert Estimator(plan, layout_of(plan, tmp_path)).of(pack).mem_mb == before.mem_mb < 20_000


def test_staged_data_count_on_the_disk(tmp_path: Path) -> None:
    plan = plan_of("paper")
    staged = dataclasses.replace(plan, jobs=Jobs(stage="$TMPDIR"))
    layout = layout_of(plan, tmp_path)
    pack = pack_of(plan, tmp_path, "imagenet")
    extra = Estimator(staged, layout).of(pack).disk_mb - Estimator(plan, layout).of(pack).disk_mb
    assert extra == pytest.approx((1_281_167 + 50_000) * 115_000 / 1e6, rel=0.01)


COUNTED_NAMES = sorted({name for name, _ in COUNTED})


@pytest.mark.parametrize("name", ["alexnet", "resnet56", "fc_2x800", "plain_cnn", *COUNTED_NAMES])
def test_no_network_has_more_weights_than_counted(name: str) -> None:
    run = next(run for run in plan_of("paper").runs.values() if run.dataset.name == "imagenet")
    assert isinstance(run, RunSpec)
    counted = parameters(run, ModelSpec(name))
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
    plan = plan_of(jobs=Jobs(device))
    estimator = Estimator(plan, layout_of(plan, tmp_path))
    assert {estimator.gpu(pack) for pack in every_pack(plan, tmp_path)} == {gpu}
    assert not any(estimator.shards(pack) for pack in every_pack(plan, tmp_path))


def test_small_networks_share_a_gpu_where_the_site_can(tmp_path: Path) -> None:
    plan = plan_of("paper", jobs=Jobs("cuda", gpu_share=4))
    estimator = Estimator(plan, layout_of(plan, tmp_path))
    data = {"imagenet", "cub200_2011", "wmt_en_de"}  # IWSLT's networks and V are small
    networks = {"densenet121", "googlenet_cifar", "resnet34", "resnet50", "resnext29_8x64d"}  # of 32 pixels and more

    for pack in every_pack(plan, tmp_path):
        at_work = {(m.run.dataset.name, network.name) for m in pack.members for network in resources._networks(m)}
        large = any(d in data or n in networks or (d, n) == ("tiny_imagenet", "resnet18") for d, n in at_work)
        asked = estimator.of(pack)
        assert (asked.shards, asked.gpu) == ((0, 1) if large else (4, 0)), pack.rule
    on_cpu = dataclasses.replace(plan, jobs=Jobs("cpu", gpu_share=4))
    assert not any(Estimator(on_cpu, layout_of(plan, tmp_path)).shards(p) for p in every_pack(plan, tmp_path))


def test_jobs_on_files_ask_for_processes_that_decode(tmp_path: Path) -> None:
    def estimate(dataset: str, workers: int) -> Resources:
        plan = plan_of("paper", flops_per_second=1e14, jobs=Jobs("cuda", max_minutes=10**6, workers=workers))
        return Estimator(plan, layout_of(plan, tmp_path)).of(pack_of(plan, tmp_path, dataset))

    files = {workers: estimate("imagenet", workers) for workers in (0, 1, 4, 64)}
    assert {workers: found.cpus for workers, found in files.items()} == {0: 1, 1: 2, 4: 5, 64: 65}
    assert files[4].mem_mb == files[0].mem_mb + 4 * resources.WORKER_MB
    pictures = 200 * 1_231_167  # epochs of the Inception network's recipe
    assert files[1].minutes == pytest.approx(2 * pictures / resources.DECODED_PER_SECOND / 60, rel=0.001)
    assert files[0].minutes == files[1].minutes > files[4].minutes > files[64].minutes  # then the network takes longer
    assert {estimate("cifar10", workers).cpus for workers in (0, 4)} == {1}
