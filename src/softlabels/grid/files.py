"""A plan on disk, so that a job reads the narrow slice it needs and can be run again by hand.

`specs/<run id>.json`, `specs/probes/<probe id>.json`,
`specs/artifacts/<artifact id>.json`, and `specs/caches/<cache id>.json` (a student that reads it).
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from softlabels.errors import SpecError
from softlabels.files import canonical_json, read_json, write_json
from softlabels.grid.costs import needed_caches
from softlabels.grid.identity import CacheNeed, caches_of, probe_id, read_spec, run_id, write_spec_files
from softlabels.grid.parse import freeze, from_dict
from softlabels.grid.parts.probes import KINDS, AnyProbe, Probe
from softlabels.grid.plan import Artifact, Jobs, Member, Plan
from softlabels.grid.spec import Run, to_dict
from softlabels.layout import Layout

LAYOUT_VERSION = 1  # raised when results of an older project would be misread; without a file it is 1


def artifact_dict(artifact: Artifact) -> dict[str, Any]:
    """An artifact as JSON values; runs by their ids."""
    return {
        "id": artifact.id,
        "title": artifact.title,
        "kind": artifact.kind,
        "plot": artifact.plot,
        "options": dict(artifact.options),
        "notes": list(artifact.notes),
        "variants": list(artifact.variants),
        "probes": [[family, to_dict(probe)] for family, probe in artifact.probes],
        "members": [
            {
                "family": m.family,
                "values": dict(m.values),
                "run": run_id(m.run),
                "seeds": list(m.seeds),
                "published": dict(m.published),
            }
            for m in artifact.members
        ],
    }


def digest(value: Any) -> str:
    """Hex SHA-256 of JSON values."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def write_plan(plan: Plan, directory: Path) -> None:
    """Write the spec of every run, probe, cache and artifact; a file that already says so keeps its time stamp."""
    _write(directory / "plan.json", {"scale": plan.scale, "jobs": dataclasses.asdict(plan.jobs)})
    write_spec_files(plan, directory)
    for artifact in plan.artifacts.values():
        _write(directory / "artifacts" / f"{artifact.id}.json", artifact_dict(artifact))
        for _, probe in artifact.probes:
            _write(directory / "probes" / f"{probe_id(probe)}.json", to_dict(probe))
    for name, spec in plan.runs.items():
        for need in caches_of(spec):
            _write(directory / "caches" / f"{need.id}.json", {"student": name})


def read_plan(directory: Path) -> Plan:
    """What every job of a plan needs to know of it: the scale and what the user says about jobs, without any run.

    Raises:
        SpecError: nothing has been planned there.
    """
    path = directory / "plan.json"
    if not path.exists():
        raise SpecError(f"{path} does not exist; start snakemake itself, which writes it, not a job of it")
    content = read_json(path)
    return Plan(content["scale"], {}, {}, {}, flops_per_second=1.0, jobs=Jobs(**content["jobs"]))


def _write(path: Path, value: Any) -> None:
    if not path.exists() or read_json(path) != value:
        write_json(path, value)


@dataclass(frozen=True)
class Specs:
    """Runs, caches and probes by the ids that stand in the names of their files, from the files of `write_plan`.

    A job of a cluster looks up its own, so what it reads does not grow with the grid.
    """

    directory: Path

    def run(self, name: str) -> Run:
        return read_spec(self.directory / f"{name}.json")

    def cache(self, name: str) -> CacheNeed:
        """What a cache holds, by a student that reads it."""
        student = read_json(self.directory / "caches" / f"{name}.json")["student"]
        for need in caches_of(self.run(student)):
            if need.id == name:
                return need
        raise SpecError(f"{student} does not read cache {name}; run snakemake again, which writes the present specs")

    def probe(self, name: str) -> AnyProbe:
        path = self.directory / "probes" / f"{name}.json"
        return probe_from(read_json(path), str(path))


class PlannedSpecs(Specs):
    """The same, of a plan that is at hand."""

    def __init__(self, plan: Plan) -> None:
        self._runs, self._caches = plan.runs, needed_caches(plan)
        self._probes = {probe_id(probe): probe for a in plan.artifacts.values() for _, probe in a.probes}

    def run(self, name: str) -> Run:
        return self._runs[name]

    def cache(self, name: str) -> CacheNeed:
        return self._caches[name][0]

    def probe(self, name: str) -> AnyProbe:
        return self._probes[name]


def require_ours(layout: Layout, scale: str) -> None:
    """Refuse a folder of results that belongs to another scale, or that a newer project has laid out.

    Raises:
        SpecError: it does; nothing has been written.
    """
    if not layout.version.exists():
        return
    found = read_json(layout.version)
    if not isinstance(found, dict):
        raise SpecError(f"{layout.version} does not say scale and version; delete it if the results beside it are ours")
    if found.get("scale") != scale:
        raise SpecError(
            f"{layout.root} holds results of scale {found.get('scale')} ({layout.version}); move the folder to where "
            f"it belongs, and {scale} is made anew"
        )
    if not isinstance(found.get("version"), int) or found["version"] > LAYOUT_VERSION:
        raise SpecError(
            f"{layout.root} was made by a newer softlabels ({layout.version} says version {found.get('version')}, this "
            f"one knows {LAYOUT_VERSION}); update softlabels, or move the folder away"
        )


def mark_ours(layout: Layout, scale: str) -> None:
    """Say in a folder of results whose they are."""
    _write(layout.version, {"scale": scale, "version": LAYOUT_VERSION})


def probe_from(content: Mapping[str, Any], where: str) -> AnyProbe:
    """A probe of the kind that its `what` says (raises as `from_dict`)."""
    return from_dict(KINDS.get(str(content.get("what")), Probe), content, where)


def read_artifact(directory: Path, name: str) -> Artifact:
    """The artifact of an id, its runs read from their own files."""
    path = directory / "artifacts" / f"{name}.json"
    content = read_json(path)
    members = tuple(
        Member(
            m["family"],
            tuple(sorted((k, freeze(v)) for k, v in m["values"].items())),
            read_spec(directory / f"{m['run']}.json"),
            tuple(m["seeds"]),
            tuple(sorted(m["published"].items())),
        )
        for m in content["members"]
    )
    probes = tuple((family, probe_from(probe, str(path))) for family, probe in content["probes"])
    return Artifact(
        content["id"], content["title"], content["kind"], content["plot"], members, probes,
        content["options"], tuple(content["notes"]), tuple(content["variants"]),
    )  # fmt: skip
