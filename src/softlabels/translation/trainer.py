"""Train one translation network with fairseq's own trainer: resumable at any moment.

fairseq seeds every update by (seed, update), and its iterator can be put at any batch, so weights, optimiser and a few
counters are all the state. Between two updates this module looks whether to stop, to save, or to tell how far it is;
what fairseq keeps in function attributes (best loss, patience) is saved too and does not leak into the next run.
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
from softlabels.grid.spec import TranslationSpec
from softlabels.training.progress import Progress
from softlabels.translation.compat import fairseq, replaced
from softlabels.translation.launch import corpus_arguments, network_arguments, parse, recipe_arguments
from softlabels.translation.network import own_state
from softlabels.translation.state import History, State

Weights = dict[str, torch.Tensor]
BITS = math.log(2)
"""nats per bit: fairseq logs in bits."""


@dataclass
class Trained:
    """A finished training."""

    network: Any
    """With its final weights."""
    last: Weights
    best: Weights | None
    best_step: int | None
    steps: int
    history: History
    seconds: float


class Trainer:
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
        self.state = State(folder / "fairseq", identity, seed)
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

    def run(self) -> Trained:
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
        return Trained(network, last, best, self.best and self.best[1], steps, self.history, self._seconds())

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
        """fairseq's command with its saving, loading and validating in our hands, for the time of one run."""
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
        self.progress.sit_down(self.begun_at, self.planned_updates)
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
        self.progress.tell(update, self.planned_updates)
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
        self.progress.tell(int(trainer.get_num_updates()), self.planned_updates, now=True)
