"""One-time set-up of a training process, and one free GPU per job on a machine with several."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from softlabels.errors import SoftlabelsError, SpecError


def configure(name: str) -> torch.device:
    """The device of a run: `auto`, `cpu`, `cuda` or `cuda:<n>`.

    On a CPU: one thread (jobs run side by side), and denormals flushed (momentum of pixels that are always
    zero decays into them and slows a step threefold). On CUDA: deterministic algorithms where they exist, and without
    an index the first GPU of several visible ones (`CUDA_VISIBLE_DEVICES`) that no other job has taken; waits for one.

    Raises:
        SpecError: an unknown device, or CUDA asked for and absent.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise SpecError(f"device: {name!r} is unknown; use auto, cpu, cuda or cuda:<n>") from None
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise SpecError(f"device: {name} asked for, but torch sees no CUDA device; use device: cpu")
        if device.index is None and (count := torch.cuda.device_count()) > 1:
            # Not numbers: those of one GPU differ between processes that see different ones.
            device = torch.device("cuda", first_free([_uuid(index) for index in range(count)]))
            print(f"using GPU {device.index}, {torch.cuda.get_device_name(device)}")
        if device.index is not None:
            torch.cuda.set_device(device)
        torch.cuda.init()  # type: ignore[no-untyped-call]  # whether it is tells translation where it computes
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        # Attention of fairseq's networks: of the three kernels this one is deterministic whatever is only warned of.
        torch.backends.cuda.enable_flash_sdp(False)
        torch.backends.cuda.enable_mem_efficient_sdp(False)
    elif device.type == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # fairseq asks every GPU it sees for its state
        torch.set_num_threads(1)
        torch.set_flush_denormal(True)
    else:
        raise SpecError(f"device: {name!r} is not supported; use auto, cpu, cuda or cuda:<n>")
    return device


def _uuid(index: int) -> str:
    return str(torch.cuda.get_device_properties(index).uuid)


POLL_SECONDS = 1.0

_held: set[Path] = set()  # by this process, until it ends: nobody closes their descriptors


def first_free(gpus: Sequence[str], folder: Path | None = None) -> int:
    """Index of the first GPU that no other job of this user has taken; it is this process's until it ends.

    Waits while all are taken. A GPU is a locked file on a local disk; the kernel frees the lock when the process ends,
    by `kill -9` too.

    Args:
        gpus: a name of each that is the same for every process, such as its UUID.
        folder: of the locks; None: one per user in the temporary directory.

    Raises:
        SoftlabelsError: the folder cannot be used, or belongs to another user.
    """
    folder = folder or Path(tempfile.gettempdir()) / f"softlabels-gpus-{os.getuid()}"
    paths = [folder / f"{gpu}.lock" for gpu in gpus]
    for index, path in enumerate(paths):
        if path in _held:
            return index
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_uid != os.getuid():
            raise PermissionError("it belongs to another user")
        waiting = False
        while (taken := _take_one(paths)) is None:
            if not waiting:
                print(f"waiting for a free GPU: your other jobs hold all {len(paths)} (locks in {folder})")
            waiting = True
            time.sleep(POLL_SECONDS)
    except OSError as error:
        raise SoftlabelsError(
            f"{folder} cannot hold the locks of GPUs ({error.strerror or error}); set TMPDIR to a folder of yours, "
            "or name one GPU: --device cuda:0"
        ) from error
    return taken


def _take_one(paths: Sequence[Path]) -> int | None:
    for index, path in enumerate(paths):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
        else:
            _held.add(path)
            return index
    return None
