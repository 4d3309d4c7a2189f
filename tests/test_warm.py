"""Commands run in children of a warm process: the same bytes as alone, and no fault leaves a process or loses work."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from conftest import DIGITS

from softlabels.data.prepare import prepare
from softlabels.errors import EXIT_ERROR, EXIT_RERUN
from softlabels.files import read_json
from softlabels.grid.files import write_plan
from softlabels.grid.identity import dataset_id, needed_cache, run_id
from softlabels.grid.parts.label_targets import CustomLoss, Smooth
from softlabels.grid.parts.recipe import Augment, Optimiser, Recipe
from softlabels.grid.plan import Artifact, Member, Plan
from softlabels.grid.spec import Distill, ModelSpec, RunSpec, Teacher
from softlabels.layout import Layout
from softlabels.warm import FORKED_FROM, ONE_THREAD, OWN, VARIABLE, _family

RECIPE = Recipe(batch_size=32, steps=800, optimiser=Optimiser(lr=0.05, momentum=0.9), augment=Augment(shift=1))
NETWORK = ModelSpec("mlp", (("hidden", (32,)), ("dropout", 0.3)))
TEACHER = RunSpec(DIGITS, NETWORK, Smooth(0.1), RECIPE)
STUDENT = RunSpec(
    DIGITS,
    NETWORK,
    Distill(Teacher(TEACHER), 2.0, beta=0.5),
    Recipe(batch_size=32, steps=50, optimiser=Optimiser(0.05)),
)
CUSTOM_LOSS = RunSpec(
    DIGITS, NETWORK, CustomLoss("own_code:loss"), Recipe(batch_size=32, steps=2, optimiser=Optimiser(lr=0.05))
)
TEACHER_ID, STUDENT_ID, OWN_ID = map(run_id, (TEACHER, STUDENT, CUSTOM_LOSS))
NEED = needed_cache(STUDENT)
assert NEED is not None
CACHE_ID = NEED.id
DRAWN = [
    Artifact("chandrasegaran2022.table1", "Words", "table", "quoted", (), (), {}, ()),
    Artifact("own.state", "State", "figure", "custom:own_code", (Member("a", (), CUSTOM_LOSS, (0,), ()),), (), {}, ()),
]

# What a module of the user's own sees of the process that runs it.
OWN_CODE = """
import json, locale, logging, os, random, sys, tempfile, threading, warnings
import pandas as pd

def state():
    said = {
        "arguments": sys.argv[1:], "path": sys.path[1:], "folder": os.getcwd(), "temporary": tempfile.gettempdir(),
        "umask": os.umask(0o027), "locale": locale.setlocale(locale.LC_ALL),
        "files": sorted(os.listdir("/proc/self/fd")),
        "encoding": [sys.stdout.encoding, sys.stdout.line_buffering, sys.stderr.errors],
        "warnings": list(map(repr, warnings.filters)), "log": [repr(h) for h in logging.root.handlers],
        "threads": threading.active_count(),
        "torch": "torch" in sys.modules, "fairseq": "fairseq" in sys.modules,
        "environment": {k: v for k, v in os.environ.items() if k not in ("_", "SOFTLABELS_WARM")},
    }
    if said["torch"]:
        import torch
        said |= {"seed": torch.initial_seed(), "cores": [torch.get_num_threads(), torch.get_num_interop_threads()],
                 "precision": torch.get_float32_matmul_precision(),
                 "exact": torch.are_deterministic_algorithms_enabled(),
                 "built": torch.__config__.parallel_info(), "denormal": float(torch.tensor(1e-40) * 1)}
    if "matplotlib" in sys.modules:
        import matplotlib
        said |= {"backend": matplotlib.get_backend(), "look": {k: repr(v) for k, v in matplotlib.rcParams.items()}}
    path = os.environ["STATE"]
    os.path.exists(path) or open(path, "w").write(json.dumps(said, indent=1, sort_keys=True))
    chances = [random.random(), float(__import__("numpy").random.random())]
    open(path + ".chances", "a").write(json.dumps(chances) + "\\n")

def loss(logits, labels, weight):
    state()
    return weight * (logits.logsumexp(1) - logits.gather(1, labels[:, None])[:, 0]).mean()

def measure(artifact, source):
    from softlabels.figures.source import Measured
    from softlabels.metrics.rows import COLUMNS
    return Measured(pd.DataFrame(columns=list(COLUMNS)), pd.DataFrame({"x": [1.0, 2.0], "y": [3.0, 5.0]}))

def remarks(artifact, plotted, rows):
    return ["Two points."]

def draw(artifact, plotted, rows):
    from softlabels.figures.style import new_figure
    state()
    figure = new_figure(3.3, 2.0)
    figure.subplots().plot(plotted["x"], plotted["y"], label="a line")
    return figure
"""

CLIENT = (
    "import sys\nfrom softlabels.warm import main\ncode = main()\n"
    "print('by itself' if 'softlabels.cli' in sys.modules else 'in a child')\nsys.exit(code)"
)
STARTER = (
    "import os, sys\nfrom softlabels.warm import serve_in_background\n"
    "serve_in_background(sys.executable, float(sys.argv[1]))\n"
    "print(os.environ['SOFTLABELS_WARM'], flush=True)\nsys.stdin.read()"
)
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in (*OWN, "PYTHONUNBUFFERED")}
ENVIRONMENT |= ONE_THREAD | {"STATE": "state.json"}


def until(moment: Callable[[], object], what: str) -> None:
    end = time.monotonic() + 120
    while not moment():
        assert time.monotonic() < end, f"never came: {what}"
        time.sleep(0.005)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with specs, data and code of one's own, and nothing trained."""
    folder = tmp_path_factory.mktemp("prepared")
    layout = Layout(folder / "results" / "demo")
    runs = {run_id(spec): spec for spec in (TEACHER, STUDENT, CUSTOM_LOSS)}
    artifacts = {artifact.id: artifact for artifact in DRAWN}
    plan = Plan("demo", artifacts, runs, dict.fromkeys(runs, (0,)), flops_per_second=1e9)
    write_plan(plan, layout.root / "specs")
    prepare(DIGITS, layout.data(dataset_id(DIGITS)))
    (folder / "own_code.py").write_text(OWN_CODE)
    return folder


class Place:
    """A folder to work in, and the server that is asked from there."""

    def __init__(self, folder: Path, server: Path | None) -> None:
        self.folder, self.server, self.layout = folder, server, Layout(Path("results") / "demo")
        self.store = folder / self.layout.store(TEACHER_ID, 0)

    def start(self, *argv: object, **environment: str) -> subprocess.Popen[str]:
        known = ENVIRONMENT | ({VARIABLE: str(self.server)} if self.server else {})
        command = [sys.executable, "-c", CLIENT, *map(str, argv)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
            command, cwd=self.folder, env=known | environment, text=True, start_new_session=True, **pipes
        )

    def run(self, *argv: object, **environment: str) -> tuple[int, str, str]:
        """Exit status, what was printed, errors."""
        process = self.start(*argv, **environment)
        out, error = process.communicate(timeout=300)
        return process.returncode, out, error

    def ran(self, *argv: object, by_itself: bool = False) -> None:
        code, out, error = self.run(*argv)
        assert (code, out.splitlines()[-1]) == (0, "by itself" if by_itself else "in a child"), error

    def train(self) -> list[object]:
        output = self.layout.run(TEACHER_ID, 0) / "run.json"
        return ["train", "--device", "cpu", "--checkpoint-seconds", 0.05, output]

    def child(self) -> int:
        """The process that trains the teacher, when it has saved a state."""
        until((self.store / "checkpoint.safetensors").exists, "a checkpoint")
        return int(max(self.store.glob("lease.*.json")).read_text().split('"pid":')[1].split(",")[0])


def copied(prepared: Path, folder: Path, server: Path | None) -> Place:
    shutil.copytree(prepared, folder, dirs_exist_ok=True)
    return Place(folder, server)


class Starter:
    """The process that has started a server, as Snakemake does."""

    def __init__(self, patience: float = 60.0) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", STARTER, str(patience)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.folder = Path(self.process.stdout.readline().strip())

    def processes(self) -> list[psutil.Process]:
        """Servers and the children that run commands."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.status() != psutil.STATUS_ZOMBIE and str(self.folder) in process.cmdline():
                    found.append(process)
        return found

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def shared() -> Iterator[Starter]:
    """A server for the tests that do not end it."""
    starter = Starter()
    yield starter
    starter.end()


@pytest.fixture
def starter() -> Iterator[Starter]:
    starter = Starter()
    yield starter
    starter.end()


@pytest.fixture(scope="module")
def alone(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """All commands, each in a process of its own."""
    place = copied(prepared, tmp_path_factory.mktemp("alone"), None)
    everything(place, by_itself=True)
    return place


def everything(place: Place, by_itself: bool) -> None:
    layout, cpu = place.layout, ("--device", "cpu")
    place.ran(*place.train(), by_itself=by_itself)
    place.ran("cache", *cpu, layout.cache(CACHE_ID, 0) / "manifest.json", by_itself=by_itself)
    for run in (STUDENT_ID, OWN_ID):
        place.ran("train", *cpu, layout.run(run, 0) / "run.json", by_itself=by_itself)
    (place.folder / "state.json").rename(place.folder / "trained.json")
    for artifact in DRAWN:
        for command in ("measure", "figure"):
            place.ran(command, "--results", layout.root, artifact.id, by_itself=by_itself)
    place.ran("metrics", "--out", layout.joined_metrics, layout.metrics("own", "state"), by_itself=by_itself)


def written(place: Place) -> dict[str, bytes]:
    root = place.folder / "results"
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def assert_same_teacher(place: Place, alone: Place) -> None:
    for name in ("weights.safetensors", "logits.safetensors", "history.csv"):
        assert (place.store / name).read_bytes() == (alone.store / name).read_bytes(), name
    assert {path.name for path in place.store.iterdir()} == {path.name for path in alone.store.iterdir()}


# ------------------------------------------------------------ the same as alone


def test_what_is_written_is_the_same_bytes(alone: Place, shared: Starter, prepared: Path, tmp_path: Path) -> None:
    place = copied(prepared, tmp_path, shared.folder)
    everything(place, by_itself=False)
    ours, theirs = written(place), written(alone)
    assert ours.keys() == theirs.keys()
    different = {name for name in ours if ours[name] != theirs[name]}
    assert {Path(name).name for name in different} <= {"run.json"}
    for name in different:
        a, b = (json.loads(tree[name]) for tree in (ours, theirs))
        assert {key for key in a if a[key] != b[key]} <= {"seconds", "attempts", "peak_mb"}


def test_a_command_sees_the_process_that_it_would_have_alone(
    alone: Place, shared: Starter, prepared: Path, tmp_path: Path
) -> None:
    """Threads, seeds, locale, warnings, handlers of logs, open files, backend and look of figures."""
    place = copied(prepared, tmp_path, shared.folder)
    everything(place, by_itself=False)
    for name in ("trained.json", "state.json"):
        texts = ((tree.folder / name).read_text().replace(str(tree.folder), "here") for tree in (place, alone))
        ours, theirs = map(json.loads, texts)
        assert ours == theirs, name
        assert ours["torch"] is (name == "trained.json")
        assert not ours["fairseq"]


def test_chances_differ_between_children(shared: Starter, prepared: Path, tmp_path: Path) -> None:
    """Where nobody has seeded them: copies of one generator would make independent runs alike."""
    place = copied(prepared, tmp_path, shared.folder)
    for _ in range(2):
        place.ran("measure", "--results", place.layout.root, "own.state")
        place.ran("figure", "--results", place.layout.root, "own.state")
    first, second = map(json.loads, (tmp_path / "state.json.chances").read_text().splitlines())
    assert first[0] != second[0]
    assert first[1] != second[1]


def test_servers_have_one_thread_and_one_family_each(shared: Starter, prepared: Path, tmp_path: Path) -> None:
    place = copied(prepared, tmp_path, shared.folder)
    place.ran(*place.train())
    place.ran("measure", "--results", place.layout.root, DRAWN[0].id)
    servers = shared.processes()
    assert len(servers) == 3  # the first, and those of training and figures
    assert {server.num_threads() for server in servers} == {1}
    torch = {server.pid for server in servers if any("libtorch_cpu" in m.path for m in server.memory_maps())}
    assert len(torch) == 1


def test_asking_imports_little(shared: Starter, prepared: Path, tmp_path: Path) -> None:
    place = copied(prepared, tmp_path, shared.folder)
    code = "import sys; from softlabels.warm import main; main(); print(*sys.modules, file=sys.stderr)"
    command = [sys.executable, "-c", code, "measure", "--results", str(place.layout.root), DRAWN[0].id]
    env = ENVIRONMENT | {VARIABLE: str(shared.folder)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    assert not {"argparse", "pathlib", "typing", "dataclasses", "subprocess", "numpy"} & set(done.stderr.split())


def test_what_is_printed_and_refused_is_the_same(alone: Place, shared: Starter, prepared: Path, tmp_path: Path) -> None:
    place = copied(prepared, tmp_path, shared.folder)
    for argv in (
        ("train", "--device", "cpu", "results/demo/runs/unknown/seed0/run.json"),
        ("figure", "--results", "results/demo", "own.nothing"),
        ("train", "--wrong"),
        ("measure", "--help"),
        ("claims", "--scale", "unknown"),
    ):
        ours, theirs = place.run(*argv), alone.run(*argv)
        assert ours[0] == theirs[0], argv
        assert ours[1].replace("in a child", "by itself") == theirs[1] or argv[1] in ("--wrong", "--help")
        assert ours[2] == theirs[2], argv


# ------------------------------------------------------------ when it is not asked


def test_who_runs_a_command(alone: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(alone.folder)
    run, cache = alone.layout.run(TEACHER_ID, 0) / "run.json", alone.layout.cache(CACHE_ID, 0) / "manifest.json"
    assert (
        _family(["train", "--device", "cpu", str(run)]) == _family(["cache", "--device=cpu", str(cache)]) == "training"
    )
    assert _family(["train", "--device", "cuda", str(run)]) is _family(["train", "--device=cuda:1", str(run)]) is None
    assert _family(["audit"]) is _family(["data", "x"]) is _family([]) is None
    assert _family(["train", "--device", "cpu"]) == "training"
    spec = Path(alone.layout.spec("text.x"))
    spec.write_text(json.dumps({"spec": {"task": "translation"}}))
    (alone.layout.root / "specs/caches/c.json").write_text(json.dumps({"student": "text.x"}))
    try:
        for kind, name in (("runs", "text.x"), ("cache", "c"), ("probes", "text.x")):
            command = {"runs": "train", "cache": "cache", "probes": "translate"}[kind]
            path = f"results/demo/{kind}/{name}/seed0/file"
            assert _family([command, "--device", "cpu", path]) == "translation"
    finally:
        spec.unlink()
        (alone.layout.root / "specs/caches/c.json").unlink()


@pytest.mark.parametrize("other", ["environment", "threads", "interpreter", "limits", "job"])
def test_in_other_surroundings_it_runs_by_itself(shared: Starter, prepared: Path, tmp_path: Path, other: str) -> None:
    place = copied(prepared, tmp_path, shared.folder)
    argv = ["measure", "--results", str(place.layout.root), DRAWN[0].id]
    env = ENVIRONMENT | {VARIABLE: str(shared.folder)}
    command = [sys.executable, "-c", CLIENT, *argv]
    match other:
        case "environment":
            env |= {"MPLBACKEND": "agg"}
        case "threads":
            env |= {"OMP_NUM_THREADS": "2"}
        case "job":
            env |= {"SLURM_JOB_ID": "42"}
        case "limits":
            command = ["sh", "-c", 'ulimit -c 0; ulimit -s 4096; exec "$@"', "sh", *command]
        case "interpreter":
            subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--system-site-packages", "v"], cwd=tmp_path)
            command[0] = str(tmp_path / "v/bin/python")
            env |= {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "by itself"
    assert not done.stderr


def test_a_folder_without_a_server_is_no_matter(prepared: Path, tmp_path: Path, starter: Starter) -> None:
    starter.process.kill()
    until(lambda: not starter.processes() and not starter.folder.exists(), "the end of the server")
    place = copied(prepared, tmp_path, starter.folder)
    code, out, error = place.run("measure", "--results", place.layout.root, DRAWN[0].id)
    assert (code, out, error) == (0, "by itself\n", "")
    starter.folder.mkdir()
    (starter.folder / "figures").touch()
    code, out, error = place.run("measure", "--results", place.layout.root, DRAWN[0].id)
    shutil.rmtree(starter.folder)
    assert (code, out, error) == (0, "by itself\n", "")


# ------------------------------------------------------------ told to stop, killed


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_is_heeded_by_the_child(
    shared: Starter, alone: Place, prepared: Path, tmp_path: Path, number: signal.Signals
) -> None:
    place = copied(prepared, tmp_path, shared.folder)
    process = place.start(*place.train())
    place.child()
    os.killpg(process.pid, number)  # as Ctrl-C, to all in front of the terminal
    out, error = process.communicate(timeout=120)
    assert process.returncode == EXIT_RERUN, error
    assert "in a child" in out
    assert error.count("\n") == 1
    assert "state saved; run the same command again" in error
    place.ran(*place.train())
    assert_same_teacher(place, alone)


def test_the_asking_process_is_killed(shared: Starter, alone: Place, prepared: Path, tmp_path: Path) -> None:
    place = copied(prepared, tmp_path, shared.folder)
    process = place.start(*place.train())
    child = place.child()
    process.kill()
    process.communicate()
    until(lambda: not psutil.pid_exists(child), "the end of the child")
    place.ran(*place.train())
    record = read_json(place.store / "run.json")
    assert len(record["attempts"]) == 2
    assert record["attempts"][1]["from_step"] > 0
    assert_same_teacher(place, alone)


def test_a_child_that_heeds_nothing_is_killed(alone: Place, prepared: Path, tmp_path: Path) -> None:
    starter = Starter(patience=1.0)
    try:
        place = copied(prepared, tmp_path, starter.folder)
        process = place.start(*place.train())
        child = place.child()
        os.kill(child, signal.SIGSTOP)
        process.kill()
        process.communicate()
        until(lambda: not psutil.pid_exists(child), "the end of the child")
        place.ran(*place.train())
        assert_same_teacher(place, alone)
    finally:
        starter.end()


def test_the_server_is_killed(starter: Starter, alone: Place, prepared: Path, tmp_path: Path) -> None:
    place = copied(prepared, tmp_path, starter.folder)
    process = place.start(*place.train())
    child = place.child()
    psutil.Process(psutil.Process(child).ppid()).kill()
    out, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    assert "by itself" in out
    assert error.splitlines()[0] == "softlabels train: the warm process is gone; running by itself"
    assert not psutil.pid_exists(child)
    assert_same_teacher(place, alone)
    place.ran(*place.train(), by_itself=True)  # nobody listens for training any more
    place.ran("measure", "--results", place.layout.root, DRAWN[0].id)  # another family


def test_the_starter_is_killed(starter: Starter, alone: Place, prepared: Path, tmp_path: Path) -> None:
    place = copied(prepared, tmp_path, starter.folder)
    place.ran("measure", "--results", place.layout.root, DRAWN[0].id)  # so that another family has a process too
    processes = [place.start(*place.train()) for _ in range(2)]  # one trains, one waits for it
    child = place.child()
    starter.process.kill()
    starter.process.wait()
    for process in processes:
        _, error = process.communicate(timeout=120)
        assert process.returncode == EXIT_RERUN, error
    until(lambda: not starter.processes(), "the end of every server")
    assert not psutil.pid_exists(child)
    assert not starter.folder.exists()
    assert (place.store / "checkpoint.safetensors").exists()
    place.ran(*place.train(), by_itself=True)
    assert_same_teacher(place, alone)


def test_a_starter_that_dies_while_a_request_waits(starter: Starter, prepared: Path, tmp_path: Path) -> None:
    """The first command waits for imports: it must neither begin nor wait for ever."""
    place = copied(prepared, tmp_path, starter.folder)
    processes = [place.start(*place.train()) for _ in range(3)]
    training = f"{starter.folder}/training"
    until(lambda: Path("/proc/net/unix").read_text().count(training) == 4, "a listener and three requests")
    starter.process.kill()
    for process in processes:
        _, error = process.communicate(timeout=120)
        assert process.returncode in (EXIT_RERUN, 128 + signal.SIGTERM), error
    until(lambda: not starter.processes(), "the end of every server")


def test_a_killed_child_is_told_as_a_shell_tells_it(shared: Starter, prepared: Path, tmp_path: Path) -> None:
    place = copied(prepared, tmp_path, shared.folder)
    process = place.start(*place.train())
    os.kill(place.child(), signal.SIGKILL)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGKILL
    assert "in a child" in out
    place.ran(*place.train())


def test_a_full_disk_is_said_as_alone(shared: Starter, prepared: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("cannot mount a small tmpfs here")
    try:
        (disk / "ballast").write_bytes(b"x" * (500 << 10))
        said = []
        for server in (None, shared.folder):
            place = copied(prepared, tmp_path / "place", server)
            if not (place.folder / "results/demo/store").is_symlink():
                (place.folder / "results/demo/store").symlink_to(disk)
            code, _, error = place.run(*place.train())
            shutil.rmtree(disk / TEACHER_ID)
            said.append((code, error))
        assert said[0] == said[1]
        assert said[0][0] == EXIT_ERROR
        assert "No space left on device" in said[0][1]
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_log_that_cannot_be_written_is_an_error_as_alone(shared: Starter, tmp_path: Path) -> None:
    code = "import sys; from softlabels.warm import main; sys.exit(main())"
    statuses = []
    for server in ({}, {VARIABLE: str(shared.folder)}):
        with open("/dev/full", "w") as log:
            command = [sys.executable, "-c", code, "measure", "--help"]
            statuses.append(subprocess.run(command, stdout=log, stderr=log, env=ENVIRONMENT | server).returncode)
    assert statuses[0] == statuses[1] != 0


# ------------------------------------------------------------ under Snakemake

SNAKEFILE = """
import sys

from softlabels.warm import serve_in_background

onstart:
    serve_in_background(sys.executable)

rule all:
    input: "state.txt", "words.txt"

rule measure:
    output: "{{name}}.txt"
    log: "{{name}}.log"
    params: id=lambda w: {{"state": "own.state", "words": "chandrasegaran2022.table1"}}[w.name]
    shell: "{python} client.py measure --results results/demo {{params.id}} > {{log}} 2>&1; cp {{log}} {{output}}"
"""


def serves(process: psutil.Process, folder: Path) -> bool:
    try:
        return "softlabels.warm" in process.cmdline() and Path(process.cwd()) == folder
    except psutil.Error:
        return False


def test_jobs_of_snakemake_are_children(prepared: Path, tmp_path: Path) -> None:
    place = copied(prepared, tmp_path, None)
    (tmp_path / "Snakefile").write_text(SNAKEFILE.format(python=sys.executable))
    (tmp_path / "client.py").write_text(CLIENT)
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--quiet", "all"]
    subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, check=True, timeout=300)
    assert {(tmp_path / f"{name}.txt").read_text() for name in ("state", "words")} == {"in a child\n"}
    assert (tmp_path / place.layout.metrics("own", "state")).exists()
    until(lambda: not [p for p in psutil.process_iter() if serves(p, tmp_path)], "the end of the servers")


def test_families_are_forked_in_order() -> None:
    """A process is forked from the first one or from one that is."""
    assert all(parent == "" or FORKED_FROM[parent] == "" for parent in FORKED_FROM.values())
