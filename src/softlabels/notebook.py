"""Results for a notebook: metrics, histories, logits and specs as pandas and numpy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from softlabels.errors import SoftlabelsError
from softlabels.files import read_json
from softlabels.grid.spec import Run, run_from
from softlabels.layout import Layout
from softlabels.metrics.rows import read_predictions, read_rows
from softlabels.metrics.tokens import TokenFile, read_tokens


@dataclass(frozen=True)
class Results:
    """What lies below `results/<scale>`. A run may be named by any beginning of its id that only it has."""

    layout: Layout

    @property
    def metrics(self) -> pd.DataFrame:
        """`metrics.csv`: one row per number, with the columns of `softlabels.metrics.rows.COLUMNS`."""
        return read_rows(self.layout.root / "metrics.csv")

    @property
    def runs(self) -> list[str]:
        """The ids of the runs that have results, sorted."""
        return sorted(path.name for path in (self.layout.root / "runs").glob("*") if path.is_dir())

    def seeds(self, run: str) -> list[int]:
        """The seeds of a run that have results, sorted."""
        folder = self.layout.root / "runs" / self.resolve(run)
        return sorted(int(path.name.removeprefix("seed")) for path in folder.glob("seed*"))

    def spec(self, run: str) -> Run:
        """The specification of a run, also of one that older code made."""
        path = self.layout.spec(self.resolve(run))
        content = read_json(path)
        if not isinstance(content, dict) or "spec" not in content:
            raise SoftlabelsError(f"{path} is no spec of a run; delete it and run snakemake again")
        return run_from(content["spec"], f"{path}: spec")

    def history(self, run: str, seed: int = 0) -> pd.DataFrame:
        """Losses and validation metrics of the training, one row per record."""
        path = self.layout.run(self.resolve(run), seed) / "history.csv"
        if not path.exists():
            raise SoftlabelsError(f"{path} does not exist; make it with snakemake first")
        return pd.read_csv(path)

    def logits(
        self, run: str, seed: int = 0, split: str = "test", checkpoint: str = "last"
    ) -> tuple[np.ndarray, np.ndarray]:
        """Logits `[N, K]` of a split ("val", "test") at a checkpoint ("last", "best"), and labels `[N]`."""
        path = self.layout.run(self.resolve(run), seed) / "logits.safetensors"
        logits, labels = read_predictions(path)
        name = f"{split}/{checkpoint}"
        if name not in logits:
            raise SoftlabelsError(f"{path} holds no {name}; it has {', '.join(sorted(logits))}")
        return logits[name], labels[split]

    def tokens(self, run: str, seed: int = 0) -> TokenFile:
        """Next-token predictions of a translation run: gold types, penultimate activations, output matrix; logits are
        the product of the latter two (`softlabels.metrics.tokens.scores` computes with them block by block)."""
        return read_tokens(self.layout.run(self.resolve(run), seed) / "features.safetensors")

    def resolve(self, run: str) -> str:
        """The one run id that is, or begins with, `run`.

        Raises:
            SoftlabelsError: no run with results begins so, or several do.
        """
        found = [name for name in self.runs if name.startswith(run)]
        if run in found:
            return run
        if len(found) != 1:
            what = (
                f"{len(found)} runs begin with {run!r}: {', '.join(found[:4])}"
                if found
                else f"no run begins with {run!r}"
            )
            raise SoftlabelsError(f"{what}; list them with .runs of {self.layout.root}")
        return found[0]


def load(root: str | Path = "results/demo") -> Results:
    """Open the results of one scale, e.g. `softlabels.load("results/demo").metrics`.

    Raises:
        SoftlabelsError: there is no such folder.
    """
    if not Path(root).is_dir():
        raise SoftlabelsError(f"{root} does not exist; name a results/<scale> folder made by snakemake")
    return Results(Layout(Path(root)))
