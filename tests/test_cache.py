"""The logits cache: exact to fp16, resumed, and an error whenever it is not the teacher's on these images."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import DIGITS
from refusals import refused

from softlabels import cache as module
from softlabels.cache import FP16_TOLERANCE, CachedLogits, OnlineTeacher, TeacherNetwork, view_logits, write_cache
from softlabels.data.load import Data
from softlabels.errors import SoftlabelsError, Stopped
from softlabels.files import read_json, sha256, write_json
from softlabels.grid.parts.recipe import Augment, Optimiser, Precision, Recipe
from softlabels.grid.spec import Distill, Hard, ModelSpec, RunSpec, Teacher, UserLogits
from softlabels.layout import Layout
from softlabels.models import build
from softlabels.training.augment import normalise
from softlabels.training.images import ImageSplit, forward
from softlabels.training.teachers import load_teacher
from softlabels.training.trainer import Trainer
from softlabels.versions import code_version

SHIFT = Augment(shift=1)
VIEWS = 5
RECIPE = Recipe(batch_size=50, optimiser=Optimiser(lr=0.1), epochs=VIEWS + 2, augment=SHIFT)
NETWORK = ModelSpec("mlp", (("hidden", (16,)), ("dropout", 0.5)))


@pytest.fixture(scope="module")
def images(digits: Data, cpu: torch.device) -> ImageSplit:
    return ImageSplit(digits, "train", cpu)


def network(seed: int = 0) -> TeacherNetwork:
    torch.manual_seed(seed)
    return TeacherNetwork(build(NETWORK, 10, (1, 8, 8)), "per_image", Precision())


def write(folder: Path, images: ImageSplit, teacher: Any = None, **options: Any) -> None:
    defaults: dict[str, Any] = {"views": VIEWS, "augment_seed": 7, "augment": SHIFT, "about": {"teacher": "a"}}
    write_cache(folder, network() if teacher is None else teacher, images, **(defaults | options))


@pytest.fixture
def shards_of_two_views(monkeypatch: pytest.MonkeyPatch, images: ImageSplit) -> None:
    monkeypatch.setattr(module, "SHARD_BYTES", 2 * len(images) * 10 * 2)


@pytest.fixture
def folder(tmp_path: Path, images: ImageSplit, shards_of_two_views: None) -> Path:
    """A cache of five views in three shards."""
    write(tmp_path / "cache", images)
    return tmp_path / "cache"


def shard_times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in sorted(folder.glob("shard-*.npy"))}


def rows(cache: CachedLogits | OnlineTeacher, images: ImageSplit, epoch: int) -> torch.Tensor:
    positions = torch.arange(len(images))
    epochs = torch.full_like(positions, epoch)
    return cache.rows(positions, epochs, images.view(positions, cache.views(epochs), cache.augment_seed, SHIFT))


# ------------------------------------------------------------ content


def test_what_is_read_is_what_the_teacher_says_in_fp16(folder: Path, images: ImageSplit) -> None:
    assert list(shard_times(folder)) == [f"shard-000{i}.npy" for i in range(3)]
    assert np.load(folder / "shard-0000.npy").shape == (2, 300, 10)
    assert np.load(folder / "shard-0002.npy").shape == (1, 300, 10)
    cache = CachedLogits(folder, images)
    for epoch in (0, 1, 4, 5, 12):
        exact = view_logits(network(), images, epoch % VIEWS, 7, SHIFT)
        assert np.array_equal(rows(cache, images, epoch).numpy(), exact.astype(np.float16).astype(np.float32))
    mixed = torch.tensor([4, 0, 9, 3]), torch.tensor([1, 6, 2, 14])  # a batch that straddles epochs, in any order
    found = cache.rows(*mixed, torch.empty(0))
    for row, position, epoch in zip(found, *map(torch.Tensor.tolist, mixed), strict=True):
        assert torch.equal(row, rows(cache, images, epoch)[position])


def test_a_row_belongs_to_the_very_image_that_the_student_sees(
    folder: Path, images: ImageSplit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over a whole training with a seed that is not the teacher's stream."""
    teacher, cache, seen = network(), CachedLogits(folder, images), []
    job = student(images, tmp_path / "run", cache)
    to_input, gather = images.to_input, cache.rows

    def watch_images(x: torch.Tensor, how: Any) -> torch.Tensor:
        seen.append(x)
        return to_input(x, how)

    def watch_rows(*arguments: torch.Tensor) -> torch.Tensor:
        seen.append(gather(*arguments))
        return seen[-1]

    monkeypatch.setattr(images, "to_input", watch_images)
    monkeypatch.setattr(cache, "rows", watch_rows)
    for _ in range(job.steps):
        job._train_step()
        job.step += 1
    assert len(seen) == 2 * job.steps
    for logits, x in zip(seen[1::2], seen[::2], strict=True):
        teacher.network.eval()
        fresh = forward(teacher.network, normalise(x, "per_image", (), ()), Precision())
        assert (fresh - logits).abs().max() < FP16_TOLERANCE * fresh.abs().max()
    whole = torch.cat(seen[::2])
    assert len(whole.flatten(1).unique(dim=0)) > 2 * len(images)  # views do differ


def student(images: ImageSplit, folder: Path, teacher: CachedLogits | OnlineTeacher, seed: int = 3) -> Trainer:
    of = Teacher(RunSpec(DIGITS, NETWORK, Hard(), RECIPE), seed=7)
    spec = RunSpec(DIGITS, ModelSpec("mlp", (("hidden", (24,)),)), Distill(of, 3.0), RECIPE)
    val = ImageSplit(images.data, "val", images.device)
    return Trainer(spec, seed, images, val, folder, identity="student", teacher=teacher)


def test_a_cached_student_is_the_online_student_up_to_fp16(folder: Path, images: ImageSplit, tmp_path: Path) -> None:
    cached = student(images, tmp_path / "a", CachedLogits(folder, images)).run()
    online = student(images, tmp_path / "b", OnlineTeacher(network(), images, 7, VIEWS)).run()
    wrong = student(images, tmp_path / "c", OnlineTeacher(network(1), images, 7, VIEWS)).run()
    for name, weight in cached.last.items():
        torch.testing.assert_close(weight, online.last[name], rtol=1e-3, atol=1e-4)
    assert not torch.allclose(cached.last["head.weight"], wrong.last["head.weight"], rtol=1e-3, atol=1e-4)


def test_the_online_teacher_runs_without_dropout_on_the_students_views(images: ImageSplit) -> None:
    online = OnlineTeacher(network(), images, 7, 2)
    assert torch.equal(rows(online, images, 3), rows(online, images, 1))  # view = epoch mod 2
    assert not torch.equal(rows(online, images, 0), rows(online, images, 1))


def test_the_code_that_wrote_a_cache_is_recorded_and_asked_of_none(folder: Path, images: ImageSplit) -> None:
    manifest, before = read_json(folder / "manifest.json"), shard_times(folder)
    assert manifest.pop("code_versions") == {n: code_version(n) for n in ("data", "models", "training", "cache")}
    write_json(folder / "manifest.json", manifest)  # as caches were written before
    CachedLogits(folder, images, {"stream": 7, "teacher": "a"})
    (folder / "manifest.json").unlink()
    write(folder, images)
    assert shard_times(folder) == before


# ------------------------------------------------------------ interrupted and damaged


def stop_after(calls: int) -> Callable[[], bool]:
    left = iter([False] * calls)
    return lambda: next(left, True)


def test_an_interrupted_write_goes_on_where_it_was(folder: Path, images: ImageSplit, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    with refused(Stopped, "1 of 3"):
        write(cut, images, should_stop=stop_after(3))
    assert not (cut / "manifest.json").exists()
    with refused(SoftlabelsError, "manifest.json"):
        CachedLogits(cut, images)
    before = shard_times(cut)
    assert list(before) == ["shard-0000.npy"]
    write(cut, images)
    assert shard_times(cut)["shard-0000.npy"] == before["shard-0000.npy"]
    for name in ("shard-0000.npy", "shard-0001.npy", "shard-0002.npy", "labels.npy", "ids.npy", "manifest.json"):
        assert (cut / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize("name", ["shard-0000.npy", "shard-0002.npy", "labels.npy", "ids.npy"])
@pytest.mark.parametrize("damage", ["byte", "truncated", "missing"])
def test_a_damaged_file_is_named_and_made_again_alone(folder: Path, images: ImageSplit, name: str, damage: str) -> None:
    path, whole, before = folder / name, (folder / name).read_bytes(), shard_times(folder)
    if damage == "byte":
        path.write_bytes(whole[:-5] + bytes([whole[-5] ^ 64]) + whole[-4:])
    elif damage == "truncated":
        path.write_bytes(whole[:-1])
    else:
        path.unlink()
    with refused(SoftlabelsError, path, folder / "manifest.json"):
        CachedLogits(folder, images)
    (folder / "manifest.json").unlink()
    write(folder, images)
    assert path.read_bytes() == whole
    CachedLogits(folder, images)
    after = shard_times(folder)
    assert [n for n in before if after[n] != before[n]] == [n for n in before if n == name]


def test_shards_of_another_teacher_are_not_reused(folder: Path, images: ImageSplit) -> None:
    """The teacher was trained again, and its weights are others."""
    (folder / "manifest.json").unlink()
    write(folder, images, network(1), about={"teacher": "b"})
    exact = view_logits(network(1), images, 0, 7, SHIFT)
    assert np.array_equal(np.load(folder / "shard-0000.npy")[0], exact.astype(np.float16))


def test_logits_of_other_images_are_refused(folder: Path, images: ImageSplit) -> None:
    labels = np.load(folder / "labels.npy")
    labels[[0, 1]] += 1
    np.save(folder / "labels.npy", labels)
    manifest = read_json(folder / "manifest.json")
    manifest["rows"]["labels.npy"] = sha256(folder / "labels.npy")
    write_json(folder / "manifest.json", manifest)
    with refused(SoftlabelsError, folder / "labels.npy"):
        CachedLogits(folder, images)


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("data_fingerprint", "0" * 64, "data_fingerprint"),
        ("stream", 8, "stream"),
        ("teacher", "b", "teacher"),
        ("shape", [VIEWS, 299, 10], "299 images"),
        ("shape", [VIEWS, 300, 11], "11 classes"),
    ],
)
def test_a_cache_of_another_origin_is_refused(
    folder: Path, images: ImageSplit, key: str, value: Any, named: str
) -> None:
    write_json(folder / "manifest.json", read_json(folder / "manifest.json") | {key: value})
    with refused(SoftlabelsError, folder, named):
        CachedLogits(folder, images, {"stream": 7, "teacher": "a"})


def test_check_logits_finds_a_stale_cache(folder: Path, images: ImageSplit) -> None:
    cache = CachedLogits(folder, images)
    assert 0 < cache.check(network(), images, SHIFT, 40) < FP16_TOLERANCE / 2
    slightly = network()
    with torch.no_grad():
        slightly.network.head.bias[3] += 0.05  # type: ignore[operator, union-attr, index]
    broken = network()
    with torch.no_grad():
        broken.network.head.bias[3] = float("nan")  # type: ignore[operator, union-attr, index]
    for teacher, augment in ((network(1), SHIFT), (slightly, SHIFT), (broken, SHIFT), (network(), Augment(shift=2))):
        with refused(SoftlabelsError, folder, varies=r"by .*\)"):
            cache.check(teacher, images, augment, 40)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 7e4])
def test_logits_beyond_fp16_are_never_written(tmp_path: Path, images: ImageSplit, bad: float) -> None:
    teacher = network()
    with torch.no_grad():
        teacher.network.head.bias[0] = bad  # type: ignore[operator, union-attr, index]
    with refused(SoftlabelsError, "fp16"):
        write(tmp_path / "cache", images, teacher)
    assert not list((tmp_path / "cache").glob("*"))


# ------------------------------------------------------------ logits of the user's own


def own(path: Path) -> Teacher:
    return Teacher(UserLogits(str(path), sha256(path)))


def test_logits_of_your_own_become_a_cache_of_one_view(tmp_path: Path, images: ImageSplit, cpu: torch.device) -> None:
    logits = np.random.default_rng(0).normal(size=(300, 10)).astype(np.float64)
    np.save(tmp_path / "own.npy", logits)
    loaded = load_teacher(own(tmp_path / "own.npy"), 0, Layout(tmp_path), images.data, cpu)
    write(tmp_path / "cache", images, loaded, views=1, augment_seed=0, augment=Augment())
    found = CachedLogits(tmp_path / "cache", images).rows(torch.tensor([0, 299]), torch.tensor([0, 8]), torch.empty(0))
    np.testing.assert_array_equal(found.numpy(), logits[[0, 299]].astype(np.float16).astype(np.float32))


def save_npz(path: Path) -> None:
    with open(path, "wb") as handle:
        np.savez(handle, logits=np.zeros((300, 10)))


BAD_LOGITS: dict[str, Callable[[Path], object]] = {
    "rows": lambda p: np.save(p, np.zeros((299, 10))),
    "classes": lambda p: np.save(p, np.zeros((300, 9))),
    "dimensions": lambda p: np.save(p, np.zeros((1, 300, 10))),
    "labels": lambda p: np.save(p, np.zeros((300, 10), dtype=int)),
    "nan": lambda p: np.save(p, np.full((300, 10), np.nan)),
    "infinite": lambda p: np.save(p, np.full((300, 10), -np.inf)),
    "objects": lambda p: np.save(p, np.full((300, 10), None), allow_pickle=True),
    "pickle": lambda p: p.write_bytes(pickle.dumps(np.zeros((300, 10)))),
    "empty": lambda p: p.write_bytes(b""),
    "archive": save_npz,
}


@pytest.mark.parametrize("kind", BAD_LOGITS)
def test_bad_logits_of_your_own_are_refused_by_name(
    tmp_path: Path, images: ImageSplit, cpu: torch.device, kind: str
) -> None:
    path = tmp_path / "own.npy"
    BAD_LOGITS[kind](path)
    with refused(SoftlabelsError, path, varies=r"\(.*\)"):
        load_teacher(own(path), 0, Layout(tmp_path), images.data, cpu)


def test_a_pickle_is_never_executed(tmp_path: Path, images: ImageSplit, cpu: torch.device) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "executed",))

    path = tmp_path / "own.npy"
    path.write_bytes(pickle.dumps(Evil()))
    with refused(SoftlabelsError, path, varies=r"\(.*\)"):
        load_teacher(own(path), 0, Layout(tmp_path), images.data, cpu)
    assert not (tmp_path / "executed").exists()


def test_logits_of_your_own_that_changed_are_refused(tmp_path: Path, images: ImageSplit, cpu: torch.device) -> None:
    path = tmp_path / "own.npy"
    np.save(path, np.zeros((300, 10)))
    teacher = own(path)
    np.save(path, np.ones((300, 10)))
    with refused(SoftlabelsError, path):
        load_teacher(teacher, 0, Layout(tmp_path), images.data, cpu)
    path.unlink()
    with refused(SoftlabelsError, path):
        load_teacher(teacher, 0, Layout(tmp_path), images.data, cpu)
