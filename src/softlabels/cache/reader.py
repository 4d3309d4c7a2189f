"""Read cached logits: memory-mapped, verified once, then a gather per batch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from softlabels.cache.writer import TeacherNetwork, logits_at, logits_of
from softlabels.errors import SoftlabelsError
from softlabels.files import read_json, sha256
from softlabels.grid.recipe import Augment
from softlabels.staging import staged
from softlabels.training.pictures import Pictures

FP16_TOLERANCE = 2e-3  # relative to the largest logit: rounding to fp16 and another batch's summation order


def require_whole(folder: Path, checksums: Mapping[str, str]) -> None:
    """Compare the files of a cache, of pictures or of text, with their checksums.

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
        SoftlabelsError: a missing, truncated or changed file (it is named), rows of other pictures, another origin.
    """

    def __init__(
        self, folder: Path, pictures: Pictures, origin: dict[str, Any] | None = None, stage: Path | None = None
    ) -> None:
        self.folder = folder
        self.manifest: dict[str, Any] = read_json(folder / "manifest.json")
        self.stream = int(self.manifest["stream"])
        self.num_views, N, K = (int(n) for n in self.manifest["shape"])
        self._per_shard = int(self.manifest["views_per_shard"])
        self._device = pictures.device
        for key, value in {"data_fingerprint": pictures.data.fingerprint, **(origin or {})}.items():
            if self.manifest.get(key) != value:
                raise SoftlabelsError(
                    f"{folder / 'manifest.json'}: {key} is {self.manifest.get(key)}, the student needs {value}: "
                    f"the cache is stale; delete {folder} and run again"
                )
        if (len(pictures), pictures.data.num_classes) != (N, K):
            raise SoftlabelsError(
                f"{folder} holds logits of {N} pictures and {K} classes, the data set has {len(pictures)} and "
                f"{pictures.data.num_classes}; delete the folder and run again"
            )
        checksums = {**self.manifest["shards"], **self.manifest["rows"]}
        files = staged(folder, checksums, stage)
        if files == folder:  # copies have been checked
            require_whole(folder, checksums)
        for name, ours in (("labels.npy", pictures.labels), ("ids.npy", pictures.ids)):
            if not np.array_equal(np.load(files / name, allow_pickle=False), ours.cpu().numpy()):
                raise SoftlabelsError(
                    f"{folder / name} lists other pictures than the data set; delete {folder} and run again"
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

    def rows(self, positions: Tensor, epochs: Tensor, pictures: Tensor) -> Tensor:
        """fp32 logits `[B, K]`; the pictures themselves are not needed."""
        where, which = positions.cpu().numpy(), self.views(epochs).cpu().numpy()
        out = np.empty((len(where), self.manifest["shape"][2]), dtype=np.float16)
        for view in np.unique(which):  # a batch touches one epoch, two where it straddles them
            here = which == view
            out[here] = self.view(int(view))[where[here]]
        return torch.from_numpy(out).to(self._device, non_blocking=True).float()

    def check(self, teacher: TeacherNetwork, pictures: Pictures, augment: Augment, count: int, seed: int = 0) -> float:
        """`check_logits`: recompute `count` random rows; returns the largest difference ÷ largest |logit|.

        Raises:
            SoftlabelsError: a difference beyond fp16 rounding.
        """
        generator = np.random.default_rng(seed)
        worst, where = 0.0, 0
        for view in generator.integers(0, self.num_views, size=min(4, self.num_views)):
            positions = torch.from_numpy(generator.integers(0, len(pictures), size=count)).to(pictures.device)
            fresh = logits_at(teacher, pictures, positions, int(view), self.stream, augment)
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
    """No cache: the teacher looks at each of the student's pictures."""

    def __init__(self, teacher: TeacherNetwork, pictures: Pictures, stream: int, num_views: int) -> None:
        self._teacher, self._pictures, self.stream, self.num_views = teacher, pictures, stream, num_views
        teacher.network.eval()

    @property
    def network(self) -> torch.nn.Module:
        """The teacher."""
        return self._teacher.network

    def views(self, epochs: Tensor) -> Tensor:
        """view = epoch mod views, as with a cache."""
        return epochs % self.num_views

    def rows(self, positions: Tensor, epochs: Tensor, pictures: Tensor) -> Tensor:
        """fp32 logits `[B, K]` of these very pictures."""
        return logits_of(self._teacher, self._pictures, pictures)
