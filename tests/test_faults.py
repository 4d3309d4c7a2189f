"""Real faults met by the real command: killed, told to stop, out of disk, files that are not what they should be."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pickle
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import DIGITS
from refusals import refused, says
from short_job import ShortJob

from softlabels.cli import main
from softlabels.data.load import open_data
from softlabels.data.prepare import prepare
from softlabels.errors import EXIT_ERROR, EXIT_RERUN, SoftlabelsError, Stopped
from softlabels.files import read_json, sha256, write_json
from softlabels.grid.files import write_plan
from softlabels.grid.identity import dataset_id, needed_cache, probe_id, run_id
from softlabels.grid.parts.probes import Probe
from softlabels.grid.parts.recipe import Augment, Optimiser, Recipe, Schedule
from softlabels.grid.plan import Plan
from softlabels.grid.spec import DatasetSpec, Distill, ModelSpec, RunSpec, Smooth, Teacher, UserNetwork, to_dict
from softlabels.layout import Layout
from softlabels.lease import holder
from softlabels.store import finished
from softlabels.training.images import ImageSplit
from softlabels.training.job import train
from softlabels.training.teachers import load_teacher
from softlabels.training.worker import Worker

RECIPE = Recipe(
    batch_size=32,
    steps=800,
    optimiser=Optimiser(lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3),
    schedule=Schedule("steps", (0.5,), 0.1, warmup=0.1),
    augment=Augment(shift=1),
    clip_norm=1.0,
    ema=0.99,
    milestone_every=400,
)
NETWORK = ModelSpec("mlp", (("hidden", (32,)), ("dropout", 0.3)))
TEACHER = RunSpec(DIGITS, NETWORK, Smooth(0.1), RECIPE)
STUDENT = RunSpec(
    DIGITS,
    NETWORK,
    Distill(Teacher(TEACHER), 2.0, beta=0.5),
    Recipe(batch_size=32, steps=600, optimiser=Optimiser(lr=0.003, name="adam"), augment=Augment(shift=1)),
)
DIVERGING = RunSpec(
    DIGITS, NETWORK, Smooth(0.1), Recipe(batch_size=32, steps=200, optimiser=Optimiser(lr=1e30), eval_every=0.005)
)
TEACHER_ID, STUDENT_ID, DIVERGING_ID = map(run_id, (TEACHER, STUDENT, DIVERGING))
NEED = needed_cache(STUDENT)
assert NEED is not None
CACHE_ID = NEED.id
STOPPED = ("checkpoint.safetensors", "milestones", "progress.json")
RESULTS = ("weights.safetensors", "logits.safetensors", "history.csv")

# Four views a shard, so that a cache can be hit between two shards.
COMMAND = "import sys; from softlabels import cache; cache.SHARD_BYTES = 24_000\n" + (
    "from softlabels.cli import main; sys.exit(main())"
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with specs and data, and nothing trained."""
    layout = Layout(tmp_path_factory.mktemp("prepared") / "results" / "demo")
    runs = {run_id(spec): spec for spec in (TEACHER, STUDENT, DIVERGING)}
    seeds = dict.fromkeys(runs, (0, 1))
    write_plan(Plan("demo", {}, runs, seeds, flops_per_second=1e9), layout.root / "specs")
    prepare(DIGITS, layout.data(dataset_id(DIGITS)))
    return layout.root.parent


@pytest.fixture
def layout(prepared: Path, tmp_path: Path) -> Layout:
    """A tree of one's own to break."""
    shutil.copytree(prepared, tmp_path / "results")
    return Layout(tmp_path / "results" / "demo")


def outputs(layout: Layout, what: str, seeds: Sequence[int] = (0,)) -> list[str]:
    if what == "cache":
        return ["cache", *(str(layout.cache(CACHE_ID, s) / "manifest.json") for s in seeds)]
    name = {"teacher": TEACHER_ID, "student": STUDENT_ID, "diverging": DIVERGING_ID}[what]
    return ["train", *(str(layout.run(name, s) / "run.json") for s in seeds)]


def options(what: str, checkpoint_seconds: float) -> list[str]:
    often = [] if what == "cache" else ["--checkpoint-seconds", str(checkpoint_seconds)]
    return ["--device", "cpu", *often]


def here(layout: Layout, what: str, seeds: Sequence[int] = (0,)) -> int:
    """The command in this process, undisturbed, with no checkpoint before the end."""
    return main([*outputs(layout, what, seeds), *options(what, 3600)])


@pytest.fixture(scope="module")
def undisturbed(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """Teacher, cache and student of two seeds, trained without a fault."""
    root = tmp_path_factory.mktemp("undisturbed") / "results"
    shutil.copytree(prepared, root)
    layout = Layout(root / "demo")
    for what in ("teacher", "cache", "student"):
        assert here(layout, what, (0, 1)) == 0
    return layout


class Job:
    """The command in a process of its own."""

    def __init__(self, layout: Layout, what: str, seeds: Sequence[int] = (0,), **popen: Any) -> None:
        self.log = layout.root.parent.parent / "stderr.txt"
        with open(self.log, "w") as log:
            command = [sys.executable, "-c", COMMAND, *outputs(layout, what, seeds), *options(what, 0.05)]
            self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, **popen)

    def wait(self) -> int:
        try:
            return self.process.wait(300)
        finally:
            self.process.kill()
            self.process.wait()

    def hit(self, number: signal.Signals, moment: Callable[[], bool], delay: float = 0.0) -> int:
        """Send a signal `delay` seconds after a moment; returns the exit status."""
        while not moment():
            assert self.process.poll() is None, f"ended before the moment: {self.log.read_text()}"
            time.sleep(0.0005)
        time.sleep(delay)
        self.process.send_signal(number)
        return self.wait()

    def error(self) -> str:
        """The one line on stderr."""
        text = self.log.read_text()
        assert text.count("\n") == 1, text
        return text.strip()


def assert_same(layout: Layout, wanted: Layout, run: str, seed: int) -> None:
    ours, theirs = layout.store(run, seed), wanted.store(run, seed)
    milestones = sorted(str(path.relative_to(theirs)) for path in theirs.glob("milestones/*"))
    assert len(milestones) == (3 if run == TEACHER_ID else 0)
    for name in (*RESULTS, *milestones):
        assert (ours / name).read_bytes() == (theirs / name).read_bytes(), name
    for name in RESULTS:
        assert (layout.run(run, seed) / name).read_bytes() == (theirs / name).read_bytes(), name
    left = {path.name for path in ours.iterdir()} - {*Layout.run_files("image"), "milestones"}
    assert not left  # no checkpoint, no part of a killed write


# ------------------------------------------------------------ killed, stopped


def test_killed_at_many_moments_the_results_are_bit_identical(layout: Layout, undisturbed: Layout) -> None:
    """`kill -9` in teacher, cache and student, early, late, within a write and between two results."""
    delays = random.Random(0)
    teacher, student = layout.store(TEACHER_ID, 0), layout.store(STUDENT_ID, 0)
    second, cache = layout.store(TEACHER_ID, 1), layout.cache(CACHE_ID, 0)

    def teacher_is_writing() -> bool:
        return any(name.endswith(".part") for name in os.listdir(teacher))

    moments: list[tuple[str, Callable[[], bool], float]] = [
        ("teacher", (teacher / "lease.1.json").exists, delays.uniform(0, 0.1)),
        ("teacher", (teacher / "checkpoint.safetensors").exists, delays.uniform(0, 0.3)),
        ("teacher", teacher_is_writing, 0.0),
        ("teacher", (teacher / "logits.safetensors").exists, 0.0),
        ("teacher", (second / "checkpoint.safetensors").exists, delays.uniform(0, 0.3)),
        ("cache", (cache / "shards.json").exists, 0.0),
        ("student", (student / "checkpoint.safetensors").exists, delays.uniform(0, 0.2)),
    ]
    for number, (what, moment, delay) in enumerate(moments):
        assert Job(layout, what, (0, 1)).hit(signal.SIGKILL, moment, delay) == -signal.SIGKILL
        if number + 1 == len(moments) or moments[number + 1][0] != what:
            assert Job(layout, what, (0, 1)).wait() == 0
    for seed in (0, 1):
        assert_same(layout, undisturbed, TEACHER_ID, seed)
        assert_same(layout, undisturbed, STUDENT_ID, seed)
        caches = [tree.cache(CACHE_ID, seed) for tree in (layout, undisturbed)]
        stored = [np.concatenate([np.load(p) for p in sorted(c.glob("shard-*.npy"))]) for c in caches]
        assert np.array_equal(*stored)


@pytest.fixture(scope="module")
def stopped(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """A teacher that got SIGTERM in the middle of its training."""
    root = tmp_path_factory.mktemp("stopped") / "results"
    shutil.copytree(prepared, root)
    layout = Layout(root / "demo")
    folder = layout.store(TEACHER_ID, 0)
    job = Job(layout, "teacher", (0, 1))
    assert job.hit(signal.SIGTERM, (folder / "checkpoint.safetensors").exists) == EXIT_RERUN
    assert re.search(r"stopped at step \d+ of 800, state saved; run the same command again", job.error())
    assert {path.name for path in folder.iterdir()} == {*STOPPED, "lease.1.json"}
    assert not layout.store(TEACHER_ID, 1).exists()
    assert not layout.run(TEACHER_ID, 0).exists()
    return layout


def take_over(layout: Layout, stopped: Layout) -> Path:
    """The stopped teacher's state in another tree; returns its folder."""
    folder = layout.store(TEACHER_ID, 0)
    shutil.copytree(stopped.store(TEACHER_ID, 0), folder, dirs_exist_ok=True)
    return folder


def test_stopped_by_sigterm_and_run_again(layout: Layout, stopped: Layout, undisturbed: Layout) -> None:
    take_over(layout, stopped)
    assert here(layout, "teacher") == 0
    assert_same(layout, undisturbed, TEACHER_ID, 0)


# ------------------------------------------------------------ no space


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of half a megabyte."""
    path = tmp_path / "disk"
    path.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(path)]
    mounted = subprocess.run(options, capture_output=True, text=True) if shutil.which("mount") else None
    if mounted is None or mounted.returncode:
        pytest.skip(f"cannot mount a small tmpfs here: {mounted.stderr.strip() if mounted else 'no mount command'}")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def fill(path: Path, leave: int) -> None:
    """Leave so many bytes free."""
    disk = os.statvfs(path)
    (path / "ballast").write_bytes(b"x" * (disk.f_bavail * disk.f_frsize - leave))


def test_a_full_disk_leaves_the_checkpoint(
    layout: Layout, stopped: Layout, undisturbed: Layout, small_disk: Path
) -> None:
    (layout.root / "store").symlink_to(small_disk)
    folder = take_over(layout, stopped)
    before = (folder / "checkpoint.safetensors").read_bytes()
    fill(small_disk, leave=16 << 10)
    job = Job(layout, "teacher")
    assert job.wait() == EXIT_ERROR
    assert f"cannot write {folder}/checkpoint.safetensors" in job.error()
    assert "No space left on device" in job.error()
    assert (folder / "checkpoint.safetensors").read_bytes() == before
    assert {path.name for path in folder.iterdir()} <= {*STOPPED, "lease.1.json", "lease.2.json"}
    (small_disk / "ballast").unlink()
    assert here(layout, "teacher") == 0
    assert_same(layout, undisturbed, TEACHER_ID, 0)


def test_a_disk_full_to_the_last_byte(layout: Layout, small_disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (layout.root / "store").symlink_to(small_disk)
    fill(small_disk, leave=0)
    assert here(layout, "teacher") == EXIT_ERROR
    assert one_line(capsys).startswith(f"softlabels train: cannot write {layout.store(TEACHER_ID, 0)}: No space")


def test_a_refused_write_leaves_the_checkpoint(layout: Layout, stopped: Layout, undisturbed: Layout) -> None:
    """The same without the right to mount: no file may grow beyond 16 KiB."""
    folder = take_over(layout, stopped)
    before = (folder / "checkpoint.safetensors").read_bytes()
    limit = (16 << 10, 16 << 10)
    job = Job(layout, "teacher", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))
    assert job.wait() == EXIT_ERROR
    assert f"cannot write {folder}/checkpoint.safetensors" in job.error()
    assert (folder / "checkpoint.safetensors").read_bytes() == before
    assert here(layout, "teacher") == 0
    assert_same(layout, undisturbed, TEACHER_ID, 0)


# ------------------------------------------------------------ a job that must end in time


def test_a_job_far_too_short_for_its_training_comes_further_each_time(layout: Layout, undisturbed: Layout) -> None:
    """What SLURM's limit does: every attempt saves in time and has progressed, so that it is worth another."""
    stops: list[Stopped] = []
    while finished(layout.store(TEACHER_ID, 0)) is None:
        worker = ShortJob(layout, torch.device("cpu"))
        worker.last = 150
        try:
            train(worker, [(TEACHER_ID, 0)])
        except Stopped as stop:
            stops.append(stop)
    assert all(stop.progressed for stop in stops)
    record = finished(layout.store(TEACHER_ID, 0))
    assert record is not None
    starts = [attempt["from_step"] for attempt in record["attempts"]]
    assert len(starts) == len(stops) + 1 > 1
    assert starts == sorted(set(starts))
    assert {attempt["recomputed"] for attempt in record["attempts"]} == {0}
    assert_same(layout, undisturbed, TEACHER_ID, 0)


class FarFromItsData(Worker):
    """A process that reads through a slow network."""

    def images(self, dataset: DatasetSpec, split: str) -> ImageSplit:
        time.sleep(0.45)
        return super().images(dataset, split)


def test_a_long_start_is_not_taken_for_the_length_of_a_step(layout: Layout) -> None:
    worker = FarFromItsData(layout, torch.device("cpu"), deadline=time.monotonic() + 2.0)
    with contextlib.suppress(Stopped):
        train(worker, [(TEACHER_ID, 0)])
    record = finished(layout.store(TEACHER_ID, 0))
    assert record is not None or read_json(layout.store(TEACHER_ID, 0) / "progress.json")["step"] > 10


def test_a_job_that_has_finished_some_of_its_members_has_progressed(trained: Layout) -> None:
    """Though it stops before the next one has begun; and one that has finished none has not."""
    shutil.rmtree(trained.store(TEACHER_ID, 0))
    worker = Worker(trained, torch.device("cpu"), deadline=None)
    train(worker, [(TEACHER_ID, 0)])
    shutil.rmtree(trained.store(TEACHER_ID, 1))
    for progressed in (True, False):
        worker.progressed = progressed
        worker.deadline = time.monotonic()
        with pytest.raises(Stopped) as stop:
            train(worker, [(TEACHER_ID, 1)])
        assert stop.value.progressed is progressed


# ------------------------------------------------------------ out of memory

GREEDY = """
import weakref
import torch

alive, found_alive = weakref.WeakSet(), []
error = torch.OutOfMemoryError
at_once = {True: 16, False: 500}  # images that fit into memory, in training and else


class Net(torch.nn.Module):
    def __init__(self, num_classes, shape):
        super().__init__()
        self.flat, self.head = torch.nn.Flatten(), torch.nn.Linear(64, num_classes)
        found_alive.append(len(alive))
        alive.add(self)

    def features(self, x):
        if len(x) > at_once[self.training]:
            raise error("CUDA out of memory")
        return self.flat(x)

    def forward(self, x):
        return self.head(self.features(x))
"""


def test_what_does_not_fit_into_memory_is_one_line_and_leaves_room_for_the_others(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "greedy.py").write_text(GREEDY)
    monkeypatch.syspath_prepend(str(tmp_path))
    recipe = Recipe(batch_size=32, steps=20, optimiser=Optimiser(lr=0.05))
    large = RunSpec(DIGITS, ModelSpec("greedy:Net"), Smooth(0.1), recipe)
    small = dataclasses.replace(large, recipe=dataclasses.replace(recipe, micro_batch=16))
    student = dataclasses.replace(small, targets=Distill(Teacher(small), 2.0))
    need, probe = needed_cache(student), Probe()
    assert need is not None
    runs = {run_id(spec): spec for spec in (large, small, student)}
    specs = layout.root / "specs"
    write_plan(Plan("demo", {}, runs, dict.fromkeys(runs, (0,)), flops_per_second=1e9), specs)
    write_json(specs / "probes" / f"{probe_id(probe)}.json", to_dict(probe))

    trained = [str(layout.run(run_id(spec), 0) / "run.json") for spec in (large, small)]
    assert main(["train", *trained, "--device", "cpu"]) == EXIT_ERROR
    says(one_line(capsys), f"{run_id(large)} seed 0", "recipe.micro_batch")
    assert finished(layout.store(run_id(large), 0)) is None
    assert finished(layout.store(run_id(small), 0)) is not None
    greedy = sys.modules["greedy"]
    assert set(greedy.found_alive) == {0}
    for folder in (layout.store(run_id(small), 0), layout.run(run_id(small), 0)):
        shutil.rmtree(folder)
    with monkeypatch.context() as told:  # fairseq's own handling of it ends in an error of ours
        told.setattr(greedy, "error", SoftlabelsError)
        assert main(["train", *trained, "--device", "cpu"]) == EXIT_ERROR
    says(one_line(capsys), "CUDA")
    assert finished(layout.store(run_id(small), 0)) is not None
    assert set(greedy.found_alive) == {0}

    monkeypatch.setitem(greedy.at_once, False, 1)
    for command, output in (
        ("cache", layout.cache(need.id, 0) / "manifest.json"),
        ("evaluate", layout.probe(run_id(small), 0, probe_id(probe))),
    ):
        assert main([command, str(output), "--device", "cpu"]) == EXIT_ERROR
        says(one_line(capsys), "seed 0")
        assert not output.exists()


# ------------------------------------------------------------ files that are not what they should be


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    text = capsys.readouterr().err
    assert text.count("\n") == 1, text
    return text.strip()


def test_a_diverged_training_is_no_result(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*outputs(layout, "diverging"), *options("diverging", 0)]) == EXIT_ERROR
    message = one_line(capsys)
    assert re.search(rf"{DIVERGING_ID} seed 0: the (validation )?loss is (nan|inf) at step \d+ of 200", message)
    assert not (layout.store(DIVERGING_ID, 0) / "run.json").exists()
    assert not layout.run(DIVERGING_ID, 0).exists()
    assert holder(layout.store(DIVERGING_ID, 0)) is None


def test_a_checkpoint_of_another_spec_is_refused(
    layout: Layout, stopped: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = stopped.store(TEACHER_ID, 0) / "checkpoint.safetensors"
    path = layout.store(DIVERGING_ID, 0) / "checkpoint.safetensors"
    path.parent.mkdir(parents=True)
    shutil.copy(foreign, path)
    assert here(layout, "diverging") == EXIT_ERROR
    says(one_line(capsys), path, f"{TEACHER_ID} seed 0", f"{DIVERGING_ID} seed 0")
    assert path.read_bytes() == foreign.read_bytes()


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("damage", ["pickle", "truncated", "empty"])
def test_a_checkpoint_that_cannot_be_read_is_refused(
    layout: Layout, stopped: Layout, capsys: pytest.CaptureFixture[str], tmp_path: Path, damage: str
) -> None:
    path = take_over(layout, stopped) / "checkpoint.safetensors"
    content = {"pickle": pickle.dumps(Evil(tmp_path / "executed")), "truncated": path.read_bytes()[:-1], "empty": b""}
    path.write_bytes(content[damage])
    assert here(layout, "teacher") == EXIT_ERROR
    says(one_line(capsys), path, varies=r"\(.*\)")
    assert path.read_bytes() == content[damage]
    assert not (tmp_path / "executed").exists()
    path.unlink()  # the advised way out


def test_pickled_weights_of_your_own_are_refused(undisturbed: Layout, tmp_path: Path) -> None:
    path = tmp_path / "own.pt"
    torch.save({"head.weight": torch.zeros(10, 32)}, path)
    data = open_data(undisturbed.data(dataset_id(DIGITS)))
    own = Teacher(UserNetwork(NETWORK, str(path), sha256(path), "none"))
    with refused(SoftlabelsError, path, varies=r"\(.*\)"):
        load_teacher(own, 0, undisturbed, data, torch.device("cpu"))


@pytest.fixture
def trained(undisturbed: Layout, tmp_path: Path) -> Layout:
    """A copy of the undisturbed tree."""
    shutil.copytree(undisturbed.root.parent, tmp_path / "results")
    return Layout(tmp_path / "results" / "demo")


def test_a_changed_teacher_is_refused(trained: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    path = trained.store(TEACHER_ID, 0) / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    (trained.cache(CACHE_ID, 0) / "manifest.json").unlink()
    assert here(trained, "cache") == EXIT_ERROR
    says(one_line(capsys), path, "SHA-256")
    assert here(trained, "teacher") == EXIT_ERROR
    says(one_line(capsys), path, path.parent)
    assert not (trained.cache(CACHE_ID, 0) / "manifest.json").exists()


def test_a_student_of_a_teacher_trained_again_is_refused(trained: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    """Its published result would stand beside another teacher's."""
    record = trained.store(TEACHER_ID, 0) / "run.json"
    content = read_json(record)
    content["files"]["weights.safetensors"] = "0" * 64
    write_json(record, content)
    assert here(trained, "student") == EXIT_ERROR
    says(one_line(capsys), trained.store(STUDENT_ID, 0))


def test_a_cache_of_a_teacher_trained_again_is_refused(trained: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    """As on an accelerator, where the same training need not give the same bits."""
    record = trained.store(TEACHER_ID, 0) / "run.json"
    content = read_json(record)
    content["files"]["weights.safetensors"] = "0" * 64
    write_json(record, content)
    shutil.rmtree(trained.store(STUDENT_ID, 0))
    assert here(trained, "student") == EXIT_ERROR
    folder = trained.cache(CACHE_ID, 0)
    says(one_line(capsys), folder / "manifest.json", "teacher_files")
    assert not (trained.store(STUDENT_ID, 0) / "run.json").exists()


def test_one_byte_of_a_cache_is_refused_and_its_shard_made_again(
    trained: Layout, undisturbed: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = trained.cache(CACHE_ID, 0)
    path = next(folder.glob("shard-*.npy"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    shutil.rmtree(trained.store(STUDENT_ID, 0))
    assert here(trained, "student") == EXIT_ERROR
    says(one_line(capsys), path)
    (folder / "manifest.json").unlink()
    assert here(trained, "cache") == 0
    assert main([*outputs(trained, "cache"), *options("cache", 60), "--check", "20"]) == 0
    assert here(trained, "student") == 0
    assert_same(trained, undisturbed, STUDENT_ID, 0)


# ------------------------------------------------------------ nothing is trained twice


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): (p.stat().st_ino, p.stat().st_mtime_ns) for p in files}


@pytest.mark.parametrize("deleted", ["one file", "all outputs of the rule"])
def test_deleted_outputs_are_published_again_without_training(undisturbed: Layout, deleted: str) -> None:
    store, published = undisturbed.root / "store", undisturbed.root / "runs"
    before = stamps(store), stamps(published)
    if deleted == "one file":
        (undisturbed.run(TEACHER_ID, 1) / "weights.safetensors").unlink()
    else:
        shutil.rmtree(published / TEACHER_ID)
    assert here(undisturbed, "teacher", (0, 1)) == 0
    assert (stamps(store), stamps(published)) == before


def test_a_lost_seed_is_trained_again_without_its_siblings(trained: Layout, undisturbed: Layout) -> None:
    assert here(trained, "teacher", (0, 1)) == 0  # links instead of the copies that this tree was made of
    siblings = stamps(trained.store(TEACHER_ID, 0)), stamps(trained.run(TEACHER_ID, 0))
    shutil.rmtree(trained.store(TEACHER_ID, 1))
    shutil.rmtree(trained.run(TEACHER_ID, 1))
    assert here(trained, "teacher", (0, 1)) == 0
    assert (stamps(trained.store(TEACHER_ID, 0)), stamps(trained.run(TEACHER_ID, 0))) == siblings
    assert_same(trained, undisturbed, TEACHER_ID, 1)
