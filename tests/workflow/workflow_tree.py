"""A copy of the project in which the real workflow runs at the scale of `tiny.yaml`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from softlabels.files import sha256

ROOT = Path(__file__).parents[2]
BIN = str(Path(sys.executable).parent)
ENVIRONMENT = {
    **os.environ,
    "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
}
ARTIFACTS = {
    "table2": "table", "table3": "table", "fig1": "figure", "fig2": "figure", "fig3": "figure", "fig4": "figure",
    "fig5": "figure", "fig6": "figure", "fig7": "figure", "text_appB": "table", "text_mnist": "table",
}  # fmt: skip


@dataclass(frozen=True)
class Tree:
    """A project folder: Snakefile, rules, grids and results; the package is the installed one."""

    root: Path

    @classmethod
    def create(cls, root: Path) -> Tree:
        """The project's files with the scale `tiny` and one of the papers, nothing run."""
        for name in ("rules", "workflow", "envs"):
            shutil.copytree(ROOT / name, root / name)
        shutil.copytree(ROOT / "profiles", root / "profiles", symlinks=not (ROOT / "profiles").is_symlink())
        for name in ("slurm", "local-gpu"):
            shutil.copy(ROOT / name, root, follow_symlinks=False)
        shutil.copy(ROOT / "Snakefile", root)
        shutil.copy(Path(__file__).with_name("tiny.yaml"), root / "workflow" / "scales")
        tree = cls(root)
        tree.configure((ROOT / "config.yaml").read_text())
        tree.replace("config.yaml", "scale: demo ", "scale: tiny ")
        everything = "muller2019, chandrasegaran2022, yuan2020, zhang2020, ablations"
        tree.replace("config.yaml", f"papers: [{everything}] ", "papers: [muller2019] ")
        return tree

    def copy(self, root: Path) -> Tree:
        """All of it, with times and hard links."""
        subprocess.run(["cp", "-a", f"{self.root}/.", root], check=True)
        return Tree(root)

    @property
    def results(self) -> Path:
        return self.root / "results" / "tiny"

    def configure(self, text: str) -> None:
        (self.root / "config.yaml").write_text(text)

    def replace(self, name: str, old: str, new: str) -> None:
        """Edit one of the project's files as its user would."""
        path = self.root / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A shell command here; what it prints is in `stdout`."""
        return subprocess.run(
            command, cwd=self.root, env=ENVIRONMENT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=600, check=False,
        )  # fmt: skip

    def snakemake(self, *arguments: str) -> str:
        """Run Snakemake, which must succeed; returns what it prints."""
        done = self.run("snakemake", "--cores", "2", *arguments)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def planned(self, *arguments: str) -> list[dict[str, str]]:
        """Every job of a dry run: `rule`, and what is printed of it, as `output`, `resources`, `command`."""
        blocks = re.split(r"^(?:local)?rule (\w+):$", self.snakemake("-n", "-p", *arguments), flags=re.MULTILINE)
        found = []
        for name, block in zip(blocks[1::2], blocks[2::2], strict=True):
            command = re.findall(r"^Shell command: (.*)$", block, re.MULTILINE)
            fields = dict(re.findall(r"^    (\w+): (.*)$", block, re.MULTILINE))
            found.append(fields | {"rule": name} | ({"command": command[0]} if command else {}))
        return found

    def rules(self, *arguments: str) -> set[str]:
        """Names of all rules."""
        return set(re.findall(r"^\w+$", self.snakemake("--list-rules", *arguments), re.MULTILINE))

    def plans(self, *arguments: str) -> set[str]:
        """Names of the rules that a dry run would run."""
        return set(re.findall(r"^(?:local)?rule (\w+):", self.snakemake("-n", *arguments), re.MULTILINE))

    def softlabels(self, *arguments: str) -> str:
        """Run a command of the package, which must succeed; returns what it prints."""
        done = self.run("softlabels", *arguments)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def stamps(self, pattern: str) -> dict[str, int]:
        """Times of change, in ns, of the files below results/tiny that match."""
        return {name: path.stat().st_mtime_ns for name, path in self._found(pattern)}

    def inodes(self, pattern: str) -> dict[str, tuple[int, str]]:
        """(inode, SHA-256) of the files below results/tiny that match: what no writing leaves as it was. (Snakemake
        sets the times of its outputs, and thereby those of the store, whose hard links they are.)"""
        return {name: (path.stat().st_ino, sha256(path)) for name, path in self._found(pattern)}

    def _found(self, pattern: str) -> list[tuple[str, Path]]:
        paths = (path for path in sorted(self.results.glob(pattern)) if path.is_file())
        return [(str(path.relative_to(self.results)), path) for path in paths]

    def outputs(self, name: str) -> list[Path]:
        """What an artifact of the paper must become."""
        kind = ARTIFACTS[name]
        suffixes = (".png", ".pdf", ".csv") if kind == "figure" else (".csv", ".md")
        folder = self.results / f"{kind}s" / "muller2019"
        return [folder / f"{name}{suffix}" for suffix in (*suffixes, ".provenance.json")]


def example_grid() -> dict[str, Any]:
    """The grid in the comments of `config.yaml`, uncommented as its reader is told to."""
    lines = (ROOT / "config.yaml").read_text().splitlines()
    example = [line.removeprefix("# ") for line in lines[lines.index("# grid:") :]]
    grid: dict[str, Any] = yaml.safe_load("\n".join(example))["grid"]
    return grid
