"""Whether two commits give the same numbers: `python -m benchmarks.same_numbers OLD NEW`, both folders of one scale.

Make one with each commit on one machine (`git worktree`, `make demo-full`) and give `results/demo` of both. Compared
byte by byte are weights, logits caches and probes of each run, and the CSV files of metrics, claims, figures and
tables. Ids are in the paths, so they are compared too.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from softlabels.files import sha256

COMPARED = {
    "weights": "store/**/weights.safetensors",
    "logits caches": "cache/**/*.npy",
    "probes": "probes/**/*.safetensors",
    "translations": "probes/**/*-translations.*.json",
    "plotted numbers": "[ft]*s/**/*.csv",
    "metrics of artifacts": "metrics/**/*.csv",
    "metrics.csv, claims.csv": "*.csv",
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.same_numbers", description=__doc__)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    options = parser.parse_args()
    different = 0
    for what, pattern in COMPARED.items():
        files = [{path.relative_to(root): path for path in root.glob(pattern)} for root in (options.old, options.new)]
        names = sorted(files[0].keys() | files[1].keys())
        bad = [name for name in names if not all(name in f for f in files) or len({sha256(f[name]) for f in files}) > 1]
        print(f"{what}: {len(names)} files, {len(bad)} of them not equal")
        print("".join(f"  {name}\n" for name in bad[:9]), end="")
        different += len(bad) + (not names)
    return min(different, 1)


if __name__ == "__main__":
    sys.exit(main())
