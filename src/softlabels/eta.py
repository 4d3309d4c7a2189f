"""How far a workflow is and when it will be done: a line on stderr now and then, from estimates and files alone."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ENOUGH = 0.05  # of the work, before which starting says more than working


def say(text: str) -> None:
    """A line between Snakemake's."""
    print(f"softlabels: {text}", file=sys.stderr, flush=True)


def follow(left: Mapping[Path, float], every: float = 20.0, tell: Callable[[str], Any] = say) -> None:
    """Say every so many seconds which share of the work is done, until this process ends or all is.

    Args:
        left: files that are still to be made → estimated seconds of each. Only their ratios matter: the time that is
            left follows from the share that was made since this was called.
        every: seconds between two lines.
    """
    threading.Thread(target=_follow, args=(dict(left), every, tell), daemon=True).start()


def _follow(left: dict[Path, float], every: float, tell: Callable[[str], Any]) -> None:
    begun, total, files = time.monotonic(), sum(left.values()), len(left)
    while left:
        time.sleep(every)
        left = {path: seconds for path, seconds in left.items() if not path.exists()}
        share = 1 - sum(left.values()) / total
        if share > ENOUGH and left:
            rest = (time.monotonic() - begun) * (1 - share) / share
            tell(f"{files - len(left)} of {files} files made, {share:.0%} of the work; about {duration(rest)} left")


def duration(seconds: float) -> str:
    """`40 s`, `3 min`, `5.2 h` or `2.1 days`."""
    for unit, length, least in (("days", 86400.0, 2), ("h", 3600.0, 1.5), ("min", 60.0, 1.5)):
        if seconds >= least * length:
            return f"{seconds / length:.0f} min" if unit == "min" else f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"
