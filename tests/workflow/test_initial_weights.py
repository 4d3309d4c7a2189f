"""A grid whose networks begin with given weights: planned with nothing there, and a missing file in one sentence."""

from __future__ import annotations

import json
import re

import pandas as pd
import pytest
import yaml
from refusals import says
from safetensors.torch import load_file, save_file
from workflow_tree import Tree

from softlabels.files import sha256

pytestmark = pytest.mark.workflow

GRID = """
paper: own
datasets:
  wide: {name: imagenet}
  birds: {name: folder, path: data/birds, num_classes: 200, image_size: 32, train_size: 5394}
models: {net: {name: resnet18}}
weights: {torchvision_v1: {torchvision: IMAGENET1K_V1}}
recipes:
  short: {steps: 10, batch_size: 8, optimiser: {lr: 0.1}}
  large: {base: short, augment: {side: 32}}
  measured: {steps: 0, normalise: imagenet, augment: {side: 224}}
families:
  published:
    run:
      {dataset: wide, model: net, recipe: measured, targets: {kind: hard},
       initial: {weights: torchvision_v1, head: kept}}
  wide_teachers:
    axes: {alpha: [0, 0.1]}
    run: {dataset: wide, model: net, recipe: large, targets: {kind: smooth, alpha: $alpha}}
  teachers:
    axes: {alpha: [0, 0.1]}
    run:
      {dataset: birds, model: net, recipe: short, targets: {kind: smooth, alpha: $alpha},
       initial: {family: wide_teachers, alpha: $alpha}}
  students:
    axes: {alpha: [0, 0.1]}
    run:
      dataset: birds
      model: net
      recipe: short
      initial: torchvision_v1
      targets: {kind: distill, temperature: 2, teacher: {family: teachers, alpha: $alpha}}
artifacts:
  students: {title: Students, kind: table, plot: compare_table, families: [students], seeds: 2}
  published: {title: As published, kind: table, plot: compare_table, families: [published], seeds: 1}
"""


@pytest.fixture
def planned(fresh: Tree) -> Tree:
    fresh.configure(yaml.safe_dump({"scale": "tiny", "papers": [], "device": "cpu", "grid": yaml.safe_load(GRID)}))
    return fresh


def test_a_dry_run_needs_no_data(planned: Tree) -> None:
    said = planned.snakemake("-n", "own_students")
    count = {name: int(number) for name, number in re.findall(r"^(\w+) +(\d+)$", said, re.MULTILINE)}
    assert count["prepare_data"] == 2
    assert count["fetch_weights"] == 1
    assert "results/data/weights/resnet18-f37072fd.json" in said
    # Of each seed two smoothings: wide teachers, teachers that begin with these, and students.
    assert (count["train_teacher"], count["train_student"], count["cache_logits"]) == (2 * 2 * 2, 2 * 2, 2 * 2)
    assert "birds.resnet18.hard-init-wide" not in said  # the data set's own name, whatever the grid calls it
    assert "birds.resnet18.ls0.1-init-imagenet-ls0.1." in said
    assert "birds.resnet18.kd-T2-resnet18-ls0.1-init-imagenet1k_v1." in said
    assert not (planned.root / "results").exists()
    audit = json.loads(planned.softlabels("audit", "--json"))
    assert audit["artifacts"]["own.students"]["trainings"] == 3 * 2 * 2
    assert audit["artifacts"]["own.published"]["trainings"] == 1


def test_missing_weights_are_one_sentence(planned: Tree) -> None:
    done = planned.run("snakemake", "--cores", "1", "results/data/weights/resnet18-f37072fd.json")
    assert done.returncode != 0
    assert "Traceback" not in done.stdout
    (line,) = {line for line in done.stdout.splitlines() if line.startswith("softlabels weights:")}
    says(line, "data/weights/resnet18-f37072fd.pth", "data.root", "data.download")


def test_given_networks_are_measured_and_trained_on(fresh: Tree) -> None:
    """One of the grid, then the same as a file of one's own: equal numbers in the table, and both in its provenance."""
    run = {"dataset": "digits", "model": "net", "recipe": "short", "targets": {"kind": "hard"}}
    measured = run | {"recipe": "measured"}
    table = {"title": "Networks", "kind": "table", "plot": "compare_table", "seeds": 1}
    grid = {
        "paper": "own",
        "datasets": {"digits": {"name": "digits", "train_limit": 200}},
        "models": {"net": {"name": "small_cnn", "options": {"widths": [4], "hidden": 8}}},
        "recipes": {"short": {"steps": 20, "batch_size": 32, "optimiser": {"lr": 0.1}}, "measured": {"steps": 0}},
        "families": {
            "first": {"run": run},
            "again": {"run": measured | {"initial": {"family": "first", "head": "kept"}}},
            "further": {"run": run | {"initial": {"family": "first"}}},
        },
        "artifacts": {"networks": table | {"families": ["first", "again", "further"]}},
    }
    fresh.configure(yaml.safe_dump({"scale": "tiny", "papers": [], "device": "cpu", "grid": grid}))
    fresh.snakemake("own_networks")
    assert "Nothing to be done" in fresh.snakemake("-n", "own_networks")
    provenance = json.loads((fresh.results / "tables/own/networks.provenance.json").read_text())
    (first,) = (name for name in provenance["runs"] if ".hard." in name)
    assert provenance["initial"] == {first: [0]}

    weights = load_file(fresh.results / "runs" / first / "seed0" / "weights.safetensors")
    mine = fresh.root / "mine.safetensors"
    save_file({name.removeprefix("last/"): t for name, t in weights.items() if name.startswith("last/")}, mine)
    grid["weights"] = {"mine": {"weights": "mine.safetensors", "sha256": sha256(mine)}}
    grid["families"]["mine"] = {"run": measured | {"initial": {"weights": "mine", "head": "kept"}}}
    grid["artifacts"]["networks"]["families"].append("mine")
    fresh.configure(yaml.safe_dump({"scale": "tiny", "papers": [], "device": "cpu", "grid": grid}))
    fresh.snakemake("own_networks")
    rows = pd.read_csv(fresh.results / "metrics/own/networks.csv")
    values = {
        what: rows[(rows.checkpoint == "last") & rows.run_id.str.contains(what, regex=False)]
        .set_index(["split", "metric"])
        .value.to_dict()
        for what in (".hard.", "measured-digits-hard", "measured-own", "init-digits-hard")
    }
    assert values[".hard."]
    assert values["measured-digits-hard"] == values["measured-own"] == values[".hard."]
    assert values["init-digits-hard"] != values[".hard."]
