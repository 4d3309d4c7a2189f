"""What planning knows of a run of a translation network. Its examples are target tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from softlabels.errors import SpecError
from softlabels.grid.declared import corpora
from softlabels.grid.parts.probes import AnyProbe, Tokens, Translations
from softlabels.grid.spec import Distill, ModelSpec, TranslationSpec, cache_kind
from softlabels.grid.tasks.image import BYTES_PER_LOGIT, SHARD_BYTES
from softlabels.grid.zoo import transformers

STAGES = ("corpora", "translation")
"""What decides the numbers of a run, and of a cache."""
UNKNOWN_TOKENS = 30_000  # of a split that is translated and whose size is not declared: some 1,000 sentences
CHECKPOINT_COPIES = 12  # of the weights: fairseq's last, previous and new, with two buffers; the best
LOGIT_COPIES = 6  # of a batch of tokens by V types
ASKED_TOKENS = 4000  # of a batch outside training (translation/network.py)


def index_bytes(vocabulary: int) -> int:
    """Bytes of the number of a type."""
    return 2 if vocabulary <= 1 << 16 else 4


@dataclass(frozen=True)
class TranslationTask:
    """What planning asks of a run: as `ImageTask`, where it is explained."""

    run: TranslationSpec
    decodes = False
    stages = STAGES

    @property
    def _vocabulary(self) -> int:
        return corpora.vocabulary(self.run.dataset)

    @property
    def _width(self) -> int:
        return int(transformers.options(self.run.model)["dim"])

    def split_sizes(self) -> dict[str, int | None]:
        return corpora.tokens(self.run.dataset)

    def split_bytes(self) -> dict[str, int]:
        """Of both sides of a text (int32)."""
        return {split: (rows or 0) * 8 for split, rows in self.split_sizes().items()}

    def cache_size(self, kind: str) -> tuple[int, int, float, int]:
        targets = self.run.targets
        assert isinstance(targets, Distill)
        assert isinstance(targets.teacher.run, TranslationSpec)
        rows = self.split_sizes()["train"]
        if rows is None:
            raise SpecError(
                "dataset.train_tokens is needed to distil on text of your own: declare the tokens of its training "
                "part, at least as many as there are (softlabels data counts them)"
            )
        V, k = self._vocabulary, targets.top_k
        width = transformers.options(targets.teacher.run.model)["dim"]
        each = {"features": 2 * width, "dense": 2 * V, "topk_drop": 0, "topk_lse": 4}[kind]
        if k is not None:
            each += k * (BYTES_PER_LOGIT + index_bytes(V))
        sentences = 16 * (corpora.pairs(self.run.dataset) or rows // 20)  # offsets and hashes
        return 1, rows, each, sentences + (4 * V * width if kind == "features" else 0)

    def cache_key(self, kind: str, views: int) -> tuple[str, dict[str, Any]]:
        """The log-normaliser of `topk_lse` belongs to one T, all else to none."""
        targets = self.run.targets
        assert isinstance(targets, Distill)
        temperature = targets.given_temperature if kind == "topk_lse" else None
        return f"{kind}{targets.top_k or ''}", {"k": targets.top_k, "temperature": temperature}

    def forward_flops(self, model: ModelSpec | None = None) -> float | None:
        return transformers.forward_flops(model or self.run.model, self._vocabulary)

    def parameters(self, model: ModelSpec | None = None) -> int | None:
        return transformers.parameters(model or self.run.model, self._vocabulary)

    def steps(self) -> int | None:
        rows, recipe = self.split_sizes()["train"], self.run.recipe
        return recipe.num_updates(rows or 1) if recipe.updates or rows else None

    def examples_per_step(self) -> int:
        return self.run.recipe.tokens_per_update

    def training_flops(self, forward: float, online: ModelSpec | None) -> float:
        """Of a teacher whose activations are cached, the output layer."""
        teaching, targets = (online and self.forward_flops(online)) or 0.0, self.run.targets
        if isinstance(targets, Distill) and cache_kind(self.run) == "features":
            assert isinstance(targets.teacher.run, TranslationSpec)
            teaching = 2.0 * self._vocabulary * transformers.options(targets.teacher.run.model)["dim"]
        return 3 * forward + teaching

    def probe_rows(self, probe: AnyProbe) -> int:
        """Of translations, whose cost would be lost, never 0."""
        assert isinstance(probe, Translations | Tokens)
        rows = self.split_sizes()[probe.split] or 0
        if probe.sentences is not None:
            return min(rows or 10**9, 30 * probe.sentences)
        return rows or (UNKNOWN_TOKENS if isinstance(probe, Translations) else 0)

    def probe_checkpoints(self, probe: AnyProbe) -> int:
        return 1

    def _batch_bytes(self, tokens: int) -> int:
        """Logits of V types with gradient, target and temporaries, and every layer's activations."""
        o = transformers.options(self.run.model)
        layers = 2 * int(o["layers"]) * (20 * int(o["dim"]) + 4 * int(o["ffn"]))
        return 4 * tokens * (LOGIT_COPIES * self._vocabulary + layers)

    def training_bytes(self, on_cpu: bool) -> int:
        return self._batch_bytes(max(self.run.recipe.max_tokens, ASKED_TOKENS))

    def caching_bytes(self, view: int) -> int:
        return 2 * SHARD_BYTES + self._batch_bytes(ASKED_TOKENS)

    def probing_bytes(self, probe: AnyProbe) -> int:
        return 2 * self.probe_bytes(probe) + self._batch_bytes(ASKED_TOKENS)

    def probe_bytes(self, probe: AnyProbe) -> int:
        """Of tokens the activations in fp32, of translations the text."""
        return (24 if isinstance(probe, Translations) else 4 * self._width) * self.probe_rows(probe)

    def prediction_bytes(self) -> int:
        """Activations in fp16."""
        sizes = self.split_sizes()
        rows = (sizes["val"] or 0) + (sizes["test"] or 0)
        return 4 * rows * self._width + 8 * self._vocabulary * self._width

    def weights_written(self) -> int:
        return 2 + CHECKPOINT_COPIES

    def require_compatible(self) -> None:
        o = transformers.options(self.run.model)
        if o["dim"] % o["heads"]:
            raise SpecError(f"model.options.heads: {o['heads']} heads do not divide a width of {o['dim']}")

    def fitting(self, probe: AnyProbe, where: str) -> AnyProbe:
        if not isinstance(probe, Translations | Tokens):
            raise SpecError(f"{where}.what: of a translation network one asks translations or tokens")
        return probe
