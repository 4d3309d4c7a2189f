"""One-time set-up of a training process."""

from __future__ import annotations

import os

import torch

from softlabels.errors import SpecError
from softlabels.training.gpus import first_free


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
