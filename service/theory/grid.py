"""Sums over modes as functions of the effective ridge θ, on a grid that a population makes once.

With one covariance every expected error is a function of θ through weighted sums of S², SU and U², where
S = σ/(σ+θ) and U = θ/(σ+θ). They are analytic in ln θ within a strip of half-width π, so six points a decade carry them
to about 1e-9: enough to see every minimum, to start Newton next to its root, and to interpolate to an optimum.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, log
from typing import Final

import numpy as np

from service.theory.freedom import Freedom
from service.theory.model import Array, Population

STEP: Final = log(10.0) / 6.0
_BELOW: Final = log(10.0) * 1.5  # the grid begins so far below the least eigenvalue
_ABOVE: Final = log(10.0) * 2.0  # and ends so far above the trace
_CHUNK: Final = 1_000_000


@dataclass(frozen=True, eq=False)
class Columns:
    """Vectors over modes to be summed with S², S U and U²; shape (modes, columns), weights included."""

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

    ``labels``: the sums of Columns, each of shape (points, columns).
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
        positive = population.eigenvalues[population.eigenvalues > 0]
        low = log(float(positive.min())) - _BELOW
        high = log(population.trace) + _ABOVE
        count = ceil((high - low) / STEP) + 1
        self.log_theta: Array = low + STEP * np.arange(count, dtype=np.float64)
        self.theta = np.exp(self.log_theta)
        self._signal = population.weight * population.target_power

    @cached_property
    def _kernels(self) -> tuple[Array, Array, Array]:
        return _kernels(self.population.eigenvalues, self.theta)

    @cached_property
    def base(self) -> Sums:
        """The sums on the grid, without labels."""
        if self.theta.size * self.size > _CHUNK:
            return self.sums(self.theta)
        return self._sums(self.theta, self._kernels, None, features=False)

    def on_grid(self, columns: Columns | None, *, features: bool) -> Sums:
        """The sums on the grid."""
        if columns is None and not features:
            return self.base
        if self.theta.size * self.size > _CHUNK:
            return self.sums(self.theta, columns, features=features)
        if features or columns is None:
            return self._sums(self.theta, self._kernels, columns, features=features)
        ss, su, uu = self._kernels
        return replace(self.base, labels=(ss @ columns.ss, su @ columns.su, uu @ columns.uu))

    def weighted_sums(self, ss: Array, su: Array, uu: Array) -> tuple[Array, Array, Array]:
        """Σ S² ·, Σ S U · and Σ U² · on the grid, of one vector over modes each."""
        if self.theta.size * self.size > _CHUNK:
            labels = self.sums(self.theta, Columns(ss[:, None], su[:, None], uu[:, None])).labels
            assert labels is not None
            return labels[0][:, 0], labels[1][:, 0], labels[2][:, 0]
        kernels = self._kernels
        return kernels[0].dot(ss), kernels[1].dot(su), kernels[2].dot(uu)

    def sums(self, theta: Array, columns: Columns | None = None, *, features: bool = False) -> Sums:
        """The sums at any θ >= 0."""
        step = max(1, _CHUNK // self.size)
        if theta.size > step:
            parts = [theta[i : i + step] for i in range(0, theta.size, step)]
            return _joined([self.sums(part, columns, features=features) for part in parts])
        return self._sums(theta, _kernels(self.population.eigenvalues, theta), columns, features=features)

    def _sums(
        self, theta: Array, kernels: tuple[Array, Array, Array], columns: Columns | None, *, features: bool
    ) -> Sums:
        ss, su, uu = kernels
        population = self.population
        multiplicity = population.multiplicities
        df2, spread, left2 = ss.dot(multiplicity), su.dot(multiplicity), uu.dot(multiplicity)
        extra = None
        if features:
            gain = _ratio(ss, population.eigenvalues).dot(multiplicity)
            power = ss.dot(multiplicity * population.target_power)
            extra = Features(uu.dot(population.weight), gain, power)
        labels = None if columns is None else (ss @ columns.ss, su @ columns.su, uu @ columns.uu)
        left1 = spread + left2 - population.null_modes
        freedom = Freedom(population.rank, df2 + spread, df2, left1, left1 + spread)
        return Sums(theta, freedom, uu.dot(self._signal), labels, extra)


def _kernels(sigma: Array, theta: Array) -> tuple[Array, Array, Array]:
    """S², S U and U², shape (points, modes); in place, since fresh memory costs more than the arithmetic."""
    total = sigma + theta[:, None]
    if theta.min() > 0:
        U = np.divide(1.0, total, out=total)
        S = sigma * U
        U *= theta[:, None]
    else:  # at θ = 0 a mode is learned entirely, or not at all where it has no variance
        S = _ratio(sigma, total)
        U = np.divide(theta[:, None], total, out=np.ones_like(total), where=total > 0)
    squared = S * S
    S *= U
    U *= U
    return squared, S, U


def _ratio(a: Array, b: Array) -> Array:
    """a/b, and 0 where b is 0."""
    shape = np.broadcast_shapes(a.shape, b.shape)
    return np.divide(a, b, out=np.zeros(shape), where=b > 0)


def _joined(parts: list[Sums]) -> Sums:
    labels: tuple[Array, Array, Array] | None = None
    if parts[0].labels is not None:
        first, second, third = (np.concatenate([p.labels[i] for p in parts if p.labels]) for i in range(3))
        labels = (first, second, third)
    features = None
    if parts[0].features is not None:
        found = [part.features for part in parts if part.features is not None]
        features = Features(
            np.concatenate([f.epsilon for f in found]),
            np.concatenate([f.gain for f in found]),
            np.concatenate([f.power for f in found]),
        )
    freedoms = [part.freedom for part in parts]
    freedom = Freedom(
        freedoms[0].rank,
        np.concatenate([f.df1 for f in freedoms]),
        np.concatenate([f.df2 for f in freedoms]),
        np.concatenate([f.left1 for f in freedoms]),
        np.concatenate([f.left2 for f in freedoms]),
    )
    theta, signal = np.concatenate([p.theta for p in parts]), np.concatenate([p.signal for p in parts])
    return Sums(theta, freedom, signal, labels, features)
