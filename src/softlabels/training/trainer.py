"""Train one network of one run and seed: resumable at any moment, a pure function of (spec, seed, data).

Every random choice is a function of (seed, step) or of (augment_seed, id, view), so the state is the
weights, the optimiser's buffers and a few numbers; nothing of a generator needs saving. On a CPU a resumed run
is bit-identical to an undisturbed one.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from softlabels import tensors
from softlabels.errors import SoftlabelsError, SpecError, Stopped
from softlabels.grid.spec import RunSpec
from softlabels.models import Network, build
from softlabels.training.augment import view_shape
from softlabels.training.checkpoint import Checkpoint, State
from softlabels.training.images import BatchIndex, ImageSplit, evaluate, in_memory_format
from softlabels.training.objective import Objective, TeacherLogits, averageable
from softlabels.training.optim import make_optimiser, rate_factor, set_rate

CHECK_EVERY = 25  # steps between looks at the losses: each look waits for the device
DIVERGED = 100.0  # a loss this many times the first one (at least 1 nat) has diverged

History = list[dict[str, Any]]


@dataclass
class Trained:
    """A finished training: final and validation-selected weights, and a history row for each evaluation."""

    last: State
    best: State | None
    best_step: int | None
    history: History
    seconds: float
    milestones: dict[int, Path] = field(default_factory=dict)


class Trainer:
    """One run and seed; `folder` keeps its checkpoint and milestones, `init_weights` may load weights to start from."""

    def __init__(
        self,
        spec: RunSpec,
        seed: int,
        train: ImageSplit,
        val: ImageSplit,
        folder: Path,
        *,
        identity: str,
        teacher: TeacherLogits | None = None,
        checkpoint_seconds: float = 60.0,
        should_stop: Callable[[], bool] = lambda: False,
        before_writing: Callable[[], None] = lambda: None,
        init_weights: Callable[[Network], None] = lambda network: None,
    ) -> None:
        self.spec, self.recipe, self.seed = spec, spec.recipe, seed
        self.train_set, self.val_set, self.teacher = train, val, teacher
        self.device, self.folder, self.identity = train.device, folder, identity
        self.checkpoint = Checkpoint(folder, identity, seed, checkpoint_seconds, before_writing)
        self.should_stop = should_stop
        self.steps = self.recipe.num_steps(len(train))
        self.milestones = set(self.recipe.all_milestones(len(train)))
        if self.milestones and max(self.milestones) > self.steps:
            raise SpecError(
                f"recipe.milestones: step {max(self.milestones)} lies beyond the {self.steps} steps of the run"
            )
        torch.manual_seed(seed)
        shape = view_shape(self.recipe.augment, train.data.shape)
        self.network = build(spec.model, train.data.num_classes, shape).to(self.device)
        if self.recipe.precision.channels_last:
            self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        init_weights(self.network)  # in place of those that the seed has drawn
        self.objective = Objective(spec, self.network, teacher, train.data.num_classes).to(self.device)
        self.optimiser = make_optimiser(self.network, self.recipe.optimiser, self.objective)
        self.ema = self._copy(self.network.state_dict()) if self.recipe.ema else None
        self.averaged = {name for name, value in (self.ema or {}).items() if averageable(value)}
        self.step, self.seconds = 0, 0.0
        self.batches = self._load_batches()
        self.first_loss: float | None = None
        self.loss_sum, self.loss_count = 0.0, 0
        self.history: History = []
        self.best: State | None = None
        self.best_step: int | None = None
        self.best_accuracy = -1.0

    def run(self) -> Trained:
        """Train to the last step, from the checkpoint if there is one.

        Raises:
            Stopped: asked to stop; the state is saved.
            SoftlabelsError: the loss became NaN, infinite or diverged (step and seed are named); or the checkpoint
                belongs to another spec or is damaged.
        """
        self._restore()
        begun_at = self.step
        self.checkpoint.start_attempt(self.step, self.steps)
        if self.step == 0 and 0 in self.milestones:
            self._keep_milestone()
        eval_steps = self._eval_steps()
        pending: list[Tensor] = []
        begun = time.monotonic()
        seconds_before = self.seconds
        self.batches = self._load_batches()
        with (
            contextlib.closing(self.batches),
            tqdm(total=self.steps, initial=self.step, unit="step", disable=None, leave=False, mininterval=0.5) as bar,
        ):
            while self.step < self.steps:
                pending.append(self._train_step())
                self.step += 1
                bar.update()
                at_eval = self.step in eval_steps
                stop = self.should_stop()
                if at_eval or stop or len(pending) >= CHECK_EVERY or self.step in self.milestones:
                    self._check_losses(pending)
                    bar.set_postfix(loss=f"{self.loss_sum / max(1, self.loss_count):.4f}", refresh=False)
                    pending = []
                    self.checkpoint.write_progress(self.step, self.steps)
                if self.step in self.milestones:
                    self._keep_milestone()
                if at_eval:
                    self._validate()
                if stop or self.checkpoint.due():
                    self._check_losses(pending)
                    pending = []
                    self.seconds = seconds_before + time.monotonic() - begun
                    self._save()
                if stop and self.step < self.steps:
                    raise Stopped(
                        f"stopped at step {self.step} of {self.steps}, state saved; run the same command again",
                        progressed=self.step > begun_at,
                    )
        if self.steps == 0:
            self._validate()
        self.seconds = seconds_before + time.monotonic() - begun
        last = self._current_weights()
        broken = [name for name, t in last.items() if t.is_floating_point() and not torch.isfinite(t).all()]
        if broken:
            raise SoftlabelsError(f"seed {self.seed}: weights {broken[0]} are not finite after step {self.steps}")
        kept = {n: self.folder / "milestones" / f"step{n}.safetensors" for n in sorted(self.milestones)}
        return Trained(last, self.best, self.best_step, self.history, self.seconds, kept)

    def _load_batches(self) -> Generator[tuple[BatchIndex, Tensor]]:
        """Batches and their images from the present step on."""
        augment_seed = self.teacher.augment_seed if self.teacher else self.seed
        return self.train_set.batches(self._batch_indices(), augment_seed, self.recipe.augment)

    def _batch_indices(self) -> Iterator[BatchIndex]:
        """The batches from the present step to the last, in micro-batches."""
        B = self.recipe.batch_size
        size = self.recipe.micro_batch or B
        for step in range(self.step, self.steps):
            indices, epochs = (torch.from_numpy(array) for array in batch_at(self.seed, step, B, len(self.train_set)))
            views = self.teacher.views(epochs) if self.teacher else epochs
            for start in range(0, B, size):  # one part: no slices, which tiny networks would feel
                part = slice(start, start + size)
                yield BatchIndex(*(t if size == B else t[part] for t in (indices, views, epochs)))

    def _train_step(self) -> Tensor:
        """One optimiser step; returns the mean loss (before `loss_scale`) on the device."""
        recipe, B = self.recipe, self.recipe.batch_size
        # Dropout draws from torch's generator: one seed per (run seed, step) makes it stateless.
        # (The generators directly: torch.manual_seed looks at every kind of device, at each step.)
        torch.default_generator.manual_seed(_step_seed(self.seed, self.step))
        if self.device.type == "cuda":
            torch.cuda.manual_seed(_step_seed(self.seed, self.step))
        set_rate(self.optimiser, recipe.optimiser, rate_factor(recipe.schedule, self.step, self.steps))
        self.network.train()
        total = torch.zeros((), device=self.device)
        size = recipe.micro_batch or B
        for _ in range(0, B, size):
            batch, images = next(self.batches)
            loss = self._loss(batch, images) * (len(images) / B)
            (loss * recipe.loss_scale).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        if recipe.clip_norm is not None:
            trained = (*self.network.parameters(), *self.objective.parameters())
            torch.nn.utils.clip_grad_norm_(trained, recipe.clip_norm)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.objective.update_ema(self.network, self.step + 1)
        if self.ema is not None and recipe.ema is not None:
            for name, value in self.network.state_dict().items():
                if name in self.averaged:
                    self.ema[name].lerp_(value, 1 - recipe.ema)
                else:
                    self.ema[name].copy_(value)
        return total

    def _loss(self, batch: BatchIndex, images: Tensor) -> Tensor:
        labels = self.train_set.labels[batch.positions]
        x = in_memory_format(self.train_set.to_input(images, self.recipe.normalise), self.recipe.precision)
        assert batch.epochs is not None  # as `_batch_indices` gives them
        teacher_logits = partial(self.teacher.rows, batch.positions, batch.epochs, images) if self.teacher else None
        loss: Tensor = self.objective(self.network, x, labels, teacher_logits)
        return loss

    def _check_losses(self, pending: list[Tensor]) -> None:
        """Add losses to the running mean; refuse to go on with one that is not a number or has diverged."""
        if not pending:
            return
        losses = torch.stack(pending).tolist()
        first = self.step - len(losses)
        for offset, loss in enumerate(losses):
            if self.first_loss is None:
                self.first_loss = loss
            if not math.isfinite(loss) or loss > DIVERGED * max(1.0, self.first_loss):
                raise self._diverged("loss", loss, first + offset + 1)
            self.loss_sum += loss
            self.loss_count += 1

    def _diverged(self, what: str, loss: float, step: int) -> SoftlabelsError:
        return SoftlabelsError(
            f"{self.identity} seed {self.seed}: the {what} is {loss:.3g} at step {step} of {self.steps} "
            f"(first loss {self.first_loss:.3g}); lower recipe.optimiser.lr or set recipe.clip_norm"
        )

    def _validate(self) -> None:
        """One row of the history; the best validation accuracy so far keeps its weights (ties: the later)."""
        row: dict[str, Any] = {"step": self.step, "epoch": self.step * self.recipe.batch_size / len(self.train_set)}
        if self.step > 0:
            row["lr_factor"] = rate_factor(self.recipe.schedule, self.step - 1, self.steps)
            row["train_loss"] = self.loss_sum / max(1, self.loss_count)
        self.loss_sum, self.loss_count = 0.0, 0
        if len(self.val_set):
            with self._evaluated_weights():
                logits = torch.from_numpy(evaluate(self.network, self.val_set, self.recipe))
            labels = self.val_set.labels.cpu()
            accuracy = (logits.argmax(1) == labels).double().mean().item()
            row["val_top1"] = 100 * accuracy
            row["val_nll"] = torch.nn.functional.cross_entropy(logits.double(), labels).item()
            if not math.isfinite(row["val_nll"]):
                raise self._diverged("validation loss", row["val_nll"], self.step)
            if accuracy >= self.best_accuracy:
                self.best_accuracy, self.best_step, self.best = accuracy, self.step, self._current_weights()
        self.history.append(row)
        text = "  ".join(f"{k} {v:.5g}" for k, v in row.items() if k != "lr_factor")
        tqdm.write(f"{self.identity} seed {self.seed}: {text}")

    def _eval_steps(self) -> set[int]:
        every = max(1, round(self.recipe.eval_every * self.steps))
        return {*range(every, self.steps + 1, every), self.steps}

    def _current_weights(self) -> State:
        """The EMA of the weights where the recipe has one, else those of the network."""
        return self._copy(self.ema if self.ema is not None else self.network.state_dict())

    def _evaluated_weights(self) -> _TemporaryWeights:
        return _TemporaryWeights(self.network, self.ema)

    @staticmethod
    def _copy(state: State) -> State:
        return {name: t.detach().clone() for name, t in state.items()}

    def _keep_milestone(self) -> None:
        self.checkpoint.before_writing()
        tensors.save(
            self.folder / "milestones" / f"step{self.step}.safetensors",
            self._current_weights(),
            {"run": self.identity, "seed": self.seed, "step": self.step},
        )

    def _save(self) -> None:
        parts = {"model": self.network.state_dict(), "ema": self.ema or {}, "best": self.best or {}}
        parts["objective"] = self.objective.state_dict()
        self.checkpoint.save(parts, self.optimiser, {key: getattr(self, key) for key in _NUMBERS})
        self.checkpoint.write_progress(self.step, self.steps, now=True)

    def _restore(self) -> None:
        found = self.checkpoint.restore(self.optimiser, self.device)
        if found is None:
            return
        parts, numbers = found
        self.network.load_state_dict(parts["model"])
        self.objective.load_state_dict(parts["objective"])
        self.ema, self.best = parts["ema"] or None, parts["best"] or None
        for key in _NUMBERS:
            setattr(self, key, numbers[key])
        tqdm.write(f"{self.identity} seed {self.seed}: continues at step {self.step} of {self.steps}")


_NUMBERS = (
    "step", "seconds", "first_loss", "loss_sum", "loss_count", "history", "best_step", "best_accuracy",
)  # fmt: skip


def _step_seed(seed: int, step: int) -> int:
    """32 bits (all that torch's CPU generator takes), different for every step of a run."""
    return (seed * 0x9E3779B1 ^ (step + 1) * 0x85EBCA77) & 0xFFFFFFFF


class _TemporaryWeights:
    """For the time of an evaluation the network carries other weights."""

    def __init__(self, network: torch.nn.Module, weights: State | None) -> None:
        self.network, self.weights = network, weights

    def __enter__(self) -> None:
        if self.weights is not None:
            self.own = Trainer._copy(self.network.state_dict())
            self.network.load_state_dict(self.weights)

    def __exit__(self, *_: object) -> None:
        if self.weights is not None:
            self.network.load_state_dict(self.own)


Ints = NDArray[np.int64]


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, num_train: int) -> Ints:
    generator = np.random.Generator(np.random.Philox(key=np.array([seed, epoch], dtype=np.uint64)))
    return generator.permutation(num_train).astype(np.int64)


def batch_at(seed: int, step: int, batch_size: int, num_train: int) -> tuple[Ints, Ints]:
    """Positions `[B]` in the training set and the epoch `[B]` of each, for a step counted from 0.

    A pure function of (seed, step): a resumed run continues with the very batch it would have seen. A batch
    may straddle two epochs; every epoch uses every example once.
    """
    place = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs, offsets = place // num_train, place % num_train
    positions = np.empty(batch_size, dtype=np.int64)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        positions[here] = _permutation(seed, int(epoch), num_train)[offsets[here]]
    return positions, epochs
