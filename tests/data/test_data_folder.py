"""Image folders: which split is which, images that do not decode, fingerprints, archives."""

import os
import tarfile

import numpy as np
import pytest
from PIL import Image
from refusals import refused

from softlabels.data.folders import fingerprint_folder
from softlabels.data.load import open_data
from softlabels.data.prepare import prepare
from softlabels.errors import DataError
from softlabels.grid.spec import DatasetSpec

RNG = np.random.default_rng(0)


def paint(folder, split, per_class, classes=("cat", "ant"), size=(12, 10)):
    for c in classes:
        (folder / split / c).mkdir(parents=True)
        for i in range(per_class):
            image = Image.fromarray(RNG.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
            image.save(folder / split / c / f"{i:03}.png")


def spec(folder, **options):
    return DatasetSpec("folder", path=str(folder), num_classes=2, image_size=8, **options)


@pytest.mark.parametrize(
    ("parts", "options", "sizes"),
    [
        ({"train": 10, "val": 3, "test": 4}, {}, (20, 6, 8)),
        ({"train": 10, "val": 3, "test": 4}, {"holdout": 4}, (16, 4, 8)),
        ({"train": 10, "val": 3}, {}, (18, 2, 6)),
        ({"train": 10, "test": 4}, {}, (18, 2, 8)),
        ({"train": 20}, {}, (31, 3, 6)),
        ({"train": 20}, {"holdout": 0, "train_limit": 10}, (10, 0, 6)),
    ],
)
def test_which_split_is_which(parts, options, sizes, tmp_path):
    for split, per_class in parts.items():
        paint(tmp_path / "images", split, per_class)
    manifest = prepare(spec(tmp_path / "images", **options), tmp_path / "out")
    assert tuple(manifest["sizes"].values()) == sizes
    data = open_data(tmp_path / "out")
    assert data.class_names == ("ant", "cat")
    drawn = [i for s in ("train", "val", "test") if s == "train" or s not in parts for i in data.ids(s)]
    if "val" not in parts and "test" not in parts:
        assert len(set(drawn)) == len(drawn)
    assert data.mean[0] == pytest.approx(data.images("train")[:, 0].mean() / 255)
    assert data.std[2] == pytest.approx(data.images("train")[:, 2].std() / 255)


def test_images_are_resized_on_the_shorter_side_and_centre_cropped(tmp_path):
    for name in ("ant", "cat"):
        (tmp_path / "train" / name).mkdir(parents=True)
        for i in range(4):
            wide = np.zeros((8, 20), dtype=np.uint8)
            wide[:, 6:14] = 200  # the centre, in a greyscale file
            Image.fromarray(wide).save(tmp_path / "train" / name / f"{i}.png")
    prepare(spec(tmp_path, holdout=0), tmp_path / "out")
    assert np.all(open_data(tmp_path / "out").images("train") == 200)


def test_broken_images_are_counted_and_the_first_is_named(tmp_path):
    paint(tmp_path / "p", "train", 10)
    paint(tmp_path / "p", "test", 1)
    for name in ("ant/003.png", "cat/001.png"):
        path = tmp_path / "p" / "train" / name
        path.write_bytes(path.read_bytes()[:60])
    (tmp_path / "p" / "train" / "cat" / "002.png").write_text("no image")
    with refused(DataError, "ant/003.png"):
        prepare(spec(tmp_path / "p", holdout=0), tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda p: (p / "train" / "dog").mkdir(), "dog"),
        (lambda p: paint(p, "test", 1, classes=("ant", "dog")), "dog"),
        (lambda p: paint(p, "train", 2, classes=("dog",)), "3 classes"),
        (lambda p: os.rename(p / "train", p / "training"), "train"),
    ],
)
def test_wrong_layout_is_explained(change, named, tmp_path):
    paint(tmp_path / "p", "train", 5)
    change(tmp_path / "p")
    with refused(DataError, named):
        prepare(spec(tmp_path / "p"), tmp_path / "out")


def test_missing_folder_and_wrong_train_size(tmp_path):
    with refused(DataError, "nowhere", "dataset.path"):
        prepare(spec(tmp_path / "nowhere"), tmp_path / "out")
    paint(tmp_path / "p", "train", 10)
    with refused(DataError, "dataset.train_size"):
        prepare(spec(tmp_path / "p", train_size=20), tmp_path / "out")
    with refused(DataError, "dataset.train_limit"):
        prepare(spec(tmp_path / "p", train_limit=16), tmp_path / "out")
    prepare(spec(tmp_path / "p", train_size=15), tmp_path / "out")


def test_fingerprint_is_of_the_content_not_the_place(tmp_path):
    paint(tmp_path / "p", "train", 5)
    os.symlink(tmp_path / "p", tmp_path / "elsewhere")
    found = fingerprint_folder(tmp_path / "p")
    assert fingerprint_folder(tmp_path / "elsewhere") == found
    prepare(spec(tmp_path / "p", sha256=found), tmp_path / "good")
    with open(tmp_path / "p" / "train" / "ant" / "000.png", "ab") as handle:
        handle.write(b"\0")
    with refused(DataError, "dataset.sha256"):
        prepare(spec(tmp_path / "p", sha256=found), tmp_path / "bad")


def test_archive_of_a_folder_gives_the_same_arrays(tmp_path):
    paint(tmp_path / "p", "train", 10)
    with tarfile.open(tmp_path / "p.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "p", arcname="images")
    declared = fingerprint_folder(tmp_path / "p")
    one = prepare(spec(tmp_path / "p", sha256=declared), tmp_path / "one")
    two = prepare(spec(tmp_path / "p.tar.gz", sha256=declared), tmp_path / "two")
    assert one["fingerprint"] == two["fingerprint"]
    assert one["identity"] == two["identity"]
    assert not (tmp_path / "two" / ".unpacked").exists()
