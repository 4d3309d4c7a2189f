"""What a drawing module measures from: the published files of a scale, and which of them are missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from softlabels.errors import DataError
from softlabels.figures import selectors, standard
from softlabels.figures.lazy import np, pd
from softlabels.files import read_json, sha256
from softlabels.grid.files import read_artifact
from softlabels.grid.identity import probe_id, run_id
from softlabels.grid.parts.probes import AnyProbe, ImageProbe, Probe, Tokens, Translations, tensor_label
from softlabels.grid.plan import Artifact, Member
from softlabels.grid.spec import Parent, TranslationSpec, to_dict
from softlabels.layout import Layout
from softlabels.metrics import bleu
from softlabels.metrics.bleu import TranslationFile, read_translations
from softlabels.store import finished, publish

if TYPE_CHECKING:
    from softlabels.figures.predictions import Predictions
    from softlabels.metrics.tokens import TokenFile

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
    """Reads what members and their probes have written; what is not there is None and remembered in `missing`."""

    layout: Layout
    scale: str
    files: dict[str, str] = field(default_factory=dict)
    """Path below the scale's folder → SHA-256 of every file that was read."""
    missing: dict[str, list[int]] = field(default_factory=dict)
    """`<run>` or `<run> (<probe>)` → seeds whose files are not there."""

    def logits(self, member: Member, seed: int) -> tuple[Arrays, Arrays] | None:
        """Logits {"val/last": [N, K], …} and labels {"val": [N], …}; None where the run is not there."""
        from softlabels.metrics.rows import read_predictions

        return self._read(self._predictions(member, seed), run_id(member.run), seed, read_predictions)

    def tokens(self, member: Member, seed: int) -> TokenFile | None:
        """The features of a translation run, from which its logits follow; None where the run is not there."""
        from softlabels.metrics.tokens import read_tokens

        return self._read(self._predictions(member, seed), run_id(member.run), seed, read_tokens)

    def history(self, member: Member, seed: int) -> pd.DataFrame | None:
        """`history.csv` of a run: a row for each validation; None where the run is not there."""
        path = self.layout.run(run_id(member.run), seed) / "history.csv"
        return self._read(path, run_id(member.run), seed, pd.read_csv)

    def solved(self, member: Member, seed: int) -> dict[str, float]:
        """Of a run whose temperature was solved for its `temperature` and, where a mean label was asked for, the
        `mean_label` there (older results have none); empty where the run is not there."""
        path = self.layout.run(run_id(member.run), seed) / "run.json"
        record = self._read(path, run_id(member.run), seed, read_json) or {}
        return {name: float(record[name]) for name in ("temperature", "mean_label") if name in record}

    def predictions(self, member: Member, seed: int) -> Predictions | None:
        """What a run predicts on validation and test; None where it is not there."""
        from softlabels.figures.predictions import Classes, NextTokens

        if isinstance(member.run, TranslationSpec):
            file = self.tokens(member, seed)
            return None if file is None else NextTokens(file)
        read = self.logits(member, seed)
        return None if read is None else Classes(*read)

    def probe(self, member: Member, seed: int, probe: Probe | Tokens) -> Arrays | None:
        """The tensors of a probe of images, or of chosen tokens (`grid.parts.probes`); None where it is not there.

        Raises:
            DataError: the probe is damaged, or of other weights than the run has now.
        """
        from softlabels.metrics.rows import read_probe

        return self.probe_outputs(member, seed, probe, read_probe)

    def probe_outputs(
        self, member: Member, seed: int, probe: ImageProbe | Tokens, reader: Callable[[Path], T]
    ) -> T | None:
        """A network's outputs in the file of a probe, by a reader of `metrics.probe_outputs`; None without one.

        Raises as `probe`, and what the reader raises.
        """
        from softlabels.metrics.rows import check_weights

        path, name = self._place(member, seed, probe)
        record = self.layout.run(run_id(member.run), seed) / "run.json"
        if path.exists() and record.exists():
            check_weights(path, read_json(record)["files"])
        return self._read(path, name, seed, reader)

    def training_logits(
        self, artifact: Artifact, parent: Parent, seed: int, unchanged: bool = False
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Logits `[M, K]` of a teacher on training images, at the checkpoint that teaches the `seed` of a student, and
        labels `[M]`; None where no probe of the artifact has them (`selectors.teacher_probe`), or it is not there.

        Raises:
            DataError: as `probe`, or the file has no logits at that checkpoint.
        """
        if (found := selectors.teacher_probe(artifact, parent, unchanged)) is None:
            return None
        own, name = parent.seed_for(seed), f"logits/{tensor_label(parent.checkpoint)}"
        tensors = self.probe(found[0], own, found[1])
        if tensors is None:
            return None
        if name not in tensors:
            path, _ = self._place(found[0], own, found[1])
            raise DataError(f"{path} holds no {name}; delete it to have it made again")
        return tensors[name][:, 0], tensors["labels"]

    def token_probe(self, member: Member, seed: int, probe: Tokens) -> TokenFile | None:
        """A probe of every next token of some sentences; None where it is not there. Raises as `probe`."""
        from softlabels.metrics.tokens import read_tokens

        return self.probe_outputs(member, seed, probe, read_tokens)

    def translations(self, member: Member, seed: int, probe: Translations) -> TranslationFile | None:
        """The translations of a split by a network; None where they are not there.

        Raises:
            DataError: the file is damaged, is of another probe, or is of other weights than the run has now.
        """
        run = run_id(member.run)
        path, name = self._place(member, seed, probe)
        file = self._read(path, name, seed, read_translations)
        if file is not None:
            bleu.check_origin(path, file, run, seed, to_dict(probe))
            record = self.layout.run(run, seed) / "run.json"
            if record.exists():
                bleu.check_weights(path, file, read_json(record)["files"])
        return file

    def _place(self, member: Member, seed: int, probe: AnyProbe) -> tuple[Path, str]:
        """The file of a probe, and its name in `missing`."""
        run, name = run_id(member.run), probe_id(probe)
        return self.layout.probe(run, seed, name), f"{run} ({name})"

    def artifact(self, name: str) -> Artifact | None:
        """An artifact of the plan by its id; None where the plan does not have it now, as with a variant."""
        path = self.layout.specs / "artifacts" / f"{name}.json"
        return self._read(path, name, 0, lambda file: read_artifact(file.parents[1], name)) if path.exists() else None

    def row(
        self,
        artifact: Artifact,
        member: Member,
        seed: int,
        split: str,
        checkpoint: str,
        metric: str,
        value: float,
        target_class: str = "",
    ) -> Row:
        """One tidy row; `target_class` names the class that the value is of."""
        from softlabels.metrics.rows import key_columns

        return {
            **key_columns(artifact, member, run_id(member.run), self.scale),
            "split": split,
            "metric": metric,
            "target_class": target_class,
            "value": value,
            "seed": seed,
            "checkpoint": checkpoint,
        }

    def standard(self, artifact: Artifact, member: Member) -> list[Row]:
        """The standard metrics of every seed that is there, on validation and test, last and best checkpoint."""
        return [
            self.row(artifact, member, seed, *found) for seed in member.seeds for found in self._standard(member, seed)
        ]

    def _standard(self, member: Member, seed: int) -> list[tuple[str, str, str, float]]:
        """(split, checkpoint, metric, value), computed once for all artifacts; none where the seed is not there."""
        from softlabels.metrics.rows import read_predictions, standard_rows
        from softlabels.metrics.tokens import read_tokens, token_rows

        is_text = isinstance(member.run, TranslationSpec)

        def rows(path: Path) -> standard.Rows:
            def compute() -> standard.Rows:
                return token_rows(read_tokens(path)) if is_text else standard_rows(*read_predictions(path))

            return standard.load_or_compute(path.with_name("standard.json"), self.files[self._name(path)], compute)

        return self._read(self._predictions(member, seed), run_id(member.run), seed, rows) or []

    def _read(self, path: Path, name: str, seed: int, reader: Callable[[Path], T]) -> T | None:
        if not path.exists():
            seeds = self.missing.setdefault(name, [])
            if seed not in seeds:
                seeds.append(seed)
            return None
        if self._name(path) not in self.files:
            self.files[self._name(path)] = sha256(path)
        return reader(path)

    def _name(self, path: Path) -> str:
        """A file below the scale's folder."""
        return str(path.relative_to(self.layout.root))

    def _predictions(self, member: Member, seed: int) -> Path:
        """The predictions of a run on validation and test. Snakemake looks at its record alone, so a file that
        somebody has removed from beside it is published again."""
        run = run_id(member.run)
        path = self.layout.run(run, seed) / self.layout.run_files(member.run.task)[-1]
        if not path.exists() and path.with_name("run.json").exists() and finished(self.layout.store(run, seed)):
            publish(self.layout, run, seed)
        return path


def tidy(rows: Sequence[Row]) -> pd.DataFrame:
    """Rows as a table with exactly `COLUMNS`; a run that has two places in an artifact keeps both."""
    from softlabels.metrics.rows import COLUMNS

    return pd.DataFrame(list(rows), columns=list(COLUMNS)).drop_duplicates(ignore_index=True)


def by_seed(rows: Sequence[Row], split: str, metric: str, checkpoint: str = "last") -> dict[int, float]:
    """Seed → value of one metric of one member's rows."""
    key = (split, metric, checkpoint)
    return {r["seed"]: r["value"] for r in rows if (r["split"], r["metric"], r["checkpoint"]) == key}


def seed_values(rows: pd.DataFrame, run: str, split: str, metric: str, checkpoint: str = "last") -> dict[int, float]:
    """Seed → value of one metric of one run, of tidy rows as they are read from their file."""
    key = {"run_id": run, "split": split, "metric": metric, "checkpoint": checkpoint}
    found = rows[np.logical_and.reduce([rows[name] == value for name, value in key.items()])]
    return dict(zip(found["seed"], found["value"], strict=True))


def spread(values: Sequence[float]) -> dict[str, float]:
    """mean, min, max, std (n − 1; NaN for one seed) and n. min ≤ mean ≤ max also where rounding says otherwise."""
    x = np.asarray(values, dtype=np.float64)
    std = float(x.std(ddof=1)) if len(x) > 1 else float("nan")
    return {"mean": x.mean().clip(x.min(), x.max()), "min": x.min(), "max": x.max(), "std": std, "n": len(x)}
