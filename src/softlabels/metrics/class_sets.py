"""Which classes are semantically similar to a target class, and which dissimilar (Chandrasegaran et al. 2022, App. G).

π is the target class, S1 its similar and S2 its dissimilar classes. The paper lists neither (C-SETS). Here they
come from groups of classes, which are a table of the user's (`read_groups`; the paper's method 1 with WordNet's
groups) or the families of a data set (`families`), from distances of features (`metrics.diffusion.by_distance`;
method 2), or are written out as `ClassSets`. Standard library only, so that a dry run can check names.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from softlabels.errors import SpecError, require
from softlabels.grid.declared.class_names import class_ids
from softlabels.grid.declared.datasets import DATASETS, FAMILIES

HEADER = ["class", "group"]


@dataclass(frozen=True)
class ClassSets:
    """π, S1 and S2 by the names of the classes.

    Raises:
        SpecError: S1 or S2 is empty, names a class twice or contains π, or they overlap.
    """

    target: str
    similar: tuple[str, ...]
    dissimilar: tuple[str, ...]

    def __post_init__(self) -> None:
        for name, members in (("S1", self.similar), ("S2", self.dissimilar)):
            of = f"{name} of target class {self.target!r}"
            require(len(members) > 0, f"{of} is empty; it needs at least one class")
            require(len(set(members)) == len(members), f"{of} names a class twice: {', '.join(members)}")
            require(self.target not in members, f"{of} contains the target class itself; take it out")
        both = sorted(set(self.similar) & set(self.dissimilar))
        require(not both, f"S1 and S2 of target class {self.target!r} overlap in {', '.join(both)}; keep it in one")

    @property
    def classes(self) -> tuple[str, ...]:
        """S1 ∪ S2, S1 first."""
        return self.similar + self.dissimilar


def by_groups(groups: Mapping[str, str], target: str) -> ClassSets:
    """S1: the other classes of the target's group; S2: the classes of all other groups.

    Args:
        groups: class → group. A class that is not listed takes no part.

    Raises:
        SpecError: the target class is not listed, or S1 or S2 is empty.
    """
    class_ids([target], list(groups), "groups of classes")
    others = [name for name in groups if name != target]
    similar = tuple(name for name in others if groups[name] == groups[target])
    return ClassSets(target, similar, tuple(name for name in others if groups[name] != groups[target]))


def read_groups(path: Path) -> dict[str, str]:
    """Class → group, of a CSV file with the header `class,group` and one row for each class that takes part.

    A group is any word: classes that share it are each other's S1, all others in the file are their S2. For method 1
    of the paper, `class` is the name of the class in the data set and `group` the synset above it:

        class,group
        n02099601,retriever
        n02099712,retriever
        n03344393,boat

    Raises:
        SpecError: the file is missing or no such table, or lists a class twice.
    """
    groups: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # -sig: spreadsheets write a mark in front
            rows = csv.reader(file)
            if next(rows, None) != HEADER:
                raise SpecError(f"{path} must begin with the line {','.join(HEADER)}")
            for row in filter(None, rows):
                cells = [cell.strip() for cell in row]
                if len(cells) != 2 or not all(cells):
                    raise SpecError(f"{path}, line {rows.line_num}: write a class and its group, not {','.join(row)!r}")
                if cells[0] in groups:
                    raise SpecError(f"{path}, line {rows.line_num}: class {cells[0]!r} is listed twice; keep one line")
                groups[cells[0]] = cells[1]
    except FileNotFoundError:
        raise SpecError(f"{path} does not exist; write it with the header {','.join(HEADER)}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as bad:
        raise SpecError(f"{path} cannot be read as CSV in UTF-8 ({bad})") from None
    return groups


def families(dataset: str) -> dict[str, str]:
    """Class → family, of a data set whose classes have known families.

    Raises:
        SpecError: it declares none.
    """
    if dataset != "glyphs":
        raise SpecError(f"data set {dataset!r} has no families of classes, only glyphs has: supply a table of groups")
    names = DATASETS[dataset].class_names or ()
    return {names[k]: family for family, members in FAMILIES.items() for k in members}


def consistency(method_1: ClassSets, method_2: ClassSets) -> tuple[float, float]:
    """Fractions of method 1's S1 and S2 that method 2 has too (App. G, Table G.1; the formula is inferred).

    The printed values are multiples of 1/4 and 1/20, which are |S1| and |S2| of method 1 alone.

    Raises:
        SpecError: the sets are of different target classes.
    """
    if method_1.target != method_2.target:
        raise SpecError(
            f"sets of target classes {method_1.target!r} and {method_2.target!r} cannot be compared: choose one"
        )
    pairs = ((method_1.similar, method_2.similar), (method_1.dissimilar, method_2.dissimilar))
    similar, dissimilar = (len(set(ours) & set(theirs)) / len(ours) for ours, theirs in pairs)
    return similar, dissimilar
