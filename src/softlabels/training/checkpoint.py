"""The state of an unfinished training on disk, and how far it is.

`checkpoint.safetensors` is everything the next process needs, in one file: there is no moment with half a state.
`progress.json` is for people, and counts what each attempt had to compute again.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from softlabels import slurm, tensors
from softlabels.errors import SoftlabelsError
from softlabels.files import read_json, write_json
from softlabels.store import attempts_of

PROGRESS_SECONDS = 10.0


class Progress:
    """`progress.json` of one run and seed in its folder of the store, and when the next checkpoint is due;
    `before_writing` may refuse (see `Lease.require`)."""

    def __init__(self, folder: Path, every: float, before_writing: Callable[[], None]) -> None:
        self.folder, self.every, self.before_writing = folder, every, before_writing
        self.progress = folder / "progress.json"
        self.attempts: list[dict[str, Any]] = []
        self.saved = self.written = time.monotonic()

    def due(self) -> bool:
        """Whether the last checkpoint is old enough for the next."""
        return time.monotonic() - self.saved > self.every

    def start_attempt(self, step: int, steps: int) -> None:
        """This process starts at `step`; what an earlier one did beyond that is computed again."""
        reached = 0
        if self.progress.exists():
            before = read_json(self.progress)
            reached, self.attempts = before["step"], attempts_of(before)
        self.attempts.append(
            {
                "from_step": step,
                "recomputed": max(0, reached - step),
                "host": socket.gethostname(),
                "slurm_job": slurm.job_id(),
            }
        )
        self.write_progress(step, steps, now=True)

    def write_progress(self, step: int, steps: int, now: bool = False) -> None:
        """Write how far the training is, at most every few seconds unless `now`."""
        if now or time.monotonic() - self.written > min(PROGRESS_SECONDS, self.every / 5):
            self.before_writing()
            write_json(self.progress, {"step": step, "steps": steps, "attempts": self.attempts})
            self.written = time.monotonic()

    def remove(self) -> None:
        """The training is finished."""
        self.progress.unlink(missing_ok=True)


State = dict[str, Tensor]


class Checkpoint(Progress):
    """The state of one run and seed in its folder of the store; `before_writing` may refuse (see `Lease.require`)."""

    def __init__(
        self, folder: Path, identity: str, seed: int, every: float, before_writing: Callable[[], None]
    ) -> None:
        super().__init__(folder, every, before_writing)
        self.identity, self.seed, self.path = identity, seed, folder / "checkpoint.safetensors"

    def save(self, parts: dict[str, State], optimiser: torch.optim.Optimizer, numbers: dict[str, Any]) -> None:
        """Write the tensors of each part (`model`, `ema`, `best`, `objective`), buffers of the optimiser, numbers."""
        self.before_writing()
        state = {f"{part}/{name}": tensor for part, tensors_ in parts.items() for name, tensor in tensors_.items()}
        for i, parameter in enumerate(_parameters(optimiser)):
            for key, value in optimiser.state.get(parameter, {}).items():
                if isinstance(value, Tensor):
                    state[f"optim/{i}/{key}"] = value
        tensors.save(self.path, state, numbers | {"run": self.identity, "seed": self.seed})
        self.saved = time.monotonic()

    def restore(
        self, optimiser: torch.optim.Optimizer, device: torch.device
    ) -> tuple[dict[str, State], dict[str, Any]] | None:
        """The parts and numbers of `save`, if there are any; the buffers go into the optimiser.

        Raises:
            SoftlabelsError: the file is damaged or belongs to another run.
        """
        if not self.path.exists():
            return None
        state, numbers = tensors.load(self.path, device)
        if (numbers.get("run"), numbers.get("seed")) != (self.identity, self.seed):
            raise SoftlabelsError(
                f"{self.path} belongs to {numbers.get('run')} seed {numbers.get('seed')}, not to {self.identity} "
                f"seed {self.seed}; delete it to start afresh"
            )
        parts: dict[str, State] = {"model": {}, "optim": {}, "ema": {}, "best": {}, "objective": {}}
        for name, tensor in state.items():
            part, key = name.split("/", 1)
            parts[part][key] = tensor
        buffers = parts.pop("optim")
        for i, parameter in enumerate(_parameters(optimiser)):
            prefix = f"{i}/"
            own = {k.removeprefix(prefix): v for k, v in buffers.items() if k.startswith(prefix)}
            if own:
                optimiser.state[parameter] = {k: _laid_out_like(parameter, v) for k, v in own.items()}
        return parts, numbers

    def remove(self) -> None:
        """The training is finished."""
        self.path.unlink(missing_ok=True)
        super().remove()


def _parameters(optimiser: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]


def _laid_out_like(parameter: Tensor, value: Tensor) -> Tensor:
    """A buffer in the memory layout of its parameter: fused optimisers walk both in flat order (`channels_last`)."""
    if value.shape != parameter.shape:
        return value  # a counter
    return torch.empty_like(parameter, dtype=value.dtype).copy_(value)
