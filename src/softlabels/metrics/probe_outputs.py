"""What networks have answered to the probes of classes (`grid.parts.probes`), as files of safetensors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from softlabels.errors import DataError
from softlabels.metrics.diffusion import Activations
from softlabels.metrics.rows import load_tensors, read_about, read_probe


def class_names(path: Path) -> tuple[str, ...]:
    """The names of all K classes of the data that a probe shows, which its file tells.

    Raises:
        DataError: the file is damaged, or from before files told.
    """
    names = read_about(path).get("class_names")
    if not names:
        raise DataError(f"{path} names no classes; delete it here and below store/ to have it made again")
    return tuple(names)


def read_class_means(path: Path) -> Activations:
    """The mean activations of classes (`ClassMeans`), as one activation for each class.

    Raises:
        DataError: the file is missing or damaged, or its tensors do not belong together.
    """
    tensors = load_tensors(path)
    for name in ("labels", "counts", "means/last"):
        if name not in tensors:
            raise DataError(f"{path} holds no {name}; delete it to have it made again")
    labels = tensors["labels"]
    if tensors["counts"].shape != labels.shape or len(np.unique(labels)) != len(labels):
        raise DataError(f"{path}: a mean must be of one class and a count of images; delete it to have it made again")
    return Activations(tensors["means/last"], labels, class_names(path), str(path))


@dataclass(frozen=True, eq=False)
class Featured:
    """Penultimate activations at the end of training, with the last layer that they enter."""

    x: Activations
    weight: np.ndarray
    """`[K, d]`"""
    bias: np.ndarray
    """`[K]`"""


def read_features(path: Path) -> Featured:
    """The activations of a probe of `what: features` on unchanged images; raises as `read_class_means`."""
    tensors = read_probe(path)
    for name in ("features/last", "head.weight/last", "head.bias/last"):
        if name not in tensors:
            raise DataError(f"{path} holds no {name}; delete it to have it made again")
    x = Activations(tensors["features/last"][:, 0], tensors["labels"], class_names(path), str(path))
    return Featured(x, tensors["head.weight/last"], tensors["head.bias/last"])


@dataclass(frozen=True, eq=False)
class Logits:
    """Logits at the end of training, of unchanged images."""

    z: np.ndarray
    """`[M, K]`"""
    labels: np.ndarray
    """`[M]`"""
    class_names: tuple[str, ...]


def read_logits(path: Path) -> Logits:
    """The logits of a probe of `what: logits` or `features`; raises as `read_class_means`."""
    tensors = read_probe(path)
    if "logits/last" not in tensors:
        raise DataError(f"{path} holds no logits/last; delete it to have it made again")
    return Logits(tensors["logits/last"][:, 0], tensors["labels"], class_names(path))


@dataclass(frozen=True, eq=False)
class SampledImages:
    """Images of chosen classes."""

    images: np.ndarray
    """uint8 `[M, C, H, W]`"""
    labels: np.ndarray
    """`[M]`"""
    ids: np.ndarray
    """`[M]`"""
    class_names: tuple[str, ...]


def read_samples(path: Path) -> SampledImages:
    """The images of a probe of `what: pictures` (`Samples`); raises as `read_class_means`."""
    tensors = read_probe(path)
    images = tensors.get("pictures")
    if images is None or images.dtype != np.uint8 or images.ndim != 4 or len(images) != len(tensors["labels"]):
        raise DataError(f"{path} holds no images [M, C, H, W] with M labels; delete it to have it made again")
    return SampledImages(images, tensors["labels"], tensors["ids"], class_names(path))
