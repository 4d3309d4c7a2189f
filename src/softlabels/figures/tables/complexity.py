"""Sizes and costs of networks beside those that a paper prints (Yuan et al. 2020, Table 3; Chandrasegaran et al. 2022,
Sec. 6 and App. B). No training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic.dataclasses import dataclass

from softlabels.errors import SpecError
from softlabels.figures.drawing import Drawing
from softlabels.figures.lazy import pd
from softlabels.figures.source import Measured, Source, tidy
from softlabels.grid.parse import STRICT, from_dict, require_known
from softlabels.grid.plan import Artifact
from softlabels.grid.spec import ModelSpec
from softlabels.grid.zoo import MODELS, forward_flops, parameters
from softlabels.papers.flags import explain

SHOWN = (("", "params"), ("", "flops"))
NAMES = {"params": "millions", "flops": "giga_multiply_adds"}


@dataclass(frozen=True, config=STRICT)
class CountedNetwork:
    """A network as it is counted: of the zoo, for K classes and RGB images of `side` pixels."""

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


def networks_of(artifact: Artifact, where: str = "") -> list[CountedNetwork]:
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
    found = [from_dict(CountedNetwork, entry, where) for entry in listed]
    stems = {name: [counted.stem for counted in info.counted] for name, info in MODELS.items() if info.counted}
    for network in found:
        require_known(network.model, stems, where, "the networks that are counted")
        if network.stem is not None:
            require_known(network.stem, stems[network.model], f"{where} stem", f"the stems of {network.model}")
        if network.classes < 2 or network.side < 1:
            raise SpecError(f"{where}: {network.network} needs 2 or more classes and a side of 1 or more pixels")
    return found


def _check(artifact: Artifact, where: str) -> None:
    networks_of(artifact, where)


DRAWING = Drawing(("networks",), of_networks=False, check=_check)


def measure(artifact: Artifact, source: Source) -> Measured:
    """Trained numbers in millions, and multiply-adds of one image in 10⁹, of each network of `options.networks`."""
    from softlabels.metrics.rows import COLUMNS
    from softlabels.papers.published import compare

    common = {"paper": artifact.paper, "artifact": artifact.name, "scale": source.scale, "seed": 0}
    none = dict.fromkeys(COLUMNS, "") | common | {"task": "none", "method": "none"}
    rows, exact = [], {}
    for network in networks_of(artifact):
        counted = (network.spec, (3, network.side, network.side), network.classes)
        count, operations = parameters(*counted), forward_flops(*counted)
        assert count is not None  # only an import path has none
        assert operations is not None
        named = none | {"dataset": network.dataset, "student": network.network}
        values = {"params": count / 1e6, "flops": operations / 2e9}
        rows += [named | {"metric": metric, "value": value} for metric, value in values.items()]
        exact[network.dataset, network.network] = (count, network.classes, network.side)
    frame = tidy(rows)
    compared = compare(frame, artifact, otherwise=SHOWN)
    found = [exact.get(key, (None,) * 3) for key in zip(compared["dataset"], compared["student"], strict=True)]
    compared[["parameters", "classes", "side"]] = pd.DataFrame(found, index=compared.index)
    kept = ["student", "classes", "side", "parameters", "metric", "published", "mean", "difference", "flags"]
    return Measured(frame, compared[kept])


def table(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """A row for each network: the exact count; in millions and 10⁹ multiply-adds ours, the paper's, the difference."""
    key = ["student", "classes", "side", "parameters"]
    shown = plotted[key].drop_duplicates().rename(columns={"student": "network"})
    for metric, name in NAMES.items():
        named = {
            "student": "network",
            "mean": name,
            "published": f"published_{name}",
            "difference": f"{name}_difference",
        }
        selected = plotted[plotted["metric"] == metric].rename(columns=named)
        columns = ["network", "classes", "side", name, f"published_{name}", f"{name}_difference"]
        shown = (
            shown.merge(selected[columns], on=["network", "classes", "side"], how="left") if len(selected) else shown
        )
    return shown


def remarks(artifact: Artifact, plotted: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """What is counted."""
    said = ["Weights and biases that are trained, of networks with a head for so many classes."]
    if (plotted["metric"] == "flops").any():
        said.append(
            "Multiply-adds of convolutions and matrix products for one RGB image of side × side pixels. The paper also "
            "counts biases, normalisation, activations and pooling, which is 0.3 to 6 % more (Y-CPLX)."
        )
    return [*said, *explain(plotted["flags"].dropna())]
