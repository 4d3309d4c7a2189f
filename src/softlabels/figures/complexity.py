"""Sizes and costs of networks beside those that a paper prints (Yuan et al. 2020, Table 3; Chandrasegaran et al. 2022,
Sec. 6 and App. B). No training."""

from __future__ import annotations

import pandas as pd

from softlabels.figures.declared.complexity import networks_of
from softlabels.figures.source import Measured, Source, tidy
from softlabels.grid.plan import Artifact
from softlabels.grid.zoo import forward_flops, parameter_count
from softlabels.metrics.rows import COLUMNS
from softlabels.papers.flags import explain
from softlabels.papers.published import compare

SHOWN = (("", "params"), ("", "flops"))
NAMES = {"params": "millions", "flops": "giga_multiply_adds"}


def measure(artifact: Artifact, source: Source) -> Measured:
    """Trained numbers in millions, and multiply-adds of one image in 10⁹, of each network of `options.networks`."""
    common = {"paper": artifact.paper, "artifact": artifact.name, "scale": source.scale, "seed": 0}
    none = dict.fromkeys(COLUMNS, "") | common | {"task": "none", "method": "none"}
    rows, exact = [], {}
    for network in networks_of(artifact):
        count = parameter_count(network.model, network.classes, network.stem)
        operations = forward_flops(network.spec, (3, network.side, network.side), network.classes)
        assert operations is not None  # only an import path has none
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
        own = plotted[plotted["metric"] == metric].rename(columns=named)
        columns = ["network", "classes", "side", name, f"published_{name}", f"{name}_difference"]
        shown = shown.merge(own[columns], on=["network", "classes", "side"], how="left") if len(own) else shown
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
