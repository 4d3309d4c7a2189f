"""What a drawing module measures from: the published files of a scale, and which of them are missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from softlabels.files import read_json, sha256
from softlabels.grid.identity import probe_id, run_id
from softlabels.grid.plan import Artifact, Member, Probe
from softlabels.layout import Layout
from softlabels.metrics.rows import COLUMNS, check_weights, key_columns, read_logits, read_probe, standard_rows

Arrays = dict[str, np.ndarray]
Row = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Measured:
    """Tidy rows (`metrics.rows.COLUMNS`, key columns as text) and the numbers that are drawn."""

    rows: pd.DataFrame
    plotted: pd.DataFrame


@dataclass(frozen=True)
class Source:
    """Reads logits and probes of members; what is not there is None and remembered in `missing`."""

    layout: Layout
    scale: str
    files: dict[str, str] = field(default_factory=dict)
    """Path below the scale's folder → SHA-256 of every file that was read."""
    missing: dict[str, list[int]] = field(default_factory=dict)
    """`<run>` or `<run> (<probe>)` → seeds whose files are not there."""

    def logits(self, member: Member, seed: int) -> tuple[Arrays, Arrays] | None:
        """Logits {"val/last": [N, K], …} and labels {"val": [N], …}; None where the run is not there."""
        run = run_id(member.run)
        return self._read(self.layout.run(run, seed) / "logits.safetensors", run, seed, read_logits)

    def probe(self, member: Member, seed: int, probe: Probe) -> Arrays | None:
        """The tensors of a probe (`grid.plan.Probe`); None where it is not there.

        Raises:
            DataError: the probe is damaged, or of other weights than the run has now.
        """
        run, name = run_id(member.run), probe_id(probe)
        path, record = self.layout.probe(run, seed, name), self.layout.run(run, seed) / "run.json"
        if path.exists() and record.exists():
            check_weights(path, read_json(record)["files"])
        return self._read(path, f"{run} ({name})", seed, read_probe)

    def row(
        self, artifact: Artifact, member: Member, seed: int, split: str, checkpoint: str, metric: str, value: float
    ) -> Row:
        """One tidy row."""
        return {
            **key_columns(artifact, member, run_id(member.run), self.scale),
            "split": split,
            "metric": metric,
            "value": value,
            "seed": seed,
            "checkpoint": checkpoint,
        }

    def standard(self, artifact: Artifact, member: Member) -> list[Row]:
        """The standard metrics of every seed that is there, on validation and test, last and best checkpoint."""
        return [
            self.row(artifact, member, seed, *found)
            for seed in member.seeds
            if (read := self.logits(member, seed)) is not None
            for found in standard_rows(*read)
        ]

    def _read(self, path: Path, name: str, seed: int, reader: Callable[[Path], T]) -> T | None:
        if not path.exists():
            seeds = self.missing.setdefault(name, [])
            if seed not in seeds:
                seeds.append(seed)
            return None
        self.files[str(path.relative_to(self.layout.root))] = sha256(path)
        return reader(path)


def tidy(rows: Sequence[Row]) -> pd.DataFrame:
    """Rows as a table with exactly `COLUMNS`; a run that has two places in an artifact keeps both."""
    return pd.DataFrame(list(rows), columns=list(COLUMNS)).drop_duplicates(ignore_index=True)


def by_seed(rows: Sequence[Row], split: str, metric: str, checkpoint: str = "last") -> dict[int, float]:
    """Seed → value of one metric of one member's rows."""
    key = (split, metric, checkpoint)
    return {r["seed"]: r["value"] for r in rows if (r["split"], r["metric"], r["checkpoint"]) == key}


def spread(values: Sequence[float]) -> dict[str, float]:
    """mean, min, max, std (n − 1; NaN for one seed) and n."""
    x = np.asarray(values, dtype=np.float64)
    std = float(x.std(ddof=1)) if len(x) > 1 else float("nan")
    return {"mean": x.mean(), "min": x.min(), "max": x.max(), "std": std, "n": len(x)}
