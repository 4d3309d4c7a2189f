"""One lock of exact versions; everything else that names a version agrees with it."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def lock() -> dict[str, str]:
    """Normalised name → exact version."""
    lines = [line.strip() for line in (ROOT / "envs" / "lock.txt").read_text().splitlines()]
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert all(len(pair) == 2 for pair in pairs)
    return {normal(name): version for name, version in pairs}


def project() -> dict[str, Any]:
    content: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return content


def test_the_lock_holds_plain_versions() -> None:
    for name, version in lock().items():
        assert re.fullmatch(r"[0-9]+(\.[0-9]+)*(\.?(post|rc|a|b)[0-9]+)?", version), name
    assert lock()["torch"] == "2.13.0"
    assert lock()["torchvision"] == "0.28.0"


@pytest.mark.parametrize("path", sorted((ROOT / "envs").glob("*.yaml")), ids=lambda path: path.stem)
def test_conda_environments_have_the_versions_of_the_lock(path: Path) -> None:
    dependencies = yaml.safe_load(path.read_text())["dependencies"]
    (pip,) = [entry["pip"] for entry in dependencies if isinstance(entry, dict)]
    assert pip
    for pin in pip:
        name, version = pin.split("==")
        assert lock()[normal(name)] == version, f"{path.name}: {name}"


def test_the_lock_has_every_dependency() -> None:
    extras = project()["optional-dependencies"]
    for requirement in (*project()["dependencies"], *extras["workflow"], *extras["test"]):
        name, least = re.fullmatch(r"([A-Za-z0-9_-]+)(?:>=([0-9.]+))?.*", requirement).groups()  # type: ignore[union-attr]
        version = lock()[normal(name)]
        if least:
            assert [int(n) for n in version.split(".")[:2]] >= [int(n) for n in least.split(".")], name


def test_the_rules_use_environments_that_exist() -> None:
    used = {
        name for rules in (ROOT / "rules").glob("*.smk") for name in re.findall(r"\.\./(envs/\S+)\"", rules.read_text())
    }
    assert used == {f"envs/{path.name}" for path in (ROOT / "envs").glob("*.yaml")}


@pytest.mark.workflow
def test_the_workflow_is_tidy() -> None:
    """snakemake --lint asks for a log and an environment of every rule; a benchmark it does not ask for."""
    done = subprocess.run([BIN / "snakemake", "--lint"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    done = subprocess.run(
        [BIN / "snakefmt", "--check", "Snakefile", "rules"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for path in (ROOT / "rules").glob("*.smk"):
        text = path.read_text()
        assert text.count("shell:") == text.count("benchmark:") == text.count("log:") == text.count("conda:"), path.name
