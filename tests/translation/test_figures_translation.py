"""Measure → draw of translation artifacts on generated files: numbers, faces, and what is missing."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from refusals import refused
from safetensors.numpy import load_file, save_file

from softlabels.errors import DataError
from softlabels.figures import make
from softlabels.figures.curves import truncation as truncation_module
from softlabels.figures.drawing import check
from softlabels.figures.source import Source
from softlabels.files import write_json
from softlabels.grid.identity import probe_id, run_id
from softlabels.grid.parts.probes import AnyProbe, Tokens, Translations
from softlabels.grid.parts.translation import CorpusSpec, TranslationRecipe
from softlabels.grid.plan import Artifact, Member
from softlabels.grid.spec import Distill, Hard, ModelSpec, Smooth, Targets, Teacher, TranslationSpec, to_dict
from softlabels.layout import Layout
from softlabels.metrics import calibration
from softlabels.metrics.bleu import TranslationFile, bleu_scores
from softlabels.metrics.rows import read_rows

V, D, N = 120, 24, 1500
RECIPE = TranslationRecipe(max_tokens=1000, lr=1e-3, warmup_updates=10, updates=100)
SMALL = ModelSpec("transformer_iwslt_small")
TEST, BEST = Translations("translations"), Translations("translations", checkpoint="best")


def spec(targets: Targets, corpus: str = "iwslt14_en_de", model: ModelSpec = SMALL) -> TranslationSpec:
    return TranslationSpec(CorpusSpec(corpus), model, targets, RECIPE, "translation")


def smooth(alpha: float) -> Targets:
    return Smooth(alpha, over="others") if alpha else Hard()


def distilled(teacher: TranslationSpec, t: float, cache: str = "auto", k: int | None = None, **more) -> TranslationSpec:
    return spec(Distill(Teacher(teacher), t, cache=cache, top_k=k, **more))


def member(family: str, run: TranslationSpec, seeds: int = 3, **published: str) -> Member:
    names = {"dataset": "iwslt_en_de", "student": "transformer"} | published
    names |= {"teacher": names["student"]} if hasattr(run.targets, "teacher") else {}
    return Member(family, (), run, tuple(range(seeds)), tuple(names.items()))


def artifact(draw: str, members, kind="figure", probes=(), options=None, name="own.one") -> Artifact:
    notes = ("demo: sentences stands in for IWSLT; 3 seeds", "demo: training recipes of this scale")
    return Artifact(name, f"Test of {draw}", kind, draw, tuple(members), tuple(probes), options or {}, notes)


def write_features(layout: Layout, run: TranslationSpec, seed: int, noise: float, scale: float = 1.0, n: int = N):
    """Labels drawn from softmax(z), logits written scale · (z + noise): `scale` calibrates where noise is 0."""
    rng = np.random.default_rng([seed, int(1000 * noise)])
    w = rng.normal(size=(V, D)).astype(np.float32)
    found = {"output/last": w, "output/best": w}
    for split in ("val", "test"):
        x = rng.normal(size=(n, D)) * 0.9
        labels = (x @ w.T + rng.gumbel(size=(n, V))).argmax(axis=1)
        written = (scale * (x + noise * rng.normal(size=x.shape))).astype(np.float16)
        found |= {f"{split}/{c}": written for c in ("last", "best")}
        found |= {
            f"{split}/labels": labels.astype(np.int32),
            f"{split}/sentences": (np.arange(n) // 12).astype(np.int32),
        }
    path = layout.run(run_id(run), seed) / "features.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(found, path)


def write_translations(
    layout: Layout, run: TranslationSpec, seed: int, probe: Translations, wrong: float, n: int = 40
) -> float:
    """Translations of which a share of the words is wrong; returns their BLEU."""
    rng = np.random.default_rng([seed, int(1000 * wrong)])
    words = np.array([f"Wort{i}" for i in range(200)])
    references = [" ".join(rng.choice(words, 12)) + "." for _ in range(n)]
    hypotheses = [
        " ".join(w if rng.random() > wrong else str(rng.choice(words)) for w in text[:-1].split()) + "."
        for text in references
    ]
    tokenised = {"hypotheses": hypotheses, "references": references}
    file = {
        "run": run_id(run), "seed": seed, "probe": to_dict(probe), "weights": "ab" * 32, "languages": ["en", "de"],
        **tokenised, **{f"tokenised_{k}": [s.lower().replace(".", " .") for s in v] for k, v in tokenised.items()},
    }  # fmt: skip
    write_json(layout.probe(run_id(run), seed, probe_id(probe)), file)
    return bleu_scores(TranslationFile(**file))["bleu"]


def made(art: Artifact, layout: Layout, scale: str = "demo"):
    """Measure and draw; returns rows, plotted and provenance, having checked the files of the kind."""
    make.measure_artifact(art, layout, scale)
    make.draw_artifact(art, layout, scale)
    rows = read_rows(layout.metrics(art.paper, art.name))
    plotted = pd.read_csv(layout.plotted(art.paper, art.name))
    for suffix in (".pdf", ".png", ".csv") if art.kind == "figure" else (".csv", ".md"):
        assert layout.output(art.kind, art.paper, art.name, suffix).stat().st_size > 30
    return rows, plotted, json.loads(layout.output(art.kind, art.paper, art.name, ".provenance.json").read_text())


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "demo")


# ---------------------------------------------------------------- truncation

HARD, LS = spec(Hard()), spec(smooth(0.1))
CACHES = (("auto", None), ("topk_drop", 4), ("topk_lse", 4), ("topk_lse", 64))
TEMPERATURES = (1.0, 2.0, 3.0, 64.0)


def truncation(layout: Layout, kind: str = "figure", skip=(), published: bool = True, seeds: int = 3) -> Artifact:
    """A grid in which dropping the tail ruins translations at high T and keeping everything hardly does."""
    members = [member("teachers", HARD, seeds), member("teachers", LS, seeds)]
    bleu_lost = {("auto", None): 0.02, ("topk_drop", 4): 0.11, ("topk_lse", 4): 0.08, ("topk_lse", 64): 0.04}
    places: list[tuple[Member, float, float, float]] = [(m, 0.25, 0.3, 1.0) for m in members]
    for teacher in (HARD, LS):
        for cache, k in CACHES:
            for t in TEMPERATURES:
                m = member("students", distilled(teacher, t, cache, k), seeds)
                lost = bleu_lost[cache, k] * np.log2(t)
                explodes = 1 + 0.5 * t * (cache == "topk_drop") * (t > 1)
                places.append((m, 0.27 + lost, 0.4 + 2 * lost, explodes))
    for number, (m, wrong, noise, scale) in enumerate(places):
        for seed in m.seeds:
            if (number, seed) not in skip:
                write_features(layout, m.run, seed, noise, scale, n=400)
                write_translations(layout, m.run, seed, TEST, wrong + 0.01 * seed)
    probes = [(family, TEST) for family in ("teachers", "students")]
    return artifact(
        "truncation", [m for m, *_ in places], kind, probes, {"published": published}, f"ablations.truncation_{kind}"
    )


def test_truncation(layout: Layout) -> None:
    art = truncation(layout)
    rows, plotted, provenance = made(art, layout)
    students = plotted[plotted["role"] == "student"]
    assert list(dict.fromkeys(students["line"])) == [
        "features", "top 4, tail dropped", "top 4, tail spread", "top 64, tail spread"
    ]  # fmt: skip
    assert set(students["teacher"]) == {"hard-label teacher", "smoothed teacher, α = 0.1"}
    # every metric of every member: 2 teachers and 32 students, BLEU of the last checkpoint alone
    of_metric = plotted[plotted["role"] != "published"].groupby(["metric", "checkpoint"]).size().to_dict()
    assert of_metric == {
        **{(m, "last"): 34 for m in ("bleu", "sacrebleu", "chrf")},
        **{(m, c): 34 for m in ("next_token_accuracy", "nll", "ece", "top_logit") for c in ("last", "best")},
    }

    # by hand: one cell of BLEU, of NLL and of the top logit
    run = distilled(HARD, 64.0, "topk_drop", 4)
    cell = students[students["run_id"] == run_id(run)].set_index(["metric", "checkpoint"])
    expected = {"bleu": [], "nll": [], "top_logit": []}
    for seed in range(3):
        path = layout.probe(run_id(run), seed, probe_id(TEST))
        expected["bleu"].append(bleu_scores(TranslationFile(**json.loads(path.read_text())))["bleu"])
        found = load_file(layout.run(run_id(run), seed) / "features.safetensors")
        z = found["test/last"].astype(np.float64) @ found["output/last"].astype(np.float64).T
        below = z - z.max(axis=1, keepdims=True)
        gold = np.take_along_axis(below, found["test/labels"][:, None].astype(int), axis=1)[:, 0]
        expected["nll"].append((np.log(np.exp(below).sum(axis=1)) - gold).mean())
        expected["top_logit"].append((z.max(axis=1) - z.mean(axis=1)).mean())
    for metric, values in expected.items():
        measured = cell.loc[(metric, "last"), ["mean", "min", "max", "std", "n"]].astype(float)
        by_hand = [np.mean(values), min(values), max(values), np.std(values, ddof=1), 3]
        np.testing.assert_allclose(measured, by_hand, rtol=1e-5)

    # the published students of En-De stand beside, and the answer is on the face
    paper = plotted[(plotted["role"] == "published") & (plotted["temperature"] == 64)].set_index("teacher")["mean"]
    assert paper.to_dict() == {"hard-label teacher": 6.564, "smoothed teacher, α = 0.1": 6.461}
    face = provenance["face"]
    assert "n = 3 seeds" in face[0]
    assert "tok:none" in face[1]
    assert "tok:13a" not in face[1]  # not drawn
    own = students[(students["teacher"] == "hard-label teacher") & (students["metric"] == "bleu")]
    mean = own.set_index(["line", "temperature"])["mean"]
    change = mean["top 4, tail dropped", 64.0] - mean["features", 64.0]
    assert f"At T = 64, minus features: top 4, tail dropped −{-change:.2f} (" in face[2]
    assert "From T = 1 to 64: features −" in face[2]
    assert "smoothed teacher" in face[3]
    assert set(rows["task"]) == {"translation"}
    assert set(rows["stands_for"]) == {""}  # the paper's corpus and network under its own names
    assert set(rows["dataset"]) == {"iwslt_en_de"}


@pytest.mark.parametrize("checkpoint", ["last", "best"])
def test_the_line_of_a_teacher_is_its_checkpoint_that_taught(layout: Layout, checkpoint: str) -> None:
    students = [spec(Distill(Teacher(HARD, checkpoint=checkpoint), t)) for t in (1.0, 3.0)]
    members = [member("teachers", HARD, 2), *(member("students", run, 2) for run in students)]
    bleu: dict[str, list[float]] = {"last": [], "best": []}
    for m in members:
        for seed in m.seeds:
            write_features(layout, m.run, seed, 0.3, n=400)
            for probe, wrong in ((TEST, 0.4), (BEST, 0.2)):
                found = write_translations(layout, m.run, seed, probe, wrong + 0.01 * seed)
                if m.family == "teachers":
                    bleu[probe.checkpoint].append(found)
    probes = [(family, probe) for family in ("teachers", "students") for probe in (TEST, BEST)]
    art = artifact("truncation", members, "figure", probes)
    check(art)
    rows, plotted, provenance = made(art, layout)
    panel = truncation_module.draw(art, plotted, rows).axes[0]
    (line,) = [line for line in panel.lines if line.get_label() == "the teacher itself"]
    assert line.get_ydata()[0] == pytest.approx(np.mean(bleu[checkpoint]))
    assert abs(np.mean(bleu["last"]) - np.mean(bleu["best"])) > 5
    assert provenance["face"][0].startswith(
        "Last checkpoint, of teachers the best, test" if checkpoint == "best" else "Last checkpoint, test"
    )


def test_truncation_as_table(layout: Layout) -> None:
    art = truncation(layout, "table", published=False, seeds=2)
    _, plotted, provenance = made(art, layout)
    table = pd.read_csv(layout.output("table", "ablations", "truncation_table", ".csv"))
    assert len(table) == 34 * 2  # last and best
    assert set(table["n"]) == {2}
    assert table.groupby("checkpoint")["n_bleu"].unique().map(list).to_dict() == {"best": [0], "last": [2]}
    row = table[
        (table["cache"] == "top 64, tail spread") & (table["temperature"] == 3) & (table["checkpoint"] == "last")
    ]
    row = row[row["teacher"] == "hard-label teacher"].iloc[0]
    of = plotted[
        (plotted["run_id"] == run_id(distilled(HARD, 3.0, "topk_lse", 64))) & (plotted["checkpoint"] == "last")
    ]
    for metric in ("bleu", "sacrebleu", "chrf", "next_token_accuracy", "nll", "ece", "top_logit"):
        cell = of[of["metric"] == metric].iloc[0]
        assert (row[metric], row[f"{metric}_std"]) == (cell["mean"], cell["std"])
    assert "tok:13a" in provenance["face"][1]
    assert re.search(r"tail dropped −\d+\.\d\d; ", provenance["face"][2])  # two seeds: no interval
    assert "n = 2 seeds" in provenance["face"][3]


def test_truncation_draws_a_grid_that_is_partly_there(layout: Layout) -> None:
    missing = {(n, s) for n in range(6, 34) for s in range(3)} | {(2, 0), (1, 0), (1, 1), (1, 2)}
    art = truncation(layout, skip=missing)
    _, plotted, provenance = made(art, layout)
    assert set(plotted[plotted["role"] == "student"]["line"]) == {"features"}
    assert "n = 2 to 3 seeds" in provenance["face"][0]
    assert "MISSING: " in provenance["face"][-1]
    assert "and 26 more" in provenance["face"][-1]
    nothing = made(art, Layout(layout.root.parent / "elsewhere"))
    assert set(nothing[1]["role"]) == {"published"}
    for kind in ("figure", "table"):
        other = replace(art, kind=kind, options={}, id=f"own.{kind}")
        assert made(other, Layout(layout.root.parent / "elsewhere"))[2]["face"][-1] == "Nothing to draw yet."


# ---------------------------------------------------------------- Table 5


def bleu_members(layout: Layout, skip=()) -> tuple[Artifact, dict]:
    """Teachers of seed 0 alone teach; two seeds of students each; best translations of students only."""
    members = [member("teachers", run, 1) for run in (HARD, LS)]
    for teacher in (HARD, LS):
        for t in (1.0, 64.0):
            run = spec(Distill(Teacher(teacher, seed=0), t))
            members.append(member("students", run, 2))
    mkd = spec(Distill(Teacher(HARD, seed=0), 1.0, beta=0.9, hard_alpha=0.1, cache="topk_drop", top_k=4))
    members.append(member("students", mkd, 2))
    probes = [("teachers", TEST), ("students", TEST), ("students", BEST)]
    written = {}
    for number, m in enumerate(members):
        for seed in m.seeds:
            if (number, seed) in skip:
                continue
            write_features(layout, m.run, seed, 0.3 + 0.1 * number, n=300)
            for family, probe in probes:
                if family == m.family:
                    wrong = 0.2 + 0.03 * number + 0.01 * seed + 0.005 * (probe is BEST)
                    written[m.run, seed, probe.checkpoint] = write_translations(layout, m.run, seed, probe, wrong)
    return artifact("bleu_table", members, "table", probes, name="chandrasegaran2022.table5"), written


def test_bleu_table(layout: Layout) -> None:
    art, written = bleu_members(layout)
    rows, _, provenance = made(art, layout)
    table = pd.read_csv(layout.output("table", "chandrasegaran2022", "table5", ".csv"))
    last = table[table["checkpoint"] == "last"]
    teacher = last[(last["method"] == "ce")].iloc[0]
    assert (teacher["published"], teacher["bleu"], teacher["n"]) == (26.461, written[HARD, 0, "last"], 1)
    assert teacher["difference"] == pytest.approx(written[HARD, 0, "last"] - 26.461)

    student = last[(last["teacher_alpha"] == 0.1) & (last["kd_temperature"] == 64)].iloc[0]
    own = [written[art.members[5].run, seed, "last"] for seed in (0, 1)]
    changes = [value - written[LS, 0, "last"] for value in own]
    assert student["published"] == 6.461
    by_hand = [np.mean(own), np.std(own, ddof=1), 2, np.mean(changes), np.std(changes, ddof=1), 6.461 - 26.750]
    columns = ["bleu", "std", "n", "to_teacher", "to_teacher_std", "published_to_teacher"]
    np.testing.assert_allclose(student[columns].astype(float), by_hand)
    assert student["sacrebleu"] > 0
    assert student["chrf"] > student["sacrebleu"]

    # the protocol with β = 0.9 and smoothed hard labels stands beside the same printed number
    mkd = last[last["cache"] == "top 4, tail dropped"].iloc[0]
    assert (mkd["kd_beta"], mkd["hard_alpha"], mkd["published"]) == (0.9, 0.1, 24.914)
    exact = last[(last["cache"] == "features") & (last["teacher_alpha"] == 0) & (last["kd_temperature"] == 1)].iloc[0]
    assert exact["published"] == 24.914
    assert set(rows[rows["run_id"] == run_id(art.members[6].run)]["student_alpha"]) == {0.1}  # as in every other table

    # teachers first; best where it was asked for; what is printed and not run stays visible
    assert table["method"].tolist()[:2] == ["ce", "ls"]
    assert table[table["checkpoint"] == "best"]["n"].tolist() == [2] * 5
    assert len(table[table["n"] == 0]) == 4  # T = 2 and 3 of both teachers
    assert "smooth:none" in provenance["face"][1]
    assert provenance["missing"] == {}


def test_a_student_of_matched_norms_is_told_from_the_other(layout: Layout) -> None:
    art, _ = bleu_members(layout)
    free = art.members[5]
    matched = replace(free, run=distilled(LS, 64.0, gradient_norm="matched"))
    for seed in matched.seeds:
        write_features(layout, matched.run, seed, 0.3, n=300)
        write_translations(layout, matched.run, seed, TEST, 0.2)
    made(replace(art, members=(*art.members, matched)), layout)
    table = pd.read_csv(layout.output("table", "chandrasegaran2022", "table5", ".csv"))
    both = table[(table["kd_temperature"] == 64) & (table["teacher_alpha"] == 0.1) & (table["checkpoint"] == "last")]
    assert both["gradient_norm"].fillna("free").tolist() == ["free", "matched"]
    assert both["published"].tolist() == [6.461, 6.461]


def test_bleu_table_with_missing_seeds(layout: Layout) -> None:
    art, _ = bleu_members(layout, skip={(0, 0), (3, 1)})
    _, plotted, provenance = made(art, layout)
    student = plotted[plotted["run_id"] == run_id(art.members[3].run)]
    assert student[["checkpoint", "n"]].values.tolist() == [["last", 1], ["best", 1]]
    of_hard = plotted[(plotted["teacher_alpha"] == 0) & (plotted["n"] > 0)]
    assert of_hard["to_teacher"].isna().all()  # its translations are not there
    assert plotted[(plotted["method"] == "ce")]["n"].tolist() == [0]
    assert provenance["missing"][run_id(HARD)] == [0]
    empty = made(art, Layout(layout.root.parent / "elsewhere"))[1]
    assert len(empty) == 10
    assert (empty["n"] == 0).all()


def test_table_d3_shows_the_printed_spread(layout: Layout) -> None:
    art, _ = bleu_members(layout)
    _, plotted, _ = made(replace(art, id="chandrasegaran2022.tableD3"), layout)
    found = plotted[
        (plotted["kd_temperature"] == 64) & (plotted["teacher_alpha"] == 0) & (plotted["checkpoint"] == "last")
    ]
    assert found[["published", "published_std"]].values.tolist() == [[6.564, 0.288]]
    assert plotted["published_to_teacher"].isna().all()  # no teacher is printed there


# ---------------------------------------------------------------- Fig. 4

WMT = {"dataset": "wmt_en_de", "student": "transformer_base"}
BASE = ModelSpec("transformer_wmt_en_de")
DECODED = [Translations("translations", split="val", temperature=t, lenpen=0.6) for t in (0.7, 1.0, 1.3, 1.6)]


def wmt_pair(layout: Layout, seeds: int = 3, skip=(), write: bool = True) -> list[Member]:
    """A hard-label network that is over-confident by T = 1.3 and a smoothed one that translates better."""
    members = [member("pair", spec(smooth(a), "wmt_en_de", BASE), seeds, **WMT) for a in (0.0, 0.1)]
    for m, scale, wrong in zip(members, (1.3, 0.95), (0.3, 0.24), strict=True):
        for seed in m.seeds:
            if write and (m.run.targets.kind, seed) not in skip:
                write_features(layout, m.run, seed, 0.0, scale)
                for probe in DECODED:
                    off = 0.06 * (probe.temperature - 1.1) ** 2
                    write_translations(layout, m.run, seed, probe, wrong + off + 0.01 * seed)
    return members


def test_decoding_temperature(layout: Layout) -> None:
    members = wmt_pair(layout, skip={("smooth", 2)})
    art = artifact("decoding_temperature", members, probes=[("pair", p) for p in DECODED], name="muller2019.fig4")
    rows, plotted, provenance = made(art, layout)
    assert plotted.groupby(["line", "metric"]).size().to_dict() == {
        (line, metric): 4 for line in ("hard labels", "label smoothing, α = 0.1") for metric in ("bleu", "ece", "nll")
    }
    # by hand, of one seed at T = 1.3: BLEU of that probe, ECE of the first 10,000 tokens, NLL of all
    run = run_id(members[0].run)
    found = load_file(layout.run(run, 1) / "features.safetensors")
    z = found["val/last"].astype(np.float64) @ found["output/last"].astype(np.float64).T
    own = rows[
        (rows["run_id"] == run) & (rows["seed"] == 1) & (rows["split"] == "val") & (rows["checkpoint"] == "last")
    ]
    values = own.set_index("metric")["value"]
    assert values["ece_T1.3"] == pytest.approx(calibration.ece(z, found["val/labels"], 15, 1.3), abs=1e-6)
    below = (z - z.max(axis=1, keepdims=True)) / 1.3
    gold = below[np.arange(N), found["val/labels"]]
    assert values["nll_T1.3"] == pytest.approx((np.log(np.exp(below).sum(axis=1)) - gold).mean(), rel=1e-5)
    file = TranslationFile(**json.loads(layout.probe(run, 1, probe_id(DECODED[2])).read_text()))
    assert {m: values[f"{m}_T1.3"] for m in ("bleu", "sacrebleu", "chrf")} == bleu_scores(file)
    assert {"bleu", "ece", "nll"} <= set(values.index)  # at T = 1 they have their plain names
    hard = plotted[(plotted["line"] == "hard labels") & (plotted["metric"] == "nll")].set_index("temperature")
    assert hard["mean"].idxmin() == 1.3  # what calibrates it
    cell = hard.loc[1.3]
    by_seed = rows[(rows["run_id"] == run) & (rows["metric"] == "nll_T1.3")]["value"]
    np.testing.assert_allclose(
        cell[["mean", "min", "max"]].astype(float), [by_seed.mean(), by_seed.min(), by_seed.max()]
    )
    assert "n = 2 to 3 seeds" in provenance["face"][0]
    assert "length penalty 0.6" in provenance["face"][0]
    assert "tok:none" in provenance["face"][1]
    assert f"{run_id(members[1].run)} seed 2." in provenance["face"][-1]


def test_decoding_temperature_before_anything_is_there(layout: Layout) -> None:
    members = wmt_pair(layout, write=False)
    art = artifact("decoding_temperature", members, probes=[("pair", p) for p in DECODED])
    assert made(art, layout)[2]["face"][-1] == "Nothing to draw yet."


# ---------------------------------------------------------------- Fig. 3, Table 3


def test_reliability_of_next_tokens(layout: Layout) -> None:
    members = wmt_pair(layout, 2, write=False)
    for m, scale in zip(members, (1.3, 0.95), strict=True):
        for seed in m.seeds:
            write_features(layout, m.run, seed, 0.0, scale, n=10_600)
    _, plotted, provenance = made(artifact("reliability", members, name="muller2019.fig3"), layout)
    assert plotted.groupby("line")["count"].sum().to_dict() == dict.fromkeys(
        ("hard labels", "hard labels, tuned T", "label smoothing, α = 0.1"), 2 * 10_000
    )
    found = load_file(layout.run(run_id(members[0].run), 0) / "features.safetensors")
    z = found["val/last"].astype(np.float64) @ found["output/last"].astype(np.float64).T
    other = load_file(layout.run(run_id(members[0].run), 1) / "features.safetensors")
    w = other["val/last"].astype(np.float64) @ other["output/last"].astype(np.float64).T
    errors = [calibration.ece(a[:10_000], f["val/labels"][:10_000]) for a, f in ((z, found), (w, other))]
    hard = plotted[plotted["line"] == "hard labels"]
    assert hard["ece_mean"].iloc[0] == pytest.approx(np.mean(errors), abs=1e-6)
    tuned = plotted[plotted["line"] == "hard labels, tuned T"]
    assert tuned["temperature"].iloc[0] == pytest.approx(1.3, rel=0.03)
    assert tuned["ece_mean"].iloc[0] < np.mean(errors) / 2
    assert "Next-token predictions" in provenance["face"][0]


def test_calibration_table_of_tokens(layout: Layout) -> None:
    members = wmt_pair(layout, 2)
    art = artifact("calibration_table", members, "table", name="muller2019.table3")
    _, _, provenance = made(art, layout)
    table = pd.read_csv(layout.output("table", "muller2019", "table3", ".csv"))
    val = table[(table["split"] == "val") & (table["n"] > 0)].set_index(["method", "metric"])
    assert val["published"].to_dict() == {
        ("ce", "ece"): 0.056, ("ce", "ece_all"): 0.056, ("ls", "ece"): 0.019, ("ls", "ece_all"): 0.019,
        ("temp_scaling", "calibration_temperature"): 1.13, ("temp_scaling", "calibration_temperature_min_ece"): 1.13,
        **{("temp_scaling", f"ece{ending}"): 0.018 for ending in ("", "_all", "_min_ece", "_all_min_ece")},
    }  # fmt: skip
    assert val.loc[("temp_scaling", "calibration_temperature"), "mean"] == pytest.approx(1.3, rel=0.1)
    assert val.loc[("temp_scaling", "ece"), "mean"] < val.loc[("ce", "ece"), "mean"] / 2
    # 1500 tokens: the first 10,000 are all
    assert val.loc[("temp_scaling", "ece_all"), "mean"] == val.loc[("temp_scaling", "ece"), "mean"]
    assert set(table[table["n"] > 0]["dataset"]) == {"wmt_en_de"}
    assert "first 10,000 tokens" in provenance["face"][0]


# ---------------------------------------------------------------- Fig. 7, App. B


def test_projection_of_tokens(layout: Layout) -> None:
    probes = [Tokens("tokens", split=s, tokens=("hund", "katze", "und"), per_token=60) for s in ("train", "val")]
    members = wmt_pair(layout, 2, write=False)
    for m, spread in zip(members, (0.6, 0.05), strict=True):
        for seed in (1,):
            rng = np.random.default_rng(seed)
            weight = rng.normal(size=(3, D)).astype(np.float32)
            weight[1] = weight[0] + 0.4 * weight[1]
            for probe in probes:
                labels = np.repeat(np.arange(3), 60)
                x = weight[labels] + spread * rng.normal(size=(180, D)) * (1.5 if probe.split == "val" else 1)
                write_tensors(layout, m.run, seed, probe, {
                    "labels": labels, "ids": np.arange(180), "features/last": x[:, None].astype(np.float32),
                    "head.weight/last": weight, "head.bias/last": np.zeros(3, np.float32),
                })  # fmt: skip
    entry = {"family": "pair", "classes": [0, 1, 2]}  # named by the probe
    art = artifact(
        "projection", members, probes=[("pair", p) for p in probes], options={"rows": [entry]}, name="muller2019.fig7"
    )
    rows, plotted, provenance = made(art, layout)
    assert len(plotted) == 2 * 2 * 180
    assert set(plotted["name"]) == {"hund", "katze", "und"}
    ratios = rows[(rows["metric"] == "within_class_spread_ratio_row1") & (rows["split"] == "train")]
    assert ratios.set_index("method")["value"].idxmax() == "ce"
    assert run_id(members[0].run) in provenance["face"][-1]  # seed 0, and the runs themselves


def write_tensors(layout: Layout, run: TranslationSpec, seed: int, probe: AnyProbe, found, meta=None) -> Path:
    path = layout.probe(run_id(run), seed, probe_id(probe))
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: np.ascontiguousarray(t) for name, t in found.items()}, path, meta)
    return path


def test_training_accuracy_stands_beside_the_one_printed_number(layout: Layout) -> None:
    probe = Tokens("tokens", split="train", sentences=50)
    members = wmt_pair(layout, 2)
    expected = {}
    for m, right in zip(members, (60, 45), strict=True):
        for seed in m.seeds:
            labels = (np.arange(80) % V).astype(np.int32)
            said = np.where(np.arange(80) < right + seed, labels, (labels + 1) % V)
            expected.setdefault(m.run.targets.kind, []).append(100 * (right + seed) / 80)
            write_tensors(layout, m.run, seed, probe, {
                "train/labels": labels, "train/sentences": (np.arange(80) // 2).astype(np.int32),
                "train/last": np.eye(V, dtype=np.float16)[said], "output/last": np.eye(V, dtype=np.float32),
            })  # fmt: skip
    art = artifact("compare_table", members, "table", probes=[("pair", probe)], name="muller2019.text_appB")
    _, plotted, provenance = made(art, layout)
    train = plotted[plotted["split"] == "train"].set_index("method")
    assert train["published"].to_dict() == {"ce": 80, "ls": 80}
    assert train["mean"].to_dict() == {"ce": np.mean(expected["hard"]), "ls": np.mean(expected["smooth"])}
    assert train["n"].tolist() == [2, 2]
    assert set(plotted["metric"]) == {"next_token_accuracy"}
    assert "the first 50 sentences" in provenance["face"][0]
    nothing = made(art, Layout(layout.root.parent / "elsewhere"))[1]
    assert nothing[["method", "published", "n"]].values.tolist() == [["ce_or_ls", 80, 0]]


# ---------------------------------------------------------------- files of another origin


def test_probes_of_other_weights_are_refused(layout: Layout) -> None:
    m, probe = member("teachers", HARD, 1), Tokens("tokens", sentences=5)
    write_translations(layout, HARD, 0, TEST, 0.1)
    tensors = {
        "train/labels": np.zeros(4, np.int32), "train/sentences": np.zeros(4, np.int32),
        "train/last": np.ones((4, 2), np.float16), "output/last": np.ones((3, 2), np.float32),
    }  # fmt: skip
    write_tensors(layout, HARD, 0, probe, tensors, {"meta": json.dumps({"weights": {"last": "ab" * 32}})})
    source, record = Source(layout, "demo"), layout.run(run_id(HARD), 0) / "run.json"
    write_json(record, {"files": {"weights.safetensors": "ab" * 32}})
    assert source.translations(m, 0, TEST) is not None
    assert source.token_probe(m, 0, probe) is not None
    write_json(record, {"files": {"weights.safetensors": "cd" * 32}})
    with refused(DataError, "test-T1-last-translations", "weights.safetensors"):
        source.translations(m, 0, TEST)
    with refused(DataError, "train-tokens", "weights.safetensors"):
        source.token_probe(m, 0, probe)


def test_translations_that_lie_in_anothers_place_are_refused(layout: Layout) -> None:
    write_translations(layout, HARD, 0, TEST, 0.1)
    here = layout.probe(run_id(HARD), 0, probe_id(TEST))
    for run, seed, probe, what in ((LS, 0, TEST, "run"), (HARD, 1, TEST, "seed"), (HARD, 0, BEST, "probe")):
        there = layout.probe(run_id(run), seed, probe_id(probe))
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_bytes(here.read_bytes())
        with refused(DataError, what):
            Source(layout, "demo").translations(member("teachers", run, 2), seed, probe)


def test_what_a_scale_replaced_is_said(layout: Layout) -> None:
    run = spec(Hard(), "sentences", ModelSpec("transformer_tiny"))
    m = member("teachers", run, 1)
    write_features(layout, run, 0, 0.3, n=200)
    write_translations(layout, run, 0, TEST, 0.2)
    art = artifact("bleu_table", [m], "table", [("teachers", TEST)], name="chandrasegaran2022.table5")
    rows, plotted, _ = made(art, layout)
    assert set(rows["stands_for"]) == {"dataset=iwslt_en_de;student=transformer"}
    assert set(rows["dataset"]) == {"sentences"}
    assert plotted[plotted["n"] > 0][["dataset", "published"]].values.tolist() == [["iwslt_en_de", 26.461]]
