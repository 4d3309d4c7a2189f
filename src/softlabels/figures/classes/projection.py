"""Penultimate activations of three classes in two dimensions, by `options.method`:

* `plane` (default): the plane through the classes' templates (Müller et al. 2019, Sec. 2, Fig. 1 and 7).
* `span_pca`: the span of the templates reduced to two principal axes, fitted on each network's training activations
  (Chandrasegaran et al. 2022, App. F, Fig. 1 and A.1–A.5), with the centroids of the classes as stars.

Each row of panels is one entry of `options.rows`: `classes` (three indices), and as far as they are needed
to select and to read: `family`, `dataset` (the paper's name or the one that stands for it), `temperature` (of
distilled students; a row without it shows networks trained on labels), `names` of the classes.
The classes of a translation network are places among the tokens of its probe, whose names they have unless told.
One seed is drawn; what is measured is measured on every seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from softlabels.errors import SpecError
from softlabels.figures import selectors, style
from softlabels.figures.drawing import ANY, Drawing
from softlabels.figures.lazy import np, pd
from softlabels.figures.source import Measured, Source, spread, tidy
from softlabels.grid.parts.probes import Probe, Tokens
from softlabels.grid.plan import Artifact, Member

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from softlabels.metrics.geometry import Projection


CLASS_LOOKS = ((style.BLUE, "o"), (style.ORANGE, "^"), (style.GREEN, "s"))
Metrics = dict[tuple[str, str], float]
"""(metric, the class or pair of classes that it is of, else "") → value."""
SPLITS = {"train": "training", "val": "validation", "test": "test"}
COLUMNS = ("row", "title", "alpha", "split", "seed", "class", "name", "x", "y", "spread_ratio")
"""Of what is drawn; `span_pca` has distance_ratio besides."""
METHODS = ("plane", "span_pca")
ROW_KEYS = ("family", "dataset", "temperature", "classes", "names")
"""Keys of an entry of `options.rows`."""


def _check(artifact: Artifact, where: str) -> None:
    if (method := artifact.options.get("method", "plane")) not in METHODS:
        raise SpecError(f"{where} options.method must be {' or '.join(METHODS)}, not {method!r}")
    rows = artifact.options.get("rows")
    if not isinstance(rows, list | tuple) or not rows:
        raise SpecError(f"{where} options.rows must list the rows of panels, each with its three classes")
    for number, entry in enumerate(rows):
        _check_row(artifact, entry, f"{where} options.rows[{number}]")


def _check_row(artifact: Artifact, entry: Any, where: str) -> None:
    if not isinstance(entry, Mapping) or not _three(entry.get("classes")):
        raise SpecError(f"{where}.classes must name three class indices")
    if unknown := [key for key in entry if key not in ROW_KEYS]:
        raise SpecError(f"{where} has no key {unknown[0]!r}; allowed: {', '.join(ROW_KEYS)}")
    if not _three(entry.get("names", entry["classes"])):
        raise SpecError(f"{where}.names must name the three classes")
    members = selectors.of_row(artifact, entry)
    if not members:
        raise SpecError(f"{where} selects no member; check its family, dataset and temperature")
    alphas = [selectors.labels_alpha(member.run) for member in members]
    if None in alphas:
        raise SpecError(f"{where}: {members[alphas.index(None)].family} is not taught by a network trained on labels")
    if len(set(alphas)) < len(alphas):
        raise SpecError(f"{where} selects several networks of one α; choose among them by family or dataset")
    for family in dict.fromkeys(member.family for member in members):
        probes = selectors.feature_probes(artifact, family)
        if "train" not in probes or len(probes) != 2:
            raise SpecError(
                f"{where}: family {family} needs two probes of what: features (or what: tokens, with tokens), one of "
                "split: train and one of val or test"
            )
        for split, probe in probes.items():
            known = range(len(probe.tokens)) if isinstance(probe, Tokens) else probe.classes
            if known is not None and (absent := set(entry["classes"]) - set(known)):
                raise SpecError(f"{where}.classes: {min(absent)} is not in the {split} probe of {family}")
        if len({probe.tokens for probe in probes.values() if isinstance(probe, Tokens)}) > 1:
            raise SpecError(f"{where}: the two probes of {family} differ in tokens; give them one list")


def _three(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 3


DRAWING = Drawing(("method", "rows"), reads_last=True, tasks=ANY, check=_check)


def measure(artifact: Artifact, source: Source) -> Measured:
    """Per row of panels, network, split and seed (metrics end in `_row<n>`): share of the variance within
    classes, longest ÷ shortest side of the triangle of class means and of templates, largest |coordinate|,
    how much of an arc about the third template the first two classes form (`arc_ratio`).
    With `span_pca` also, of activations before they are projected: distances between the classes' centroids
    (`target_class`: `<class>,<class>`), and that of the first two classes ÷ their mean distance to the third.

    What a row and its probes must be: `drawing.check`.
    """
    rows = [row for member in artifact.members for row in source.standard(artifact, member)]
    method = artifact.options.get("method", "plane")
    columns = [*COLUMNS, "distance_ratio"] if method == "span_pca" else [*COLUMNS]
    panels: list[pd.DataFrame] = []
    for number, entry in enumerate(artifact.options.get("rows", ()), start=1):
        drawn: dict[int, list[pd.DataFrame]] = {}
        for member in selectors.of_row(artifact, entry):
            for seed in member.seeds:
                probes = selectors.feature_probes(artifact, member.family)
                for split, (points, metrics) in _network(source, member, seed, probes, entry, method).items():
                    for (metric, of), value in metrics.items():
                        name = f"{metric}_row{number}"
                        rows.append(source.row(artifact, member, seed, split, "last", name, value, of))
                    drawn.setdefault(seed, []).append(points.assign(row=number, title=_title(member)))
        if drawn:  # the seed that shows most panels; of equals the first
            panels += drawn[max(sorted(drawn), key=lambda seed: len(drawn[seed]))]
    plotted = pd.concat(panels, ignore_index=True) if panels else pd.DataFrame(columns=columns)
    return Measured(tidy(rows), plotted[columns])


def _title(member: Member) -> str:
    """What was trained, and of a student at which temperature."""
    temperature = selectors.temperature_of(member.run)
    return selectors.title(member) + ("" if temperature is None else f", student at T = {temperature:g}")


def _names(entry: Mapping[str, Any], probe: Probe | Tokens) -> dict[int, str]:
    """Class → its name."""
    classes = entry["classes"]
    default = [probe.tokens[k] for k in classes] if isinstance(probe, Tokens) else classes
    return dict(zip(classes, map(str, entry.get("names", default)), strict=True))


def _network(
    source: Source,
    member: Member,
    seed: int,
    probes: Mapping[str, Probe | Tokens],
    entry: Mapping[str, Any],
    method: str,
) -> dict[str, tuple[pd.DataFrame, Metrics]]:
    """Split → the points of one panel and what is measured on them; without splits whose probe is not there.

    The axes of `span_pca` are those of the training split: without it there is nothing to show.
    """
    from softlabels.metrics.geometry import affine_plane, span_pca

    found: dict[str, tuple[pd.DataFrame, Metrics]] = {}
    classes, projection = entry["classes"], None
    for split, probe in probes.items():  # training first
        tensors = source.probe(member, seed, probe)
        if tensors is None:
            continue
        kept = np.isin(tensors["labels"], classes)
        features, labels = tensors["features/last"][kept, 0], tensors["labels"][kept]
        plane = affine_plane(tensors["head.weight/last"], tensors["head.bias/last"], classes)
        if method == "plane":
            projection = plane
        elif split == "train":
            head = tensors["head.weight/last"], tensors["head.bias/last"]
            projection = span_pca(*head, classes, features, labels)
        if projection is None:
            continue
        points, metrics = _panel(features, labels, classes, projection, plane)
        names = _names(entry, probe)
        if method == "span_pca":
            distances = _distances(features, labels, classes, names)
            metrics |= distances
            points["distance_ratio"] = distances["centroid_distance_ratio", ""]
        alpha = selectors.labels_alpha(member.run)
        found[split] = points.assign(alpha=alpha, split=split, seed=seed, name=points["class"].map(names)), metrics
    return found


def _panel(
    features: np.ndarray, labels: np.ndarray, classes: Sequence[int], projection: Projection, plane: Projection
) -> tuple[pd.DataFrame, Metrics]:
    """Projected points, and their spread and triangle; that of the templates in the plane that holds them."""
    from softlabels.metrics.geometry import arc_ratio, triangle_regularity, within_class_spread_ratio

    points = projection(features)
    means = np.stack([points[labels == c].mean(axis=0) for c in classes])
    ratio = within_class_spread_ratio(points, labels)
    metrics = {
        ("within_class_spread_ratio", ""): ratio,
        ("mean_triangle_regularity", ""): triangle_regularity(means),
        ("template_triangle_regularity", ""): triangle_regularity(plane.templates),
        ("projection_extent", ""): float(np.abs(points).max()),
        ("arc_ratio", ""): arc_ratio(points[np.isin(labels, classes[:2])], plane.templates[2]),
    }
    return pd.DataFrame({"class": labels, "x": points[:, 0], "y": points[:, 1]}).assign(spread_ratio=ratio), metrics


def _distances(features: np.ndarray, labels: np.ndarray, classes: Sequence[int], names: Mapping[int, str]) -> Metrics:
    """Distances between the centroids of the classes among activations as they are."""
    from softlabels.metrics.geometry import class_centroids

    centroids = class_centroids(features, labels, classes)
    pairs = {(i, j): float(np.linalg.norm(centroids[i] - centroids[j])) for i, j in ((0, 1), (0, 2), (1, 2))}
    metrics = {
        ("centroid_distance", f"{names[classes[i]]},{names[classes[j]]}"): distance
        for (i, j), distance in pairs.items()
    }
    ratio = 2 * pairs[0, 1] / (pairs[0, 2] + pairs[1, 2])
    return metrics | {("centroid_distance_ratio", ""): ratio}


def draw(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> Figure:
    """Rows of panels, two columns wide; training and held-out panels of a network share their axes.

    They lie side by side for `plane`; for `span_pca` those of a split do, as in the paper of each.
    """
    by_split = artifact.options.get("method") == "span_pca"
    numbers = list(dict.fromkeys(plotted["row"]))
    figure = style.new_figure(style.TWO_COLUMNS, 2.15 * max(len(numbers), 1))
    if not numbers:
        return figure
    for part, number in zip(figure.subfigures(len(numbers), 1, squeeze=False)[:, 0], numbers, strict=True):
        of_row = plotted[plotted["row"] == number]
        alphas = sorted(of_row["alpha"].unique())
        held_out = next((s for s in of_row["split"] if s != "train"), "val")
        splits = ("train", held_out)
        order = [(a, s) for s in splits for a in alphas] if by_split else [(a, s) for a in alphas for s in splits]
        panels = part.subplots(1, len(order), squeeze=False)[0]
        for axes, (alpha, split) in zip(panels, order, strict=True):
            of_network = of_row[of_row["alpha"] == alpha]
            _draw_panel(axes, of_network[of_network["split"] == split], of_network)
            axes.set_title(f"{SPLITS[split]}, {'w/o LS' if alpha == 0 else f'LS α = {alpha:g}'}", fontsize=7.5)
        title = of_row["title"].iloc[0].replace("\n", " ")
        part.suptitle(f"{title}, seed {of_row['seed'].iloc[0]}", fontsize=8, weight="bold")
        handles, labels = panels[0].get_legend_handles_labels()
        if handles:
            part.legend(handles, labels, loc="outside lower center", ncols=3, markerscale=2, handletextpad=0.2)
    return figure


def _draw_panel(axes: Any, points: pd.DataFrame, of_network: pd.DataFrame) -> None:
    classes = list(dict.fromkeys(of_network.sort_values("class")["class"]))
    for (colour, marker), c in zip(CLASS_LOOKS, classes, strict=False):
        selected = points[points["class"] == c]
        name = of_network[of_network["class"] == c]["name"].iloc[0]
        axes.scatter(selected["x"], selected["y"], s=5, color=colour, marker=marker, alpha=0.6, lw=0, label=name)
    if len(points):
        text = f"spread ratio {points['spread_ratio'].iloc[0]:.3g}"
        if "distance_ratio" in points:
            text += f"\ndistance ratio {points['distance_ratio'].iloc[0]:.3g}"
            centroids = points.groupby("class")[["x", "y"]].mean()
            colours = [CLASS_LOOKS[classes.index(c)][0] for c in centroids.index]
            axes.scatter(centroids["x"], centroids["y"], s=45, c=colours, marker="*", ec="black", lw=0.6, zorder=3)
        axes.set_xlabel(text, fontsize=6.5)
    centre = of_network[["x", "y"]].agg(["min", "max"]).mean()
    half = 0.55 * float(np.ptp(of_network[["x", "y"]], axis=0).max()) or 1.0
    axes.set(xlim=(centre["x"] - half, centre["x"] + half), ylim=(centre["y"] - half, centre["y"] + half))
    axes.set_aspect("equal")
    axes.tick_params(labelsize=6, pad=1.5, length=2)


def remarks(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """What the panels are."""
    if plotted.empty:
        return []
    if artifact.options.get("method") != "span_pca":
        return [
            "Coordinates: activations · orthonormal basis of the plane through the three templates (logit units ÷ "
            "template length); equal axes within a network. Spread ratio: share of the points' variance that lies "
            "within classes (0: each class is one point). One seed is drawn."
        ]
    return [
        "Coordinates: the two principal axes, within the span of the three templates, of each network's own training "
        "activations and class centroids (stars); equal axes within a network, none between networks. Spread ratio: "
        "share of the points' variance that lies within classes (0: each class is one point). Distance ratio: between "
        "the centroids of the first two classes ÷ their mean distance to the third, before projection; it falls where "
        "the two come closer. One seed is drawn.",
        _over_seeds(plotted, rows),
    ]


def _over_seeds(plotted: pd.DataFrame, rows: pd.DataFrame) -> str:
    """The distance ratio of each row of panels on training images, over all seeds."""
    said = []
    for number, title in plotted.drop_duplicates("row")[["row", "title"]].itertuples(index=False):
        selected = rows[(rows["metric"] == f"centroid_distance_ratio_row{number}") & (rows["split"] == "train")]
        alphas = selected["teacher_alpha"].fillna(selected["student_alpha"])
        values = [
            f"{'w/o LS' if alpha == 0 else f'LS {alpha:g}'} {found['mean']:.3g}"
            + (f" ± {found['std']:.2g}" if found["n"] > 1 else "")
            for alpha in sorted(alphas.unique())
            for found in [spread([*selected[alphas == alpha]["value"]])]
        ]
        _, _, student = title.rpartition(", student at ")
        said.append(f"{'student, ' + student if ', student at ' in title else 'labels'}: {', '.join(values)}")
    n = int(rows[rows["metric"].str.startswith("centroid_distance_ratio")]["seed"].nunique())
    over = f"mean ± std over {n} seeds" if n > 1 else "one seed"
    return f"Distance ratio on training images, {over}: {'; '.join(said)}."
