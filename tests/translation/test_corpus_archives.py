"""IWSLT'14 and WMT'16 as their archives hold them: built small, found, unpacked, read and refused."""

import gzip
import hashlib
import http.server
import io
import re
import tarfile
import threading

import pytest
from refusals import refused

from softlabels.errors import DataError, SpecError
from softlabels.grid.declared.corpora import settled
from softlabels.grid.parts.translation import CorpusSpec
from softlabels.translation.corpus.archive import find_archive
from softlabels.translation.corpus.prepare import prepare
from softlabels.translation.corpus.readers import fingerprint, read
from softlabels.translation.corpus.sentences import load_pairs

SETS = {"TED.dev2010": 0, "TEDX.dev2012": 3, "TED.tst2010": 6, "TED.tst2011": 9, "TED.tst2012": 12}
IWSLT = CorpusSpec("iwslt14_en_de", num_subwords=120)
WMT = CorpusSpec("wmt_en_de")


def written(sentence):
    """A sentence of the corpus as people write: a capital, no space before the full stop."""
    return sentence[0].upper() + sentence[1:].replace(" ,", ",").replace(" .", ".").replace(" ?", "?")


@pytest.fixture(scope="module")
def pairs():
    return {split: [(written(a), written(b)) for a, b in pairs] for split, pairs in load_pairs().items()}


def iwslt_files(pairs, pair="de-en", languages=("en", "de"), sets=SETS):
    """File name → content, in the format of the campaign; `pairs` are in the order of `languages`."""
    files = {}
    for side, language in enumerate(languages):
        lines = []
        for start in range(0, 92, 23):  # talks
            lines += [f"<url>http://example.org/{start}</url>", "<keywords>talks, birds</keywords>"]
            lines += [f"<talkid>{start}</talkid>", f"<title>{pairs['train'][start][side]}</title>"]
            lines += [f"<description>{pairs['train'][start + 1][side]}</description>"]
            lines += [f" {pair[side]} " for pair in pairs["train"][start + 2 : start + 23]]
        files[f"train.tags.{pair}.{language}"] = "\n".join(lines) + "\n"
        for name, first in sets.items():
            segments = [
                f'<seg id="{number}"> {_escaped(pair[side])} </seg>'
                for number, pair in enumerate(pairs["test"][first : first + 3], 1)
            ]
            text = "\n".join(
                ['<?xml version="1.0" encoding="UTF-8"?>', "<mteval>", '<doc docid="1">', *segments, "</doc>"]
            )
            files[f"IWSLT14.{name}.{pair}.{language}.xml"] = text
    return files


def _escaped(text):
    return text.replace("&", "&amp;").replace("<", "&lt;")


def pack(path, files):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    return path


def folder(path, files):
    path.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (path / name).write_text(text, encoding="utf-8")
    return path


def wmt_files(pairs, raw=True):
    files = {}
    for side, language in enumerate(("en", "de")):
        for name, split in {"train.tok.clean": "train", "newstest2013.tok": "val", "newstest2014.tok": "test"}.items():
            count = 200 if split == "train" else 10
            text = [pair[side] for pair in pairs[split][:count]]
            tokens = [re.sub(r"(\w)er\b", r"\1@@ er", re.sub(r"([.,?])", r" \1", line)) for line in text]
            files[f"{name}.bpe.32000.{language}"] = "".join(f"{line}\n" for line in tokens)
            if raw and split != "train":
                files[f"{name[:12]}.{language}"] = "".join(f"{line}\n" for line in text)
    return files


def test_iwslt14_is_prepared_as_by_the_script_of_fairseq(tmp_path, pairs):
    some = {split: list(given) for split, given in pairs.items()}
    some["test"][1] = ("It’s Tom & I <3.", "Es ist Tom’s & meins.")
    some["train"][2] = ("A b c d e f g h.", "Kurz.")
    pack(tmp_path / "raw/iwslt14_en_de/de-en.tgz", {f"de-en/{n}": t for n, t in iwslt_files(some).items()})
    out = tmp_path / "out"
    manifest = prepare(IWSLT, out, root=tmp_path / "raw")
    kept = [pair for index, pair in enumerate(some["train"][:92]) if index != 2]
    assert manifest["removed"] == {"train: ratio": 1}
    assert manifest["sizes"] == {"train": len(kept) - 3, "val": 3, "test": 15}
    assert manifest["test_sets"] == ["dev2010", "dev2012", "tst2010", "tst2011", "tst2012"]
    assert (out / "raw/val.de").read_text().splitlines() == [kept[n][1] for n in (22, 45, 68)]
    raw = (out / "raw/test.en").read_text().splitlines()
    assert raw == [pair[0] for pair in some["test"][:15]]
    assert (out / "tok/test.en").read_text().splitlines()[1] == "it &apos;s tom &amp; i &lt; 3 ."
    assert (out / "tok/test.de").read_text().splitlines()[1] == "es ist tom &apos; s &amp; meins ."
    train = [line.replace("@@ ", "") for line in (out / "subwords/train.de").read_text().splitlines()]
    assert train[0] == kept[0][1].lower().replace(".", " .").replace(",", " ,").replace("?", " ?")
    assert not any("<" in line or "example" in line for line in train)
    assert manifest["moses"]
    assert (out / "bin/train.en-de.de.bin").is_file()


def test_iwslt14_of_another_pair_from_a_folder_named_the_other_way(tmp_path, pairs):
    """English-Russian: no TEDx talks; the pair may be named in either order, and translated in either direction."""
    sets = {name: first for name, first in SETS.items() if "TEDX" not in name}
    files = iwslt_files(pairs, pair="ru-en", languages=("ru", "en"), sets=sets)
    place = folder(tmp_path / "elsewhere/ru-en", files)
    spec = settled(CorpusSpec("iwslt14_en_ru", archive=str(place)))
    corpus = read(spec, tmp_path, tmp_path / "scratch")
    assert corpus.test_sets == ("dev2010", "tst2010", "tst2011", "tst2012")
    assert corpus.test.raw[0] == (pairs["test"][0][1], pairs["test"][0][0])
    assert len(list(corpus.train())) == 92
    back = settled(CorpusSpec("iwslt14_en_ru", source="ru", target="en", archive=str(place)))
    assert read(back, tmp_path, tmp_path / "scratch").test.raw[0] == pairs["test"][0]
    pinned = settled(CorpusSpec("iwslt14_en_ru", archive=str(place), sha256=fingerprint(spec, tmp_path)))
    read(pinned, tmp_path, tmp_path / "scratch")
    (place / "train.tags.ru-en.ru").write_text(files["train.tags.ru-en.ru"].replace("er", "es"))
    with refused(DataError, "ru-en", "dataset.sha256"):
        read(pinned, tmp_path, tmp_path / "scratch")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"train.tags.de-en.de": None}, "train.tags.en-de.*"),
        ({"IWSLT14.TED.tst2011.de-en.en.xml": None}, "IWSLT14.TED.tst2011.en-de.*.xml"),
        ({"IWSLT14.TED.tst2012.de-en.en.xml": "<doc/>"}, "tst2012.de-en.en.xml"),
        ({"train.tags.de-en.en": "One.\n"}, "train.tags.de-en.en"),
    ],
)
def test_incomplete_archives_of_iwslt14_are_named(tmp_path, pairs, change, named):
    files = {name: text for name, text in (iwslt_files(pairs) | change).items() if text is not None}
    place = folder(tmp_path / "iwslt14_en_de", files)
    assert find_archive(IWSLT, tmp_path, mirror=None, fetch=False) == place
    with refused(DataError, named):
        read(settled(IWSLT), tmp_path, tmp_path / "scratch")


def test_wmt16_is_taken_as_segmented(tmp_path, pairs):
    files = wmt_files(pairs)
    pack(tmp_path / "wmt16_en_de.tar.gz", files)
    out = tmp_path / "out"
    manifest = prepare(WMT, out, root=tmp_path)
    assert manifest["sizes"] == {"train": 200, "val": 10, "test": 10}
    assert (manifest["references"], manifest["moses"], manifest["subwords"]) == ("as given", True, "given")
    for language in ("en", "de"):
        assert (out / f"subwords/train.{language}").read_text() == files[f"train.tok.clean.bpe.32000.{language}"]
        assert (out / f"subwords/test.{language}").read_text() == files[f"newstest2014.tok.bpe.32000.{language}"]
        assert (out / f"raw/val.{language}").read_text() == files[f"newstest2013.{language}"]
        assert "@@" not in (out / f"tok/val.{language}").read_text()
    assert not (out / "subwords/codes").exists()
    assert "max_ratio" not in manifest["spec"]


def test_wmt16_without_raw_files_is_detokenised_and_says_so(tmp_path, pairs):
    place = folder(tmp_path / "wmt16_en_de", wmt_files(pairs, raw=False))
    corpus = read(settled(WMT), tmp_path, tmp_path / "scratch")
    assert corpus.references == "detokenised"
    assert corpus.test.raw == pairs["test"][:10]
    held = settled(CorpusSpec("wmt_en_de", holdout_every=10))
    assert read(held, tmp_path, tmp_path).untokenised(("the c@@ at , now .", "die K@@ atze .")) == (
        "the cat, now.",
        "die Katze.",
    )
    (place / "newstest2013.en").write_text("one\n")
    (place / "newstest2013.de").write_text("eins\n")
    with refused(DataError, "newstest2013.en", "newstest2013.tok.bpe.32000.en"):
        read(settled(WMT), tmp_path, tmp_path / "scratch")
    (place / "newstest2014.tok.bpe.32000.de").unlink()
    with refused(DataError, "newstest2014.tok.bpe.32000.en", "newstest2014.tok.bpe.32000.de"):
        read(settled(WMT), tmp_path, tmp_path / "scratch")


def test_a_missing_archive_says_what_to_put_where(tmp_path):
    with refused(DataError, "de-en.tgz", "en-de.tgz", f"{tmp_path}/iwslt14_en_de", "data.download"):
        find_archive(IWSLT, tmp_path, mirror=None, fetch=False)
    with refused(DataError, "iwslt14_en_ru", "en-ru.tgz", "ru-en.tgz", "dataset.archive"):
        find_archive(CorpusSpec("iwslt14_en_ru"), tmp_path, mirror=None, fetch=True)
    with refused(DataError, "mine.tgz", "dataset.archive"):
        find_archive(CorpusSpec("wmt_en_de", archive=f"{tmp_path}/mine.tgz"), tmp_path, mirror=None, fetch=False)


def test_damaged_foreign_and_hostile_archives_are_refused(tmp_path, pairs):
    path = pack(tmp_path / "de-en.tgz", iwslt_files(pairs))
    good = path.read_bytes()
    spec = CorpusSpec("iwslt14_en_de", archive=str(path), sha256=hashlib.sha256(good).hexdigest())
    assert fingerprint(spec, tmp_path) == spec.sha256
    path.write_bytes(good[:-100])
    with refused(DataError, "de-en.tgz", "sha256", "dataset.sha256"):
        prepare(spec, tmp_path / "out")
    with refused(DataError, "de-en.tgz"):
        prepare(CorpusSpec("iwslt14_en_de", archive=str(path)), tmp_path / "out")
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo("../outside")
        member.size = 1
        tar.addfile(member, io.BytesIO(b"x"))
    with refused(DataError, "de-en.tgz", "../outside"):
        prepare(CorpusSpec("iwslt14_en_de", archive=str(path)), tmp_path / "out")
    assert not (tmp_path / "outside").exists()
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [".lock"]


def test_languages_that_the_corpus_lacks_are_refused(tmp_path):
    with refused(SpecError, "wmt_en_de", "fr and de"):
        read(settled(CorpusSpec("wmt_en_de", source="fr")), tmp_path, tmp_path)
    with refused(SpecError, "sentences", "dataset.sha256"):
        fingerprint(CorpusSpec("sentences"), tmp_path)


@pytest.fixture
def server(tmp_path):
    """A web server of a folder."""
    place = tmp_path / "www"
    place.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(place))

        def log_message(self, *_):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield place, f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()


def test_archives_are_downloaded_once_and_checked(server, tmp_path, pairs, capsys):
    place, url = server
    data = pack(place / "de-en.tgz", iwslt_files(pairs)).read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    root = tmp_path / "raw"
    # the declared address, by mirror; no declared checksum, so it is printed
    found = find_archive(IWSLT, root, mirror=url, fetch=True)
    assert found.read_bytes() == data
    assert digest in capsys.readouterr().out
    (place / "de-en.tgz").rename(place / "mine.tgz")
    assert find_archive(IWSLT, root, mirror=url, fetch=True) == found
    # an address of the user's, with a checksum
    own = CorpusSpec("iwslt14_en_de", archive=f"{url}/mine.tgz", sha256=digest)
    assert find_archive(own, root, mirror=None, fetch=True).read_bytes() == data
    other = CorpusSpec("iwslt14_en_de", archive=f"{url}/mine.tgz", sha256="0" * 64)
    with refused(DataError, digest):
        find_archive(other, tmp_path / "empty", mirror=None, fetch=True)
    absent = CorpusSpec("iwslt14_en_de", archive=f"{url}/absent.tgz")
    with refused(DataError, "absent.tgz"):
        find_archive(absent, root, mirror=None, fetch=True)
    assert not (root / "iwslt14_en_de/absent.tgz").exists()


def test_an_archive_cut_off_by_the_network_is_not_kept(tmp_path):
    class Cut(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(gzip.compress(b"half"))

        def log_message(self, *_):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Cut)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    spec = CorpusSpec("wmt_en_de", archive=f"http://127.0.0.1:{running.server_port}/wmt.tar.gz")
    with refused(DataError, "wmt.tar.gz", "data.mirror"):
        find_archive(spec, tmp_path, mirror=None, fetch=True)
    running.shutdown()
    running.server_close()
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and not path.name.endswith(".lock")]
