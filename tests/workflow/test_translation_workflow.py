"""A question of one's own about text of one's own, through the real Snakemake: teachers, caches, students, BLEU."""

from __future__ import annotations

import fcntl
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from workflow_tree import ROOT, Tree

from softlabels.cli import main
from softlabels.errors import EXIT_USAGE
from softlabels.metrics.rows import COLUMNS
from softlabels.translation.corpus.parallel import write_pairs
from softlabels.translation.corpus.sentences import load_pairs

pytestmark = pytest.mark.workflow

TOLD = {"what": "translations", "split": "test", "beam": 2, "max_len_b": 12}
SIZES = {"train": 200, "val": 15, "test": 18}


def grid() -> dict[str, Any]:
    """Hard and smoothed teachers; students of all logits of both, and of the four largest of the hard one."""
    run = {"dataset": "text", "model": "small", "recipe": "short"}
    soft = {"kind": "distill", "temperature": "$T"}
    families = {
        "teachers": {"axes": {"alpha": [0, 0.1]}, "run": run | {"targets": {"kind": "smooth", "alpha": "$alpha"}}},
        "of_all": {
            "axes": {"alpha": [0, 0.1], "T": [1, 64]},
            "run": run | {"targets": soft | {"teacher": {"family": "teachers", "alpha": "$alpha"}}},
        },
        "of_four": {
            "axes": {"T": [1, 64]},
            "run": run
            | {"targets": soft | {"cache": "topk_drop", "top_k": 4, "teacher": {"family": "teachers", "alpha": 0}}},
        },
    }
    shown = {"families": list(families), "seeds": 1, "probes": dict.fromkeys(families, TOLD)}
    return {
        "paper": "own",
        "datasets": {
            "text": {
                "name": "parallel", "source": "en", "target": "de", "tokenise": False, "num_subwords": 80,
                **{split: f"text/{split}" for split in SIZES}, "train_tokens": 6000, "vocabulary": 200,
            }
        },
        "models": {"small": {"name": "transformer_tiny", "options": {"layers": 1, "dim": 16, "ffn": 16}}},
        "recipes": {
            "short": {"max_tokens": 400, "lr": 0.005, "warmup_updates": 5, "updates": 10, "validate_updates": 5}
        },
        "families": families,
        "artifacts": {
            "cut": shown | {"title": "Temperature or truncation?", "kind": "figure", "plot": "truncation"},
            "bleu": shown | {"title": "BLEU", "kind": "table", "plot": "bleu_table"},
        },
    }  # fmt: skip


def configure(tree: Tree, **changes: Any) -> None:
    tree.configure(yaml.safe_dump({"scale": "tiny", "papers": [], "device": "cpu", "grid": grid()} | changes))


@pytest.fixture(scope="session")
def translated(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """Everything made. Read only."""
    base = tmp_path_factory.getbasetemp()
    if base.name.startswith("popen-"):  # one of several pytest-xdist processes, which share one run
        base = base.parent
    tree = Tree(base / "translated")
    with open(base / "translated.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not tree.root.exists():
            tree.root.mkdir()
            Tree.create(tree.root)
            pairs = load_pairs()
            for split, count in SIZES.items():
                write_pairs(tree.root / "text" / split, ("en", "de"), pairs[split][:count])
            configure(tree)
            (tree.root / "log.txt").write_text(tree.snakemake())
    assert (tree.results / "metrics.csv").exists(), "the shared run of the workflow has failed"
    return tree


@pytest.fixture
def own(translated: Tree, tmp_path: Path) -> Tree:
    """A copy to change."""
    return translated.copy(tmp_path / "copy")


def test_figure_and_table_are_made_of_every_run(translated: Tree) -> None:
    results = translated.results
    for path in ("figures/own/cut.png", "figures/own/cut.pdf", "tables/own/bleu.csv", "tables/own/bleu.md"):
        assert (results / path).stat().st_size > 0
    rows = pd.read_csv(results / "metrics.csv")
    assert tuple(rows.columns) == COLUMNS
    assert set(rows.artifact) == {"cut", "bleu"}
    assert set(rows.metric) >= {"bleu", "sacrebleu", "chrf", "nll", "next_token_accuracy", "ece"}
    assert rows.run_id.nunique() == 2 + 4 + 2
    students = rows[(rows.artifact == "cut") & (rows.method == "kd") & (rows.metric == "nll") & (rows.split == "test")]
    assert set(students.kd_temperature) == {1, 64}
    assert set(students.teacher_alpha) == {0, 0.1}
    assert not rows.duplicated([c for c in COLUMNS if c != "value"]).any()
    assert rows.value.notna().all()


def test_each_step_has_its_own_jobs_and_logs(translated: Tree) -> None:
    """Two teachers, four and two students, and what each of them translates."""
    for kind, count in (("data", 1), ("train", 8), ("cache", 3), ("translate", 8)):
        logs = [*(translated.root / "logs" / "tiny" / kind).glob("*.log")]
        assert len(logs) == count, kind
        assert not any("Traceback" in path.read_text() for path in logs)
    # Two caches of each seed: a teacher's features serve every T, and so do the four largest logits.
    assert len([*translated.results.glob("cache/*/seed0/manifest.json")]) == 3
    for path in translated.results.glob("probes/*/seed0/*.json"):
        assert len(json.loads(path.read_text())["hypotheses"]) == SIZES["test"]


def test_nothing_is_left_to_do(translated: Tree) -> None:
    assert "Nothing to be done" in translated.snakemake("-n")
    assert "Nothing to be done" in translated.snakemake("-n", "own_cut", "own_bleu")
    report = json.loads(translated.softlabels("audit", "--json"))
    assert (report["missing"], report["done"], report["jobs"]) == (0, 8, [])


def test_deleted_outputs_come_back_from_the_store(own: Tree) -> None:
    (student,) = own.results.glob("runs/parallel.transformer_tiny.kd-T64-drop4-*/seed0")
    table = own.results / "tables" / "own" / "bleu.md"
    lost = [student / "features.safetensors", student / "weights.safetensors", student / "run.json", table]
    before = [path.read_bytes() for path in lost]
    for path in lost:
        path.unlink()
    store, cache = own.inodes("store/**/*"), own.inodes("cache/**/*")
    own.snakemake()
    assert [path.read_bytes() for path in lost] == before
    assert (own.inodes("store/**/*"), own.inodes("cache/**/*")) == (store, cache)
    assert "Nothing to be done" in own.snakemake("-n")
    (probe,) = own.results.glob(f"probes/{student.parent.name}/seed0/*.json")
    text = probe.read_bytes()
    probe.unlink()
    own.softlabels("translate", "--device", "cpu", str(probe))
    assert probe.read_bytes() == text
    assert own.inodes("store/**/*") == store


def test_caches_can_be_checked_and_runs_looked_at(translated: Tree) -> None:
    manifests = sorted(str(path) for path in translated.results.glob("cache/*/seed0/manifest.json"))
    shown = translated.softlabels("cache", "--check", "9", "--device", "cpu", *manifests)
    differences = [float(found) for found in re.findall(r"largest difference (\S+)", shown)]
    assert len(differences) == len(manifests)
    assert max(differences) < 2e-3  # half precision
    assert "own_bleu" in translated.softlabels("show", "parallel.transformer_tiny.ls0.1")


def test_another_temperature_trains_its_students_alone(own: Tree) -> None:
    changed = grid()
    changed["families"]["of_four"]["axes"]["T"] = [1, 64, 3]
    configure(own, grid=changed)
    report = json.loads(own.softlabels("audit", "--json"))
    assert (report["missing"], report["done"]) == (1, 8)
    assert [job["rule"] for job in report["jobs"]] == ["train_student", "translate"]


def test_a_dry_run_warns_of_what_should_not_be_run(fresh: Tree) -> None:
    changed = grid()
    changed["families"]["of_four"]["run"]["targets"]["cache"] = "topk_lse"
    configure(fresh, grid=changed)
    warning = "warning: 1 runs distil from topk_lse caches above T = 2"
    assert warning in fresh.snakemake("-n", "own_cut")
    # The audit and the dry run say it of nothing else.
    (teacher,) = (
        job for job in fresh.planned("own_cut") if job["rule"] == "train_teacher" and ".hard." in job["output"]
    )
    assert "warning:" not in fresh.snakemake("-n", teacher["output"])
    assert warning in fresh.softlabels("audit", "own_bleu")


BAD: dict[str, tuple[Any, list[str]]] = {
    "temperature": (lambda g: g["families"]["of_four"]["axes"].update(T=[0]), ["temperature", "0"]),
    "alpha": (lambda g: g["families"]["teachers"]["axes"].update(alpha=[0, 1.2]), ["alpha", "1.2"]),
    "no k": (lambda g: g["families"]["of_four"]["run"]["targets"].pop("top_k"), ["top_k"]),
    "k of none": (lambda g: g["families"]["of_all"]["run"]["targets"].update(top_k=4), ["top_k"]),
    "language": (lambda g: g["datasets"]["text"].update(target="en"), ["two languages"]),
    "option": (lambda g: g["models"]["small"]["options"].update(heads=3), ["heads", "16"]),
    "recipe": (lambda g: g["recipes"]["short"].update(epochs=3), ["updates", "epochs"]),
    "tokens": (lambda g: g["datasets"]["text"].pop("train_tokens"), ["train_tokens"]),
    "image": (lambda g: g["models"].update(small={"name": "resnet56"}), ["resnet56"]),
    "views": (lambda g: g["families"]["of_all"]["run"]["targets"].update(views=2), ["views"]),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_grid_that_cannot_be_is_one_sentence_before_anything_starts(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    change, words = BAD[fault]
    monkeypatch.chdir(ROOT)
    tree, changed = Tree(tmp_path), grid()
    change(changed)
    configure(tree, scale="demo", grid=changed)
    assert main(["audit", "--config", str(tmp_path / "config.yaml")]) == EXIT_USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("softlabels audit: ")
    assert all(word in line for word in words), line
