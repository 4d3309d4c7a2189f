"""Official files: idx and CIFAR records, found in any usual place, refused when damaged."""

import dataclasses
import gzip
import hashlib
import io
import struct
import tarfile

import numpy as np
import pytest
from refusals import refused

from softlabels.data.load import open_data
from softlabels.data.official import parse_idx, parse_records
from softlabels.data.prepare import prepare
from softlabels.errors import DataError
from softlabels.grid.declared.datasets import DATASETS, RemoteFile
from softlabels.grid.spec import DatasetSpec

RNG = np.random.default_rng(0)


def idx(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def remote(name, data, contents):
    digests = tuple((inner, hashlib.sha256(raw).hexdigest()) for inner, raw in contents.items())
    return RemoteFile(name, f"http://127.0.0.1:9/{name}", hashlib.sha256(data).hexdigest(), len(data), digests)


@pytest.fixture
def mnist(tmp_path, monkeypatch):
    """A small MNIST: its arrays, and the four gz files below tmp_path/root/mnist."""
    folder = tmp_path / "root" / "mnist"
    folder.mkdir(parents=True)
    arrays, files = {}, []
    for prefix, count in (("train", 40), ("t10k", 20)):
        arrays[f"{prefix}-images-idx3-ubyte"] = RNG.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        arrays[f"{prefix}-labels-idx1-ubyte"] = np.arange(count, dtype=np.uint8) % 10
    for name, array in arrays.items():
        raw = idx(array)
        packed = gzip.compress(raw)
        (folder / f"{name}.gz").write_bytes(packed)
        files.append(remote(f"{name}.gz", packed, {name: raw}))
    small = dataclasses.replace(DATASETS["mnist"], train_size=40, test_size=20, files=tuple(files))
    monkeypatch.setitem(DATASETS, "mnist", small)
    return folder, arrays


def test_mnist_from_gz(mnist, tmp_path):
    folder, arrays = mnist
    prepare(DatasetSpec("mnist"), tmp_path / "out", root=folder.parent)
    data = open_data(tmp_path / "out")
    assert np.array_equal(data.images("test")[:, 0], arrays["t10k-images-idx3-ubyte"])
    assert np.array_equal(data.images("train")[:, 0], arrays["train-images-idx3-ubyte"][data.ids("train")])
    assert np.array_equal(data.labels("train"), arrays["train-labels-idx1-ubyte"][data.ids("train")])
    assert len(data.labels("val")) == 4


def test_mnist_unpacked_or_compressed_anew_is_the_same_data(mnist, tmp_path):
    folder, _ = mnist
    first = prepare(DatasetSpec("mnist"), tmp_path / "gz", root=folder.parent)
    for i, path in enumerate(sorted(folder.glob("*.gz"))):
        raw = gzip.decompress(path.read_bytes())
        path.unlink()
        if i % 2:
            path.write_bytes(gzip.compress(raw, compresslevel=1, mtime=1))
        else:
            path.with_suffix("").write_bytes(raw)
    again = prepare(DatasetSpec("mnist"), tmp_path / "plain", root=folder)  # root itself may be the folder
    assert again == first


@pytest.mark.parametrize("damage", ["truncate", "flip", "garbage"])
def test_damaged_mnist_file_is_named(damage, mnist, tmp_path):
    path = mnist[0] / "t10k-images-idx3-ubyte.gz"
    raw = path.read_bytes()
    if damage == "truncate":
        path.write_bytes(raw[:-20])
    elif damage == "flip":
        inner = bytearray(gzip.decompress(raw))
        inner[-1] ^= 1
        path.write_bytes(gzip.compress(inner))
    else:
        path.write_bytes(b"<html>not found</html>")
    with refused(DataError, "t10k-images-idx3-ubyte"):
        prepare(DatasetSpec("mnist"), tmp_path / "out", root=mnist[0].parent)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_missing_files_say_what_to_put_where(mnist, tmp_path):
    (mnist[0] / "train-labels-idx1-ubyte.gz").unlink()
    with refused(DataError, "train-labels-idx1-ubyte.gz", "root/mnist", "data.root", "data.download"):
        prepare(DatasetSpec("mnist"), tmp_path / "out", root=mnist[0].parent)


def test_idx_refuses_wrong_magic_and_truncation():
    array = RNG.integers(0, 256, (3, 4, 5), dtype=np.uint8)
    good = idx(array)
    assert np.array_equal(parse_idx(good, 3, "x"), array)
    with refused(DataError, "images"):
        parse_idx(b"\0\0\x0d\3" + good[4:], 3, "images")
    with refused(DataError, "labels"):
        parse_idx(good, 1, "labels")
    for cut in (5, 16, len(good) - 1):
        with refused(DataError, "images"):
            parse_idx(good[:cut], 3, "images")


def cifar(monkeypatch, name, train, test, label_bytes):
    """Register a small CIFAR of random images; returns (records by file, the archive's bytes)."""
    contents, stream = {}, io.BytesIO()
    for file, count in (*train.items(), *test.items()):
        records = RNG.integers(0, 256, (count, label_bytes + 3072), dtype=np.uint8)
        records[:, 0] = 7  # overwritten for CIFAR-10; the coarse label of CIFAR-100
        records[:, label_bytes - 1] = np.arange(count) % DATASETS[name].num_classes
        contents[file] = records
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for file, records in contents.items():
            member = tarfile.TarInfo(f"some-folder/{file}")
            member.size = records.nbytes
            tar.addfile(member, io.BytesIO(records.tobytes()))
    archive = stream.getvalue()
    official = remote(DATASETS[name].files[0].name, archive, {f: r.tobytes() for f, r in contents.items()})
    small = dataclasses.replace(
        DATASETS[name], train_size=sum(train.values()), test_size=sum(test.values()), holdout=0.2, files=(official,)
    )
    monkeypatch.setitem(DATASETS, name, small)
    return contents, archive


@pytest.mark.parametrize("place", ["archive", "unpacked"])
@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar(name, place, tmp_path, monkeypatch):
    if name == "cifar10":
        train, test, label_bytes = {f"data_batch_{i}.bin": 20 for i in range(1, 6)}, {"test_batch.bin": 20}, 1
    else:
        train, test, label_bytes = {"train.bin": 200}, {"test.bin": 100}, 2
    contents, archive = cifar(monkeypatch, name, train, test, label_bytes)
    folder = tmp_path / "root" / name
    folder.mkdir(parents=True)
    if place == "archive":
        (folder / DATASETS[name].files[0].name).write_bytes(archive)
    else:
        (folder / "batches").mkdir()
        for file, records in contents.items():
            (folder / "batches" / file).write_bytes(records.tobytes())
    prepare(DatasetSpec(name), tmp_path / "out", root=folder.parent)
    data = open_data(tmp_path / "out")
    records = np.concatenate([contents[file] for file in train])[data.ids("train")]
    assert np.array_equal(data.images("train").reshape(len(records), -1), records[:, label_bytes:])
    assert np.array_equal(data.labels("train"), records[:, label_bytes - 1])
    assert len(data.labels("val")) == 0.2 * sum(train.values())


def test_truncated_cifar_is_named(tmp_path, monkeypatch):
    _, archive = cifar(monkeypatch, "cifar100", {"train.bin": 200}, {"test.bin": 100}, 2)
    path = tmp_path / "cifar-100-binary.tar.gz"
    path.write_bytes(archive[:-1000])
    with refused(DataError, "cifar-100-binary.tar.gz"):
        prepare(DatasetSpec("cifar100"), tmp_path / "out", root=tmp_path)
    with refused(DataError, "test.bin"):
        parse_records(b"\0" * 4000, 2, "test.bin")
