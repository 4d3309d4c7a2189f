"""Views of images kept as files: equal to torchvision's transforms, with the laws of what torchvision draws."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from conftest import noise
from refusals import refused
from scipy import stats
from torch import Tensor

from softlabels.errors import SpecError
from softlabels.grid.parts.recipe import Augment, Optimiser, Recipe
from softlabels.grid.spec import DatasetSpec, Distill, Hard, LogitMatch, ModelSpec, RunSpec, Teacher, UserLogits
from softlabels.models.library import load
from softlabels.training.jpeg import draw, plain_view, random_boxes, view_of

EVERYTHING = Augment(
    side=32,
    scale=(0.2, 1.0),
    ratio=(0.8, 1.25),
    flip=True,
    rotate=45,
    grayscale=0.2,
    jitter_brightness=0.2,
    jitter_contrast=0.3,
    eval_resize=40,
)
V2 = load("torchvision.transforms.v2.functional")
TRANSFORMS = load("torchvision.transforms")
N = 4000
IDS = torch.arange(N)


def same_size(height: int, width: int, count: int = N) -> Any:
    return np.tile(np.array([height, width], dtype=np.int32), (count, 1))


def at(view: int, ids: Tensor = IDS) -> Tensor:
    return torch.full_like(ids, view)


# ------------------------------------------------------------ crops


@pytest.mark.parametrize(
    ("size", "scale", "ratio"),
    [
        ((375, 500), (0.08, 1.0), (3 / 4, 4 / 3)),
        ((375, 500), (0.2, 1.0), (0.8, 1.25)),
        ((100, 400), (0.08, 1.0), (3 / 4, 4 / 3)),  # many attempts fail
        ((60, 41), (0.9, 1.0), (3 / 4, 4 / 3)),
    ],
)
def test_crops_have_the_law_of_torchvisions(size: Any, scale: Any, ratio: Any) -> None:
    ours = random_boxes(same_size(*size), IDS, at(3), 7, scale, ratio)
    image = torch.empty(1, *size)
    torch.manual_seed(0)
    params = TRANSFORMS.RandomResizedCrop.get_params
    theirs = np.array([params(image, list(scale), list(ratio)) for _ in range(N)])
    for law in (
        lambda b: b[:, 2] * b[:, 3] / (size[0] * size[1]),  # share of the area
        lambda b: np.log(b[:, 3] / b[:, 2]),  # aspect
        lambda b: b[:, 0] / np.maximum(1, size[0] - b[:, 2]),  # where
        lambda b: b[:, 1] / np.maximum(1, size[1] - b[:, 3]),
    ):
        assert stats.ks_2samp(law(ours), law(theirs)).pvalue > 1e-4
    assert (ours[:, :2] >= 0).all()
    assert (ours[:, 2:] > 0).all()
    assert (ours[:, 0] + ours[:, 2] <= size[0]).all()
    assert (ours[:, 1] + ours[:, 3] <= size[1]).all()


@pytest.mark.parametrize(("size", "box"), [((400, 40), (173, 0, 53, 40)), ((40, 400), (0, 173, 40, 53))])
def test_where_no_crop_fits_it_is_the_largest_in_the_centre(size: Any, box: Any) -> None:
    found = random_boxes(same_size(*size, 50), IDS[:50], at(0, IDS[:50]), 0, (0.9, 1.0), (3 / 4, 4 / 3))
    assert (found == np.array(box)).all()
    assert TRANSFORMS.RandomResizedCrop.get_params(torch.empty(1, *size), [0.9, 1.0], [3 / 4, 4 / 3]) == box


# ------------------------------------------------------------ what is drawn


def test_what_is_drawn_depends_on_stream_id_and_view_alone() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(30, 300, (64, 2)).astype(np.int32)
    ids, views = torch.arange(64) * 31, torch.arange(64) % 3
    whole = dataclasses.asdict(draw(sizes, ids, views, 9, EVERYTHING))
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(123)  # no hidden generator
    shuffled = dataclasses.asdict(draw(sizes[order.numpy()], ids[order], views[order], 9, EVERYTHING))
    for name, values in whole.items():
        np.testing.assert_array_equal(shuffled[name], values[order.numpy()], err_msg=name)
        for i in (0, 5, 63):  # alone, without the rest of the batch
            alone = draw(sizes[i : i + 1], ids[i : i + 1], views[i : i + 1], 9, EVERYTHING)
            np.testing.assert_array_equal(getattr(alone, name)[0], values[i], err_msg=name)
    for other in (
        draw(sizes, ids, views, 10, EVERYTHING),
        draw(sizes, ids, views + 1, 9, EVERYTHING),
        draw(sizes, ids + 1, views, 9, EVERYTHING),
    ):
        assert (dataclasses.asdict(other)["degrees"] == whole["degrees"]).mean() < 0.05
        assert (dataclasses.asdict(other)["boxes"] == whole["boxes"]).all(1).mean() < 0.3  # narrow images have few


def test_changes_are_uniform_and_independent() -> None:
    drawn = draw(same_size(90, 90), IDS, at(5), 1, EVERYTHING)
    for values, low, high in ((drawn.degrees, -45, 45), (drawn.brightness, 0.8, 1.2), (drawn.contrast, 0.7, 1.3)):
        assert values is not None
        assert stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > 1e-4
    for mask, probability in ((drawn.flip, 0.5), (drawn.grayscale, 0.2), (drawn.contrast_first, 0.5)):
        assert mask is not None
        assert stats.binomtest(int(mask.sum()), N, probability).pvalue > 1e-4
    assert drawn.boxes is not None
    columns = [drawn.flip, drawn.degrees, drawn.grayscale, drawn.brightness, drawn.contrast, drawn.contrast_first]
    columns += [drawn.boxes[:, 2] * drawn.boxes[:, 3], np.log(drawn.boxes[:, 3] / drawn.boxes[:, 2])]
    r = np.corrcoef(np.stack([np.asarray(c, dtype=float) for c in columns])) - np.eye(len(columns))
    assert np.abs(r).max() < 4.5 / np.sqrt(N)


def test_a_strong_jitter_ends_at_zero_as_torchvisions() -> None:
    brightness = draw(same_size(9, 9), IDS, at(0), 0, Augment(side=4, jitter_brightness=1.5)).brightness
    assert brightness is not None
    assert brightness.min() >= 0
    assert stats.kstest(brightness, stats.uniform(0, 2.5).cdf).pvalue > 1e-4


# ------------------------------------------------------------ pixels


def torchvisions(image: Any, drawn: Any, b: int, spec: Augment) -> Any:
    """The same view by torchvision's functions, in the order of the released code for CUB."""
    interpolation = TRANSFORMS.InterpolationMode(spec.rotate_by)
    if drawn.boxes is None:
        image = V2.center_crop(V2.resize(image, [spec.eval_resize or spec.side]), [spec.side])
    else:
        image = V2.resized_crop(image, *drawn.boxes[b].tolist(), [spec.side, spec.side])
    if drawn.flip is not None and drawn.flip[b]:
        image = V2.horizontal_flip(image)
    if drawn.degrees is not None:
        image = V2.rotate(image, float(drawn.degrees[b]), interpolation)
    if drawn.grayscale is not None and drawn.grayscale[b]:
        image = V2.rgb_to_grayscale(image, num_output_channels=3)
    changes = [(V2.adjust_brightness, drawn.brightness), (V2.adjust_contrast, drawn.contrast)]
    for change, factors in changes[::-1] if drawn.contrast_first is not None and drawn.contrast_first[b] else changes:
        if factors is not None:
            image = change(image, float(factors[b]))
    return image


@pytest.mark.parametrize(
    "spec",
    [
        EVERYTHING,
        Augment(side=24, scale=(0.08, 1.0), flip=True),
        Augment(side=24, eval_resize=31, flip=True),
        Augment(side=64, rotate=15),  # larger than the image
        Augment(side=24, rotate=20, rotate_by="nearest", flip=True),
        Augment(side=24, grayscale=1.0, jitter_contrast=0.5),
        Augment(side=24),
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [(50, 71), (64, 43)])
def test_views_are_torchvisions_to_the_bit(spec: Augment, size: tuple[int, int]) -> None:
    image, ids = noise(size, 1), torch.arange(24)
    drawn = draw(same_size(*size, 24), ids, at(2, ids), 3, spec)
    for b in range(24):
        found = np.asarray(view_of(image, drawn, b, spec))
        assert found.shape == (spec.side, spec.side, 3)
        np.testing.assert_array_equal(found, np.asarray(torchvisions(image, drawn, b, spec)))


@pytest.mark.parametrize("size", [(50, 71), (64, 43), (24, 24), (31, 90)])
def test_evaluation_is_torchvisions_resize_and_centre(size: tuple[int, int]) -> None:
    image = noise(size, 2)
    for spec in (Augment(side=24, eval_resize=31, scale=(0.1, 1.0), rotate=30), Augment(side=24)):
        wanted = V2.center_crop(V2.resize(image, [spec.eval_resize or 24]), [24])
        np.testing.assert_array_equal(np.asarray(plain_view(image, spec)), np.asarray(wanted))


# ------------------------------------------------------------ specs

FILES = DatasetSpec("folder", path="somewhere", num_classes=2, train_size=9, keep="files")
ARRAYS = DatasetSpec("folder", path="somewhere", num_classes=2, train_size=9, image_size=8)


def run(dataset: DatasetSpec, augment: Augment, targets: Any = Hard()) -> RunSpec:  # noqa: B008
    recipe = Recipe(batch_size=4, steps=2, optimiser=Optimiser(lr=0.1), augment=augment)
    return RunSpec(dataset, ModelSpec("mlp"), targets, recipe)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Augment(scale=(0.1, 1.0)), "augment.scale"),
        (lambda: Augment(eval_resize=9), "augment.eval_resize"),
        (lambda: Augment(side=8, pad=2), "augment.pad"),
        (lambda: Augment(side=8, contrast=(0.5, 1.0)), "augment.contrast"),
        (lambda: Augment(side=8, ratio=(0.5, 2.0)), "augment.ratio"),
        (lambda: Augment(side=8, scale=(0.0, 1.0)), "augment.scale"),
        (lambda: Augment(side=8, eval_resize=7), "augment.eval_resize"),
        (lambda: Augment(side=0), "augment.side"),
        (lambda: Augment(side=8, grayscale=1.5), "augment.grayscale"),
        (lambda: Augment(side=8, rotate=181), "augment.rotate"),
        (lambda: Augment(side=8, rotate_by="nearest"), "augment.rotate_by"),
        (lambda: Augment(rotate=9, rotate_by="nearest"), "augment.rotate_by"),
        (lambda: run(FILES, Augment()), "augment.side"),
        (lambda: run(ARRAYS, Augment(side=8)), "augment.side"),
        (lambda: run(DatasetSpec("imagenet"), Augment(flip=True)), "augment.side"),
        (lambda: dataclasses.replace(FILES, image_size=8), "dataset.image_size"),
        (lambda: dataclasses.replace(ARRAYS, image_size=None), "dataset.image_size"),
        (lambda: dataclasses.replace(ARRAYS, undecodable="skip"), "undecodable"),
        (lambda: DatasetSpec("cub200_2011", undecodable="skip"), "dataset.undecodable"),
        (lambda: DatasetSpec("mnist", keep="files"), "dataset.keep"),
    ],
)
def test_what_fits_neither_files_nor_arrays_is_refused(make: Any, named: str) -> None:
    with refused(SpecError, named):
        make()


def test_teacher_and_student_look_at_views_of_one_side_whatever_the_teacher_was_trained_on() -> None:
    teacher = Teacher(run(FILES, Augment(side=24, scale=(0.08, 1.0), flip=True)))
    student = run(FILES, Augment(side=24, scale=(0.5, 1.0), rotate=10, eval_resize=28), Distill(teacher, 2.0))
    assert student.recipe.augment.side == 24
    with refused(SpecError, "augment.side"):
        run(FILES, Augment(side=32), Distill(teacher, 2.0))
    logits = Teacher(UserLogits("z.npy", "0" * 64))
    run(FILES, Augment(side=24, eval_resize=28), LogitMatch(logits, 1.0))  # the same view of each image
    with refused(SpecError, "logits", "augment"):
        run(FILES, Augment(side=24, scale=(0.5, 1.0)), LogitMatch(logits, 1.0))


def test_equal_views_are_equal_specs() -> None:
    assert Augment(side=8, scale=(0.1, 1.0), ratio=(3 / 4, 4 / 3), eval_resize=8) == Augment(side=8, scale=(0.1, 1.0))
    assert not Augment(side=8, eval_resize=9).random
    for one in ({"scale": (1.0, 1.0)}, {"rotate": 1}, {"flip": True}, {"grayscale": 0.1}, {"jitter_contrast": 0.1}):
        assert Augment(side=8, **one).random
