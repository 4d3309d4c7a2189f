"""What a translation run is made of: a parallel corpus, and how a network is trained on it by fairseq.

Symbols: V types of the joint vocabulary, d width of the last layer. A token is a subword of the target side; the end
of a sentence counts, padding does not.
"""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from softlabels.errors import require
from softlabels.grid.parse import STRICT, Count, Sha256
from softlabels.grid.parts.recipe import Precision

Language = Annotated[str, Field(pattern=r"^[a-z]+$")]
PARALLEL = "parallel"
"""The corpus of a user's own files."""


@dataclass(frozen=True, config=STRICT)
class CorpusSpec:
    """A parallel corpus and how it becomes subwords; `name` is a key of `grid.declared.corpora.CORPORA`.

    A field that is None has the value that the corpus declares.
    """

    name: str
    """sentences, iwslt14_en_de, iwslt14_en_ru, wmt_en_de, or parallel for text of your own."""
    source: Language | None = None
    """Language translated from, as in the files' names: en."""
    target: Language | None = None
    """Language translated to."""
    train: str | None = None
    """`parallel` only: files are `<train>.<language>` or `<train>.<language>.gz`; so too val and test."""
    val: str | None = None
    """`parallel` only: as train; none with holdout_every."""
    test: str | None = None
    """`parallel` only: as train."""
    archive: str | None = None
    """Path or address of the archive, where the corpus has one; None: its usual name below data.root."""
    sha256: Sha256 | None = None
    """Declared fingerprint of archive or files (`softlabels fingerprint`), part of the identity."""
    tokenise: bool | None = None
    """Moses' tokeniser before subwords."""
    lowercase: bool | None = None
    """Lower case before subwords."""
    max_ratio: float | None = None
    """Training pairs whose lengths in tokens differ by more than this factor are left out."""
    max_length: int | None = None
    """Training pairs longer than this many tokens are left out."""
    subwords: Literal["bpe", "sentencepiece", "given"] | None = None
    """bpe: joint merges by subword-nmt; sentencepiece: a joint unigram model; given: the text is segmented already."""
    num_subwords: int | None = None
    """Merges of BPE, or size of sentencepiece's model."""
    holdout_every: int | None = None
    """Every so-manieth training pair is validation; None: as declared, or the corpus has a validation part."""
    validate_on_test: bool = False
    """Validation is the test part (what the code behind Chandrasegaran et al. does): a labelled variant."""
    overlap: Literal["drop", "keep"] = "drop"
    """Training and validation pairs that are test pairs too: left out, or kept."""
    train_pairs: Count | None = None
    """Declared: training pairs; for the audit."""
    train_tokens: int | None = None
    """Declared: tokens of the training part, at least as many as there are; for the audit and the size of caches."""
    vocabulary: Annotated[int, Field(ge=4)] | None = None
    """Declared: V, at least as many as there are; for the audit."""

    def __post_init__(self) -> None:
        own = ("train", "val", "test", "train_pairs", "train_tokens", "vocabulary")
        if self.name == PARALLEL:
            for name in ("train", "test", "source", "target"):
                require(getattr(self, name) is not None, f"dataset.{name} is needed for a parallel corpus of your own")
            require(
                self.val is not None or self.holdout_every is not None or self.validate_on_test,
                "dataset: give val, or holdout_every to take validation pairs from training",
            )
            require(self.val is None or self.holdout_every is None, "dataset: give one of val and holdout_every")
            require(
                self.archive is None, "dataset.archive has no effect on files of your own; give train, val and test"
            )
        else:
            given = [name for name in own if getattr(self, name) is not None]
            require(not given, f"dataset.{', '.join(given)}: has an effect only with name: {PARALLEL}")
        require(self.source is None or self.source != self.target, "dataset.source and target must be two languages")
        for name, least in (("num_subwords", 1), ("max_length", 1), ("holdout_every", 2), ("train_tokens", 1)):
            value = getattr(self, name)
            require(value is None or value >= least, f"dataset.{name} must be at least {least}, not {value}")
        require(self.max_ratio is None or self.max_ratio > 1, f"dataset.max_ratio must be > 1, not {self.max_ratio}")


@dataclass(frozen=True, config=STRICT)
class TranslationRecipe:
    """How fairseq's trainer trains: Adam, inverse square root of the step after a warm-up.

    Exactly one of `updates` and `epochs` is given; `patience` may end a run before.
    """

    max_tokens: int
    """Tokens of a batch, padding included (the longer side counts), as fairseq counts them."""
    lr: float
    """Peak of the learning rate, reached after `warmup_updates`."""
    warmup_updates: int
    """Updates until the peak."""
    updates: int | None = None
    """Updates."""
    epochs: int | None = None
    """Passes over the training pairs."""
    warmup_init_lr: float = 1e-7
    """Learning rate of the first update."""
    betas: tuple[float, float] = (0.9, 0.98)
    """Decay rates of Adam."""
    eps: float = 1e-8
    """ε of Adam."""
    weight_decay: float = 0.0
    """Decoupled weight decay of fairseq's Adam."""
    clip_norm: float = 0.0
    """Largest norm of the gradient; 0: no clipping."""
    update_freq: int = 1
    """Batches whose gradients are summed for one update."""
    max_positions: int = 1024
    """Longest sentence in tokens; longer ones of the training part are left out by fairseq."""
    validate_updates: int | None = None
    """Updates between two validations (for `best`); None: at the end of every epoch."""
    patience: int | None = None
    """Validations without a better likelihood after which a run ends; None: it runs to its end."""
    precision: Precision = field(default_factory=Precision)
    """Arithmetic."""

    def __post_init__(self) -> None:
        require((self.updates is None) != (self.epochs is None), "recipe: give one of updates and epochs")
        for name in ("max_tokens", "updates", "epochs", "update_freq", "validate_updates", "patience", "max_positions"):
            value = getattr(self, name)
            require(value is None or value > 0, f"recipe.{name} must be > 0, not {value}")
        require(self.lr > 0, f"recipe.lr must be > 0, not {self.lr}")
        require(self.warmup_updates > 0, "recipe.warmup_updates must be > 0")
        require(all(0 <= b < 1 for b in self.betas), f"recipe.betas must lie in [0, 1), not {list(self.betas)}")
        require(self.eps > 0, f"recipe.eps must be > 0, not {self.eps}")
        require(min(self.weight_decay, self.clip_norm, self.warmup_init_lr) >= 0, "recipe: rates must be ≥ 0")
        require(not self.precision.channels_last, "recipe.precision.channels_last has no effect on a translation run")

    def num_updates(self, train_tokens: int) -> int:
        """Updates of a run at most; by `epochs` an estimate, since batches are not filled to the brim."""
        if self.updates is not None:
            return self.updates
        assert self.epochs is not None
        return max(1, round(self.epochs * train_tokens / self.tokens_per_update))

    @property
    def tokens_per_update(self) -> int:
        """Target tokens of one update at most."""
        return self.max_tokens * self.update_freq
