"""What the report shows of one scale, read from finished files: verdicts, artifacts, runs, discrepancies."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from softlabels.errors import SoftlabelsError
from softlabels.files import read_json
from softlabels.grid.plan import Artifact
from softlabels.layout import Layout
from softlabels.metrics.rows import COLUMNS, read_rows
from softlabels.papers import register
from softlabels.papers.effects import Effect
from softlabels.papers.verdicts import Judged, beside, counts, grouped, judge, said, table

TITLES: Mapping[str, str] = {
    "muller2019": "Müller, Kornblith & Hinton 2019",
    "chandrasegaran2022": "Chandrasegaran et al. 2022",
    "yuan2020": "Yuan et al. 2020",
    "zhang2020": "Zhang & Sabuncu 2020",
    "ablations": "Our own ablations",
}
SHOWN_ROWS = 40
"""Of a table; all are in its download."""
ONE_COLUMN_PIXELS = 660
"""Of a figure one column wide, as `figures.style.save` writes it."""
KINDS = {".csv": "text/csv", ".md": "text/markdown", ".json": "application/json", ".pdf": "application/pdf"}


@dataclass(frozen=True)
class Verdict:
    """A claim as the page shows it."""

    row: Mapping[str, Any]
    said: str
    stands_for: str
    """The paper's data, networks and classes that others stand for."""
    numbers: str
    """Ours and the paper's, of the comparison that decides."""
    source: str
    note: str
    against: Sequence[str]
    bindings: Sequence[Mapping[str, str]]
    bar: Mapping[str, Any] | None
    """Where the limits, the interval and the effect lie, in per cent of the width; None without an interval."""


@dataclass(frozen=True)
class Shown:
    """A figure or table; what is not made yet has neither image nor table."""

    artifact: Artifact
    image: str = ""
    wide: bool = False
    """Whether the image is two columns wide; on a narrow screen it then scrolls, so that its words can be read."""
    table: str = ""
    rows: int = 0
    face: Sequence[str] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    downloads: Sequence[tuple[str, str]] = ()
    claims: Sequence[str] = ()

    @property
    def made(self) -> bool:
        """Whether it is there."""
        return bool(self.image or self.table)


@dataclass(frozen=True)
class Paper:
    """One paper, or our own ablations or a user's grid, with its verdicts and artifacts."""

    id: str
    title: str
    counts: str
    in_print: str
    verdicts: Sequence[Verdict]
    artifacts: Sequence[Shown]


@dataclass(frozen=True)
class Content:
    """Everything on the page."""

    scale: str
    counts: str
    papers: Sequence[Paper]
    runs: Mapping[str, Mapping[str, Sequence[Any]]]
    """Run id → its seeds and the artifacts that show it."""
    discrepancies: Sequence[register.Told]


def collect(planned: Sequence[Artifact], layout: Layout, scale: str) -> Content:
    """What there is of artifacts; metrics are those of the artifacts that have been measured.

    Raises:
        SoftlabelsError: a file is damaged; DataError: it is of another scale.
    """
    metrics = _metrics(planned, layout)
    judged = judge(metrics, scale, str(layout.root / "metrics"))
    rows = table(judged, scale)
    verdicts = [_verdict(one, row) for one, row in zip(judged, rows.to_dict("records"), strict=True)]
    names = list(dict.fromkeys(a.paper for a in planned))  # of a paper that is not planned there is nothing to say
    order = [name for name in TITLES if name in names] + [name for name in names if name not in TITLES]
    papers = []
    for name in order:
        own = [v for v in verdicts if v.row["paper"] == name]
        listed = rows[rows["paper"] == name]
        artifacts = [_shown(a, layout, own) for a in planned if a.paper == name]
        papers.append(Paper(name, TITLES.get(name, name), grouped(listed), counts(listed["in_print"]), own, artifacts))
    runs: dict[str, dict[str, list[Any]]] = {}
    for shown in (s for p in papers for s in p.artifacts):
        for run, seeds in shown.provenance.get("runs", {}).items():
            entry = runs.setdefault(run, {"seeds": [], "artifacts": []})
            entry["seeds"] = sorted({*entry["seeds"], *seeds})
            entry["artifacts"].append(shown.artifact.id)
    told = register.told(metrics, {a.id: a for a in planned})
    return Content(scale, grouped(rows[rows["paper"].isin(names)]), papers, dict(sorted(runs.items())), told)


def _metrics(planned: Sequence[Artifact], layout: Layout) -> pd.DataFrame:
    """The rows of every artifact that has been measured: joined, so that a part of a grid can be shown."""
    paths = [layout.metrics(a.paper, a.name) for a in planned]
    frames = [read_rows(path) for path in paths if path.is_file()]
    if not frames:
        raise SoftlabelsError(f"nothing of {layout.root} has been measured yet; run snakemake first")
    return pd.concat(frames, ignore_index=True)[list(COLUMNS)]


def _verdict(one: Judged, row: Mapping[Any, Any]) -> Verdict:
    bindings = [
        {
            "what": ", ".join(map(str, outcome.binding.values())) or "–",
            "verdict": outcome.verdict,
            "effect": f"missing: {outcome.missing}" if outcome.missing else said(outcome),
            "numbers": beside(outcome),
        }
        for outcome in one.outcomes
    ]
    decides = one.deciding()
    return Verdict(
        {str(k): v for k, v in row.items()},
        said(decides),
        ", ".join(part.partition("=")[2] for part in row["stands_for"].split(";")),
        beside(decides),
        one.claim.source,
        one.claim.note,
        one.claim.against,
        bindings,
        _bar(decides.effect) if decides else None,
    )


def _bar(effect: Effect | None) -> dict[str, Any] | None:
    """The interval and the limits that the claim sets it, on an axis that is as wide on both sides of zero."""
    if effect is None or not effect.n or not math.isfinite(effect.low):
        return None
    limits = [limit for limit in (effect.at_least, effect.at_most) if math.isfinite(limit)]
    reach = 1.1 * max(map(abs, (effect.low, effect.high, *limits))) or 1.0
    low, high, mean, *limits = (50 + 50 * value / reach for value in (effect.low, effect.high, effect.mean, *limits))
    return {"low": low, "width": high - low, "effect": mean, "limits": limits}


def _shown(artifact: Artifact, layout: Layout, verdicts: Sequence[Verdict]) -> Shown:
    def output(suffix: str) -> Path:
        return layout.output(artifact.kind, artifact.paper, artifact.name, suffix)

    claims = [v.row["id"] for v in verdicts if artifact.id in v.row["artifacts"].split(";")]
    if not output(".csv").is_file() or not output(".provenance.json").is_file():
        return Shown(artifact, claims=claims)
    provenance = read_json(output(".provenance.json"))
    suffixes = (
        (".csv", ".pdf", ".provenance.json") if artifact.kind == "figure" else (".csv", ".md", ".provenance.json")
    )
    downloads = [(output(s).name, _embedded(output(s))) for s in suffixes if output(s).is_file()]
    numbers = pd.read_csv(output(".csv")) if output(".csv").stat().st_size > 1 else pd.DataFrame()
    image = _embedded(output(".png")) if artifact.kind == "figure" and output(".png").is_file() else ""
    drawn = "" if image else _html(numbers)
    return Shown(
        artifact,
        image,
        bool(image) and _width(output(".png")) > 1.5 * ONE_COLUMN_PIXELS,
        drawn,
        len(numbers),
        provenance["face"],
        provenance,
        downloads,
        claims,
    )


def _html(frame: pd.DataFrame) -> str:
    return frame.head(SHOWN_ROWS).to_html(
        index=False, border=0, na_rep="", float_format=lambda x: f"{x:.4g}", justify="left", escape=True
    )


def _width(png: Path) -> int:
    """Of an image, in pixels: the first number of its header."""
    return int.from_bytes(png.read_bytes()[16:20], "big")


def _embedded(path: Path) -> str:
    """A file as a link that carries it, so that the page is one file and needs no network."""
    kind = {".png": "image/png", **KINDS}[path.suffix]
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def contradictions(content: Content) -> Iterator[tuple[Verdict, Verdict]]:
    """Claims of two papers that do not go together, each pair once."""
    every = {v.row["id"]: v for paper in content.papers for v in paper.verdicts}
    for one in every.values():
        yield from ((one, every[other]) for other in one.against if other in every)
