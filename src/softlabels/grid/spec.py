"""The specification of a run: one network trained on one kind of target.

Everything that decides the numbers of a training is a field here, so that equal specs mean equal
runs. A field that equals its default is left out of the canonical form (`to_dict`), so a field
added later does not rename the runs that came before it.

Symbols: K classes, N training examples, α label smoothing, T temperature, β weight of the
distillation term.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from softlabels.errors import require
from softlabels.grid.parse import STRICT, Sha256, freeze, from_dict
from softlabels.grid.parse import to_dict as to_dict
from softlabels.grid.parts.feature_distillation import Overhaul
from softlabels.grid.parts.initial import (
    ClassNames,
    TorchvisionWeights,
    UserWeights,
    require_distinct,
    torchvision_file,
)
from softlabels.grid.parts.label_targets import BetaSmoothing, Hard, LabelTargets, Smooth, require_log_eps
from softlabels.grid.parts.recipe import Normalise, Recipe
from softlabels.grid.parts.translation import CorpusSpec, TranslationRecipe


@dataclass(frozen=True, config=STRICT)
class DatasetSpec:
    """A data set and how its training part is split; `name` is a key of `grid.declared.datasets.DATASETS`."""

    name: str
    """digits, glyphs, mnist, cifar10, cifar100, imagenet, cub200_2011, tiny_imagenet, or folder for your own."""
    holdout: int | float | None = None
    """Validation examples taken from training: a count, a fraction, 0 for none; None: as declared."""
    split: Literal["stratified", "last"] = "stratified"
    """Which examples are held out: a share of each class, drawn by `split_seed`, or the last ones."""
    split_seed: int = 0
    """Seed of the stratified choice."""
    train_limit: int | None = None
    """Keep this many training examples (stratified, seeded) after the split."""
    path: str | None = None
    """Image folder only: the directory with `train/<class>/…` and optionally `val/`, `test/`."""
    sha256: Sha256 | None = None
    """Image folder only: declared fingerprint (`softlabels fingerprint`), part of the identity."""
    num_classes: int | None = None
    """Image folder only."""
    image_size: int | None = None
    """Image folder kept as arrays only: shorter side resized to this, centre-cropped square."""
    train_size: int | None = None
    """Image folder only: declared number of training images, for the audit."""
    keep: Literal["arrays", "files"] = "arrays"
    """Image folder only: small images as arrays of one size, or the files, decoded whenever they are seen."""
    undecodable: Literal["refuse", "skip"] = "refuse"
    """Image folder kept as files only: images that do not decode are an error, or left out and listed."""

    def __post_init__(self) -> None:
        if self.holdout is not None:
            require(self.holdout >= 0, f"dataset.holdout must be ≥ 0, not {self.holdout}")
            require(
                isinstance(self.holdout, int) or self.holdout < 1,
                f"dataset.holdout as a fraction must be below 1, not {self.holdout}",
            )
        for name, least in (("train_limit", 1), ("train_size", 1), ("image_size", 1), ("num_classes", 2)):
            value = getattr(self, name)
            require(value is None or value >= least, f"dataset.{name} must be at least {least}, not {value}")
        folder_only = ("path", "sha256", "num_classes", "image_size", "train_size")
        given = [name for name in folder_only if getattr(self, name) is not None]
        if self.name == "folder":
            for name in ("path", "num_classes"):
                require(name in given, f"dataset.{name} is needed for an image folder")
            require(
                (self.image_size is None) == self.keeps_files,
                "dataset.image_size belongs to an image folder with keep: arrays, which needs it; "
                "with keep: files the recipe says augment.side",
            )
            require(self.keeps_files or self.undecodable == "refuse", "dataset.undecodable: skip needs keep: files")
        else:
            given += ["keep"] * (self.keep != "arrays") + ["undecodable"] * (self.undecodable != "refuse")
            require(not given, f"dataset.{', '.join(given)}: has an effect only with name: folder")

    @property
    def keeps_files(self) -> bool:
        """Whether images stay in their original files, of any size, until they are seen."""
        return self.keep == "files" or self.name in KEPT_AS_FILES


KEPT_AS_FILES = ("imagenet", "cub200_2011", "tiny_imagenet")


def _sorted_pairs(options: Any) -> Any:
    """A mapping as pairs, so that a spec can be hashed and the order means nothing."""
    if isinstance(options, list):
        raise PydanticCustomError("dict_type", "a mapping")
    return freeze(options) if isinstance(options, Mapping) else options


@dataclass(frozen=True, config=STRICT)
class ModelSpec:
    """A network: a name of `grid.zoo.networks.MODELS`, or an import path `package.module:factory`.

    A factory is called as `factory(num_classes=K, shape=(C, H, W), **options)`.
    """

    name: str
    """A network of the zoo, or an import path."""
    options: Annotated[tuple[tuple[str, Any], ...], BeforeValidator(_sorted_pairs)] = ()
    """Keyword arguments of the network's constructor."""

    def __post_init__(self) -> None:
        names = [name for name, _ in self.options]
        for name in names:
            require(names.count(name) == 1, f"model.options: {name} is given twice")


@dataclass(frozen=True, config=STRICT)
class UserNetwork:
    """A network trained elsewhere: safetensors weights of a model of the zoo or an import path."""

    model: ModelSpec
    """The network that has these weights."""
    weights: str
    """Path of a safetensors file."""
    sha256: Sha256
    """SHA-256 of that file."""
    normalise: Normalise
    """What that network expects of its images; a wrong one costs accuracy without an error, so it has no default."""
    classes: ClassNames = None
    """Names of its outputs, in their order; None: the order of the data set (`softlabels fingerprint` prints it)."""
    trust: bool = False
    """Use it even where the labels of the training images speak against it (`metrics.agreement`)."""

    def __post_init__(self) -> None:
        require_distinct(self.classes, "teacher.classes")


@dataclass(frozen=True, config=STRICT)
class UserLogits:
    """Logits computed elsewhere: `.npy` `[N, K]` in the order of the training images of the prepared data."""

    logits: str
    """Path of a `.npy` file."""
    sha256: Sha256
    """SHA-256 of that file."""
    classes: ClassNames = None
    """Names of its columns, in their order; None: the order of the data set."""
    trust: bool = False
    """As of `UserNetwork`."""

    def __post_init__(self) -> None:
        require_distinct(self.classes, "teacher.classes")


def _kind_of_parent(value: Any) -> str:
    """The name of the class of a parent's `run`, by the key that only this class has."""
    if not isinstance(value, Mapping):
        return type(value).__name__
    if "weights" in value:
        return "UserNetwork" if "model" in value else "UserWeights"
    if value.get("task") == "translation":
        return "TranslationSpec"
    return "UserLogits" if "logits" in value else "TorchvisionWeights" if "torchvision" in value else "RunSpec"


@dataclass(frozen=True, config=STRICT)
class Parent:
    """A network that a run learns from or begins with: another run at one of its checkpoints, or one from elsewhere."""

    run: Annotated[
        Annotated[RunSpec, Tag("RunSpec")]
        | Annotated[TranslationSpec, Tag("TranslationSpec")]
        | Annotated[UserNetwork, Tag("UserNetwork")]
        | Annotated[UserLogits, Tag("UserLogits")]
        | Annotated[TorchvisionWeights, Tag("TorchvisionWeights")]
        | Annotated[UserWeights, Tag("UserWeights")],
        Discriminator(_kind_of_parent),
    ]
    """The network."""
    seed: Literal["same"] | Annotated[int, Field(ge=0)] = "same"
    """same: the run's own seed; or one seed for all."""
    checkpoint: str = "last"
    """last, best or step:<n>."""
    role: ClassVar[str] = "parent"

    def __post_init__(self) -> None:
        require(
            re.fullmatch(r"last|best|step:[1-9][0-9]*", self.checkpoint) is not None,
            f"{self.role}.checkpoint must be last, best or step:<n>, not {self.checkpoint!r}",
        )
        if not isinstance(self.run, Run):
            # Files from elsewhere know neither seeds nor checkpoints.
            require(
                self.seed == "same" and self.checkpoint == "last",
                f"{self.role}.seed and {self.role}.checkpoint have no effect on a network or logits of your own",
            )
        elif self.checkpoint.startswith("step:"):
            require(isinstance(self.run, RunSpec), "teacher.checkpoint of a translation run must be last or best")
            assert isinstance(self.run, RunSpec)
            step = int(self.checkpoint.removeprefix("step:"))
            require(
                self.run.recipe.keeps(step),
                f"{self.role}.checkpoint: that run keeps no weights at step {step}; "
                "add it to the milestones of its recipe",
            )

    def seed_for(self, seed: int) -> int:
        """The seed of this network for a `seed` of the run; files from elsewhere have none (0)."""
        if not isinstance(self.run, Run):
            return 0
        return seed if self.seed == "same" else self.seed


@dataclass(frozen=True, config=STRICT)
class Teacher(Parent):
    """Who teaches: another run, or weights or logits of the user's. Its seed also draws the views of its cache."""

    run: Annotated[
        Annotated[RunSpec, Tag("RunSpec")]
        | Annotated[TranslationSpec, Tag("TranslationSpec")]
        | Annotated[UserNetwork, Tag("UserNetwork")]
        | Annotated[UserLogits, Tag("UserLogits")],
        Discriminator(_kind_of_parent),
    ]
    """The network that teaches, or its logits."""
    role: ClassVar[str] = "teacher"


@dataclass(frozen=True, config=STRICT)
class Initial(Parent):
    """The weights that a run begins with: of another run of the same network, of torchvision, or of a file.

    `head: new` draws the last layer from the run's own seed, `head: kept` takes it over too, which needs equal K.
    Chandrasegaran et al. begin networks on CUB-200 with ones trained on ImageNet (supplement F).
    """

    run: Annotated[
        Annotated[RunSpec, Tag("RunSpec")]
        | Annotated[TorchvisionWeights, Tag("TorchvisionWeights")]
        | Annotated[UserWeights, Tag("UserWeights")],
        Discriminator(_kind_of_parent),
    ]
    """The network whose weights are taken."""
    head: Literal["new", "kept"] = "new"
    """The last layer: drawn from the seed (new), or taken over (kept)."""
    role: ClassVar[str] = "initial"

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.run, UserWeights):
            require(
                self.head == "kept" or (self.run.classes is None and not self.run.trust),
                "initial: classes and trust of the weights have an effect with head: kept alone",
            )


@dataclass(frozen=True, config=STRICT)
class EqualEntropy:
    """A temperature that is solved: that at which the teacher's targets are as soft as those of another teacher.

    Solved when training starts, such that the mean entropy of the teacher's targets over the training images equals
    that of the targets of `entropy_of` at its `temperature` (T_a and T_b of Chandrasegaran et al., App. H).
    """

    entropy_of: Teacher
    """The other teacher."""
    temperature: float
    """T > 0 of that teacher."""

    def __post_init__(self) -> None:
        require(self.temperature > 0, f"targets.temperature.temperature must be > 0, not {self.temperature}")


@dataclass(frozen=True, config=STRICT)
class MeanLabel:
    """A temperature that is solved: that at which the mean target of the true class is `label`.

    Solved when training starts, such that 1 − β + β·pᵗ_y(T) has this mean over the training images (Zhang & Sabuncu
    2020, Sec. 7.1: 0.85, to compare with label smoothing of 0.15).
    """

    label: float
    """Target of the true class, 1 − β + β·mean pᵗ_y(T): a probability in (1 − β, 1)."""
    otherwise: Literal["refuse", "nearest"] = "refuse"
    """Where no T gives this label, as of a teacher that errs too often: end the job with an error, or take the T whose
    label is nearest."""

    def __post_init__(self) -> None:
        require(0 < self.label < 1, f"targets.temperature.label must lie in (0, 1), not {self.label}")


def _kind_of_temperature(value: Any) -> str:
    if isinstance(value, Mapping):
        return "EqualEntropy" if "entropy_of" in value else "MeanLabel"
    return type(value).__name__ if isinstance(value, EqualEntropy | MeanLabel) else "float"


@dataclass(frozen=True, config=STRICT)
class Distill:
    """Distillation: (1 − β)·H(y, p) + β·[T²]·multiplier·D(pᵗ(T), p(T or 1)).

    The conventions that differ between the papers are fields: `student_tempered` and `t2`
    (Müller: neither; Chandrasegaran: both; Zhang: neither), `reduction` and `multiplier` (Yuan's code
    averages the KL over the N·K elements), `form` (cross-entropy or KL: equal gradients, other values).
    """

    teacher: Teacher
    """Who teaches."""
    temperature: Annotated[
        Annotated[float, Tag("float")]
        | Annotated[EqualEntropy, Tag("EqualEntropy")]
        | Annotated[MeanLabel, Tag("MeanLabel")],
        Discriminator(_kind_of_temperature),
    ]
    """T > 0 of the teacher: a number, or solved from its logits when training starts."""
    beta: float = 1.0
    """β, weight of the distillation term, in (0, 1]."""
    student_tempered: bool = True
    """Whether the student's logits are divided by T too."""
    t2: bool = True
    """Whether the term is multiplied with T²."""
    form: Literal["kl", "ce"] = "kl"
    """Divergence or cross-entropy; their gradients are equal."""
    log_eps: float = 0.0
    """ε of log(p + ε) in the cross-entropy (`form: ce`); 1e-8 as released with Zhang & Sabuncu 2020 (Z-LOG)."""
    reduction: Literal["batchmean", "mean"] = "batchmean"
    """Mean over the batch, or over all N·K numbers."""
    multiplier: float = 1.0
    """Factor on the soft term."""
    hard_weight: float | None = None
    """Weight of the hard term; None: 1 − β."""
    hard_alpha: float = 0.0
    """Label smoothing of the hard term, spread over all K classes."""
    views: int | Literal["all"] = "all"
    """Augmented views cached per image; view = epoch mod views."""
    cache: Literal["auto", "dense", "features", "topk_drop", "topk_lse", "online"] = "auto"
    """How the teacher's logits are kept. `auto`: dense for images, features for translation; `features`: penultimate
    activations and output matrix; `topk_drop`: the k largest, renormalised; `topk_lse`: those with the exact
    log-normaliser at T, the rest of the mass spread evenly; `online`: not at all."""
    top_k: int | None = None
    """k of `topk_drop` and `topk_lse`."""
    gradient_norm: Literal["free", "matched"] = "free"
    """`matched`: batch by batch, the term's gradient with respect to the logits [B, K] is scaled to the Frobenius norm
    that it would have with T = 1 for teacher and student, so that T changes the direction of the gradient, not its
    norm. The norm is that of the whole batch: no `micro_batch` and no `update_freq`."""
    features: Overhaul | None = None
    """A further term on features of the teacher, which then runs online."""
    kind: Literal["distill"] = "distill"

    def __post_init__(self) -> None:
        if isinstance(self.temperature, EqualEntropy) and self.temperature.entropy_of == self.teacher:
            object.__setattr__(self, "temperature", self.temperature.temperature)
        if isinstance(self.temperature, float | int):
            require(self.temperature > 0, f"targets.temperature must be > 0, not {self.temperature}")
        require(
            self.features is None or self.cache in ("auto", "online"),
            f"targets.features needs the teacher beside the student (cache: online), not cache: {self.cache}",
        )
        require(0 < self.beta <= 1, f"targets.beta must lie in (0, 1], not {self.beta}")
        online = self.features is not None or self.cache == "online"
        require(
            not (online and self.is_solved),
            "targets.temperature is solved on cached logits, and a teacher that runs online "
            f"({'features' if self.features else 'cache: online'}) has none; give the temperature as a number",
        )
        if isinstance(self.temperature, MeanLabel):
            require(
                self.temperature.label > 1 - self.beta,
                f"targets.temperature.label: with beta {self.beta:g} the true class has {1 - self.beta:g} of the label "
                f"alone, so its mean is larger than that, and not {self.temperature.label:g}",
            )
        require(0 <= self.hard_alpha < 1, f"targets.hard_alpha must lie in [0, 1), not {self.hard_alpha}")
        require_log_eps(self.log_eps)
        require(
            self.log_eps == 0 or (self.form == "ce" and self.gradient_norm == "free"),
            "targets.log_eps is of form: ce, and with gradient_norm: free alone",
        )
        require(self.multiplier > 0, f"targets.multiplier must be > 0, not {self.multiplier}")
        require(self.hard_weight is None or self.hard_weight >= 0, "targets.hard_weight must be ≥ 0")
        require(self.views == "all" or self.views > 0, f"targets.views must be > 0, not {self.views}")
        truncated = self.cache in ("topk_drop", "topk_lse")
        require(
            truncated == (self.top_k is not None),
            "targets.top_k belongs to cache: topk_drop or topk_lse, and they need it",
        )
        require(self.top_k is None or self.top_k > 0, f"targets.top_k must be > 0, not {self.top_k}")
        require(
            self.hard_alpha == 0 or self.weight_of_hard > 0,
            "targets.hard_alpha has no effect where the hard term has weight 0",
        )
        require(
            self.gradient_norm == "free" or self.cache != "topk_lse",
            "targets.gradient_norm: matched needs the teacher at T = 1 too, and cache: topk_lse knows one T; "
            "use another cache",
        )
        # The same training is the same run.
        if self.features is not None:
            object.__setattr__(self, "cache", "auto")  # the only one that there is
        if self.temperature == 1:
            object.__setattr__(self, "student_tempered", False)
            object.__setattr__(self, "gradient_norm", "free")
        if self.temperature == 1 or self.gradient_norm == "matched":  # a factor that scaling takes out again
            object.__setattr__(self, "t2", False)

    @property
    def is_solved(self) -> bool:
        """Whether the temperature is solved when training starts."""
        return isinstance(self.temperature, EqualEntropy | MeanLabel)

    @property
    def given_temperature(self) -> float:
        """The temperature where it is a number, as it is wherever a loss is computed."""
        assert not isinstance(self.temperature, EqualEntropy | MeanLabel)
        return self.temperature

    @property
    def weight_of_hard(self) -> float:
        """The weight of the hard term."""
        return 1 - self.beta if self.hard_weight is None else self.hard_weight


@dataclass(frozen=True, config=STRICT)
class LogitMatch:
    """Logit regression: (1 − β)·H(y, p) + β·½‖z − zᵗ‖² (Müller A.5), mean or sum over the K logits."""

    teacher: Teacher
    """Who teaches."""
    beta: float
    """β, weight of the squared error, in (0, 1]."""
    reduction: Literal["mean", "sum"] = "mean"
    """Mean or sum over the K logits."""
    views: int | Literal["all"] = "all"
    """Augmented views cached per image; view = epoch mod views."""
    cache: Literal["dense", "online"] = "dense"
    """dense: fp16 logits, computed once for all students; online: the teacher runs beside the student."""
    kind: Literal["logit_match"] = "logit_match"

    def __post_init__(self) -> None:
        require(0 < self.beta <= 1, f"targets.beta must lie in (0, 1], not {self.beta}")
        require(self.views == "all" or self.views > 0, f"targets.views must be > 0, not {self.views}")


Targets = LabelTargets | Distill | LogitMatch


@dataclass(frozen=True, config=STRICT)
class RunSpec:
    """One image network trained on one kind of target; seeds are not part of it."""

    dataset: DatasetSpec
    """What it is trained on."""
    model: ModelSpec
    """The network."""
    targets: Annotated[Targets, Field(discriminator="kind", description="Targets of the loss.")]
    recipe: Recipe
    """How it is trained."""
    task: Literal["image"] = "image"
    """Images."""
    initial: Initial | None = None
    """None: weights drawn from the seed. With `head: kept` and `recipe.steps: 0` a network is only measured, and
    `targets` says what it was trained on."""

    def __post_init__(self) -> None:
        _canonicalise(self, "dense", ("dense", "online"))
        _canonicalise_initial(self)
        require(
            self.dataset.keeps_files or self.recipe.augment.side is None,
            f"recipe.augment.side has an effect only on images kept as files, and {self.dataset.name}'s are arrays",
        )
        require(
            not self.dataset.keeps_files or self.recipe.augment.side is not None,
            f"recipe.augment.side is needed: {self.dataset.name} keeps its images as files of any size",
        )
        teacher = teacher_of(self)
        require(teacher is None or not isinstance(teacher.run, TranslationSpec), "a translation run teaches no images")
        if teacher is not None and isinstance(teacher.run, RunSpec):
            require(
                teacher.run.dataset == self.dataset,
                "teacher and student must be trained on the same data set and split",
            )
            # Every other change is the student's, made once for both; the teacher's own were for its training.
            for name in ("crop", "side"):
                require(
                    getattr(teacher.run.recipe.augment, name) == getattr(self.recipe.augment, name),
                    f"recipe.augment.{name} of teacher and student must be equal: both look at the same image",
                )
        if teacher is not None and isinstance(teacher.run, UserLogits):
            require(
                not self.recipe.augment.random and cache_kind(self) != "online",
                "logits of your own belong to the unchanged images: the student's recipe must have no augment",
            )
        if (reference := reference_of(self)) is not None:  # one that could teach the run as well
            assert isinstance(self.targets, Distill)
            dataclasses.replace(self, targets=dataclasses.replace(self.targets, teacher=reference, temperature=1.0))
        _check_whole_batches(self, "micro_batch", self.recipe.micro_batch is None)


@dataclass(frozen=True, config=STRICT)
class TranslationSpec:
    """One translation network trained by fairseq on one kind of target; seeds are not part of it."""

    dataset: CorpusSpec
    """What it is trained on."""
    model: ModelSpec
    """The network."""
    targets: Annotated[Hard | Smooth | Distill, Field(discriminator="kind", description="What it is trained to say.")]
    recipe: TranslationRecipe
    """How it is trained."""
    task: Literal["translation"]
    """Text."""

    def __post_init__(self) -> None:
        _canonicalise(self, "features", ("features", "dense", "topk_drop", "topk_lse", "online"))
        require(getattr(self.targets, "log_eps", 0) == 0, "targets.log_eps has no effect on a translation run")
        if isinstance(self.targets, Distill):
            require(self.targets.views == "all", "targets.views has no effect on a translation run")
            require(self.targets.form == "kl", "targets.form of a translation run is kl")
            require(self.targets.features is None, "targets.features is of image networks")
            require(not self.targets.is_solved, "targets.temperature of a translation run is a number")
            taught_by = self.targets.teacher.run
            require(isinstance(taught_by, TranslationSpec), "the teacher of a translation run is a translation run")
            assert isinstance(taught_by, TranslationSpec)
            require(taught_by.dataset == self.dataset, "teacher and student must be trained on the same corpus")
        _check_whole_batches(self, "update_freq", self.recipe.update_freq == 1)


Run = RunSpec | TranslationSpec


def _canonicalise(run: Run, default_cache: str, caches: tuple[str, ...]) -> None:
    """Make equal trainings equal specs, and refuse a cache that the task does not have."""
    targets = run.targets
    if targets == Smooth(alpha=0.0) or targets == Smooth(alpha=0.0, over="others"):
        object.__setattr__(run, "targets", Hard())
    if isinstance(targets, Distill):
        if targets.cache == default_cache:
            object.__setattr__(run, "targets", dataclasses.replace(targets, cache="auto"))
        require(
            targets.cache in ("auto", *caches),
            f"targets.cache of a {run.task} run is one of {', '.join(caches)}, not {targets.cache}",
        )


def _canonicalise_initial(run: RunSpec) -> None:
    """Refuse weights that are not of the run's network, and nothing to train without a network to measure."""
    initial = run.initial
    if run.recipe.steps == 0:
        require(
            initial is not None and initial.head == "kept",
            "recipe.steps: 0 measures a network that is there already: give initial, with head: kept",
        )
        require(
            on_labels(run),
            "recipe.steps: 0 trains nothing, so there is no teacher: targets are hard or smooth, what the network "
            "was trained on",
        )
        object.__setattr__(run, "recipe", run.recipe.without_training())
    if initial is None:
        return
    if isinstance(initial.run, TorchvisionWeights):
        torchvision_file(run.model.name, dict(run.model.options), initial.run.torchvision)
    if isinstance(initial.run, RunSpec):
        theirs, ours = initial.run.model, run.model
        require(
            theirs == ours,
            f"initial: weights of {theirs.name} {dict(theirs.options)} do not fit {ours.name} {dict(ours.options)}; "
            "name a run of the same network and options",
        )


def _check_whole_batches(run: Run, name: str, whole: bool) -> None:
    """Refuse micro-batches where the loss needs the whole batch: its gradient's norm, or ranks within it."""
    matched = getattr(run.targets, "gradient_norm", "free") != "free"
    what = "gradient_norm: matched" if matched else "kind: beta_smoothing"
    require(
        whole or not (matched or isinstance(run.targets, BetaSmoothing)),
        f"recipe.{name}: targets.{what} is of whole batches, and this recipe takes them in parts; give no {name}",
    )


def cache_kind(run: Run) -> str | None:
    """How the logits of a run's teacher are kept; None without a teacher."""
    if not isinstance(run.targets, Distill | LogitMatch):
        return None
    if isinstance(run.targets, Distill) and run.targets.features is not None:
        return "online"
    if run.targets.cache != "auto":
        return run.targets.cache
    return "dense" if isinstance(run, RunSpec) else "features"


def on_labels(run: Run) -> bool:
    """Whether a network is trained on labels alone, hard or smoothed."""
    return isinstance(run.targets, Hard | Smooth)


def is_solved(run: Run) -> bool:
    """Whether the temperature of a run is solved when its training starts."""
    return isinstance(run.targets, Distill) and run.targets.is_solved


def teacher_of(run: Run) -> Teacher | None:
    """The teacher of a distilling run, else None."""
    return getattr(run.targets, "teacher", None)


def reference_of(run: Run) -> Teacher | None:
    """The teacher whose targets set the temperature of a run, if it is not a number."""
    temperature = getattr(run.targets, "temperature", None)
    return temperature.entropy_of if isinstance(temperature, EqualEntropy) else None


def initial_of(run: Run) -> Initial | None:
    """The weights that a run begins with, if not drawn from its seed."""
    return run.initial if isinstance(run, RunSpec) else None


def parents_of(run: Run) -> tuple[tuple[Run, Parent], ...]:
    """The runs that a run needs first, each with its part in it: the one it begins with, the one that teaches it, the
    one whose targets set its temperature."""
    parents = (initial_of(run), teacher_of(run), reference_of(run))
    return tuple((p.run, p) for p in parents if p is not None and isinstance(p.run, Run))


def dataset_name(dataset: DatasetSpec | CorpusSpec) -> str:
    """The name of a data set, of an image folder its last part."""
    return Path(dataset.path).name if isinstance(dataset, DatasetSpec) and dataset.path else dataset.name


def run_from(value: Any, where: str) -> Run:
    """The spec of a run of either task from plain values (raises as `parse.from_dict`)."""
    is_translation = isinstance(value, Mapping) and value.get("task") == "translation"
    return from_dict(TranslationSpec, value, where) if is_translation else from_dict(RunSpec, value, where)
