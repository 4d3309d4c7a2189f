"""Train one translation network with fairseq's own trainer: resumable at any moment.

fairseq seeds every update by (seed, update), and its iterator can be put at any batch, so weights, optimiser and a few
counters are all the state. Between two updates this module looks whether to stop, to save, or to tell how far it is;
what fairseq keeps in function attributes (best loss, patience) is saved too and does not leak into the next run.

The state on disk is two checkpoints, their recorded checksums and the history. `checkpoint_last.pt` is fairseq's own
file. A checkpoint is read only if its SHA-256 is one that `state.json` records, and so is that of the best weights that
belong to it; both are recorded before it gets its name, so a kill at any moment leaves at least one that can be read. A
damaged one is passed over for `checkpoint_previous.pt`, or else the run starts afresh: the numbers are the same.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from softlabels import tensors
from softlabels.errors import SoftlabelsError, Stopped
from softlabels.files import read_json, sha256, write_json
from softlabels.grid.spec import TranslationSpec
from softlabels.training.checkpoint import Progress
from softlabels.translation.compat import fairseq, replaced
from softlabels.translation.launch import corpus_arguments, network_arguments, parse, recipe_arguments
from softlabels.translation.network import own_state

Weights = dict[str, torch.Tensor]
BITS = math.log(2)
"""nats per bit: fairseq logs in bits."""


@dataclass
class TrainedTranslator:
    """A finished training."""

    network: Any
    """With its final weights."""
    last: Weights
    best: Weights | None
    best_step: int | None
    steps: int
    history: History
    seconds: float


class TranslationTrainer:
    """One run and seed; `folder` keeps its state. `criterion` are the criterion's arguments."""

    def __init__(
        self,
        spec: TranslationSpec,
        seed: int,
        data: Path,
        folder: Path,
        *,
        identity: str,
        device: torch.device,
        criterion: list[str],
        planned_updates: int,
        checkpoint_seconds: float = 60.0,
        should_stop: Callable[[], bool] = lambda: False,
        before_writing: Callable[[], None] = lambda: None,
    ) -> None:
        self.spec, self.seed, self.identity = spec, seed, identity
        self.state = SavedState(folder / "fairseq", identity, seed)
        self.progress = Progress(folder, checkpoint_seconds, before_writing)
        self.should_stop, self.before_writing = should_stop, before_writing
        self.planned_updates = planned_updates
        self.arguments = [
            *corpus_arguments(data, str(device)), *network_arguments(spec),
            *recipe_arguments(spec, seed, self.state.folder), "--criterion", "soft_targets", *criterion,
        ]  # fmt: skip
        self.history: History = []
        self.best: tuple[float, int] | None = None
        self.begun_at = self.updates = 0
        self.seconds_before = 0.0
        self.fairseq_trainer: Any = None

    def run(self) -> TrainedTranslator:
        """Train to the last update, from the checkpoint if there is one.

        Raises:
            Stopped: asked to stop; the state is saved.
            SoftlabelsError: the loss became NaN or infinite (update and seed are named).
        """
        fairseq()
        import fairseq_cli.train as command
        from fairseq.distributed import utils as distributed

        self.state.folder.mkdir(parents=True, exist_ok=True)
        self.state.open()
        cfg = parse(self.arguments)
        self.begun = time.monotonic()
        with self._between_updates(command):
            try:
                distributed.call_main(cfg, command.main)
            except FloatingPointError as error:
                raise self._diverged(str(error)) from None
        trainer = self.fairseq_trainer
        network = trainer.get_model()
        last = {name: t.detach().cpu().clone() for name, t in own_state(network).items()}
        if broken := [n for n, t in last.items() if t.is_floating_point() and not torch.isfinite(t).all()]:
            raise self._diverged(f"weights {broken[0]} are not finite")
        best = None
        if self.best is not None:
            best, _ = tensors.load(self.state.best_file(self.best[1]))
        steps = int(trainer.get_num_updates())
        return TrainedTranslator(network, last, best, self.best and self.best[1], steps, self.history, self._seconds())

    def clean_up(self) -> None:
        """The results are written: the state of the unfinished training goes."""
        shutil.rmtree(self.state.folder, ignore_errors=True)
        self.progress.remove()

    def _seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.begun

    def _diverged(self, what: str) -> SoftlabelsError:
        update = self.fairseq_trainer.get_num_updates() if self.fairseq_trainer else 0
        return SoftlabelsError(
            f"{self.identity} seed {self.seed}: {what} at update {update} of {self.planned_updates}; "
            "lower recipe.lr, lengthen recipe.warmup_updates or set recipe.clip_norm"
        )

    # ---------------------------------------------------------------- what fairseq calls

    @contextlib.contextmanager
    def _between_updates(self, command: Any) -> Iterator[None]:
        """fairseq's command with its saving, loading and validating monkey-patched, for the time of one run."""
        checkpoints = command.checkpoint_utils
        self._load, self._validate, self._step = (
            checkpoints.load_checkpoint, command.validate, command.validate_and_save,
        )  # fmt: skip
        command.should_stop_early.best, command.should_stop_early.num_runs = None, 0
        self.patience = command.should_stop_early
        with (
            replaced(checkpoints, load_checkpoint=self.load_checkpoint, save_checkpoint=self.keep_best),
            replaced(command, validate=self.validate, validate_and_save=self.after_update),
        ):
            yield

    def load_checkpoint(self, cfg: Any, trainer: Any, **options: Any) -> Any:
        """Restore the last checkpoint, and what of this run fairseq does not keep in it."""
        self.fairseq_trainer = trainer
        make = trainer.get_train_iterator
        # fairseq composes the batches of all epochs when it makes an iterator, by (seed, epoch at that moment). A run
        # that goes on in a later epoch must have those of epoch 1, as if it had never been interrupted.
        with replaced(trainer, get_train_iterator=lambda epoch, **how: make(1, **how)):
            extra, iterator = self._load(cfg, trainer, **options)
        if extra is not None:
            ours = extra["softlabels"]
            self.best = None if ours["best"] is None else (ours["best"][0], ours["best"][1])
            self.patience.best, self.patience.num_runs = ours["patience"]
            self.seconds_before = ours["seconds"]
            self.begun_at = self.updates = int(trainer.get_num_updates())
            self.history = self.state.history_until(self.begun_at)
            print(f"{self.identity} seed {self.seed}: continues at update {self.begun_at} of {self.planned_updates}")
        self.progress.start_attempt(self.begun_at, self.planned_updates)
        return extra, iterator

    def validate(self, cfg: Any, trainer: Any, task: Any, iterator: Any, subsets: Any) -> Any:
        """fairseq's validation, and one row of the history."""
        from fairseq.logging import metrics

        losses = self._validate(cfg, trainer, task, iterator, subsets)
        row = {
            "step": int(trainer.get_num_updates()),
            "epoch": int(iterator.epoch),
            "lr": float(trainer.get_lr()),
            "train_loss": float(metrics.get_smoothed_value("train", "loss")) * BITS,
            "val_nll": float(losses[0]) * BITS,
        }
        if not math.isfinite(row["val_nll"]):
            raise self._diverged(f"the validation loss is {row['val_nll']}")
        self.history.append(row)
        print(f"{self.identity} seed {self.seed}: {'  '.join(f'{k} {v:.5g}' for k, v in row.items())}")
        return losses

    def keep_best(self, cfg: Any, trainer: Any, iterator: Any, loss: float | None) -> None:
        """Instead of fairseq's saving: the weights of the best validation so far (of equals the later)."""
        if loss is not None and (self.best is None or loss <= self.best[0]):
            self.best = (float(loss), int(trainer.get_num_updates()))
            self.before_writing()
            tensors.save(self.state.best_file(self.best[1]), own_state(trainer.get_model()))

    def after_update(self, cfg: Any, trainer: Any, task: Any, iterator: Any, subsets: Any, end: bool) -> Any:
        """Validate where it is time; then save, stop or go on."""
        update = int(trainer.get_num_updates())
        if update == self.updates:  # fairseq has caught it, and would go on without this batch
            raise SoftlabelsError(
                f"{self.identity} seed {self.seed}: the batch after update {update} does not fit into the memory of "
                "the device; lower recipe.max_tokens and raise recipe.update_freq in proportion, or with "
                "targets.gradient_norm: matched, which wants whole batches, take a larger device"
            )
        self.updates = update
        losses, done = self._step(cfg, trainer, task, iterator, subsets, end)
        self.progress.write_progress(update, self.planned_updates)
        stop = self.should_stop()
        if not done and (stop or self.progress.due()):
            self._save(trainer, iterator)
        if stop and not done:
            raise Stopped(
                f"stopped at update {update} of {self.planned_updates}, state saved; run the same command again",
                progressed=update > self.begun_at,
            )
        return losses, done

    def _save(self, trainer: Any, iterator: Any) -> None:
        self.before_writing()
        trainer.consolidate_optimizer()
        extra = {
            "train_iterator": iterator.state_dict(),
            "val_loss": None,
            "softlabels": {
                "best": self.best,
                "patience": (self.patience.best, self.patience.num_runs),
                "seconds": self._seconds(),
            },
        }
        best = self.best and self.best[1]
        self.state.save(lambda path: trainer.save_checkpoint(str(path), extra), self.history, best)
        self.progress.saved = time.monotonic()
        self.progress.write_progress(int(trainer.get_num_updates()), self.planned_updates, now=True)


History = list[dict[str, Any]]


class SavedState:
    """The folder of one unfinished run and seed."""

    def __init__(self, folder: Path, identity: str, seed: int) -> None:
        self.folder = folder
        self.path, self.last = folder / "state.json", folder / "checkpoint_last.pt"
        self.previous = folder / "checkpoint_previous.pt"
        self.owner = {"run": identity, "seed": seed}
        self.record: dict[str, Any] = {**self.owner, "accepted": [], "history": [], "best": {}}

    def open(self) -> None:
        """Make `checkpoint_last.pt` one that may be read, or remove it.

        Raises:
            SoftlabelsError: the folder belongs to another run.
        """
        if self.path.exists():
            with contextlib.suppress(SoftlabelsError):  # a power failure: what it vouched for is not read
                self.record = read_json(self.path)
        if {name: self.record.get(name) for name in self.owner} != self.owner:
            raise SoftlabelsError(
                f"{self.path} belongs to {self.record.get('run')} seed {self.record.get('seed')}, not to "
                f"{self.owner['run']} seed {self.owner['seed']}; delete {self.folder} to start afresh"
            )
        for path in (self.last, self.previous):
            if not path.exists():
                continue
            digest = sha256(path)
            best = self.record.get("best", {}).get(digest)
            whole = digest in self.record["accepted"] and (best is None or self._is_whole(best))
            if whole:
                self.record["accepted"] = [digest]
                path.replace(self.last)
                return
            print(f"{path} is damaged (its checksum is not a recorded one): passed over")
            path.unlink()

    def _is_whole(self, best: dict[str, str]) -> bool:
        path = self.folder / best["file"]
        return path.exists() and sha256(path) == best["sha256"]

    def best_file(self, update: int) -> Path:
        """Where the weights of the best validation so far are kept."""
        return self.folder / f"best-{update}.safetensors"

    def save(self, write: Callable[[Path], None], history: History, best: int | None) -> None:
        """Keep what `write` puts into a file as the last checkpoint, the one before as the previous; `best` is the
        update of the best validation."""
        new = self.folder / "checkpoint_new.pt"
        write(new)
        digest = sha256(new)
        accepted = [digest, *self.record["accepted"][:1]]
        kept = {d: entry for d, entry in self.record.get("best", {}).items() if d in accepted}
        if best is not None:
            path = self.best_file(best)
            kept[digest] = {"file": path.name, "sha256": sha256(path)}
        self.record = {**self.owner, "accepted": accepted, "history": history, "best": kept}
        write_json(self.path, self.record)
        if self.last.exists():
            self.last.replace(self.previous)
        new.replace(self.last)
        for path in self.folder.glob("best-*.safetensors"):
            if path.name not in {entry["file"] for entry in kept.values()}:
                path.unlink()

    def history_until(self, update: int) -> History:
        """Rows up to an update: what lies beyond is computed again."""
        return [row for row in self.record["history"] if row["step"] <= update]
