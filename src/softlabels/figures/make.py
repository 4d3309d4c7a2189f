"""Measure an artifact, draw it, and say where its numbers come from.

Measuring reads logits and probes and writes tables; drawing reads only those tables. What a drawing module has:
`drawing`.
"""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from softlabels.errors import SoftlabelsError
from softlabels.figures import drawing, style
from softlabels.figures.source import Source
from softlabels.files import atomic, read_json, sha256, write_json
from softlabels.grid.identity import initial_id, run_id, teacher_id
from softlabels.grid.plan import Artifact, chain
from softlabels.grid.spec import initial_of, reference_of, teacher_of
from softlabels.layout import Layout
from softlabels.metrics.agreement import describe
from softlabels.metrics.rows import COLUMNS, read_rows, write_rows


def measure_artifact(artifact: Artifact, layout: Layout, scale: str) -> None:
    """Write the tidy rows, the plotted numbers and the list of inputs of one artifact.

    Raises:
        SpecError: the artifact names no drawing module, or one that cannot make it (`drawing.check`).
        DataError: a published file is damaged.
    """
    source = Source(layout, scale)
    drawing.check(artifact)
    measured = drawing.module_of(artifact).measure(artifact, source)
    write_rows(layout.metrics(artifact.paper, artifact.name), measured.rows.to_dict("records"))
    with atomic(layout.plotted(artifact.paper, artifact.name)) as part:
        measured.plotted.to_csv(part, index=False)
    write_json(
        layout.inputs(artifact.paper, artifact.name),
        {"files": source.files, "missing": source.missing, "agreement": _agreements(artifact, layout)},
    )


def draw_artifact(artifact: Artifact, layout: Layout, scale: str) -> None:
    """Write a figure (`.pdf`, `.png`, `.csv`) or a table (`.csv`, `.md`) and its `.provenance.json`.

    Raises:
        SpecError: as `measure_artifact`.
        SoftlabelsError: the artifact has not been measured.
    """
    drawing.check(artifact)
    module = drawing.module_of(artifact)
    rows = read_rows(layout.metrics(artifact.paper, artifact.name))
    plotted = _read_plotted(layout.plotted(artifact.paper, artifact.name))
    inputs = read_json(layout.inputs(artifact.paper, artifact.name))
    face = [*module.remarks(artifact, plotted, rows), *_notes(artifact, scale), *_missing(inputs["missing"])]
    face += [f"{file}: {describe(found)}." for file, found in inputs.get("agreement", {}).items()]
    if plotted.empty:
        face.append("Nothing to draw yet.")

    def output(suffix: str) -> Path:
        return layout.output(artifact.kind, artifact.paper, artifact.name, suffix)

    # Nothing is replaced in a grid of the user's own, whatever the scale of the papers' grids.
    replaced = scale != "paper" and artifact.notes
    mark = ("DEMO" if scale == "demo" else f"DEMO ({scale})") if replaced else None
    if artifact.kind == "figure":
        with style.style():
            figure = module.draw(artifact, plotted, rows)
            style.write_face(figure, face, mark)
        style.save(figure, output(".pdf"), output(".png"))
        shown = plotted
    else:
        shown = module.table(artifact, plotted, rows)
        heading = f"# {artifact.title}{f' [{mark}]' if mark else ''}"
        with atomic(output(".md")) as part:
            part.write_text("\n\n".join([heading, markdown(shown), *face]) + "\n")
    with atomic(output(".csv")) as part:
        shown.to_csv(part, index=False)
    write_json(output(".provenance.json"), _provenance(artifact, layout, scale, face, inputs))


def merge_metrics(tables: Iterable[Path], out: Path) -> None:
    """One tidy table of the rows of several artifacts; a file twice is read once."""
    frames = []
    for path in dict.fromkeys(tables):
        read_rows(path)  # refuses a table that is none; the text itself is merged, so that no digit changes
        frames.append(pd.read_csv(path, dtype=str, keep_default_na=False))
    merged = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(COLUMNS))
    with atomic(out) as part:
        merged.to_csv(part, index=False)


def markdown(frame: pd.DataFrame) -> str:
    """A table in Markdown: numbers rounded for reading (the CSV has them whole), empty where there is none."""
    lines = [list(frame.columns), ["---"] * len(frame.columns)]
    lines += [[_cell(value) for value in row] for row in frame.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        if pd.isna(value):
            return ""
        return f"{value:.2f}" if abs(value) >= 10 and not value.is_integer() else f"{value:.4g}"
    return str(value).replace("|", "\\|").replace("\n", " ")


def _read_plotted(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, keep_default_na=True)
    except FileNotFoundError:
        raise SoftlabelsError(f"{path} does not exist; make it with snakemake first") from None


def _notes(artifact: Artifact, scale: str) -> list[str]:
    """What the scale replaced and subsampled, as one line for the face."""
    changes = [note.removeprefix(f"{scale}: ") for note in artifact.notes]
    return [f"{scale}: {'; '.join(changes)}."] if changes else []


def _agreements(artifact: Artifact, layout: Layout) -> dict[str, Any]:
    """How far each network of the user's that teaches, or keeps its head, agrees with the labels of the training
    images, by its file; as the runs of an artifact, and those behind them, have recorded it."""
    found = {}
    for member in artifact.members:
        for run, seeds in chain(member.run, member.seeds):
            for seed in seeds:
                path = layout.run(run_id(run), seed) / "run.json"
                record = read_json(path) if path.exists() else {}
                for key in ("teacher_agreement", "initial_agreement"):
                    if "file" in (one := record.get(key) or {}):
                        found[one["file"]] = one
    return found


def _missing(missing: dict[str, Sequence[int]]) -> list[str]:
    """One line for the face: runs and seeds whose files are not there, at most four by name."""
    trainings = {name: set(seeds) for name, seeds in missing.items() if "(" not in name}
    missing = {  # a probe of a training that is itself missing goes without saying
        name: rest
        for name, seeds in missing.items()
        if (rest := [s for s in seeds if "(" not in name or s not in trainings.get(name.split(" ")[0], ())])
    }
    said = [
        f"{name} seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}" for name, seeds in missing.items()
    ]
    more = [f"and {len(said) - 4} more"] if len(said) > 4 else []
    return [f"MISSING: {'; '.join([*said[:4], *more])}."] if said else []


def _provenance(
    artifact: Artifact, layout: Layout, scale: str, face: list[str], inputs: dict[str, Any]
) -> dict[str, Any]:
    tables = (layout.metrics(artifact.paper, artifact.name), layout.plotted(artifact.paper, artifact.name))
    return {
        "artifact": artifact.id,
        "title": artifact.title,
        "scale": scale,
        "runs": {run_id(m.run): list(m.seeds) for m in artifact.members},
        **_behind(artifact),
        "missing": inputs["missing"],
        "agreement": inputs.get("agreement", {}),
        "inputs": inputs["files"] | {str(t.relative_to(layout.root)): sha256(t) for t in tables},
        "face": face,
        "notes": list(artifact.notes),
        "variants": list(artifact.variants),
        "commit": commit_of_code(),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("softlabels", "numpy", "pandas", "matplotlib", "seaborn")},
        },
    }


def _behind(artifact: Artifact) -> dict[str, dict[str, list[int]]]:
    """Every teacher (also one that only sets a temperature), and all weights to begin with, of the runs of an artifact
    and of those behind them, drawn or not, with their seeds."""
    found: dict[str, dict[str, set[int]]] = {"teachers": {}, "initial": {}}
    for member in artifact.members:
        for run, seeds in chain(member.run, member.seeds):
            for teacher in filter(None, (teacher_of(run), reference_of(run))):
                found["teachers"].setdefault(teacher_id(teacher), set()).update(map(teacher.seed_for, seeds))
            if (initial := initial_of(run)) is not None:
                found["initial"].setdefault(initial_id(run.model, initial), set()).update(map(initial.seed_for, seeds))
    return {part: {name: sorted(seeds) for name, seeds in names.items()} for part, names in found.items()}


def commit_of_code() -> str | None:
    """The commit of the code, `-dirty` where tracked files differ from it; None outside a repository."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=Path(__file__).parent, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
