"""What a user can get wrong, through the real Snakemake: one sentence, no traceback, an exit code other than 0."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from workflow_tree import Tree, example_grid

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


def test_missing_data_say_what_to_put_where(fresh: Tree) -> None:
    done = fresh.run("snakemake", "--cores", "1", "muller2019_text_mnist", "--config", "scale=paper")
    assert done.returncode != 0
    assert "Traceback" not in done.stdout
    (line,) = {line for line in done.stdout.splitlines() if line.startswith("softlabels data:")}
    assert "train-images-idx3-ubyte" in line
    assert "data" in line
    assert "download" in line
