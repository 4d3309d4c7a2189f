"""Train one network of one run and seed: resumable at any moment, a pure function of (spec, seed, data).

Every random choice is a function of (seed, step) or of (stream, id, view), so the state is the
weights, the optimiser's buffers and a few numbers; nothing of a generator needs saving. On a CPU a resumed run
is bit-identical to an undisturbed one.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from softlabels import tensors
from softlabels.errors import SoftlabelsError, SpecError, Stopped
from softlabels.grid.spec import RunSpec
from softlabels.models import Network, build
from softlabels.training.augment import view_shape
from softlabels.training.average import averageable
from softlabels.training.checkpoint import Checkpoint, State
from softlabels.training.optim import make_optimiser, rate_factor, set_rate
from softlabels.training.order import batch_at
from softlabels.training.pictures import Asked, Pictures, evaluate, in_memory_format
from softlabels.training.step import Objective, TeacherLogits

CHECK_EVERY = 25  # steps between looks at the losses: each look waits for the device
DIVERGED = 100.0  # a loss this many times the first one (at least 1 nat) has diverged

History = list[dict[str, Any]]


@dataclass
class Trained:
    """A finished training: final and validation-selected weights, and what happened."""

    last: State
    best: State | None
    best_step: int | None
    history: History
    seconds: float
    milestones: dict[int, Path] = field(default_factory=dict)


class Trainer:
    """One run and seed; `folder` keeps its checkpoint and milestones, `begin` may put weights into the network."""

    def __init__(
        self,
        spec: RunSpec,
        seed: int,
        train: Pictures,
        val: Pictures,
        folder: Path,
        *,
        identity: str,
        teacher: TeacherLogits | None = None,
        checkpoint_seconds: float = 60.0,
        should_stop: Callable[[], bool] = lambda: False,
        before_writing: Callable[[], None] = lambda: None,
        begin: Callable[[Network], None] = lambda network: None,
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
        begin(self.network)  # initial weights in place of those that the seed has drawn
        self.objective = Objective(spec, self.network, teacher, train.data.num_classes).to(self.device)
        self.optimiser = make_optimiser(self.network, self.recipe.optimiser, self.objective)
        self.ema = self._copy(self.network.state_dict()) if self.recipe.ema else None
        self.averaged = {name for name, value in (self.ema or {}).items() if averageable(value)}
        self.step, self.seconds = 0, 0.0
        self.coming = self._stream()
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
        self.checkpoint.sit_down(self.step, self.steps)
        if self.step == 0 and 0 in self.milestones:
            self._keep_milestone()
        eval_steps = self._eval_steps()
        pending: list[Tensor] = []
        begun = time.monotonic()
        seconds_before = self.seconds
        self.coming = self._stream()
        with (
            contextlib.closing(self.coming),
            tqdm(total=self.steps, initial=self.step, unit="step", disable=None, leave=False, mininterval=0.5) as bar,
        ):
            while self.step < self.steps:
                pending.append(self._train_step())
                self.step += 1
                bar.update()
                at_eval = self.step in eval_steps
                stop = self.should_stop()
                if at_eval or stop or len(pending) >= CHECK_EVERY or self.step in self.milestones:
                    self._account(pending)
                    bar.set_postfix(loss=f"{self.loss_sum / max(1, self.loss_count):.4f}", refresh=False)
                    pending = []
                    self.checkpoint.tell(self.step, self.steps)
                if self.step in self.milestones:
                    self._keep_milestone()
                if at_eval:
                    self._validate()
                if stop or self.checkpoint.due():
                    self._account(pending)
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
        last = self._weights()
        broken = [name for name, t in last.items() if t.is_floating_point() and not torch.isfinite(t).all()]
        if broken:
            raise SoftlabelsError(f"seed {self.seed}: weights {broken[0]} are not finite after step {self.steps}")
        kept = {n: self.folder / "milestones" / f"step{n}.safetensors" for n in sorted(self.milestones)}
        return Trained(last, self.best, self.best_step, self.history, self.seconds, kept)

    def _stream(self) -> Generator[tuple[Asked, Tensor]]:
        """Batches and their pictures from the present step on."""
        stream = self.teacher.stream if self.teacher else self.seed
        return self.train_set.stream(self._asked(), stream, self.recipe.augment)

    def _asked(self) -> Iterator[Asked]:
        """The batches from the present step to the last, in the parts that are on the device at once."""
        B = self.recipe.batch_size
        size = self.recipe.micro_batch or B
        for step in range(self.step, self.steps):
            where, when = (torch.from_numpy(array) for array in batch_at(self.seed, step, B, len(self.train_set)))
            views = self.teacher.views(when) if self.teacher else when
            for start in range(0, B, size):  # one part: no slices, which tiny networks would feel
                part = slice(start, start + size)
                yield Asked(*(t if size == B else t[part] for t in (where, views, when)))

    def _train_step(self) -> Tensor:
        """One optimiser step; returns the mean loss (before `loss_scale`) on the device."""
        recipe, B = self.recipe, self.recipe.batch_size
        # Dropout draws from torch's generator: one seed per (run seed, step) makes it stateless.
        # (The generators directly: torch.manual_seed looks at every kind of device, at each step.)
        torch.default_generator.manual_seed(_mixed(self.seed, self.step))
        if self.device.type == "cuda":
            torch.cuda.manual_seed(_mixed(self.seed, self.step))
        set_rate(self.optimiser, recipe.optimiser, rate_factor(recipe.schedule, self.step, self.steps))
        self.network.train()
        total = torch.zeros((), device=self.device)
        size = recipe.micro_batch or B
        for _ in range(0, B, size):
            batch, pictures = next(self.coming)
            loss = self._loss(batch, pictures) * (len(pictures) / B)
            (loss * recipe.loss_scale).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        if recipe.clip_norm is not None:
            trained = (*self.network.parameters(), *self.objective.parameters())
            torch.nn.utils.clip_grad_norm_(trained, recipe.clip_norm)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.objective.follow(self.network, self.step + 1)
        if self.ema is not None and recipe.ema is not None:
            for name, value in self.network.state_dict().items():
                if name in self.averaged:
                    self.ema[name].lerp_(value, 1 - recipe.ema)
                else:
                    self.ema[name].copy_(value)
        return total

    def _loss(self, batch: Asked, pictures: Tensor) -> Tensor:
        labels = self.train_set.labels[batch.positions]
        x = in_memory_format(self.train_set.to_input(pictures, self.recipe.normalise), self.recipe.precision)
        assert batch.epochs is not None  # as `_asked` gives them
        ask = partial(self.teacher.rows, batch.positions, batch.epochs, pictures) if self.teacher else None
        loss: Tensor = self.objective(self.network, x, labels, ask)
        return loss

    def _account(self, pending: list[Tensor]) -> None:
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
                self.best_accuracy, self.best_step, self.best = accuracy, self.step, self._weights()
        self.history.append(row)
        text = "  ".join(f"{k} {v:.5g}" for k, v in row.items() if k != "lr_factor")
        tqdm.write(f"{self.identity} seed {self.seed}: {text}")

    def _eval_steps(self) -> set[int]:
        every = max(1, round(self.recipe.eval_every * self.steps))
        return {*range(every, self.steps + 1, every), self.steps}

    def _weights(self) -> State:
        """The weights that count: the moving average where the recipe has one."""
        return self._copy(self.ema if self.ema is not None else self.network.state_dict())

    def _evaluated_weights(self) -> _Swapped:
        return _Swapped(self.network, self.ema)

    @staticmethod
    def _copy(state: State) -> State:
        return {name: t.detach().clone() for name, t in state.items()}

    def _keep_milestone(self) -> None:
        self.checkpoint.before_writing()
        tensors.save(
            self.folder / "milestones" / f"step{self.step}.safetensors",
            self._weights(),
            {"run": self.identity, "seed": self.seed, "step": self.step},
        )

    def _save(self) -> None:
        parts = {"model": self.network.state_dict(), "ema": self.ema or {}, "best": self.best or {}}
        parts["objective"] = self.objective.state_dict()
        self.checkpoint.save(parts, self.optimiser, {key: getattr(self, key) for key in _NUMBERS})
        self.checkpoint.tell(self.step, self.steps, now=True)

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


def _mixed(seed: int, step: int) -> int:
    """32 bits (all that torch's CPU generator takes), different for every step of a run."""
    return (seed * 0x9E3779B1 ^ (step + 1) * 0x85EBCA77) & 0xFFFFFFFF


class _Swapped:
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
