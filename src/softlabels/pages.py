"""What README and docs show of files and of the code itself, so that no number there is typed by hand.

`python -m softlabels.pages` writes every block and page anew; a test compares them with what is there. A block stands
between `<!-- made: <name> -->` and `<!-- end -->`; its function is below, under the same name.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from softlabels.papers import coverage

MINUS = "−"


def signed(value: float, digits: int = 2) -> str:
    """`+0.12`, `−0.30`."""
    return f"{value:+.{digits}f}".replace("-", MINUS)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [" | ".join(line).replace(" |  |", " | |") for line in (head, ["---"] * len(head), *rows)]
    return "\n".join(f"| {line} |".replace("  |", " |") for line in lines)


def audit(root: Path) -> str:
    """Some rows of `softlabels audit --scale paper`, which needs no data."""
    from softlabels.grid.audit import audit as run_audit
    from softlabels.grid.audit import render
    from softlabels.grid.config import read_yaml
    from softlabels.grid.expand import load_plan

    plan = load_plan({**read_yaml(root / "config.yaml"), "scale": "paper"}, root)
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


def mnist_methods(root: Path) -> str:
    """The table of docs/results/ablations_mnist.md."""
    folder = root / "docs" / "results"
    best = pd.read_csv(folder / "ablations_mnist_best.csv", keep_default_na=False)
    rows = []
    for place, own in pd.read_csv(folder / "ablations_mnist_methods.csv").groupby(["facet", "method"], sort=False):
        of, (facet, method) = own.set_index("metric"), place
        top1, beside = of.loc["top1"], best[(best["facet"] == facet) & (best["method"] == method)].iloc[0]
        gain: str = "" if pd.isna(top1.gain) else f"{signed(top1.gain)} ({signed(top1.low)} to {signed(top1.high)})"
        name = f"{method}, {beside.settings}" if beside.settings else str(method)
        accuracy = f"{top1['mean']:.2f} ± {top1['std']:.2f} ({beside.best:.2f})"
        errors = [f"{of.loc[metric]['mean']:.3f}" for metric in ("ece20", "nll")]
        rows.append(["all" if facet == "mnist / mlp" else "2000", name, accuracy, gain, *errors])
    return _table(
        ["data", "targets", "test accuracy: last ± std (best)", "minus labels", "ECE, 20 bins", "NLL, nats"], rows
    )


def cifar10(root: Path) -> str:
    """The table of docs/results/ablations_cifar10.md."""
    from softlabels.figures.intervals import bounds

    found = pd.read_csv(root / "docs" / "results" / "ablations_cifar10.csv")
    names = {"ce": "hard labels", "ls": "label smoothing, 0.15", "beta_smoothing": "Beta smoothing"}
    last = found[found["checkpoint"] == "last"].pivot(index=["method", "seed"], columns="metric", values="value")
    best = found[(found["checkpoint"] == "best") & (found["metric"] == "top1")].groupby("method")["value"].mean()
    rows = []
    for method, name in names.items():
        own = last.loc[method]
        apart = (own["top1"] - last.loc["ce"]["top1"]).dropna().to_list()
        low, high = bounds(apart)
        within = f" ({signed(low)} to {signed(high)})" if low > float("-inf") else f" (n = {len(apart)}: too few)"
        accuracy = f"{own['top1'].mean():.2f} ± {own['top1'].std():.2f} ({best[method]:.2f})"
        gain = "" if method == "ce" else signed(sum(apart) / len(apart)) + within
        ece, nll = (f"{own[metric].mean():.3f}" for metric in ("ece20", "nll"))
        rows.append([name, str(len(own)), accuracy, gain, ece, nll])
    rows.append(["self-distillation", "0", "not finished", "", "", ""])
    columns = ["test accuracy ± std, % (best checkpoint)", "minus hard labels, paired, 95 %"]
    return _table(["targets", "n", *columns, "ECE, 20 bins", "NLL, nats"], rows)


def commands(root: Path) -> str:
    """The page of every command, from the help texts."""
    from softlabels.cli import _parser

    parser = _parser()
    lines = [
        "# Commands",
        "",
        "Every rule calls one of these, and so can you. Exit codes: 0 done, 1 an error, 2 a wrong call or",
        "configuration, 75 stopped with its state saved (run it again). This page is made from the help texts.",
        "",
    ]
    (choices,) = (a.choices for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    for name, command in choices.items():
        command.formatter_class = lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=100)
        lines += [f"## {name}", "", "```", command.format_help().rstrip(), "```", ""]
    return "\n".join(lines).rstrip() + "\n"


BLOCKS: Mapping[str, Callable[[Path], str]] = {
    "audit": audit,
    "fig5": fig5,
    "in_print": in_print,
    "mnist_methods": mnist_methods,
    "cifar10": cifar10,
}
PAGES: Mapping[str, Callable[[Path], str]] = {"docs/coverage.md": coverage.page, "docs/commands.md": commands}


def filled(page: Path, root: Path) -> str:
    """The text of a page with every block made anew."""

    def block(match: re.Match[str]) -> str:
        return f"<!-- made: {match[1]} -->\n{BLOCKS[match[1]](root)}\n<!-- end -->"

    return re.sub(r"<!-- made: (\w+) -->\n.*?<!-- end -->", block, page.read_text(encoding="utf-8"), flags=re.DOTALL)


def outdated(root: Path) -> dict[Path, str]:
    """Pages that say something else than they would now, and what they would say."""
    texts = {page: filled(page, root) for page in [root / "README.md", *sorted((root / "docs").rglob("*.md"))]}
    texts |= {root / name: made(root) for name, made in PAGES.items()}
    there = {page: page.read_text(encoding="utf-8") for page in texts if page.is_file()}
    return {page: text for page, text in texts.items() if there.get(page) != text}


if __name__ == "__main__":
    for page, text in outdated(Path.cwd()).items():
        page.write_text(text, encoding="utf-8")
        print(page.relative_to(Path.cwd()))
