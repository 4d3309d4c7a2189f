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
from packaging.requirements import Requirement

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


def test_conda_environments_have_every_dependency() -> None:
    """softlabels and fairseq are added to them without their dependencies."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / "envs").glob("*.yaml"):
        (pip,) = [entry["pip"] for entry in yaml.safe_load(path.read_text())["dependencies"] if isinstance(entry, dict)]
        found[path.stem] = {normal(pin.split("==")[0]) for pin in pip}
    own = {normal(re.split(r"[^A-Za-z0-9_-]", requirement)[0]) for requirement in project()["dependencies"]}
    assert own <= found["train"] | found["analysis"]
    assert own - found["train"] == {"seaborn", "matplotlib"}  # what only draws
    assert set(runtime_of_fairseq()) <= found["train"] | {"packaging"}  # which hydra-core brings


def installed_fairseq() -> str:
    """Of the packages in envs/fairseq.txt the one that is here."""
    (name,) = set(importlib.metadata.packages_distributions()["fairseq"])
    return name


def runtime_of_fairseq() -> dict[str, str]:
    """What fairseq asks for, without what translation does not use: normalised name → condition on the version."""
    asked = {}
    for requirement in importlib.metadata.requires(installed_fairseq()) or ():
        name, condition = re.fullmatch(r"([A-Za-z0-9_-]+)([^;]*)(?:;.*)?", requirement).groups()  # type: ignore[union-attr]
        if ";" not in requirement:
            asked[normal(name)] = condition
    assert set(asked) >= {"torchaudio", "cffi"}
    return {name: condition for name, condition in asked.items() if name not in ("torchaudio", "cffi")}


def test_the_lock_has_every_dependency() -> None:
    extras = project()["optional-dependencies"]
    for requirement in (*project()["dependencies"], *(needed for extra in extras.values() for needed in extra)):
        name, least = re.fullmatch(r"([A-Za-z0-9_-]+)(?:>=([0-9.]+))?.*", requirement).groups()  # type: ignore[union-attr]
        version = lock()[normal(name)]
        if least:
            assert [int(n) for n in version.split(".")[:2]] >= [int(n) for n in least.split(".")], name


def fairseq_pins() -> dict[str, Requirement]:
    """Package → its line in envs/fairseq.txt: version, and the condition under which it is taken."""
    lines = [line for line in (ROOT / "envs" / "fairseq.txt").read_text().splitlines() if not line.startswith("#")]
    lines.remove("--only-binary ve-fairseq")
    pins = [Requirement(re.sub(r"( --hash=sha256:[0-9a-f]{64})+$", "", line)) for line in lines]
    return {pin.name: pin for pin in pins}


HERE = {"python_version": "3.11", "sys_platform": "linux"}
HERE |= {"platform_machine": "x86_64", "platform_python_implementation": "CPython"}


@pytest.mark.parametrize(
    ("machine", "name"),
    [
        ({}, "ve-fairseq"),
        ({"python_version": "3.12"}, "ve-fairseq"),
        ({"python_version": "3.13"}, "fairseq-fixed"),
        ({"python_version": "3.14"}, "fairseq-fixed"),
        ({"platform_machine": "aarch64"}, "fairseq-fixed"),
        ({"sys_platform": "darwin"}, "fairseq-fixed"),
        ({"platform_python_implementation": "PyPy"}, "fairseq-fixed"),
    ],
)
def test_every_machine_gets_one_fairseq(machine: dict[str, str], name: str) -> None:
    conditions = {package: pin.marker for package, pin in fairseq_pins().items()}
    assert [package for package, marker in conditions.items() if marker and marker.evaluate(HERE | machine)] == [name]
    for package, marker in conditions.items():  # check.sh reads it as Python
        assert eval(str(marker), dict(HERE | machine)) == (package == name)


@pytest.mark.parametrize(
    ("condition", "asked"), [('python_version < "3"', ""), ('sys_platform != "" and python_version >= "3.11"', "g++")]
)
def test_a_compiler_is_asked_for_only_where_fairseq_is_compiled(condition: str, asked: str, tmp_path: Path) -> None:
    for name in ("git", "make", "dirname"):  # a machine without g++
        (tmp_path / name).symlink_to(shutil.which(name) or "")
    shutil.copy(ROOT / "envs" / "check.sh", tmp_path)
    before = str(fairseq_pins()["fairseq-fixed"].marker)
    text = (ROOT / "envs" / "fairseq.txt").read_text()
    assert before in text
    (tmp_path / "fairseq.txt").write_text(text.replace(before, condition))
    sh = shutil.which("sh") or ""
    command = [sh, tmp_path / "check.sh", sys.executable]
    done = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert done.returncode == bool(asked), done.stderr
    said = (
        r"softlabels needs: g\+\+( python3-dev)? \(on Debian: apt install git make python3-venv g\+\+ python3-dev\)\n"
    )
    assert re.fullmatch(said if asked else "", done.stderr), done.stderr


def test_fairseq_is_the_one_of_the_lock_wherever_it_is_installed() -> None:
    """Pinned by checksums, without dependencies, and where it is compiled, without CUDA for the torch that is there."""
    assert {name: str(pin.specifier) for name, pin in fairseq_pins().items()} == {
        name: f"=={lock()[name]}" for name in ("ve-fairseq", "fairseq-fixed")
    }
    for name in ("Makefile", "envs/train.post-deploy.sh", "envs/softlabels.def"):
        commands = re.findall(r"[^\n]*pip install.*", (ROOT / name).read_text().replace("\\\n", ""))
        (place,) = [number for number, command in enumerate(commands) if "envs/fairseq.txt" in command]
        assert re.search(r"^\s*env -u CUDA_HOME \S*python", commands[place]), name
        assert {"--no-deps", "--no-build-isolation", "--require-hashes", "-r"} <= set(commands[place].split()), name
        if name != "envs/train.post-deploy.sh":  # conda has installed the rest before
            assert re.search(r"\[workflow,(slurm,)?fairseq\]", commands[0]), name
            assert place == 1, name
    assert "fairseq" not in (ROOT / "envs" / "analysis.post-deploy.sh").read_text()
    makefile = (ROOT / "Makefile").read_text()
    assert "$(VENV)/.installed: envs/lock.txt envs/fairseq.txt pyproject.toml\n" in makefile  # so of demo and of test


def test_the_lock_has_what_fairseq_asks_for() -> None:
    for name, condition in runtime_of_fairseq().items():
        assert name in lock()
        if condition.startswith("=="):
            assert lock()[name] == condition.removeprefix("==")


def test_the_package_and_its_image_side_need_no_fairseq() -> None:
    """`import softlabels`, every module of the command line, and training of images: fairseq is imported by nobody."""
    code = (
        "import sys; sys.modules['fairseq'] = sys.modules['fairseq_cli'] = None\n"
        "import softlabels, softlabels.cli, softlabels.training.job, softlabels.training.probes\n"
        "import softlabels.figures.make, softlabels.grid.audit, softlabels.store_report, softlabels.notebook\n"
        "assert not [name for name in sys.modules if name.startswith(('fairseq.', 'hydra', 'omegaconf'))]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_missing_fairseq_is_one_sentence() -> None:
    for call in ("compat.fairseq()", "binary.binarise(Path('text'), Path('bin'), ('en', 'de'))"):
        code = (
            "import sys; sys.modules['fairseq'] = None\n"
            "from pathlib import Path\n"
            "from softlabels.errors import SoftlabelsError\n"
            f"from softlabels.translation{'.corpus' * call.startswith('binary')} import {call.split('.')[0]}\n"
            f"try: {call}\n"
            "except SoftlabelsError as error: print(error)"
        )
        assert subprocess.check_output([sys.executable, "-c", code], text=True) == (
            "fairseq is not installed; run make setup\n"
        )


def test_the_container_is_made_from_the_lock() -> None:
    recipe = (ROOT / "envs" / "softlabels.def").read_text()
    assert "==" not in recipe
    files = dict(re.findall(r"^    (\S+) (/opt/softlabels/\S+)$", recipe, re.MULTILINE))
    assert files == {name: f"/opt/softlabels/{name}" for name in files}
    needed = {"src", "envs/lock.txt", "envs/fairseq.txt", "pyproject.toml", project()["readme"]}
    assert needed | set(project()["license-files"]) == set(files)
    assert all((ROOT / name).exists() for name in files)
    (extras,) = re.findall(r"pip install .*-c /opt/softlabels/envs/lock\.txt '/opt/softlabels\[(.+)\]'", recipe)
    assert set(extras.split(",")) == {"workflow", "slurm", "fairseq"} <= set(project()["optional-dependencies"])
    (python,) = re.findall(r"^From: python:([0-9.]+)$", recipe, re.MULTILINE)
    for path in (ROOT / "envs").glob("*.yaml"):
        assert f"python={python}" in yaml.safe_load(path.read_text())["dependencies"]
    assert 'container: "softlabels.sif"' in (ROOT / "Snakefile").read_text()
    assert recipe.count("softlabels.sif") > 1


@pytest.mark.parametrize("environment", ["analysis", "train"])
def test_conda_environments_get_the_package_itself(environment: str, tmp_path: Path) -> None:
    """The script that Snakemake runs in a new environment, run as it does: a copy of it, in the project's folder."""
    tree, prefix = tmp_path / "the project", tmp_path / "conda"
    shutil.copytree(ROOT / "src", tree / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    (tree / "envs").mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "envs/fairseq.txt"):
        shutil.copy(ROOT / name, tree / name)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", prefix], check=True)
    (site,) = prefix.glob("lib/python3*/site-packages")
    # Of this environment, because the new one is made without the network; fairseq as one that is built already.
    for package in ("pip", "setuptools", *([installed_fairseq()] if environment == "train" else [])):
        for file in importlib.metadata.files(package) or ():
            if ".." not in file.parts:
                (site / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file.locate(), site / file)
    copy = shutil.copy(ROOT / "envs" / f"{environment}.post-deploy.sh", tmp_path / "copy.post-deploy.sh")

    def deploy(**variables: str) -> subprocess.CompletedProcess[str]:
        clean = {name: value for name, value in os.environ.items() if name != "CONDA_PREFIX"}
        clean |= {"PIP_NO_INDEX": "1", **variables}
        return subprocess.run(["bash", copy], cwd=tree, env=clean, capture_output=True, text=True, check=False)

    assert deploy().returncode != 0  # conda did not activate the environment
    done = deploy(CONDA_PREFIX=str(prefix))
    assert done.returncode == 0, done.stdout + done.stderr
    assert ("already satisfied: " + installed_fairseq() in done.stdout) == (environment == "train")
    assert "usage: softlabels" in subprocess.check_output([prefix / "bin" / "softlabels", "--help"], text=True)
    command = [prefix / "bin" / "python", "-c", "import softlabels; print(softlabels.__file__)"]
    assert subprocess.check_output(command, text=True).strip() == str(tree / "src" / "softlabels" / "__init__.py")
    if environment == "train":
        (tree / "envs" / "fairseq.txt").write_text(f"{installed_fairseq()}==0 --hash=sha256:" + 64 * "0")
        assert deploy(CONDA_PREFIX=str(prefix)).returncode != 0  # another one is not taken for it


def test_the_rules_use_environments_that_exist() -> None:
    used = {
        name for rules in (ROOT / "rules").glob("*.smk") for name in re.findall(r"\.\./(envs/\S+)\"", rules.read_text())
    }
    assert used == {f"envs/{path.name}" for path in (ROOT / "envs").glob("*.yaml")}


@pytest.mark.workflow
def test_the_workflow_is_tidy() -> None:
    """Every rule that runs a command has a log and an environment."""
    done = subprocess.run([BIN / "snakemake", "--lint"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    done = subprocess.run(
        [BIN / "snakefmt", "--check", "Snakefile", "rules"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for path in (ROOT / "rules").glob("*.smk"):
        text = path.read_text()
        assert text.count("shell:") == text.count("log:") == text.count("conda:"), path.name
