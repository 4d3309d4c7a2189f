"""What is declared of the data sets, without data."""

import subprocess
import sys

import pytest
from refusals import refused

from softlabels.errors import SpecError
from softlabels.grid.declared.datasets import DATASETS, identity_of, info, sizes
from softlabels.grid.spec import KEPT_AS_FILES, DatasetSpec

FOLDER = {"name": "folder", "path": "somewhere", "num_classes": 3, "image_size": 8}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (DatasetSpec("cifar10"), (40_000, 10_000, 10_000)),
        (DatasetSpec("cifar100", holdout=0), (50_000, 0, 10_000)),
        (DatasetSpec("mnist"), (54_000, 6_000, 10_000)),
        (DatasetSpec("mnist", holdout=0.25, train_limit=500), (500, 15_000, 10_000)),
        (DatasetSpec("digits"), (1069, 189, 539)),
        (DatasetSpec("glyphs"), (3200, 800, 2000)),
        (DatasetSpec("imagenet"), (1_231_167, 50_000, 50_000)),
        (DatasetSpec("tiny_imagenet"), (90_000, 10_000, 10_000)),
        (DatasetSpec("cub200_2011"), (5395, 599, 5794)),
        (DatasetSpec("cub200_2011", holdout=0), (5994, 0, 5794)),
        (DatasetSpec(**FOLDER), (None, None, None)),
        (DatasetSpec(**FOLDER, train_size=90), (90, None, None)),
        (DatasetSpec(**FOLDER, train_limit=30), (30, None, None)),
    ],
)
def test_sizes(spec, expected):
    assert tuple(sizes(spec).values()) == expected


@pytest.mark.parametrize("name", DATASETS)
def test_declarations_fit_each_other(name):
    declared = DATASETS[name]
    if declared.class_names is not None:
        assert len(set(declared.class_names)) == declared.num_classes
    if declared.mean is not None:
        assert len(declared.mean) == len(declared.std) == declared.shape[0]
    assert (declared.file_bytes is not None) == (name in KEPT_AS_FILES) == (0 in declared.shape)
    for file in declared.files:
        assert file.url.endswith("/" + file.name)
        for digest in (file.sha256, *(digest for _, digest in file.contents)):
            assert len(bytes.fromhex(digest)) == 32


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        (DatasetSpec("cifar11"), "cifar10"),
        (DatasetSpec("digits", holdout=1258), "dataset.holdout"),
        (DatasetSpec("mnist", train_limit=54_001), "dataset.train_limit"),
        (DatasetSpec(**FOLDER, split="last"), "dataset.split"),
        (DatasetSpec("tiny_imagenet", split="last"), "dataset.split"),
        (DatasetSpec("cub200_2011", split="last"), "dataset.split"),
    ],
)
def test_impossible_specs_are_refused_by_key(spec, named):
    with refused(SpecError, named):
        sizes(spec)


def test_identity_says_what_the_data_are_not_where():
    here = DatasetSpec(**FOLDER, sha256="ab" * 32)
    there = DatasetSpec(**FOLDER | {"path": "elsewhere"}, sha256="ab" * 32)
    assert identity_of(here) == identity_of(there)
    assert identity_of(here) != identity_of(DatasetSpec(**FOLDER, sha256="cd" * 32))
    # Nobody has said what these are: folders of one name may hold other images.
    assert identity_of(DatasetSpec(**FOLDER)) != identity_of(DatasetSpec(**FOLDER | {"path": "elsewhere"}))
    assert identity_of(DatasetSpec("mnist")) == identity_of(DatasetSpec("mnist", holdout=0.1))
    assert identity_of(DatasetSpec("mnist")) != identity_of(DatasetSpec("mnist", split_seed=1))
    # A folder with val/ and no holdout given is another division than an explicit 10 %.
    assert identity_of(DatasetSpec(**FOLDER)) != identity_of(DatasetSpec(**FOLDER, holdout=0.1))


def test_declarations_need_neither_numpy_nor_torch():
    code = (
        "import sys, softlabels.grid.declared.datasets; "
        "sys.exit(any(m in sys.modules for m in ('numpy', 'torch', 'PIL', 'sklearn')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_info_of_a_folder_comes_from_its_spec():
    declared = info(DatasetSpec(**FOLDER))
    assert (declared.num_classes, declared.shape, declared.train_size) == (3, (3, 8, 8), None)
