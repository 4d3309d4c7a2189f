"""(i) An update of a translation student ÷ one by fairseq's own criterion, on the same batches; (j) the speed of
`softlabels train` ÷ that of fairseq's own command; (k) what caches weigh, and the time to write them.

Text is drawn at random: how long anything takes does not depend on what it says.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from benchmarks.measure import Ratio, Scope, Seconds, Unavailable, take_turns
from softlabels.files import write_json
from softlabels.grid.identity import dataset_id, run_id
from softlabels.grid.parse import from_dict
from softlabels.grid.parts.translation import CorpusSpec
from softlabels.grid.spec import Distill, Teacher, TranslationSpec, to_dict
from softlabels.layout import Layout
from softlabels.training import job
from softlabels.training.worker import Worker
from softlabels.translation.cache import write_cache
from softlabels.translation.compat import fairseq
from softlabels.translation.corpus.parallel import write_pairs
from softlabels.translation.corpus.prepare import prepare
from softlabels.translation.launch import corpus_arguments, network_arguments, parse, recipe_arguments
from softlabels.translation.losses import TokenLoss
from softlabels.translation.network import Corpus, Translator, load
from softlabels.translation.trainer import SavedState

UPDATE_AIM, COMMAND_AIM = ("≤", 1.15), ("≥", 0.98)
K, T = 4, 2.0
SMOOTHING = 0.1  # as fairseq spreads it, over the other types
FAIRSEQ = ["--criterion", "label_smoothed_cross_entropy", "--label-smoothing", repr(SMOOTHING)]
CACHES: dict[str, int | None] = {"features": None, "topk_drop": K, "topk_lse": K, "dense": None}
NEVER = 10**9  # updates until a validation, seconds until a checkpoint
MARK = re.compile(r"epoch (\d+) \| loss (\S+) \|.* num_updates (\d+) ")
"""The line with which fairseq ends an epoch."""


@dataclass(frozen=True)
class Size:
    """Of the text, the network, and what makes one repetition."""

    pairs: int
    types: int
    lengths: tuple[int, int]  # of source sentences; those of the target are up to a quarter longer or shorter
    network: Mapping[str, int]
    max_tokens: int
    updates: int  # of every variant in each turn
    epochs: int  # of a command, after one that is not counted


NORMAL = Size(1500, 4000, (8, 24), {"layers": 3, "dim": 256, "ffn": 512, "heads": 4}, 2048, updates=4, epochs=4)
QUICK = Size(40, 100, (3, 6), {"layers": 1, "dim": 16, "ffn": 32, "heads": 2}, 64, updates=1, epochs=1)


@dataclass(frozen=True)
class Place:
    """A folder with prepared text and a trained teacher, as the workflow would leave them."""

    size: Size
    root: Path
    dataset: CorpusSpec
    device: torch.device

    @property
    def layout(self) -> Layout:
        return Layout(self.root / "results" / "bench")

    @property
    def data(self) -> Path:
        return self.layout.data(dataset_id(self.dataset))

    def spec(self, updates: int) -> TranslationSpec:
        """A run of so many updates on smoothed labels; it validates at its end alone."""
        recipe = {"max_tokens": self.size.max_tokens, "lr": 5e-4, "warmup_updates": 4000, "updates": updates}
        plain = {
            "task": "translation",
            "dataset": self.dataset,
            "model": {"name": "transformer_iwslt_de_en", "options": dict(self.size.network)},
            "targets": {"kind": "smooth", "alpha": SMOOTHING, "over": "others"},
            "recipe": recipe | {"validate_updates": NEVER},
        }
        spec = from_dict(TranslationSpec, plain, "benchmark")
        write_json(self.layout.spec(run_id(spec)), {"spec": to_dict(spec)})
        return spec

    def arguments(self, spec: TranslationSpec, seed: int, checkpoints: Path) -> list[str]:
        """fairseq's own, but for the criterion."""
        corpus = corpus_arguments(self.data, str(self.device))
        return [*corpus, *network_arguments(spec), *recipe_arguments(spec, seed, checkpoints)]


def run(scope: Scope) -> Iterator[Ratio]:
    if find_spec("fairseq") is None:
        raise Unavailable("fairseq is not installed (make setup)")
    with TemporaryDirectory() as name:
        place = _prepare(Path(name), QUICK if scope.quick else NORMAL, scope.device)
        teacher = place.spec(updates=1)
        with _quiet():  # what caches hold does not change how long they take
            job.train(Worker(place.layout, place.device), [(run_id(teacher), 0)])
            corpus = Corpus.open(place.data, place.device)
            translator = load(place.layout.store(run_id(teacher), 0), "last", corpus)
        yield from _caches(scope, place, corpus, translator)
        bench = Updates(place, teacher, corpus)
        yield from bench.measure(scope)
        yield _commands(scope, place, bench.updates_per_epoch, corpus.manifest["tokens"]["train"]["de"])


def _prepare(root: Path, size: Size, device: torch.device) -> Place:
    """Random text of a given vocabulary, prepared as a user's own subwords."""
    draw = np.random.default_rng(0)
    words = np.array([f"w{number}" for number in range(size.types)])
    for part, count in (("train", size.pairs), ("val", 10), ("test", 10)):
        sources = draw.integers(*size.lengths, count, endpoint=True)
        targets = np.rint(sources * draw.uniform(0.75, 1.25, count)).astype(int)
        lengths = zip(sources.tolist(), targets.tolist(), strict=True)
        text = ((" ".join(draw.choice(words, s)), " ".join(draw.choice(words, t))) for s, t in lengths)
        write_pairs(root / "text" / part, ("en", "de"), text)
    train, val, test = (str(root / "text" / part) for part in ("train", "val", "test"))
    text_of = {"source": "en", "target": "de", "train": train, "val": val, "test": test}
    plain = {"name": "parallel", **text_of, "subwords": "given", "tokenise": False}
    dataset = from_dict(CorpusSpec, plain, "benchmark")
    place = Place(size, root, dataset, device)
    with _quiet():
        prepare(dataset, place.data)
    return place


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    quiet = io.StringIO()
    with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        yield


# ---------------------------------------------------------------- caches


def _caches(scope: Scope, place: Place, corpus: Corpus, translator: Translator) -> Iterator[Ratio]:
    variants: dict[str, Callable[[], None]] = {"forward": partial(_forward, corpus, translator)}
    variants |= {kind: partial(_write, place, corpus, translator, kind) for kind in CACHES}
    seconds = take_turns(variants, scope.repetitions, scope.device)
    tokens = corpus.manifest["tokens"]["train"]["de"]
    per_million = {name: statistics.median(s.wall) / tokens * 1e6 for name, s in seconds.items()}
    for kind in CACHES:
        sizes = {path.name: path.stat().st_size for path in cache_folder(place, kind).iterdir()}
        once = sizes.pop("output.npy", 0) + sizes.pop("manifest.json") + sizes.pop("shards.json")
        about = {"tokens": tokens, "bytes_per_token": sum(sizes.values()) / tokens, "bytes_once": once}
        note = (
            f"{about['bytes_per_token']:.1f} bytes per token and {once / 1e6:.2f} MB once; "
            f"{per_million[kind]:.0f} s per million tokens, the forward pass {per_million['forward']:.0f} s"
        )
        title = f"cache {_label(kind)}: writing it ÷ plain forward pass"
        yield Ratio(title, seconds[kind], seconds["forward"], None, about, note)


@torch.no_grad()
def _forward(corpus: Corpus, translator: Translator) -> None:
    """Every logit of the training text, none kept."""
    for sample in corpus.batches("train"):
        translator.network(**sample["net_input"])


def cache_folder(place: Place, kind: str) -> Path:
    return place.root / "caches" / kind


def _write(place: Place, corpus: Corpus, translator: Translator, kind: str) -> None:
    """A cache anew: what is there would only be checked."""
    folder = cache_folder(place, kind)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with _quiet():
        write_cache(folder, translator, corpus, kind=kind, k=CACHES[kind], temperature=T, about={})


def _label(kind: str) -> str:
    return kind if CACHES[kind] is None else f"{kind} k={CACHES[kind]}"


# ---------------------------------------------------------------- updates


class Updates:
    """Trainers of fairseq's that take turns on one list of batches."""

    def __init__(self, place: Place, teacher: TranslationSpec, corpus: Corpus) -> None:
        self.place, self.teacher, self.corpus = place, teacher, corpus
        self.trainers = {"plain": self._trainer(FAIRSEQ)}
        epoch = self.trainers["plain"].get_train_iterator(epoch=1)
        batches = list(epoch.next_epoch_itr(shuffle=True))
        self.updates_per_epoch = len(batches)
        self.batches = batches[: place.size.updates]
        store = place.layout.store(run_id(teacher), 0)
        self.trainers["online"] = self._student("online", 1.0, ["--kd-teacher", str(store)])
        self.cached = {f"cached {_label(kind)}": (kind, 1.0) for kind in CACHES}
        self.cached["cached features, β 0.9"] = ("features", 0.9)
        for name, (kind, beta) in self.cached.items():
            self.trainers[name] = self._student(kind, beta, ["--kd-cache", str(cache_folder(place, kind))])

    def measure(self, scope: Scope) -> Iterator[Ratio]:
        """Each student ÷ plain and ÷ the teacher online; a save ÷ plain."""
        variants: dict[str, Callable[[], None]] = {name: partial(self._advance, name) for name in self.trainers}
        state = SavedState(self.place.root / "state", "benchmark", 0)
        state.folder.mkdir()
        variants["save"] = partial(state.save, self._save, [], None)
        seconds = take_turns(variants, scope.repetitions, scope.device)
        count = len(self.batches)
        tokens = sum(int(batch["ntokens"]) for batch in self.batches)
        about = {"updates": count, "tokens": tokens, "vocabulary": self.corpus.vocabulary, "temperature": T}
        plain, online = seconds["plain"], seconds["online"]
        note: str | None = (
            f"plain: {statistics.median(plain.wall) / count:.2f} s an update of {tokens // count} target tokens"
        )
        for name in self.cached:
            yield Ratio(f"update {name} ÷ plain", seconds[name], plain, UPDATE_AIM, about, note)
            note = None
        for name in self.cached:
            yield Ratio(f"update {name} ÷ teacher online", seconds[name], online, None, about)
        yield Ratio("update teacher online ÷ plain", online, plain, None, about)
        saved = statistics.median(seconds["save"].wall)
        note = f"{saved:.2f} s: once a minute, as trainings save by default, {100 * saved / 60:.1f} % of the time"
        yield Ratio(f"saving the state ÷ {count} plain updates", seconds["save"], plain, None, about, note)

    def _student(self, cache: Any, beta: float, criterion: list[str]) -> Any:
        targets = Distill(Teacher(self.teacher), T, beta, cache=cache, top_k=CACHES.get(cache))
        loss = TokenLoss.of(targets, self.corpus.vocabulary).argument
        return self._trainer(["--criterion", "soft_targets", "--loss", loss, *criterion])

    def _trainer(self, criterion: list[str]) -> Any:
        """As `fairseq_cli.train.main` builds it."""
        fairseq()
        from fairseq.trainer import Trainer

        arguments = [*self.place.arguments(self.teacher, 0, self.place.root / "unused"), *criterion]
        torch.manual_seed(0)
        with _quiet():
            cfg, task = parse(arguments), self.corpus.task
            trainer = Trainer(cfg, task, task.build_model(cfg.model), task.build_criterion(cfg.criterion))
        trainer.begin_epoch(1)
        return trainer

    def _advance(self, name: str) -> None:
        from fairseq.logging import metrics

        with metrics.aggregate(new_root=True):
            for batch in self.batches:
                self.trainers[name].train_step([batch])

    def _save(self, path: Path) -> None:
        trainer = self.trainers["plain"]
        trainer.consolidate_optimizer()
        trainer.save_checkpoint(str(path), {})


# ---------------------------------------------------------------- commands


def _commands(scope: Scope, place: Place, updates_per_epoch: int, tokens: int) -> Ratio:
    """One epoch that is not counted, then those that are; both commands save and validate after them."""
    epochs = place.size.epochs
    spec = place.spec(updates=(2 + epochs) * updates_per_epoch)
    repetitions = min(scope.repetitions, 3)
    seconds = {"softlabels": Seconds(), "fairseq": Seconds()}
    for repetition in range(repetitions):
        output = place.layout.run(run_id(spec), repetition) / "run.json"
        checkpoints = place.root / "fairseq" / f"seed{repetition}"
        bare = place.arguments(spec, repetition, checkpoints)
        plugin = bare.index("--user-dir")
        del bare[plugin : plugin + 2]  # fairseq and nothing else
        options = ["--device", str(place.device), "--checkpoint-seconds", str(NEVER)]
        commands = {
            "softlabels": ["-m", "softlabels.cli", "train", *options, str(output)],
            "fairseq": ["-m", "fairseq_cli.train", *bare, *FAIRSEQ],
        }
        losses: dict[str, float] = {}
        for name in sorted(commands, reverse=repetition % 2 == 0):
            wall, cpu, losses[name] = _time_epochs(commands[name], epochs, (1 + epochs) * updates_per_epoch)
            seconds[name].wall.append(wall)
            seconds[name].cpu.append(cpu)
        if abs(losses["softlabels"] / losses["fairseq"] - 1) > 0.01:
            raise AssertionError(f"the two commands have trained other networks: their losses are {losses}")
    speeds = {name: epochs * tokens / statistics.median(s.wall) for name, s in seconds.items()}
    ours, theirs = speeds["softlabels"], speeds["fairseq"]
    note = f"{ours:.0f} ÷ {theirs:.0f}; start-up, validation and saving are not in them"
    about = {"tokens": epochs * tokens, "updates": epochs * updates_per_epoch}
    title = "target tokens/s, softlabels train ÷ fairseq's own command"
    # tokens per second are the inverse of seconds
    return Ratio(title, seconds["fairseq"], seconds["softlabels"], COMMAND_AIM, about, note)


def _time_epochs(command: list[str], epochs: int, updates: int) -> tuple[float, float, float]:
    """Wall and processor seconds of a training from the end of its first epoch until so many epochs later, when it is
    ended, and its loss then.

    Raises:
        RuntimeError: the command failed, or did not say that these epochs ended after so many updates.
    """
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    said, wall, cpu = [], 0.0, 0.0
    with subprocess.Popen([sys.executable, *command], env=environment, **pipes) as process:
        for line in process.stdout or ():
            said.append(line)
            found = MARK.search(line)
            if found and int(found[1]) == 1:
                wall, cpu = time.perf_counter(), _cpu_seconds(process.pid)
            elif found and int(found[1]) == 1 + epochs and int(found[3]) == updates and wall:
                seconds = time.perf_counter() - wall, _cpu_seconds(process.pid) - cpu
                process.kill()  # what follows is not timed
                return *seconds, float(found[2])
    end = "".join(said[-40:])
    raise RuntimeError(f"{' '.join(command[:3])} did not say that {updates} updates have been made:\n{end}")


def _cpu_seconds(process: int) -> float:
    """Of another process, all its threads: what clock_getcpuclockid(3) of Linux makes of its number."""
    return time.clock_gettime(~process << 3 | 2)
