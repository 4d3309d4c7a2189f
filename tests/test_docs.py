"""What the pages promise: links resolve, and the demo's image is the one that the README speaks of."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from softlabels.cli import parser
from softlabels.grid.audit import warnings_about
from softlabels.grid.expand import load_plan
from softlabels.grid.identity import needed_cache
from softlabels.grid.jobs import every_job
from softlabels.grid.plan import JobSettings
from softlabels.layout import Layout

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    assert "TODO" not in text
    assert not re.findall(r"@@[A-Z_]+@@", text)  # a number that is still to be filled in
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)}: {target}"


def test_every_page_is_reached_from_the_readme() -> None:
    reached, queue = set(), [ROOT / "README.md"]
    while queue:
        page = queue.pop()
        if page in reached:
            continue
        reached.add(page)
        links = re.findall(r"\]\(([^)#\s]+\.md)", page.read_text())
        queue += [(page.parent / link).resolve() for link in links if "://" not in link]
    assert set(PAGES) <= reached


def test_commands_in_the_pages_are_understood() -> None:
    """Every line of a shell block that calls softlabels, with its placeholders as they are."""
    found = [
        shlex.split(line.split(" | ")[0], comments=True)
        for page in PAGES
        for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
        if line.startswith("softlabels ")
    ]
    assert {command for _, command, *_ in found} >= {"audit", "show", "gc"}
    for _, *arguments in found:
        parser().parse_args(arguments)


def test_keys_of_jobs_in_the_pages_exist() -> None:
    keys = {key for page in PAGES for key in re.findall(r"`jobs: ([a-z_]+)", page.read_text())}
    assert (
        {"max_minutes", "stage", "gpu_share", "sbatch"}
        <= keys
        <= {field.name for field in dataclasses.fields(JobSettings)}
    )


def test_the_grid_for_own_text_can_be_used_as_it_stands() -> None:
    """What docs/translation.md says to put into config.yaml, and what it says about it."""
    page = (ROOT / "docs" / "translation.md").read_text()
    (block,) = re.findall(r"^```yaml\n(grid:\n.*?)^```", page, re.MULTILINE | re.DOTALL)
    plan = load_plan({"papers": [], "scale": "paper", **yaml.safe_load(block)}, ROOT)
    assert set(plan.artifacts) == {"own.translation", "own.translation_bleu"}
    assert all(artifact.target in page for artifact in plan.artifacts.values())
    taught = [run for run in plan.runs.values() if (need := needed_cache(run)) is not None and need.bytes > 0]
    assert f"trains {len(plan.runs)} networks with {len(plan.seeds[next(iter(plan.runs))])} seeds each" in page
    assert f"{len(taught)} with" in page
    assert not warnings_about(plan, every_job(plan, Layout(ROOT / "nowhere")))


def test_the_criterion_can_be_given_to_fairseqs_own_command() -> None:
    from softlabels.translation.launch import parse
    from softlabels.translation.losses import TokenLoss

    page = (ROOT / "docs" / "translation.md").read_text()
    (block,) = re.findall(r"^```sh\nfairseq-train (.*?)^```", page, re.MULTILINE | re.DOTALL)
    arguments = shlex.split(block.replace("\\\n", " "))
    place = arguments.index("--user-dir") + 1
    assert (ROOT / arguments[place] / "__init__.py").exists()
    criterion = parse(arguments).criterion
    assert criterion._name == "soft_targets"
    assert TokenLoss(**json.loads(criterion.loss)) == TokenLoss(1.0, 0.1, "all")
