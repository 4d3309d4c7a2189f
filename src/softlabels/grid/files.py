"""A plan on disk, so that a job reads the narrow slice it needs and can be run again by hand.

`specs/<run id>.json`, `specs/probes/<probe id>.json`,
`specs/artifacts/<artifact id>.json`, and `specs/caches/<cache id>.json` (a student that reads it).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from softlabels.files import canonical_json, read_json, write_json
from softlabels.grid.identity import caches_of, probe_id, read_spec, run_id, write_spec_files
from softlabels.grid.parse import freeze, from_dict
from softlabels.grid.plan import Artifact, Member, Plan
from softlabels.grid.probes import KINDS, AnyProbe, Probe
from softlabels.grid.spec import to_dict


def artifact_dict(artifact: Artifact) -> dict[str, Any]:
    """An artifact as JSON values; runs by their ids."""
    return {
        "id": artifact.id,
        "title": artifact.title,
        "kind": artifact.kind,
        "draw": artifact.draw,
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
    write_spec_files(plan, directory)
    for artifact in plan.artifacts.values():
        _write(directory / "artifacts" / f"{artifact.id}.json", artifact_dict(artifact))
        for _, probe in artifact.probes:
            _write(directory / "probes" / f"{probe_id(probe)}.json", to_dict(probe))
    for name, spec in plan.runs.items():
        for need in caches_of(spec):
            _write(directory / "caches" / f"{need.id}.json", {"student": name})


def _write(path: Path, value: Any) -> None:
    if not path.exists() or read_json(path) != value:
        write_json(path, value)


def read_probe_spec(directory: Path, name: str) -> AnyProbe:
    """The probe of an id."""
    path = directory / "probes" / f"{name}.json"
    return probe_from(read_json(path), str(path))


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
        content["id"], content["title"], content["kind"], content["draw"], members, probes,
        content["options"], tuple(content["notes"]), tuple(content["variants"]),
    )  # fmt: skip
