"""Faults met by fairseq's trainer under our command: killed, told to stop, damaged files. The numbers stay the same."""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from refusals import refused, says
from short_job import ShortJob
from small_text import Forge, Project, recipe

from softlabels.errors import EXIT_ERROR, EXIT_RERUN, SoftlabelsError, Stopped
from softlabels.files import read_json, sha256, write_json
from softlabels.grid.identity import run_id
from softlabels.grid.spec import Smooth, TranslationSpec
from softlabels.layout import Layout
from softlabels.training.job import train
from softlabels.translation.compat import fairseq
from softlabels.translation.losses import TokenLoss
from softlabels.translation.trainer import TrainedTranslator, TranslationTrainer

LONG = recipe(updates=80, validate_updates=20)
STATE = ("checkpoint_last.pt", "checkpoint_previous.pt", "state.json")
RESULTS = ("weights.safetensors", "features.safetensors", "history.csv")
OFTEN = ("--device", "cpu", "--checkpoint-seconds", "0.1")


def long(project: Project) -> TranslationSpec:
    """The run that meets most of the faults: six epochs, each update of two batches."""
    return project.run(Smooth(0.1), recipe=LONG)


def student(project: Project) -> TranslationSpec:
    return project.student(project.run(), 3.0, beta=0.5, recipe=recipe(updates=60, validate_updates=20))


@pytest.fixture(scope="module")
def undisturbed(shared: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Both runs trained in this process without a fault. Read only."""
    project = shared.copy(tmp_path_factory.mktemp("undisturbed"))
    project.cache(student(project))
    project.train(long(project), student(project))
    return project


class Job:
    """`softlabels train` in a process of its own, which saves its state ten times a second."""

    def __init__(self, forge: Forge, project: Project, *runs: TranslationSpec, seeds: Sequence[int] = (0,),
                 killed_in: str = "", every: str = "0.1") -> None:  # fmt: skip
        project.specify(*runs)
        self.forge, self.log = forge, project.root / "log.txt"
        command = [*project.outputs("train", *runs, seeds=seeds), "--device", "cpu", "--checkpoint-seconds", every]
        forge.start(command, self.log, f"kill_in({killed_in!r})" if killed_in else "")

    def hit(self, number: signal.Signals, moment: Callable[[], bool]) -> int:
        """Send a signal at a moment; returns the exit status."""
        while not moment():
            assert not self.forge.ended(), f"ended before the moment: {self.log.read_text()}"
            time.sleep(0.0005)
        self.forge.hit(number)
        return self.forge.wait()

    def error(self) -> str:
        """The one line that is ours."""
        return ours(self.log.read_text())


def ours(text: str) -> str:
    """What the command says of its failure: one line (fairseq's log may stand beside it), and no traceback."""
    (line,) = [x for x in text.splitlines() if x.startswith("softlabels train:")]
    assert "Traceback" not in text
    return line


def reached(project: Project, run: TranslationSpec) -> int:
    """How far an unfinished training says it is."""
    with contextlib.suppress(SoftlabelsError):
        return int(read_json(project.store(run) / "progress.json")["step"])
    return -1


def past(project: Project, run: TranslationSpec, update: int) -> Callable[[], bool]:
    """The moment when a training is past an update and has two checkpoints."""
    state = project.store(run) / "fairseq"
    return lambda: reached(project, run) >= update and all((state / name).exists() for name in STATE)


def assert_same(project: Project, wanted: Project, run: TranslationSpec, seed: int = 0) -> None:
    ours, theirs = project.store(run, seed), wanted.store(run, seed)
    for name in RESULTS:
        assert (ours / name).read_bytes() == (theirs / name).read_bytes(), name
        assert (project.layout.run(run_id(run), seed) / name).read_bytes() == (theirs / name).read_bytes(), name
    left = {path.name for path in ours.iterdir() if not path.name.startswith("lease.")}
    assert left == set(Layout.run_files("translation"))  # no checkpoint, no part of a killed write


# ------------------------------------------------------------ killed, stopped


@pytest.fixture(scope="module")
def killed(forge: Forge, shared: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A training killed in its middle, in its third epoch or later."""
    project = shared.copy(tmp_path_factory.mktemp("killed"))
    run = long(project)
    assert Job(forge, project, run).hit(signal.SIGKILL, past(project, run, 35)) == -signal.SIGKILL
    assert not (project.store(run) / "run.json").exists()
    return project


@pytest.fixture
def hurt(killed: Project, tmp_path: Path) -> Project:
    """The killed training in a tree of one's own."""
    return killed.copy(tmp_path)


def test_killed_and_run_again_the_bytes_are_the_same(hurt: Project, undisturbed: Project) -> None:
    run = long(hurt)
    before = reached(hurt, run)
    hurt.train(run)
    assert_same(hurt, undisturbed, run)
    first, second = hurt.record(run)["attempts"]
    assert first["from_step"] == 0
    assert 0 < second["from_step"] <= before
    assert second["recomputed"] == before - second["from_step"]


MOMENTS = {
    "before the first update": "softlabels.training.checkpoint:Progress.start_attempt:1",
    "when a checkpoint is not yet recorded": "softlabels.translation.trainer:write_json:1",
    "when a checkpoint is recorded and has no name": "softlabels.translation.trainer:write_json:1:after",
    "the same with others before it": "softlabels.translation.trainer:write_json:3:after",
    "when the best weights are written": "softlabels.translation.trainer:TranslationTrainer.keep_best:1:after",
    "before the record is written": "softlabels.training.job:_write_record:1",
    "before it is published": "softlabels.training.job:publish:1",
}


def test_killed_at_many_moments_one_after_another_the_bytes_are_the_same(
    forge: Forge, project: Project, undisturbed: Project
) -> None:
    """Of trainings that save after every update."""
    run = long(project)
    for moment, call in MOMENTS.items():
        job = Job(forge, project, run, killed_in=call, every="0")
        assert forge.wait() == -signal.SIGKILL, (moment, job.log.read_text())
    project.train(run)
    assert_same(project, undisturbed, run)


def test_a_killed_student_goes_on_with_its_cache(forge: Forge, project: Project, undisturbed: Project) -> None:
    run = student(project)
    project.cache(run)
    assert Job(forge, project, run).hit(signal.SIGKILL, past(project, run, 20)) == -signal.SIGKILL
    project.train(run)
    assert project.record(run)["attempts"][1]["from_step"] > 0
    assert_same(project, undisturbed, run)


def test_told_to_stop_it_saves_and_a_fresh_process_goes_on(
    forge: Forge, project: Project, undisturbed: Project, impatient: TrainedTranslator
) -> None:
    """The fresh process then trains another run, whose bits are those of a process that had trained many."""
    run, other = long(project), project.run(recipe=IMPATIENT)
    job = Job(forge, project, run, seeds=(0, 1))
    assert job.hit(signal.SIGTERM, past(project, run, 20)) == EXIT_RERUN
    (update,) = re.findall(r"stopped at update (\d+) of 80, state saved; run the same command again", job.error())
    assert reached(project, run) == int(update)
    assert not project.store(run, 1).exists()
    assert not project.layout.run(run_id(run), 0).exists()
    project.specify(run, other)
    fresh = [sys.executable, "-m", "softlabels.cli", *project.outputs("train", run, other), *OFTEN]
    assert subprocess.run(fresh, capture_output=True, check=False).returncode == 0
    assert_same(project, undisturbed, run)
    assert project.record(run)["attempts"][1]["from_step"] == int(update)  # nothing is computed twice
    weights = project.weights(other)
    assert all(torch.equal(weights[f"last/{name}"], weight) for name, weight in impatient.last.items())
    assert project.record(other)["steps"] == impatient.steps


# ------------------------------------------------------------ damaged state


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def last(state: Path) -> None:
    truncate(state / "checkpoint_last.pt")


def both(state: Path) -> None:
    last(state)
    (state / "checkpoint_previous.pt").write_bytes(b"")


def last_is_lost(state: Path) -> None:
    (state / "checkpoint_last.pt").unlink()


def one_byte(state: Path) -> None:
    content = bytearray((state / "checkpoint_last.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (state / "checkpoint_last.pt").write_bytes(content)


def record_is_lost(state: Path) -> None:
    (state / "state.json").unlink()


def record_is_half(state: Path) -> None:
    truncate(state / "state.json")


def best_is_half(state: Path) -> None:
    """The weights of the best validation, which belong to the checkpoints."""
    for path in state.glob("best-*.safetensors"):
        truncate(path)


DAMAGES = {
    last: 1, one_byte: 1, last_is_lost: 0, both: 2, record_is_lost: 2, record_is_half: 2, best_is_half: 2,
}  # fmt: skip
"""How many checkpoints are passed over."""


@pytest.mark.parametrize("damage", DAMAGES)
def test_with_a_damaged_state_the_bytes_are_the_same(
    hurt: Project, undisturbed: Project, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    run = long(hurt)
    state = hurt.store(run) / "fairseq"
    damage(state)
    whole = damage in (last, one_byte, last_is_lost)  # the previous checkpoint is there
    hurt.train(run)
    told = capsys.readouterr().out
    assert told.count("is damaged (its checksum is not a recorded one): passed over") == DAMAGES[damage]
    assert ("continues at update" in told) == whole
    assert (hurt.record(run)["attempts"][1]["from_step"] > 0) == whole
    assert_same(hurt, undisturbed, run)


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_a_foreign_checkpoint_is_never_unpickled(hurt: Project, undisturbed: Project, tmp_path: Path) -> None:
    """A plain pickle, and one in the form of torch."""
    run, marker = long(hurt), tmp_path / "executed"
    state = hurt.store(run) / "fairseq"
    (state / "checkpoint_last.pt").write_bytes(pickle.dumps(Evil(marker)))
    torch.save({"model": Evil(marker)}, state / "checkpoint_previous.pt")
    hurt.train(run)
    assert not marker.exists()
    assert_same(hurt, undisturbed, run)


def test_even_a_recorded_checkpoint_runs_no_code(hurt: Project, tmp_path: Path) -> None:
    """Who can write the record too gets an error: fairseq's own loading is replaced."""
    run, marker = long(hurt), tmp_path / "executed"
    state = hurt.store(run) / "fairseq"
    torch.save({"model": Evil(marker)}, state / "checkpoint_last.pt")
    record = read_json(state / "state.json")
    write_json(state / "state.json", record | {"accepted": [sha256(state / "checkpoint_last.pt")]})
    with contextlib.suppress(Exception):
        assert hurt.call("train", run) != 0
    assert not marker.exists()
    assert not (hurt.store(run) / "run.json").exists()
    torch.load(state / "checkpoint_last.pt", weights_only=False)  # the trap works
    assert marker.exists()


def test_the_state_of_another_run_is_refused(hurt: Project, capsys: pytest.CaptureFixture[str]) -> None:
    run, other = long(hurt), hurt.run(Smooth(0.2), recipe=LONG)
    foreign, place = hurt.store(run) / "fairseq", hurt.store(other) / "fairseq"
    shutil.copytree(foreign, place)
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    assert hurt.call("train", other) == EXIT_ERROR
    says(ours(capsys.readouterr().err), place / "state.json", f"{run_id(run)} seed 0", f"{run_id(other)} seed 0")
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before


def test_a_refused_write_leaves_the_checkpoints(
    hurt: Project, undisturbed: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """A full disk, for who has no right to mount one: no file may grow beyond 64 KiB."""
    run = long(hurt)
    state = hurt.store(run) / "fairseq"
    before = {name: (state / name).read_bytes() for name in STATE}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, hard))
    try:
        code = hurt.call("train", run, options=OFTEN[2:])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == EXIT_ERROR
    message = rf"cannot write {state}/\S+: File too large; free space"
    assert re.search(message, ours(capsys.readouterr().err))
    assert {name: (state / name).read_bytes() for name in STATE} == before
    hurt.train(run)
    assert_same(hurt, undisturbed, run)


# ------------------------------------------------------------ jobs that end in time, trainings that diverge


def test_a_job_far_too_short_for_its_training_comes_further_each_time(hurt: Project, undisturbed: Project) -> None:
    """What SLURM's limit does: every attempt saves in time and has progressed, so that it is worth another."""
    run = long(hurt)
    stops: list[Stopped] = []
    while not (hurt.store(run) / "run.json").exists():
        try:
            train(ShortJob(hurt.layout, torch.device("cpu")), [(run_id(run), 0)])
        except Stopped as stop:
            stops.append(stop)
    assert len(stops) > 1
    assert all(stop.progressed for stop in stops)
    starts = [attempt["from_step"] for attempt in hurt.record(run)["attempts"]]
    assert starts == sorted(set(starts))
    assert {attempt["recomputed"] for attempt in hurt.record(run)["attempts"][2:]} == {0}
    assert_same(hurt, undisturbed, run)


def test_a_diverged_training_is_no_result_and_the_next_one_does_not_notice(
    project: Project, undisturbed: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """One process: a run that ends in the middle of an epoch by an error, then another."""
    diverging = project.run(recipe=recipe(lr=1e30, warmup_updates=1, clip_norm=0.0))
    run = long(project)
    options = ["--checkpoint-seconds", "3600"]
    assert project.call("train", diverging, run, options=options) == EXIT_ERROR
    message = ours(capsys.readouterr().err)
    assert re.search(rf"{run_id(diverging)} seed 0: .* at update \d+ of 60; lower recipe\.lr", message)
    assert not (project.store(diverging) / "run.json").exists()
    assert not project.layout.run(run_id(diverging), 0).exists()
    assert_same(project, undisturbed, run)


# ------------------------------------------------------------ patience


IMPATIENT = recipe(
    lr=0.1, warmup_updates=4, patience=3, validate_updates=3, updates=150, update_freq=1, clip_norm=0.0
)  # likelihood gets better and worse in turns, and then worse thrice


def trained(project: Project, folder: Path, spec: TranslationSpec, stop_at: int | None = None) -> TrainedTranslator:
    """By the trainer alone, told to stop at an update."""
    trainer = TranslationTrainer(
        spec, 0, project.data, folder,
        identity="test",
        device=torch.device("cpu"),
        criterion=["--loss", TokenLoss.of(spec.targets, 144).argument],  # type: ignore[arg-type]
        planned_updates=spec.recipe.updates or 1,
        should_stop=lambda: stop_at is not None and trainer.fairseq_trainer.get_num_updates() >= stop_at,
    )  # fmt: skip
    return trainer.run()


def same(a: TrainedTranslator, b: TrainedTranslator) -> bool:
    pairs = [(a.last, b.last), (a.best or {}, b.best or {})]
    return (a.history, a.steps, a.best_step) == (b.history, b.steps, b.best_step) and all(
        x.keys() == y.keys() and all(torch.equal(x[name], y[name]) for name in x) for x, y in pairs
    )


@pytest.fixture(scope="module")
def impatient(shared: Project, tmp_path_factory: pytest.TempPathFactory) -> TrainedTranslator:
    """A run that ends by its patience."""
    return trained(shared, tmp_path_factory.mktemp("impatient"), shared.run(recipe=IMPATIENT))


def worse_in_a_row(history: list[dict[str, Any]]) -> list[int]:
    """After each validation, how many have come since the best."""
    counts: list[int] = []
    best = float("inf")
    for row in history:
        counts.append(0 if row["val_nll"] < best else counts[-1] + 1)
        best = min(best, row["val_nll"])
    return counts


def test_a_run_ends_after_so_many_validations_without_a_better_one(impatient: TrainedTranslator) -> None:
    assert impatient.steps < 150
    counts = worse_in_a_row(impatient.history)
    assert counts[-1] == 3
    assert max(counts[:-1]) < 3
    assert 1 in counts[:-3]  # it had been worse before, and the count began anew
    assert impatient.best_step == impatient.history[-4]["step"]


@pytest.mark.parametrize(("validations", "after"), [(3, 1), (2, 0), (1, 1)])
def test_patience_goes_on_where_it_was(
    shared: Project, tmp_path: Path, impatient: TrainedTranslator, validations: int, after: int
) -> None:
    """Interrupted when one or two of the last three validations have been, just then or an update later."""
    update = impatient.history[-1 - validations]["step"] + after
    spec = shared.run(recipe=IMPATIENT)
    with refused(Stopped, f"update {update} of 150"):
        trained(shared, tmp_path, spec, stop_at=update)
    assert same(trained(shared, tmp_path, spec), impatient)


def test_no_run_notices_what_another_left_in_fairseqs_functions(
    shared: Project, impatient: TrainedTranslator, tmp_path: Path
) -> None:
    """Best losses and counts are attributes of functions there; here the worst that a run can leave."""
    fairseq()
    from fairseq_cli.train import should_stop_early

    should_stop_early.best, should_stop_early.num_runs = 0.0, 2
    assert same(trained(shared, tmp_path, shared.run(recipe=IMPATIENT)), impatient)


# ------------------------------------------------------------ the ends of epochs


def test_interrupted_at_the_ends_of_epochs_the_weights_are_the_same(shared: Project, tmp_path: Path) -> None:
    """At an end, within a later epoch, at the last update of all; lengths in epochs, validated after each."""
    spec = shared.run(recipe=recipe(updates=None, epochs=2, validate_updates=None))
    whole = trained(shared, tmp_path / "whole", spec)
    end = whole.history[0]["step"]
    assert (whole.steps, [row["epoch"] for row in whole.history]) == (2 * end, [1, 2])
    for update in (end, end + 1, 2 * end):
        with refused(Stopped, f"update {update}"):
            trained(shared, tmp_path / f"{update}", spec, stop_at=update)
        assert same(trained(shared, tmp_path / f"{update}", spec), whole), update


def test_seeds_differ(shared: Project, teacher: TranslationSpec) -> None:
    a, b = shared.weights(teacher, 0), shared.weights(teacher, 1)
    assert not any(torch.equal(a[name], b[name]) for name in a if name.startswith("last/") and a[name].dim() > 1)
