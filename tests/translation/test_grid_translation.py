"""Translation in grids: what expands, what it is called and costs, and what is refused in one sentence."""

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from refusals import refused

from softlabels.errors import SpecError
from softlabels.grid.config import read_yaml
from softlabels.grid.declared import corpora
from softlabels.grid.expand import load_plan
from softlabels.grid.identity import dataset_id, needed_cache, probe_id, read_spec, run_id, write_spec_files
from softlabels.grid.jobs import every_job
from softlabels.grid.parts.probes import Tokens, Translations
from softlabels.grid.parts.translation import CorpusSpec, TranslationRecipe
from softlabels.grid.plan import Plan
from softlabels.grid.spec import Distill, Hard, ModelSpec, Smooth, Teacher, TranslationSpec, cache_kind
from softlabels.layout import Layout

ROOT = Path(__file__).parents[2]
DECODE = {"what": "translations", "split": "test", "temperature": [1.0], "checkpoint": ["last", "best"]}
GRID: dict[str, Any] = {
    "paper": "own",
    "datasets": {
        "mine": {
            "name": "parallel", "source": "en", "target": "de", "train": "data/mine/train", "val": "data/mine/val",
            "test": "data/mine/test", "train_tokens": 100_000,
        }
    },
    "models": {"small": {"name": "transformer_iwslt_small", "options": {"dropout": 0.2}}},
    "recipes": {"mine": {"max_tokens": 2000, "lr": 0.001, "warmup_updates": 100, "updates": 1000}},
    "families": {
        "teachers": {
            "axes": {"alpha": [0, 0.1]},
            "run": {
                "dataset": "mine", "model": "small", "recipe": "mine", "targets": {"kind": "smooth", "alpha": "$alpha"},
            },
        },
        "students": {
            "axes": {"alpha": [0, 0.1], "T": [1, 4], "cache": ["features", "online"]},
            "run": {
                "dataset": "mine", "model": "small", "recipe": "mine",
                "targets": {
                    "kind": "distill", "temperature": "$T", "cache": "$cache",
                    "teacher": {"family": "teachers", "alpha": "$alpha"},
                },
            },
        },
    },
    "artifacts": {
        "bleu": {
            "title": "BLEU", "kind": "table", "plot": "bleu_table", "families": ["teachers", "students"], "seeds": 2,
            "probes": {"teachers": DECODE, "students": DECODE},
        }
    },
}  # fmt: skip


def plan_of(change: Callable[[dict[str, Any]], Any] = lambda grid: None, **changes: Any) -> Plan:
    grid = copy.deepcopy(GRID)
    change(grid)
    return load_plan(read_yaml(ROOT / "config.yaml") | {"papers": [], "grid": grid} | changes, ROOT)


def spec(**changes: Any) -> TranslationSpec:
    corpus = CorpusSpec("iwslt14_en_de")
    recipe = TranslationRecipe(max_tokens=4096, lr=5e-4, warmup_updates=4000, updates=1000)
    base = TranslationSpec(corpus, ModelSpec("transformer_iwslt_small"), Hard(), recipe, "translation")
    return dataclasses.replace(base, **changes)


def student(**changes: Any) -> TranslationSpec:
    return spec(targets=Distill(Teacher(spec()), changes.pop("temperature", 1.0), **changes))


# ---------------------------------------------------------------- what expands


def test_a_grid_of_ones_own_text_expands() -> None:
    plan = plan_of()
    assert len(plan.runs) == 2 + 8
    assert all(isinstance(run, TranslationSpec) for run in plan.runs.values())
    assert sorted(name.split(".", 2)[2].rsplit(".", 1)[0] for name in plan.runs)[:2] == [
        "hard",
        "kd-T1-transformer_iwslt_small-hard",
    ]
    assert plan.artifacts["own.bleu"].probes[0] == ("teachers", Translations("translations", checkpoint="last"))
    assert {cache_kind(run) for run in plan.runs.values()} == {None, "features", "online"}


def test_jobs_of_a_text_grid(tmp_path: Path) -> None:
    plan, layout = plan_of(), Layout(tmp_path / "results" / "demo")
    made: dict[str, list[Path]] = {}
    for path, job in every_job(plan, layout).items():
        made.setdefault(job.rule, []).append(path)
    assert {rule: len(paths) for rule, paths in made.items()} == {
        "train_teacher": 2 * 2,
        "train_student": 2 * 8,
        "cache_logits": 2 * 2,  # teachers × seeds; the kinds `online` have none, and T shares
        "translate": 2 * 2 * len(plan.runs),
    }
    assert {path.suffix for path in made["translate"]} == {".json"}


def test_specs_are_read_back(tmp_path: Path) -> None:
    plan = plan_of()
    write_spec_files(plan, tmp_path)
    for name, run in plan.runs.items():
        assert read_spec(tmp_path / f"{name}.json") == run


def test_a_list_of_temperatures_is_one_probe_each() -> None:
    def ask(grid: dict[str, Any]) -> None:
        grid["artifacts"]["bleu"]["probes"]["teachers"] = DECODE | {"temperature": [0.8, 1.0]}

    found = [probe for family, probe in plan_of(ask).artifacts["own.bleu"].probes if family == "teachers"]
    assert [(p.temperature, p.checkpoint) for p in found if isinstance(p, Translations)] == [
        (0.8, "last"), (0.8, "best"), (1.0, "last"), (1.0, "best"),
    ]  # fmt: skip
    assert len({probe_id(probe) for probe in found}) == 4
    assert Layout(Path("r")).probe("run", 0, probe_id(found[0])).suffix == ".json"
    assert Layout(Path("r")).probe("run", 0, probe_id(Tokens("tokens"))).suffix == ".safetensors"


@pytest.mark.parametrize("scale", ["demo", "paper", "multi30k"])
@pytest.mark.parametrize("variants", [False, True])
def test_the_translation_grids_expand_at_every_scale(scale: str, variants: bool) -> None:
    plan = load_plan(read_yaml(ROOT / "config.yaml") | {"scale": scale, "variants": variants}, ROOT)
    wanted = {"muller2019.fig3", "muller2019.fig4", "muller2019.fig7", "muller2019.table3", "muller2019.text_appB"}
    wanted |= {f"chandrasegaran2022.{name}" for name in ("table5", "tableB2", "tableD3")} | {"ablations.truncation"}
    assert wanted <= set(plan.artifacts)
    if scale == "demo":
        names = {run.dataset.name for run in plan.runs.values() if isinstance(run, TranslationSpec)}
        assert names == {"sentences"}


def test_truncation_has_every_cache_temperature_and_teacher() -> None:
    plan = load_plan(read_yaml(ROOT / "config.yaml") | {"scale": "paper"}, ROOT)
    found = set()
    for member in plan.artifacts["ablations.truncation"].members:
        targets = member.run.targets
        if isinstance(targets, Distill):
            alpha = dict(member.values)["alpha"]
            found.add((cache_kind(member.run), targets.top_k, targets.temperature, alpha))
    caches = [("features", None), ("topk_drop", 4), ("topk_lse", 4), ("topk_lse", 64)]
    assert found == {(*c, T, alpha) for c in caches for T in (1, 2, 3, 64) for alpha in (0, 0.1)}


# ---------------------------------------------------------------- identity and cost


def test_equal_trainings_are_equal_specs() -> None:
    assert spec(targets=Smooth(0.0, "others")) == spec()
    assert student(cache="features") == student()
    assert run_id(student()) != run_id(student(cache="dense"))
    assert run_id(student(cache="topk_drop", top_k=4)) != run_id(student(cache="topk_drop", top_k=8))


def test_what_decides_the_text_is_in_its_name_and_where_it_lies_is_not() -> None:
    mine = CorpusSpec("parallel", "en", "de", train="a", val="b", test="c", sha256="0" * 64)
    assert dataset_id(mine) == dataset_id(dataclasses.replace(mine, train="x", train_tokens=9))
    for change in ({"lowercase": True}, {"num_subwords": 7}, {"sha256": "1" * 64}, {"max_length": 9}):
        assert dataset_id(mine) != dataset_id(dataclasses.replace(mine, **change))
    # the declared default and the same value given are one corpus
    assert dataset_id(CorpusSpec("sentences")) == dataset_id(CorpusSpec("sentences", lowercase=True))
    assert dataset_id(CorpusSpec("sentences")) != dataset_id(CorpusSpec("sentences", validate_on_test=True))


@pytest.mark.parametrize(
    ("name", "model", "expected"),
    [("iwslt14_en_de", "transformer_iwslt_de_en", 4.1e9), ("wmt_en_de", "transformer_wmt_en_de", 133e9)],
)
def test_the_caches_of_iwslt_and_wmt_take_what_the_arithmetic_says(name: str, model: str, expected: float) -> None:
    own = spec(dataset=CorpusSpec(name), model=ModelSpec(model))
    need = needed_cache(dataclasses.replace(own, targets=Distill(Teacher(own), 1.0)))
    assert need is not None
    assert need.bytes == pytest.approx(expected, rel=0.03)


def test_a_cache_belongs_to_a_temperature_only_where_it_holds_one() -> None:
    def name(kind: str, T: float, k: int | None = None) -> str:
        need = needed_cache(student(temperature=T, cache=kind, top_k=k))
        assert need is not None
        return need.id

    assert name("features", 1) == name("features", 64)
    assert name("topk_drop", 1, 4) == name("topk_drop", 64, 4)
    assert name("topk_lse", 1, 4) != name("topk_lse", 2, 4)
    assert needed_cache(student(cache="online")) is None


# ---------------------------------------------------------------- what is refused


def _set(*path: Any) -> Callable[[dict[str, Any]], None]:
    *keys, last, value = path

    def change(grid: dict[str, Any]) -> None:
        place: Any = grid
        for name in keys:
            place = place[name]
        place[last] = value

    return change


MATCH = {"kind": "logit_match", "beta": 1, "teacher": {"family": "teachers", "alpha": 0}}
TARGETS = ("families", "students", "run", "targets")
FLAT_TAIL = {"cache": "topk_lse", "top_k": 4, "gradient_norm": "matched"}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (_set("datasets", "mine", "tokenize", True), "tokenize"),
        (_set("datasets", "mine", "holdout_every", 10), "holdout_every"),
        (_set("datasets", "mine", "target", "en"), "dataset.source"),
        (_set("datasets", "mine", {"name": "sentences", "train": "x"}), "parallel"),
        (_set("datasets", "mine", {"name": "sentences", "archive": "x.tgz"}), "archive"),
        (_set("datasets", "mine", {"name": "wmt_en_de", "num_subwords": 99}), "num_subwords"),
        (_set("models", "small", "name", "mlp"), "transformer_tiny"),
        (_set("models", "small", "options", {"depth": 3}), "depth"),
        (_set("models", "small", "options", {"heads": 3}), "heads"),
        (_set("recipes", "mine", "epochs", 3), "epochs"),
        (_set("recipes", "mine", "batch_size", 3), "batch_size"),
        (_set("recipes", "mine", "warmup_updates", 0), "warmup_updates"),
        (_set("recipes", "mine", "precision", {"channels_last": True}), "channels_last"),
        (_set(*TARGETS, "temperature", 0), "temperature"),
        (_set(*TARGETS, "top_k", 4), "top_k"),
        (_set(*TARGETS, "views", 2), "views"),
        (_set(*TARGETS, "form", "ce"), "form"),
        (_set(*TARGETS, GRID["families"]["students"]["run"]["targets"] | FLAT_TAIL), "gradient_norm: matched"),
        (_set("families", "students", "axes", "cache", ["topk_drop", "features"]), "top_k"),
        (_set(*TARGETS, MATCH), "logit_match"),
        (_set("artifacts", "bleu", "probes", "teachers", {"what": "logits"}), "probes.teachers"),
        (_set("artifacts", "bleu", "probes", "teachers", {"what": "translations", "temperature": -1}), "temperature"),
        (_set("artifacts", "bleu", "probes", "teachers", {"what": "tokens", "per_token": 5}), "per_token"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_in_one_sentence(change: Callable[[dict[str, Any]], None], named: str) -> None:
    with refused(SpecError, "config.yaml", named):
        plan_of(change)


def test_distilling_on_text_of_unknown_size_asks_for_its_tokens() -> None:
    plan = plan_of(lambda grid: grid["datasets"]["mine"].pop("train_tokens"))
    with refused(SpecError, "dataset.train_tokens"):
        every_job(plan, Layout(Path("results/demo")))


def test_norms_are_matched_in_whole_batches() -> None:
    matched = student(temperature=3.0, gradient_norm="matched")
    with refused(SpecError, "recipe.update_freq"):
        dataclasses.replace(matched, recipe=dataclasses.replace(matched.recipe, update_freq=2))


def test_images_and_text_do_not_teach_each_other() -> None:
    with refused(SpecError, "corpus"):
        dataclasses.replace(student(), dataset=CorpusSpec("sentences"))
    with refused(SpecError, "teacher.checkpoint"):
        Teacher(spec(), checkpoint="step:5")
    assert corpora.vocabulary(CorpusSpec("iwslt14_en_de")) > 10_000
