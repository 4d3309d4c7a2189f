"""Which figure shows which teacher, student and data set, by the grid (Chandrasegaran et al. 2022, Table A.1)."""

from __future__ import annotations

from softlabels.errors import SpecError
from softlabels.figures import selectors
from softlabels.figures.drawing import Drawing
from softlabels.figures.lazy import pd
from softlabels.figures.source import Measured, Source, tidy
from softlabels.grid.plan import Artifact, Member

COLUMNS = (
    "printed", "printed_networks", "printed_dataset", "target", "dataset", "teacher", "student", "alphas",
    "temperatures", "stands_for",
)  # fmt: skip


def _check(artifact: Artifact, where: str) -> None:
    if not artifact.options.get("artifacts"):
        raise SpecError(f"{where} options.artifacts must list the artifacts of this grid that it indexes")


DRAWING = Drawing(("artifacts",), of_networks=False, check=_check)


def measure(artifact: Artifact, source: Source) -> Measured:
    """No numbers; plotted: a row for each pair of teacher and student of every artifact of `options.artifacts`.

    Of a figure without students the teacher stands alone. `printed…` is what the paper's own index says of it.
    """
    from softlabels.papers.quotes import quoted

    index = quoted(artifact.paper, artifact.name).drop_duplicates("measured_by").set_index("measured_by")
    rows = []
    for name in artifact.options["artifacts"]:
        listed = source.artifact(f"{artifact.paper}.{name}")
        if listed is None:
            continue
        entry = index.loc[listed.id] if listed.id in index.index else pd.Series({"text": "", "who": "", "about": ""})
        printed = {"printed": entry["text"], "printed_networks": entry["who"], "printed_dataset": entry["about"]}
        rows += [printed | {"target": listed.target} | pair for pair in _pairs(listed)]
    return Measured(tidy([]), pd.DataFrame(rows, columns=list(COLUMNS)))


def _pairs(artifact: Artifact) -> list[dict[str, str]]:
    shown = selectors.distilled(artifact) or artifact.members
    pairs: dict[tuple[str, ...], list[Member]] = {}
    for member in shown:
        names = dict(member.published)
        place = (
            names["dataset"],
            names.get("teacher", names["student"]),
            names["student"] if "teacher" in names else "",
        )
        pairs.setdefault((*place, selectors.title(member).replace("\n", " ")), []).append(member)
    return [
        {
            "dataset": data,
            "teacher": teacher,
            "student": student,
            "alphas": _listed(selectors.labels_alpha(m.run) for m in members),
            "temperatures": _listed(selectors.temperature_of(m.run) for m in members),
            "stands_for": title if "(for" in title else "",
        }
        for (data, teacher, student, title), members in pairs.items()
    ]


def _listed(values: object) -> str:
    return ", ".join(f"{v:g}" for v in sorted({v for v in values if v is not None}))  # type: ignore[attr-defined]


def table(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The index; columns that say nothing are left out."""
    silent = [name for name in plotted if len(plotted) and plotted[name].isna().all()]
    return plotted.drop(columns=silent).fillna("")


def remarks(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """What the columns are."""
    return [
        "target: what draws the figure. dataset, teacher, student: the paper's names; stands_for: what this scale put "
        "in their place. printed, printed_networks, printed_dataset: the entry of the paper's own index."
    ]
