"""How soft teachers' targets are over T: mean entropy (Chandrasegaran et al. 2022, App. H, Table H.1).

T_a and T_b of the hard-label teacher are solved: there its targets are on average as soft as those of the smoothed
teacher at T = 1 and 3. Their values are lost in print.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from softlabels.errors import DataError, SpecError
from softlabels.figures import selectors, style
from softlabels.figures.drawing import Drawing, check_temperatures, temperatures_of
from softlabels.figures.lazy import np, pd
from softlabels.figures.source import Measured, Row, Source, spread, tidy
from softlabels.grid.identity import run_id
from softlabels.grid.parts.probes import Probe
from softlabels.grid.plan import Artifact, Member

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from softlabels.metrics.probe_outputs import Logits


PLOTTED = ("run_id", "alpha", "name", "temperature", "log_k", "mean", "min", "max", "std", "n")
LOOKS = ("o", "s", "^", "D")
ALONG = 33
"""Points of a curve between the lowest and the highest T."""


def training_probe(artifact: Artifact, family: str) -> Probe | None:
    """The family's probe of the logits of all training images."""
    probe = selectors.probe_of(artifact, family, "logits", "train")
    return probe if isinstance(probe, Probe) and probe.classes is None and probe.per_class is None else None


def matches_of(artifact: Artifact) -> dict[str, float]:
    """Name of a solved temperature → T of the smoothed teacher whose entropy the hard-label teacher has there."""
    return {str(name): float(t) for name, t in artifact.options.get("match", {}).items()}


def matched_pairs(artifact: Artifact) -> list[tuple[Member, Member]]:
    """Hard-label teachers, each with every smoothed one of the same network and data."""
    return [
        (hard, smooth)
        for hard in artifact.members
        for smooth in artifact.members
        if selectors.alpha_of(hard.run) == 0 < selectors.alpha_of(smooth.run)
        and (hard.run.dataset, hard.run.model) == (smooth.run.dataset, smooth.run.model)
    ]


def _check(artifact: Artifact, where: str) -> None:
    check_temperatures(artifact, where)
    for family in dict.fromkeys(member.family for member in artifact.members):
        if training_probe(artifact, family) is None:
            raise SpecError(
                f"{where} family {family} needs a probe of what: logits and split: train, of all classes and images"
            )
    match = artifact.options.get("match", {})
    fits = isinstance(match, Mapping) and all(isinstance(t, int | float) and t > 0 for t in match.values())
    if not fits:
        raise SpecError(f"{where} options.match must map names to temperatures, as {{T_a: 1, T_b: 3}}")
    pairs = matched_pairs(artifact)
    if match and (not pairs or len({hard.run for hard, _ in pairs}) < len(pairs)):
        raise SpecError(f"{where} options.match needs one hard-label and one smoothed teacher (α > 0) of a network")


DRAWING = Drawing(("temperatures", "match", "compare_with"), labels_only=True, reads_last=True, check=_check)


def measure(artifact: Artifact, source: Source) -> Measured:
    """Mean entropy in nats over the training images of every teacher and seed, at every T, T_a and T_b.

    Rows of a solved temperature are of metric `entropy_at_<name>`, and `<name>` is the temperature itself: a result,
    so that `kd_temperature` is empty. Seeds are matched: T_a of seed s is by both teachers' seed s.
    """
    from softlabels.metrics.probe_outputs import read_logits
    from softlabels.metrics.soft_targets import entropy
    from softlabels.papers.published import compare

    logits_of = {
        (run_id(member.run), seed): found
        for member in artifact.members
        for seed in member.seeds
        if (probe := training_probe(artifact, member.family)) is not None
        and (found := source.probe_outputs(member, seed, probe, read_logits)) is not None
    }
    rows: list[Row] = []
    for member in artifact.members:
        for seed in member.seeds:
            logits = logits_of.get((run_id(member.run), seed))
            if logits is not None:
                rows += [
                    _row(source, artifact, member, seed, "entropy", entropy(logits.z, t), f"{t:g}")
                    for t in temperatures_of(artifact)
                ]
    for hard, smooth in matched_pairs(artifact):
        for seed in hard.seeds:
            both = [logits_of.get((run_id(member.run), seed)) for member in (hard, smooth)]
            if both[0] is not None and both[1] is not None:
                rows += _matched(source, artifact, hard, smooth, seed, both[0], both[1])
    frame = tidy(rows)
    if artifact.kind == "figure":
        return Measured(frame, _curves(artifact, frame, logits_of))
    solved = [*matches_of(artifact)]
    shown = [("train", name) for name in ("entropy", *solved, *(f"entropy_at_{name}" for name in solved))]
    return Measured(frame, _with_solved(compare(frame, artifact, otherwise=shown), frame, solved))


def _row(source: Source, artifact: Artifact, member: Member, seed: int, metric: str, value: float, t: str = "") -> Row:
    return source.row(artifact, member, seed, "train", "last", metric, value) | {"kd_temperature": t}


def _matched(
    source: Source,
    artifact: Artifact,
    hard: Member,
    smooth: Member,
    seed: int,
    hard_logits: Logits,
    smooth_logits: Logits,
) -> list[Row]:
    """The solved temperatures of one seed, and the entropies of both teachers there."""
    from softlabels.metrics.soft_targets import entropy, equal_entropy_temperature

    rows = []
    for name, reference in matches_of(artifact).items():
        try:
            t = equal_entropy_temperature(hard_logits.z, smooth_logits.z, reference)
        except DataError as bad:
            where = f"artifact {artifact.id}: options.match.{name}: {run_id(hard.run)} seed {seed}"
            raise DataError(f"{where}: {bad}") from None
        rows.append(_row(source, artifact, hard, seed, name, t))
        for member, logits in ((hard, hard_logits), (smooth, smooth_logits)):
            rows.append(_row(source, artifact, member, seed, f"entropy_at_{name}", entropy(logits.z, t)))
    return rows


def _with_solved(compared: pd.DataFrame, rows: pd.DataFrame, solved: list[str]) -> pd.DataFrame:
    """The compared numbers in the order of T, with the mean of the solved temperature beside those at it."""
    found = rows[rows["metric"].isin(solved)].groupby("metric")["value"].mean()
    compared = compared[compared["metric"].str.startswith("entropy") & (compared["metric"] != "entropy_max")]
    at = compared["metric"].str.removeprefix("entropy_at_").map(found)
    compared = compared.assign(solved_temperature=at, order=compared["kd_temperature"].fillna(at))
    compared = compared.sort_values(["dataset", "order", "student_alpha"], kind="stable", ignore_index=True)
    return compared.drop(columns="order")


def _curves(artifact: Artifact, rows: pd.DataFrame, logits_of: Mapping[tuple[str, int], Logits]) -> pd.DataFrame:
    """Mean entropies over seeds. `name` is `asked` at the T of the options, `curve` between them, else solved for."""
    from softlabels.metrics.soft_targets import entropy

    temperatures = temperatures_of(artifact)
    points: list[dict[str, Any]] = []
    for member in artifact.members:
        run = run_id(member.run)
        logits = [logits_of[run, seed].z for seed in member.seeds if (run, seed) in logits_of]
        if not logits:
            continue
        about = {"run_id": run, "alpha": selectors.alpha_of(member.run), "log_k": float(np.log(logits[0].shape[1]))}
        for name, along in (("asked", temperatures), ("curve", np.geomspace(temperatures[0], temperatures[-1], ALONG))):
            for t in along:
                points.append({**about, "name": name, "temperature": t} | spread([entropy(z, t) for z in logits]))
        run_rows = rows[rows["run_id"] == run]
        for name in matches_of(artifact):
            solved, at = (run_rows[run_rows["metric"] == metric]["value"] for metric in (name, f"entropy_at_{name}"))
            if len(solved):
                points.append({**about, "name": name, "temperature": solved.mean()} | spread([*at]))
    return pd.DataFrame(points, columns=list(PLOTTED))


def table(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Ours beside the paper's."""
    from softlabels.papers.published import printed_table

    return printed_table(plotted)


def draw(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> Figure:
    """Entropy against T, a line for each α; solved temperatures are marked on the hard-label teacher's."""
    figure = style.new_figure(style.ONE_COLUMN, 2.6)
    axes = figure.subplots()
    axes.set(xlabel="temperature T", ylabel="mean entropy of targets (nats)")
    if plotted.empty:
        return figure
    points = plotted[plotted["name"] == "asked"]
    for number, (alpha, selected) in enumerate(points.groupby("alpha")):
        look: dict[str, Any] = {"color": style.PALETTE[number % len(style.PALETTE)]}
        label, marker = selectors.teacher_name(alpha), LOOKS[number % len(LOOKS)]
        style.error_bars(axes, selected["temperature"], selected, label=label, marker=marker, ls="", **look)
        line = plotted[(plotted["name"] == "curve") & (plotted["alpha"] == alpha)]
        axes.plot(line["temperature"], line["mean"], **look)
    for cell in plotted[~plotted["name"].isin(["asked", "curve"])].to_dict("records"):
        axes.plot(cell["temperature"], cell["mean"], "*", ms=8, color="0.2", zorder=3)
        name = f"${cell['name']}$" if cell["name"].startswith("T_") else cell["name"]
        axes.annotate(
            f"{name} = {cell['temperature']:.3g}", (cell["temperature"], cell["mean"]), xytext=(6, -9),
            textcoords="offset points", fontsize=6.5,
        )  # fmt: skip
    limit = float(points["log_k"].max())
    style.limit_line(axes, limit, "log K")
    style.temperature_axis(axes, points["temperature"].unique())
    axes.set_ylim(0, 1.08 * limit)
    style.legend_below(axes)
    return figure


def remarks(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """What the numbers are, and the solved temperatures."""
    from softlabels.papers.published import READING

    said = "Mean entropy in nats of softmax(z / T) over all training images, without augmentation."
    solved = []
    for name, t in matches_of(artifact).items():
        values = rows[rows["metric"] == name]["value"]
        if len(values):
            found = spread([*values])
            std = f" ± {found['std']:.2g}" if found["n"] > 1 else ""
            told = f"{name} = {found['mean']:.4g}{std} ({style.seeds_label([len(values)])})"
            solved.append(f"{told}: the hard-label teacher's entropy is the smoothed one's at T = {t:g}.")
    if artifact.kind == "figure":
        bars = f" Bars: min to max, {style.seeds_label(plotted['n'])}." if len(plotted) else ""
        return [said + bars, *solved]
    lost = " Printed numbers at T_a and T_b stand beside ours there; the printed temperatures are lost (C-MATCH)."
    return [said + (lost if solved else ""), *solved, READING]
