"""What a user can get wrong, through the real Snakemake: one sentence, no traceback, an exit code other than 0."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from refusals import says
from workflow_tree import Tree, example_grid

from softlabels.grid.files import LAYOUT_VERSION

pytestmark = pytest.mark.workflow

Grid = dict[str, Any]


def unknown_key(config: Grid) -> None:
    config["scael"] = "paper"


def alpha(config: Grid) -> None:
    config["grid"]["families"]["my_teachers"]["axes"]["alpha"] = [1.2]


def temperature(config: Grid) -> None:
    config["grid"]["families"]["my_students"]["axes"]["T"] = [0]


def unknown_teacher(config: Grid) -> None:
    config["grid"]["families"]["my_students"]["run"]["targets"]["teacher"] = {"family": "nobody"}


def cycle(config: Grid) -> None:
    config["grid"]["families"]["my_students"]["axes"] = {"T": [2]}
    config["grid"]["families"]["my_students"]["run"]["targets"]["teacher"] = {"family": "my_students"}


def budget(config: Grid) -> None:
    config["cache"] = {"max_bytes": 1000}


def scale(config: Grid) -> None:
    config["scale"] = "papre"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (unknown_key, ["config.yaml", "scael"]),
        (alpha, ["alpha", "1.2"]),
        (temperature, ["temperature", "0"]),
        (unknown_teacher, ["my_students", "nobody"]),
        (cycle, ["my_students", "cycle"]),
        (budget, ["cache.max_bytes", "allowed"]),
        (scale, ["config.yaml", "papre", "paper"]),
    ],
)
def test_a_bad_configuration_is_one_sentence(fresh: Tree, change: Any, words: list[str]) -> None:
    config = {"scale": "tiny", "papers": [], "grid": example_grid()}
    change(config)
    fresh.configure(yaml.safe_dump(config))
    done = fresh.run("snakemake", "-n")
    assert done.returncode != 0
    assert "Traceback" not in done.stdout
    told = [line for line in done.stdout.splitlines() if all(word in line for word in words)]
    assert len(told) == 1, done.stdout
    assert not (fresh.root / "results").exists()


def refused(tree: Tree, *arguments: str) -> str:
    """The one sentence about what nobody can make; nothing has been written, whether it is a dry run or not."""
    before = stamps(tree)
    told = set()
    for dry in ((), ("-n",)):
        done = tree.run("snakemake", "--cores", "1", *dry, *arguments)
        assert done.returncode == 1, done.stdout
        assert "Traceback" not in done.stdout
        lines = [line for line in done.stdout.splitlines() if line.startswith("softlabels: ")]
        assert len(lines) == 1, done.stdout
        assert "trainings" not in done.stdout.replace(lines[0], "")  # no costs of what will not be
        told |= set(lines)
    assert stamps(tree) == before
    (sentence,) = told
    return sentence


def stamps(tree: Tree) -> dict[Path, int]:
    """Of all files and folders but Snakemake's own, which has a log of every call."""
    found = (path for path in tree.root.rglob("*") if ".snakemake" not in path.parts)
    return {path: path.stat().st_mtime_ns for path in found}


def test_an_unknown_target_names_the_nearest(fresh: Tree) -> None:
    says(refused(fresh, "muller2019_fgi5"), "muller2019_fgi5", "muller2019_fig5")
    says(refused(fresh, "muller2019_fig5", "muller2019_tabel2"), "muller2019_table2")


def test_a_file_that_no_grid_has_is_one_sentence(finished: Tree) -> None:
    run = min(finished.results.glob("runs/digits.mlp.kd-T4-*")).name
    cache = min(finished.results.glob("cache/digits.*")).name
    for file, named in {
        f"runs/{run[:-8]}00000000/seed0/run.json": run,
        f"runs/{run}/seed7/run.json": "seeds",
        f"cache/{cache[:-8]}00000000/seed0/manifest.json": "cache",
        f"cache/{cache}/seed7/manifest.json": "seeds",
        f"probes/{run}/seed0/train-logits.00000000.safetensors": run,
        f"runs/{run}/seed0/model.pt": f"results/tiny/runs/{run}/seed0/run.json",
        "figures/muller2019/fig50.pdf": "muller2019.fig50",
    }.items():
        says(refused(finished, f"results/tiny/{file}"), named)
    says(refused(finished, f"results/paper/runs/{run}/seed0/run.json"), run, "--config scale=paper")


@pytest.mark.parametrize(
    ("version", "named"),
    [
        ({"scale": "paper", "version": 1}, "scale paper"),
        ({"scale": "tiny", "version": LAYOUT_VERSION + 1}, "newer softlabels"),
        ({"scale": "tiny"}, "newer softlabels"),
        ([], "scale and version"),
    ],
)
def test_a_folder_of_another_scale_or_version_is_refused(copied: Tree, version: Any, named: str) -> None:
    (copied.results / "layout.json").write_text(json.dumps(version))
    for path in copied.results.glob("figures/muller2019/*.png"):  # there is something to do
        path.unlink()
    says(refused(copied), "results/tiny/layout.json", named)
    kept = copied.inodes("**/*")
    for command in ("specs", "audit", "gc"):
        done = copied.run("softlabels", command)
        assert (done.returncode == 0) == (command == "audit"), done.stdout
        assert command == "audit" or named in done.stdout
    assert copied.inodes("**/*") == kept


def test_missing_data_say_what_to_put_where(fresh: Tree) -> None:
    done = fresh.run("snakemake", "--cores", "1", "muller2019_text_mnist", "--config", "scale=paper")
    assert done.returncode != 0
    assert "Traceback" not in done.stdout
    (line,) = {line for line in done.stdout.splitlines() if line.startswith("softlabels data:")}
    says(line, "train-images-idx3-ubyte.gz", "data.root", "data.download")
