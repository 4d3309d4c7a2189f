"""(a) A step of a student that reads the logits cache, and (b) with the teacher online, ÷ a supervised step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.material import FAST, advance, generated, make_trainer, run_spec
from benchmarks.measure import Ratio, Scope, take_turns
from softlabels.cache import CachedLogits, OnlineTeacher, TeacherNetwork, write_cache
from softlabels.grid.parts.recipe import Augment, Optimiser, Recipe
from softlabels.grid.spec import Distill, LogitMatch, ModelSpec, Teacher
from softlabels.models import build
from softlabels.training.images import ImageSplit

AIM = ("≤", 1.05)
VIEWS = 4


@dataclass(frozen=True)
class Case:
    """A student and its teacher as in Müller et al., and how many steps make one repetition."""

    dataset: str
    student: str
    teacher: str
    shape: tuple[int, int, int]
    num_train: int
    recipe: Recipe
    steps: int


_SGD = Optimiser(lr=1e-3, momentum=0.9)
CASES = (
    Case("mnist", "fc_2x800", "fc_2x1200", (1, 28, 28), 54_000, Recipe(128, _SGD, steps=1), 100),
    Case(
        "cifar10",
        "alexnet",
        "resnet56",
        (3, 32, 32),
        40_000,
        Recipe(128, _SGD, steps=1, augment=Augment(pad=4, flip=True), normalise="per_image", precision=FAST),
        6,
    ),
)


def run(scope: Scope) -> Iterator[Ratio]:
    for case in CASES:
        yield from _measure(case, scope)


def _measure(case: Case, scope: Scope) -> Iterator[Ratio]:
    recipe = replace(case.recipe, batch_size=scope.pick(case.recipe.batch_size, 4))
    steps, num_train = scope.pick(case.steps, 1), scope.pick(case.num_train, 64)
    hard = run_spec(case.dataset, case.student, recipe)
    taught_by = Teacher(run_spec(case.dataset, case.teacher, recipe))
    if case.dataset == "mnist":
        targets: LogitMatch | Distill = LogitMatch(taught_by, beta=0.6)
    else:
        targets = Distill(taught_by, temperature=2.0, form="ce", student_tempered=False, t2=False)
    distilled = replace(hard, targets=targets)
    with TemporaryDirectory() as name:
        folder = Path(name)
        images = ImageSplit(generated(folder / "data", case.shape, num_train), "train", scope.device)
        torch.manual_seed(0)
        network = build(ModelSpec(case.teacher), 10, case.shape).to(scope.device)
        if recipe.precision.channels_last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        teacher = TeacherNetwork(network, recipe.normalise, recipe.precision)
        # What a cache holds does not change how long it takes to read.
        logits = torch.randn(num_train, 10).numpy()
        write_cache(folder / "cache", logits, images, views=VIEWS, augment_seed=0, augment=recipe.augment, about={})
        trainers = {
            "supervised": make_trainer(hard, images, folder / "supervised"),
            "cached": make_trainer(distilled, images, folder / "cached", CachedLogits(folder / "cache", images)),
            "online": make_trainer(distilled, images, folder / "online", OnlineTeacher(teacher, images, 0, VIEWS)),
        }
        seconds = take_turns(
            {key: partial(advance, trainer, steps) for key, trainer in trainers.items()},
            scope.repetitions,
            scope.device,
        )
    about = {"batch": recipe.batch_size, "steps": steps, "precision": recipe.precision.autocast}
    for how, aim in (("cached", AIM), ("online", None)):
        title = f"step {how} ÷ supervised, {case.student} of {case.teacher}"
        yield Ratio(title, seconds[how], seconds["supervised"], aim, about)
