"""Blocks of README.md and docs/, and the page of commands, from files and from the code itself."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from softlabels.grid.config import read_yaml
from softlabels.grid.expand import load_plan
from softlabels.grid.plan import Plan
from softlabels.pages.cells import signed


@cache
def _plan(root: Path) -> Plan:
    """The plan of everything at the scale `paper`."""
    return load_plan({**read_yaml(root / "config.yaml"), "scale": "paper"}, root)


def audit(root: Path) -> str:
    """Some rows of `softlabels audit --scale paper`, which needs no data."""
    from softlabels.grid.audit import audit as run_audit
    from softlabels.grid.audit import render

    plan = _plan(root)
    lines = render(run_audit(plan, root / "nothing")).splitlines()[1:]
    shown = {
        "muller2019": ("table2", "fig4", "fig5"), "chandrasegaran2022": ("table2a", "table5"), "yuan2020": ("table4",),
        "zhang2020": ("fig1",), "ablations": ("truncation",),
    }  # fmt: skip
    ids = {f"{paper}.{name}" for paper, names in shown.items() for name in names}
    kept: list[str] = lines[:2]
    for line in lines[2:]:
        if line.split()[0] in ids or not line[0].islower() or line.startswith("all,"):
            kept.append(line)
        elif kept[-1] != "…":
            kept.append("…")
    return "```\n" + "\n".join(line.rstrip() for line in kept) + "\n```"


def fig5(root: Path) -> str:
    """What Figure 5 shows at the demo scale."""
    cells = pd.read_csv(root / "docs" / "images" / "fig5_demo.csv")
    alone = cells[cells["curve"] == "baseline"].set_index("alpha")["mean"]
    taught = cells[cells["curve"].isin(["kd_hard", "kd_smooth"])]
    at_one = cells[(cells["curve"] == "kd_smooth")].set_index("alpha")["mean"]
    soft = sorted(alpha for alpha in at_one.index if alpha > 0)
    best = {name: own["mean"].max() for name, own in taught.groupby(taught["alpha"] > 0)}
    top, gain = taught["mean"].max(), taught["mean"].max() - alone.max()
    smoothed, students, others = (
        ", ".join(f"{value:.{digits}f}".rstrip("0").rstrip(".") if digits == 2 else f"{value:.1f}" for value in values)
        for digits, values in ((2, soft), (1, at_one[soft]), (1, alone[soft]))
    )
    said, seeds = "better" if gain > 0 else "not better", cells["n"].min()
    lines = (
        f"* The best distilled student is {said} than the best one without a teacher: {top:.1f} against",
        f"  {alone.max():.1f} %, {signed(gain, 1)} points (of hard-label teachers {best[False]:.1f},",
        f"  of smoothed ones {best[True]:.1f} %).",
        f"* At T = 1 students of teachers smoothed by {smoothed} reach {students} %, that of the",
        f"  hard-label teacher {at_one[0.0]:.1f} %. Without a teacher, at the same α, it is {others} %, and",
        f"  {alone[0.0]:.1f} % with hard labels.",
        f"* Means of {seeds} seeds. One of the 189 validation images is {100 / 189:.1f} points; most ranges overlap.",
    )
    return "\n".join(lines)


def in_print(root: Path) -> str:
    """What the papers' own numbers say of their claims."""
    from softlabels.metrics.rows import COLUMNS, NUMBERS
    from softlabels.papers.verdicts import judge, table

    nothing = pd.DataFrame(columns=list(COLUMNS)).astype({**dict.fromkeys(NUMBERS, float), "seed": int})
    found = table(judge(nothing, "paper", "no metrics"), "paper")["in_print"].value_counts()
    return (
        f"On the numbers that the papers print themselves, {found['holds']} of the {found.sum()} claims hold and\n"
        f"{found['partly']} hold in part; of {found['not checkable']} nothing is printed that could decide them."
    )


def commands(root: Path) -> str:
    """The page of every command, from the help texts."""
    from softlabels.cli import parser

    lines = [
        "# Commands",
        "",
        "Every rule calls one of these, and so can you. Exit codes: 0 done, 1 an error, 2 a wrong call or",
        "configuration, 75 stopped with its state saved (run it again). This page is made from the help texts.",
        "",
    ]
    (choices,) = (a.choices for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
    for name, command in choices.items():
        command.formatter_class = lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=100)
        lines += [f"## {name}", "", "```", command.format_help().rstrip(), "```", ""]
    return "\n".join(lines).rstrip() + "\n"


def device_hours(root: Path) -> str:
    """What most of the device hours at the scale `paper` are spent on."""
    from softlabels.grid.jobs import Job
    from softlabels.grid.resources import Recorded
    from softlabels.grid.spec import teacher_of
    from softlabels.layout import Layout

    plan = _plan(root)
    layout = Layout(root / "nothing")
    recorded, trainings = Recorded(plan, layout), Counter[str]()
    spent: dict[str, float] = defaultdict(float)
    for name, seeds in plan.seeds.items():
        run = plan.runs[name]
        if run.dataset.name == "imagenet":
            kind = "student" if teacher_of(run) is not None else run.model.name
            spent[kind] += recorded.seconds(Job(run, seeds[0], None, layout))[0] / 3600 * len(seeds)
            trainings[kind] += len(seeds)
    names = {"student": "students", "resnext101_32x8d": "ResNeXt101", "inception_v4": "Inception-v4"}
    most = [f"{round(spent[kind], -2):.0f} of {trainings[kind]} {name}" for kind, name in names.items()]
    return f"Most of these hours are ImageNet's: some {', '.join(most)}."


def dry_run(root: Path) -> str:
    """What a dry run of one figure at the scale `paper` prints: Snakemake's table of jobs, then what they cost."""
    command = ["snakemake", "-n", "muller2019_fig5", "--config", "scale=paper", "--quiet", "rules"]
    with TemporaryDirectory() as name:  # without any results
        project = Path(name) / "project"
        project.mkdir()
        for part in ("Snakefile", "config.yaml", "rules", "workflow", "envs"):
            (project / part).symlink_to((root / part).absolute())
        binary = Path(sys.executable).with_name(command[0])
        done = subprocess.run(
            [str(binary), *command[1:]], cwd=project, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}")
    _, _, table = done.stdout.partition("Job stats:\n")
    costs = re.findall(r"^scale paper, .*:\n(?:  .*\n)+", done.stdout, re.MULTILINE)[-1]
    lines = f"$ {' '.join(command)}\n…\n{table.partition(chr(10) * 2)[0]}\n…\n{costs.rstrip()}"
    return "```\n" + re.sub(r"[\d.]+ [kMGT]?B free", "… free", lines) + "\n```"


TIMED = {"setup": "Set-up takes", "demo": "`make demo` takes", "demo-full": "`make demo-full` takes"}


def demo_time(root: Path) -> str:
    """How long set-up and the demos took: the last measurement on each machine."""
    times = pd.read_csv(root / "docs" / "results" / "demo_time.csv")
    lines = []
    for what, takes in TIMED.items():
        last = times[times["what"] == what].groupby("machine", sort=False, as_index=False).last().sort_values("seconds")
        if last.empty:
            continue
        least, most = (max(1, round(seconds / 60)) for seconds in (last["seconds"].min(), last["seconds"].max()))
        span = f"about {least} minute{'s' * (least > 1)}" if least == most else f"between {least} and {most} minutes"
        each = (
            f"  {row['seconds'] // 60} min {row['seconds'] % 60} s on {row['machine']} (commit {row['commit']})"
            for row in last.to_dict("records")
        )
        lines.append(f"* {takes} {span}:\n" + ",\n".join(each) + ".")
    return "\n".join(lines)
