"""The weights that a run begins with: those of another run, of torchvision, or of a file of the user's own."""

from __future__ import annotations

from pathlib import Path

from softlabels.files import read_json
from softlabels.grid.identity import initial_id
from softlabels.grid.initial import TorchvisionWeights, UserWeights
from softlabels.grid.spec import RunSpec
from softlabels.layout import Layout
from softlabels.models import Network, load_weights
from softlabels.training.teachers import recorded_weights, require_sha256, state_at


def load_initial(network: Network, spec: RunSpec, seed: int, layout: Layout) -> None:
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
