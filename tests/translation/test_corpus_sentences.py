"""The corpus of the demo as it is shipped: its splits, its sentences, and a file that was changed."""

import gzip
import re
from importlib import resources

import pytest
from refusals import refused

from softlabels.errors import DataError
from softlabels.grid.declared.corpora import CORPORA
from softlabels.translation.corpus import sentences
from softlabels.translation.corpus.sentences import FILE, SIZES, load_pairs, read_sentences


@pytest.fixture(scope="module")
def corpus():
    return load_pairs()


def test_sizes_are_the_declared_ones_and_no_sentence_stands_in_two_splits(corpus):
    assert {split: len(pairs) for split, pairs in corpus.items()} == SIZES
    assert SIZES["train"] == CORPORA["sentences"].train_pairs
    for side in (0, 1):
        seen = [{pair[side] for pair in pairs} for pairs in corpus.values()]
        assert len(set.union(*seen)) == sum(map(len, seen)) == sum(SIZES.values())


def test_every_pair_is_kept_by_the_cleaning_of_its_corpus(corpus):
    declared = CORPORA["sentences"]
    for pair in (pair for pairs in corpus.values() for pair in pairs):
        for line in pair:
            assert re.fullmatch(r"[a-zäöüß]+( [a-zäöüß]+| ,)+ [.?]", line), line
        lengths = sorted(len(line.split()) for line in pair)
        assert 4 <= lengths[0] <= lengths[1] <= min(16, declared.max_ratio * lengths[0]), pair


def test_either_language_can_be_the_source(corpus):
    forth, back = read_sentences(("en", "de")), read_sentences(("de", "en"))
    assert list(forth.train()) == corpus["train"]
    assert [pair[::-1] for pair in back.train()] == corpus["train"]
    assert [pair[::-1] for pair in back.test.raw] == corpus["test"] == forth.test.text


@pytest.mark.parametrize("damage", ["another word", "cut off"])
def test_a_changed_file_is_refused(damage, tmp_path, monkeypatch):
    """The file of a copy of the package, found as that of the package is."""
    package = tmp_path / "copied_corpus"
    package.mkdir()
    (package / "__init__.py").write_text("")
    whole = resources.files(sentences.PACKAGE).joinpath(FILE).read_bytes()
    changed = gzip.compress(gzip.decompress(whole).replace(b"queen", b"king"))
    (package / FILE).write_bytes(changed if damage == "another word" else whole[:-9])
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sentences, "PACKAGE", "copied_corpus")
    with refused(DataError, FILE):
        load_pairs()
