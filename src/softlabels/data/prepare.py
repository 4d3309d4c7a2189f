"""A data set made ready once: split by index and written as arrays that are memory-mapped ever after.

Written are `{train,val,test}_{images,labels,ids}.npy` (uint8 `[N, C, H, W]`, int64 `[N]`, int64 `[N]`: the index in
the original order of the split an example comes from) and, last of all, `manifest.json`. Where original files are
kept, `data/packed.py` says what takes the place of the images.

Sources with fewer than three splits are divided so:
* `test` is the source's own, else its `val` (ImageNet), else a stratified 15 % of training (seed 0, whatever
  `split_seed` says);
* `val` is the holdout from training, except that an image folder with `val/` and `test/` uses its own `val/` unless
  `dataset.holdout` is given.
"""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softlabels.data import glyphs, packed
from softlabels.data.download import locked
from softlabels.data.folders import fingerprint_folder, read_cub, read_folder, read_tiny_imagenet
from softlabels.data.load import SPLITS, damaged
from softlabels.data.official import find_official, read_cifar, read_mnist, read_official
from softlabels.data.source import BLOCK, Ids, OriginalSplits, Split, divide, in_memory, read_digits, take_stratified
from softlabels.data.unpack import unpack, unpacked
from softlabels.errors import DataError
from softlabels.files import atomic, canonical_json, read_json, sha256, write_json
from softlabels.grid.declared.datasets import holdout_count, identity_of, info, sizes
from softlabels.grid.spec import DatasetSpec, to_dict

TEST_SHARE = 0.15  # of an image folder that has neither val/ nor test/


def prepare(
    spec: DatasetSpec, out: Path, *, root: Path | None = None, mirror: str | None = None, download: bool = False
) -> dict[str, Any]:
    """Write the arrays and the manifest of a data set to `out`; nothing to do when they are there and whole.

    Args:
        spec: the data set and its split.
        out: folder of the prepared data.
        root: where official files lie or are downloaded to; None: `raw/` beside `out`.
        mirror: URL that replaces the official addresses.
        download: whether missing official files are fetched.

    Returns:
        The manifest.

    Raises:
        SpecError: unknown name, holdout or limit larger than the training set.
        DataError: files missing, damaged, or not what the spec declares; `out` holds another data set.
    """
    declared, expected, identity = info(spec), sizes(spec), identity_of(spec)
    with locked(out / ".lock"):
        path = out / "manifest.json"
        if path.exists():
            manifest: dict[str, Any] = read_json(path)
            if manifest.get("identity") != identity:
                raise DataError(
                    f"{out} holds other data ({manifest.get('identity')}); delete it or choose another folder"
                )
            if not damaged(out, manifest):
                return manifest
            path.unlink()
        for left in out.glob(".*.part"):  # of a killed attempt; the lock says nobody else writes here
            left.unlink()
        scratch = out / ".unpacked"
        shutil.rmtree(scratch, ignore_errors=True)
        try:
            source = _source(spec, root or out.parent / "raw", mirror, download, scratch)
            if len(source.class_names) != declared.num_classes:
                raise DataError(
                    f"dataset {spec.path or spec.name} has {len(source.class_names)} classes, "
                    f"declared are {declared.num_classes}: set dataset.num_classes"
                )
            skipped: dict[str, list[str]] = {}
            if spec.undecodable == "skip":
                source, skipped = _without_broken(source)
            chosen = _choose(spec, source)
            counts = {split: len(ids) for split, (_, ids) in chosen.items()}
            for split, count in expected.items():
                if count is not None and counts[split] != count:
                    given = "dataset.train_limit" if spec.train_limit else "dataset.train_size"
                    key = given if spec.name == "folder" else "the declared size"
                    raise DataError(
                        f"dataset {spec.path or spec.name} has {counts[split]} {split} images, {key} says {count}"
                    )
            arrays: dict[str, dict[str, Any]] = {}
            mean, std = declared.mean, declared.std
            if spec.keeps_files:
                arrays |= _pack(chosen, out)
                if mean is None or std is None:
                    part, ids = chosen["train"]
                    mean, std = packed.moments([part.files[i] for i in ids])
            for split, (part, ids) in chosen.items():
                if part.read is not None:
                    shape = (len(ids), *declared.shape)
                    arrays[f"{split}_images.npy"] = _write(out / f"{split}_images.npy", "|u1", shape, part.read(ids))
                for kind, values in (("labels", part.labels[ids]), ("ids", ids)):
                    name = f"{split}_{kind}.npy"
                    arrays[name] = _write(out / name, "<i8", (len(ids),), [values.astype("<i8")])
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        if mean is None or std is None:
            mean, std = moments(np.load(out / "train_images.npy", mmap_mode="r", allow_pickle=False))
        manifest = {
            "spec": to_dict(spec),
            "identity": identity,
            "sizes": counts,
            "num_classes": declared.num_classes,
            "shape": list(declared.shape),
            "class_names": list(source.class_names),
            "mean": list(mean),
            "std": list(std),
            **({"keep": "files"} if spec.keeps_files else {}),
            **({"skipped": skipped} if spec.undecodable == "skip" else {}),
            "arrays": arrays,
            "fingerprint": hashlib.sha256(
                canonical_json({name: array["sha256"] for name, array in arrays.items()}).encode()
            ).hexdigest(),
        }
        write_json(path, manifest)
        return manifest


FOLDERS: dict[str, tuple[Callable[[Path], OriginalSplits], str, str]] = {
    "cub200_2011": (read_cub, "CUB_200_2011", "images.txt"),
    "tiny_imagenet": (read_tiny_imagenet, "tiny-imagenet-200", "wnids.txt"),
}
"""Archives of folders: their reader, the folder inside, and a file that tells it."""


def _source(spec: DatasetSpec, root: Path, mirror: str | None, download: bool, scratch: Path) -> OriginalSplits:
    """The reader of a spec's data set; an archive of an image folder is unpacked into `scratch`."""
    declared = info(spec)
    names = declared.class_names or ()
    if spec.name == "digits":
        train, test = read_digits()
        return OriginalSplits(train, None, test, names)
    if spec.name == "glyphs":
        train = in_memory(*glyphs.generate(0, glyphs.TRAIN))
        test = in_memory(*glyphs.generate(glyphs.TRAIN, glyphs.TEST))
        return OriginalSplits(train, None, test, names)
    if spec.name in FOLDERS:
        read, folder, listing = FOLDERS[spec.name]
        for place in (root / spec.name, root / spec.name / folder, root / folder):
            if (place / listing).is_file():
                return read(place)
        (archives,) = find_official(spec.name, declared, root, mirror=mirror, fetch=download).values()
        return read(unpacked(archives, declared, scratch))
    if declared.files:
        contents = read_official(spec.name, declared, root, mirror=mirror, fetch=download)
        train, test = read_mnist(contents) if spec.name == "mnist" else read_cifar(contents, declared.num_classes)
        return OriginalSplits(train, None, test, names)
    path = root / spec.name if spec.path is None else Path(spec.path).expanduser()
    if not path.exists():
        key = "data.root in config.yaml" if spec.path is None else "dataset.path"
        raise DataError(f"{path} does not exist: put the images at {path}/train/<class>/, {path}/val/<class>/ ({key})")
    if path.is_file():
        unpack(path, scratch)
        path = scratch
    if spec.sha256 is not None and (found := fingerprint_folder(path)) != spec.sha256:
        raise DataError(f"{spec.path} has fingerprint {found}, dataset.sha256 declares {spec.sha256}")
    return read_folder(path, None if spec.keeps_files else declared.shape[1])


def _without_broken(source: OriginalSplits) -> tuple[OriginalSplits, dict[str, list[str]]]:
    """The source with only those images to choose that decode, and the others by split.

    Raises:
        DataError: none of a class of training is left.
    """
    splits: dict[str, Any] = {}
    skipped: dict[str, list[str]] = {}
    for name in SPLITS:
        split: Split | None = getattr(source, name)
        if split is None:
            continue
        sizes, broken = packed.measure(split.files, name)
        usable = ~np.isin(np.arange(len(split.files)), list(broken))
        splits[name] = dataclasses.replace(split, usable=usable, sizes=sizes)
        skipped[name] = ["/".join(split.files[i].parts[-2:]) for i in sorted(broken)]
        if broken:
            print(
                f"skipped: {len(broken)} of {len(split.files)} {name} images do not decode, as {min(broken.values())}"
            )
    gone = set(source.train.labels) - set(source.train.labels[splits["train"].pool])
    if gone:
        raise DataError(f"no image of class {source.class_names[min(gone)]} decodes; fill or remove its folder")
    return dataclasses.replace(source, **splits), skipped


def _pack(chosen: dict[str, tuple[Split, Ids]], out: Path) -> dict[str, dict[str, Any]]:
    """The chosen files of each split, after all have been looked at; their entries in the manifest.

    Raises:
        DataError: some do not decode.
    """
    files = {split: [part.files[i] for i in ids] for split, (part, ids) in chosen.items()}
    sizes: dict[str, NDArray[np.int32]] = {}
    broken: list[str] = []
    for split, (part, ids) in chosen.items():
        if part.sizes is not None:
            sizes[split] = part.sizes[ids]
            continue
        sizes[split], found = packed.measure(files[split], split)
        broken += found.values()
    packed.refuse(broken, sum(map(len, files.values())))

    def save(name: str, array: NDArray[Any]) -> dict[str, Any]:
        return _write(out / name, array.dtype.str, array.shape, [array])

    arrays: dict[str, dict[str, Any]] = {}
    for split, paths in files.items():
        arrays |= packed.pack(paths, sizes[split], out, split, save)
    return arrays


def _choose(spec: DatasetSpec, source: OriginalSplits) -> dict[str, tuple[Split, Ids]]:
    """For each of train, val, test: the source's split and the examples taken from it (see the module's docstring)."""
    train, val, test = source.train, source.val, source.test
    if test is None:
        val, test = None, val
    pool = train.pool
    chosen: dict[str, tuple[Split, Ids]] = {}
    if test is None:
        count = holdout_count(TEST_SHARE, len(pool))
        mask = take_stratified(train.labels[pool], count, seed=0, purpose="test")
        chosen["test"], pool = (train, pool[mask]), pool[~mask]
    else:
        chosen["test"] = (test, test.pool)
    own_val = val is not None and spec.holdout is None
    holdout = 0 if own_val else holdout_count(info(spec).holdout if spec.holdout is None else spec.holdout, len(pool))
    limit = None if spec.train_limit is None else min(spec.train_limit, len(pool) - holdout)
    kept, held = divide(train.labels[pool], holdout, rule=spec.split, seed=spec.split_seed, limit=limit)
    chosen["train"] = (train, pool[kept])
    chosen["val"] = (val, val.pool) if val is not None and own_val else (train, pool[held])
    return {name: chosen[name] for name in SPLITS}


def _write(path: Path, dtype: str, shape: tuple[int, ...], blocks: Iterable[NDArray[Any]]) -> dict[str, Any]:
    """Stream blocks into a `.npy` file (an ImageNet does not fit into memory); its entry in the manifest."""
    with atomic(path) as part, open(part, "wb") as handle:
        np.lib.format.write_array_header_2_0(handle, {"descr": dtype, "fortran_order": False, "shape": shape})
        for block in blocks:
            handle.write(np.ascontiguousarray(block).data)
    return {"sha256": sha256(path), "bytes": path.stat().st_size, "shape": list(shape)}


def moments(images: NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of `[N, C, H, W]`, on the [0, 1] scale."""
    count = images.size // images.shape[1]
    total = np.zeros(images.shape[1], dtype=np.int64)
    squares = np.zeros(images.shape[1], dtype=np.int64)
    for start in range(0, len(images), BLOCK):
        block = images[start : start + BLOCK].astype(np.int64)
        total += block.sum(axis=(0, 2, 3))
        squares += (block * block).sum(axis=(0, 2, 3))
    mean = total / count
    std = np.sqrt(squares / count - mean * mean)
    return tuple(float(m) / 255 for m in mean), tuple(max(float(s) / 255, 1e-3) for s in std)
