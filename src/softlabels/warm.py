"""The `softlabels` command, and processes that have already imported what its commands need.

Importing torch, fairseq or matplotlib takes one to nine seconds, longer than most jobs of a demo. Where SOFTLABELS_WARM
names the folder of a server (`serve_in_background`), the command (the client) asks it to run in a child forked from a
process that has all of that in memory, with the client's arguments, folder, umask and open files. The client ends with
the child's exit status. Where nobody answers, on a GPU, or in other surroundings than the server's (`_surroundings`:
another Python, environment or container, a job of SLURM) the command runs by itself, as it does without the variable.

There is one process per family of commands, forked when first needed: no child has more in memory than its command
would import. None of them has a thread or touches a GPU; forking would not be safe.

Lifetimes: the server ends when Snakemake, which started it, is gone, however it went, because a pipe closes. A child
gets SIGTERM when its client, the server or Snakemake is gone, and SIGKILL when it does not end in time. When the server
is gone, the client runs the command itself; the lease (`lease.py`) keeps it apart from a dying child.

A server does not see code that is edited while it lives; it lives as long as one run of Snakemake.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import time

from softlabels.errors import EXIT_RERUN

TYPE_CHECKING = False  # importing `typing` takes as long as asking the server
if TYPE_CHECKING:
    from typing import Any, NoReturn

VARIABLE = "SOFTLABELS_WARM"
ALONE = b"alone"  # the answer to a request from other surroundings
OWN = {VARIABLE, "_", "SHLVL", "PWD", "OLDPWD", "TMPDIR", "TMP", "TEMP", "TEMPDIR"}
"""Variables that may differ from the server's, because they are read when a command runs and not by an import."""
LIBRARIES = ("OMP_NUM", "GOTO_NUM", "OPENBLAS_NUM", "MKL_NUM", "NUMEXPR_NUM", "VECLIB_MAXIMUM")
ONE_THREAD = {f"{library}_THREADS": "1" for library in LIBRARIES}  # as Snakemake sets them for a rule of one thread
GPUS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")

FORKED_FROM = {"figures": "", "training": "", "translation": "training"}
"""Family of commands → the family from whose process it is forked; "" is the server's own."""
FIGURES = {"measure", "figure", "metrics", "claims", "report"}
TRAINING = {"train", "cache", "evaluate", "translate"}
IMPORTS = {
    "figures": "softlabels.cli softlabels.grid.files softlabels.figures.make softlabels.figures.predictions seaborn "
    "matplotlib.backends.backend_pdf scipy.optimize scipy.special scipy.stats pandas.io.formats.csvs "
    "pandas.core.reshape.reshape sacrebleu.metrics.bleu softlabels.papers.verdicts softlabels.report.write",
    # torch's first optimiser imports `torch._dynamo`, and its profiler what follows.
    "training": "softlabels.cli softlabels.staging softlabels.training.job softlabels.training.probes torch._dynamo "
    "torch.profiler._cupti_monitor numpy.ctypeslib numpy.ma multiprocessing.synchronize",
    "translation": "softlabels.translation.job softlabels.translation.criterion omegaconf._impl",
}


def main() -> int:
    """Run one command, in a child of the server that SOFTLABELS_WARM names or here; returns its exit status."""
    code = _elsewhere(sys.argv[1:]) if VARIABLE in os.environ else None
    if code is not None:
        return code
    from softlabels.cli import main as here

    return here()


# ---------------------------------------------------------------- the asking process


def _elsewhere(argv: list[str]) -> int | None:
    """The exit status of the command run by the server; None where it is to be run here."""
    told: list[int] = []

    def forward(number: int, _: object) -> None:
        told.append(number)
        with contextlib.suppress(OSError):  # the server is gone, as the end of the connection says too
            connection.send(bytes([number]))

    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        try:
            connection.connect(f"{os.environ[VARIABLE]}/{_family(argv)}")
            if not _is_ours(connection):
                return None
            request = _request(argv)
            with contextlib.suppress(ConnectionError):  # already answered: the starter is gone
                socket.send_fds(connection, [request], [0, 1, 2])
        except OSError:  # no such family or server, a closed file, more than fits into one message
            return None
        before = {number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)}
        try:
            answer = connection.recv(16)
        except ConnectionError:  # closed without having read all that was sent; the answer may lie behind that
            answer = connection.recv(16)
        if answer.isdigit():
            return int(answer)
    for number, handler in before.items():
        signal.signal(number, handler)
    if told:  # neither heeded nor forgotten
        signal.raise_signal(told[-1])
    if answer != ALONE:
        print(f"softlabels {argv[0]}: the warm process is gone; running by itself", file=sys.stderr, flush=True)
    return None


def _family(argv: list[str]) -> str | None:
    """Whose process runs a command; None: it runs by itself."""
    command, words = argv[0] if argv else "", " ".join(argv).replace("=", " ")
    if command in FIGURES:
        return "figures"
    on_gpu = "--device cuda" in words or ("--device cpu" not in words and any(map(os.path.exists, GPUS)))
    if command not in TRAINING or on_gpu:
        return None
    return "translation" if _translates(next((word for word in argv if "/seed" in word), "")) else "training"


def _translates(output: str) -> bool:
    """Whether `results/<scale>/<kind>/<id>/seed<k>/<file>` belongs to a run of translation, as its spec says."""
    try:
        root, kind, run, _, _ = output.rsplit("/", 4)
        if kind == "cache":
            with open(f"{root}/specs/caches/{run}.json") as handle:
                run = json.load(handle)["student"]
        with open(f"{root}/specs/{run}.json") as handle:
            return bool(json.load(handle)["spec"].get("task") == "translation")
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # the command itself says what is wrong
        return False


def _request(argv: list[str]) -> bytes:
    umask = os.umask(0o077)
    os.umask(umask)
    own = {name: value for name, value in os.environ.items() if name in OWN}
    about = {"argv": [sys.argv[0], *argv], "path": sys.path, "folder": os.getcwd(), "umask": umask, "own": own}
    return json.dumps(about | {"surroundings": _surroundings()}).encode()


def _surroundings() -> list[Any]:
    """What has to be equal in the asking process and the server: Python and this code, environment, namespaces (of
    containers), groups (of jobs of SLURM), processors and their share, limits."""
    import resource

    with open("/proc/self/cgroup") as handle:
        groups = handle.read()
    return [
        [os.path.realpath(sys.executable), sys.prefix, sys.version, os.path.abspath(__file__)],
        {name: value for name, value in os.environ.items() if name not in OWN},
        [os.readlink(f"/proc/self/ns/{name}") for name in ("mnt", "net", "pid", "user")],
        [groups, *sorted(os.sched_getaffinity(0)), os.getpriority(os.PRIO_PROCESS, 0)],
        [[*resource.getrlimit(getattr(resource, name))] for name in dir(resource) if name.startswith("RLIMIT_")],
    ]


def _is_ours(connection: socket.socket) -> bool:
    """Whether the process at the other end belongs to this user."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)  # process, user, group
    return int.from_bytes(credentials[4:8], sys.byteorder) == os.getuid()


# ---------------------------------------------------------------- the starter

_started: list[Any] = []  # kept, because Python warns of processes that are collected while they run


def serve_in_background(python: str, patience: float = 60.0) -> None:
    """Start the server, which ends with this process; the commands that this process starts from now on ask it.

    Args:
        python: path of the interpreter that runs it (Snakemake's rules change `sys.executable`).
        patience: seconds that a child has to save its state before it is killed.
    """
    if sys.platform != "linux":
        return
    import subprocess
    import tempfile

    short = len(tempfile.gettempdir()) < 70  # the path of a socket has at most 107 bytes
    folder = tempfile.mkdtemp(prefix="softlabels-", dir=None if short else "/tmp")  # open to this user alone
    listeners = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in FORKED_FROM]
    for name, listener in zip(FORKED_FROM, listeners, strict=True):
        listener.bind(f"{folder}/{name}")
        listener.listen(socket.SOMAXCONN)  # here, so that a command that comes early waits
    alive, _ = os.pipe()  # the other end stays open, here and in no program started from here
    files = [alive, *(listener.fileno() for listener in listeners)]
    process = subprocess.Popen(
        # -P: a file in the current folder may be called like a module.
        [python, "-P", "-m", "softlabels.warm", folder, str(patience), *map(str, files)],
        env=os.environ | ONE_THREAD,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=files,
        start_new_session=True,  # Ctrl-C in a terminal is for those who ask, and they forward it
    )
    _started.append(process)
    os.close(alive)
    for listener in listeners:
        listener.close()
    os.environ[VARIABLE] = folder


# ---------------------------------------------------------------- the server


class _Job:
    """The connection of a client, the child that runs its command, and when to kill the child."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection, self.pid, self.kill_at = connection, 0, float("inf")
        self.left = False


class _Server:
    """The process of one family of commands. The first one is of none; it forks the others when they are needed."""

    def __init__(self, folder: str, patience: float, alive: int, listeners: dict[str, socket.socket]) -> None:
        import ctypes

        self.folder, self.patience, self.alive, self.listeners = folder, patience, alive, listeners
        self.family, self.ending = "", False
        self.jobs: list[_Job] = []
        self.surroundings = json.loads(json.dumps(_surroundings()))
        self.prctl = ctypes.CDLL(None).prctl
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._wake_up_for_children()

    def _wake_up_for_children(self) -> None:
        self.wake = os.pipe()
        for end in self.wake:
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self.wake[1], warn_on_full_buffer=False)

    def run(self) -> None:
        """Serve until the starter is gone, and with it every child."""
        import select

        while self.jobs or not self.ending:
            connections = [job.connection for job in self.jobs if not job.left]
            first = min((job.kill_at for job in self.jobs), default=float("inf"))
            seconds = None if first == float("inf") else max(0.0, first - time.monotonic())
            waiting: list[Any] = [self.wake[0], *self.listeners.values(), *connections]
            waiting += [] if self.ending else [self.alive]
            ready = set(select.select(waiting, [], [], seconds)[0])
            if self.wake[0] in ready:
                os.read(self.wake[0], 4096)
            for job in [*self.jobs]:
                self._reap(job)
            if self.alive in ready:
                self._end()
            for job in [*self.jobs]:
                if job.connection in ready:
                    self._hear(job)
            for name, listener in [*self.listeners.items()]:
                if listener in ready and name in self.listeners:
                    self._accept(listener) if name == self.family else self._branch(name)

    def _accept(self, listener: socket.socket) -> None:
        self.jobs.append(_Job(listener.accept()[0]))
        if not _is_ours(self.jobs[-1].connection):
            self._answer(self.jobs[-1], ALONE)

    def _branch(self, name: str) -> None:
        """Fork the process of a family, its parent family first, and leave listening for it to that process."""
        step = name if FORKED_FROM[name] == self.family else FORKED_FROM[name]
        child = os.fork() == 0
        for family in [*self.listeners]:
            if (step in (family, FORKED_FROM[family])) != child:
                self.listeners.pop(family).close()
        if child:
            self._forget()
            self._wake_up_for_children()
            self.family = step
            _import(step)

    def _forget(self) -> None:
        """In a forked process: close inherited pipes and sockets, so that others see when the parent is gone."""
        for end in self.wake:
            os.close(end)
        for job in self.jobs:
            job.connection.close()
        self.jobs = []

    def _hear(self, job: _Job) -> None:
        """Take a request or a signal to forward; end what nobody waits for any more."""
        try:
            message, files, *_ = socket.recv_fds(job.connection, 1 << 20, 3)
        except OSError:
            message, files = b"", []
        if not message:
            job.left = True
            self._terminate(job)
        elif job.pid:
            os.kill(job.pid, message[0])
        else:
            self._start(job, json.loads(message), files)
        for file in files:
            os.close(file)

    def _start(self, job: _Job, request: dict[str, Any], files: list[int]) -> None:
        parent = os.getpid()
        try:
            if request["surroundings"] == self.surroundings and len(files) == 3:
                job.pid = os.fork()
                if not job.pid:
                    self._be_child(request, files, parent)
                return
        except OSError:  # no memory for it
            pass
        self._answer(job, ALONE)

    def _be_child(self, request: dict[str, Any], files: list[int], parent: int) -> NoReturn:
        code = EXIT_RERUN
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: what to get when the parent is gone
            if os.getppid() == parent:
                self._forget()
                os.close(self.alive)
                for listener in self.listeners.values():
                    listener.close()
                for number, file in enumerate(files):
                    os.dup2(file, number)
                    os.close(file)
                code = _command(request)
        finally:
            os._exit(code)

    def _terminate(self, job: _Job) -> None:
        """Have a child save its state and end; without one there is nothing to wait for."""
        if not job.pid:
            self._answer(job, b"%d" % EXIT_RERUN)
        elif job.kill_at == float("inf"):
            os.kill(job.pid, signal.SIGTERM)
            job.kill_at = time.monotonic() + self.patience

    def _reap(self, job: _Job) -> None:
        """Answer with the exit status of a child, 128 + signal after a signal; kill one that ignores SIGTERM."""
        if job.pid and (ended := os.waitpid(job.pid, os.WNOHANG))[0]:
            code = os.waitstatus_to_exitcode(ended[1])
            self._answer(job, b"%d" % (code if code >= 0 else 128 - code))
        elif time.monotonic() >= job.kill_at:
            os.kill(job.pid, signal.SIGKILL)
            job.kill_at += self.patience

    def _answer(self, job: _Job, answer: bytes) -> None:
        with contextlib.suppress(OSError):  # nobody waits for it
            job.connection.send(answer)
        job.connection.close()
        self.jobs.remove(job)

    def _end(self) -> None:
        """The starter is gone: end every child, tell those who wait for one, leave no file."""
        import shutil

        self.ending = True
        for listener in self.listeners.values():
            listener.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    self._accept(listener)
            listener.close()
        self.listeners = {}
        for job in [*self.jobs]:
            self._terminate(job)
        shutil.rmtree(self.folder, ignore_errors=True)


def _import(family: str) -> None:
    """What the commands of a family import, at once or on their way."""
    import gc
    import importlib

    for name in IMPORTS[family].split():
        with contextlib.suppress(Exception):  # the command meets it again and says it
            importlib.import_module(name)
    if family == "translation":
        with contextlib.suppress(Exception):
            # The first time takes twice as long.
            parse = importlib.import_module("softlabels.translation.launch").parse
            parse(["data", "--task", "translation", "--arch", "transformer", "--max-tokens", "1"])
    if family == "training" and not any(map(os.path.exists, GPUS)):
        with contextlib.suppress(Exception):
            _practise()
    gc.collect()
    gc.freeze()  # a collection in a child would write to every page, and so copy it


def _practise() -> None:
    """One step of a training: what torch sets up at its first operations is then in every child. Without a GPU only,
    for each of which autograd would start a thread."""
    import torch

    with torch.random.fork_rng(devices=[]):
        network = torch.nn.Sequential(
            torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(72, 2)
        )
        optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
        loss = torch.nn.functional.cross_entropy(network(torch.ones(2, 1, 8, 8)), torch.tensor([0, 1]))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()


def _command(request: dict[str, Any]) -> int:
    """Run a command in a child as if a process had been started for it; returns its exit status.

    Exit handlers of the imported modules do not run: they tidy up what a child only shares.
    """
    import tempfile
    import traceback

    code: Any = 1
    try:
        for name in OWN:
            os.environ.pop(name, None)
        os.environ.update(request["own"])
        os.chdir(request["folder"])
        os.umask(request["umask"])
        sys.argv[:], sys.path[:] = request["argv"], request["path"]
        tempfile.tempdir = None  # TMPDIR says it anew
        if numpy := sys.modules.get("numpy"):
            numpy.random.seed()  # as Python's generator by itself; torch's begins the same everywhere
        from softlabels.cli import main as here

        code = here(sys.argv[1:])
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    try:
        if not isinstance(code, int | None):
            print(code, file=sys.stderr)
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        return 120  # as Python itself does
    return code or 0


if __name__ == "__main__":
    folder, patience, alive, *files = sys.argv[1:]
    listeners = zip(FORKED_FROM, (socket.socket(fileno=int(file)) for file in files), strict=True)
    _Server(folder, float(patience), int(alive), dict(listeners)).run()
    os._exit(0)  # without taking apart what has been imported
