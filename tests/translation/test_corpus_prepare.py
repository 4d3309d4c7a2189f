"""Preparing a corpus: all folders and their manifest, nothing done twice, damage and kills mended."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest
from refusals import refused

from softlabels.errors import DataError, SpecError
from softlabels.files import sha256
from softlabels.grid.declared.corpora import CORPORA, identity_of
from softlabels.grid.parts.translation import CorpusSpec
from softlabels.translation.corpus import prepare as module
from softlabels.translation.corpus.prepare import prepare, verify
from softlabels.translation.corpus.sentences import load_pairs

SPEC = CorpusSpec("sentences")
LANGUAGES = ("en", "de")


@pytest.fixture(scope="session")
def sentences(tmp_path_factory):
    """The corpus of the demo, prepared once."""
    out = tmp_path_factory.mktemp("corpora") / "sentences"
    return out, prepare(SPEC, out)


def lines(path):
    return path.read_text(encoding="utf-8").splitlines()


def test_manifest_tells_what_is_there(sentences):
    out, manifest = sentences
    assert manifest == json.loads((out / "manifest.json").read_text())
    assert manifest["identity"] == identity_of(SPEC)
    assert manifest["languages"] == ["en", "de"]
    assert manifest["sizes"] == {"train": 4000, "val": 400, "test": 400}
    assert manifest["removed"] == {}
    assert (manifest["validation"], manifest["references"], manifest["moses"]) == ("own", "as given", False)
    files = {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}
    assert set(files) - set(manifest["files"]) == {"manifest.json", ".lock"}
    assert all(entry["sha256"] == sha256(files[name]) for name, entry in manifest["files"].items())
    assert manifest["dictionary_sha256"] == sha256(out / "bin/dict.de.txt") == sha256(out / "bin/dict.en.txt")
    assert not [name for name, path in files.items() if str(out).encode() in path.read_bytes()]  # no path of a machine


def test_text_goes_through_unchanged(sentences):
    out, _ = sentences
    for split, pairs in load_pairs().items():
        for language, expected in zip(LANGUAGES, zip(*pairs, strict=True), strict=True):
            subwords = lines(out / f"subwords/{split}.{language}")
            assert [line.replace("@@ ", "") for line in subwords] == list(expected)
            if split != "train":
                assert lines(out / f"raw/{split}.{language}") == list(expected)
                assert lines(out / f"tok/{split}.{language}") == list(expected)


def test_tokens_are_those_of_the_subwords_and_within_the_declared_ones(sentences):
    out, manifest = sentences
    for split in ("train", "val", "test"):
        for language in LANGUAGES:
            text = lines(out / f"subwords/{split}.{language}")
            assert manifest["tokens"][split][language] == sum(len(line.split()) + 1 for line in text)
    declared = CORPORA["sentences"]
    assert 0.9 * declared.train_tokens < manifest["tokens"]["train"]["de"] <= declared.train_tokens
    assert 0.9 * declared.test_tokens < manifest["tokens"]["test"]["de"] <= declared.test_tokens
    assert manifest["tokens"]["val"]["de"] <= declared.test_tokens


def test_binary_data_are_the_subwords(sentences):
    """Read without fairseq: token ids in file order are lines of the dictionary, 2 ends a sentence."""
    out, manifest = sentences
    counts = [line.rsplit(" ", 1) for line in lines(out / "bin/dict.de.txt")]
    types = ["<s>", "<pad>", "</s>", "<unk>", *(word for word, _ in counts)]
    assert len(types) == manifest["vocabulary"]
    both = (lines(out / f"subwords/train.{language}") for language in LANGUAGES)
    seen = Counter(word for text in both for line in text for word in line.split())
    assert {word: int(count) for word, count in counts if not word.startswith("madeupword")} == seen
    for split, name in {"train": "train", "val": "valid", "test": "test"}.items():
        for language in LANGUAGES:
            ids = np.fromfile(out / f"bin/{name}.en-de.{language}.bin", dtype=np.uint16)
            words = " ".join(types[index] for index in ids).split(" </s>")
            assert [line.strip() for line in words[:-1]] == lines(out / f"subwords/{split}.{language}")


def test_subwords_are_learned_on_training_text_alone(sentences, tmp_path):
    out, _ = sentences
    text = tmp_path / "train"
    joined = [line.replace("@@ ", "") for language in LANGUAGES for line in lines(out / f"subwords/train.{language}")]
    text.write_text("\n".join(joined) + "\n", encoding="utf-8")
    learn = [sys.executable, "-m", "subword_nmt.learn_bpe", "-s", "1000", "-i", text, "-o", tmp_path / "codes"]
    subprocess.run(learn, check=True, capture_output=True)
    assert (tmp_path / "codes").read_bytes() == (out / "subwords/codes").read_bytes()


def test_second_call_does_nothing(sentences, monkeypatch):
    out, manifest = sentences
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.name != ".lock"}
    monkeypatch.setattr(module, "read", None)  # a call would fail
    assert prepare(SPEC, out) == manifest
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.name != ".lock"}


def test_another_corpus_in_the_folder_is_not_overwritten(sentences):
    out, _ = sentences
    before = (out / "manifest.json").read_bytes()
    with refused(DataError, out):
        prepare(CorpusSpec("sentences", num_subwords=300), out)
    assert (out / "manifest.json").read_bytes() == before


def test_changed_and_missing_files_are_named(sentences, tmp_path):
    out, manifest = sentences
    copy = tmp_path / "copy"
    shutil.copytree(out, copy)
    verify(copy, manifest)
    path = copy / "bin/valid.en-de.de.bin"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with refused(DataError, "valid.en-de.de.bin"):
        verify(copy, manifest)
    path.unlink()
    with refused(DataError, "valid.en-de.de.bin"):
        verify(copy, manifest)


def test_a_damaged_corpus_is_made_again(sentences, tmp_path, monkeypatch):
    out, _ = sentences
    copy = tmp_path / "copy"
    shutil.copytree(out, copy)
    (copy / "tok/test.de").write_text("short")

    class Again(Exception):
        pass

    def reading(*_, **__):
        raise Again

    monkeypatch.setattr(module, "read", reading)
    with pytest.raises(Again):
        prepare(SPEC, copy)
    assert not (copy / "manifest.json").exists()
    assert not (copy / "bin").exists()


def test_a_kill_leaves_no_manifest_and_the_next_call_makes_the_same_files(sentences, tmp_path):
    _, manifest = sentences
    out = tmp_path / "out"
    script = (
        "import sys; from pathlib import Path; from softlabels.grid.parts.translation import CorpusSpec; "
        "from softlabels.translation.corpus.prepare import prepare; "
        "prepare(CorpusSpec('sentences'), Path(sys.argv[1]))"
    )
    process = subprocess.Popen([sys.executable, "-c", script, out], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (out / ".work/subwords/test.de").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "manifest.json").exists()
    assert not (out / "bin").exists()
    (out / "bin").mkdir()  # of a kill between two renames
    (out / "bin/dict.en.txt").write_text("left over")
    assert prepare(SPEC, out) == manifest  # so it is deterministic, too
    verify(out, manifest)
    assert not (out / ".work").exists()


def test_generated_sentences_know_two_languages(tmp_path):
    with refused(SpecError, "dataset.source", "en and fr"):
        prepare(CorpusSpec("sentences", target="fr"), tmp_path)
