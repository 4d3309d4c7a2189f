"""Caches of a translation teacher's logits: one row for each token of the training text, in the order of the text.

A cache folder holds `offsets.npy` (int64 [S + 1]: where each sentence's rows begin), `hashes.npy` (uint64 [S]: of each
sentence's target tokens), shards cut between sentences, and last of all `manifest.json` with the SHA-256 of each file.
A shard is made of these arrays, as the kind has them:

* `features`: `features-0000.npy` fp16 [rows, d], and once `output.npy` fp32 [V, d]: their product is the logits;
* `dense`: `logits-0000.npy` fp16 [rows, V];
* `topk_drop`, `topk_lse`: `values-0000.npy` fp16 [rows, k], `indices-0000.npy` uint16 or int32 [rows, k], and of the
  latter `lse-0000.npy` fp32 [rows]: log Σ exp(z / T) over all V types.

`shards.json` records what is done and from what, so an interrupted write goes on where it was.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from softlabels.cache import SHARD_BYTES, require_whole, save_array
from softlabels.errors import SoftlabelsError, SpecError, Stopped
from softlabels.files import read_json, sha256, write_json
from softlabels.grid.tasks.translation import STAGES, index_bytes
from softlabels.translation.losses import DenseTeacher, SparseTeacher
from softlabels.translation.network import Corpus, Translator, token_features
from softlabels.translation.score import features
from softlabels.versions import code_version

Arrays = dict[str, NDArray[Any]]
PARTS = {
    "features": ("features",),
    "dense": ("logits",),
    "topk_drop": ("values", "indices"),
    "topk_lse": ("values", "indices", "lse"),
}
FP16_TOLERANCE = 4e-3  # relative to the largest logit: rounding of activations or logits, and another batch's sums


def sentence_hashes(sentences: Any) -> NDArray[np.uint64]:
    """64 bits of BLAKE2 over each sentence's target tokens [S], of fairseq's data set."""
    digests = (
        hashlib.blake2b(sentences.tgt[i].numpy().tobytes(), digest_size=8).digest() for i in range(len(sentences))
    )
    return np.frombuffer(b"".join(digests), dtype="<u8")


@torch.no_grad()
def rows_of(network: Any, hidden: Tensor, kind: str, k: int | None = None, temperature: float | None = None) -> Arrays:
    """The arrays of a shard for activations [N, d] (all kinds but `features`)."""
    logits = network.decoder.output_layer(hidden).float()
    if kind == "dense":
        return {"logits": half(logits)}
    assert k is not None
    values, indices = torch.topk(logits, k, dim=1)
    number = np.uint16 if index_bytes(logits.shape[1]) == 2 else np.int32
    rows: Arrays = {"values": half(values), "indices": indices.cpu().numpy().astype(number)}
    if kind == "topk_lse":
        assert temperature is not None
        rows["lse"] = torch.logsumexp(logits / temperature, dim=1).cpu().numpy().astype(np.float32)
    return rows


def half(logits: Tensor) -> NDArray[np.float16]:
    """In fp16.

    Raises:
        SoftlabelsError: too large for it, or no numbers.
    """
    rows: NDArray[np.float16] = logits.cpu().numpy().astype(np.float16)
    if not np.isfinite(rows).all():
        raise SoftlabelsError("teacher logits are not finite in fp16 (|z| > 65504 or NaN); the teacher has diverged")
    return rows


def write_cache(
    folder: Path,
    translator: Translator,
    corpus: Corpus,
    *,
    kind: str,
    k: int | None,
    temperature: float | None,
    about: dict[str, Any],
    should_stop: Callable[[], bool] = lambda: False,
    before_writing: Callable[[], None] = lambda: None,
) -> None:
    """Fill `folder` with the rows of every training sentence; `about` (teacher, …) goes into the manifest.

    Raises:
        SpecError: k larger than the vocabulary.
        SoftlabelsError: rows that fp16 cannot hold; a full disk.
        Stopped: asked to stop; finished shards stay.
    """
    require_k(k, corpus.vocabulary)
    sentences = corpus.sentences("train")
    lengths = np.asarray(sentences.tgt_sizes, dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    width = translator.output.shape[1]
    each = {"features": 2 * width, "dense": 2 * corpus.vocabulary}.get(kind, 8 * (k or 0) + 4)
    bounds = _bounds(offsets, max(1, SHARD_BYTES // each))
    source = {
        "kind": kind,
        "top_k": k,
        "temperature": temperature if kind == "topk_lse" else None,
        "vocabulary": corpus.vocabulary,
        "dictionary_sha256": corpus.manifest["dictionary_sha256"],
        "rows": int(offsets[-1]),
        "bounds": bounds,
        "data_fingerprint": corpus.manifest["fingerprint"],
        **about,
    }
    done_file = folder / "shards.json"
    record = read_json(done_file) if done_file.exists() else {}
    done: dict[str, str] = record["files"] if record.get("source") == source else {}
    written = 0
    shards = list(itertools.pairwise(bounds))
    for number, (first, last) in enumerate(tqdm(shards, unit="shard", disable=None, leave=False)):
        names = {part: f"{part}-{number:04d}.npy" for part in PARTS[kind]}
        if all((folder / name).exists() and done.get(name) == sha256(folder / name) for name in names.values()):
            continue
        if should_stop():
            raise Stopped(
                f"stopped with {number} of {len(shards)} cache shards written; run the same command again",
                progressed=written > 0,
            )
        arrays = _shard(translator, corpus, np.arange(first, last), kind, k, temperature)
        before_writing()
        for part, name in names.items():
            done[name] = save_array(folder / name, arrays[part])
        write_json(done_file, {"source": source, "files": done})
        written += 1
    before_writing()
    rows = {
        "offsets.npy": save_array(folder / "offsets.npy", offsets),
        "hashes.npy": save_array(folder / "hashes.npy", sentence_hashes(sentences)),
    }
    if kind == "features":
        rows["output.npy"] = save_array(folder / "output.npy", translator.output.float().cpu().numpy())
    files = {f"{part}-{n:04d}.npy": done[f"{part}-{n:04d}.npy"] for part in PARTS[kind] for n in range(len(shards))}
    versions = {stage: code_version(stage) for stage in STAGES}  # to be read only, as of images
    write_json(folder / "manifest.json", {**source, "code_versions": versions, "shards": files, "common": rows})


def require_k(k: int | None, vocabulary: int) -> None:
    """Refuse more logits than there are.

    Raises:
        SpecError: k > V.
    """
    if k is not None and k > vocabulary:
        raise SpecError(
            f"targets.top_k: {k} of the largest logits, but the vocabulary has {vocabulary} types; give less"
        )


def _bounds(offsets: NDArray[np.int64], rows: int) -> list[int]:
    """Sentences at which shards of about so many rows begin, and the end."""
    starts = np.searchsorted(offsets, np.arange(0, int(offsets[-1]), rows), side="left")
    return [*np.unique(np.minimum(starts, len(offsets) - 2)).tolist(), len(offsets) - 1]


def _shard(
    translator: Translator,
    corpus: Corpus,
    ids: NDArray[np.int64],
    kind: str,
    k: int | None,
    temperature: float | None,
) -> Arrays:
    _, _, hidden = features(translator.network, corpus, "train", ids)
    if kind == "features":
        return {"features": hidden}
    blocks = []
    for start in range(0, len(hidden), 4000):  # through fp16, so that every kind is made from the same activations
        block = torch.from_numpy(hidden[start : start + 4000]).to(corpus.device).float()
        blocks.append(rows_of(translator.network, block, kind, k, temperature))
    return {part: np.concatenate([block[part] for block in blocks]) for part in PARTS[kind]}


class CachedTeacher:
    """A cache as a student reads it: `targets` gathers the rows of a batch's sentences.

    Raises:
        SoftlabelsError: a missing, truncated or changed file (it is named), rows of other text, of another vocabulary
            or in another order, another origin.
    """

    def __init__(
        self, folder: Path, corpus: Corpus, origin: dict[str, Any] | None = None, files: Path | None = None
    ) -> None:
        self.folder, files = folder, files or folder
        self.manifest: dict[str, Any] = read_json(folder / "manifest.json")
        expected = {
            "vocabulary": corpus.vocabulary,
            "dictionary_sha256": corpus.manifest["dictionary_sha256"],
            "data_fingerprint": corpus.manifest["fingerprint"],
            **(origin or {}),
        }
        for key, value in expected.items():
            if self.manifest.get(key) != value:
                raise SoftlabelsError(
                    f"{folder / 'manifest.json'}: {key} is {self.manifest.get(key)}, the student needs {value}: "
                    f"the cache is of another teacher or text; delete {folder} and run again"
                )
        if files == folder:  # copies have been checked
            require_whole(folder, checksums(self.manifest))
        self.offsets: NDArray[np.int64] = np.load(files / "offsets.npy", allow_pickle=False)
        hashes = np.load(files / "hashes.npy", allow_pickle=False)
        ours = sentence_hashes(corpus.sentences("train"))
        wrong = np.flatnonzero(hashes != ours) if len(hashes) == len(ours) else np.zeros(1, dtype=np.int64)
        if len(wrong):
            raise SoftlabelsError(
                f"{folder / 'hashes.npy'} lists other sentences than the training text, or in another order (the "
                f"first is line {wrong[0] + 1}); delete {folder} and run again"
            )
        self.kind, self.device = self.manifest["kind"], corpus.device
        self.bounds = np.asarray(self.manifest["bounds"], dtype=np.int64)
        count = len(self.bounds) - 1
        self.parts = {
            part: [np.load(files / f"{part}-{n:04d}.npy", mmap_mode="r", allow_pickle=False) for n in range(count)]
            for part in PARTS[self.kind]
        }
        self.output: Tensor | None = None
        if self.kind == "features":
            self.output = torch.from_numpy(np.load(files / "output.npy", allow_pickle=False)).to(self.device)

    def targets(self, sample: dict[str, Any], temperature: float, labels: Tensor) -> DenseTeacher | SparseTeacher:
        """The teacher's logits at the tokens of a batch of fairseq's (`token_features` has them in the same order)."""
        return self.rows(sample["id"].tolist(), temperature, len(labels))

    def rows(self, ids: list[int], temperature: float, count: int) -> DenseTeacher | SparseTeacher:
        """As `targets`, of sentences by number, which have `count` tokens together.

        Raises:
            SoftlabelsError: they have not, or the normaliser is of another T.
        """
        found = {part: torch.from_numpy(self._gather(part, ids)).to(self.device) for part in self.parts}
        if len(next(iter(found.values()))) != count:
            raise SoftlabelsError(
                f"{self.folder}: sentences {ids[:3]}… have other lengths than in the batch; delete it"
            )
        if self.output is not None:
            return DenseTeacher(found["features"].float() @ self.output.T)
        if self.kind == "dense":
            return DenseTeacher(found["logits"].float())
        if self.kind == "topk_lse" and self.manifest["temperature"] != temperature:
            raise SoftlabelsError(
                f"{self.folder} has log-normalisers at T = {self.manifest['temperature']}, the student needs "
                f"{temperature}; delete it and run again"
            )
        return SparseTeacher(found["values"].float(), found["indices"].long(), found.get("lse"))

    def _gather(self, part: str, ids: list[int]) -> NDArray[Any]:
        shards = np.searchsorted(self.bounds, ids, side="right") - 1
        blocks = []
        for i, shard in zip(ids, shards.tolist(), strict=True):
            base = self.offsets[self.bounds[shard]]
            blocks.append(self.parts[part][shard][self.offsets[i] - base : self.offsets[i + 1] - base])
        rows = np.concatenate(blocks)
        return rows.astype(np.int32) if rows.dtype == np.uint16 else rows  # torch knows no arithmetic on uint16

    @torch.no_grad()
    def check(self, translator: Translator, corpus: Corpus, count: int, seed: int = 0) -> float:
        """`check_logits`: recompute `count` random sentences; returns the largest difference ÷ largest |logit|.

        Raises:
            SoftlabelsError: a difference beyond fp16 rounding.
        """
        chosen = np.random.default_rng(seed).choice(len(self.offsets) - 1, min(count, len(self.offsets) - 1), False)
        padding, found = corpus.task.target_dictionary.pad(), []
        for sample in corpus.batches("train", np.sort(chosen)):
            hidden, labels = token_features(translator.network, sample, padding)
            fresh = translator.network.decoder.output_layer(hidden).float()
            T = self.manifest["temperature"] or 1.0
            stored = self.targets(sample, T, labels)
            if isinstance(stored, DenseTeacher):
                difference = (fresh - stored.logits).abs().max()
            else:
                # Against the k largest themselves: other types of the same height are no fault, lower ones are.
                difference = (torch.topk(fresh, stored.values.shape[1], dim=1).values - stored.values).abs().max()
                difference = torch.maximum(difference, (fresh.gather(1, stored.indices) - stored.values).abs().max())
                if stored.lse is not None:
                    own = torch.logsumexp(fresh / T, dim=1)
                    difference = torch.maximum(difference, T * (own - stored.lse).abs().max())
            found.append((difference / fresh.abs().max().clamp_min(1e-6)).item())
        worst = float(np.max(found))
        if not worst <= FP16_TOLERANCE:  # or NaN
            raise SoftlabelsError(
                f"logits in {self.folder} differ from the teacher's by {worst:.2g} of the largest: the cache is stale; "
                "delete the folder and run again"
            )
        return worst


def checksums(manifest: dict[str, Any]) -> dict[str, str]:
    """Every file of a cache with its SHA-256."""
    return {**manifest["shards"], **manifest["common"]}
