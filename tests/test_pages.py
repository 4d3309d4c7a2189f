"""No number in README and docs is older than the files and the code that it comes from."""

from __future__ import annotations

import csv
import re
from importlib import resources
from pathlib import Path

import pandas as pd
import pytest

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


RESULTS = ROOT / "docs" / "results"
# What results are compared with, and what was measured of settings: in the prose of a page and in no file.
SETTINGS = {
    "ablations_mnist": {"0.85", "0.854", "0.855", "2.5"},
    "ablations_truncation": {"0.1", "99.88"},
    "ablations_cifar10": {"0.1", "0.15"},
}
# Files of whole curves have so many numbers that any would be found.
CURVES = ("_generations", "_temperatures", "_methods")


def _differences(name: str) -> list[float]:
    """Differences that the prose of a page takes between numbers of its files."""
    if name != "ablations_truncation":
        return []
    cells = pd.read_csv(RESULTS / "ablations_truncation.csv").query("checkpoint == 'last' and metric == 'bleu'")
    bleu = cells.set_index(["line", "temperature"])["mean"]
    gpu = pd.read_csv(RESULTS / "ablations_truncation_gpu.csv")
    gpu["kind"] = gpu["run_id"].str.extract(r"(kd-T\d+-(?:drop4-)?)", expand=False)
    nll, by_seed = gpu.groupby("kind")["val_nll_last"].mean(), gpu.groupby("kind")["bleu"]
    return [
        bleu["features", 1.0] - bleu["top 4, tail dropped", 1.0],
        bleu["features", 64.0] - bleu["features", 1.0],
        nll["kd-T1-drop4-"] - nll["kd-T1-"],
        *(by_seed.max() - by_seed.min()),
        by_seed.mean()["kd-T1-"] - by_seed.mean()["kd-T1-drop4-"],
        *_by_seed(gpu, "kd-T64-", "kd-T1-"),
    ]


def _by_seed(gpu: pd.DataFrame, one: str, other: str) -> list[float]:
    bleu = gpu.pivot_table(index="seed", columns="kind", values="bleu")
    return list((bleu[one] - bleu[other]).dropna())


def _unknown(name: str, text: str) -> list[str]:
    """Decimal numbers in the prose of a page of results that neither its tables nor its files have."""
    blocks = " ".join(re.findall(r"<!-- made.*?<!-- end -->", text, re.DOTALL))
    prose = re.sub(r"<!-- made.*?<!-- end -->|```.*?```|\]\([^)]*\)", "", text, flags=re.DOTALL)
    prose = re.split(r"\n## (?:Settings|How it was made)", prose)[0]
    known = set(re.findall(r"\d+\.\d+", blocks)) | SETTINGS.get(name, set())
    values = _differences(name)
    for path in RESULTS.glob(f"{name}*.csv"):
        if not path.stem.endswith(CURVES):
            values += [float(value) for value in pd.read_csv(path).select_dtypes("number").to_numpy().flat]
    found = re.findall(r"(?<![\d.,])\d+\.\d+(?!\d|\.\d)", prose)
    return [n for n in found if n not in known and n not in {f"{abs(v):.{len(n.split('.')[1])}f}" for v in values}]


@pytest.mark.parametrize(
    "name", sorted({page.stem for page in RESULTS.glob("*.md")} - {"README", "benchmarks", "slurm_faults"})
)
def test_numbers_of_prose_are_those_of_tables_and_files(name: str) -> None:
    text = (RESULTS / f"{name}.md").read_text()
    assert _unknown(name, text) == []
    assert _unknown(name, text.replace("\n\n", "\n\nIt is 77.77 ± 1.33. ", 1)) == ["77.77", "1.33"]


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
