"""No number in README and docs is older than the files and the code that it comes from."""

from __future__ import annotations

import csv
import re
from importlib import resources
from pathlib import Path

from softlabels import pages
from softlabels.papers.register import entries

ROOT = Path(__file__).resolve().parents[1]


def test_every_block_and_page_is_what_would_be_made_now() -> None:
    old = [str(page.relative_to(ROOT)) for page in pages.outdated(ROOT)]
    assert not old, "run `python -m softlabels.pages`"


def test_every_block_is_used_and_every_use_has_one() -> None:
    texts = [page.read_text() for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))]
    used = re.findall(r"<!-- made: (\w+) -->", "".join(texts))
    assert sorted(used) == sorted(pages.BLOCKS)
    assert "".join(texts).count("<!-- end -->") == len(used)


def test_a_number_that_is_typed_over_is_seen(tmp_path: Path) -> None:
    page = ROOT / "docs" / "results" / "ablations_cifar10.md"
    changed = page.read_text().replace("69.84 ±", "79.84 ±")
    assert changed != page.read_text()
    (tmp_path / "page.md").write_text(changed)
    assert pages.filled(tmp_path / "page.md", ROOT) == page.read_text()


def test_the_register_is_what_the_page_of_conventions_says() -> None:
    said = {}
    for line in (ROOT / "docs" / "conventions.md").read_text().splitlines():
        if re.match(r"\| [MCYZ]-[A-Z0-9]+ \|", line):
            name, what, default, *where = (cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|")))
            said[name] = (what, default, where[0], where[1] if len(where) > 1 else "")
    assert said == {entry.id: (entry.what, entry.default, entry.field, entry.variant) for entry in entries()}


def test_variants_of_the_register_are_artifacts_that_name_them() -> None:
    from softlabels.grid.expand import load_plan

    plan = load_plan({"scale": "paper", "variants": True}, ROOT)
    for entry in entries():
        for name in entry.variants:
            assert entry.id in plan.artifacts[f"{entry.paper}.{name}"].variants
        assert not entry.results or (ROOT / "docs" / "results" / entry.results).is_file()


def test_papers_of_the_register_are_those_of_the_claims() -> None:
    with resources.files("softlabels.papers").joinpath("register.csv").open(encoding="utf-8") as handle:
        papers = {row["paper"] for row in csv.DictReader(handle)}
    assert papers == {"muller2019", "chandrasegaran2022", "yuan2020", "zhang2020"}
