"""Whether the parts of a run belong together, as far as declarations tell: pictures, network, steps, the weights that
it begins with, a teacher of features."""

from __future__ import annotations

from softlabels.errors import SpecError, require
from softlabels.grid import datasets, transformers, zoo
from softlabels.grid.datasets import view_shape
from softlabels.grid.initial import IMAGENET_CLASSES, TorchvisionWeights
from softlabels.grid.spec import Distill, Run, RunSpec, TranslationSpec, UserNetwork, teacher_of
from softlabels.grid.stages import require_equal_sides


def require_fit(run: Run) -> None:
    """What only the run as a whole can tell: pictures large enough for crop and network, milestones within the run,
    heads that divide a width, weights and teachers that belong to it.

    Raises:
        SpecError: they do not fit.
    """
    if isinstance(run, TranslationSpec):
        o = transformers.options(run.model)
        if o["dim"] % o["heads"]:
            raise SpecError(f"model.options.heads: {o['heads']} heads do not divide a width of {o['dim']}")
        return
    require_initial_fits(run)
    require_features_fit(run)
    shape = datasets.info(run.dataset).shape
    crop, least = run.recipe.augment.crop, zoo.smallest_side(run.model)
    if crop is not None and crop > min(shape[1:]):
        raise SpecError(f"recipe.augment.crop: {crop} is larger than the pictures of {min(shape[1:])} pixels")
    side = min(view_shape(run)[1:])
    for what, network in (("recipe", run.recipe), ("teacher", getattr(teacher_of(run), "run", None))):
        if getattr(network, "normalise", None) == "imagenet" and shape[0] != 3:
            raise SpecError(f"{what}.normalise: imagenet is of pictures in colour; {run.dataset.name}'s are not")
    if side < least:
        raise SpecError(f"model.name: {run.model.name} needs pictures of at least {least} pixels, not {side}")
    rows = datasets.sizes(run.dataset)["train"]
    if rows is not None or run.recipe.steps is not None:
        steps = run.recipe.num_steps(rows or 1)
        if run.recipe.milestones and max(run.recipe.milestones) > steps:
            raise SpecError(f"recipe.milestones: {max(run.recipe.milestones)} lies beyond the {steps} steps of the run")


def require_initial_fits(run: RunSpec) -> None:
    """Compare channels, sides and classes of a run with those of the weights it begins with.

    Raises:
        SpecError: they differ. Of a file of the user's own nothing is known before it is loaded.
    """
    initial, shape = run.initial, view_shape(run)
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
        f"initial: the weights are of pictures with {theirs[0]} channels, and {run.dataset.name} has {shape[0]}",
    )
    require(
        theirs == shape or run.model.name not in zoo.OF_ONE_SIDE,
        f"initial: {run.model.name} of pictures of {theirs[1]}×{theirs[2]} pixels has other weights than one of "
        f"{shape[1]}×{shape[2]}; take pictures of one size, or another network",
    )
    own = datasets.info(run.dataset).num_classes
    require(
        initial.head == "new" or num_classes == own,
        f"initial.head: kept takes over a head of {num_classes} classes, and {run.dataset.name} has {own}; "
        "give head: new",
    )


def require_features_fit(run: RunSpec) -> None:
    """Compare the stages of a student of features with its teacher's (raises as `require_equal_sides`)."""
    targets = run.targets
    if isinstance(targets, Distill) and targets.features is not None:
        assert isinstance(targets.teacher.run, RunSpec | UserNetwork)  # as RunSpec requires
        require_equal_sides(run.model, targets.teacher.run.model, view_shape(run))
