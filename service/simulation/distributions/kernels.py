"""Kernel density estimates in one dimension: draw, estimate, draw from the estimate, and again."""

from dataclasses import dataclass
from math import pi, sqrt
from typing import Final

import numpy as np
from numpy.random import Generator

from service.simulation.costs import MICROSECOND, NORMAL, Burden
from service.simulation.distributions.streams import replicate_generator
from service.theory.model import Array

QUANTITIES: Final = ("sample_variance", "model_variance", "drift", "integrated_squared_error")
LARGEST_PAIRS: Final = 4000
"""Samples up to which the integrated squared error is summed over all pairs."""
_BLOCK: Final = 1 << 17  # pairs at a time: 1 MB stays in the cache


@dataclass(frozen=True, eq=False)
class KdeWork:
    """``real``: how many samples of each generation are real; ``independent``: each with that chance.

    The bandwidth is ``fixed`` + ``relative`` × the sample's standard deviation; ``corrected``: samples are shrunk
    about their mean to keep the variance. Rows are the first ``quantities`` of QUANTITIES at every reported
    generation.
    """

    sizes: tuple[int, ...]
    real: tuple[float, ...]
    independent: bool
    fixed: float
    relative: float
    corrected: bool
    reported: tuple[int, ...]
    quantities: int = len(QUANTITIES)

    @property
    def rows(self) -> int:
        """How many numbers a replicate comes to."""
        return self.quantities * len(self.reported)

    def outcomes(self, seed: int, first: int, last: int) -> Array:
        """Of the replicates first <= r < last, shape (rows, last - first)."""
        return np.stack([self._replicate(replicate_generator(seed, r)) for r in range(first, last)], axis=1)

    @np.errstate(over="ignore", invalid="ignore")
    def _replicate(self, rng: Generator) -> Array:
        wanted, found = set(self.reported), []
        centres, h = np.empty(0), 0.0
        for generation, size in enumerate(self.sizes[: self.reported[-1] + 1]):
            real = size if generation == 0 else self._real_samples(rng, generation, size)
            drawn = np.empty(0)
            if real < size:
                drawn = rng.choice(centres, size - real) + h * rng.standard_normal(size - real)
            x = np.concatenate([rng.standard_normal(real), drawn])
            centres, h = self._estimate(x)
            if generation in wanted:
                row = [x.var(), centres.var() + h * h, x.mean() ** 2]
                if self.quantities == len(QUANTITIES):
                    # one sample has no width of its own: kernels of width 0 are infinitely far from any density
                    row.append(_squared_error(centres, h) if h * h > 0 else np.inf)
                found.append(row)
        rows = np.array(found).T.ravel()
        return np.where(np.isnan(rows), np.inf, rows)  # of samples beyond all numbers

    def _real_samples(self, rng: Generator, generation: int, size: int) -> int:
        if self.independent:
            return int(rng.binomial(size, self.real[generation] / size))
        return int(self.real[generation])

    def _estimate(self, x: Array) -> tuple[Array, float]:
        """Centres and width of the kernels."""
        h = self.fixed + self.relative * float(x.std())
        if not self.corrected:
            return x, h
        shrink = 1.0 / sqrt(1.0 + self.relative**2)
        return x.mean() + shrink * (x - x.mean()), shrink * h


def _squared_error(x: Array, h: float) -> float:
    """∫ (p̂ − p_0)² for a standard normal truth: sums of normal densities over pairs of kernels."""

    def density(distance: Array, variance: float) -> Array:
        value: Array = np.exp(-(distance**2) / (2 * variance)) / sqrt(2 * pi * variance)
        return value

    height = max(_BLOCK // len(x), 1)
    blocks = (x[first : first + height] for first in range(0, len(x), height))
    pairs = sum(density(rows[:, None] - x, 2 * h * h).sum() for rows in blocks) / len(x) ** 2
    cross = density(x, 1 + h * h).mean()
    return float(pairs - 2 * cross + 0.5 / sqrt(pi))


def burden(work: KdeWork) -> Burden:
    """Of one replicate: drawing the samples, and all pairs of them where they are reported."""
    sizes = work.sizes[: work.reported[-1] + 1]
    pairs = sum(sizes[g] ** 2 for g in work.reported) if work.quantities == len(QUANTITIES) else 0
    calls = 20 * MICROSECOND * len(sizes) + 60 * MICROSECOND * len(work.reported)
    return Burden(calls + 5.0 * NORMAL * sum(sizes) + 0.5 * NORMAL * pairs, 6.0 * max(sizes))
