"""Which of the papers' tables and figures are targets, and what stands for what in the demo: docs/coverage.md.

`python -m softlabels.papers.coverage` prints the page; a test compares it with the file.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from softlabels.grid.expand import load_plan
from softlabels.grid.plan import Artifact, Plan

HEAD = """# Coverage

Every table, figure and set of in-text numbers of the four papers, and our own ablations. **target**: what to ask
snakemake for; without one, the reason. **at scale paper**: networks × seeds, teachers not counted where they are
not shown. **printed**: published numbers to compare with. **demo**: what stands for what there, and which axes are
subsampled; the same is on the face of each figure. This page is made by `python -m softlabels.papers.coverage`.
"""


def artifacts() -> list[dict[str, str]]:
    """The 69 artifacts of the papers: id, kind, and `absent`, why there is no target ("" where there is one)."""
    with resources.files("softlabels.papers").joinpath("artifacts.csv").open(encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def page(root: Path) -> str:
    """The page as Markdown.

    Args:
        root: the folder that holds `workflow/`.

    Raises:
        SpecError: as `load_plan`.
    """
    paper, demo = (load_plan({"scale": scale, "variants": True}, root) for scale in ("paper", "demo"))
    printed = _printed()
    listed = artifacts()
    lines = [HEAD]
    known = {row["id"] for row in listed}
    for name in dict.fromkeys(row["id"].split(".")[0] for row in listed):
        own = [row for row in listed if row["id"].startswith(f"{name}.")]
        done = sum(row["id"] in paper.artifacts for row in own)
        lines += [f"## {name}: {done} of {len(own)}", "", *_table()]
        lines += [_line(row["id"], row["absent"], paper, demo, printed[row["id"]]) for row in own]
        lines += ["", "Variants, made with `variants: true`:", "", *_table()] if _more(paper, name, known) else []
        lines += [_line(more, "", paper, demo, 0) for more in _more(paper, name, known)]
        lines += [""]
    lines += ["## Our own", "", *_table()]
    lines += [_line(name, "", paper, demo, 0) for name in paper.artifacts if name.startswith("ablations.")]
    return "\n".join(lines) + "\n"


def _more(paper: Plan, name: str, known: set[str]) -> list[str]:
    return [more for more in paper.artifacts if more.startswith(f"{name}.") and more not in known]


def _table() -> Iterator[str]:
    yield "| target | what | at scale paper | printed | demo |"
    yield "|---|---|---|---|---|"


def _line(name: str, absent: str, paper: Plan, demo: Plan, printed: int) -> str:
    artifact = paper.artifacts.get(name)
    if artifact is None:
        return f"| – ({name}) | absent: {absent} | | {printed or ''} | |"
    notes = [note.removeprefix("demo: ") for note in demo.artifacts[name].notes]
    cells = (f"`{artifact.target}`", artifact.title, _size(artifact), f"{printed or ''}", "; ".join(notes))
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _size(artifact: Artifact) -> str:
    by_seeds = Counter(len(member.seeds) for member in artifact.members)
    return " + ".join(f"{count} × {seeds}" for seeds, count in sorted(by_seeds.items())) or "no networks"


def _printed() -> Counter[str]:
    with resources.files("softlabels.papers").joinpath("published.csv").open(encoding="utf-8") as handle:
        return Counter(f"{row['paper']}.{row['artifact']}" for row in csv.DictReader(handle))


if __name__ == "__main__":
    print(page(Path.cwd()), end="")
