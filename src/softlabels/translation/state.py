"""The state of an unfinished fairseq training on disk: two checkpoints, their recorded checksums, the history.

`checkpoint_last.pt` is fairseq's own file. A checkpoint is read only if its SHA-256 is one that `state.json` records,
and so is that of the best weights that belong to it; both are recorded before it gets its name, so a kill at any moment
leaves at least one that can be read. A damaged one is passed over for `checkpoint_previous.pt`, or else the run starts
afresh: the numbers are the same.
"""

from __future__ import annotations

import contextlib
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
