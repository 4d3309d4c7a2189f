"""What planning knows of a run of an image network. Its examples are images."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from softlabels.errors import SpecError, require
from softlabels.grid import zoo
from softlabels.grid.declared import datasets
from softlabels.grid.declared.class_names import labels
from softlabels.grid.declared.datasets import view_shape
from softlabels.grid.parts.initial import IMAGENET_CLASSES, TorchvisionWeights
from softlabels.grid.parts.probes import KINDS, AnyProbe, ImageProbe
from softlabels.grid.spec import Distill, LogitMatch, ModelSpec, RunSpec, UserNetwork, parents_of, teacher_of, to_dict

CACHE_STAGES = ("data", "models", "training", "cache")
"""What decides the numbers of a cache."""
BYTES_PER_LOGIT = 2  # fp16
MEASURED_AT_ONCE = 128  # images kept as files (training/jpeg.py)
SHARD_BYTES = 256 << 20  # of a cache, unless one view is larger (cache.py)
CHECKPOINT_COPIES = 5  # of the weights
FEATURES = 2048  # d of penultimate layers, at most
FLOPS_PER_ACTIVATION = 100.0  # of convolutions, at least: how many activations training keeps on a CPU


@dataclass(frozen=True)
class ImageTask:
    """What planning asks of a run; `TranslationTask` answers the same."""

    run: RunSpec

    @property
    def _num_classes(self) -> int:
        return datasets.info(self.run.dataset).num_classes

    def split_sizes(self) -> dict[str, int | None]:
        """Declared examples of each split; None where unknown."""
        return datasets.sizes(self.run.dataset)

    def split_bytes(self) -> dict[str, int]:
        """Bytes of each split as it is prepared (uint8, or original files); 0 where nothing is declared."""
        declared = datasets.info(self.run.dataset)
        each = declared.file_bytes or math.prod(declared.shape)
        return {split: (rows or 0) * each for split, rows in self.split_sizes().items()}

    @property
    def decodes(self) -> bool:
        """Whether images are decoded from their files whenever a network sees them."""
        return self.run.dataset.keeps_files

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages of code that decide the numbers of the run, and of a cache that it reads."""
        return CACHE_STAGES if teacher_of(self.run) else CACHE_STAGES[:-1]

    def cache_size(self, kind: str) -> tuple[int, int, float, int]:
        """Views of each example, examples, bytes of a row, and bytes that do not grow with them, of a cache.

        `views: all` is one view per epoch that the student begins; one where augmentation leaves the images alone.

        Raises:
            SpecError: the size of the data is not declared.
        """
        targets, recipe = self.run.targets, self.run.recipe
        assert isinstance(targets, Distill | LogitMatch)
        rows = self.split_sizes()["train"]
        if rows is None:
            raise SpecError(
                "dataset.train_size is needed to distil on an image folder: "
                "declare the number of images that are left for training"
            )
        views = recipe.num_epochs(rows) if recipe.augment.random else 1
        if targets.views != "all":
            views = min(views, targets.views)
        return views, rows, self._num_classes * BYTES_PER_LOGIT, 0

    def cache_key(self, kind: str, views: int) -> tuple[str, dict[str, Any]]:
        """What tells a cache of a teacher from its others: for its name in short, and in full."""
        content = {"dataset": datasets.identity_of(self.run.dataset), "augment": to_dict(self.run.recipe.augment)}
        return f"v{views}", content | {"views": views}

    def forward_flops(self, model: ModelSpec | None = None) -> float | None:
        """Floating-point operations of the network (or of another on the same data) on one example; None for an
        import path."""
        return zoo.forward_flops(model or self.run.model, view_shape(self.run), self._num_classes)

    def parameters(self, model: ModelSpec | None = None) -> int | None:
        """Weights of the network (or of another on the same data); None for an import path."""
        return zoo.parameters(model or self.run.model, view_shape(self.run), self._num_classes)

    def steps(self) -> int | None:
        """Optimiser steps of one training, at most; None where the size of the data decides and is unknown."""
        rows, recipe = self.split_sizes()["train"], self.run.recipe
        return recipe.num_steps(rows or 1) if recipe.steps is not None or rows is not None else None

    def examples_per_step(self) -> int:
        """Examples of one optimiser step, at most; of a network that is only measured, of one look."""
        return MEASURED_AT_ONCE if self.run.recipe.steps == 0 else self.run.recipe.batch_size

    def training_flops(self, forward: float, online: ModelSpec | None) -> float:
        """Operations of training on one example: three forward passes (backward counts two), and one of a teacher or
        moving average that runs online."""
        teaching = (online and self.forward_flops(online)) or 0.0
        return 3 * (forward + self._connecting_flops(online)) + teaching

    def _connecting_flops(self, online: ModelSpec | None) -> float:
        """Of 1×1 convolutions between the features of the student and its teacher's; 0 without."""
        if online is None or not isinstance(self.run.targets, Distill) or self.run.targets.features is None:
            return 0.0
        student, teacher = (zoo.stage_shapes(model, view_shape(self.run)) for model in (self.run.model, online))
        return float(sum(2 * ours[0] * math.prod(theirs) for ours, theirs in zip(student, teacher, strict=True)))

    def probe_rows(self, probe: AnyProbe) -> int:
        """Images (M · V) that a probe shows to one checkpoint, at most; 0 where the split's size is unknown."""
        assert isinstance(probe, ImageProbe)
        rows = self.split_sizes()[probe.split] or 0
        chosen = self._num_classes if probe.classes is None else len(probe.classes)
        count = -(-rows * chosen // self._num_classes) if probe.per_class is None else chosen * probe.per_class
        return count * max(1, probe.views)

    def probe_checkpoints(self, probe: AnyProbe) -> int:
        """How many checkpoints a probe asks."""
        assert isinstance(probe, ImageProbe)
        return len(self._milestones()) if probe.checkpoints == "milestones" else 1

    def _milestones(self) -> tuple[int, ...]:
        return tuple(self.run.recipe.all_milestones(self.split_sizes()["train"] or 1))

    def training_bytes(self, on_cpu: bool) -> int:
        """Memory of a batch in training; on a GPU it is not the job's."""
        if not on_cpu:
            return 0
        batch = self.run.recipe.micro_batch or self.run.recipe.batch_size
        return math.ceil(4 * batch * (self.forward_flops() or 0.0) / FLOPS_PER_ACTIVATION)

    def caching_bytes(self, view: int) -> int:
        """Memory of writing a cache, of whose rows one view takes `view` bytes."""
        return 2 * max(SHARD_BYTES, view) + 8 * (view // BYTES_PER_LOGIT)

    def probing_bytes(self, probe: AnyProbe) -> int:
        """Memory of answering a probe."""
        return 2 * self.probe_bytes(probe)

    def probe_bytes(self, probe: AnyProbe) -> int:
        """Of one probe's file."""
        assert isinstance(probe, ImageProbe)
        rows = self.probe_rows(probe) * self.probe_checkpoints(probe)
        return probe.file_bytes(rows, self._num_classes, FEATURES, math.prod(view_shape(self.run)))

    def prediction_bytes(self) -> int:
        """Of what a run says about validation and test, last and best: logits in fp32."""
        sizes = self.split_sizes()
        return 8 * ((sizes["val"] or 0) + (sizes["test"] or 0)) * self._num_classes

    def weights_written(self) -> int:
        """How often a training has its weights on the disk: last, best, milestones, and its checkpoints."""
        return 2 + len(self._milestones()) + CHECKPOINT_COPIES

    def fitting(self, probe: AnyProbe, where: str) -> AnyProbe:
        """The probe, its classes by index where their names are declared, so that one question has one name.

        Raises:
            SpecError: a question that this network cannot answer.
        """
        if not isinstance(probe, ImageProbe):
            told = [what for what, kind in KINDS.items() if issubclass(kind, ImageProbe)]
            raise SpecError(f"{where}.what: of an image network one asks {', '.join(told[:-1])} or {told[-1]}")
        declared = datasets.info(self.run.dataset)
        known = [k for k in probe.classes or () if isinstance(k, int)]
        if known and max(known) >= declared.num_classes:
            raise SpecError(
                f"{where}.classes: {self.run.dataset.name} has classes 0 to {declared.num_classes - 1} only"
            )
        if probe.classes and declared.class_names:
            probe = replace(probe, classes=labels(probe.classes, declared.class_names, f"{where}.classes"))
        recipe = self.run.recipe
        if probe.checkpoints == "milestones" and not (recipe.milestones or recipe.milestone_every):
            raise SpecError(f"{where}.checkpoints: the recipe of the family keeps no milestones")
        self.require_kept(probe.checkpoints, f"{where}.checkpoints")
        return probe

    def require_kept(self, checkpoint: str, where: str) -> None:
        """Refuse a checkpoint of which this run keeps no weights.

        Raises:
            SpecError: best without a validation split, a step that is no milestone or lies beyond the end.
        """
        recipe, sizes = self.run.recipe, self.split_sizes()
        if checkpoint == "best" and sizes["val"] == 0 and recipe.steps != 0:
            raise SpecError(
                f"{where}: {self.run.dataset.name} has no validation split to choose the best weights by; "
                "give dataset.holdout, or take last"
            )
        if not checkpoint.startswith("step:"):
            return
        step = int(checkpoint.removeprefix("step:"))
        if not recipe.keeps(step):
            raise SpecError(f"{where}: no weights are kept at step {step}; add it to the milestones of the recipe")
        if sizes["train"] is not None or recipe.steps is not None:
            steps = recipe.num_steps(sizes["train"] or 1)
            if step > steps:
                raise SpecError(f"{where}: step {step} lies beyond the {steps} steps of that run")

    def require_compatible(self) -> None:
        """What only the run as a whole can tell: images large enough for crop and network, milestones within the
        run, weights and teachers that belong to it.

        Raises:
            SpecError: they do not fit.
        """
        run = self.run
        for needed, parent in parents_of(run):
            if isinstance(needed, RunSpec):
                ImageTask(needed).require_kept(parent.checkpoint, f"{parent.role}.checkpoint")
        self._require_initial_fits()
        self._require_features_fit()
        shape = datasets.info(run.dataset).shape
        crop, least = run.recipe.augment.crop, zoo.smallest_side(run.model)
        if crop is not None and crop > min(shape[1:]):
            raise SpecError(f"recipe.augment.crop: {crop} is larger than the images of {min(shape[1:])} pixels")
        side = min(view_shape(run)[1:])
        for what, network in (("recipe", run.recipe), ("teacher", getattr(teacher_of(run), "run", None))):
            if getattr(network, "normalise", None) == "imagenet" and shape[0] != 3:
                raise SpecError(f"{what}.normalise: imagenet is of images in colour; {run.dataset.name}'s are not")
        if side < least:
            raise SpecError(f"model.name: {run.model.name} needs images of at least {least} pixels, not {side}")
        rows = datasets.sizes(run.dataset)["train"]
        if rows is not None or run.recipe.steps is not None:
            steps = run.recipe.num_steps(rows or 1)
            if run.recipe.milestones and max(run.recipe.milestones) > steps:
                raise SpecError(
                    f"recipe.milestones: {max(run.recipe.milestones)} lies beyond the {steps} steps of the run"
                )

    def _require_initial_fits(self) -> None:
        """Compare channels, sides and classes of a run with those of the weights it begins with.

        Raises:
            SpecError: they differ. Of a file of the user's own nothing is known before it is loaded.
        """
        run = self.run
        initial, shape, declared = run.initial, view_shape(run), zoo.MODELS.get(run.model.name)
        if initial is None:
            return
        if isinstance(initial.run, TorchvisionWeights):
            theirs, num_classes = (3, *shape[1:]), IMAGENET_CLASSES
        elif isinstance(initial.run, RunSpec):
            theirs, num_classes = view_shape(initial.run), datasets.info(initial.run.dataset).num_classes
        else:
            return
        require(
            theirs[0] == shape[0],
            f"initial: the weights are of images with {theirs[0]} channels, and {run.dataset.name} has {shape[0]}",
        )
        require(
            theirs == shape or declared is None or not declared.of_one_side,
            f"initial: {run.model.name} of images of {theirs[1]}×{theirs[2]} pixels has other weights than one of "
            f"{shape[1]}×{shape[2]}; take images of one size, or another network",
        )
        own = datasets.info(run.dataset).num_classes
        require(
            initial.head == "new" or num_classes == own,
            f"initial.head: kept takes over a head of {num_classes} classes, and {run.dataset.name} has {own}; "
            "give head: new",
        )

    def _require_features_fit(self) -> None:
        """Refuse a student of features and a teacher whose stages are not as many, or end in maps of other sizes.

        Raises:
            SpecError: both are named, with the sides of their maps.
        """
        run = self.run
        targets, shape = run.targets, view_shape(run)
        if not isinstance(targets, Distill) or targets.features is None:
            return
        assert isinstance(targets.teacher.run, RunSpec | UserNetwork)  # as RunSpec requires
        student, teacher = run.model, targets.teacher.run.model
        sides = [[f"{h}×{w}" for _, h, w in zoo.stage_shapes(model, shape)] for model in (student, teacher)]
        if sides[0] != sides[1]:
            raise SpecError(
                f"targets.features: on images of {shape[1]}×{shape[2]} the stages of the student {student.name} end "
                f"in maps of {', '.join(sides[0])}, those of the teacher {teacher.name} in {', '.join(sides[1])}; "
                "choose networks, stems or widths whose maps agree"
            )
