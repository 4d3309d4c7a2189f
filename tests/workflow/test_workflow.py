"""The real workflow at a tiny scale: what it makes, what it makes again, and what survives being killed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
from workflow_tree import ARTIFACTS, ENVIRONMENT, Tree

import softlabels
from softlabels.grid.files import LAYOUT_VERSION
from softlabels.metrics.rows import COLUMNS

pytestmark = pytest.mark.workflow


STUDENT = "digits.mlp.kd-T1-mlp-hard.*"  # of fig5


def one(tree: Tree, pattern: str, seed: int, place: str = "runs") -> Path:
    """The folder of a seed of the one run that matches."""
    (found,) = (tree.results / place).glob(pattern)
    return found / f"seed{seed}"


def same_results(ours: Path, theirs: Path) -> bool:
    """Whether two trainings are bit-identical."""
    predictions = "features" if theirs.parent.name.startswith("sentences.") else "logits"
    names = ("weights.safetensors", f"{predictions}.safetensors", "history.csv")
    return all((ours / name).read_bytes() == (theirs / name).read_bytes() for name in names)


def others(tree: Tree) -> dict[str, int]:
    """Times of all figures, tables and metrics but those of fig5."""
    return {path: time for path, time in tree.stamps("*s/muller2019/*").items() if "fig5" not in path}


def audit(tree: Tree, *arguments: str) -> dict[str, object]:
    report: dict[str, object] = json.loads(tree.softlabels("audit", "--json", *arguments))
    return report


# ---------------------------------------------------------------- the whole


def test_a_printed_command_can_be_pasted_before_its_job_has_run(fresh: Tree) -> None:
    """Nothing but data has been made; the log's folder and the spec are there nevertheless."""
    fresh.snakemake("--until", "prepare_data", "--", "muller2019_fig5")
    teacher = next(job for job in fresh.planned("muller2019_fig5") if job["rule"] == "train_teacher")
    done = fresh.run("bash", "-c", teacher["command"])
    assert done.returncode == 0, done.stdout
    assert (fresh.root / teacher["output"]).exists()
    assert (fresh.root / teacher["log"].removesuffix(" (check log file(s) for error details)")).stat().st_size > 0


@pytest.mark.parametrize("name", ARTIFACTS)
def test_every_artifact_is_made(finished: Tree, name: str) -> None:
    for path in finished.outputs(name):
        assert path.stat().st_size > 0, path
    provenance = json.loads(finished.outputs(name)[-1].read_text())
    assert provenance
    csv = next(path for path in finished.outputs(name) if path.suffix == ".csv")
    assert len(pd.read_csv(csv)) > 0


def test_the_tidy_table(finished: Tree) -> None:
    table = pd.read_csv(finished.results / "metrics.csv")
    assert tuple(table.columns) == COLUMNS
    assert set(table.artifact) == set(ARTIFACTS)
    assert set(table.scale) == {"tiny"}
    assert set(table.seed) == {0, 1}
    assert set(table.checkpoint) >= {"last", "best"}
    assert table.value.notna().all()
    assert not table.duplicated([c for c in COLUMNS if c != "value"]).any()


def test_results_for_a_notebook(finished: Tree) -> None:
    results = softlabels.load(finished.results)
    logits, labels = results.logits("digits.mlp.kd-T4", seed=1)
    top1 = 100 * (logits.argmax(1) == labels).mean()
    rows = results.metrics
    wanted = {"run_id": results.resolve("digits.mlp.kd-T4"), "split": "test", "metric": "top1", "checkpoint": "last"}
    for column, value in wanted.items():
        rows = rows[rows[column] == value]
    assert rows[rows.seed == 1].value.tolist() == [pytest.approx(top1)]


def test_nothing_is_left_to_do(finished: Tree) -> None:
    assert "Nothing to be done" in finished.snakemake("-n")
    for name in ("muller2019_fig5", "muller2019_table2"):
        assert "Nothing to be done" in finished.snakemake("-n", name)


def test_the_report_shows_every_artifact(copied: Tree) -> None:
    copied.snakemake("--report", "report.html")
    html = (copied.root / "report.html").read_text()
    for name, kind in ARTIFACTS.items():
        assert f"muller2019 {name}" in html
        assert f"{name}.{'png' if kind == 'figure' else 'csv'}" in html


# ---------------------------------------------------------------- what an edit changes


def test_comments_and_layout_rerun_nothing(copied: Tree) -> None:
    for path in (
        "config.yaml", "workflow/grids/muller2019.yaml", "workflow/scales/tiny.yaml", "Snakefile",
        *(f"rules/{path.name}" for path in (copied.root / "rules").iterdir()),
    ):  # fmt: skip
        file = copied.root / path
        file.write_text(f"# A remark.\n\n{file.read_text()}\n# Another.\n")
    assert "Nothing to be done" in copied.snakemake("-n")


def test_another_alpha_trains_only_what_is_new(copied: Tree) -> None:
    grid, scale = "workflow/grids/muller2019.yaml", "workflow/scales/tiny.yaml"
    copied.replace(grid, "0.45", "0.5")
    copied.replace(scale, "0.45", "0.5")
    store, drawn = copied.inodes("store/**/*"), others(copied)
    before = {path.name for path in (copied.results / "store").iterdir()}

    planned = copied.snakemake("-n")
    assert len(set(re.findall(r"runs/\S*0\.5\S*/run\.json", planned))) == 6  # three runs of two seeds
    copied.snakemake()

    new = {path.name for path in (copied.results / "store").iterdir()} - before
    assert len(new) == 3
    assert all("0.5" in name for name in new)
    after = copied.inodes("store/**/*")
    assert {path: after[path] for path in store} == store
    assert others(copied) == drawn
    fig5 = pd.read_csv(copied.results / "metrics" / "muller2019" / "fig5.csv")
    assert set(fig5.student_alpha.dropna()) == {0, 0.5}
    assert audit(copied)["missing"] == 0
    assert "Nothing to be done" in copied.snakemake("-n")

    # What is no longer needed is listed, and removed only when asked for.
    listed = [line.split()[-1] for line in copied.softlabels("gc").splitlines()[:-1]]
    assert {Path(path).parent.name for path in listed} == {"store", "runs", "probes", "cache"}
    assert len(listed) == 3 + 3 + 1 + 1
    assert all("0.45" in path and (copied.root / path).exists() for path in listed)
    copied.softlabels("gc", "--remove")
    assert not any((copied.root / path).exists() for path in listed)
    assert audit(copied)["missing"] == 0
    assert "Nothing to be done" in copied.snakemake("-n")


def test_a_title_is_redrawn_even_beside_other_edits(copied: Tree) -> None:
    """Two edits at once: a new run of fig2's family must not hide that fig2 itself has changed."""
    grid = "workflow/grids/muller2019.yaml"
    copied.replace(grid, "title: Reliability before and after", "title: Reliability diagrams before and after")
    pair = "resnet56_pair:\n    axes: {alpha: [0, 0.1"
    copied.replace(grid, pair, f"{pair}, 0.2")
    planned = copied.snakemake("-n")
    for name, changed in (("fig1", True), ("fig2", True), ("fig5", False)):
        assert (f"output: results/tiny/figures/muller2019/{name}.png" in planned) == changed


# ---------------------------------------------------------------- what is made again


def test_lost_files_come_back_without_training(copied: Tree) -> None:
    """With its record all that a training publishes comes back, and what lies beside it when it is measured."""
    lost = [
        one(copied, "glyphs.small_cnn.ls0.05.*", 1) / "run.json",
        one(copied, "digits.mlp.match-b0.6-mlp-hard.*", 0) / "run.json",
        one(copied, "digits.mlp.match-b0.6-mlp-hard.*", 0) / "weights.safetensors",
        one(copied, STUDENT, 1) / "logits.safetensors",
        copied.results / "metrics" / "muller2019" / "fig5.csv",
    ]
    for path in lost:
        path.unlink()
    store, cache = copied.inodes("store/**/*"), copied.inodes("cache/**/*")
    copied.snakemake()
    assert all(path.exists() for path in lost)
    assert copied.inodes("store/**/*") == store
    assert copied.inodes("cache/**/*") == cache
    assert "Nothing to be done" in copied.snakemake("-n")


def test_a_lost_seed_is_trained_again_alone(copied: Tree, finished: Tree) -> None:
    for place in ("store", "runs"):
        shutil.rmtree(one(copied, STUDENT, 1, place))
    kept = copied.inodes("store/**/*") | copied.inodes("cache/**/*")
    assert audit(copied)["missing"] == 1
    copied.snakemake()
    assert same_results(one(copied, STUDENT, 1), one(finished, STUDENT, 1))
    now = copied.inodes("store/**/*") | copied.inodes("cache/**/*")
    assert {path: now[path] for path in kept} == kept
    assert audit(copied)["missing"] == 0


def test_after_a_kill_the_results_are_the_same(copied: Tree, finished: Tree) -> None:
    shutil.rmtree(copied.results / "store")
    shutil.rmtree(copied.results / "runs")
    with open(copied.root / "killed.txt", "w") as log:
        process = subprocess.Popen(
            ["snakemake", "--cores", "2", "muller2019_fig5"],
            cwd=copied.root, env=ENVIRONMENT, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        while process.poll() is None and len(list(copied.results.glob("store/*/*/run.json"))) < 3:
            time.sleep(0.002)
        assert process.poll() is None, (copied.root / "killed.txt").read_text()
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    done = copied.inodes("store/*/*/run.json")
    assert 3 <= len(done) < 14

    copied.snakemake("muller2019_fig5")  # neither --unlock nor --rerun-incomplete
    after = copied.inodes("store/*/*/run.json")
    assert {path: after[path] for path in done} == done
    assert len(after) == 14
    for path in after:
        folder = Path(path).parent
        assert same_results(copied.results / folder, finished.results / folder), folder


def test_probes_are_published_again_and_damaged_ones_asked_again(copied: Tree) -> None:
    published = sorted(copied.results.glob("probes/*/*/*.safetensors"))[:2]
    kept = [
        copied.results / "store" / p.relative_to(copied.results / "probes").parent / "probes" / p.name
        for p in published
    ]
    before = [path.read_bytes() for path in kept]
    for path in published:
        path.unlink()
    kept[1].write_bytes(before[1][:100])
    inode = kept[0].stat().st_ino
    copied.softlabels("evaluate", *map(str, published))
    assert [path.read_bytes() for path in published] == before
    assert published[0].stat().st_ino == inode
    assert all(ours.samefile(theirs) for ours, theirs in zip(published, kept, strict=True))


# ---------------------------------------------------------------- asking before spending


def test_the_audit_counts_trainings_not_figures(copied: Tree, fresh: Tree) -> None:
    before = audit(fresh)
    assert (before["runs"], before["trainings"], before["done"], before["missing"]) == (20, 38, 0, 38)
    assert audit(copied)["missing"] == 0
    (teacher,) = (copied.results / "probes").glob("digits.mlp.ls0.45.*")
    for place in ("store", "runs"):
        shutil.rmtree(copied.results / place / teacher.name)
    report = audit(copied)
    assert {*report} >= {
        "scale", "artifacts", "runs", "trainings", "done", "missing", "stale", "cache_bytes", "device_hours",
    }  # fmt: skip
    assert (report["scale"], report["missing"], report["done"], report["stale"]) == ("tiny", 2, 36, [])
    artifacts = report["artifacts"]
    assert isinstance(artifacts, dict)
    assert {name: entry["missing"] for name, entry in artifacts.items()} == {
        f"muller2019.{name}": 2 if name == "fig5" else 0 for name in ("table1", *ARTIFACTS)
    }
    for entry in artifacts.values():
        assert {*entry} >= {
            "runs", "trainings", "done", "missing", "cache_bytes", "device_hours", "hours_source",
        }  # fmt: skip
    planned = copied.snakemake("-n")  # and Snakemake would train them, although every figure exists
    assert f"Missing output files: results/tiny/runs/{teacher.name}" in planned
    assert "Nothing to be done" in copied.snakemake("-n", "muller2019_table2")


def test_the_paper_can_be_planned_without_data(fresh: Tree) -> None:
    report = audit(fresh, "--scale", "paper", "muller2019_fig5")
    assert (report["runs"], report["trainings"]) == (24, 120)
    planned = fresh.planned("muller2019_fig5", "--config", "scale=paper")
    trained = {job["output"] for job in planned if job["rule"] in ("train_teacher", "train_student")}
    assert len(trained) == 120
    assert all(re.fullmatch(r"results/paper/runs/[^/]+/seed\d+/run\.json", path) for path in trained)
    assert not (fresh.root / "results").exists()


def test_a_printed_command_can_be_run_by_hand(copied: Tree, finished: Tree) -> None:
    """One of each rule, as a dry run prints it, where what it reads is there and what it makes is nowhere."""
    runs, results = copied.results / "runs", copied.results
    targets = {
        "prepare_data": next((copied.root / "results" / "data").glob("digits.*/manifest.json")),
        "train_teacher": next(runs.glob("glyphs.small_cnn.hard.*/seed1/run.json")),
        "train_student": next(runs.glob("digits.mlp.kd-T4-*/seed0/run.json")),
        "cache_logits": next(results.glob("cache/digits.*/seed1/manifest.json")),
        "evaluate": next(results.glob("probes/*/seed0/*.safetensors")),
        "translate": next(results.glob("probes/*/seed0/*.json")),
        "measure": results / "metrics" / "muller2019" / "fig5.plotted.csv",
        "draw_figure": copied.outputs("fig2")[0],
        "write_table": copied.outputs("table2")[0],
        "join_metrics": results / "metrics.csv",
        "judge_claims": results / "claims.csv",
        "write_report": results / "reproduction.html",
    }
    rules = {name for name in copied.rules() if not name.startswith("muller2019_")}
    assert set(targets) == rules - {"all", "fetch_weights"}
    for rule, target in targets.items():
        if rule.startswith("train_"):
            shutil.rmtree(results / "store" / target.parent.relative_to(runs))
        if rule in ("evaluate", "translate"):
            (results / "store" / target.parent.relative_to(results / "probes") / "probes" / target.name).unlink()
        before = target.read_bytes()
        target.unlink()
        wanted = str(target.relative_to(copied.root))
        (job,) = (job for job in copied.planned(wanted) if wanted in job["output"].split(", "))
        assert job["rule"] == rule
        done = copied.run("bash", "-c", job["command"])
        assert done.returncode == 0, (rule, (copied.root / job["log"]).read_text())
        if rule.startswith("train_"):  # the record says how long it took
            assert same_results(target.parent, finished.results / target.parent.relative_to(results))
        elif rule in ("draw_figure", "write_report"):
            assert target.stat().st_size > 0
        else:
            assert target.read_bytes() == before, rule


def test_results_of_an_older_project_are_found_again(copied: Tree) -> None:
    """Of one whose rules and folders were others, so that Snakemake knows of nothing: the store is what counts."""
    for place in ("runs", "probes", "figures", "tables"):
        shutil.rmtree(copied.results / place)
    for folder in (copied.root / "logs", copied.root / ".snakemake"):
        shutil.rmtree(folder)
    (copied.results / "layout.json").unlink()
    store, cache = copied.inodes("store/**/*"), copied.inodes("cache/**/*")
    targets = [f"muller2019_{name}" for name in ("fig3", "fig5", "text_mnist")]  # text, images; a table
    assert [audit(copied, *targets)[key] for key in ("missing", "done")] == [0, audit(copied, *targets)["trainings"]]
    copied.snakemake(*targets)
    assert copied.inodes("store/**/*") == store
    # A cache behind lost records is looked at again, and its manifest written again; no logits are computed again.
    now = copied.inodes("cache/**/*")
    assert {name: digest for name, (_, digest) in now.items()} == {name: digest for name, (_, digest) in cache.items()}
    shards = [name for name in cache if name.endswith(("shards.json", ".npy")) and "/shard" in name]
    assert shards
    assert [now[name] for name in shards] == [cache[name] for name in shards]
    for record in copied.results.glob("runs/*/*/run.json"):
        kept = copied.results / "store" / record.parent.relative_to(copied.results / "runs")
        names = {path.name for path in record.parent.iterdir() if path.name != "standard.json"}  # which measuring keeps
        assert names >= {"run.json", "history.csv", "weights.safetensors"}
        assert all((record.parent / name).samefile(kept / name) for name in names)
    assert len([*copied.results.glob("runs/*/*/run.json")]) == audit(copied, *targets)["trainings"]
    assert all(path.exists() for name in ("fig3", "fig5", "text_mnist") for path in copied.outputs(name))
    assert json.loads((copied.results / "layout.json").read_text()) == {"scale": "tiny", "version": LAYOUT_VERSION}
    assert "Nothing to be done" in copied.snakemake("-n", *targets)


def test_cached_logits_can_be_checked(copied: Tree) -> None:
    manifests = sorted(str(p.relative_to(copied.root)) for p in copied.results.glob("cache/*/seed*/manifest.json"))
    assert manifests
    shown = copied.softlabels("cache", "--check", "20", "--device", "cpu", *manifests)
    differences = [float(found) for found in re.findall(r"largest difference (\S+)", shown)]
    assert len(differences) == len(manifests)
    assert max(differences) < 2e-3  # half precision
