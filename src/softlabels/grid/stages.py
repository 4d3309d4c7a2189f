"""Where the stages of a network end, for distillation of features. No torch here; `models.stages` has the modules."""

from __future__ import annotations

from softlabels.errors import SpecError
from softlabels.grid.spec import ModelSpec
from softlabels.grid.zoo import with_defaults

Shape = tuple[int, int, int]
_RESNETS = {"resnet18": (64, 128, 256, 512), "resnet50": (256, 512, 1024, 2048)}
STAGED = ("small_cnn", *_RESNETS)
"""Networks whose stages are declared."""


def stage_shapes(model: ModelSpec, shape: Shape) -> tuple[Shape, ...]:
    """(C, H, W) of what enters the last ReLU of each stage, for pictures (C, H, W).

    `small_cnn`: of each of its convolutions, after batch norm; ResNets: of their four stages, after the last addition.

    Raises:
        SpecError: the stages of this network are not declared, or it is unknown.
    """
    if model.name not in STAGED:
        raise SpecError(
            f"targets.features: the stages of {model.name} are not declared; they are of {', '.join(STAGED)}"
        )
    options = with_defaults(model)
    _, height, width = shape
    if model.name == "small_cnn":
        return tuple((channels, height >> i, width >> i) for i, channels in enumerate(options["widths"]))
    if options["stem"] == "imagenet":
        height, width = -(-height // 4), -(-width // 4)
    return tuple((channels, -(-height // 2**i), -(-width // 2**i)) for i, channels in enumerate(_RESNETS[model.name]))


def require_equal_sides(student: ModelSpec, teacher: ModelSpec, shape: Shape) -> None:
    """Refuse two networks whose stages are not equally many or do not end in maps of one size.

    Raises:
        SpecError: both are named, with the sides of their maps.
    """
    sides = [[f"{h}×{w}" for _, h, w in stage_shapes(model, shape)] for model in (student, teacher)]
    if sides[0] != sides[1]:
        raise SpecError(
            f"targets.features: on pictures of {shape[1]}×{shape[2]} the stages of the student {student.name} end in "
            f"maps of {', '.join(sides[0])}, those of the teacher {teacher.name} in {', '.join(sides[1])}; "
            "choose networks, stems or widths whose maps agree"
        )
