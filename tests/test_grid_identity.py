"""Names that stand for content."""

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from refusals import refused

from softlabels.errors import SpecError
from softlabels.grid import identity
from softlabels.grid import spec as s
from softlabels.grid.identity import (
    CacheNeed,
    dataset_id,
    needed_cache,
    probe_id,
    read_spec,
    run_id,
    spec_digest,
    write_spec_files,
)
from softlabels.grid.parts import recipe as r
from softlabels.grid.parts.probes import Probe
from softlabels.grid.plan import Plan

RECIPE = r.Recipe(batch_size=128, optimiser=r.Optimiser(lr=0.1), steps=1000, augment=r.Augment(pad=4, flip=True))
TEACHER = s.RunSpec(s.DatasetSpec("cifar10"), s.ModelSpec("resnet56"), s.Smooth(0.15), RECIPE)


def student(temperature: float = 3.0, recipe: r.Recipe = RECIPE, **fields: object) -> s.RunSpec:
    """A student of `TEACHER`."""
    teacher = fields.pop("teacher", s.Teacher(TEACHER))
    targets = s.Distill(teacher, temperature, **fields)  # type: ignore[arg-type]
    return s.RunSpec(s.DatasetSpec("cifar10"), s.ModelSpec("alexnet"), targets, recipe)


def own(weights: str = "a.safetensors", sha256: str = "ab" * 32) -> s.RunSpec:
    """A student of a network of the user's own."""
    return student(teacher=s.Teacher(s.UserNetwork(s.ModelSpec("my.nets:Big_Net"), weights, sha256, "dataset")))


def need(run: s.RunSpec) -> CacheNeed:
    """The cache of a run that has one."""
    found = needed_cache(run)
    assert found is not None
    return found


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """Versions of stages that a test can raise."""
    numbers = dict.fromkeys(("data", "models", "training", "cache", "metrics"), 1)
    caches = (identity.run_id, identity.needed_cache, identity.dataset_id)
    for cached in caches:
        cached.cache_clear()
    monkeypatch.setattr(identity, "code_version", lambda stage: numbers[stage])
    yield numbers
    for cached in caches:
        cached.cache_clear()


@pytest.mark.parametrize(
    ("run", "name"),
    [
        (TEACHER, "cifar10.resnet56.ls0.15"),
        (student(), "cifar10.alexnet.kd-T3-resnet56-ls0.15"),
        (student(beta=0.5), "cifar10.alexnet.kd-T3-b0.5-resnet56-ls0.15"),
        (student(teacher=s.Teacher(TEACHER, 0, "best")), "cifar10.alexnet.kd-T3-resnet56-ls0.15-best-s0"),
        (student(teacher=s.Teacher(student())), "cifar10.alexnet.kd-T3-alexnet-distill"),
        (student(gradient_norm="matched"), "cifar10.alexnet.kd-T3-gradnorm-resnet56-ls0.15"),
        (own(), "cifar10.alexnet.kd-T3-own-big_net"),
        (dataclasses.replace(TEACHER, targets=s.LogitMatch(s.Teacher(TEACHER), 0.6)), "match-b0.6-resnet56-ls0.15"),
        (dataclasses.replace(TEACHER, targets=s.Smooth(0.1, "others")), "cifar10.resnet56.ls0.1-others"),
        (dataclasses.replace(TEACHER, targets=s.Smooth(0.0)), "cifar10.resnet56.hard"),
    ],
)
def test_a_run_id_can_be_read(run: s.RunSpec, name: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_.-]+", run_id(run))
    assert re.search(re.escape(name) + r"\.[0-9a-f]{8}$", run_id(run))


def test_every_field_that_decides_numbers_changes_the_id() -> None:
    variants = [
        student(),
        student(4.0),
        student(t2=False),
        student(gradient_norm="matched"),
        student(hard_alpha=0.1, beta=0.5),
        student(recipe=dataclasses.replace(RECIPE, steps=1001)),
        student(recipe=dataclasses.replace(RECIPE, optimiser=r.Optimiser(lr=0.2))),
        student(teacher=s.Teacher(TEACHER, seed=0)),
        student(teacher=s.Teacher(TEACHER, checkpoint="best")),
        student(teacher=s.Teacher(dataclasses.replace(TEACHER, targets=s.Smooth(0.3)))),
        student(views=5),
        dataclasses.replace(TEACHER, dataset=s.DatasetSpec("cifar10", split_seed=1)),
        TEACHER,
    ]
    assert len({run_id(run) for run in variants}) == len(variants)
    assert len({spec_digest(run) for run in variants}) == len(variants)


def test_what_decides_nothing_does_not_change_the_id() -> None:
    assert run_id(student(1.0, t2=True)) == run_id(student(1.0, t2=False))
    assert run_id(student(1.0, gradient_norm="matched")) == run_id(student(1.0))
    assert run_id(own("a.safetensors")) == run_id(own("elsewhere/b.safetensors"))
    assert run_id(own()) != run_id(own(sha256="cd" * 32))
    explicit = dataclasses.replace(TEACHER, recipe=dataclasses.replace(RECIPE, loss_scale=1))
    assert run_id(explicit) == run_id(TEACHER)


def test_norms_are_matched_in_whole_batches() -> None:
    parts = dataclasses.replace(RECIPE, micro_batch=32)
    with refused(SpecError, "recipe.micro_batch"):
        student(recipe=parts, gradient_norm="matched")
    assert student(1.0, recipe=parts, gradient_norm="matched") == student(1.0, recipe=parts)  # nothing to match


def test_versions_of_code_rename_the_runs_they_decide(versions: dict[str, int]) -> None:
    before = run_id(TEACHER), run_id(student()), spec_digest(student())
    versions["metrics"] += 1
    run_id.cache_clear()
    assert (run_id(TEACHER), run_id(student())) == before[:2]
    versions["cache"] += 1
    run_id.cache_clear()
    assert run_id(TEACHER) == before[0]
    assert run_id(student()) != before[1]
    versions["training"] += 1
    run_id.cache_clear()
    assert run_id(TEACHER) != before[0]
    assert spec_digest(student()) == before[2]


def test_a_cache_has_a_view_for_each_epoch_that_is_begun() -> None:
    found = need(student())  # 1000 steps of 128 on 40,000 images: 3.2 epochs
    assert (found.views, found.rows, found.row_bytes, found.fixed_bytes) == (4, 40_000, 10 * 2, 0)
    assert found.bytes == 4 * 40_000 * 10 * 2
    assert need(student(views=2)).views == 2
    assert need(student(views=99)).views == 4
    still = dataclasses.replace(RECIPE, augment=r.Augment())
    assert need(student(recipe=still)).views == 1
    assert needed_cache(student(cache="online")) is None
    assert needed_cache(TEACHER) is None


def test_students_share_a_cache_when_they_see_the_same_logits() -> None:
    same = [
        student(1.0),
        student(8.0, beta=0.5),
        student(gradient_norm="matched"),
        student(recipe=dataclasses.replace(RECIPE, clip_norm=1.0)),
    ]
    assert len({need(run).id for run in same}) == 1
    other = [
        student(),
        student(views=2),
        student(recipe=dataclasses.replace(RECIPE, augment=r.Augment(flip=True))),
        student(teacher=s.Teacher(TEACHER, checkpoint="best")),
        own(),
        own(sha256="ab" * 31 + "cd"),
    ]
    assert len({need(run).id for run in other}) == len(other)


def test_the_seed_of_a_cache_is_the_teachers() -> None:
    assert need(student()).seed(3) == 3
    assert need(student(teacher=s.Teacher(TEACHER, seed=1))).seed(3) == 1
    assert need(own()).seed(3) == 0


def test_an_image_folder_must_say_its_size_for_a_cache() -> None:
    folder = s.DatasetSpec("folder", path="images", num_classes=3, image_size=32)
    teacher = s.Teacher(s.RunSpec(folder, s.ModelSpec("mlp"), s.Hard(), RECIPE))
    run = s.RunSpec(folder, s.ModelSpec("mlp"), s.Distill(teacher, 2.0), RECIPE)
    with refused(SpecError, "train_size"):
        needed_cache(run)
    assert run_id(run).startswith("images.mlp.kd-T2-mlp-hard.")


def test_folders_of_one_name_without_a_sha256_are_other_runs_data_and_caches() -> None:
    def taught(path: str, **declared: str) -> s.RunSpec:
        folder = s.DatasetSpec("folder", path=path, num_classes=3, image_size=32, train_size=99, **declared)
        teacher = s.Teacher(s.RunSpec(folder, s.ModelSpec("mlp"), s.Hard(), RECIPE))
        return s.RunSpec(folder, s.ModelSpec("mlp"), s.Distill(teacher, 2.0), RECIPE)

    one, other = taught("data/v1/birds"), taught("data/v2/birds")
    for name in (run_id, spec_digest, lambda run: dataset_id(run.dataset), lambda run: need(run).id):
        assert name(one) != name(other)
    assert run_id(taught("data/v1/birds", sha256="ab" * 32)) == run_id(taught("data/v2/birds", sha256="ab" * 32))


def test_probes_have_names_of_their_own() -> None:
    probes = [Probe(), Probe(what="features"), Probe(split="val"), Probe(classes=(0, 1)), Probe(views=6)]
    assert len({probe_id(p) for p in probes}) == len(probes)


def _plan(*runs: s.RunSpec) -> Plan:
    return Plan("x", {}, {run_id(r): r for r in runs}, {run_id(r): (0,) for r in runs}, 1, 1, 1.0)


def test_spec_files_round_trip_and_stay_untouched(tmp_path: Path) -> None:
    plan = _plan(TEACHER, student())
    write_spec_files(plan, tmp_path)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert {read_spec(path) for path in stamps} == {TEACHER, student()}
    write_spec_files(plan, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == stamps


def test_a_spec_of_other_code_is_refused(tmp_path: Path, versions: dict[str, int]) -> None:
    write_spec_files(_plan(TEACHER), tmp_path)
    (path,) = tmp_path.iterdir()
    versions["training"] += 1
    run_id.cache_clear()
    with refused(SpecError, path):
        read_spec(path)


def test_an_edited_spec_file_is_refused(tmp_path: Path) -> None:
    write_spec_files(_plan(TEACHER), tmp_path)
    (path,) = tmp_path.iterdir()
    content = json.loads(path.read_text())
    content["spec"]["targets"]["alpha"] = 0.2
    path.write_text(json.dumps(content))
    with refused(SpecError, path):
        read_spec(path)
