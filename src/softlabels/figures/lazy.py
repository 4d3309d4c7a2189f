"""numpy and pandas, imported when they are first used: making a plan imports the drawing modules, and needs neither."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
else:
    from importlib import import_module

    class _Lazy:
        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, attribute: str) -> object:
            return getattr(import_module(self._name), attribute)

    np, pd = _Lazy("numpy"), _Lazy("pandas")

__all__ = ["np", "pd"]
