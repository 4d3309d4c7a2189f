"""Time variants side by side and keep what decides how a number reads.

Only ratios are reported: variants take turns, each repetition gives one ratio of neighbours in time, and the median
is taken over repetitions, so that a machine that is busy or changes its clock disturbs both sides alike. Beside the
ratio of wall times stands that of processor times, which on a busy machine is the steadier one.
"""

from __future__ import annotations

import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class Seconds:
    """What each repetition took: wall time, and processor time of this process and the commands it ran."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


class Unavailable(Exception):
    """What is to be measured is not there; the message says what to do."""


@dataclass(frozen=True)
class Scope:
    """How much to measure. `quick` shrinks data, networks and steps: it shows that everything runs, nothing else."""

    repetitions: int = 9
    quick: bool = False
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def pick(self, normal: int, quick: int) -> int:
        return quick if self.quick else normal


@dataclass(frozen=True)
class Ratio:
    """`over ÷ under`, pair by pair; `aim` as ("≤", 1.05), or ("factor", 2.0): neither more than 2 nor less than ½."""

    name: str
    over: Seconds
    under: Seconds
    aim: tuple[str, float] | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    note: str | None = None  # what a reader of the ratio also wants to know

    def as_dict(self) -> dict[str, Any]:
        """The median ratio, its quartiles, whether it meets the aim, and all seconds."""
        pairs = _pairs(self.over.wall, self.under.wall)
        ratio, met = statistics.median(pairs), None
        if self.aim is not None:
            relation, bound = self.aim
            met = {"≤": ratio <= bound, "≥": ratio >= bound, "factor": 1 / bound <= ratio <= bound}[relation]
        cpu = _pairs(self.over.cpu, self.under.cpu)
        return {
            "name": self.name,
            "ratio": ratio,
            "quartiles": np.quantile(pairs, [0.25, 0.75]).tolist(),
            "cpu_ratio": statistics.median(cpu) if cpu else None,
            "repetitions": len(pairs),
            "aim": " ".join(map(str, self.aim)) if self.aim else None,
            "met": met,
            "note": self.note,
            "seconds_over": vars(self.over),
            "seconds_under": vars(self.under),
            **self.about,
        }


def _pairs(over: list[float], under: list[float]) -> list[float]:
    return [a / b for a, b in zip(over, under, strict=True)]


def take_turns(
    variants: Mapping[str, Callable[[], object]], repetitions: int, device: torch.device | None = None
) -> dict[str, Seconds]:
    """Seconds of each variant in each repetition, after one round that is not counted; the first to go rotates."""
    names = list(variants)
    seconds = {name: Seconds() for name in names}
    for repetition in range(-1, repetitions):
        shift = repetition % len(names)
        for name in names[shift:] + names[:shift]:
            begun, cpu_begun = time.perf_counter(), _cpu_seconds()
            variants[name]()
            if device is not None and device.type == "cuda":
                torch.cuda.synchronize(device)
            if repetition >= 0:
                seconds[name].wall.append(time.perf_counter() - begun)
                seconds[name].cpu.append(_cpu_seconds() - cpu_begun)
    return seconds


def _cpu_seconds() -> float:
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def machine(device: torch.device) -> dict[str, Any]:
    """Facts without which seconds say little; `load_average` tells whether others worked at the same time."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
