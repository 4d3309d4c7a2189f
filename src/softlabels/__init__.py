"""softlabels: label smoothing and knowledge distillation, four papers as one pipeline.

`softlabels.load("results/demo")` gives metrics, specs and logits to a notebook.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing `typing` takes as long as asking a warm process (`warm.py`)
if TYPE_CHECKING:
    from typing import Any


def __getattr__(name: str) -> Any:
    if name == "load":  # lazily: the grid and the audit must not wait for pandas
        from softlabels.notebook import load

        return load
    raise AttributeError(f"module 'softlabels' has no attribute {name!r}")
