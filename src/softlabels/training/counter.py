"""Random numbers as a pure function of counters, so that a view of a picture can be made again.

The integer mixing is the finaliser of splitmix64 on wrapping int64, which gives the same bits on
every device and in any order of the examples.
"""

from __future__ import annotations

import torch
from torch import Tensor


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


_M1, _M2 = _signed(0xBF58476D1CE4E5B9), _signed(0x94D049BB133111EB)
_STREAM, _INDEX, _VIEW, _CHANNEL = (
    _signed(c) for c in (0x9E3779B97F4A7C15, 0xD1B54A32D192ED03, 0xABC98388FB8FAC03, 0x8CB92BA72F3D8DD7)
)


def _shift(z: Tensor, bits: int) -> Tensor:
    return (z >> bits) & ((1 << (64 - bits)) - 1)  # logical, not arithmetic


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _shift(z, 30)) * _M1
    z = (z ^ _shift(z, 27)) * _M2
    return z ^ _shift(z, 31)


def bits(stream: int, views: Tensor, ids: Tensor, channel: int) -> Tensor:
    """63 random bits `[B]` for (stream, view, sample id, channel); views and ids are int64 `[B]`."""
    key = _mix(ids * _INDEX + torch.tensor(stream, dtype=torch.int64, device=ids.device) * _STREAM)
    return _shift(_mix(key + views * _VIEW + torch.tensor(channel, device=ids.device) * _CHANNEL), 1)


def integers(stream: int, views: Tensor, ids: Tensor, channel: int, n: int | Tensor) -> Tensor:
    """Uniform integers in [0, n) `[B]`; n is one number, or one for each `[B]`."""
    return bits(stream, views, ids, channel) % n


def uniform(stream: int, views: Tensor, ids: Tensor, channel: int) -> Tensor:
    """Uniform fp32 in [0, 1) `[B]`."""
    return (bits(stream, views, ids, channel) >> 39).float() / 2**24
