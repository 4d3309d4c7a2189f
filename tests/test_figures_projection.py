"""The projection of Chandrasegaran et al. 2022: teacher and students in the span of three templates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from refusals import refused
from test_figures import TEACHER, K, artifact, made, member, smooth, spec, write_probe, write_run

from softlabels.errors import SpecError
from softlabels.figures.classes import projection
from softlabels.figures.drawing import check
from softlabels.grid.parts.probes import Probe
from softlabels.grid.plan import Artifact
from softlabels.grid.spec import Distill, Teacher
from softlabels.layout import Layout

CLASSES = (2, 5, 7)
NAMES = ["two", "five", "seven"]
TRAIN, TEST = (Probe(split=s, what="features", classes=(2, 5, 7, 8), per_class=40) for s in ("train", "test"))
ALPHAS = (0.0, 0.1)
TEMPERATURES = (1.0, 3.0)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "demo")


def features(seed: int, similar: float, split: str) -> dict[str, np.ndarray]:
    """Clusters around the templates, of which the second lies `similar` times as far from the first as it would."""
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(K, 16))
    weight[5] = weight[2] + similar * (weight[5] - weight[2])
    labels = np.repeat(TRAIN.classes, 40)
    noise = np.random.default_rng([seed, split == "test"]).normal(size=(160, 16))
    tensors = {
        "labels": labels, "features/last": (weight[labels] + 0.1 * noise)[:, None],
        "head.weight/last": weight, "head.bias/last": np.linspace(0, 1, K),
    }  # fmt: skip
    return {name: t.astype(np.float32) if t.dtype == float else t for name, t in tensors.items()}


def figure_1(layout: Layout, skip: tuple[str, ...] = ()) -> Artifact:
    teachers = {a: spec(smooth(a), TEACHER) for a in ALPHAS}
    runs = {("teachers", a, None): run for a, run in teachers.items()}
    runs |= {("students", a, t): spec(Distill(Teacher(teachers[a]), t)) for t in TEMPERATURES for a in ALPHAS}
    for (_, a, t), run in runs.items():
        for seed in range(2):
            write_run(layout, run, seed, 0.8)
            for probe in (TRAIN, TEST):
                if not (probe.split in skip and t == 3):
                    similar = 0.4 if t == 3 and a else 1.0
                    write_probe(layout, run, seed, probe, features(seed, similar, probe.split))
    members = [member(family, run, 2) for (family, *_), run in runs.items()]
    probes = [(family, probe) for family in ("teachers", "students") for probe in (TRAIN, TEST)]
    rows = [{"classes": list(CLASSES), "names": NAMES} | ({"temperature": t} if t else {}) for t in (None, 1, 3)]
    options = {"method": "span_pca", "rows": rows}
    return artifact("projection", members, probes=probes, options=options, name="chandrasegaran2022.fig1")


def test_teacher_and_students_in_the_span_of_the_templates(layout: Layout) -> None:
    art = figure_1(layout)
    check(art)
    rows, plotted, provenance = made(art, layout)
    assert len(plotted) == 3 * len(ALPHAS) * 2 * 120
    titles = [t.replace("\n", " ") for t in plotted.drop_duplicates("row")["title"]]
    assert titles[0].startswith("digits / resnet56 (for cifar10")
    assert [t.rsplit(", ")[-1] for t in titles[1:]] == ["student at T = 1", "student at T = 3"]

    # the coordinates: principal components, by an eigenvalue problem, of the points within the span of the templates
    panel = plotted[(plotted["row"] == 3) & (plotted["alpha"] == 0.1)]
    tensors = features(0, 0.4, "train")
    augmented = np.column_stack([tensors["head.weight/last"], tensors["head.bias/last"]]).astype(float)[list(CLASSES)]
    span = np.linalg.svd(augmented, full_matrices=False)[2].T
    kept = np.isin(tensors["labels"], CLASSES)
    x = tensors["features/last"][kept, 0].astype(float)
    centroids = np.stack([x[tensors["labels"][kept] == c].mean(axis=0) for c in CLASSES])
    inside = np.column_stack([np.vstack([x, centroids]), np.ones(len(x) + 3)]) @ span
    centred = inside - inside.mean(axis=0)
    values, axes = np.linalg.eigh(centred.T @ centred)
    expected = centred[: len(x)] @ axes[:, ::-1][:, :2]
    own = panel[panel["split"] == "train"][["x", "y"]].to_numpy()
    np.testing.assert_allclose(np.abs(own), np.abs(expected), atol=1e-4)  # up to the sign of an axis
    assert values[-1] > values[0]

    # distances before projection, on every seed
    measured = rows[rows["metric"] == "centroid_distance_row3"]
    assert len(measured) == len(ALPHAS) * 2 * 2 * 3
    one = measured[(measured["split"] == "train") & (measured["seed"] == 0) & (measured["teacher_alpha"] == 0.1)]
    between = dict(zip(one["target_class"], one["value"], strict=True))
    assert between == {
        f"{NAMES[i]},{NAMES[j]}": pytest.approx(np.linalg.norm(centroids[i] - centroids[j]), rel=1e-5)
        for i, j in ((0, 1), (0, 2), (1, 2))
    }
    ratio = panel[panel["split"] == "train"]["distance_ratio"].iloc[0]
    assert ratio == pytest.approx(2 * between["two,five"] / (between["two,seven"] + between["five,seven"]), rel=1e-5)
    before = plotted[(plotted["row"] == 2) & (plotted["alpha"] == 0.1)]["distance_ratio"].iloc[0]
    assert ratio < 0.7 * before  # the student of the smoothed teacher at T = 3 brings the similar classes together
    assert "before projection" in provenance["face"][0]
    own = rows[(rows["metric"] == "centroid_distance_ratio_row3") & (rows["split"] == "train")]
    mean = own[own["teacher_alpha"] == 0.1]["value"].mean()
    assert provenance["face"][1].startswith(
        "Distance ratio on training images, mean ± std over 2 seeds: labels: w/o LS"
    )
    assert "student, T = 3: w/o LS" in provenance["face"][1]
    assert f"LS 0.1 {mean:.3g} ±" in provenance["face"][1].rpartition("T = 3")[2]


def test_panels_lie_as_in_the_paper_with_a_star_for_each_centroid(layout: Layout) -> None:
    art = figure_1(layout)
    _, plotted, _ = made(art, layout)
    rows = projection.draw(art, plotted, plotted).subfigs
    titles = [[axes.get_title() for axes in part.axes] for part in rows]
    assert titles == 3 * [["training, w/o LS", "training, LS α = 0.1", "test, w/o LS", "test, LS α = 0.1"]]
    panel = plotted[(plotted["row"] == 3) & (plotted["alpha"] == 0.1) & (plotted["split"] == "test")]
    axes = rows[2].axes[3]
    clouds = [c for c in axes.collections if isinstance(c, PathCollection)]
    assert len(clouds) == 3 + 1
    np.testing.assert_allclose(clouds[3].get_offsets(), panel.groupby("class")[["x", "y"]].mean(), rtol=1e-6)


def test_without_training_activations_there_are_no_axes(layout: Layout) -> None:
    art = figure_1(layout, skip=("train",))
    _, plotted, provenance = made(art, layout)
    assert set(plotted["row"]) == {1, 2}
    missing = [name for name in provenance["missing"] if "features" in name]
    assert len(missing) == 2  # the training probes of the two students at T = 3
    art = figure_1(layout, skip=("test",))
    assert set(made(art, layout)[1]["row"]) == {1, 2, 3}  # probes of the first call are there


def test_a_row_of_students_says_its_temperature(layout: Layout) -> None:
    art = figure_1(layout)
    with refused(SpecError, "rows[0]"):
        check(changed(art, {"classes": list(CLASSES), "temperature": 7}))
    with refused(SpecError, "options.method", "pca"):
        check(changed(art, {"classes": list(CLASSES)}, method="pca"))
    check(changed(art, {"classes": list(CLASSES), "temperature": 1.0}, method="plane"))
    twice = member("more", spec(smooth(0.1)))
    several = artifact(
        "projection", [*art.members, twice], probes=art.probes, options=art.options, name="own.projection"
    )
    with refused(SpecError, "rows[0]"):
        check(several)
    second = spec(Distill(Teacher(art.members[-1].run), 1.0))
    taught = artifact(
        "projection", [member("second", second)],
        options={"rows": [{"classes": list(CLASSES), "temperature": 1}]}, name="own.projection",
    )  # fmt: skip
    with refused(SpecError, "options.rows[0]", "second"):
        check(taught)


def changed(art: Artifact, row: dict[str, object], **options: object) -> Artifact:
    return artifact(
        "projection", art.members, probes=art.probes, options={**art.options, "rows": [row], **options}, name=art.id
    )
