"""The store: what has been trained, and publishing it as Snakemake's outputs.

Snakemake deletes declared outputs before it runs a job again, so the truth lies outside them, in
`results/<scale>/store/<run>/seed<k>/`. A result that is there is never computed again: publishing it is a hard link.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from softlabels.errors import SoftlabelsError
from softlabels.files import atomic, read_json, sha256, writing
from softlabels.layout import Layout


def finished(folder: Path) -> dict[str, Any] | None:
    """The `run.json` of a finished training in the store, or None."""
    path = folder / "run.json"
    if not path.exists():
        return None
    record: dict[str, Any] = read_json(path)
    return record if record.get("status") == "finished" else None


def attempts_of(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """In which jobs a training was done, of `run.json` or `progress.json`; older ones call them sittings."""
    attempts: list[dict[str, Any]] = record.get("attempts", record.get("sittings", []))
    return attempts


def publish(layout: Layout, run: str, seed: int) -> None:
    """Hard-link a finished training from the store into `runs/`, checking every file's SHA-256.

    Raises:
        SoftlabelsError: a file of the store is missing or has changed; it is named.
    """
    source, target = layout.store(run, seed), layout.run(run, seed)
    record = finished(source)
    if record is None:
        raise SoftlabelsError(f"{source} holds no finished training; run snakemake to train it")
    for name, digest in record["files"].items():
        path = source / name
        if not path.exists() or sha256(path) != digest:
            state = "is missing" if not path.exists() else "has changed since training"
            raise SoftlabelsError(f"{path} {state}; delete the folder {source} to have this seed trained again")
    with writing(target):
        target.mkdir(parents=True, exist_ok=True)
        for name in (*record["files"], "run.json"):
            if "/" not in name:
                link(source / name, target / name)


def link(source: Path, target: Path) -> None:
    """Publish one file, replacing what was there."""
    if target.exists() and target.samefile(source):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
    try:
        os.link(source, part)
    except OSError:  # a file system without hard links
        with atomic(target) as copy:
            shutil.copyfile(source, copy)
        return
    part.replace(target)
