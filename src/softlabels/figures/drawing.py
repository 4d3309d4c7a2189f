"""What an artifact can name under `plot`, and whether it gives what that needs: checked before anything is trained.

`plot: smoothing_curves` is the module of that name in `curves`, `classes` or `tables`. Such a module has

* `DRAWING`, a `Drawing`: which networks it shows, which options it reads, and its own check,
* `measure(artifact, source)`, which computes tidy rows and the numbers to plot from logits and probes,
* `draw(artifact, plotted, rows)` if it makes figures, `table(artifact, plotted, rows)` if it makes tables,
* `remarks(artifact, plotted, rows)`: the sentences printed below the figure or table.

`plot: custom:my_figures` is a module of the user's, `my_figures.py` where snakemake runs.

Every plan imports the modules that it uses: none imports numpy, pandas, scipy, matplotlib or torch at its top (`lazy`).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

from softlabels import import_string
from softlabels.errors import SpecError
from softlabels.figures import selectors
from softlabels.figures.shown_classes import custom_tables
from softlabels.files import sha256
from softlabels.grid.files import artifact_dict, digest
from softlabels.grid.identity import run_id
from softlabels.grid.plan import Artifact
from softlabels.grid.spec import Run, is_solved, on_labels, reference_of, teacher_of
from softlabels.versions import PACKAGE, code_version

CUSTOM = "custom:"
ANY = ("image", "translation")
KINDS = {"figure": "draw", "table": "table"}
"""Kind of an artifact → the function of a drawing module that makes it."""
DRAWINGS: Mapping[str, str] = {
    path.stem: f"softlabels.figures.{path.parent.name}.{path.stem}"
    for path in sorted(Path(__file__).parent.glob("*/[!_]*.py"), key=lambda path: path.stem)
}
"""Name under `plot` → its module."""


@dataclass(frozen=True)
class Drawing:
    """What a drawing module shows and reads."""

    options: tuple[str, ...] = ()
    """Keys of an artifact's `options` that it reads."""
    labels_only: bool = False
    """Shows networks trained on labels, without a teacher."""
    by_temperature: bool = False
    """Places students by T, which must be a number."""
    reads_last: bool = False
    """Reads the last weights, also of a network that teaches."""
    tasks: tuple[str, ...] = ("image",)
    """Tasks of the networks that it shows."""
    of_networks: bool = True
    """Shows networks; without, its artifacts have no families, seeds or probes."""
    check: Callable[[Artifact, str], None] | None = None
    """Refuses (SpecError) what it cannot measure or draw; its second argument begins the message."""


def is_custom(plot: str) -> bool:
    """Whether a drawing is a module of the user's."""
    return plot.startswith(CUSTOM)


def custom_files(artifact: Artifact) -> list[Path]:
    """The user's drawing module, if it lies where snakemake runs: when it changes, the artifact is made anew."""
    path = Path(*artifact.plot.removeprefix(CUSTOM).split(".")).with_suffix(".py")
    return [path] if is_custom(artifact.plot) and path.is_file() else []


def artifact_digest(artifact: Artifact, artifacts: Mapping[str, Artifact], papers: Path = PACKAGE / "papers") -> str:
    """Changes with anything that an artifact is measured on or drawn from: what is printed in papers, the versions of
    its code, the artifacts that it indexes and the user's tables and modules."""
    indexed = [f"{artifact.paper}.{name}" for name in artifact.options.get("artifacts", ())]
    specs = [artifact_dict(artifacts[name]) for name in (artifact.id, *indexed) if name in artifacts]
    versions = [code_version("metrics"), code_version("figures")]
    files = [*custom_tables(artifact), *custom_files(artifact)]
    return digest([*specs, *versions, *_published(papers), *map(sha256, files)])


@cache
def _published(papers: Path) -> tuple[str, ...]:
    return tuple(sha256(path) for path in sorted(papers.glob("*.csv")))


def module_of(artifact: Artifact) -> ModuleType:
    """The module that measures and draws an artifact.

    Raises:
        SpecError: there is none, or the user's cannot be imported.
    """
    if is_custom(artifact.plot):
        name = artifact.plot.removeprefix(CUSTOM)
        return import_string.module(name, f"artifact {artifact.id}: plot", artifact.plot)
    if artifact.plot not in DRAWINGS:
        known = f"{', '.join(DRAWINGS)} or {CUSTOM}<module>"
        raise SpecError(f"artifact {artifact.id}: plot must be one of {known}, not {artifact.plot!r}")
    return importlib.import_module(DRAWINGS[artifact.plot])


def kinds_of(plot: str) -> tuple[str, ...]:
    """Kinds of artifacts that a drawing of ours makes: `figure`, `table` or both."""
    module = importlib.import_module(DRAWINGS[plot])
    return tuple(kind for kind, function in KINDS.items() if hasattr(module, function))


def check(artifact: Artifact) -> None:
    """Refuse an artifact that its drawing module could not measure or draw.

    A module of the user's is not imported for that: it may show anything.

    Raises:
        SpecError: naming the artifact and the key.
    """
    where = f"artifact {artifact.id}:"
    if is_custom(artifact.plot):
        drawing = Drawing(tasks=ANY)
    else:
        drawing, kinds = module_of(artifact).DRAWING, kinds_of(artifact.plot)
        if artifact.kind not in kinds:
            raise SpecError(f"{where} plot: {artifact.plot} makes no {artifact.kind}; use kind: {kinds[0]}")
        for key in artifact.options:
            if key not in drawing.options:
                known = f"its options are {', '.join(drawing.options)}" if drawing.options else "it has none"
                raise SpecError(f"{where} options.{key}: {artifact.plot} has no such option; {known}")
    if drawing.of_networks != bool(artifact.members):
        needs = (
            "shows networks; name their families" if drawing.of_networks else "shows no networks; leave families empty"
        )
        raise SpecError(f"{where} families: {artifact.plot} {needs}")
    for member in artifact.members:
        if member.run.task not in drawing.tasks:
            raise SpecError(
                f"{where} {artifact.plot} shows networks of task {' or '.join(drawing.tasks)}, and those of "
                f"{member.family} are of task {member.run.task}; take the family out of families"
            )
    taught = next((m for m in artifact.members if not on_labels(m.run)), None)
    if drawing.labels_only and taught:
        learns = "have a teacher" if teacher_of(taught.run) else f"learn from {taught.run.targets.kind}"
        raise SpecError(
            f"{where} {artifact.plot} shows networks trained on labels, and those of {taught.family} {learns}; "
            "take the family out of families"
        )
    solved = next((m for m in artifact.members if is_solved(m.run)), None)
    if drawing.by_temperature and solved:
        key = "entropy_of" if reference_of(solved.run) else "label"
        raise SpecError(
            f"{where} {artifact.plot} places students by their temperature, and that of {solved.family} is solved for "
            f"only when it is trained ({key}); take the family out of families"
        )
    _check_splits(artifact, where)
    if artifact.options.get("checkpoint", "last") not in ("last", "best"):
        raise SpecError(f"{where} options.checkpoint must be last or best, not {artifact.options['checkpoint']!r}")
    if drawing.check is not None:
        try:
            drawing.check(artifact, where)
        except SpecError as error:  # of a rule of class sets, say, which does not know the artifact
            said = str(error)
            raise SpecError(said if said.startswith(where[:-1]) else f"{where} {said}") from None


def check_teachers(artifacts: Iterable[Artifact], runs: Iterable[Run]) -> None:
    """Refuse a teacher that would be drawn at its last weights where it teaches at others alone.

    Raises:
        SpecError: naming the artifact and the family.
    """
    taught: dict[str, set[str]] = {}
    for run in runs:
        for parent in (teacher_of(run), reference_of(run)):
            if parent is not None and isinstance(parent.run, Run):
                taught.setdefault(run_id(parent.run), set()).add(parent.checkpoint)
    for artifact in artifacts:
        if is_custom(artifact.plot) or not module_of(artifact).DRAWING.reads_last:
            continue
        for member in artifact.members:
            if (found := taught.get(run_id(member.run))) and "last" not in found:
                raise SpecError(
                    f"artifact {artifact.id}: {artifact.plot} draws {member.family} at its last weights, and it "
                    f"teaches at {' and '.join(sorted(found))}; let it teach at last too "
                    "(targets.teacher.checkpoint), or take it out of families"
                )


def _check_splits(artifact: Artifact, where: str) -> None:
    """The paper's numbers name a data set, not a family: its families must agree which split they are of."""
    found: dict[str | None, str] = {}
    for member in artifact.members:
        name = dict(member.published).get("dataset")
        if found.setdefault(name, selectors.reported_on(member)) != selectors.reported_on(member):
            raise SpecError(f"{where} the families of {name} differ in published.reported_on; give them one value")


def check_temperatures(artifact: Artifact, where: str) -> None:
    """Refuse `options.temperatures` that are not one or more different numbers above 0."""
    found = artifact.options.get("temperatures")
    if not isinstance(found, list | tuple) or not found or len(set(found)) < len(found):
        raise SpecError(f"{where} options.temperatures must list one or more temperatures, each once")
    if bad := [t for t in found if isinstance(t, bool) or not isinstance(t, int | float) or not t > 0]:
        raise SpecError(f"{where} options.temperatures must be above 0, not {bad[0]!r}")


def temperatures_of(artifact: Artifact) -> list[float]:
    """`options.temperatures` in rising order."""
    return sorted(float(t) for t in artifact.options["temperatures"])
