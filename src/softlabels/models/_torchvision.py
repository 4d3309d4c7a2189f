"""Import torchvision beside a CPU build of torch.

The wheel on the package index is built for CUDA. Beside a CPU torch its C extension cannot load, and the
import then fails where shape functions are registered for two operators that nobody declared. Declaring
them (not defining: calling one still fails) is all that the networks need.
"""

from __future__ import annotations

import importlib
import importlib.util
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder
from types import ModuleType

import torch

from softlabels.errors import SoftlabelsError

_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[torch.library.Library] = []  # a Library that is collected takes its operators with it


def _extension_loads(folder: str) -> bool:
    found = FileFinder(folder, (ExtensionFileLoader, EXTENSION_SUFFIXES)).find_spec("_C")
    if found is None or found.origin is None:
        return False
    try:
        torch.ops.load_library(found.origin)  # type: ignore[no-untyped-call]
    except OSError:
        return False
    return True


def load(module: str = "torchvision") -> ModuleType:
    """Import `module`: torchvision, a part of it, or a package that imports it (timm).

    Raises:
        SoftlabelsError: the package is not installed.
    """
    found = importlib.util.find_spec("torchvision")
    if found is None or not found.submodule_search_locations:
        raise SoftlabelsError("torchvision is not installed, and this network needs it: pip install torchvision")
    folder = found.submodule_search_locations[0]
    if not hasattr(torch.ops.torchvision, "nms") and not _extension_loads(folder):
        library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for operator in _OPERATORS:
            library.define(operator)  # type: ignore[no-untyped-call]
        _declared.append(library)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise SoftlabelsError(
            f"{error.name} is not installed, and this network needs it: pip install {error.name}"
        ) from None
