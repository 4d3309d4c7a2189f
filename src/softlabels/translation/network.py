"""Translation networks outside training: built from their spec, filled with verified weights, evaluated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from softlabels import tensors
from softlabels.errors import SoftlabelsError
from softlabels.files import read_json, sha256
from softlabels.grid.parse import from_dict
from softlabels.grid.spec import TranslationSpec
from softlabels.store import finished
from softlabels.translation.compat import fairseq
from softlabels.translation.corpus.binary import FILES
from softlabels.translation.launch import corpus_arguments, network_arguments, parse, recipe_arguments
from softlabels.translation.losses import DenseTeacher


@dataclass(frozen=True)
class Corpus:
    """A prepared corpus on one device; fairseq's data sets are memory-mapped and opened once."""

    folder: Path
    manifest: dict[str, Any]
    device: torch.device
    task: Any

    @classmethod
    def open(cls, folder: Path, device: torch.device) -> Corpus:
        """The corpus that `softlabels data` has prepared."""
        fairseq()
        from fairseq.tasks.translation import TranslationConfig, TranslationTask
        from omegaconf import OmegaConf

        manifest = read_json(folder / "manifest.json")
        source, target = manifest["languages"]
        # What `parse` says of the task, in a hundredth of its time. (The last three it takes from other settings.)
        cfg = TranslationConfig(
            data=str(folder / "bin"), source_lang=source, target_lang=target, _name="translation",
            train_subset="train", dataset_impl=None, required_seq_len_multiple=1,
        )  # fmt: skip
        return cls(folder, manifest, device, TranslationTask.setup_task(OmegaConf.structured(cfg)))

    @classmethod
    def of(cls, task: Any) -> Corpus:
        """The corpus of a task of fairseq's, on the device of this process."""
        folder = Path(task.cfg.data).parent
        # A process that computes on a CPU sees no GPU (training/device.py).
        on_gpu = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        device = torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")
        return cls(folder, read_json(folder / "manifest.json"), device, task)

    @property
    def vocabulary(self) -> int:
        """V."""
        return len(self.task.target_dictionary)

    def sentences(self, split: str) -> Any:
        """fairseq's data set of a split; row i is line i of the text."""
        if FILES[split] not in self.task.datasets:
            self.task.load_dataset(FILES[split])
        return self.task.datasets[FILES[split]]

    def longest(self, split: str) -> int:
        """Tokens of the longest sentence of a split, of either side."""
        data = self.sentences(split)
        return int(max(data.src_sizes.max(), data.tgt_sizes.max()))

    def batches(
        self, split: str, chosen: Any = None, max_tokens: int = 4000, by_source: bool = False
    ) -> Iterator[dict[str, Any]]:
        """Batches of the chosen sentences (ids; None: all), of about equal length, on the device; none is left out.

        `by_source`: by the length of the source alone, which a beam search may know.
        """
        import numpy as np
        from fairseq import utils

        data = self.sentences(split)
        ids = np.arange(len(data)) if chosen is None else np.asarray(chosen)
        lengths = data.src_sizes[ids] if by_source else np.maximum(data.src_sizes[ids], data.tgt_sizes[ids])
        batch: list[int] = []
        longest = 0
        for i, length in sorted(zip(ids.tolist(), lengths.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0])):
            longest = max(longest, length)
            if batch and longest * (len(batch) + 1) > max_tokens:
                yield self._collated(data, batch, utils)
                batch, longest = [], length
            batch.append(i)
        if batch:
            yield self._collated(data, batch, utils)

    def _collated(self, data: Any, batch: list[int], utils: Any) -> dict[str, Any]:
        sample = data.collater([data[i] for i in batch])
        found: dict[str, Any] = utils.move_to_cuda(sample) if self.device.type == "cuda" else sample
        return found


def build(spec: TranslationSpec, corpus: Corpus) -> Any:
    """The network of a spec with fresh weights."""
    arguments = [*corpus_arguments(corpus.folder, str(corpus.device)), *network_arguments(spec)]
    cfg = parse([*arguments, *recipe_arguments(spec, 0, corpus.folder)])
    return corpus.task.build_model(cfg.model)


def own_state(network: torch.nn.Module) -> dict[str, Tensor]:
    """The state of a network, each shared matrix once (embeddings and output layer are one)."""
    seen: set[int] = set()
    state = {}
    for name, tensor in network.state_dict().items():
        if tensor.data_ptr() not in seen or tensor.numel() == 0:
            state[name] = tensor
            seen.add(tensor.data_ptr())
    return state


def fill(network: torch.nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Put a result of `own_state` into a network.

    Raises:
        SoftlabelsError: weights of another network; the first that does not fit is named.
    """
    own = own_state(network)
    wrong = sorted(set(own) ^ set(state)) or sorted(n for n, t in own.items() if t.shape != state[n].shape)
    if wrong:
        raise SoftlabelsError(
            f"{path} does not fit the network ({wrong[0]}): another architecture or vocabulary; "
            "delete its folder in the store to train it again"
        )
    network.load_state_dict(state, strict=False)


@dataclass(frozen=True)
class Translator:
    """A trained network in evaluation mode."""

    spec: TranslationSpec
    seed: int
    network: Any
    weights_sha256: str

    @property
    def output(self) -> Tensor:
        """The output matrix [V, d]; there is no bias."""
        matrix: Tensor = self.network.decoder.output_projection.weight.detach()
        return matrix


def load(folder: Path, checkpoint: str, corpus: Corpus) -> Translator:
    """The network of a finished run in the store (`folder`) at `last` or `best`; its weights are the recorded ones.

    Raises:
        SoftlabelsError: no finished run, changed weights, or trained on other text.
    """
    record = finished(folder)
    if record is None:
        raise SoftlabelsError(f"{folder} holds no finished training; run snakemake to train it")
    spec = from_dict(TranslationSpec, record["spec"], str(folder / "run.json"))
    if record["data_fingerprint"] != corpus.manifest["fingerprint"]:
        raise SoftlabelsError(
            f"{folder} was trained on other text than {corpus.folder} holds (another vocabulary, perhaps); "
            "delete the folder to train again"
        )
    path = folder / "weights.safetensors"
    if sha256(path) != record["files"][path.name]:
        raise SoftlabelsError(f"{path} has changed since training; delete the folder {folder} to train this seed again")
    return Translator(spec, record["seed"], filled(spec, corpus, path, checkpoint), record["files"][path.name])


def filled(spec: TranslationSpec, corpus: Corpus, path: Path, checkpoint: str) -> Any:
    """A network with the weights of one checkpoint of a weights file, in evaluation mode on the corpus' device."""
    stored, _ = tensors.load(path)
    state = {n.removeprefix(f"{checkpoint}/"): t for n, t in stored.items() if n.startswith(f"{checkpoint}/")}
    if not state:
        raise SoftlabelsError(f"{path} keeps no weights at {checkpoint}")
    network = build(spec, corpus)
    fill(network, state, path)
    return network.to(corpus.device).eval()


def token_features(network: Any, sample: dict[str, Any], padding: int) -> tuple[Tensor, Tensor]:
    """Penultimate activations [N, d] and gold types [N] of the tokens of a batch given their prefixes, sentence by
    sentence; padding is left out before the output layer sees it."""
    features, _ = network(**sample["net_input"], features_only=True)
    kept = sample["target"].ne(padding)
    return features[kept], sample["target"][kept]


class OnlineTranslationTeacher:
    """No cache: the teacher reads each of the student's sentences."""

    def __init__(self, translator: Translator) -> None:
        self._network = translator.network

    @torch.no_grad()
    def targets(self, sample: dict[str, Any], temperature: float, labels: Tensor) -> DenseTeacher:
        """fp32 logits of the tokens of a batch."""
        padding = self._network.decoder.padding_idx
        features, _ = token_features(self._network, sample, padding)
        return DenseTeacher(self._network.decoder.output_layer(features).float())
