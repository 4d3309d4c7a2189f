"""The algorithm of the projection step by step, on a worked example (Chandrasegaran et al. 2022, App. F). No networks.

The example is made up: activations of 3 classes around random templates. The steps are computed here as they
are written, and the table shows how far they are from what must hold and from `metrics.geometry.span_pca`.
"""

from __future__ import annotations

from softlabels.figures.drawing import Drawing
from softlabels.figures.lazy import np, pd
from softlabels.figures.source import Measured, Source, tidy
from softlabels.grid.plan import Artifact

NUM_CLASSES, WIDTH, PER_CLASS = 5, 8, 40
CHOSEN = (0, 2, 4)


DRAWING = Drawing(of_networks=False)


def measure(artifact: Artifact, source: Source) -> Measured:
    """No tidy rows; plotted: step, what is done, what must hold, and its value and bound in the example."""
    from softlabels.metrics.geometry import class_centroids, span_pca

    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(NUM_CLASSES, WIDTH)), rng.normal(size=NUM_CLASSES)
    labels = np.repeat(CHOSEN, PER_CLASS)
    features = weight[labels] + 0.3 * rng.normal(size=(len(labels), WIDTH))
    held_out = weight[labels] + 0.6 * rng.normal(size=(len(labels), WIDTH))

    projection = span_pca(weight, bias, CHOSEN, features, labels)
    templates = np.column_stack([weight, bias])[list(CHOSEN)]  # w̃ [3, d + 1]
    span = np.linalg.qr(templates.T)[0]  # Q
    inside = _with_one(np.concatenate([features, class_centroids(features, labels, CHOSEN)])) @ span
    centred = inside - inside.mean(axis=0)
    variances, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1][:, :2]  # A
    written = (_with_one(held_out) @ span - inside.mean(axis=0)) @ axes
    coordinates = projection(held_out)
    signed = written * np.sign((written * coordinates).sum(axis=0))
    means = [coordinates[labels == c].mean(axis=0) for c in CHOSEN]
    centroids = projection(class_centroids(held_out, labels, CHOSEN))
    logits = (features @ weight.T + bias)[:, list(CHOSEN)]

    steps = (
        ("append 1 to activations x and its own bias to each template w", "x̃·w̃ is the logit",
         _with_one(features) @ templates.T, logits),
        ("orthonormal basis Q [d + 1, 3] of the span of three templates, by QR", "QᵀQ = 1", span.T @ span, np.eye(3)),
        ("templates within the span", "Q Qᵀ w̃ = w̃", templates @ span @ span.T, templates),
        ("principal axes A [3, 2], in the span, of training activations and their class centroids", "AᵀA = 1",
         axes.T @ axes, np.eye(2)),
        ("basis Q A", "that of span_pca is orthonormal", projection.basis.T @ projection.basis, np.eye(2)),
        ("coordinates x̃ Q A, minus their mean in training, of held-out activations",
         "span_pca has the same, up to signs", signed, coordinates),
        ("centroids, projected as activations are", "they are the means of projected points", centroids, means),
    )  # fmt: skip
    rows = [
        {"step": number, "what": what, "must_hold": holds, "largest_difference": np.abs(np.subtract(one, other)).max()}
        for number, (what, holds, one, other) in enumerate(steps, start=1)
    ]
    share = float(variances[1:].sum() / variances.sum())
    return Measured(tidy([]), pd.DataFrame(rows).assign(variance_in_the_plane=share))


def _with_one(features: np.ndarray) -> np.ndarray:
    return np.column_stack([features, np.ones(len(features))])


def table(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """A row for each step, and by how much the example misses what must hold."""
    return plotted.drop(columns="variance_in_the_plane")


def remarks(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """What the example is."""
    share = plotted["variance_in_the_plane"].iloc[0]
    return [
        "Input: activations [M, d] of three classes, the last layer's weights [K, d] and biases [K]. Output: "
        "coordinates [M, 2] (softlabels.metrics.geometry.span_pca). Axes are those of training images, for all images.",
        f"Example: {NUM_CLASSES} classes, d = {WIDTH}, {PER_CLASS} activations each of three classes around random "
        f"templates; the plane holds {100 * share:.3g} % of the variance within the span. largest_difference: between "
        "what must be equal; rounding alone is left.",
    ]
