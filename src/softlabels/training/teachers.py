"""Trained networks, of runs and of users, loaded for inference or as the initial weights of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from softlabels import tensors
from softlabels.cache import TeacherNetwork
from softlabels.data.load import Data
from softlabels.errors import SoftlabelsError
from softlabels.files import read_json, sha256
from softlabels.grid.identity import initial_id, run_id
from softlabels.grid.parts.initial import TorchvisionWeights, UserWeights
from softlabels.grid.parts.recipe import Augment, Precision
from softlabels.grid.spec import ModelSpec, RunSpec, Teacher, UserLogits, UserNetwork
from softlabels.layout import Layout
from softlabels.models import Network, build, load_weights
from softlabels.store import finished
from softlabels.training.augment import view_shape
from softlabels.training.checkpoint import State

Own = UserNetwork | UserLogits | UserWeights
"""What comes from elsewhere."""


def load_teacher(
    teacher: Teacher, seed: int, layout: Layout, data: Data, device: torch.device, augment: Augment | None = None
) -> TeacherNetwork | NDArray[Any]:
    """The teacher of a student with `seed` and `augment`: a network, or the user's logits `[N, K]`.

    Raises:
        SoftlabelsError: files that are missing, damaged, or of another network or data set.
    """
    if isinstance(teacher.run, UserLogits):
        logits = _user_logits(teacher.run, (len(data.labels("train")), data.num_classes))
        order = _order(teacher.run, data)
        return logits if order is None else logits[:, order]
    if isinstance(teacher.run, UserNetwork):
        path = Path(teacher.run.weights).expanduser()
        require_sha256(path, teacher.run.sha256)
        shape = view_shape(augment or Augment(), data.shape)  # that of the views it will see
        network = _with_weights(teacher.run.model, path, "last", data.num_classes, shape, device)
        _reorder(network, _order(teacher.run, data))
        return TeacherNetwork(network, teacher.run.normalise, Precision())
    assert isinstance(teacher.run, RunSpec)  # RunSpec lets no translation run teach images
    return load_run(teacher.run, teacher.seed_for(seed), teacher.checkpoint, layout, data, device)


def load_run(
    spec: RunSpec, seed: int, checkpoint: str, layout: Layout, data: Data, device: torch.device
) -> TeacherNetwork:
    """A network of a finished run at `last`, `best` or `step:<n>`; its weights are the recorded ones."""
    path, record = recorded_weights(spec, seed, checkpoint, layout)
    if record["data_fingerprint"] != data.fingerprint:
        raise SoftlabelsError(
            f"{layout.store(run_id(spec), seed)} was trained on other images than {data.folder} holds; "
            "delete the folder to train again"
        )
    shape = view_shape(spec.recipe.augment, data.shape)
    network = _with_weights(spec.model, path, checkpoint, data.num_classes, shape, device)
    if spec.recipe.precision.channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return TeacherNetwork(network, spec.recipe.normalise, spec.recipe.precision)


def recorded_weights(spec: RunSpec, seed: int, checkpoint: str, layout: Layout) -> tuple[Path, dict[str, Any]]:
    """The file of a finished run that holds the weights at a checkpoint, as recorded, and its record.

    Raises:
        SoftlabelsError: not finished, no such checkpoint, or the file has changed.
    """
    folder = layout.store(run_id(spec), seed)
    record = finished(folder)
    if record is None:
        raise SoftlabelsError(f"{folder} holds no finished training; run snakemake to train it")
    name = weights_file(checkpoint)
    digest = record["files"].get(name)
    if digest is None:
        raise SoftlabelsError(f"{folder} keeps no weights at {checkpoint}; add the step to recipe.milestones")
    require_sha256(folder / name, digest)
    return folder / name, record


def weights_file(checkpoint: str) -> str:
    """The file of a run that holds the weights at `last`, `best` or `step:<n>`."""
    if checkpoint.startswith("step:"):
        return f"milestones/step{checkpoint.removeprefix('step:')}.safetensors"
    return "weights.safetensors"


def _with_weights(
    model: ModelSpec,
    path: Path,
    checkpoint: str,
    num_classes: int,
    shape: tuple[int, int, int],
    device: torch.device,
) -> Network:
    network = build(model, num_classes, shape).to(device)
    load_weights(network, state_at(path, checkpoint, device), str(path))
    return network.eval()


def state_at(path: Path, checkpoint: str, device: str | torch.device = "cpu") -> State:
    """The weights in a file, which may be our own with `last` and `best` side by side."""
    state, _ = tensors.load(path, device)
    prefix = f"{checkpoint}/"
    if any(name.startswith("last/") for name in state):
        state = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        if not state:
            raise SoftlabelsError(f"{path} has no {checkpoint} weights: its run has no validation split to select by")
    return state


def _user_logits(source: UserLogits, shape: tuple[int, int]) -> NDArray[Any]:
    path = Path(source.logits).expanduser()
    require_sha256(path, source.sha256)
    try:
        logits = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise SoftlabelsError(f"{path} is no plain .npy array ({error}); save it with numpy.save") from None
    if not isinstance(logits, np.ndarray):
        raise SoftlabelsError(f"{path} is an archive, no plain .npy array; save one array with numpy.save")
    if logits.shape != shape or not np.issubdtype(logits.dtype, np.floating):
        raise SoftlabelsError(
            f"{path} holds {logits.dtype} {list(logits.shape)}, needed are floating-point logits {list(shape)} "
            "(training images in stored order, classes)"
        )
    if not np.isfinite(logits).all():
        raise SoftlabelsError(f"{path} holds logits that are NaN or infinite; compute them again")
    return logits


def require_sha256(path: Path, digest: str) -> None:
    """Refuse a file that is missing or has changed."""
    if not path.exists():
        raise SoftlabelsError(f"{path} does not exist")
    measured = sha256(path)
    if measured != digest:
        raise SoftlabelsError(
            f"{path} has SHA-256 {measured}, recorded is {digest}: the file has changed; "
            "restore it, or record the new one"
        )


def load_initial(network: Network, spec: RunSpec, seed: int, layout: Layout, data: Data) -> None:
    """Put the initial weights of a run into its network, which was made from the seed; nothing to do without any.

    Raises:
        SoftlabelsError: a file is missing, has changed, or is of another network; it is named.
    """
    initial = spec.initial
    if initial is None:
        return
    match initial.run:
        case RunSpec() as run:
            path, _ = recorded_weights(run, initial.seed_for(seed), initial.checkpoint, layout)
        case TorchvisionWeights():
            manifest = layout.weights(initial_id(spec.model, initial))
            path = manifest.with_suffix(".safetensors")
            require_sha256(path, read_json(manifest)["sha256"])
        case UserWeights(weights=name, sha256=digest):
            path = Path(name).expanduser()
            require_sha256(path, digest)
    load_weights(network, state_at(path, initial.checkpoint), str(path), head=initial.head == "kept")
    if isinstance(initial.run, UserWeights):
        _reorder(network, _order(initial.run, data))


def _order(own: Own, data: Data) -> list[int] | None:
    """Where the outputs of the user's stand, by class of the data; None where they stand in its order."""
    if own.classes is None:
        return None
    if set(own.classes) != set(data.class_names):
        strange = sorted(set(own.classes) - set(data.class_names)) or sorted(set(data.class_names) - set(own.classes))
        raise SoftlabelsError(
            f"{file_of(own)}: its classes and those of the data set differ by {', '.join(map(repr, strange[:5]))}; "
            f"name those of {data.folder / 'manifest.json'}, in the order of the file"
        )
    return [own.classes.index(name) for name in data.class_names]


def _reorder(network: Network, order: Sequence[int] | None) -> None:
    if order is not None:
        for parameter in network.head.parameters():
            parameter.data = parameter.data[order]


def file_of(own: Own) -> str:
    """As the user names it."""
    return own.logits if isinstance(own, UserLogits) else own.weights
