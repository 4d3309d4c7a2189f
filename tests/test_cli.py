"""The `softlabels` command: help, what it prints, and what it says about mistakes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest
import yaml
from refusals import says

from softlabels import cli

ROOT = Path(__file__).parents[1]
COMMANDS = (
    "audit", "show", "schema", "gc", "specs", "data", "weights", "fingerprint", "train", "cache", "evaluate",
    "translate", "measure", "figure", "metrics", "claims", "report",
)  # fmt: skip


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_the_list_of_commands_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["--help"])
    assert left.value.code == 0
    shown = capsys.readouterr().out
    listed = re.findall(r"^    (\w+)\s+([A-Z]\w+ \w+)", shown, re.MULTILINE)
    assert {name for name, _ in listed} == set(COMMANDS)
    assert "into one metrics.csv" in " ".join(shown.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main([name, "--help"])
    assert left.value.code == 0
    shown = capsys.readouterr().out
    assert f"example: softlabels {name}" in shown


def test_the_version_is_that_of_the_project(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["--version"])
    assert left.value.code == 0
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert capsys.readouterr().out == f"softlabels {declared}\n"


def test_no_command_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main([])
    assert left.value.code == 2
    assert "command" in capsys.readouterr().err


def test_checking_no_rows_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["cache", "--check", "0", "results/demo/cache/x/seed0/manifest.json"])
    assert left.value.code == 2
    assert "argument --check: 0 is not 1 or more" in capsys.readouterr().err


def test_the_command_is_installed_and_starts_without_torch() -> None:
    script = (
        "import sys; from softlabels.cli import main; code = main(['audit', '--json']); "
        "sys.exit(code or 'torch' in sys.modules or 'pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["scale"] == "demo"
    assert (Path(sys.executable).parent / "softlabels").exists()


def test_audit_of_the_paper(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["audit", "--scale", "paper"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("muller2019.fig5")]
    assert line.split()[1:3] == ["24", "120"]


def test_audit_of_the_artifacts_that_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["audit", "--json", "muller2019_fig5", "muller2019.fig2"]) == 0
    told = capsys.readouterr()
    report = json.loads(told.out)
    assert [*report["artifacts"]] == ["muller2019.fig5", "muller2019.fig2"]
    assert report["trainings"] == sum(job["rule"].startswith("train_") for job in report["jobs"]) + report["done"]
    assert told.err == ""
    assert cli.main(["audit", "muller2019_fig5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    named = {line.split("  ")[0]: line.split("  ", 1)[1].split() for line in (lines[3], lines[-1])}
    assert [*named] == ["muller2019.fig5", "all, shared runs once"]
    assert named["muller2019.fig5"] == named["all, shared runs once"]
    assert not any(line.startswith("muller2019.fig6") for line in lines)


def test_show_tells_all_about_a_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ["--scale", "paper", "cifar10.resnet56.hard"]
    assert cli.main(["show", *arguments]) == 0
    shown = capsys.readouterr().out
    for part in ("run: cifar10.resnet56.hard.", "muller2019_fig5", "missing", "milestone_every: 4000"):
        assert part in shown


def test_show_says_where_an_artifact_is_declared_measured_and_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["show", "--scale", "paper", "muller2019_table2"]) == 0
    shown = capsys.readouterr().out
    assert cli.main(["show", "--scale", "paper", "muller2019.table2"]) == 0
    assert capsys.readouterr().out == shown
    page = yaml.safe_load(shown)
    lines = {}
    for key in ("declared", "measured", "drawn"):
        file, number = page[key].split(" ")[0].split(":")
        lines[key] = (ROOT / file).read_text().splitlines()[int(number) - 1]
    assert lines["declared"] == "  table2:"
    assert lines["measured"].startswith("def measure(")
    assert lines["drawn"].startswith("def table(")
    assert page["make"] == "snakemake muller2019_table2 --config scale=paper"
    assert page["files"] == [f"results/paper/tables/muller2019/table2{suffix}" for suffix in (".csv", ".md")]


def test_show_knows_a_grid_and_a_figure_of_the_users(tmp_path: Path) -> None:
    blocks = dict(re.findall(r"^```\w+\n# (\S+)\n(.*?)^```", (ROOT / "docs/extend.md").read_text(), re.M | re.S))
    (tmp_path / "workflow").symlink_to(ROOT / "workflow")
    (tmp_path / "my_figures.py").write_text(blocks["my_figures.py"])
    grid = "grid:\n" + textwrap.indent(blocks["workflow/grids/example2026.yaml"], "  ")
    (tmp_path / "config.yaml").write_text(f"papers: []\n{grid}")
    command = [sys.executable, "-m", "softlabels.cli", "show", "example2026_bars"]
    page = yaml.safe_load(subprocess.check_output(command, cwd=tmp_path, text=True))
    number = int(re.fullmatch(r"config\.yaml:(\d+) \(grid\.artifacts\.bars\)", page["declared"])[1])  # type: ignore[index]
    assert (tmp_path / "config.yaml").read_text().splitlines()[number - 1] == "    bars:"
    assert re.fullmatch(r"my_figures\.py:\d+ \(draw\)", page["drawn"])


@pytest.mark.parametrize("run", ["nobody", "cifar10"])
def test_show_of_no_run_or_several(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["show", "--scale", "paper", run]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("softlabels show: ")
    assert "choose of cifar10." in told.err
    assert told.err.count("\n") == 1


def test_data_are_prepared_by_hand(tmp_path: Path) -> None:
    spec = json.dumps({"name": "digits", "train_limit": 50})
    assert cli.main(["data", spec, "--out", str(tmp_path / "digits")]) == 0
    assert json.loads((tmp_path / "digits" / "manifest.json").read_text())["fingerprint"]


@pytest.mark.parametrize(
    ("arguments", "named", "code"),
    [
        (["data", "{", "--out", "x"], "JSON", 2),
        (["data", '{"name": "digits", "sise": 3}', "--out", "x"], "sise", 2),
        (["audit", "--scale", "papre"], "papre", 2),
        (["audit", "--config", "nowhere.yaml"], "nowhere.yaml", 2),
        (["audit", "muller2019_fig50"], "muller2019_fig5", 2),
        (["train", "--device", "cpu", "results/demo/run.json"], "results/demo/run.json", 2),
        (["train", "--device", "abacus", "results/demo/runs/x/seed0/run.json"], "abacus", 2),
        (["metrics", "nowhere.csv", "--out", "x"], "nowhere.csv", 1),
        (["measure", "--results", "nowhere", "muller2019.fig5"], "nowhere", 1),
        (["fingerprint", "nowhere"], "nowhere", 1),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], named: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == code
    says(capsys.readouterr().err, f"softlabels {arguments[0]}", named)
    assert not Path("x").exists()


def test_training_of_an_unknown_run_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "results" / "demo" / "runs" / "digits.mlp.hard.00000000" / "seed0" / "run.json"
    assert cli.main(["train", "--device", "cpu", str(output)]) != 0
    says(capsys.readouterr().err, "digits.mlp.hard.00000000")
