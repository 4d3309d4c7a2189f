"""The image of the rules in the README is that of today's rules."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from workflow_tree import ROOT, Tree

SVG = "{http://www.w3.org/2000/svg}"
Edges = set[tuple[str, str]]


def pictured() -> tuple[set[str], Edges]:
    """Rules and arrows of docs/images/rulegraph.svg."""
    names, pairs = {}, []
    for group in ElementTree.parse(ROOT / "docs" / "images" / "rulegraph.svg").iter(f"{SVG}g"):
        title = group.findtext(f"{SVG}title") or ""
        if group.get("class") == "node":
            names[title] = group.findtext(f"{SVG}text") or ""
        elif group.get("class") == "edge":
            pairs.append(title.split("->"))
    return set(names.values()), {(names[tail], names[head]) for tail, head in pairs}


def reduced(edges: Edges) -> Edges:
    """Of an acyclic graph, the edges that no longer path replaces."""

    def reach(start: str) -> set[str]:
        after = {head for tail, head in edges if tail == start}
        return after.union(*map(reach, after))

    return {(a, b) for a, b in edges if not any(b in reach(c) for tail, c in edges if tail == a)}


def test_the_picture_in_the_readme_is_the_rulegraph_of_today(fresh: Tree) -> None:
    said = fresh.snakemake("--rulegraph", "dot", "--config", "scale=demo", 'papers=["muller2019"]')
    names = dict(re.findall(r'(\d+)\[label = "(\w+)"', said))
    edges = {(names[tail], names[head]) for tail, head in re.findall(r"(\d+) -> (\d+)", said)}
    assert pictured() == (set(names.values()), reduced(edges)), "run `make rulegraph`"
    assert {("cache_logits", "train_student"), ("train_student", "measure")} <= reduced(edges)
    assert ("train_teacher", "measure") in edges - reduced(edges)
    assert "](docs/images/rulegraph.svg)" in (ROOT / "README.md").read_text()
