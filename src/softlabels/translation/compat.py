"""fairseq as it is, made safe to call: imported once, with three functions of its checkpoint module monkey-patched.

No file of fairseq is edited. What is replaced, and why:
* `torch.load` there reads tensors and plain values only (`weights_only=True`);
* `torch_persistent_save` writes whole files or none, and leaves out the configuration, which is an `argparse.Namespace`
  that could not be read again as plain values;
* the search for what made a gradient NaN is left out: it fails on the networks' outputs, and so hides what it is for;
* fairseq's own logging set-up is kept from overriding ours.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import io
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from softlabels.errors import SoftlabelsError
from softlabels.files import atomic

PLUGIN = Path(__file__).parent / "plugin"
"""`--user-dir` of every call: the criterion of this project."""


NOISY = (
    "fairseq.tasks.text_to_speech",
    "fairseq.tasks.fairseq_task",
    "fairseq.tasks.translation",
    "fairseq.data.data_utils",
    "fairseq.data.iterators",
    "fairseq.trainer",
    "fairseq_cli.train",
)
"""Loggers of fairseq that say what every run says; losses come from others."""


OUTDATED = (
    r"\s*The strict flag in the compose API",
    r"\s*'.*' is validated against ConfigStore schema",
    r"`torch\.cuda\.amp\.autocast",
    r"Support for mismatched key_padding_mask",
    r"'pin_memory' argument is set as true",
)
"""Warnings about fairseq's own calls, of which a user can change nothing."""


class _SafeTorch:
    """The module torch, but for `load`."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    @staticmethod
    def load(file: Any, map_location: Any = None) -> Any:
        return torch.load(file, map_location=map_location, weights_only=True)


def save(state: dict[str, Any], filename: str, async_write: bool = False) -> None:
    """Write a checkpoint of fairseq's trainer, whole or not at all; not what it would leave behind when it fails."""
    if Path(filename).name == "crash.pt":
        return
    content = io.BytesIO()  # torch.save itself turns a full disk into an error of its own
    torch.save({**state, "cfg": None}, content)
    with atomic(Path(filename)) as part:
        part.write_bytes(content.getbuffer())


@contextlib.contextmanager
def replaced(module: Any, **functions: Any) -> Iterator[None]:
    """A module with some of its functions monkey-patched inside the block."""
    before = {name: getattr(module, name) for name in functions}
    try:
        for name, function in functions.items():
            setattr(module, name, function)
        yield
    finally:
        for name, function in before.items():
            setattr(module, name, function)


def _keep_memory() -> None:
    """Let glibc reuse the large blocks of each update instead of returning them: logits of a batch take 50 MB or more,
    and faulting their pages in again is a tenth of an update on a CPU."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(-4, 0)  # M_MMAP_MAX
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


@functools.cache
def fairseq() -> ModuleType:
    """The package, imported and adapted; takes some seconds the first time.

    Raises:
        SoftlabelsError: it is not installed (`make setup`).
    """
    if importlib.util.find_spec("fairseq") is None:
        raise SoftlabelsError("fairseq is not installed; run make setup")
    # Before fairseq, which else sets up a format of its own when it is imported.
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s", datefmt="%H:%M:%S", level=logging.INFO)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _keep_memory()
    for message in OUTDATED:
        warnings.filterwarnings("ignore", message=message)
    import fairseq
    import fairseq.checkpoint_utils as checkpoints
    import fairseq.trainer
    import fairseq_cli.train  # noqa: F401

    checkpoints.torch = _SafeTorch()
    checkpoints.torch_persistent_save = save
    fairseq.trainer.NanDetector = contextlib.nullcontext
    for noisy in NOISY:
        logging.getLogger(noisy).setLevel(logging.WARNING)
    package: ModuleType = fairseq
    return package
