"""The cache of a translation teacher: what is in it, that it goes on after a kill, and that any other is refused."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from refusals import refused, says
from small_text import (
    ROOT,
    SIZES,
    TOKENS,
    TYPES,
    Forge,
    Project,
    audit_of,
    need_of,
    own_config,
    sentences,
    write_text,
)

from softlabels.errors import EXIT_ERROR, EXIT_USAGE, SoftlabelsError, SpecError, Stopped
from softlabels.files import read_json, sha256, write_json
from softlabels.grid.audit import audit, total, warnings_about
from softlabels.grid.config import read_yaml
from softlabels.grid.costs import check_cache_budget
from softlabels.grid.expand import load_plan
from softlabels.grid.identity import needed_cache
from softlabels.grid.jobs import every_job
from softlabels.grid.parts.probes import Translations
from softlabels.grid.parts.translation import CorpusSpec, TranslationRecipe
from softlabels.grid.spec import Distill, Hard, ModelSpec, Teacher, TranslationSpec, cache_kind
from softlabels.layout import Layout
from softlabels.translation import cache as module
from softlabels.translation.cache import FP16_TOLERANCE, CachedTeacher, checksums, sentence_hashes, write_cache
from softlabels.translation.losses import DenseTeacher, SparseTeacher
from softlabels.translation.network import Corpus, Translator
from softlabels.versions import code_version

D, K, T = 32, 4, 2.0
ABOUT = {"teacher": "a", "checkpoint": "last"}
PARTS = {
    "features": {"features": (np.float16, D)},
    "dense": {"logits": (np.float16, TYPES)},
    "topk_drop": {"values": (np.float16, K), "indices": (np.uint16, K)},
    "topk_lse": {"values": (np.float16, K), "indices": (np.uint16, K), "lse": (np.float32, None)},
}
KINDS = tuple(PARTS)


def write(folder: Path, translator: Translator, corpus: Corpus, kind: str, **options: Any) -> Path:
    k = K if kind.startswith("topk") else None
    write_cache(folder, translator, corpus, **{"kind": kind, "k": k, "temperature": T, "about": ABOUT} | options)
    return folder


@pytest.fixture(scope="module")
def whole(translator: Translator, corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A cache of each kind, in shards of about a thousand rows. Read only."""
    root = tmp_path_factory.mktemp("caches")
    with pytest.MonkeyPatch.context() as patch:
        for kind in KINDS:
            each = {"features": 2 * D, "dense": 2 * TYPES}.get(kind, 8 * K + 4)
            patch.setattr(module, "SHARD_BYTES", 1000 * each)
            write(root / kind, translator, corpus, kind)
    return {kind: root / kind for kind in KINDS}


@pytest.fixture
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of about a thousand rows of features."""
    monkeypatch.setattr(module, "SHARD_BYTES", 1000 * 2 * D)


@pytest.fixture
def folder(whole: dict[str, Path], tmp_path: Path, few_rows: None) -> Path:
    """A cache of features to damage."""
    shutil.copytree(whole["features"], tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def exact(translator: Translator, corpus: Corpus) -> list[torch.Tensor]:
    """The teacher's logits at each token of each training sentence, asked one sentence at a time."""
    data, found = corpus.sentences("train"), []
    with torch.no_grad():
        for i in range(len(data)):
            logits, _ = translator.network(**data.collater([data[i]])["net_input"])
            found.append(logits[0])
    return found


# ------------------------------------------------------------ what is in it


@pytest.mark.parametrize("kind", KINDS)
def test_the_files_are_those_of_the_manifest(whole: dict[str, Path], corpus: Corpus, kind: str) -> None:
    folder = whole[kind]
    manifest = read_json(folder / "manifest.json")
    lengths = np.asarray(corpus.sentences("train").tgt_sizes)
    offsets, hashes = np.load(folder / "offsets.npy"), np.load(folder / "hashes.npy")
    assert (offsets.dtype, hashes.dtype) == (np.int64, np.uint64)
    assert offsets.tolist() == [0, *np.cumsum(lengths).tolist()]
    assert (len(hashes), offsets[-1]) == (SIZES["train"], TOKENS)
    assert np.array_equal(hashes, sentence_hashes(corpus.sentences("train")))
    bounds = manifest["bounds"]
    assert (bounds[0], bounds[-1], len(bounds) > 6) == (0, SIZES["train"], True)
    names = {"offsets.npy", "hashes.npy", *(["output.npy"] if kind == "features" else [])}
    for part, (dtype, width) in PARTS[kind].items():
        for n, (first, last) in enumerate(itertools.pairwise(bounds)):
            rows = np.load(folder / f"{part}-{n:04d}.npy")
            assert rows.dtype == dtype
            assert rows.shape == (offsets[last] - offsets[first], *([] if width is None else [width]))
            names.add(f"{part}-{n:04d}.npy")
    assert checksums(manifest) == {name: sha256(folder / name) for name in names}
    assert {path.name for path in folder.iterdir()} == names | {"manifest.json", "shards.json"}
    wanted = {
        "kind": kind,
        "vocabulary": TYPES,
        "rows": TOKENS,
        "temperature": T if kind == "topk_lse" else None,
        "code_versions": {"corpora": code_version("corpora"), "translation": code_version("translation")},
        **ABOUT,
    }
    wanted |= {"top_k": K if "topk" in kind else None, "data_fingerprint": corpus.manifest["fingerprint"]}
    assert manifest.items() >= (wanted | {"dictionary_sha256": corpus.manifest["dictionary_sha256"]}).items()


def rows_of(cache: CachedTeacher, ids: list[int], exact: list[torch.Tensor]) -> Any:
    return cache.rows(ids, T, sum(len(exact[i]) for i in ids))


@pytest.mark.parametrize("kind", KINDS)
def test_every_sentence_finds_its_own_rows(
    whole: dict[str, Path], corpus: Corpus, exact: list[torch.Tensor], kind: str
) -> None:
    """In any order, across shards and at their ends: what the teacher says of it, to fp16."""
    cache = CachedTeacher(whole[kind], corpus)
    bounds = cache.bounds.tolist()
    orders = [list(range(SIZES["train"])), [299, 0, 150, 7], *([i, i - 1] for i in bounds[1:-1])]
    for ids in orders:
        logits = torch.cat([exact[i] for i in ids])
        tolerance = {"rtol": 0.0, "atol": FP16_TOLERANCE * logits.abs().max().item()}
        found = rows_of(cache, ids, exact)
        if kind in ("features", "dense"):
            assert isinstance(found, DenseTeacher)
            torch.testing.assert_close(found.logits, logits, **tolerance)
            continue
        assert isinstance(found, SparseTeacher)
        torch.testing.assert_close(found.values, logits.topk(K, dim=1).values, **tolerance)
        torch.testing.assert_close(logits.gather(1, found.indices), found.values, **tolerance)
        assert (found.values.diff(dim=1) <= 0).all()
        if kind == "topk_lse":
            assert found.lse is not None
            torch.testing.assert_close(found.lse, torch.logsumexp(logits / T, 1), rtol=0.0, atol=tolerance["atol"])
        else:
            assert found.lse is None


def test_all_kinds_are_made_of_the_same_activations(whole: dict[str, Path], corpus: Corpus) -> None:
    count = [TOKENS]
    ids = list(range(SIZES["train"]))
    features, dense, drop, lse = (CachedTeacher(whole[kind], corpus).rows(ids, T, *count) for kind in KINDS)
    assert torch.equal(features.logits.half(), dense.logits.half())
    assert torch.equal(drop.values, lse.values)
    assert torch.equal(drop.values, dense.logits.topk(K, dim=1).values)
    torch.testing.assert_close(lse.lse, torch.logsumexp(features.logits / T, 1))


@pytest.mark.parametrize("rows", [1, 10**6])
def test_shards_end_between_sentences_however_small_they_are(
    translator: Translator, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int,
    exact: list[torch.Tensor],
) -> None:  # fmt: skip
    monkeypatch.setattr(module, "SHARD_BYTES", rows * 2 * D)
    cache = CachedTeacher(write(tmp_path, translator, corpus, "features"), corpus)
    bounds = cache.bounds.tolist()
    assert bounds == sorted(set(bounds))
    assert len(bounds) - 1 == {1: SIZES["train"], 10**6: 1}[rows]
    found = rows_of(cache, list(range(SIZES["train"])), exact).logits
    torch.testing.assert_close(
        found, torch.cat(exact), rtol=0.0, atol=FP16_TOLERANCE * torch.cat(exact).abs().max().item()
    )


def test_logits_beyond_fp16_are_never_written(translator: Translator, corpus: Corpus, tmp_path: Path) -> None:
    diverged = copy.deepcopy(translator.network)
    diverged.decoder.output_projection.weight = torch.nn.Parameter(1e6 * translator.output)
    for kind in ("dense", "topk_drop"):
        with refused(SoftlabelsError, "logits", "fp16"):
            write(tmp_path / kind, dataclasses.replace(translator, network=diverged), corpus, kind)
        assert not list((tmp_path / kind).glob("*"))
    with torch.no_grad():
        diverged.decoder.layers[-1].final_layer_norm.weight.fill_(float("nan"))
    with refused(SoftlabelsError, "activations", "fp16"):
        write(tmp_path / "features", dataclasses.replace(translator, network=diverged), corpus, "features")
    assert not list((tmp_path / "features").glob("*"))


# ------------------------------------------------------------ interrupted and damaged


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in sorted(folder.glob("*-0*.npy"))}


def same_files(ours: Path, theirs: Path) -> bool:
    names = {path.name for path in theirs.iterdir() if not path.name.startswith("lease.")}
    return all((ours / name).read_bytes() == (theirs / name).read_bytes() for name in names)


def test_an_interrupted_write_goes_on_where_it_was(
    translator: Translator, corpus: Corpus, tmp_path: Path, whole: dict[str, Path], few_rows: None
) -> None:
    left = iter([False] * 3)
    with refused(Stopped, "3"):
        write(tmp_path, translator, corpus, "features", should_stop=lambda: next(left, True))
    with refused(SoftlabelsError, tmp_path / "manifest.json"):
        CachedTeacher(tmp_path, corpus)
    before = times(tmp_path)
    assert list(before) == [f"features-000{n}.npy" for n in range(3)]
    write(tmp_path, translator, corpus, "features")
    assert times(tmp_path).items() >= before.items()
    assert same_files(tmp_path, whole["features"])


def test_killed_while_it_is_written_it_goes_on(forge: Forge, project: Project) -> None:
    """Between two files of one shard, between two shards, and before the manifest."""
    student = project.student(project.run(), T, cache="topk_lse", top_k=K)
    project.specify(student)
    command = [*project.outputs("cache", student), "--device", "cpu"]
    small = "import softlabels.translation.cache as cache; cache.SHARD_BYTES = 60_000; "
    folder = project.cached(student)
    assert forge.run(command, project.root / "log.txt", small) == 0
    whole = project.root / "whole"
    folder.rename(whole)
    counts = []
    for call in (
        "cache:save_array:2",
        "cache:save_array:3:after",
        "cache:write_json:2:after",
        "cache:sentence_hashes:1",
    ):
        status = forge.run(command, project.root / "log.txt", f"{small} kill_in('softlabels.translation.{call}')")
        assert status == -signal.SIGKILL, (project.root / "log.txt").read_text()
        assert not (folder / "manifest.json").exists()
        counts.append(len(times(folder)))
    assert counts == sorted(counts)
    before = times(folder)
    assert len(before) > 4
    assert forge.run(command, project.root / "log.txt", small) == 0
    assert times(folder) == before
    assert same_files(folder, whole)
    CachedTeacher(folder, project.open())


FILES = ("features-0000.npy", "features-0002.npy", "offsets.npy", "hashes.npy", "output.npy")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["byte", "truncated", "missing"])
def test_a_damaged_file_is_named_and_made_again_alone(
    folder: Path, translator: Translator, corpus: Corpus, name: str, damage: str
) -> None:
    path, whole, before = folder / name, (folder / name).read_bytes(), times(folder)
    if damage == "byte":
        path.write_bytes(whole[:-3] + bytes([whole[-3] ^ 64]) + whole[-2:])
    elif damage == "truncated":
        path.write_bytes(whole[:-1])
    else:
        path.unlink()
    with refused(SoftlabelsError, path, folder / "manifest.json"):
        CachedTeacher(folder, corpus)
    (folder / "manifest.json").unlink()
    write(folder, translator, corpus, "features")
    assert path.read_bytes() == whole
    CachedTeacher(folder, corpus)
    after = times(folder)
    assert [n for n in before if after[n] != before[n]] == [n for n in before if n == name]


# ------------------------------------------------------------ of something else


def rehashed(folder: Path, **changes: Any) -> None:
    """The manifest with other entries, and with the checksums that the files now have."""
    manifest = read_json(folder / "manifest.json") | changes
    for group in ("shards", "common"):
        manifest[group] = {name: sha256(folder / name) for name in manifest[group]}
    write_json(folder / "manifest.json", manifest)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("vocabulary", 143),
        ("dictionary_sha256", "0" * 64),
        ("data_fingerprint", "0" * 64),
        ("teacher", "b"),
        ("checkpoint", "best"),
    ],
)
def test_a_cache_of_another_origin_is_refused(folder: Path, corpus: Corpus, key: str, value: Any) -> None:
    rehashed(folder, **{key: value})
    with refused(SoftlabelsError, folder / "manifest.json", key):
        CachedTeacher(folder, corpus, ABOUT)


@pytest.mark.parametrize("other", ["other text", "shuffled text", "other vocabulary"])
def test_a_cache_of_another_corpus_is_refused(folder: Path, corpus: Corpus, tmp_path: Path, other: str) -> None:
    """Real corpora of the same size: their fingerprints tell."""
    pairs = sentences()["train"]
    train = pairs[: SIZES["train"]]
    if other == "other text":
        train = [*train[:-1], pairs[SIZES["train"]]]
    elif other == "shuffled text":
        train = [train[1], train[0], *train[2:]]
    fields = {"num_subwords": 60} if other == "other vocabulary" else {}
    write_text(tmp_path / "text", train=train)
    foreign = Project.of(tmp_path, train_tokens=2 * TOKENS, vocabulary=2 * TYPES, **fields).open()
    assert (foreign.vocabulary == TYPES) == (other != "other vocabulary")
    with refused(SoftlabelsError, folder / "manifest.json"):
        CachedTeacher(folder, foreign)
    # And where somebody has edited the manifest, each sentence is compared.
    manifest = foreign.manifest
    rehashed(
        folder, data_fingerprint=manifest["fingerprint"], dictionary_sha256=manifest["dictionary_sha256"],
        vocabulary=foreign.vocabulary,
    )  # fmt: skip
    with refused(SoftlabelsError, folder / "hashes.npy"):
        CachedTeacher(folder, foreign)


def test_rows_in_a_shuffled_order_are_refused(folder: Path, corpus: Corpus) -> None:
    hashes = np.load(folder / "hashes.npy")
    hashes[[10, 20]] = hashes[[20, 10]]
    np.save(folder / "hashes.npy", hashes)
    rehashed(folder)
    with refused(SoftlabelsError, folder / "hashes.npy", "line 11"):
        CachedTeacher(folder, corpus)


def test_sentences_of_other_lengths_are_refused(folder: Path, corpus: Corpus) -> None:
    offsets = np.load(folder / "offsets.npy")
    offsets[5] += 1
    np.save(folder / "offsets.npy", offsets)
    rehashed(folder)
    cache, lengths = CachedTeacher(folder, corpus), corpus.sentences("train").tgt_sizes
    with refused(SoftlabelsError, folder, "[5, 7]"):
        cache.rows([5, 7], T, int(lengths[5] + lengths[7]))


def test_the_normaliser_of_another_temperature_is_refused(whole: dict[str, Path], corpus: Corpus) -> None:
    with refused(SoftlabelsError, whole["topk_lse"], "T = 2.0"):
        CachedTeacher(whole["topk_lse"], corpus).rows([0], 3.0, int(corpus.sentences("train").tgt_sizes[0]))


def test_shards_of_another_teacher_are_not_reused(
    folder: Path, corpus: Corpus, shared: Project, teacher: TranslationSpec
) -> None:
    """The teacher was trained again, and its weights are others."""
    (folder / "manifest.json").unlink()
    other = shared.translator(teacher, corpus, seed=1)
    write(folder, other, corpus, "features", about=ABOUT | {"teacher": "b"})
    assert CachedTeacher(folder, corpus).check(other, corpus, 40) < FP16_TOLERANCE


# ------------------------------------------------------------ check_logits


@pytest.mark.parametrize("kind", KINDS)
def test_a_good_cache_passes_its_check(
    whole: dict[str, Path], translator: Translator, corpus: Corpus, kind: str
) -> None:
    """Rounding is seen, and no more."""
    worst = CachedTeacher(whole[kind], corpus).check(translator, corpus, 50)
    assert 0 < worst < FP16_TOLERANCE / 2


def shift(rows: np.ndarray) -> None:
    rows[:, 0] += 0.3


def swap(rows: np.ndarray) -> None:
    rows[:, [0, 1]] = rows[:, [1, 0]]


def lower(rows: np.ndarray) -> None:
    """Other types than the largest."""
    rows[:, -1] = 3


def nothing(rows: np.ndarray) -> None:
    rows[...] = np.nan


def more(rows: np.ndarray) -> None:
    rows += 0.3


@pytest.mark.parametrize(
    ("kind", "part", "change"),
    [
        ("features", "features", shift), ("features", "features", nothing), ("dense", "logits", shift),
        ("dense", "logits", nothing), ("topk_drop", "values", shift), ("topk_drop", "indices", swap),
        ("topk_drop", "indices", lower), ("topk_lse", "values", nothing), ("topk_lse", "lse", more),
        ("topk_lse", "lse", nothing),
    ],
)  # fmt: skip
def test_the_check_finds_numbers_that_were_changed_with_their_checksums(
    whole: dict[str, Path], translator: Translator, corpus: Corpus, tmp_path: Path, kind: str, part: str,
    change: Callable[[np.ndarray], None],
) -> None:  # fmt: skip
    folder = tmp_path / "cache"
    shutil.copytree(whole[kind], folder)
    for path in folder.glob(f"{part}-*.npy"):
        rows = np.load(path)
        change(rows)
        np.save(path, rows)
    rehashed(folder)
    cache = CachedTeacher(folder, corpus)  # every checksum is right
    with refused(SoftlabelsError, folder, varies=r"by \S+"):
        cache.check(translator, corpus, 20)


def test_the_check_finds_another_teacher(
    whole: dict[str, Path], corpus: Corpus, shared: Project, teacher: TranslationSpec
) -> None:
    for kind in KINDS:
        with refused(SoftlabelsError, whole[kind], varies=r"by \S+"):
            CachedTeacher(whole[kind], corpus).check(shared.translator(teacher, corpus, 1), corpus, 20)


# ------------------------------------------------------------ the command


def test_the_command_writes_checks_and_refuses(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    student = project.student(project.run(), T, cache="topk_drop", top_k=K)
    project.cache(student)
    assert project.call("cache", student, options=["--check", "25"]) == 0
    (line,) = [x for x in capsys.readouterr().out.splitlines() if "largest difference" in x]
    assert line.startswith(f"{need_of(student).id} seed 0: largest difference ")
    folder = project.cached(student)
    values = np.load(folder / "values-0000.npy")
    np.save(folder / "values-0000.npy", values + np.float16(0.5))
    rehashed(folder)
    assert project.call("cache", student, options=["--check", "25"]) == EXIT_ERROR
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("softlabels cache:")]
    says(line, folder, varies=r"by \S+")


def test_a_student_refuses_the_cache_of_a_teacher_trained_again(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on an accelerator, where the same training need not give the same bits."""
    student = project.student(project.run(), T)
    project.cache(student)
    record = project.store(project.run()) / "run.json"
    content = read_json(record)
    content["files"]["weights.safetensors"] = "0" * 64
    write_json(record, content)
    assert project.call("train", student) == EXIT_ERROR
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("softlabels train:")]
    folder = project.cached(student)
    says(line, folder / "manifest.json", "teacher_files")
    assert not (project.store(student) / "run.json").exists()


def test_a_changed_teacher_writes_no_cache(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    student, path = project.student(project.run(), T), project.store(project.run()) / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    for command, run in (("cache", student), ("train", project.student(project.run(), T, cache="online"))):
        assert project.call(command, run) == EXIT_ERROR
        (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith(f"softlabels {command}:")]
        says(line, path, path.parent)
    assert not (project.cached(student) / "manifest.json").exists()


@pytest.mark.parametrize("command", ["cache", "train"])
def test_more_logits_than_types_are_refused(project: Project, capsys: pytest.CaptureFixture[str], command: str) -> None:
    student = project.student(project.run(), T, cache="topk_drop", top_k=TYPES + 1)
    assert project.call(command, student) == EXIT_USAGE
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith(f"softlabels {command}:")]
    says(line, "targets.top_k", "145")
    assert not (project.cached(student) / "manifest.json").exists()
    assert not (project.store(student) / "run.json").exists()


@pytest.mark.parametrize("temperature", [0, -1.0])
def test_temperatures_are_positive(project: Project, temperature: float) -> None:
    with refused(SpecError, "targets.temperature", temperature):
        project.student(project.run(), temperature)
    with refused(SpecError, "temperature", temperature):
        Translations("translations", temperature=temperature)


# ------------------------------------------------------------ the plan


def test_students_share_a_cache_when_they_see_the_same_logits(shared: Project, teacher: TranslationSpec) -> None:
    """The log-normaliser belongs to one temperature, all else to none."""

    def ids(**options: Any) -> set[str]:
        return {need_of(shared.student(teacher, t, **options)).id for t in (1.0, 2.0, 64.0)}

    assert [len(ids(cache=kind)) for kind in ("features", "dense")] == [1, 1]
    assert len(ids(cache="topk_drop", top_k=4)) == 1
    assert len(ids(cache="topk_lse", top_k=4)) == 3
    every = [ids(cache=c, top_k=k) for c, k in (("dense", None), ("topk_drop", 4), ("topk_drop", 8), ("topk_lse", 4))]
    every += [ids(), ids(checkpoint="best")]
    assert len(set.union(*every)) == sum(map(len, every))
    assert ids() == ids(beta=0.5, hard_alpha=0.1) == ids(cache="features")
    assert needed_cache(shared.student(teacher, 2.0, cache="online")) is None
    assert needed_cache(teacher) is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_cache_takes_the_bytes_that_were_estimated(
    whole: dict[str, Path], shared: Project, teacher: TranslationSpec, kind: str
) -> None:
    student = shared.student(teacher, T, cache=kind, top_k=K if "topk" in kind else None)
    real = sum(path.stat().st_size for path in whole[kind].glob("*.npy"))
    headers = 128 * len(list(whole[kind].glob("*.npy")))
    assert need_of(student).bytes == pytest.approx(real - headers, rel=0.03)


def features_of(corpus: str) -> int:
    """Bytes of the features of a network of width 512."""
    recipe = TranslationRecipe(max_tokens=4096, lr=5e-4, warmup_updates=4000, updates=1000)
    spec = TranslationSpec(CorpusSpec(corpus), ModelSpec("transformer_wmt_en_de"), Hard(), recipe, "translation")
    need = needed_cache(dataclasses.replace(spec, targets=Distill(Teacher(spec), 2.0)))
    assert need is not None
    return need.bytes


def test_the_published_corpora_take_4_and_133_gigabytes() -> None:
    assert features_of("iwslt14_en_de") == pytest.approx(4.1e9, rel=0.03)
    assert features_of("wmt_en_de") == pytest.approx(133e9, rel=0.01)


def test_a_cache_above_the_budget_is_refused(
    shared: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    allowed = own_config(shared, cache={"max_bytes": 10**9})
    check_cache_budget(load_plan(allowed, ROOT))
    assert audit_of(allowed, tmp_path / "config.yaml", monkeypatch) == 0
    capsys.readouterr()
    small = own_config(shared, cache={"max_bytes": 100_000})
    with refused(SpecError, "cache.max_bytes", "0.0001 GB"):
        check_cache_budget(load_plan(small, ROOT))
    assert audit_of(small, tmp_path / "config.yaml", monkeypatch) == EXIT_USAGE
    says(capsys.readouterr().err, "config.yaml: cache.max_bytes", "0.000168 GB")


@pytest.mark.parametrize(("temperature", "warned"), [(1, False), (2, False), (3, True), (64, True)])
def test_an_even_tail_above_temperature_2_is_warned_of(
    shared: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    temperature: float, warned: bool,
) -> None:  # fmt: skip
    asked = own_config(shared)
    asked["grid"]["families"]["students"]["axes"]["T"] = [temperature]
    found = warnings_of(asked)
    assert len(found) == warned
    assert audit_of(asked, tmp_path / "config.yaml", monkeypatch) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if "topk_lse caches above T = 2" in line]
    assert told == found


def warnings_of(config: dict[str, Any]) -> list[str]:
    """About all that a configuration asks for."""
    plan = load_plan(config, ROOT)
    return warnings_about(plan, every_job(plan, Layout(ROOT / "results" / plan.scale)))


def test_the_published_ablation_is_warned_of_and_the_papers_tables_are_not() -> None:
    shipped = read_yaml(ROOT / "config.yaml") | {"scale": "paper"}
    (warning,) = warnings_of(shipped | {"papers": ["ablations"]})
    assert warning.startswith("warning: 8 runs distil from topk_lse caches above T = 2")
    assert warnings_of(shipped | {"papers": ["chandrasegaran2022"], "variants": True}) == []


def test_the_audit_warns_of_the_artifacts_that_are_asked_for_alone() -> None:
    plan = load_plan(read_yaml(ROOT / "config.yaml") | {"scale": "paper"}, ROOT)
    warned = {name for name in plan.artifacts if audit(plan, ROOT / "nowhere", [name])["warnings"]}
    assert warned == {
        a.id
        for a in plan.artifacts.values()
        if any(cache_kind(m.run) == "topk_lse" and m.run.targets.given_temperature > 2 for m in a.members)  # type: ignore[union-attr]
    }
    assert {name.split(".")[0] for name in warned} == {"ablations"}
    targets = [plan.artifacts[name].target for name in sorted(warned)]
    assert total(plan, ROOT / "nowhere", targets)["warnings"] == audit(plan, ROOT / "nowhere")["warnings"]
    assert total(plan, ROOT / "nowhere", ["muller2019_fig5"])["warnings"] == []
