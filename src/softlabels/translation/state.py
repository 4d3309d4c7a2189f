"""The state of an unfinished fairseq training on disk: two checkpoints, their recorded checksums, the history.

`checkpoint_last.pt` is fairseq's own file. A checkpoint is read only if its SHA-256 is one that `state.json` records; it
is recorded before it gets its name, so a kill at any moment leaves at least one that can be read. A damaged one is
passed over for `checkpoint_previous.pt`, or else the run starts afresh: the numbers are the same.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from softlabels.errors import SoftlabelsError
from softlabels.files import read_json, sha256, write_json

History = list[dict[str, Any]]


class State:
    """The folder of one unfinished run and seed."""

    def __init__(self, folder: Path, identity: str, seed: int) -> None:
        self.folder = folder
        self.path, self.last = folder / "state.json", folder / "checkpoint_last.pt"
        self.previous, self.best = folder / "checkpoint_previous.pt", folder / "best.safetensors"
        self.owner = {"run": identity, "seed": seed}
        self.record: dict[str, Any] = {**self.owner, "accepted": [], "history": []}

    def open(self) -> bool:
        """Make `checkpoint_last.pt` one that may be read; False where there is none.

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
            if sha256(path) in self.record["accepted"]:
                if path != self.last:
                    self.last.unlink(missing_ok=True)
                    os.link(path, self.last)
                return True
            print(f"{path} is damaged (its checksum is not a recorded one): passed over")
            path.unlink()
        return False

    def save(self, write: Callable[[Path], None], history: History) -> None:
        """Keep what `write` puts into a file as the last checkpoint, the one before as the previous."""
        new = self.folder / "checkpoint_new.pt"
        write(new)
        digest = sha256(new)
        self.record = {**self.owner, "accepted": [digest, *self.record["accepted"][:1]], "history": history}
        write_json(self.path, self.record)
        if self.last.exists():
            self.previous.unlink(missing_ok=True)
            os.link(self.last, self.previous)
        new.replace(self.last)

    def history_until(self, update: int) -> History:
        """Rows up to an update: what lies beyond is computed again."""
        return [row for row in self.record["history"] if row["step"] <= update]
