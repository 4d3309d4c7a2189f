"""Images kept as their original files: the bytes of a split end to end, and where each file begins.

Written are `{split}_files.bin`, `{split}_offsets.npy` (int64 `[N + 1]`) and `{split}_sizes.npy` (int32 `[N, 2]`: height
and width, so that a crop can be drawn before anything is decoded). Pixels are never stored; an image is decoded to RGB
whenever it is looked at, whatever its file is (JPEG in CMYK or grey, PNG under another name). The orientation that a
camera notes is not applied, as in torchvision's ImageFolder.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from softlabels.data.source import Ids
from softlabels.errors import DataError
from softlabels.files import atomic

UNDECODABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # what Pillow raises
SAMPLE = 1000  # images of training whose mean and deviation are measured, evenly spaced


def decode(file: Path | bytes) -> Image.Image:
    """An image in RGB, whole.

    Raises:
        UNDECODABLE: one of these.
    """
    with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as opened:
        return opened.convert("RGB")


@dataclass(frozen=True)
class Packed:
    """The files of one split; memory-mapped."""

    content: NDArray[np.uint8]
    offsets: Ids
    sizes: NDArray[np.int32]

    def image(self, position: int) -> Image.Image:
        """An image in RGB (raises as `decode`)."""
        return decode(self.content[self.offsets[position] : self.offsets[position + 1]].tobytes())


def open_packed(folder: Path, split: str) -> Packed:
    """Open what `pack` has written."""
    name = f"{folder}/{split}"
    offsets = np.load(f"{name}_offsets.npy", mmap_mode="r", allow_pickle=False)
    sizes = np.load(f"{name}_sizes.npy", mmap_mode="r", allow_pickle=False)
    content: NDArray[np.uint8] = np.zeros(0, dtype=np.uint8)
    if offsets[-1]:  # an empty file cannot be mapped
        content = np.memmap(f"{name}_files.bin", dtype=np.uint8, mode="r")
    return Packed(content, offsets, sizes)


def measure(files: Sequence[Path], what: str) -> tuple[NDArray[np.int32], dict[int, str]]:
    """Decode every file once, in parallel: sizes int32 `[N, 2]` (height, width), and why some do not decode, by index.

    JPEGs are decoded at an eighth of their size, which reads every byte and is faster.
    """

    def look(file: Path) -> tuple[int, int] | str:
        try:
            with Image.open(file) as opened:
                width, height = opened.size
                opened.draft("RGB", (1, 1))
                opened.load()
                return height, width
        except UNDECODABLE as error:
            return f"{file} ({error})"

    sizes, broken = np.zeros((len(files), 2), dtype=np.int32), {}
    with ThreadPoolExecutor() as pool:
        found = pool.map(look, files)
        for i, answer in enumerate(tqdm(found, desc=f"looking at {what}", total=len(files), unit="file", disable=None)):
            if isinstance(answer, str):
                broken[i] = answer
            else:
                sizes[i] = answer
    return sizes, broken


def refuse(broken: Sequence[str], total: int) -> None:
    """Name and count images that do not decode.

    Raises:
        DataError: there is one.
    """
    if broken:
        raise DataError(
            f"{min(broken)} and {len(broken) - 1} more of {total} images do not decode; replace or remove "
            "them and run again (those of an image folder: or set dataset.undecodable: skip)"
        )


def pack(files: Sequence[Path], sizes: NDArray[np.int32], out: Path, split: str, save: Callable[..., Any]) -> Any:
    """Write one split from its files and their sizes; `save(name, array)` writes an array.

    Returns:
        The manifest's entries, by file name.

    Raises:
        DataError: a file has gone or changed its size since it was looked at.
    """
    lengths = np.array([file.stat().st_size for file in files], dtype=np.int64)
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
    path, digest = out / f"{split}_files.bin", hashlib.sha256()
    with (
        atomic(path) as part,
        open(part, "wb") as handle,
        tqdm(total=int(offsets[-1]), desc=f"packing {split}", unit="B", unit_scale=True, disable=None) as bar,
    ):
        for file, length in zip(files, lengths, strict=True):
            content = file.read_bytes()
            if len(content) != length:
                raise DataError(f"{file} changed while it was packed; run again")
            digest.update(content)
            handle.write(content)
            bar.update(len(content))
    total = int(offsets[-1])
    entry = {"sha256": digest.hexdigest(), "bytes": total, "shape": [total]}
    names = {f"{split}_offsets.npy": offsets, f"{split}_sizes.npy": sizes.astype("<i4")}
    return {path.name: entry, **{name: save(name, array) for name, array in names.items()}}


def moments(files: Sequence[Path]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel on the [0, 1] scale, of at most `SAMPLE` images, evenly spaced; each
    counts the same, however large it is."""

    def of_one(file: Path) -> NDArray[np.float64]:
        pixels = np.asarray(decode(file), dtype=np.float64).reshape(-1, 3) / 255
        return np.stack([pixels.mean(0), (pixels * pixels).mean(0)])

    chosen = [files[i] for i in np.unique(np.linspace(0, len(files) - 1, SAMPLE).round().astype(int))]
    with ThreadPoolExecutor() as pool:
        mean, square = np.mean(list(pool.map(of_one, chosen)), axis=0)
    std = np.sqrt(square - mean * mean)
    return tuple(float(m) for m in mean), tuple(max(float(s), 1e-3) for s in std)
