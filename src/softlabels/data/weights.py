"""Weights that torchvision publishes, converted once to safetensors: the only place where a pickled file is read.

It is read after its SHA-256 was found to begin as its name says, and with `weights_only=True`.
"""

from __future__ import annotations

import pickle
import urllib.error
import zipfile
from pathlib import Path

import torch

from softlabels import tensors
from softlabels.data.download import locked
from softlabels.errors import DataError
from softlabels.files import read_json, sha256, write_json
from softlabels.grid.parts.initial import published_as
from softlabels.grid.zoo import MODELS
from softlabels.models import library


def convert(out: Path, *, root: Path | None = None, mirror: str | None = None, download: bool = False) -> None:
    """Write `<file>.safetensors` (names as in torchvision) and, last, its manifest `out` = `<file>.json`.

    The original is looked for in `root/weights` (with `root` None: beside `out`), then where torch keeps its downloads
    (`$TORCH_HOME`). Nothing to do when the converted one is there and whole.

    Args:
        mirror: URL of a folder that replaces torchvision's address.
        download: whether a missing file is fetched, into `root/weights`.

    Raises:
        SpecError: torchvision publishes no such file.
        DataError: the original is missing, of another checksum than its name says, or not of this network.
    """
    model, entry = published_as(out.stem)
    converted = out.with_suffix(".safetensors")
    with locked(out.parent / f".{out.stem}.lock"):
        if out.exists() and converted.exists() and read_json(out)["sha256"] == sha256(converted):
            return
        file, models = MODELS[model].weights[entry], library.load("torchvision.models")
        weights = models.get_model_weights(model)[entry]
        if weights.url.rpartition("/")[2] != file:
            raise DataError(f"the installed torchvision has {weights.url} for {entry} of {model}, expected is {file}")
        folder = root / "weights" if root else out.parent
        path = _found(file, folder, weights.url, mirror, download)
        digest = sha256(path)
        if not digest.startswith(_promised(file)):
            raise DataError(f"{path} has SHA-256 {digest}, not the one in its name; put {weights.url} there")
        network = getattr(models, model)(weights=None)
        try:  # what torchvision does with its weights; older files lack counters of batches, which this adds
            network.load_state_dict(
                weights.get_state_dict(
                    model_dir=str(path.parent), map_location="cpu", check_hash=True, weights_only=True, progress=False
                )
            )
        except (pickle.UnpicklingError, RuntimeError, AttributeError, EOFError, TypeError, zipfile.BadZipFile) as error:
            raise DataError(f"{path} holds no weights of {model} ({str(error).splitlines()[0]}); delete it") from None
        tensors.save(converted, network.state_dict(), {"model": model, "weights": entry, "file": file})
        about = {"model": model, "weights": entry, "url": weights.url, "original_sha256": digest}
        write_json(out, about | {"sha256": sha256(converted), "bytes": converted.stat().st_size})


def _found(file: str, folder: Path, url: str, mirror: str | None, download: bool) -> Path:
    for path in (folder / file, Path(torch.hub.get_dir()) / "checkpoints" / file):
        if path.is_file():
            return path
    if not download:
        raise DataError(
            f"{file} is missing: put it at {folder / file} (data.root in config.yaml) from {url}, "
            "or set data.download: true to have it fetched"
        )
    address = f"{mirror.rstrip('/')}/{file}" if mirror else url
    folder.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(address, str(folder / file), _promised(file), progress=False)
    except (urllib.error.URLError, RuntimeError, OSError) as error:  # a RuntimeError tells another checksum
        raise DataError(
            f"cannot fetch {address} ({error}); set data.mirror to another address, or put the file at {folder / file}"
        ) from None
    return folder / file


def _promised(file: str) -> str:
    """The beginning of the SHA-256 that stands at the end of a file's name."""
    return file.rpartition("-")[2].partition(".")[0]
