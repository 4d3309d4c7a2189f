"""Where everything of one scale lies; the only place that knows paths below `results/`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from softlabels.errors import SpecError


@dataclass(frozen=True)
class Layout:
    """Paths below `results/<scale>` (root) and the prepared data beside it.

    `store/` is the truth (content-addressed, never a declared output); `runs/` and `probes/` are
    published from it by hard link. `cache/` is content-addressed itself; its manifests alone are declared.
    """

    root: Path

    @staticmethod
    def run_files(task: str) -> tuple[str, ...]:
        """What a training publishes, `run.json` last, which its rule declares; the names are the same in the store.
        `features.safetensors` stands for the logits of a translation network: they are its activations times its
        output matrix."""
        predictions = {"image": "logits.safetensors", "translation": "features.safetensors"}[task]
        return ("run.json", "history.csv", "weights.safetensors", predictions)

    @property
    def specs(self) -> Path:
        """Every run, probe, cache and artifact of the plan, each in a file (`grid.files`)."""
        return self.root / "specs"

    def spec(self, run: str) -> Path:
        return self.specs / f"{run}.json"

    @property
    def version(self) -> Path:
        """Which scale, and which version of this layout, the folder holds (`grid.files.require_ours`)."""
        return self.root / "layout.json"

    @property
    def controller(self) -> Path:
        """Who runs the workflow of this scale."""
        return self.root / "controller"

    def data(self, dataset_id: str) -> Path:
        """Prepared data are shared by scales."""
        return self.root.parent / "data" / dataset_id

    def weights(self, file: str) -> Path:
        """The manifest of weights of torchvision, by the name of their file; the tensors lie beside it."""
        return self.root.parent / "data" / "weights" / f"{file}.json"

    def store(self, run: str, seed: int) -> Path:
        return self.root / "store" / run / f"seed{seed}"

    def run(self, run: str, seed: int) -> Path:
        return self.root / "runs" / run / f"seed{seed}"

    def cache(self, cache: str, seed: int | str) -> Path:
        """A cache: `manifest.json` and shards."""
        return self.root / "cache" / cache / f"seed{seed}"

    def probe(self, run: str, seed: int, probe: str) -> Path:
        """Translations are text (JSON), all else is tensors."""
        suffix = ".json" if "-translations." in probe else ".safetensors"
        return self.root / "probes" / run / f"seed{seed}" / f"{probe}{suffix}"

    def metrics(self, paper: str, name: str) -> Path:
        """Tidy rows of one artifact."""
        return self.root / "metrics" / paper / f"{name}.csv"

    @property
    def joined_metrics(self) -> Path:
        """Tidy rows of all artifacts."""
        return self.root / "metrics.csv"

    @property
    def claims(self) -> Path:
        """What becomes of the papers' claims."""
        return self.root / "claims.csv"

    @property
    def report(self) -> Path:
        """Verdicts, figures and tables as one page."""
        return self.root / "reproduction.html"

    def plotted(self, paper: str, name: str) -> Path:
        """The numbers a figure draws, beside its tidy rows."""
        return self.root / "metrics" / paper / f"{name}.plotted.csv"

    def inputs(self, paper: str, name: str) -> Path:
        """Which files an artifact was measured on, with their checksums, and which were missing."""
        return self.root / "metrics" / paper / f"{name}.inputs.json"

    def output(self, kind: str, paper: str, name: str, suffix: str) -> Path:
        """`figures/muller2019/fig5.pdf`; kind is `figure` or `table`."""
        return self.root / f"{kind}s" / paper / f"{name}{suffix}"

    @classmethod
    def parse(cls, path: Path, kind: str) -> tuple[Layout, str, int, str]:
        """(layout, run or cache id, seed, file stem) of a file below `<kind>/`: `runs`, `cache` or `probes`.

        Raises:
            SpecError: a path of another form.
        """
        try:
            what, name, seed = path.parts[-4:-1]
            if what == kind and seed.startswith("seed"):
                return cls(path.parents[3]), name, int(seed.removeprefix("seed")), path.stem
        except ValueError:
            pass
        raise SpecError(f"{path} is not of the form results/<scale>/{kind}/<id>/seed<k>/<file>")
