"""Preparing: splits stored by index, manifest last, nothing done twice, damage named."""

import json

import numpy as np
import pytest
from refusals import refused

from softlabels.data import prepare as module
from softlabels.data.load import open_data, verify
from softlabels.data.prepare import moments, prepare
from softlabels.errors import DataError
from softlabels.grid.declared.datasets import DATASETS, sizes
from softlabels.grid.spec import DatasetSpec

DIGITS = DatasetSpec("digits")


@pytest.fixture
def prepared(tmp_path):
    prepare(DIGITS, tmp_path / "digits")
    return tmp_path / "digits"


@pytest.mark.parametrize("spec", [DIGITS, DatasetSpec("glyphs", train_limit=500), DatasetSpec("digits", holdout=0)])
def test_prepared_sizes_are_the_declared_ones(spec, tmp_path):
    prepare(spec, tmp_path / "out")
    data = open_data(tmp_path / "out")
    verify(tmp_path / "out")
    assert {s: len(data.labels(s)) for s in ("train", "val", "test")} == sizes(spec)
    assert data.shape == DATASETS[spec.name].shape
    assert data.class_names == DATASETS[spec.name].class_names
    assert isinstance(data.images("train"), np.memmap)
    assert data.images("train").dtype == np.uint8
    assert data.labels("train").dtype == data.ids("train").dtype == np.int64


@pytest.mark.parametrize("name", ["digits", "glyphs"])
def test_declared_moments_are_those_of_the_training_images(name, tmp_path):
    prepare(DatasetSpec(name, holdout=0), tmp_path)
    mean, std = moments(open_data(tmp_path).images("train"))
    assert mean == pytest.approx(DATASETS[name].mean, abs=6e-5)
    assert std == pytest.approx(DATASETS[name].std, abs=6e-5)


def test_stored_ids_point_into_the_source(tmp_path):
    prepare(DIGITS, tmp_path / "split")
    prepare(DatasetSpec("digits", holdout=0), tmp_path / "whole")
    split, whole = open_data(tmp_path / "split"), open_data(tmp_path / "whole")
    assert not set(split.ids("train")) & set(split.ids("val"))
    for name in ("train", "val"):
        assert np.array_equal(split.images(name), whole.images("train")[split.ids(name)])
        assert np.array_equal(split.labels(name), whole.labels("train")[split.ids(name)])


def test_split_seed_moves_val_and_leaves_test(prepared, tmp_path):
    prepare(DatasetSpec("digits", split_seed=1), tmp_path / "other")
    one, other = open_data(prepared), open_data(tmp_path / "other")
    assert not np.array_equal(one.ids("val"), other.ids("val"))
    assert np.array_equal(one.images("test"), other.images("test"))
    assert one.fingerprint != other.fingerprint


def test_second_call_does_nothing_and_repeats_are_identical(prepared, tmp_path, monkeypatch):
    before = {p.name: p.stat().st_mtime_ns for p in prepared.iterdir()}
    again = prepare(DIGITS, tmp_path / "again")
    assert again == json.loads((prepared / "manifest.json").read_text())
    monkeypatch.setattr(module, "_source", None)  # a call would fail
    prepare(DIGITS, prepared)
    after = {p.name: p.stat().st_mtime_ns for p in prepared.iterdir() if p.name != ".lock"}
    assert after == {name: time for name, time in before.items() if name != ".lock"}


@pytest.mark.parametrize("stop", range(10))
def test_a_stop_at_any_write_leaves_no_manifest_and_the_next_call_finishes(stop, tmp_path, monkeypatch):
    out, written = tmp_path / "out", []
    atomic = module.atomic

    def stopping(path):
        if len(written) == stop:
            raise KeyboardInterrupt
        written.append(path)
        return atomic(path)

    with monkeypatch.context() as patch:
        patch.setattr(module, "atomic", stopping)
        if stop < 9:
            with pytest.raises(KeyboardInterrupt):
                prepare(DIGITS, out)
            assert not (out / "manifest.json").exists()
            (out / ".train_images.npy.xyz.part").write_bytes(b"left by a kill")
        else:
            prepare(DIGITS, out)
    prepare(DIGITS, out)
    verify(out)
    assert not list(out.glob(".*.part"))


def test_truncated_array_is_named_and_mended_by_the_next_call(prepared):
    path = prepared / "train_images.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with refused(DataError, "train_images.npy"):
        open_data(prepared)
    prepare(DIGITS, prepared)
    verify(prepared)


def test_missing_array_or_manifest_is_named(prepared):
    (prepared / "val_ids.npy").unlink()
    with refused(DataError, "val_ids.npy"):
        open_data(prepared)
    (prepared / "manifest.json").unlink()
    with refused(DataError, prepared):
        open_data(prepared)


def test_one_changed_byte_is_found_by_verify(prepared):
    path = prepared / "test_images.npy"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    open_data(prepared)
    with refused(DataError, "test_images.npy"):
        verify(prepared)


def test_a_pickled_array_is_not_loaded(prepared):
    path = prepared / "train_labels.npy"
    size = path.stat().st_size
    with open(path, "wb") as handle:
        np.save(handle, np.array([{}], dtype=object), allow_pickle=True)
        handle.write(b"\0" * (size - handle.tell()))
    with refused(DataError, "train_labels.npy", varies=r"\(.*\)"):
        open_data(prepared)


def test_labels_beyond_the_classes_are_refused(prepared):
    path = prepared / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_classes": 9}))
    with refused(DataError, "labels", "9 classes"):
        open_data(prepared)


def test_other_data_in_the_folder_are_not_overwritten(prepared):
    before = (prepared / "manifest.json").read_bytes()
    with refused(DataError, prepared):
        prepare(DatasetSpec("digits", holdout=0), prepared)
    assert (prepared / "manifest.json").read_bytes() == before
