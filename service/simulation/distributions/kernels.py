"""Kernel density estimates in one dimension: draw, estimate, draw from the estimate, and again."""

from dataclasses import dataclass
from math import pi, sqrt
from typing import Final

import numpy as np
from numpy.random import Generator

from service.simulation.distributions.streams import replicate_generator
from service.theory.model import Array

QUANTITIES: Final = ("sample_variance", "model_variance", "drift", "integrated_squared_error")
LARGEST_PAIRS: Final = 4000
"""Samples up to which the integrated squared error is summed over all pairs."""


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
                row = [x.var(), centres.var() + h**2, x.mean() ** 2]
                if self.quantities == len(QUANTITIES):
                    # one sample has no width of its own: kernels of width 0 are infinitely far from any density
                    row.append(_squared_error(centres, h) if h > 0 else np.inf)
                found.append(row)
        return np.array(found).T.ravel()

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

    pairs = density(x[:, None] - x[None, :], 2 * h**2).mean()
    cross = density(x, 1 + h**2).mean()
    return float(pairs - 2 * cross + 0.5 / sqrt(pi))


def flops(sizes: tuple[int, ...]) -> float:
    """Of one replicate, about."""
    return float(sum(60 * size + (40 * size**2 if size <= LARGEST_PAIRS else 0) + 20_000 for size in sizes))
