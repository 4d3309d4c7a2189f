"""Real trainings on original JPEG files at 224 pixels: a teacher, students of both caches, faults, processes.

On generated files always; on CIFAR-10 as JPEG files where SOFTLABELS_CIFAR10_JPEG names the archive.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from conftest import write_jpegs
from PIL import Image
from refusals import refused

from softlabels import tensors
from softlabels.cli import main
from softlabels.data.load import Data, open_data
from softlabels.data.prepare import prepare
from softlabels.errors import EXIT_ERROR, EXIT_RERUN, DataError
from softlabels.files import read_json, write_json
from softlabels.grid.files import write_plan
from softlabels.grid.identity import dataset_id, needed_cache, probe_id, run_id
from softlabels.grid.parts.probes import Probe
from softlabels.grid.parts.recipe import Augment, Optimiser, Recipe
from softlabels.grid.plan import Plan
from softlabels.grid.spec import DatasetSpec, Distill, ModelSpec, RunSpec, Smooth, Teacher, to_dict
from softlabels.layout import Layout
from softlabels.store import finished
from softlabels.training.images import BatchIndex, evaluate, open_split
from softlabels.training.jpeg import CHUNK, JpegSplit, draw, view_of
from softlabels.training.teachers import load_run

ARCHIVE = os.environ.get("SOFTLABELS_CIFAR10_JPEG")
AUGMENT = Augment(
    side=224, scale=(0.2, 1.0), flip=True, rotate=20, grayscale=0.2, jitter_brightness=0.2, jitter_contrast=0.2,
    eval_resize=256,
)  # fmt: skip
TEACHER_AUGMENT = Augment(side=224, scale=(0.08, 1.0), flip=True, eval_resize=256)
BATCH = CHUNK + 5  # the second chunk of a batch is shorter


class Tree:
    """Results of one teacher and its students on one set of images."""

    def __init__(self, folder: Path, images: Path, num_classes: int) -> None:
        self.layout = Layout(folder / "results" / "demo")
        self.data = DatasetSpec("folder", path=str(images), num_classes=num_classes, keep="files", train_size=46)
        recipe = {"batch_size": BATCH, "steps": 5, "normalise": "dataset", "eval_every": 0.5}
        self.teacher = RunSpec(
            self.data,
            ModelSpec("mlp", (("hidden", (6,)), ("dropout", 0.3))),  # dropout, because decoding must not draw from it
            Smooth(0.1),
            Recipe(optimiser=Optimiser(lr=0.0005), augment=TEACHER_AUGMENT, **recipe),  # type: ignore[arg-type]
        )
        small = ModelSpec("small_cnn", (("widths", (4, 6)), ("hidden", 12)))
        taught = Recipe(optimiser=Optimiser(lr=0.002, momentum=0.9), augment=AUGMENT, micro_batch=9, **recipe)  # type: ignore[arg-type]
        self.dense = RunSpec(self.data, small, Distill(Teacher(self.teacher), 2.0), taught)
        self.online = RunSpec(self.data, small, Distill(Teacher(self.teacher), 2.0, cache="online"), taught)
        need = needed_cache(self.dense)
        assert need is not None
        self.need = need

    def plan(self) -> None:
        runs = {run_id(spec): spec for spec in (self.teacher, self.dense, self.online)}
        seeds = dict.fromkeys(runs, (0,))
        write_plan(Plan("demo", {}, runs, seeds, flops_per_second=1e9), self.layout.root / "specs")
        prepare(self.data, self.folder)

    @property
    def folder(self) -> Path:
        return self.layout.data(dataset_id(self.data))

    def arguments(self, what: str, workers: int) -> list[str]:
        options = ["--device", "cpu", "--workers", str(workers)]
        if what == "cache":
            return ["cache", str(self.layout.cache(self.need.id, 0) / "manifest.json"), *options]
        output = self.layout.run(run_id(getattr(self, what)), 0) / "run.json"
        return ["train", str(output), *options, "--checkpoint-seconds", "0.01"]

    def make(self, what: str, workers: int) -> None:
        assert main(self.arguments(what, workers)) == 0

    def store(self, what: str) -> Path:
        return self.layout.store(run_id(getattr(self, what)), 0)


def generated(folder: Path) -> tuple[Path, int]:
    write_jpegs(folder / "images", {"train": 30, "test": 6})
    with pytest.raises(DataError, match=r"dataset\.train_size"):  # what the tree declares is not there
        Tree(folder / "wrong", folder / "images", 2).plan()
    for file in sorted((folder / "images" / "train").rglob("*.jpg"))[::7][:9]:
        file.unlink()
    return folder / "images", 2


def cifar10(folder: Path) -> tuple[Path, int]:
    """The first six JPEG files of each class of the archive."""
    if not ARCHIVE:
        pytest.skip("SOFTLABELS_CIFAR10_JPEG names no archive of CIFAR-10 as JPEG files")
    left: dict[str, int] = {}
    with tarfile.open(ARCHIVE) as tar:
        for member in tar:
            name = Path(member.name)
            if member.isreg() and name.suffix == ".jpg" and left.setdefault(name.parent.name, 6) > 0:
                left[name.parent.name] -= 1
                tar.extract(member, folder / "images", filter="data")
    assert len(left) == 10
    return folder / "images", 10


@pytest.fixture(scope="module", params=[generated, cifar10], ids=["generated", "cifar10"])
def images(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """An image folder."""
    found: tuple[Path, int] = request.param(tmp_path_factory.mktemp("images"))
    return found


@pytest.fixture(scope="module")
def prepared(images: tuple[Path, int], tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """Specs and data, nothing trained."""
    tree = Tree(tmp_path_factory.mktemp("prepared"), *images)
    tree.plan()
    return tree


def copied(tree: Tree, folder: Path) -> Tree:
    shutil.copytree(tree.layout.root.parent, folder / "results")
    other = Tree(folder, Path(str(tree.data.path)), int(str(tree.data.num_classes)))
    assert other.need.id == tree.need.id
    return other


@pytest.fixture(scope="module")
def trained(prepared: Tree, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """Teacher, cache and both students, decoded in the process itself."""
    tree = copied(prepared, tmp_path_factory.mktemp("trained"))
    for what in ("teacher", "cache", "dense", "online"):
        tree.make(what, workers=0)
    return tree


def data_of(tree: Tree) -> Data:
    return open_data(tree.folder)


# ------------------------------------------------------------ numbers


def test_cached_logits_are_those_of_the_students_views(trained: Tree, images: tuple[Path, int]) -> None:
    """Recomputed image by image from the original files, without what streams them."""
    data, folder = data_of(trained), trained.layout.cache(trained.need.id, 0)
    teacher = load_run(trained.teacher, 0, "last", trained.layout, data, torch.device("cpu"))
    shard = np.load(folder / "shard-0000.npy").astype(np.float32)
    assert shard.shape == (trained.need.views, 46, data.num_classes)
    assert trained.need.views == 3  # 5 batches of 21 of 46 images: one view for each epoch that is begun
    files = sorted((images[0] / "train").rglob("*.jpg"))
    mean, std = np.array(data.mean), np.array(data.std)
    for position in (0, 17, 45):
        i = int(data.ids("train")[position])
        with Image.open(files[i]) as image:
            image = image.convert("RGB")
        size = np.array([[image.height, image.width]], dtype=np.int32)
        for view in range(3):
            drawn = draw(size, torch.tensor([i]), torch.tensor([view]), 0, AUGMENT)
            x = (np.asarray(view_of(image, drawn, 0, AUGMENT)) / 255 - mean) / std
            with torch.no_grad():
                wanted = teacher.network(torch.from_numpy(x.transpose(2, 0, 1)[None]).float())[0]
            np.testing.assert_allclose(shard[view, position], wanted, rtol=2e-3, atol=2e-3)
    assert np.abs(shard[0] - shard[1]).max() > 0.01  # views differ
    assert main([*trained.arguments("cache", 0), "--check", "8"]) == 0


def test_the_students_of_both_caches_learn_the_same(trained: Tree) -> None:
    dense, online = (tensors.load(trained.store(what) / "weights.safetensors")[0] for what in ("dense", "online"))
    assert dense.keys() == online.keys()
    for name, weight in dense.items():
        torch.testing.assert_close(online[name], weight, rtol=1e-2, atol=1e-3, msg=name)  # fp16 of the cache
    for what in ("teacher", "dense"):
        logits = tensors.load(trained.store(what) / "logits.safetensors")[0]["test/last"]
        assert len(np.unique(logits.numpy(), axis=0)) == len(logits)  # it looks at the images


def test_no_number_depends_on_the_number_of_processes(trained: Tree, prepared: Tree, tmp_path: Path) -> None:
    tree = copied(prepared, tmp_path)
    for what in ("teacher", "cache", "dense", "online"):
        tree.make(what, workers=2)
        if what == "cache":
            one, two = (t.layout.cache(t.need.id, 0) / "shard-0000.npy" for t in (trained, tree))
            assert one.read_bytes() == two.read_bytes()
            continue
        for name in ("weights.safetensors", "logits.safetensors", "history.csv"):
            assert (tree.store(what) / name).read_bytes() == (trained.store(what) / name).read_bytes(), (what, name)
    assert not psutil.Process().children()


def test_probes_of_files_say_what_the_network_said(trained: Tree) -> None:
    """On clean images what evaluation says; on views other logits, the same with any number of processes."""
    found = {}
    for views in (0, 2):
        probe = Probe("train", "features", views=views)
        path = trained.layout.root / "specs" / "probes" / f"{probe_id(probe)}.json"
        path.parent.mkdir(exist_ok=True)
        write_json(path, to_dict(probe))
        output = trained.layout.probe(run_id(trained.dense), 0, probe_id(probe))
        for workers in (2, 0) if views else (0,):
            shutil.rmtree(trained.store("dense") / "probes", ignore_errors=True)
            output.unlink(missing_ok=True)
            assert main(["evaluate", str(output), "--device", "cpu", "--workers", str(workers)]) == 0
            found[views, workers] = tensors.load(output)[0]
    data, cpu = data_of(trained), torch.device("cpu")
    network = load_run(trained.dense, 0, "last", trained.layout, data, cpu).network
    said = evaluate(network, open_split(data, "train", cpu), trained.dense.recipe)
    assert np.array_equal(found[0, 0]["logits/last"][:, 0].numpy(), said)
    for name, value in found[2, 0].items():
        assert torch.equal(value, found[2, 2][name]), name
    assert not torch.equal(found[2, 0]["logits/last"][:, 0], found[2, 0]["logits/last"][:, 1])


def test_a_image_is_the_same_in_any_batch(prepared: Tree) -> None:
    streamed = open_split(data_of(prepared), "train", torch.device("cpu"), workers=1)
    assert isinstance(streamed, JpegSplit)
    order = torch.randperm(46, generator=torch.Generator().manual_seed(0))
    views = order % 3
    asked = [BatchIndex(order[a:b], views[a:b]) for a, b in ((0, 1), (1, 30), (30, 46))]
    parts = list(streamed.batches(iter(asked), 4, AUGMENT))
    assert [len(x) for _, x in parts] == [1, 29, 16]
    whole = streamed.view(order, views, 4, AUGMENT)
    assert whole.shape == (46, 3, 224, 224)
    assert torch.equal(torch.cat([x for _, x in parts]), whole)
    plain = torch.cat(list(streamed.passes(None, 0, AUGMENT)))
    assert torch.equal(plain[7], streamed.plain(torch.tensor([7]), AUGMENT)[0])
    torch.manual_seed(3)
    before = torch.get_rng_state()
    next(streamed.batches(iter(asked), 4, AUGMENT))
    assert torch.equal(torch.get_rng_state(), before)


# ------------------------------------------------------------ faults


class Job:
    """The command in a process group of its own."""

    def __init__(self, tree: Tree, what: str, workers: int) -> None:
        command = [sys.executable, "-c", "import sys; from softlabels.cli import main; sys.exit(main())"]
        self.log = tree.layout.root.parent.parent / "stderr.txt"
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [*command, *tree.arguments(what, workers)], stdout=log, stderr=log, start_new_session=True
            )
        self.folder = tree.store(what)

    def at_step(self, step: int) -> list[psutil.Process]:
        """Wait for a checkpoint at or after `step`; the processes that decode."""
        for _ in range(6000):
            progress = self.folder / "progress.json"
            if progress.exists() and read_json(progress)["step"] >= step:
                return psutil.Process(self.process.pid).children()
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.01)
        raise AssertionError("no checkpoint")


def slowly(tree: Tree) -> Tree:
    """The teacher with more steps than a test waits for."""
    recipe = dataclasses.replace(tree.teacher.recipe, steps=120, eval_every=1.0)
    tree.teacher = dataclasses.replace(tree.teacher, recipe=recipe)
    runs = {run_id(tree.teacher): tree.teacher}
    seeds = dict.fromkeys(runs, (0,))
    write_plan(Plan("demo", {}, runs, seeds, flops_per_second=1e9), tree.layout.root / "specs")
    return tree


@pytest.fixture(scope="module")
def undisturbed(prepared: Tree, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    tree = slowly(copied(prepared, tmp_path_factory.mktemp("undisturbed")))
    tree.make("teacher", 0)
    return tree


@pytest.mark.parametrize("how", ["kill -9", "SIGTERM to all its processes"])
def test_stopped_and_gone_on_is_undisturbed(undisturbed: Tree, prepared: Tree, tmp_path: Path, how: str) -> None:
    tree = slowly(copied(prepared, tmp_path))
    job = Job(tree, "teacher", workers=2)
    decoding = job.at_step(3)
    assert len(decoding) == 2
    if how == "kill -9":
        job.process.kill()
    else:  # as SLURM does before a time limit
        os.killpg(job.process.pid, signal.SIGTERM)
    assert job.process.wait(120) == (-signal.SIGKILL if how == "kill -9" else EXIT_RERUN), job.log.read_text()
    assert psutil.wait_procs(decoding, timeout=60)[1] == []  # nobody is left behind
    assert finished(tree.store("teacher")) is None
    tree.make("teacher", 2)
    for name in ("weights.safetensors", "logits.safetensors", "history.csv"):
        assert (tree.store("teacher") / name).read_bytes() == (undisturbed.store("teacher") / name).read_bytes(), name
    assert len(read_json(tree.store("teacher") / "run.json")["attempts"]) == 2


def test_a_process_that_dies_is_one_sentence(prepared: Tree, tmp_path: Path) -> None:
    tree = slowly(copied(prepared, tmp_path))
    job = Job(tree, "teacher", workers=2)
    job.at_step(3)[0].kill()
    assert job.process.wait(120) == EXIT_ERROR
    last = job.log.read_text().splitlines()[-1]
    assert last.startswith("softlabels train: a process that decodes images has died")
    # But for the library's own thread, when the process dies in the middle of its handshake.
    library = r"Traceback[^\n]*\n(?:(?!Traceback)[\s\S])*?resource_sharer[\s\S]*?\n\w+Error[^\n]*\n"
    ours = re.sub(library, "", job.log.read_text())
    assert "Traceback" not in ours


@pytest.mark.parametrize("workers", [0, 1])
def test_a_image_that_no_longer_decodes_is_one_sentence(prepared: Tree, tmp_path: Path, workers: int) -> None:
    tree = copied(prepared, tmp_path)
    files = data_of(tree).files("train")
    with open(tree.folder / "train_files.bin", "r+b") as handle:
        handle.seek(int(files.offsets[5]))
        handle.write(b"no JPEG")
    streamed = open_split(data_of(tree), "train", torch.device("cpu"), workers)
    number = int(streamed.ids[5])
    with refused(DataError, f"image {number}", varies=r"\(.*\)"):
        list(streamed.passes(0, 0, AUGMENT))
    assert not psutil.Process().children()


def test_closing_a_stream_ends_its_processes(prepared: Tree) -> None:
    streamed = open_split(data_of(prepared), "train", torch.device("cpu"), workers=2)
    endless: Iterator[Any] = iter(lambda: BatchIndex(torch.arange(40), torch.zeros(40, dtype=torch.long)), None)
    stream = streamed.batches(endless, 0, AUGMENT)
    for _ in range(3):
        assert next(stream)[1].shape == (40, 3, 224, 224)
    children = psutil.Process().children()
    assert len(children) == 2
    stream.close()
    assert psutil.wait_procs(children, timeout=60)[1] == []
    with refused(DataError, "nowhere/manifest.json"):
        open_data(Path("nowhere"))
