"""Write the logits of a teacher on the views its students will see.

A cache folder holds `shard-0000.npy`, … (fp16 `[views in shard, N, K]`), `labels.npy`, `ids.npy` `[N]` and, last of
all, `manifest.json` with the SHA-256 of each file. `shards.json` records what is already done and from what, so an
interrupted write goes on where it was, a damaged shard is made again alone, and another teacher's are not reused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from softlabels.errors import SoftlabelsError, Stopped
from softlabels.files import atomic, read_json, sha256, write_json
from softlabels.grid.identity import CACHE_STAGES
from softlabels.grid.recipe import Augment, Normalise, Precision
from softlabels.training.pictures import Pictures, forward
from softlabels.versions import code_version

SHARD_BYTES = 256 << 20


@dataclass(frozen=True)
class TeacherNetwork:
    """A trained network and how its pictures are prepared."""

    network: torch.nn.Module
    normalise: Normalise
    precision: Precision


def save_array(path: Path, array: NDArray[Any]) -> str:
    """Write `.npy` atomically; returns its SHA-256."""
    with atomic(path) as part:
        with open(part, "wb") as handle:
            np.save(handle, array, allow_pickle=False)
        digest = sha256(part)
    return digest


def view_logits(
    teacher: TeacherNetwork,
    pictures: Pictures,
    view: int,
    stream: int,
    augment: Augment,
) -> NDArray[np.float32]:
    """Logits `[N, K]` of one view of every picture."""
    teacher.network.eval()
    rows = [logits_of(teacher, pictures, x) for x in pictures.passes(view, stream, augment)]
    return torch.cat(rows).cpu().numpy()


def logits_at(
    teacher: TeacherNetwork,
    pictures: Pictures,
    positions: torch.Tensor,
    view: int,
    stream: int,
    augment: Augment,
) -> torch.Tensor:
    """fp32 logits `[B, K]` of one view of the pictures at `positions`; the network is in eval mode."""
    teacher.network.eval()
    return logits_of(teacher, pictures, pictures.view(positions, torch.full_like(positions, view), stream, augment))


def logits_of(
    teacher: TeacherNetwork, pictures: Pictures, x: torch.Tensor, part: torch.nn.Module | None = None
) -> torch.Tensor:
    """fp32 logits `[B, K]` of pictures in 0–255, or what a part of the network gives, in the mode that it is in."""
    network = teacher.network if part is None else part
    return forward(network, pictures.to_input(x, teacher.normalise), teacher.precision).float()


def write_cache(
    folder: Path,
    teacher: TeacherNetwork | NDArray[Any],
    pictures: Pictures,
    *,
    views: int,
    stream: int,
    augment: Augment,
    about: dict[str, Any],
    should_stop: Callable[[], bool] = lambda: False,
    before_writing: Callable[[], None] = lambda: None,
) -> None:
    """Fill `folder` with the logits of `views` views; `about` (teacher, …) goes into the manifest.

    `teacher` is a network, or the user's own logits `[N, K]` (then views = 1).

    Raises:
        SoftlabelsError: logits that are not finite in fp16 or of the wrong shape; a full disk.
        Stopped: asked to stop; finished shards stay.
    """
    N, K = len(pictures), pictures.data.num_classes
    per_shard = max(1, SHARD_BYTES // (N * K * 2))
    source = {
        "shape": [views, N, K],
        "views_per_shard": per_shard,
        "stream": stream,
        "data_fingerprint": pictures.data.fingerprint,
        **about,
    }
    done_file = folder / "shards.json"
    record = read_json(done_file) if done_file.exists() else {}
    done: dict[str, str] = record["shards"] if record.get("source") == source else {}
    starts = range(0, views, per_shard)
    written = 0
    for number, start in enumerate(tqdm(starts, unit="shard", disable=None, leave=False)):
        name = f"shard-{number:04d}.npy"
        if (folder / name).exists() and done.get(name) == sha256(folder / name):
            continue
        block = []
        for view in range(start, min(start + per_shard, views)):
            if should_stop():
                raise Stopped(
                    f"stopped with {number} of {len(starts)} cache shards written; run the same command again",
                    progressed=written > 0,
                )
            if isinstance(teacher, np.ndarray):
                block.append(_half(teacher, K, N))
            else:
                block.append(_half(view_logits(teacher, pictures, view, stream, augment), K, N))
        before_writing()
        done[name] = save_array(folder / name, np.stack(block))
        write_json(done_file, {"source": source, "shards": done})
        written += 1
    before_writing()
    rows = {
        name: save_array(folder / name, array.cpu().numpy())
        for name, array in (("labels.npy", pictures.labels), ("ids.npy", pictures.ids))
    }
    write_json(
        folder / "manifest.json",
        {
            "kind": "dense",
            "dtype": "float16",
            **source,
            # To be read only: the cache's name already tells versions apart, and whole shards need not be made again.
            "code_versions": {stage: code_version(stage) for stage in CACHE_STAGES},
            "shards": {f"shard-{i:04d}.npy": done[f"shard-{i:04d}.npy"] for i in range(len(starts))},
            "rows": rows,
        },
    )


def _half(logits: NDArray[Any], num_classes: int, num_train: int) -> NDArray[np.float16]:
    if logits.shape != (num_train, num_classes):
        raise SoftlabelsError(
            f"teacher logits have shape {list(logits.shape)}, the data set needs [{num_train}, {num_classes}] "
            "(training images in stored order)"
        )
    with np.errstate(over="ignore"):
        half = logits.astype(np.float16)
    if not np.isfinite(half).all():
        raise SoftlabelsError("teacher logits are not finite in fp16 (|z| > 65504 or NaN); the teacher has diverged")
    return half
