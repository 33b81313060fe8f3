"""How many samples each fit of a recursion has, run-length encoded: a million equal generations are one run."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from service.theory.model import Array

Models = NDArray[np.int64]
"""Model indices n = 1, 2, …: the n-th fit. Model n is generation n − 1 of the API."""


@dataclass(frozen=True)
class Schedule:
    """Sample sizes M_1, M_2, … of the fits: ``sizes[k]`` holds for ``repetitions[k]`` fits in a row.

    The last size goes on for ever, where a limit or a half-life asks for fits beyond the last one.
    """

    sizes: tuple[int, ...]
    repetitions: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.sizes or len(self.sizes) != len(self.repetitions):
            raise ValueError("a schedule needs as many repetitions as sizes, at least one")
        if min(self.sizes) < 1 or min(self.repetitions) < 1:
            raise ValueError("sizes and repetitions are at least 1")

    @classmethod
    def of(cls, sizes: Iterable[int]) -> "Schedule":
        """One size for each fit, in order."""
        runs = [(size, len(list(run))) for size, run in groupby(sizes)]
        return cls(tuple(size for size, _ in runs), tuple(count for _, count in runs))

    @classmethod
    def constant(cls, size: int, fits: int) -> "Schedule":
        """``fits`` fits of the same size."""
        return cls((size,), (fits,))

    @property
    def fits(self) -> int:
        """How many fits there are."""
        return sum(self.repetitions)

    @property
    def last(self) -> int:
        """The size of the last fit, and of those beyond it."""
        return self.sizes[-1]

    @cached_property
    def array(self) -> Array:
        """The sizes as floating-point numbers, shape (runs,)."""
        return np.array(self.sizes, dtype=float)

    @cached_property
    def ends(self) -> Models:
        """The last model index of each run, shape (runs,)."""
        return np.cumsum(np.array(self.repetitions, dtype=np.int64))

    def run(self, models: Models) -> NDArray[np.intp]:
        """Which run each of the ``models`` belongs to; the last one is endless."""
        return np.minimum(np.searchsorted(self.ends, models), len(self.sizes) - 1)

    def at(self, model: int) -> int:
        """M_model, for model ≥ 1."""
        return self.sizes[int(self.run(np.array(model)))]

    def between(self, first: int, last: int) -> Array:
        """M_first … M_last, shape (last − first + 1,)."""
        sizes: Array = self.array[self.run(np.arange(first, last + 1))]
        return sizes

    def later(self) -> tuple["Schedule", int]:
        """The schedule from the second fit on (the last size goes on), and how many runs went with the first fit."""
        if self.repetitions[0] > 1:
            return Schedule(self.sizes, (self.repetitions[0] - 1, *self.repetitions[1:])), 0
        if len(self.sizes) == 1:
            return self, 0
        return Schedule(self.sizes[1:], self.repetitions[1:]), 1

    def counts(self, model: int) -> Array:
        """How many of the fits 1 … model belong to each run, shape (runs,); the last run is endless."""
        starts = self.ends - np.array(self.repetitions, dtype=np.int64)
        counts = np.clip(model - starts, 0, np.array(self.repetitions, dtype=np.int64))
        counts[-1] = max(model - int(starts[-1]), 0)
        return counts.astype(float)

    def cumulative(self, values: Array, models: Models) -> Array:
        """Σ_{i ≤ n} f(M_i) at each n of ``models``, for ``values`` f(M) per run, shape (runs,).

        Sums that meet an infinite value are infinite from there on, and finite before.
        """
        starts = self.ends - np.array(self.repetitions, dtype=np.int64)
        with np.errstate(invalid="ignore"):
            before = np.concatenate([[0.0], np.cumsum(values[:-1] * np.array(self.repetitions[:-1]))])
        run = self.run(models)
        summed: Array = before[run] + (models - starts[run]) * values[run]
        return summed

    def smallest(self, models: Models) -> Array:
        """min_{i ≤ n} M_i at each n of ``models``."""
        lowest: Array = np.minimum.accumulate(self.array)[self.run(models)]
        return lowest


@dataclass(frozen=True, eq=False)
class Mix:
    """A schedule of fits and how many of each fit's samples are real, per run, shape (runs,).

    ``independent``: each sample is real with probability ``real``/M; else exactly ``real`` of the M samples are.
    ``synthetic``: how many are not, where that is known better than as the difference of two doubles.
    """

    schedule: Schedule
    real: Array
    independent: bool = False
    synthetic: Array | None = None

    @property
    def others(self) -> Array:
        """Samples that are not real, shape (runs,)."""
        return self.schedule.array - self.real if self.synthetic is None else self.synthetic


def reported_models(fits: int, points: int = 101) -> Models:
    """Model indices 1 … fits to report: all up to ``points``, else that many, evenly in log n, ends included."""
    if fits <= points:
        return np.arange(1, fits + 1, dtype=np.int64)
    spread = np.geomspace(1.0, float(fits), points)
    return np.unique(np.concatenate([np.rint(spread).astype(np.int64), [1, fits]]))
