"""Tensors on disk: safetensors files with a JSON header, written atomically. Never a pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from softlabels.errors import SoftlabelsError
from softlabels.files import atomic, canonical_json


def save(path: Path, tensors: dict[str, Tensor], meta: dict[str, Any] | None = None) -> None:
    """Write tensors and a JSON-able `meta`; a full disk leaves the old file as it was."""
    with atomic(path) as part:
        contiguous = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
        # Not save_file: it writes through a temporary file of its own, which a kill would leave behind.
        part.write_bytes(to_bytes(contiguous, metadata={"meta": canonical_json(meta or {})}))


def load(path: Path, device: str | torch.device = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors and the `meta` of a file.

    Raises:
        SoftlabelsError: missing, truncated, or not safetensors (a pickle, say).
    """
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            meta = json.loads((file.metadata() or {}).get("meta", "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, meta  # noqa: SIM118
    except FileNotFoundError:
        raise SoftlabelsError(f"{path} does not exist") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise SoftlabelsError(
            f"{path} is not a readable safetensors file ({error}); pickled weights are not accepted: "
            "convert them with safetensors.torch.save_file, or delete a damaged file and run again"
        ) from None
