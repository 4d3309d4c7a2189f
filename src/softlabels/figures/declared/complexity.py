"""What a table of sizes and costs needs: networks that are counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from softlabels.errors import SpecError
from softlabels.figures.declared.drawing import Drawing
from softlabels.grid.parse import from_dict, require_known
from softlabels.grid.plan import Artifact
from softlabels.grid.spec import ModelSpec
from softlabels.grid.zoo import COUNTED


@dataclass(frozen=True)
class Network:
    """A network as it is counted: of the zoo, for K classes and RGB pictures of `side` pixels."""

    network: str
    """The paper's name."""
    model: str
    classes: int
    side: int
    stem: str | None = None
    dataset: str = "none"
    """Of which the paper prints nothing; none: as it prints them."""

    @property
    def spec(self) -> ModelSpec:
        """The network of the zoo."""
        return ModelSpec(self.model, (("stem", self.stem),) if self.stem else ())


def networks_of(artifact: Artifact, where: str = "") -> list[Network]:
    """The networks of `options.networks`.

    Raises:
        SpecError: no such list, a key that is none, or a network that is not counted.
    """
    listed: Any = artifact.options.get("networks")
    where = f"{where} options.networks"
    if not isinstance(listed, list | tuple) or not listed or not all(isinstance(n, Mapping) for n in listed):
        raise SpecError(
            f"{where} must list networks, as {{network: resnet18, model: resnet18, classes: 1000, side: 224}}"
        )
    found = [from_dict(Network, entry, where) for entry in listed]
    for network in found:
        require_known(network.model, dict.fromkeys(name for name, _ in COUNTED), where, "the networks that are counted")
        stems = [stem for name, stem in COUNTED if name == network.model]
        if network.stem is not None:
            require_known(network.stem, stems, f"{where} stem", f"the stems of {network.model}")
        if network.classes < 2 or network.side < 1:
            raise SpecError(f"{where}: {network.network} needs 2 or more classes and a side of 1 or more pixels")
    return found


def _check(artifact: Artifact, where: str) -> None:
    networks_of(artifact, where)


DRAWING = Drawing(("table",), ("networks",), of_networks=False, check=_check)
