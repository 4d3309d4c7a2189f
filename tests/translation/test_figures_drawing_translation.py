"""What a translation artifact asks of its drawing module is refused when the plan is made."""

from __future__ import annotations

from typing import Any

import pytest
from refusals import refused

from softlabels.errors import SpecError
from softlabels.figures.drawing import check
from softlabels.grid.parts.probes import AnyProbe, Tokens, Translations
from softlabels.grid.parts.recipe import Optimiser, Recipe
from softlabels.grid.parts.translation import CorpusSpec, TranslationRecipe
from softlabels.grid.plan import Artifact, Member
from softlabels.grid.spec import DatasetSpec, Distill, Hard, ModelSpec, Run, RunSpec, Teacher, TranslationSpec

RECIPE = TranslationRecipe(max_tokens=1000, lr=1e-3, warmup_updates=10, updates=100)
TEACHER = TranslationSpec(CorpusSpec("sentences"), ModelSpec("transformer_tiny"), Hard(), RECIPE, "translation")
IMAGES = RunSpec(DatasetSpec("digits"), ModelSpec("mlp"), Hard(), Recipe(64, Optimiser(0.1), steps=10))
TEST, BEST = Translations("translations"), Translations("translations", checkpoint="best")
VAL, HOT = (Translations("translations", split="val", temperature=t) for t in (1.0, 1.3))
WORDS = ("hund", "katze", "und")
TRAIN_WORDS, VAL_WORDS = (Tokens("tokens", split=split, tokens=WORDS) for split in ("train", "val"))
TRAIN = Tokens("tokens", split="train", sentences=100)
ROW = {"family": "teachers", "classes": [0, 1, 2], "names": list(WORDS)}


def student(checkpoint: str = "last", corpus: CorpusSpec = TEACHER.dataset) -> TranslationSpec:
    teacher = TranslationSpec(corpus, TEACHER.model, Hard(), RECIPE, "translation")
    return TranslationSpec(
        corpus, TEACHER.model, Distill(Teacher(teacher, checkpoint=checkpoint), 2.0), RECIPE, "translation"
    )


def artifact(
    draw: str,
    *probes: AnyProbe,
    kind: str = "figure",
    students: tuple[Run, ...] = (),
    of_students=(TEST,),
    **options: Any,
) -> Artifact:
    """Teachers with their probes, and students with theirs."""
    names = (("dataset", "iwslt_en_de"), ("student", "transformer"))
    members = [Member("teachers", (), TEACHER, (0,), names)]
    members += [Member("students", (), run, (0,), names) for run in students]
    asked = [("teachers", probe) for probe in probes] + [("students", probe) for probe in of_students if students]
    return Artifact("own.one", "One", kind, draw, tuple(members), tuple(asked), options, ())


GOOD = [
    artifact("bleu_table", TEST, kind="table", students=(student(),)),
    artifact("bleu_table", TEST, BEST, kind="table", students=(student("best"),), of_students=(TEST, BEST)),
    artifact("truncation", TEST, students=(student(),), published=True),
    artifact("truncation", TEST, kind="table", students=(student(),)),
    artifact("decoding_temperature", VAL, HOT),
    artifact("reliability"),
    artifact("calibration_table", kind="table"),
    artifact("compare_table", TRAIN, kind="table"),
    artifact("projection", VAL_WORDS, TRAIN_WORDS, rows=[ROW]),
]


@pytest.mark.parametrize("good", GOOD, ids=lambda found: f"{found.plot}-{found.kind}")
def test_what_can_be_drawn_passes(good: Artifact) -> None:
    check(good)


OTHERS = Tokens("tokens", split="val", tokens=("und", "hund", "katze"))
ELSEWHERE = CorpusSpec("iwslt14_en_de")
BAD = [
    (artifact("bleu_table", TEST, students=(student(),)), "kind: table"),
    (artifact("bleu_table", BEST, kind="table"), "what: translations"),
    (artifact("bleu_table", VAL, kind="table"), "what: translations"),
    (artifact("bleu_table", TEST, kind="table", students=(student("best"),)), "checkpoint: best"),
    (artifact("bleu_table", TEST, kind="table", students=(student(corpus=ELSEWHERE),)), "family students"),
    (artifact("truncation", TEST), "truncation"),
    (artifact("truncation", TEST, students=(student(),), of_students=()), "family students"),
    (artifact("truncation", TEST, students=(student(),), published="yes"), "options.published"),
    (artifact("truncation", TEST, students=(student("best"),)), "checkpoint: best"),
    (artifact("truncation", TEST, BEST, students=(student(), student("best"))), "teachers"),
    (artifact("truncation", TEST, students=(student(), student(corpus=ELSEWHERE))), "truncation"),
    (artifact("decoding_temperature", VAL), "split: val"),
    (artifact("decoding_temperature", VAL, TEST), "split: val"),
    (artifact("decoding_temperature", VAL, HOT, students=(student(),)), "students"),
    (artifact("smoothing_curves"), "task image"),
    (artifact("truncation", students=(IMAGES,)), "task translation"),
    (artifact("compare_table", Tokens("tokens", split="val"), kind="table"), "split: train"),
    (artifact("projection", TRAIN_WORDS, rows=[ROW]), "options.rows[0]"),
    (artifact("projection", TRAIN, VAL_WORDS, rows=[ROW]), "options.rows[0]"),
    (artifact("projection", TRAIN_WORDS, OTHERS, rows=[ROW]), "options.rows[0]"),
    (artifact("projection", TRAIN_WORDS, VAL_WORDS, rows=[ROW | {"classes": [0, 1, 3]}]), "options.rows[0].classes"),
    (artifact("information", TRAIN_WORDS), "task image"),
]


@pytest.mark.parametrize(("bad", "named"), BAD)
def test_what_cannot_be_drawn_is_refused_in_one_sentence(bad: Artifact, named: str) -> None:
    with refused(SpecError, "artifact own.one", named):
        check(bad)
