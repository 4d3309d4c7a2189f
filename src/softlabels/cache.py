"""The logits of a teacher on the views that its students see, on disk: written, then memory-mapped.

A cache folder holds `shard-0000.npy`, … (fp16 `[views in shard, N, K]`), `labels.npy`, `ids.npy` `[N]` and, last of
all, `manifest.json` with the SHA-256 of each file. `shards.json` records what is already done and from what, so an
interrupted write goes on where it was, a damaged shard is made again alone, and another teacher's are not reused. A
student checks the files once and gathers rows for each batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from softlabels.errors import SoftlabelsError, Stopped
from softlabels.files import atomic, read_json, sha256, write_json
from softlabels.grid.parts.recipe import Augment, Normalise, Precision
from softlabels.grid.tasks.image import CACHE_STAGES
from softlabels.staging import staged
from softlabels.training.images import ImageSplit, forward
from softlabels.versions import code_version

SHARD_BYTES = 256 << 20


@dataclass(frozen=True)
class TeacherNetwork:
    """A trained network and how its images are prepared."""

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
    images: ImageSplit,
    view: int,
    augment_seed: int,
    augment: Augment,
) -> NDArray[np.float32]:
    """Logits `[N, K]` of one view of every image."""
    teacher.network.eval()
    rows = [logits_of(teacher, images, x) for x in images.passes(view, augment_seed, augment)]
    return torch.cat(rows).cpu().numpy()


def logits_at(
    teacher: TeacherNetwork,
    images: ImageSplit,
    positions: torch.Tensor,
    view: int,
    augment_seed: int,
    augment: Augment,
) -> torch.Tensor:
    """fp32 logits `[B, K]` of one view of the images at `positions`; the network is in eval mode."""
    teacher.network.eval()
    return logits_of(teacher, images, images.view(positions, torch.full_like(positions, view), augment_seed, augment))


def logits_of(
    teacher: TeacherNetwork, images: ImageSplit, x: torch.Tensor, part: torch.nn.Module | None = None
) -> torch.Tensor:
    """fp32 logits `[B, K]` of images in 0–255, or what a part of the network gives, in the mode that it is in."""
    network = teacher.network if part is None else part
    return forward(network, images.to_input(x, teacher.normalise), teacher.precision).float()


def write_cache(
    folder: Path,
    teacher: TeacherNetwork | NDArray[Any],
    images: ImageSplit,
    *,
    views: int,
    augment_seed: int,
    augment: Augment,
    about: dict[str, Any],
    agreement: Mapping[str, Any] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    before_writing: Callable[[], None] = lambda: None,
) -> None:
    """Fill `folder` with the logits of `views` views; `about` (teacher, …) goes into the manifest, and the teacher's
    `agreement` with the labels.

    `teacher` is a network, or the user's own logits `[N, K]` (then views = 1).

    Raises:
        SoftlabelsError: logits that are not finite in fp16 or of the wrong shape; a full disk.
        Stopped: asked to stop; finished shards stay.
    """
    N, K = len(images), images.data.num_classes
    per_shard = max(1, SHARD_BYTES // (N * K * 2))
    source = {
        "shape": [views, N, K],
        "views_per_shard": per_shard,
        "stream": augment_seed,
        "data_fingerprint": images.data.fingerprint,
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
                block.append(_half(view_logits(teacher, images, view, augment_seed, augment), K, N))
        before_writing()
        done[name] = save_array(folder / name, np.stack(block))
        write_json(done_file, {"source": source, "shards": done})
        written += 1
    before_writing()
    rows = {
        name: save_array(folder / name, array.cpu().numpy())
        for name, array in (("labels.npy", images.labels), ("ids.npy", images.ids))
    }
    write_json(
        folder / "manifest.json",
        {
            "kind": "dense",
            "dtype": "float16",
            **source,
            "agreement": agreement,
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


FP16_TOLERANCE = 2e-3  # relative to the largest logit: rounding to fp16 and another batch's summation order


def require_whole(folder: Path, checksums: Mapping[str, str]) -> None:
    """Compare the files of a cache, of images or of text, with their checksums.

    Raises:
        SoftlabelsError: a file is missing or has changed; it is named.
    """
    for name, digest in checksums.items():
        path = folder / name
        if not path.exists() or sha256(path) != digest:
            state = "is missing" if not path.exists() else "has changed since it was written"
            raise SoftlabelsError(
                f"cache file {path} {state}; delete {folder / 'manifest.json'} and run again, "
                "which remakes only this file"
            )


class CachedLogits:
    """The teacher's logits for a student; `rows` gathers `[B, K]` for (position, view = epoch mod views).

    `origin` is what the manifest must say of where the logits come from. With `stage`, the files are read from copies
    in that folder on a local disk.

    Raises:
        SoftlabelsError: a missing, truncated or changed file (it is named), rows of other images, another origin.
    """

    def __init__(
        self, folder: Path, images: ImageSplit, origin: dict[str, Any] | None = None, stage: Path | None = None
    ) -> None:
        self.folder = folder
        self.manifest: dict[str, Any] = read_json(folder / "manifest.json")
        self.augment_seed = int(self.manifest["stream"])
        self.num_views, N, K = (int(n) for n in self.manifest["shape"])
        self._per_shard = int(self.manifest["views_per_shard"])
        self._device = images.device
        for key, value in {"data_fingerprint": images.data.fingerprint, **(origin or {})}.items():
            if self.manifest.get(key) != value:
                raise SoftlabelsError(
                    f"{folder / 'manifest.json'}: {key} is {self.manifest.get(key)}, the student needs {value}: "
                    f"the cache is stale; delete {folder} and run again"
                )
        if (len(images), images.data.num_classes) != (N, K):
            raise SoftlabelsError(
                f"{folder} holds logits of {N} images and {K} classes, the data set has {len(images)} and "
                f"{images.data.num_classes}; delete the folder and run again"
            )
        checksums = {**self.manifest["shards"], **self.manifest["rows"]}
        files = staged(folder, checksums, stage)
        if files == folder:  # copies have been checked
            require_whole(folder, checksums)
        for name, ours in (("labels.npy", images.labels), ("ids.npy", images.ids)):
            if not np.array_equal(np.load(files / name, allow_pickle=False), ours.cpu().numpy()):
                raise SoftlabelsError(
                    f"{folder / name} lists other images than the data set; delete {folder} and run again"
                )
        self._shards: list[NDArray[np.float16]] = [
            np.load(files / name, mmap_mode="r", allow_pickle=False) for name in sorted(self.manifest["shards"])
        ]

    def views(self, epochs: Tensor) -> Tensor:
        """view = epoch mod views."""
        return torch.remainder(epochs, self.num_views)

    def view(self, number: int) -> NDArray[np.float16]:
        """One view of all training images `[N, K]`, memory-mapped."""
        shard, offset = divmod(number, self._per_shard)
        logits: NDArray[np.float16] = self._shards[shard][offset]
        return logits

    def rows(self, positions: Tensor, epochs: Tensor, images: Tensor) -> Tensor:
        """fp32 logits `[B, K]`; the images themselves are not needed."""
        where, which = positions.cpu().numpy(), self.views(epochs).cpu().numpy()
        out = np.empty((len(where), self.manifest["shape"][2]), dtype=np.float16)
        for view in np.unique(which):  # a batch touches one epoch, two where it straddles them
            here = which == view
            out[here] = self.view(int(view))[where[here]]
        return torch.from_numpy(out).to(self._device, non_blocking=True).float()

    def check(self, teacher: TeacherNetwork, images: ImageSplit, augment: Augment, count: int, seed: int = 0) -> float:
        """`check_logits`: recompute `count` random rows; returns the largest difference ÷ largest |logit|.

        Raises:
            SoftlabelsError: a difference beyond fp16 rounding.
        """
        generator = np.random.default_rng(seed)
        worst, where = 0.0, 0
        for view in generator.integers(0, self.num_views, size=min(4, self.num_views)):
            positions = torch.from_numpy(generator.integers(0, len(images), size=count)).to(images.device)
            fresh = logits_at(teacher, images, positions, int(view), self.augment_seed, augment)
            stored = self.rows(positions, torch.full_like(positions, int(view)), fresh)
            difference = ((fresh - stored).abs().max() / fresh.abs().max().clamp_min(1e-6)).item()
            if not difference <= worst:  # larger, or NaN
                worst, where = difference, int(view)
            if not worst <= FP16_TOLERANCE:
                break
        if not worst <= FP16_TOLERANCE:
            raise SoftlabelsError(
                f"logits in {self.folder} differ from the teacher's by {worst:.2g} of the largest (view {where}): "
                "the cache is stale; delete the folder and run again"
            )
        return worst


class OnlineTeacher:
    """No cache: the teacher looks at each of the student's images."""

    def __init__(self, teacher: TeacherNetwork, images: ImageSplit, augment_seed: int, num_views: int) -> None:
        self.teacher, self._images, self.augment_seed, self.num_views = teacher, images, augment_seed, num_views
        teacher.network.eval()

    @property
    def network(self) -> torch.nn.Module:
        """The teacher's."""
        return self.teacher.network

    def views(self, epochs: Tensor) -> Tensor:
        """view = epoch mod views, as with a cache."""
        return epochs % self.num_views

    def rows(self, positions: Tensor, epochs: Tensor, images: Tensor) -> Tensor:
        """fp32 logits `[B, K]` of these very images."""
        return logits_of(self.teacher, self._images, images)
