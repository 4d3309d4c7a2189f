"""Text files of one's own: what is read, cleaned, held out and segmented, and every kind of bad input."""

import gzip

import pytest
from refusals import refused

from softlabels.errors import DataError, SpecError
from softlabels.grid.declared.corpora import settled
from softlabels.grid.parts.translation import CorpusSpec
from softlabels.translation.corpus.parallel import Parallel, untouched
from softlabels.translation.corpus.prepare import prepare
from softlabels.translation.corpus.readers import fingerprint, languages_of, read
from softlabels.translation.corpus.sentences import load_pairs
from softlabels.translation.corpus.splits import divide
from softlabels.translation.corpus.subwords import learn
from softlabels.translation.corpus.text import Normaliser


def write(prefix, pairs, languages=("en", "de"), compress=False):
    for language, sentences in zip(languages, zip(*pairs, strict=True), strict=True):
        data = "".join(f"{sentence}\n" for sentence in sentences).encode()
        path = prefix.with_name(f"{prefix.name}.{language}")
        if compress:
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(data))
        else:
            path.write_bytes(data)


def spec_of(folder, **fields):
    return CorpusSpec(
        "parallel",
        **{"source": "en", "target": "de", "num_subwords": 50}
        | {split: str(folder / split) for split in ("train", "val", "test")}
        | fields,
    )


@pytest.fixture(scope="module")
def pairs():
    return load_pairs()


@pytest.fixture
def own(tmp_path, pairs):
    folder = tmp_path / "own"
    folder.mkdir()
    for split, count in {"train": 200, "val": 20, "test": 20}.items():
        write(folder / split, pairs[split][:count])
    return folder


def divided(tmp_path, train, val=None, test=(("t", "t"),), **fields):
    """The splits of pairs in memory, and the training pairs."""
    where = {"train": "x", "test": "x"} | ({"val": "x"} if val is not None else {})
    spec = settled(CorpusSpec("parallel", source="en", target="de", **where | {"tokenise": False} | fields))
    corpus = Parallel(lambda: iter(train), None if val is None else untouched(val), untouched(test))
    languages = languages_of(spec)
    splits = divide(spec, corpus, languages, Normaliser(spec, languages), tmp_path / "train")
    text = [(tmp_path / f"train.{language}").read_text().splitlines() for language in languages]
    return splits, list(zip(*text, strict=True))


def test_sentencepiece_with_moses_tokens_beside(tmp_path):
    """Running text with capitals: references are untouched, tokens are Moses', subwords are of the lower-case text."""
    folder = tmp_path / "own"
    folder.mkdir()
    train = [(f"Number {n}, he said: {n % 7} dogs!", f"Nummer {n}, sagte er: {n % 7} Hunde!") for n in range(150)]
    write(folder / "train", train, compress=True)
    write(folder / "test", [("He said: two dogs, \u2028 three!", "Er sagte: „zwei“ Hunde\u2028 (3)!")], compress=True)
    given = {"subwords": "sentencepiece", "tokenise": False, "lowercase": True, "num_subwords": 45}
    spec = spec_of(folder, val=None, holdout_every=10, **given)
    manifest = prepare(spec, tmp_path / "out")
    out = tmp_path / "out"
    assert manifest["sizes"] == {"train": 135, "val": 15, "test": 1}
    assert manifest["validation"] == "holdout"
    assert (out / "raw/val.en").read_text().splitlines() == [train[n][0] for n in range(9, 150, 10)]
    assert (out / "raw/test.de").read_text() == "Er sagte: „zwei“ Hunde\u2028 (3)!\n"
    assert (out / "tok/test.de").read_text() == "er sagte : „ zwei “ hunde ( 3 ) !\n"
    assert (out / "subwords/test.en").read_text().replace(" ", "") == "▁he▁said:▁two▁dogs,▁three!\n"
    assert (out / "subwords/model").stat().st_size > 1000
    assert manifest["vocabulary"] % 8 == 0  # fairseq pads the dictionary
    assert prepare(spec, tmp_path / "again")["fingerprint"] == manifest["fingerprint"]


def test_moses_tokens_as_the_script_of_fairseq_makes_them(tmp_path):
    text = [('It\'s "well-known" & cheap.', "Das ist's, z.B. 3,5 % (ca.).")]
    splits, train = divided(tmp_path, text, test=text, val=[("a", "b")], tokenise=True, lowercase=True, overlap="keep")
    assert splits.test.text == train
    assert train == [("it &apos;s &quot; well-known &quot; &amp; cheap .", "das ist &apos; s , z.b. 3,5 % ( ca. ) .")]
    assert splits.test.raw == text


def test_training_pairs_are_cleaned_and_counted(tmp_path):
    train = [
        ("a b c", "d e"),  # kept: 3 / 2
        ("a b c d", "e f"),
        ("a b", "c d e f"),
        ("", "a"),
        ("a", " \u00a0 "),
        ("a b c d e f", "a b c d e f"),
        ("  a \t b\u2028c ", "d e"),  # white space is one space
    ]
    splits, kept = divided(tmp_path, train, val=[("v", "v"), ("v", "")], max_ratio=1.5, max_length=5)
    assert kept == [("a b c", "d e"), ("a b c", "d e")]
    assert splits.removed == {"train: ratio": 2, "train: empty": 2, "train: too long": 1, "val: empty": 1}


def test_every_so_manieth_cleaned_pair_is_held_out(tmp_path):
    train = [("", "dropped"), *((f"a {n}", f"b {n}") for n in range(1, 10))]
    splits, kept = divided(tmp_path, train, holdout_every=3)
    assert splits.val.text == [(f"a {n}", f"b {n}") for n in (3, 6, 9)]
    assert kept == [(f"a {n}", f"b {n}") for n in (1, 2, 4, 5, 7, 8)]


def test_no_test_pair_is_in_training_or_validation(tmp_path):
    train = [("A x", "b y"), ("v", "w"), ("a x", "c"), ("k", "k")]
    val = [("V", "W"), ("a X", "B y")]
    test = [("a  x", "b y")]
    splits, kept = divided(tmp_path, train, val=val, test=test, lowercase=True, max_ratio=9.0)
    assert kept == [("a x", "c"), ("k", "k")]  # one side alone does not count
    assert splits.val.text == [("v", "w")]
    assert splits.val.raw == [("V", "W")]
    assert splits.removed == {"train: in test": 1, "train: in val": 1, "val: in test": 1}
    splits, kept = divided(tmp_path, train, val=val, test=test, lowercase=True, max_ratio=9.0, overlap="keep")
    assert (len(kept), len(splits.val.text), splits.removed) == (4, 2, {})


def test_validation_on_test_is_a_variant_that_says_so(tmp_path):
    train, test = [("t", "t"), ("k", "k")], [("t", "t")]
    splits, kept = divided(tmp_path, train, test=test, validate_on_test=True)
    assert splits.val == splits.test
    assert splits.validation == "test"
    assert kept == [("k", "k")]


def test_fingerprint_is_of_the_text_compressed_or_not(own, tmp_path, pairs):
    packed = tmp_path / "packed"
    packed.mkdir()
    for split, count in {"train": 200, "val": 20, "test": 20}.items():
        write(packed / split, pairs[split][:count], compress=True)
    found = fingerprint(spec_of(own), tmp_path)
    assert found == fingerprint(spec_of(packed), tmp_path)
    read(settled(spec_of(own, sha256=found)), own, own)
    (own / "val.de").write_text((own / "val.de").read_text().replace("er", "es"))
    with refused(DataError, own / "val.de", found):
        read(settled(spec_of(own, sha256=found)), own, own)


def _short(folder):
    (folder / "val.de").write_text("nur eine zeile .\n")


def _empty(folder):
    (folder / "test.en").write_bytes(b"")


def _latin(folder):
    lines = (folder / "train.de").read_bytes().splitlines(keepends=True)
    lines[6] = "die größe .\n".encode("latin-1")
    (folder / "train.de").write_bytes(b"".join(lines))


def _missing(folder):
    (folder / "test.de").unlink()


def _truncated(folder):
    data = gzip.compress((folder / "train.en").read_bytes())
    (folder / "train.en").unlink()
    (folder / "train.en.gz").write_bytes(data[:-20])


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (_short, "own/val.en"),
        (_empty, "own/test.en"),
        (_latin, "own/train.de, line 7"),
        (_missing, "dataset.test"),
        (_truncated, "own/train.en.gz"),
    ],
)
def test_bad_files_are_named_and_nothing_good_is_overwritten(own, tmp_path, spoil, named):
    spoil(own)
    with refused(DataError, named):
        prepare(spec_of(own), tmp_path / "out")
    assert not (tmp_path / "out/manifest.json").exists()
    assert not (tmp_path / "out/.work").exists()


def test_nothing_left_is_an_error(tmp_path):
    with refused(DataError, "train: ratio", "dataset.max_ratio"):
        divided(tmp_path, [("a b c d", "e")], val=[("v", "v")])
    with refused(DataError, "validation", "dataset.max_ratio"):
        divided(tmp_path, [("a", "b")], val=[("t", "t")])


@pytest.mark.parametrize(("subwords", "count"), [("sentencepiece", 9999), ("sentencepiece", 2)])
def test_impossible_numbers_of_subwords_are_named(own, tmp_path, subwords, count):
    spec = settled(spec_of(own, subwords=subwords, num_subwords=count))
    with refused(DataError, f"{count} subwords", "dataset.num_subwords", varies=r"\(.*\)"):
        learn(spec, (own / "train.en", own / "train.de"), tmp_path)


def test_symbols_of_fairseq_in_the_text_are_refused(own, tmp_path):
    (own / "test.de").write_text("ein <unk> ist da .\n" * 20)
    with refused(DataError, "sentence 1", "<unk>"):
        prepare(spec_of(own, subwords="given", tokenise=False, num_subwords=None), tmp_path / "out")


def test_segmented_text_is_not_tokenised_again(own, tmp_path):
    with refused(SpecError, "dataset.tokenise"):
        prepare(spec_of(own, subwords="given"), tmp_path / "out")


def test_declared_sizes_that_are_too_small_say_what_to_set(own, tmp_path):
    with refused(DataError, "dataset.train_tokens"):
        prepare(spec_of(own, train_tokens=10), tmp_path / "out")
    assert not (tmp_path / "out/manifest.json").exists()


def test_languages_may_have_any_name(tmp_path):
    """A language that Moses has no rules for gets the general ones."""
    write(tmp_path / "train", [("Hallo, du.", "Hello, you.")], languages=("gsw", "xx"))
    spec = settled(
        spec_of(tmp_path, source="gsw", target="xx", val=None, test=str(tmp_path / "train"), holdout_every=2)
    )
    languages = languages_of(spec)
    corpus = read(spec, tmp_path, tmp_path)
    assert [Normaliser(spec, languages)(pair) for pair in corpus.train()] == [("Hallo , du .", "Hello , you .")]
