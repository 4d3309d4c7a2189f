"""One lock of exact versions; everything else that names a version agrees with it.

No conda and no apptainer is called: what conda would make is a fresh environment, and no image is built.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
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
    for requirement in (*project()["dependencies"], *(needed for extra in extras.values() for needed in extra)):
        name, least = re.fullmatch(r"([A-Za-z0-9_-]+)(?:>=([0-9.]+))?.*", requirement).groups()  # type: ignore[union-attr]
        version = lock()[normal(name)]
        if least:
            assert [int(n) for n in version.split(".")[:2]] >= [int(n) for n in least.split(".")], name


def test_the_container_is_made_from_the_lock() -> None:
    recipe = (ROOT / "envs" / "softlabels.def").read_text()
    assert "==" not in recipe
    files = dict(re.findall(r"^    (\S+) (/opt/softlabels/\S+)$", recipe, re.MULTILINE))
    assert files == {name: f"/opt/softlabels/{name}" for name in files}
    assert {"src", "envs/lock.txt", "pyproject.toml", project()["readme"], *project()["license-files"]} == set(files)
    assert all((ROOT / name).exists() for name in files)
    (extras,) = re.findall(r"pip install .*-c /opt/softlabels/envs/lock\.txt '/opt/softlabels\[(.+)\]'", recipe)
    assert set(extras.split(",")) == {"workflow", "slurm"} <= set(project()["optional-dependencies"])
    (python,) = re.findall(r"^From: python:([0-9.]+)$", recipe, re.MULTILINE)
    for path in (ROOT / "envs").glob("*.yaml"):
        assert f"python={python}" in yaml.safe_load(path.read_text())["dependencies"]
    assert 'container: "softlabels.sif"' in (ROOT / "Snakefile").read_text()
    assert recipe.count("softlabels.sif") > 1


def test_conda_environments_get_the_package_itself(tmp_path: Path) -> None:
    """The script that Snakemake runs in a new environment, run as it does: a copy of it, in the project's folder."""
    tree, prefix = tmp_path / "the project", tmp_path / "conda"
    shutil.copytree(ROOT / "src", tree / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", prefix], check=True)
    (site,) = prefix.glob("lib/python3*/site-packages")
    for package in ("pip", "setuptools"):  # of this environment, because the new one is made without the network
        for file in importlib.metadata.files(package) or ():
            if ".." not in file.parts:
                (site / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file.locate(), site / file)
    scripts = {(path.with_name(f"{path.stem}.post-deploy.sh")).resolve() for path in (ROOT / "envs").glob("*.yaml")}
    (script,) = scripts  # one for all environments
    copy = shutil.copy(script, tmp_path / "copy.post-deploy.sh")

    def deploy(**variables: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if name != "CONDA_PREFIX"}
        environment |= {"PIP_NO_INDEX": "1", **variables}
        return subprocess.run(["bash", copy], cwd=tree, env=environment, capture_output=True, text=True, check=False)

    assert deploy().returncode != 0  # conda did not activate the environment
    done = deploy(CONDA_PREFIX=str(prefix))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "usage: softlabels" in subprocess.check_output([prefix / "bin" / "softlabels", "--help"], text=True)
    command = [prefix / "bin" / "python", "-c", "import softlabels; print(softlabels.__file__)"]
    assert subprocess.check_output(command, text=True).strip() == str(tree / "src" / "softlabels" / "__init__.py")


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
