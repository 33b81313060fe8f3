"""Sums over modes as functions of the effective ridge θ, on a grid that a population makes once.

With one covariance every expected error is a function of θ through weighted sums of S², SU and U², where
S = σ/(σ+θ) and U = θ/(σ+θ). They are analytic in ln θ within a strip of half-width π, so six points a decade carry them
to about 1e-9: enough to see every minimum, to start Newton next to its root, and to interpolate to an optimum.
All three are multiples of Q² = 1/(σ+θ)², so one table of Q² serves: Σ S² a = Σ Q² σ² a, Σ S U a = θ Σ Q² σ a and
Σ U² a = θ² Σ Q² a.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, log
from typing import Final

import numpy as np

from service.theory.freedom import Freedom
from service.theory.model import Array, Population

STEP: Final = log(10.0) / 6.0
_BELOW: Final = log(10.0) * 1.5  # the grid begins so far below the least eigenvalue, and
_BELOW_LARGEST: Final = log(10.0) * 6.0  # at least this below the largest: optima at little noise
_LOWEST: Final = (
    log(10.0) * 90.0
)  # at most this below the largest: further down squares are beyond the range of doubles
_ABOVE: Final = log(10.0) * 2.0  # and ends so far above the trace
_CHUNK: Final = 1_000_000
_OVERLAP: Final = 11  # points of the grid's end that its continuation repeats
_BEYOND: Final = 90  # points of the continuation: fifteen decades


@dataclass(frozen=True, eq=False)
class Columns:
    """Vectors over modes to be summed with S², S U and U²; shape (columns, modes), weights included."""

    ss: Array
    su: Array
    uu: Array


@dataclass(frozen=True, eq=False)
class Features:
    """What random features need: ``epsilon`` = Σ σ U², ``gain`` = Σ S²/σ, ``power`` = Σ S² w²; shape (points,)."""

    epsilon: Array
    gain: Array
    power: Array


@dataclass(frozen=True, eq=False)
class Sums:
    """At points θ, shape (points,): effective degrees of freedom, and ``signal`` = Σ σ U² w².

    ``labels``: the sums of Columns, each of shape (columns, points).
    """

    theta: Array
    freedom: Freedom[Array]
    signal: Array
    labels: tuple[Array, Array, Array] | None = None
    features: Features | None = None


class Grid:
    """The grid of one population with at least one mode of positive variance."""

    def __init__(self, population: Population) -> None:
        self.population, self.size = population, population.eigenvalues.size
        sigma = population.eigenvalues
        least = float((sigma if population.null_modes == 0 else sigma[sigma > 0]).min())
        top = log(float(sigma.max()))
        low = max(min(log(least) - _BELOW, top - _BELOW_LARGEST), top - _LOWEST)
        high = log(population.trace) + _ABOVE
        count = ceil((high - low) / STEP) + 1
        self.log_theta: Array = low + STEP * np.arange(count, dtype=np.float64)
        self.theta = np.exp(self.log_theta)
        # what the base sums are of, see _based
        weight = population.weight
        self.base_rows: Array = np.array(
            [sigma * weight, weight, population.positive, weight * population.target_power]
        )

    @property
    def bytes(self) -> int:
        """What it takes in memory, about."""
        return 8 * (self.size * (10 + self._kept * self.theta.size) + 40 * self.theta.size)

    @cached_property
    def rate_rows(self) -> Array:
        """What, summed with Q³ and Q⁴, the derivatives of Σ S² and Σ σ U² w² by θ are made of; shape (2, modes)."""
        population = self.population
        return np.array([self.base_rows[0], self.base_rows[3] * population.eigenvalues])

    @cached_property
    def _squares(self) -> Array | None:
        """Q² on the grid, shape (points, modes); None where it is too large to keep."""
        return _squares(self.population.eigenvalues, self.theta) if self._kept else None

    @property
    def _kept(self) -> bool:
        return self.theta.size * self.size <= _CHUNK

    @cached_property
    def base(self) -> Sums:
        """The sums on the grid, without labels."""
        return self._based(self.theta, self.products(self.base_rows))

    @cached_property
    def continued(self) -> tuple[Array, Sums]:
        """ln θ and the sums, without labels, from a little below the grid's end to far beyond it."""
        log_theta = self.log_theta[-_OVERLAP] + STEP * np.arange(_BEYOND)
        return log_theta, self.sums(np.exp(log_theta))

    def products(self, rows: Array, theta: Array | None = None) -> Array:
        """Σ_i Q_i² rows_i at each θ (None: on the grid); rows of shape (rows, modes), result (rows, points)."""
        if theta is None:
            if self._squares is not None:
                return np.asarray(rows.dot(self._squares.T))
            theta = self.theta
        sigma, step = self.population.eigenvalues, max(1, _CHUNK // self.size)
        parts = [rows.dot(_squares(sigma, theta[i : i + step]).T) for i in range(0, theta.size, step)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def on_grid(self, columns: Columns | None, *, features: bool) -> Sums:
        """The sums on the grid."""
        return self._extended(self.base, None, columns, features=features)

    def sums(self, theta: Array, columns: Columns | None = None, *, features: bool = False) -> Sums:
        """The sums at any θ >= 0."""
        base = self._based(theta, self.products(self.base_rows, theta))
        return self._extended(base, theta, columns, features=features)

    def _based(self, theta: Array, products: Array) -> Sums:
        df2, spread, left2, signal = products
        spread, square = theta * spread, theta * theta
        left2 = square * left2
        left1 = spread + left2
        freedom = Freedom(self.population.rank, df2 + spread, df2, left1, left1 + spread)
        return Sums(theta, freedom, square * signal)

    def _extended(self, base: Sums, theta: Array | None, columns: Columns | None, *, features: bool) -> Sums:
        if columns is None and not features:
            return base
        sigma, population, at = self.population.eigenvalues, self.population, base.theta
        rows: list[Array] = []
        if columns is not None:
            rows = [columns.ss * (sigma * sigma), columns.su * sigma, columns.uu]
        if features:
            weight = population.weight
            rows.append(np.array([weight, weight * sigma * population.target_power]))
        found = self.products(np.concatenate(rows), theta)
        labels, extra = None, None
        if columns is not None:
            a, b = len(columns.ss), len(columns.ss) + len(columns.su)
            labels = found[:a], at * found[a:b], at * at * found[b : b + len(columns.uu)]
        if features:
            extra = Features(at * at * found[-2], found[-2], found[-1])
        return replace(base, labels=labels, features=extra)


def _squares(sigma: Array, theta: Array) -> Array:
    """Q², shape (points, modes), and 0 where both are 0; in place, since fresh memory costs more than arithmetic."""
    total = sigma + theta[:, None]
    if theta.min() == 0:
        total[total == 0] = np.inf
    np.multiply(total, total, out=total)
    return np.divide(1.0, total, out=total)
