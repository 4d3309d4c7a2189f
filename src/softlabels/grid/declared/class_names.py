"""The classes of a data set by name or by index. Standard library only, so that a dry run can check names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from softlabels.errors import SpecError


def class_ids(names: Iterable[str], class_names: Sequence[str], where: str) -> dict[str, int]:
    """Name → label of classes of a data set with these `class_names`, in the order asked.

    Args:
        where: file or key that names the classes, for the message.

    Raises:
        SpecError: a class does not exist, or two classes of the data set share the name.
    """
    asked = list(names)
    for name in asked:
        if name not in class_names:
            close = difflib.get_close_matches(name, class_names, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(class_names[:3])}, …"
            raise SpecError(f"{where}: no class is called {name!r}; {hint}")
        if class_names.count(name) > 1:
            raise SpecError(f"{where}: several classes are called {name!r}; give them different names")
    return {name: class_names.index(name) for name in asked}


def labels(classes: Iterable[int | str], class_names: Sequence[str], where: str) -> tuple[int, ...]:
    """Labels of classes given by name or by index, in the order asked.

    Raises:
        SpecError: as `class_ids`; an index that no class has; or a class given twice.
    """
    found: list[int] = []
    for given in classes:
        label = class_ids([given], class_names, where)[given] if isinstance(given, str) else given
        if not 0 <= label < len(class_names):
            raise SpecError(f"{where}: there is no class {label}; the last one is {len(class_names) - 1}")
        if label in found:
            raise SpecError(f"{where}: class {given} is given twice; name it once")
        found.append(label)
    return tuple(found)
