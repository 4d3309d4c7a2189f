"""Choices at random, the same on every machine: integers of Python's Mersenne Twister, and nothing else."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Dice:
    """A stream of choices, a pure function of its seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def below(self, count: int) -> int:
        return self._random.randrange(count)

    def one(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]

    def chance(self, percent: int) -> bool:
        return self.below(100) < percent

    def weighted(self, options: Sequence[tuple[T, int]]) -> T:
        left = self.below(sum(weight for _, weight in options))
        for value, weight in options:
            if left < weight:
                return value
            left -= weight
        raise AssertionError("weights are positive")

    def first(self, choices: Sequence[T]) -> T:
        """Of two German words for one English word the first, two times out of three."""
        return choices[0] if len(choices) == 1 or self.below(3) < 2 else choices[1]
