"""Run benchmarks, write one JSON file for each, print one table."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from benchmarks import demo, distillation, dry_run, planning, slurm, streaming, throughput, translation
from benchmarks.measure import Scope, Unavailable, machine
from softlabels.files import write_json
from softlabels.training.device import configure

BENCHMARKS = {
    "distillation": distillation,
    "throughput": throughput,
    "dry_run": dry_run,
    "demo": demo,
    "planning": planning,
    "slurm": slurm,
    "translation": translation,
    "streaming": streaming,
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(BENCHMARKS)}; default: all")
    parser.add_argument("--repetitions", type=int, default=9, help="the median is over these (default: 9)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run? the ratios mean nothing")
    parser.add_argument("--device", default="cpu", help="of the trainings: cpu (default) or cuda")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the JSON")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(f"there is no benchmark {min(unknown)!r}; there are {', '.join(BENCHMARKS)}")
    if options.repetitions < 1:
        parser.error("--repetitions must be at least 1")
    scope = Scope(options.repetitions, options.quick, configure(options.device))
    busy = False  # these benchmarks are one process at a time: a load of about 1
    print(f"{'ratio (median of pairs)':<62} {'wall':>6} [quartiles]    {'processor':>8}  aim")
    for name in options.names or BENCHMARKS:
        record: dict[str, Any] = {"benchmark": name, "quick": scope.quick, "before": machine(scope.device)}
        try:
            record["ratios"] = []
            for ratio in BENCHMARKS[name].run(scope):
                record["ratios"].append(ratio.as_dict())
                print(line(record["ratios"][-1]), flush=True)
        except Unavailable as reason:
            record["unavailable"] = str(reason)
            print(f"{name}: unavailable: {reason}", flush=True)
        record["load_average_after"] = machine(scope.device)["load_average"]
        write_json(options.out / f"{name}.json", record)
        busy = busy or max(record["before"]["load_average"][0], record["load_average_after"][0]) > 1.5
    if busy:
        print("Others were at work on this machine: the ratio of processor times is the steadier one.")
    print(f"Written to {options.out}.")
    return 0


def line(ratio: dict[str, Any]) -> str:
    """One row of the table, and its note."""
    low, high = ratio["quartiles"]
    cpu = f"{ratio['cpu_ratio']:8.3f}" if ratio["cpu_ratio"] is not None else " " * 8
    verdict = {True: "met", False: "missed", None: ""}[ratio["met"]]
    text = f"{ratio['name']:<62} {ratio['ratio']:6.3f} [{low:.3f}, {high:.3f}] {cpu}  {ratio['aim'] or '':7} {verdict}"
    return text.rstrip() + (f"\n  {ratio['note']}" if ratio["note"] else "")


if __name__ == "__main__":
    sys.exit(main())
