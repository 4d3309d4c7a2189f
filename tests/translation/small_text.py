"""A few hundred pairs of the corpus of the demo as a user's own text, and runs that train on them within seconds."""

from __future__ import annotations

import dataclasses
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from softlabels import tensors
from softlabels.cli import main
from softlabels.files import read_json, write_json
from softlabels.grid.files import write_plan
from softlabels.grid.identity import CacheNeed, dataset_id, needed_cache, run_id
from softlabels.grid.parts.translation import CorpusSpec, TranslationRecipe
from softlabels.grid.plan import Plan
from softlabels.grid.spec import Distill, Hard, ModelSpec, Run, Targets, Teacher, TranslationSpec, to_dict
from softlabels.layout import Layout
from softlabels.translation.corpus.parallel import Pair, write_pairs
from softlabels.translation.corpus.prepare import prepare
from softlabels.translation.corpus.readers import fingerprint
from softlabels.translation.corpus.sentences import load_pairs
from softlabels.translation.network import Corpus, Translator, load

ROOT = Path(__file__).parents[2]
LANGUAGES = ("en", "de")
SIZES = {"train": 300, "val": 37, "test": 41}  # no multiples of 8, which fairseq would like batches to be
TYPES = 144
"""V of these pairs with 80 merges."""
TOKENS = 8156
"""Target tokens of their training part."""
NETWORK = ModelSpec("transformer_tiny", (("dim", 32), ("ffn", 64), ("heads", 2), ("layers", 1)))
RECIPE = TranslationRecipe(
    max_tokens=400,
    lr=0.005,
    warmup_updates=10,
    updates=60,
    validate_updates=15,
    weight_decay=1e-4,
    clip_norm=1.0,
    update_freq=2,
)


@cache
def sentences() -> dict[str, list[Pair]]:
    """The corpus of the demo, read once per process."""
    return load_pairs()


def write_text(folder: Path, **changed: Sequence[Pair]) -> None:
    """`folder/{train,val,test}.{en,de}`: the first pairs of each split, but for those that are given."""
    for split, count in SIZES.items():
        write_pairs(folder / split, LANGUAGES, changed.get(split, sentences()[split][:count]))


def corpus_of(folder: Path, **fields: Any) -> CorpusSpec:
    """The text of a folder as a corpus. Its checksum is declared, so its path is no part of its identity."""
    given: dict[str, Any] = {split: str(folder / split) for split in SIZES}
    given |= {"source": "en", "target": "de", "tokenise": False, "num_subwords": 80}
    given |= {"train_tokens": TOKENS, "vocabulary": TYPES, "train_pairs": SIZES["train"]}
    spec = CorpusSpec("parallel", **given | fields)
    return dataclasses.replace(spec, sha256=fingerprint(spec, Path()))


def recipe(**changes: Any) -> TranslationRecipe:
    return dataclasses.replace(RECIPE, **changes)


def network(**options: Any) -> ModelSpec:
    """`NETWORK` with other options."""
    return ModelSpec(NETWORK.name, tuple(sorted((dict(NETWORK.options) | options).items())))


@dataclass(frozen=True)
class Project:
    """A results folder with one prepared corpus, and the real commands on it, in this process."""

    root: Path
    corpus: CorpusSpec

    @classmethod
    def create(cls, root: Path, **fields: Any) -> Project:
        """Text and prepared corpus; nothing trained."""
        write_text(root / "text")
        return cls.of(root, **fields)

    @classmethod
    def of(cls, root: Path, **fields: Any) -> Project:
        """The text that is there, prepared."""
        project = cls(root, corpus_of(root / "text", **fields))
        prepare(project.corpus, project.data)
        return project

    def copy(self, root: Path) -> Project:
        """One of one's own to break."""
        shutil.copytree(self.root / "results", root / "results", symlinks=True)
        return Project(root, self.corpus)

    @property
    def layout(self) -> Layout:
        return Layout(self.root / "results" / "tiny")

    @property
    def data(self) -> Path:
        return self.layout.data(dataset_id(self.corpus))

    def run(self, targets: Targets | None = None, **fields: Any) -> TranslationSpec:
        """A run on the corpus: `NETWORK` with hard labels by `RECIPE`, unless told otherwise."""
        parts: dict[str, Any] = {"model": NETWORK, "recipe": RECIPE, "task": "translation"} | fields
        return TranslationSpec(dataset=self.corpus, targets=targets or Hard(), **parts)

    def student(self, teacher: TranslationSpec, temperature: float = 2.0, **options: Any) -> TranslationSpec:
        fields = {name: options.pop(name) for name in ("model", "recipe") if name in options}
        checkpoint = options.pop("checkpoint", "last")
        return self.run(Distill(Teacher(teacher, checkpoint=checkpoint), temperature, **options), **fields)

    def specify(self, *runs: Run) -> None:
        """Write the specs, as `snakemake` does when it starts."""
        named = {run_id(run): run for run in runs}
        plan = Plan("tiny", {}, named, dict.fromkeys(named, (0,)), flops_per_second=1e9)
        write_plan(plan, self.layout.root / "specs")

    def outputs(self, command: str, *runs: Run, seeds: Iterable[int] = (0,)) -> list[str]:
        """The command's name and its paths: records of trainings, or manifests of the caches that students read."""
        if command == "train":
            paths = [self.layout.run(run_id(run), seed) / "run.json" for run in runs for seed in seeds]
        else:
            paths = [self.layout.cache(need_of(run).id, seed) / "manifest.json" for run in runs for seed in seeds]
        return [command, *map(str, paths)]

    def call(self, command: str, *runs: Run, seeds: Iterable[int] = (0,), options: Sequence[str] = ()) -> int:
        """`softlabels train` or `cache`; returns the exit code."""
        self.specify(*runs)
        return main([*self.outputs(command, *runs, seeds=seeds), "--device", "cpu", *options])

    def train(self, *runs: Run, seeds: Iterable[int] = (0,)) -> None:
        """Train what the store lacks, with no checkpoint before the end; it must succeed."""
        assert self.call("train", *runs, seeds=seeds, options=["--checkpoint-seconds", "3600"]) == 0

    def cache(self, *students: Run) -> None:
        """Write the caches that students read; it must succeed."""
        assert self.call("cache", *students) == 0

    def store(self, run: Run, seed: int = 0) -> Path:
        return self.layout.store(run_id(run), seed)

    def cached(self, student: Run, seed: int = 0) -> Path:
        return self.layout.cache(need_of(student).id, seed)

    def open(self) -> Corpus:
        return Corpus.open(self.data, torch.device("cpu"))

    def translator(self, run: Run, corpus: Corpus, seed: int = 0) -> Translator:
        return load(self.store(run, seed), "last", corpus)

    def weights(self, run: Run, seed: int = 0) -> dict[str, Tensor]:
        return tensors.load(self.store(run, seed) / "weights.safetensors")[0]

    def record(self, run: Run, seed: int = 0) -> dict[str, Any]:
        record: dict[str, Any] = read_json(self.store(run, seed) / "run.json")
        return record


def need_of(student: Run) -> CacheNeed:
    need = needed_cache(student)
    assert need is not None
    return need


def own_config(project: Project, **changes: Any) -> dict[str, Any]:
    """A configuration with a grid of one's own: a teacher, and a student of its 4 largest logits at T = 2."""
    targets = {"kind": "distill", "temperature": "$T", "cache": "topk_lse", "top_k": 4}
    run = {"dataset": "text", "model": "small", "recipe": "short"}
    told = {"what": "translations", "split": "test"}
    grid = {
        "paper": "own",
        "datasets": {"text": to_dict(project.corpus)},
        "models": {"small": {"name": "transformer_tiny"}},
        "recipes": {"short": {"max_tokens": 400, "lr": 0.005, "warmup_updates": 10, "updates": 30}},
        "families": {
            "teachers": {"run": run | {"targets": {"kind": "hard"}}},
            "students": {"axes": {"T": [2]}, "run": run | {"targets": targets | {"teacher": {"family": "teachers"}}}},
        },
        "artifacts": {
            "one": {
                "title": "One", "kind": "figure", "plot": "truncation", "families": ["teachers", "students"],
                "probes": {"teachers": told, "students": told}, "seeds": 1,
            }
        },
    }  # fmt: skip
    return {"scale": "demo", "papers": [], "grid": grid} | changes


def audit_of(config: dict[str, Any], path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """`softlabels audit` of a configuration, written to `path`; returns the exit code."""
    monkeypatch.chdir(ROOT)
    write_json(path, config)  # JSON is YAML
    return main(["audit", "--config", str(path)])


TEMPLATE = """
import json, os, sys, traceback
from importlib import import_module

import softlabels.training.job, softlabels.training.probes, softlabels.translation.job
import softlabels.translation.criterion, fairseq_cli.train
from softlabels.cli import main


def kill_in(call):  # "module:name:n" or "module:name:n:after"
    where, name, left, *after = call.split(":")
    *path, name = name.split(".")
    holder = import_module(where)
    for part in path:
        holder = getattr(holder, part)
    function, left = getattr(holder, name), int(left)

    def counted(*arguments, **options):
        nonlocal left
        left -= 1
        if left == 0 and not after:
            os.kill(os.getpid(), 9)
        result = function(*arguments, **options)
        if left == 0:
            os.kill(os.getpid(), 9)
        return result

    setattr(holder, name, counted)


for line in sys.stdin:
    arguments, log, before = json.loads(line)
    child = os.fork()
    if child == 0:
        with open(log, "wb") as file:
            for stream in (1, 2):
                os.dup2(file.fileno(), stream)
        os.close(0)
        code = 1
        try:
            exec(before)
            code = main(arguments)
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    print(child, flush=True)
    sys.stdin.readline()  # its process id has been taken
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Forge:
    """A process that has imported torch and fairseq, and forks one that runs a command, which so begins in a moment."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", TEMPLATE]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)

    def start(self, arguments: Sequence[str], log: Path, before: str = "") -> None:
        """Run `softlabels` with these arguments, one at a time, after some code.

        That code may call `kill_in("module:name:n")`: SIGKILL when a function is called the nth time, or when it has
        returned then ("module:name:n:after").
        """
        assert self._process.stdin is not None
        self._process.stdin.write((json.dumps([list(arguments), str(log), before]) + "\n").encode())
        self._child = os.pidfd_open(self.wait())  # no other process can be meant by it
        self._process.stdin.write(b"\n")

    def hit(self, number: signal.Signals) -> None:
        """Send a signal to the command."""
        signal.pidfd_send_signal(self._child, number)

    def run(self, arguments: Sequence[str], log: Path, before: str = "") -> int:
        """The same to its end; returns its exit status."""
        self.start(arguments, log, before)
        return self.wait()

    def ended(self) -> bool:
        """Whether the command has ended."""
        return bool(select.select([self._process.stdout], [], [], 0)[0])

    def wait(self) -> int:
        """Its exit status, negative for a signal."""
        assert self._process.stdout is not None
        assert select.select([self._process.stdout], [], [], 900)[0], "the command does not end"
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
