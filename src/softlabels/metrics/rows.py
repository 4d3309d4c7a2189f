"""The tidy rows of `results/<scale>/metrics.csv`, and the logits they are computed from."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file

from softlabels.errors import DataError, SoftlabelsError
from softlabels.files import atomic
from softlabels.grid.parts.label_targets import (
    AverageDistill,
    BetaSmoothing,
    CustomLoss,
    EntropyBonus,
    Hard,
    Smooth,
    VirtualTeacher,
)
from softlabels.grid.plan import Artifact, Member
from softlabels.grid.spec import LogitMatch, Run, UserLogits, UserNetwork
from softlabels.metrics.arrays import checked
from softlabels.metrics.calibration import ece
from softlabels.metrics.classification import error, nll, top_k_accuracy
from softlabels.papers.names import in_print

KEY = (
    "paper", "artifact", "dataset", "task", "method", "teacher", "student",
    "teacher_alpha", "student_alpha", "kd_temperature", "kd_beta", "split", "metric", "target_class",
)  # fmt: skip
"""The columns of the published numbers by which ours join them; `target_class` is empty where a number is of all."""
COLUMNS = (*KEY, "value", "run_id", "seed", "checkpoint", "scale", "stands_for")
NUMBERS = ("teacher_alpha", "student_alpha", "kd_temperature", "kd_beta", "value")

ECE_BINS = {"ece": 15, "ece20": 20}
"""Bins of each calibration error: of Müller et al., and of the code of Zhang & Sabuncu."""
TOP5_CLASSES = 10
"""Top-5 accuracy is reported from this many classes on; below, it says next to nothing."""


def key_columns(artifact: Artifact, member: Member, run_id: str, scale: str) -> dict[str, str]:
    """The columns of a row that its run decides: all but split, metric, value, seed and checkpoint.

    Every value is text as in the published table: α and β with a decimal (`0.0`), T without (`3`, `inf` for
    logit matching, empty where it is solved for), empty where there is nothing to say. `method` is the paper's name
    where its grid gives one. `student` is the network
    measured, `student_alpha` its own smoothing; a distilled student has none unless its hard term is smoothed.
    """
    run = member.run
    listed, replaced = in_print(run, dict(member.published))
    return {
        "paper": artifact.paper,
        "artifact": artifact.name,
        "task": run.task,
        **listed,
        **_targets(run),
        **({"method": named} if (named := dict(member.published).get("method")) else {}),
        "run_id": run_id,
        "scale": scale,
        "stands_for": ";".join(f"{what}={name}" for what, name in replaced.items()),
    }


def published_key(row: Mapping[str, Any]) -> dict[str, Any]:
    """The key of a row (`KEY`) with the paper's names in place of what the scale put there (`stands_for`)."""
    replaced = dict(item.split("=", 1) for item in row["stands_for"].split(";") if item)
    return {column: replaced.get(column, row[column]) for column in KEY if column in row}


def published_keys(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """`published_key` of each row."""
    return [published_key({str(k): v for k, v in row.items()}) for row in rows.to_dict("records")]


def replaces_class(stands_for: object) -> bool:
    """Whether `stands_for` says that a class of ours stands in for one of the paper's."""
    return "target_class=" in str(stands_for)


def standard_rows(
    logits: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray]
) -> list[tuple[str, str, str, float]]:
    """(split, checkpoint, metric, value) for logits {"val/last": [N, K], …} and labels {"val": [N], …}.

    top1, top5 (from 10 classes on) and error in percent; nll in nats; ece (15 bins) and ece20 (20 bins) as
    fractions; num_examples, of which one is the least that a share can change by.

    Raises:
        DataError: logits and labels do not fit.
    """
    rows = []
    for name, z in sorted(logits.items()):
        split, checkpoint = name.split("/")
        y = labels[split]
        values = {"top1": top_k_accuracy(z, y), "error": error(z, y), "nll": nll(z, y)}
        if z.shape[1] >= TOP5_CLASSES:
            values["top5"] = top_k_accuracy(z, y, k=5)
        values |= {metric: ece(z, y, bins) for metric, bins in ECE_BINS.items()} | {"num_examples": len(y)}
        rows += [(split, checkpoint, metric, value) for metric, value in values.items()]
    return rows


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows with exactly `COLUMNS`, in that order, atomically.

    Raises:
        SoftlabelsError: a row lacks a column or has another, or the file cannot be written.
    """
    listed = list(rows)
    for row in listed:
        if wrong := set(COLUMNS) ^ set(row):
            raise SoftlabelsError(f"a row for {path} lacks or should not have: {', '.join(sorted(wrong))}")
    with atomic(path) as part:
        pd.DataFrame(listed, columns=list(COLUMNS)).to_csv(part, index=False)


def read_rows(path: Path) -> pd.DataFrame:
    """Read rows: α, β, T (`inf` for logit matching) and value as numbers, NaN where empty; text stays text.

    Raises:
        SoftlabelsError: the file is missing, cut off, or lacks a column.
    """
    try:
        text = path.read_text(encoding="utf-8")
        frame = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise SoftlabelsError(f"{path} does not exist; make it with snakemake first") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as bad:
        raise SoftlabelsError(f"{path} is no table ({bad}); delete it to have it made again") from None
    if missing := [column for column in COLUMNS if column not in frame]:
        raise SoftlabelsError(f"{path} has no column {missing[0]}; delete it to have it made again")
    try:
        for column in NUMBERS:
            frame[column] = pd.to_numeric(frame[column])
        if not text.endswith("\n"):  # every line that is whole has an end
            raise ValueError("its last line is cut off")
        return frame.astype({"seed": int})
    except ValueError as bad:
        raise SoftlabelsError(f"{path} was not written to its end ({bad}); delete it to have it made again") from None


def read_predictions(path: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Logits {"val/last": `[N, K]`, "val/best", "test/last", …} and labels {"val": `[N]`, "test"} of a run.

    A run without a validation split has no `val`.

    Raises:
        DataError: the file is missing or damaged, has logits without labels, or labels that do not fit.
    """
    tensors = load_tensors(path)
    labels = {n.removesuffix("/labels"): t for n, t in tensors.items() if n.endswith("/labels")}
    logits = {n: t for n, t in tensors.items() if not n.endswith("/labels")}
    if not logits:
        raise DataError(f"{path} holds no logits; delete it to have it made again")
    for name, z in logits.items():
        split = name.split("/")[0]
        if split not in labels:
            raise DataError(f"{path} holds {name} but not {split}/labels; delete it to have it made again")
        try:
            checked(z, labels[split])
        except DataError as bad:
            raise DataError(f"{path}, {name}: {bad}") from None
    return logits, labels


def read_probe(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a probe (`grid.parts.probes.Probe`): labels and ids `[M]`, `logits/<checkpoint>` `[M, V, K]`, ….

    One of chosen tokens (`grid.parts.probes.Tokens`) has features and head, and no logits.

    Raises:
        DataError: the file is missing or damaged, or its tensors do not belong together.
    """
    tensors = load_tensors(path)
    for name in ("labels", "ids"):
        if name not in tensors:
            raise DataError(f"{path} holds no {name}; delete it to have it made again")
    labels = tensors["labels"]
    for name, tensor in tensors.items():
        if name.startswith(("logits/", "features/")):
            if tensor.ndim != 3 or len(tensor) != len(labels):
                raise DataError(f"{path}, {name}: {list(tensor.shape)} does not fit {len(labels)} labels")
            if name.startswith("logits/") and len(labels) and labels.max() >= tensor.shape[2]:
                raise DataError(f"{path}, {name}: label {labels.max()} but only {tensor.shape[2]} classes")
        if name.startswith("features/"):
            _check_head(path, tensors, name.removeprefix("features/"))
    return tensors


def _check_head(path: Path, tensors: Mapping[str, np.ndarray], checkpoint: str) -> None:
    """Features have the last layer that they enter: weight `[K, d]`, bias `[K]`, a class for every label."""
    for name in ("head.weight", "head.bias"):
        if f"{name}/{checkpoint}" not in tensors:
            raise DataError(f"{path} holds no {name}/{checkpoint}; delete it to have it made again")
    weight, bias = tensors[f"head.weight/{checkpoint}"], tensors[f"head.bias/{checkpoint}"]
    width, labels = tensors[f"features/{checkpoint}"].shape[2], tensors["labels"]
    if weight.ndim != 2 or weight.shape[1] != width or bias.shape != (len(weight),):
        raise DataError(
            f"{path}, head.weight/{checkpoint}: {list(weight.shape)} does not fit {width} features and "
            f"{list(bias.shape)} biases; delete it to have it made again"
        )
    if len(labels) and labels.max() >= len(weight):
        raise DataError(f"{path}, head.weight/{checkpoint}: label {labels.max()} but only {len(weight)} classes")


def check_weights(path: Path, files: Mapping[str, str]) -> None:
    """Refuse a probe that other weights answered than those of its run now; one that does not say is let through.

    Args:
        path: a probe, in whose metadata `meta` (JSON) `weights` is {checkpoint label: SHA-256}.
        files: `files` of the run's `run.json`, {file: SHA-256}.

    Raises:
        DataError: a checkpoint differs from the run's, or the file is damaged.
    """
    for label, digest in read_about(path).get("weights", {}).items():
        name = "weights.safetensors" if label in ("last", "best") else f"milestones/{label}.safetensors"
        if files.get(name) != digest:
            raise DataError(f"{path} is of other weights than the run's {name}; delete it to have it made again")


def _targets(run: Run) -> dict[str, str]:
    """method, α of student and teacher, T and β."""
    targets = run.targets
    values = dict.fromkeys(("teacher_alpha", "student_alpha", "kd_temperature", "kd_beta"), "")
    if isinstance(targets, Hard | Smooth):
        smooth = isinstance(targets, Smooth)
        return {"method": "ls" if smooth else "ce", **values, "student_alpha": _alpha(run)}
    if isinstance(targets, EntropyBonus):
        return {"method": targets.kind, **values}
    if isinstance(targets, CustomLoss):
        return {"method": targets.loss.rpartition(":")[2], **values}
    values["kd_beta"] = _decimal(targets.beta)
    if isinstance(targets, BetaSmoothing):
        return {"method": targets.kind, **values}
    if isinstance(targets, VirtualTeacher | AverageDistill):
        method = "tf_kd_reg" if isinstance(targets, VirtualTeacher) else targets.kind
        return {"method": method, **values, "kd_temperature": f"{targets.temperature:g}"}
    values["teacher_alpha"] = _alpha(targets.teacher.run)
    if isinstance(targets, LogitMatch):
        return {"method": "kd", **values, "kd_temperature": "inf"}
    hard_alpha = _decimal(targets.hard_alpha) if targets.hard_alpha else ""
    return {
        "method": "kd" if targets.features is None else f"{targets.features.kind}_kd",
        **values,
        "student_alpha": hard_alpha,
        "kd_temperature": "" if targets.is_solved else f"{targets.temperature:g}",
    }


def _alpha(run: Run | UserNetwork | UserLogits) -> str:
    """α of a run trained on labels; nothing of one trained otherwise or elsewhere."""
    targets = run.targets if isinstance(run, Run) else None
    if isinstance(targets, Smooth):
        return _decimal(targets.alpha)
    return "0.0" if isinstance(targets, Hard) else ""


def _decimal(value: float) -> str:
    """0.1, 0.15, 1.0: as printed, also for a value that arithmetic left at 0.30000000000000004."""
    return str(float(f"{value:.10g}"))


def read_about(path: Path) -> dict[str, Any]:
    """What a safetensors file tells of itself in its metadata, under `meta`; empty where it tells nothing.

    Raises:
        DataError: the file is damaged.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            about: dict[str, Any] = json.loads((file.metadata() or {}).get("meta", "{}"))
    except (SafetensorError, OSError, ValueError) as bad:
        raise DataError(f"{path} is damaged ({bad}); delete it to have it made again") from None
    return about


def load_tensors(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        return load_file(path)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; make it with snakemake first") from None
    except (SafetensorError, OSError, ValueError) as bad:
        raise DataError(f"{path} is damaged ({bad}); delete it to have it made again") from None
