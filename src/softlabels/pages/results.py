"""Tables of the pages in docs/results/, from the CSV files beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from softlabels.figures.intervals import LEVEL
from softlabels.pages.cells import interval, paired, signed, spread, table


def _results(root: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(root / "docs" / "results" / f"{name}.csv", keep_default_na=False, na_values=[""])


def _records(found: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(column): value for column, value in row.items()} for row in found.to_dict("records")]


def _by(found: pd.DataFrame, *columns: str) -> dict[Any, dict[str, Any]]:
    return {tuple(row[column] for column in columns): row for row in _records(found)}


def text_mnist(root: Path) -> str:
    """Published and own errors on MNIST, and what a smoothed teacher costs its student."""
    found, seeds = _results(root, "muller2019_text_mnist"), _results(root, "muller2019_text_mnist_seeds")
    keys = {  # network and targets → method, α of student and of teacher
        ("teacher 2×1200, dropout", "hard"): ("ce", 0.0, None),
        ("student 2×800", "of the dropout teacher"): ("kd", None, 0.0),
        ("teacher 2×1200, α = 0.1", "smoothed"): ("ls", 0.1, None),
        ("student 2×800", "of the smoothed teacher"): ("kd", None, 0.1),
    }
    rows, students, printed = [], [], []
    for (network, targets), (method, own, teacher) in keys.items():
        alpha, of = ("student_alpha", own) if teacher is None else ("teacher_alpha", teacher)
        (row,) = _records(found[(found["method"] == method) & (found[alpha] == of)])
        errors = seeds[(seeds["network"] == network) & (seeds["targets"] == targets)].sort_values("seed")["error"]
        if abs(errors.mean() - row["mean"]) > 1e-9:
            raise ValueError(f"muller2019_text_mnist.csv and …_seeds.csv differ in {network}, {targets}")
        each = f"{spread(errors, 3)} ({', '.join(f'{error:.2f}' for error in errors)})"
        best = f"{row['mean_best']:.3f} ± {row['std_best']:.3f}"
        rows.append([network, targets, f"{row['published']:.2f}", each, signed(row["difference"], 3), best])
        if teacher is not None:
            students.append(errors.to_numpy())
            printed.append(row["published"])
    apart = [round(float(difference), 4) for difference in students[1] - students[0]]
    each = f"{paired(apart)} ({', '.join(signed(difference) for difference in apart)})"
    rows.append(["students", "smoothed − dropout teacher, paired, 95 %", signed(printed[1] - printed[0]), each, "", ""])
    return table(
        [
            "network", "targets", "published error (%)", "ours, last step: mean ± std (seeds)", "ours − published",
            "ours, best validation: mean ± std",
        ],
        rows,
    )  # fmt: skip


def step_size(root: Path) -> str:
    """Accuracy of students by the way of stepping and by T."""
    found = _results(root, "ablations_step_size")
    place = ["stepping", "alpha", "temperature"]
    best = _by(_results(root, "ablations_step_size_best"), *place)
    of = _by(found[found["role"] == "student"], "quantity", *place)
    rows = []
    for way in ("SGD", "SGD, norm matched to T = 1", "Adam"):
        for temperature in (1.0, 2.0, 3.0, 64.0):
            cells = [way, f"{temperature:g}"]
            for alpha in (0.0, 0.1):
                own = of["accuracy", way, alpha, temperature]
                cells.append(f"{own['mean']:.2f} ± {own['std']:.2f} ({best[way, alpha, temperature]['best']:.2f})")
            apart = of["difference", way, 0.1, temperature]
            rows.append([*cells, interval(apart["mean"], apart["low"], apart["high"])])
    return table(
        [
            "steps", "T", "student of the hard-label teacher: last ± std (best)",
            "student of the smoothed teacher: last ± std (best)", "smoothed − hard, paired (95 % interval)",
        ],
        rows,
    )  # fmt: skip


def step_size_collapse(root: Path) -> str:
    """Seed by seed, the students that SGD as published takes to T = 64."""
    found = _results(root, "ablations_step_size_collapse").sort_values("seed")
    last, best = (", ".join(f"{value:.2f}" for value in found[column]) for column in ("last", "best"))
    which = "The five students of the hard-label teacher at T = 64 as published"
    return f"{which} end at {last} %;\ntheir best checkpoints: {best} %."


def truncation(root: Path) -> str:
    """Translation teachers, and students by T and by what was kept of the teacher, at the last checkpoint."""
    found = _results(root, "ablations_truncation")
    last = found[found["checkpoint"] == "last"].fillna({"line": "", "temperature": 0.0})
    of = last.set_index(["role", "teacher", "line", "temperature", "metric"])["mean"]
    hard, smoothed = "hard-label teacher", "smoothed teacher, α = 0.1"
    kept = {"features": "all (features)", **{f"top 4, tail {tail}": f"top 4, {tail}" for tail in ("dropped", "spread")}}
    lines = [
        (["teacher, hard labels", "", ""], ("teacher", hard, "", 0.0)),
        (["teacher, smoothed (α = 0.1)", "", ""], ("teacher", smoothed, "", 0.0)),
        *(
            (["student", f"{temperature:g}", name], ("student", hard, line, temperature))
            for temperature in (1.0, 3.0, 64.0)
            for line, name in kept.items()
        ),
    ]
    digits = {"bleu": 1, "sacrebleu": 1, "chrf": 1, "next_token_accuracy": 1, "nll": 2, "top_logit": 1}
    return table(
        [
            "network", "T", "what was kept of the teacher", "BLEU (tokens, lower case)", "sacreBLEU", "chrF2",
            "next-token accuracy (%)", "NLL (nats)", "largest − mean logit",
        ],
        [[*cells, *(f"{of[(*key, metric)]:.{n}f}" for metric, n in digits.items())] for cells, key in lines],
    )  # fmt: skip


def truncation_gpu(root: Path) -> str:
    """The decisive cells of the same on a GPU, three seeds each."""
    found = _results(root, "ablations_truncation_gpu")
    runs = {
        ".hard.": ["teacher, hard labels", "", ""],
        ".ls0.1.": ["teacher, smoothed", "", ""],
        ".kd-T1-transformer": ["student", "1", "all (features)"],
        ".kd-T1-drop4-": ["student", "1", "top 4, dropped"],
        ".kd-T64-transformer": ["student", "64", "all (features)"],
        ".kd-T64-drop4-": ["student", "64", "top 4, dropped"],
    }
    rows = []
    for part, cells in runs.items():
        own = found[found["run_id"].str.contains(part, regex=False)].sort_values("seed")
        bleu = "  ".join("–" if pd.isna(value) else f"{value:.1f}" for value in own["bleu"])
        rows.append([*cells, spread(own["val_nll_last"], 3), bleu])
    nll = "NLL of validation (nats, mean ± std, n = 3)"
    return table(["network", "T", "what was kept", nll, "BLEU of seeds 0, 1, 2"], rows)


def slurm_faults(root: Path) -> str:
    """The table that `make test-slurm` prints at its end, as kept."""
    found = pd.read_csv(root / "docs" / "results" / "slurm_faults.csv", dtype=str)
    return table(list(found.columns), found.values.tolist())


def mnist_methods(root: Path) -> str:
    """Accuracy and calibration on MNIST by kind of targets."""
    of = _by(_results(root, "ablations_mnist_methods"), "facet", "method", "metric")
    rows = []
    for beside in _records(_results(root, "ablations_mnist_best")):
        facet, method, settings = beside["facet"], beside["method"], beside["settings"]
        top1, ece, nll = (of[facet, method, metric] for metric in ("top1", "ece20", "nll"))
        gain = "" if pd.isna(top1["gain"]) else interval(top1["gain"], top1["low"], top1["high"])
        name = method if pd.isna(settings) else f"{method}, {settings}"
        accuracy = f"{top1['mean']:.2f} ± {top1['std']:.2f} ({beside['best']:.2f})"
        data = "all" if facet == "mnist / mlp" else "2000"
        rows.append([data, name, accuracy, gain, f"{ece['mean']:.3f}", f"{nll['mean']:.3f}"])
    return table(
        ["data", "targets", "test accuracy: last ± std (best)", "minus labels", "ECE, 20 bins", "NLL, nats"], rows
    )


def mnist_differences(root: Path) -> str:
    """Differences of accuracy that the table by method does not have."""
    found = _results(root, "ablations_mnist_differences")
    rows = []
    for row in _records(found):
        mean, low, high = row["mean"], row["low"], row["high"]
        rows.append([row["data"], row["what"], signed(mean) if pd.isna(low) else interval(mean, low, high)])
    return table(["data", "difference", "mean (95 % interval, paired by seed)"], rows)


def cifar10(root: Path) -> str:
    """Accuracy and calibration on CIFAR-10 as JPEG by kind of targets."""
    found = _results(root, "ablations_cifar10")
    names = {"ce": "hard labels", "ls": "label smoothing, 0.15", "beta_smoothing": "Beta smoothing"}
    last = found[found["checkpoint"] == "last"].pivot(index=["method", "seed"], columns="metric", values="value")
    best = found[(found["checkpoint"] == "best") & (found["metric"] == "top1")].groupby("method")["value"].mean()
    rows = []
    for method, name in names.items():
        own = last.loc[method]
        apart = (own["top1"] - last.loc["ce"]["top1"]).dropna().to_list()
        gain = "" if method == "ce" else paired(apart)
        ece, nll = (f"{own[metric].mean():.3f}" for metric in ("ece20", "nll"))
        rows.append([name, str(len(own)), f"{spread(own['top1'])} ({best[method]:.2f})", gain, ece, nll])
    rows.append(["self-distillation", "0", "not finished", "", "", ""])
    columns = ["test accuracy ± std, % (best checkpoint)", "minus hard labels, paired, 95 %"]
    return table(["targets", "n", *columns, "ECE, 20 bins", "NLL, nats"], rows)


def cifar10_plain_loop(root: Path) -> str:
    """Validation accuracy of a loop without this package and of ours."""
    found = _results(root, "ablations_cifar10_plain_loop")
    rows = [[r["precision"], r["initialisation"], f"{r['plain']:.1f}", f"{r['ours']:.1f}"] for r in _records(found)]
    return table(["precision", "initialisation", "plain loop, %", "ours, %"], rows)


def verdict_power(root: Path) -> str:
    """How often a true effect makes a claim hold, by its size in standard deviations over seeds.

    Of independent comparisons, corrected as by `papers.effects.combined`.
    """
    from scipy.stats import binom, nct, t

    def power(n: int, size: float, level: float = LEVEL) -> float:
        return float(nct.sf(t.isf(level, n - 1), n - 1, size * n**0.5))

    rows = []
    for n in (3, 5, 10):
        for size in (1, 2, 4):
            one, of_seven = power(n, size), power(n, size, LEVEL / 7)
            majority = float(binom.sf(3, 7, power(n, size, LEVEL / 4)))
            found = (one, one**7, one**18, majority, 1 - (1 - of_seven) ** 7)
            rows.append([str(n), str(size), *(f"{100 * share:.0f} %" for share in found)])
    names = ["seeds", "effect (std)", "one comparison", "all of 7", "all of 18", "majority of 7", "any of 7"]
    return table(names, rows)
