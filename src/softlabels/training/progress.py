"""How far an unfinished training is, on disk: for people, and to count what each sitting had to compute again."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from softlabels.files import read_json, write_json

PROGRESS_SECONDS = 10.0


class Progress:
    """`progress.json` of one run and seed in its folder of the store, and when the next checkpoint is due;
    `before_writing` may refuse (see `Lease.require`)."""

    def __init__(self, folder: Path, every: float, before_writing: Callable[[], None]) -> None:
        self.folder, self.every, self.before_writing = folder, every, before_writing
        self.progress = folder / "progress.json"
        self.sittings: list[dict[str, Any]] = []
        self.saved = self.told = time.monotonic()

    def due(self) -> bool:
        """Whether the last checkpoint is old enough for the next."""
        return time.monotonic() - self.saved > self.every

    def sit_down(self, step: int, steps: int) -> None:
        """This process begins at `step`; what an earlier one did beyond that is computed again."""
        reached = 0
        if self.progress.exists():
            before = read_json(self.progress)
            reached, self.sittings = before["step"], before["sittings"]
        self.sittings.append(
            {
                "from_step": step,
                "recomputed": max(0, reached - step),
                "host": socket.gethostname(),
                "slurm_job": os.environ.get("SLURM_JOB_ID"),
            }
        )
        self.tell(step, steps, now=True)

    def tell(self, step: int, steps: int, now: bool = False) -> None:
        """Say how far the training is, every few seconds."""
        if now or time.monotonic() - self.told > min(PROGRESS_SECONDS, self.every / 5):
            self.before_writing()
            write_json(self.progress, {"step": step, "steps": steps, "sittings": self.sittings})
            self.told = time.monotonic()

    def remove(self) -> None:
        """The training is finished."""
        self.progress.unlink(missing_ok=True)
