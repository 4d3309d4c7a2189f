"""Images kept as files: packed as they are, refused or skipped where they do not decode."""

from __future__ import annotations

import dataclasses
import io
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import noise, write_jpegs
from PIL import Image
from refusals import refused

from softlabels.data.load import open_data, verify
from softlabels.data.prepare import prepare
from softlabels.errors import DataError
from softlabels.files import sha256
from softlabels.grid.declared.datasets import DATASETS
from softlabels.grid.spec import DatasetSpec

SPLITS = ("train", "val", "test")


def spec(folder: Path, **options: Any) -> DatasetSpec:
    return DatasetSpec("folder", path=str(folder), num_classes=2, keep="files", **options)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    write_jpegs(tmp_path / "p", {"train": 10, "test": 4})
    return tmp_path / "p"


def originals(folder: Path, split: str) -> list[Path]:
    return sorted((folder / split).rglob("*.jpg"))


def test_files_are_kept_byte_by_byte(images: Path, tmp_path: Path) -> None:
    manifest = prepare(spec(images, train_size=18), tmp_path / "out")
    data = open_data(tmp_path / "out")
    assert manifest["sizes"] == {"train": 18, "val": 2, "test": 8}
    assert data.keeps_files
    assert data.shape == (3, 0, 0)
    for split in SPLITS:
        source = originals(images, "test" if split == "test" else "train")
        files = data.files(split)
        for position, i in enumerate(data.ids(split)):
            begin, end = files.offsets[position : position + 2]
            assert files.content[begin:end].tobytes() == source[i].read_bytes()
            assert data.class_names[data.labels(split)[position]] == source[i].parent.name
            image = Image.open(source[i])
            assert tuple(files.sizes[position]) == (image.height, image.width)
            np.testing.assert_array_equal(np.asarray(files.image(position)), np.asarray(image))
    chosen = [originals(images, "train")[i] for i in data.ids("train")]
    pixels = [np.asarray(Image.open(file)).reshape(-1, 3) / 255 for file in chosen]
    mean = np.mean([p.mean(0) for p in pixels], axis=0)  # each image counts the same
    assert data.mean == pytest.approx(mean)
    assert data.std == pytest.approx(np.sqrt(np.mean([(p * p).mean(0) for p in pixels], axis=0) - mean**2))
    verify(tmp_path / "out")
    before = (tmp_path / "out" / "train_files.bin").stat().st_mtime_ns
    assert prepare(spec(images, train_size=18), tmp_path / "out") == manifest
    assert (tmp_path / "out" / "train_files.bin").stat().st_mtime_ns == before


def test_a_folder_as_files_is_split_as_one_of_arrays(images: Path, tmp_path: Path) -> None:
    prepare(spec(images), tmp_path / "files")
    prepare(DatasetSpec("folder", path=str(images), num_classes=2, image_size=8), tmp_path / "arrays")
    files, arrays = open_data(tmp_path / "files"), open_data(tmp_path / "arrays")
    for split in SPLITS:
        np.testing.assert_array_equal(files.ids(split), arrays.ids(split))
        np.testing.assert_array_equal(files.labels(split), arrays.labels(split))
    assert files.fingerprint != arrays.fingerprint


def test_every_kind_of_file_becomes_rgb(images: Path, tmp_path: Path) -> None:
    """ImageNet has a JPEG in CMYK and a PNG named .JPEG; CUB has grey ones."""
    ant = images / "train" / "ant"
    noise((20, 30), 1).convert("CMYK").save(ant / "000.jpg")
    noise((20, 30), 1).save(ant / "001.jpg", "PNG")
    noise((20, 30), 1).convert("L").save(ant / "002.jpg")
    noise((20, 30), 1).convert("P").save(ant / "003.jpg", "GIF")
    prepare(spec(images, holdout=0), tmp_path / "out")
    files = open_data(tmp_path / "out").files("train")
    found = [files.image(i) for i in range(4)]
    assert [(p.mode, p.size) for p in found] == [("RGB", (30, 20))] * 4
    original = np.asarray(noise((20, 30), 1), dtype=int)
    assert np.abs(np.asarray(found[0], dtype=int) - original).mean() < 20  # CMYK, lossy, and not inverted
    np.testing.assert_array_equal(np.asarray(found[1]), original)
    assert np.ptp(np.asarray(found[2]), axis=2).max() == 0


def spoil(folder: Path) -> None:
    """Two images of training, one of test: cut short, a text, empty."""
    short = folder / "train" / "ant" / "003.jpg"
    short.write_bytes(short.read_bytes()[: short.stat().st_size // 2])
    (folder / "train" / "cat" / "001.jpg").write_text("no image")
    (folder / "test" / "cat" / "002.jpg").write_bytes(b"")


def test_images_that_do_not_decode_are_named_and_counted(images: Path, tmp_path: Path) -> None:
    spoil(images)
    with refused(DataError, "cat/002.jpg"):
        prepare(spec(images), tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert list((tmp_path / "out").glob("*files*")) == []


def test_or_they_are_skipped_and_listed(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = prepare(spec(images, holdout=0), tmp_path / "good")
    spoil(images)
    options = {"holdout": 0, "undecodable": "skip"}
    manifest = prepare(spec(images, train_size=18, **options), tmp_path / "out")
    assert manifest["sizes"] == {"train": 18, "val": 0, "test": 7}
    assert manifest["skipped"] == {"train": ["ant/003.jpg", "cat/001.jpg"], "test": ["cat/002.jpg"]}
    assert "2 of 20 train images do not decode, as " in capsys.readouterr().out
    assert good["sizes"]["train"] == 20
    data = open_data(tmp_path / "out")
    assert data.ids("train").tolist() == [i for i in range(20) if i not in (3, 11)]  # the others keep their ids
    for position, i in enumerate(data.ids("train")):
        wanted = Image.open(originals(images, "train")[i])
        np.testing.assert_array_equal(np.asarray(data.files("train").image(position)), np.asarray(wanted))
    with refused(DataError, "dataset.train_size"):
        prepare(spec(images, train_size=20, **options), tmp_path / "wrong")
    for file in (images / "train" / "cat").iterdir():
        file.write_text("no image")
    with refused(DataError, "cat"):
        prepare(spec(images, **options), tmp_path / "none")


def test_an_empty_class_folder_is_refused(images: Path, tmp_path: Path) -> None:
    (images / "train" / "dog").mkdir()
    with refused(DataError, "dog"):
        prepare(spec(images), tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("train_files.bin", lambda p: p.write_bytes(p.read_bytes()[:-1])),
        ("train_offsets.npy", lambda p: np.save(p, np.load(p) + 1)),
        ("val_sizes.npy", lambda p: p.unlink()),
    ],
)
def test_damaged_prepared_files_are_refused(images: Path, tmp_path: Path, name: str, change: Any) -> None:
    prepare(spec(images), tmp_path / "out")
    change(tmp_path / "out" / name)
    with refused(DataError, tmp_path / "out"):
        open_data(tmp_path / "out")


def test_imagenet_is_a_folder_whose_val_is_the_test_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = dataclasses.replace(DATASETS["imagenet"], num_classes=2, train_size=20, test_size=6, holdout=4)
    monkeypatch.setitem(DATASETS, "imagenet", small)
    with refused(DataError, "imagenet/train/<class>/", "data.root"):
        prepare(DatasetSpec("imagenet"), tmp_path / "out", root=tmp_path)
    write_jpegs(tmp_path / "imagenet", {"train": 10, "val": 3}, classes=("n02", "n01"))
    manifest = prepare(DatasetSpec("imagenet"), tmp_path / "out", root=tmp_path)
    assert manifest["sizes"] == {"train": 16, "val": 4, "test": 6}
    assert manifest["class_names"] == ["n01", "n02"]
    assert manifest["mean"] == [0.485, 0.456, 0.406]
    (tmp_path / "imagenet" / "train" / "n01" / "000.jpg").unlink()
    with refused(DataError, "15 train images"):
        prepare(DatasetSpec("imagenet"), tmp_path / "again", root=tmp_path)


# ------------------------------------------------------------ CUB-200-2011


def birds(top: Path, per_class: int = 10) -> None:
    """A small data set in the layout of CUB: two classes, every third image is of the test split."""
    tables: dict[str, list[str]] = {"images": [], "image_class_labels": [], "train_test_split": []}
    number = 0
    for k, name in enumerate(("001.Black_footed_Albatross", "002.Laysan_Albatross")):
        (top / "images" / name).mkdir(parents=True)
        for i in range(per_class):
            number += 1
            noise((30 + i, 40), number).save(top / "images" / name / f"{i}.jpg")
            tables["images"].append(f"{number} {name}/{i}.jpg")
            tables["image_class_labels"].append(f"{number} {k + 1}")
            tables["train_test_split"].append(f"{number} {int(i % 3 != 2)}")
    for table, lines in tables.items():
        (top / f"{table}.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def few_birds(monkeypatch: pytest.MonkeyPatch) -> None:
    small = dataclasses.replace(DATASETS["cub200_2011"], num_classes=2, train_size=14, test_size=6, holdout=4)
    monkeypatch.setitem(DATASETS, "cub200_2011", small)


@pytest.mark.usefixtures("few_birds")
@pytest.mark.parametrize("where", ["cub200_2011", "cub200_2011/CUB_200_2011", "CUB_200_2011"])
def test_birds_have_their_official_test_split(tmp_path: Path, where: str) -> None:
    birds(tmp_path / where)
    manifest = prepare(DatasetSpec("cub200_2011"), tmp_path / "out", root=tmp_path)
    assert manifest["sizes"] == {"train": 10, "val": 4, "test": 6}
    data = open_data(tmp_path / "out")
    assert data.class_names == ("001.Black_footed_Albatross", "002.Laysan_Albatross")
    test = [tmp_path / where / "images" / data.class_names[k] / f"{i}.jpg" for k in (0, 1) for i in (2, 5, 8)]
    assert data.labels("test").tolist() == [0, 0, 0, 1, 1, 1]
    for position, file in enumerate(test):
        np.testing.assert_array_equal(np.asarray(data.files("test").image(position)), np.asarray(Image.open(file)))
    published = prepare(DatasetSpec("cub200_2011", holdout=0), tmp_path / "all", root=tmp_path)
    assert published["sizes"] == {"train": 14, "val": 0, "test": 6}


@pytest.mark.usefixtures("few_birds")
def test_birds_from_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with refused(DataError, "CUB_200_2011.tgz", "1151", "cub200_2011"):
        prepare(DatasetSpec("cub200_2011"), tmp_path / "out", root=tmp_path)
    birds(tmp_path / "made" / "CUB_200_2011")
    archive = tmp_path / "cub200_2011" / "CUB_200_2011.tgz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "made" / "CUB_200_2011", arcname="CUB_200_2011")
        tar.addfile(tarfile.TarInfo("attributes.txt"), io.BytesIO())
    with refused(DataError, "CUB_200_2011.tgz", "sha256"):
        prepare(DatasetSpec("cub200_2011"), tmp_path / "out", root=tmp_path)
    declared = DATASETS["cub200_2011"]
    file = dataclasses.replace(declared.files[0], sha256=sha256(archive))
    monkeypatch.setitem(DATASETS, "cub200_2011", dataclasses.replace(declared, files=(file,)))
    found = prepare(DatasetSpec("cub200_2011"), tmp_path / "out", root=tmp_path)
    assert found["sizes"] == {"train": 10, "val": 4, "test": 6}
    assert not (tmp_path / "out" / ".unpacked").exists()


@pytest.mark.usefixtures("few_birds")
@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda p: (p / "train_test_split.txt").unlink(), "train_test_split.txt"),
        (lambda p: (p / "images" / "002.Laysan_Albatross" / "3.jpg").unlink(), "3.jpg"),
        (lambda p: (p / "image_class_labels.txt").write_text("1 1\n"), "image_class_labels.txt"),
        (lambda p: (p / "train_test_split.txt").write_text("1 1 1\n"), "train_test_split.txt"),
    ],
)
def test_birds_whose_tables_do_not_fit_are_refused(tmp_path: Path, change: Any, named: str) -> None:
    birds(tmp_path / "cub200_2011")
    change(tmp_path / "cub200_2011")
    with refused(DataError, named):
        prepare(DatasetSpec("cub200_2011"), tmp_path / "out", root=tmp_path)


# ------------------------------------------------------------ Tiny-ImageNet


def tiny(top: Path, per_class: int = 7) -> None:
    """A small data set in the layout of Tiny-ImageNet: two classes, a grey image among them."""
    lines = []
    for k, wnid in enumerate(("n02", "n01")):
        (top / "train" / wnid / "images").mkdir(parents=True)
        (top / "val" / "images").mkdir(parents=True, exist_ok=True)
        for i in range(per_class):
            image = noise((64, 64), 10 * k + i)
            (image.convert("L") if i == 0 else image).save(top / "train" / wnid / "images" / f"{wnid}_{i}.JPEG")
        for i in range(3):
            noise((64, 64), 100 + 10 * k + i).save(top / "val" / "images" / f"val_{2 * i + k}.JPEG")
            lines.append(f"val_{2 * i + k}.JPEG\t{wnid}\t0\t0\t62\t62")
    (top / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    (top / "wnids.txt").write_text("n02\nn01\n")


@pytest.fixture
def few_tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    small = dataclasses.replace(DATASETS["tiny_imagenet"], num_classes=2, train_size=14, test_size=6, holdout=4)
    monkeypatch.setitem(DATASETS, "tiny_imagenet", small)


@pytest.mark.usefixtures("few_tiny")
@pytest.mark.parametrize("where", ["tiny_imagenet", "tiny_imagenet/tiny-imagenet-200", "tiny-imagenet-200"])
def test_the_official_val_of_tiny_imagenet_is_the_test_split(tmp_path: Path, where: str) -> None:
    tiny(tmp_path / where)
    manifest = prepare(DatasetSpec("tiny_imagenet"), tmp_path / "out", root=tmp_path)
    assert manifest["sizes"] == {"train": 10, "val": 4, "test": 6}
    data = open_data(tmp_path / "out")
    assert data.class_names == ("n01", "n02")
    assert data.labels("test").tolist() == [0, 0, 0, 1, 1, 1]
    for position, name in enumerate(("val_1", "val_3", "val_5", "val_0", "val_2", "val_4")):
        file = tmp_path / where / "val" / "images" / f"{name}.JPEG"
        np.testing.assert_array_equal(np.asarray(data.files("test").image(position)), np.asarray(Image.open(file)))
    assert all(data.files("train").image(i).mode == "RGB" for i in range(10))  # grey ones too


@pytest.mark.usefixtures("few_tiny")
def test_tiny_imagenet_from_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with refused(DataError, "tiny-imagenet-200.zip", "tiny_imagenet"):
        prepare(DatasetSpec("tiny_imagenet"), tmp_path / "out", root=tmp_path)
    tiny(tmp_path / "made" / "tiny-imagenet-200")
    (tmp_path / "tiny_imagenet").mkdir()
    made = shutil.make_archive(str(tmp_path / "made" / "x"), "zip", tmp_path / "made", "tiny-imagenet-200")
    archive = Path(shutil.move(made, tmp_path / "tiny_imagenet" / "tiny-imagenet-200.zip"))
    with refused(DataError, "tiny-imagenet-200.zip", "sha256"):
        prepare(DatasetSpec("tiny_imagenet"), tmp_path / "out", root=tmp_path)
    declared = DATASETS["tiny_imagenet"]
    file = dataclasses.replace(declared.files[0], sha256=sha256(archive))
    monkeypatch.setitem(DATASETS, "tiny_imagenet", dataclasses.replace(declared, files=(file,)))
    found = prepare(DatasetSpec("tiny_imagenet"), tmp_path / "out", root=tmp_path)
    assert found["sizes"] == {"train": 10, "val": 4, "test": 6}


@pytest.mark.usefixtures("few_tiny")
@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda p: (p / "val" / "val_annotations.txt").unlink(), "val_annotations.txt"),
        (lambda p: (p / "val" / "images" / "val_3.JPEG").unlink(), "val_3.JPEG"),
        (lambda p: noise((64, 64), 1).save(p / "val" / "images" / "val_9.JPEG"), "val_9.JPEG"),
        (lambda p: (p / "wnids.txt").write_text("n01\n"), "n02"),
        (lambda p: (p / "wnids.txt").write_text("n01\nn02\nn03\n"), "n03/images"),
        (lambda p: (p / "train" / "n01" / "images" / "n01_1.JPEG").unlink(), "9 train images"),
    ],
)
def test_a_tiny_imagenet_that_does_not_fit_is_refused(tmp_path: Path, change: Any, named: str) -> None:
    tiny(tmp_path / "tiny_imagenet")
    change(tmp_path / "tiny_imagenet")
    with refused(DataError, named):
        prepare(DatasetSpec("tiny_imagenet"), tmp_path / "out", root=tmp_path)
