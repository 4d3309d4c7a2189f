"""Plain values to specs: strict, and the inverse of `to_dict`."""

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused

from softlabels.errors import SpecError
from softlabels.grid import spec as s
from softlabels.grid.parse import from_dict
from softlabels.grid.parts import recipe as r
from softlabels.grid.parts import translation as t

TEXT = {"max_tokens": 9, "lr": 1, "warmup_updates": 1, "updates": 9}
fractions = st.floats(0, 0.99, allow_nan=False)
positive = st.floats(1e-6, 1e6, allow_nan=False)
counts = st.integers(1, 10**6)
datasets = st.builds(
    s.DatasetSpec,
    name=st.just("digits"),
    holdout=st.none() | st.integers(0, 500) | st.floats(0.01, 0.5),
    split=st.sampled_from(["stratified", "last"]),
    split_seed=st.integers(0, 9),
    train_limit=st.none() | counts,
)
option_values = st.booleans() | st.integers(-9, 9) | st.text(max_size=3) | st.lists(st.integers(1, 9)).map(tuple)
models = st.dictionaries(st.text("abc", min_size=1), option_values, max_size=3).map(
    lambda options: s.ModelSpec("mlp", tuple(sorted(options.items())))
)
augments = st.builds(
    r.Augment,
    pad=st.integers(0, 4),
    crop=st.none() | st.integers(1, 32),
    flip=st.booleans(),
    brightness=st.floats(0, 63),
    contrast=st.none() | st.tuples(positive, positive).map(sorted).map(tuple),
)
optimisers = st.builds(
    r.Optimiser,
    lr=positive,
    momentum=st.floats(0.1, 0.9),
    dampening=fractions,
    nesterov=st.booleans(),
    groups=st.lists(
        st.builds(r.ParameterGroup, parameters=st.just("^fc"), lr_factor=positive, weight_decay=st.none() | fractions),
        max_size=2,
    ).map(tuple),
)
schedules = st.just(r.Schedule()) | st.builds(
    r.Schedule, kind=st.just("steps"), boundaries=st.just((0.5, 0.75)), factor=positive, warmup=fractions
)
recipes = st.builds(
    r.Recipe,
    batch_size=counts,
    optimiser=optimisers,
    epochs=positive,
    schedule=schedules,
    loss_scale=positive,
    ema=st.none() | st.floats(0.1, 0.9),
    augment=augments,
    normalise=st.sampled_from(["none", "dataset", "per_image"]),
    milestones=st.lists(counts, max_size=3).map(tuple),
    precision=st.builds(r.Precision, autocast=st.sampled_from(["none", "bf16"]), channels_last=st.booleans()),
)
smooth = st.builds(s.Smooth, alpha=fractions, over=st.sampled_from(["all", "others"]))


@st.composite
def runs(draw: st.DrawFn) -> s.RunSpec:
    """Runs on labels, taught by another run, or by a network of the user's own."""
    dataset, recipe = draw(datasets), draw(recipes)
    targets: s.Targets = draw(st.just(s.Hard()) | smooth)
    kind = draw(st.sampled_from(["labels", "distill", "match", "own"]))
    if kind != "labels":
        who: s.RunSpec | s.UserNetwork = s.RunSpec(dataset, draw(models), targets, recipe)
        teacher = s.Teacher(who, draw(st.sampled_from(["same", 0, 3])), draw(st.sampled_from(["last", "best"])))
        if kind == "own":
            teacher = s.Teacher(s.UserNetwork(draw(models), "net.safetensors", "ab" * 32, "dataset"))
        targets = s.Distill(teacher, draw(positive), views=draw(st.just("all") | counts))  # type: ignore[arg-type]
        if kind == "match":
            targets = s.LogitMatch(teacher, 0.6, reduction="sum", cache="online")
    # Teacher and student look at images of one size.
    augment = dataclasses.replace(draw(augments), crop=recipe.augment.crop)
    return s.RunSpec(dataset, draw(models), targets, dataclasses.replace(draw(recipes), augment=augment))


@settings(max_examples=60)
@given(runs())
def test_from_dict_is_the_inverse_of_to_dict(run: s.RunSpec) -> None:
    through_json = json.loads(json.dumps(s.to_dict(run)))
    assert from_dict(s.RunSpec, through_json, "here:") == run


def test_an_option_that_is_a_list_of_pairs_keeps_them_all() -> None:
    model = s.ModelSpec("my_nets:small", (("stages", (("conv", 8), ("conv", 16))),))
    assert s.to_dict(model)["options"] == {"stages": [["conv", 8], ["conv", 16]]}
    assert from_dict(s.ModelSpec, s.to_dict(model), "x:") == model


def test_an_option_given_twice_is_refused() -> None:
    with refused(SpecError, "model.options", "width"):
        s.ModelSpec("my_nets:small", (("width", 8), ("width", 16)))


def test_a_number_is_whole_where_the_field_is_whole() -> None:
    assert from_dict(s.DatasetSpec, {"name": "digits", "holdout": 100}, "x:").holdout == 100
    assert type(from_dict(s.DatasetSpec, {"name": "digits", "holdout": 100}, "x:").holdout) is int
    assert type(from_dict(s.Smooth, {"kind": "smooth", "alpha": 0}, "x:").alpha) is float


@pytest.mark.parametrize(
    ("cls", "value", "named"),
    [
        (s.DatasetSpec, {"name": "digits", "nmae": 1}, "nmae"),
        (s.DatasetSpec, {}, "f.yaml: a.name"),
        (s.DatasetSpec, "digits", "f.yaml: a"),
        (s.Smooth, {"kind": "smooth", "alpha": True}, "a.alpha"),
        (s.Smooth, {"kind": "smooth", "alpha": float("nan")}, "a.alpha"),
        (s.Smooth, {"kind": "smooth", "alpha": 1}, "alpha"),
        (r.Optimiser, {"lr": "fast"}, "a.lr"),
        (r.Optimiser, {"lr": 1, "nesterov": 1}, "a.nesterov"),
        (r.Optimiser, {"lr": 1, "name": "adamw"}, "a.name"),
        (r.Optimiser, {"lr": 1, "groups": [{"parameters": 3}]}, "a.groups[0].parameters"),
        (r.Optimiser, {"lr": 1, "betas": [0.9]}, "a.betas"),
        (r.Optimiser, {"lr": 1, "name": "adam", "betas": [1.5, 0.9]}, "optimiser.betas"),
        (r.Optimiser, {"lr": 1, "momentum": 0.9, "dampening": 1.5}, "optimiser.dampening"),
        (r.Optimiser, {"lr": 1, "eps": 1e-7}, "optimiser.eps"),
        (r.Optimiser, {"lr": 1, "name": "adam", "eps": 0}, "optimiser.eps"),
        (r.ParameterGroup, {"parameters": "^fc", "weight_decay": -3}, "groups.weight_decay"),
        (r.Schedule, {"kind": "steps", "boundaries": [0.5], "factor": 0}, "schedule.factor"),
        (r.Schedule, {"kind": "steps", "boundaries": [0.5], "factor": -1}, "schedule.factor"),
        (r.Schedule, {"kind": "exponential", "factor": 0.9, "every": 0}, "schedule.every"),
        (r.Schedule, {"kind": "exponential", "factor": 0.9, "every": 1}, "schedule.every"),
        (r.Recipe, {"batch_size": 8, "steps": 9, "optimiser": {"lr": 1}, "milestones": [-5]}, "recipe.milestones"),
        (t.TranslationRecipe, TEXT | {"betas": [0.9, 1]}, "recipe.betas"),
        (t.TranslationRecipe, TEXT | {"eps": 0}, "recipe.eps"),
        (r.Recipe, {"batch_size": 8.5, "optimiser": {"lr": 1}}, "a.batch_size"),
        (r.Augment, {"crop": "all"}, "a.crop"),
        (s.ModelSpec, {"name": "mlp", "options": [1]}, "a.options"),
    ],
)
def test_what_is_wrong_is_named(cls: type, value: object, named: str) -> None:
    with refused(SpecError, named):
        from_dict(cls, value, "f.yaml: a")


def test_an_unknown_kind_of_targets_lists_the_kinds() -> None:
    run = {"dataset": {"name": "digits"}, "model": {"name": "mlp"}, "targets": {"kind": "soft"}}
    run["recipe"] = {"batch_size": 1, "steps": 1, "optimiser": {"lr": 1}}
    with refused(SpecError, "f: targets.kind", "logit_match"):
        from_dict(s.RunSpec, run, "f:")


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "distil"},
        {"kind": "distill", "temprature": 2},
        {"kind": "distill", "temperature": "2"},
        {"kind": "distill", "temperature": 0},
        {"kind": "distill"},
        {"kind": "virtual"},
    ],
)
def test_what_is_wrong_beside_parts_that_are_built_is_named_alike(wrong: dict[str, object]) -> None:
    """A teacher that is a spec already and one in plain values: the same specs, the same sentences."""
    recipe = {"batch_size": 1, "steps": 1, "optimiser": {"lr": 1}}
    plain = {"dataset": {"name": "digits"}, "model": {"name": "mlp"}, "targets": {"kind": "hard"}, "recipe": recipe}
    teacher = from_dict(s.RunSpec, plain, "f:")

    def student(of: object, **targets: object) -> s.RunSpec:
        return from_dict(s.RunSpec, plain | {"targets": {"teacher": {"run": of}, **targets}}, "f:")

    good = [student(of, kind="distill", temperature=2) for of in (plain, teacher)]
    assert good[0] == good[1]
    assert type(good[1].targets.temperature) is float
    sentences = []
    for of in (plain, teacher):
        with pytest.raises(SpecError) as caught:
            student(of, **wrong)
        sentences.append(str(caught.value))
    assert sentences[0] == sentences[1]
    assert "f: targets" in sentences[0]
