"""The standard metrics of a run, computed once: many artifacts show the same runs.

They are kept beside the published files (`runs/<run>/seed<k>/standard.json`) with the checksum of the predictions that
they are of and the version of the code that computed them. A file that says otherwise, or not what it was written
with, is computed again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from softlabels.files import atomic, canonical_json
from softlabels.versions import code_version

Rows = list[tuple[str, str, str, float]]
"""(split, checkpoint, metric, value)."""


def load_or_compute(path: Path, of: str, compute: Callable[[], Rows]) -> Rows:
    """The rows in a file, or computed and written.

    Args:
        path: the file.
        of: SHA-256 of the predictions.
        compute: gives the rows; called where the file is not there, damaged, or of other predictions or older code.

    Raises:
        SoftlabelsError: the file cannot be written.
    """
    origin = {"of": of, "metrics": code_version("metrics")}
    if (found := _read(path, origin)) is not None:
        return found
    rows = compute()
    content = origin | {"rows": [[*place, repr(float(value))] for *place, value in rows]}  # repr: also inf and nan
    with atomic(path) as part:
        part.write_text(json.dumps(content | {"sha256": _digest(content)}) + "\n")
    return rows


def _read(path: Path, origin: dict[str, object]) -> Rows | None:
    try:
        content = json.loads(path.read_bytes())
        digest = content.pop("sha256")
        if digest != _digest(content) or any(content[name] != value for name, value in origin.items()):
            return None
        return [(split, checkpoint, metric, float(value)) for split, checkpoint, metric, value in content["rows"]]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None  # not there, or not what was written: whatever is wrong with it, it is made again


def _digest(content: dict[str, object]) -> str:
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()
