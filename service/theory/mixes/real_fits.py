"""Fits to real labels alone, side by side: what mixes are compared with. All samples of a fit have one weight ω.

With c = Σ σ U² w² the error is c + ratio (c + noise), ratio = Σ S²/(T − Σ S²); weight ω at penalty λ is weight 1 at
λ/ω.
"""

from dataclasses import dataclass

import numpy as np

from service.theory.mixes.errors import CleanParts, clean_parts
from service.theory.model import Array, Mask, Population
from service.theory.plain_correction import corrections
from service.theory.ridges import effective_ridges


@dataclass(frozen=True, eq=False)
class RealPoints:
    """At effective ridges: ``bias``, ``ratio`` (the variance is ratio × noise) and ``penalty``; shapes (…, fits)."""

    theta: Array
    bias: Array
    ratio: Array
    penalty: Array

    def part(self, kind: int, fits: slice) -> "RealPoints":
        """Of arrays of shape (kinds, fits), one kind's."""
        return RealPoints(
            self.theta[kind, fits], self.bias[kind, fits], self.ratio[kind, fits], self.penalty[kind, fits]
        )


@dataclass(frozen=True, eq=False)
class RealFits:
    """``samples``, ``weight``, ``noise``: one for all fits, or one for each, shapes (fits or 1,)."""

    population: Population
    samples: Array
    weight: Array
    noise: Array

    def ridges(self, penalties: Array) -> Array:
        """Effective ridges at penalties, shapes (…, fits); nan at the threshold."""
        samples, scaled = np.broadcast_arrays(self.samples, penalties / self.weight)
        return effective_ridges(self.population, samples.ravel(), scaled.ravel()).reshape(scaled.shape)

    def on_grid(self) -> tuple[Array, Mask, Array]:
        """The error at the grid's points, where a penalty >= 0 leads, and what label noise alone makes of it where that
        begins; shapes (fits, points) and (fits,)."""
        base, samples = self.population.grid.base, self.samples[:, None]
        reached = np.atleast_2d(base.freedom.above_first(samples) > 0)
        room = np.atleast_2d(base.freedom.above_second(samples))
        ratio = base.freedom.df2 / room
        error = base.signal + ratio * (base.signal + self.noise[:, None])
        floor = ratio[np.arange(len(ratio)), reached.argmax(axis=1)] * self.noise
        return np.where(room > 0, error, np.inf), np.broadcast_to(reached, error.shape), floor

    def at(self, theta: Array) -> RealPoints:
        """At effective ridges, shape (…, fits)."""
        population, samples = self.population, self.samples
        Q = 1.0 / (population.eigenvalues + theta.ravel()[:, None])
        sums = population.grid.base_rows.dot((Q * Q).T).reshape(4, *theta.shape)
        df2, spread, left2, signal = sums
        spread, square = theta * spread, theta * theta
        left1 = spread + square * left2
        ratio = df2 / self._spare(df2, left1 + spread)
        few = population.rank > 2 * samples
        penalty = theta * np.where(few, samples - df2 - spread, (samples - population.rank) + left1)
        return RealPoints(theta, square * signal * (1.0 + ratio), ratio, penalty / samples * self.weight)

    def slopes(self, theta: Array) -> Array:
        """The derivatives of the errors by ln θ at effective ridges, shapes (fits,)."""
        population, square = self.population, theta * theta
        Q = 1.0 / (population.eigenvalues + theta[:, None])
        QQ = Q * Q
        df2, spread, left2, signal = population.grid.base_rows.dot(QQ.T)
        falls, rises = population.grid.rate_rows.dot((QQ * Q).T)
        spare = self._spare(df2, 2.0 * theta * spread + square * left2)
        rises = 2.0 * square * rises  # of the bias
        grows = -2.0 * theta * falls * self.samples / (spare * spare)  # of the ratio
        return np.asarray(rises * (1.0 + df2 / spare) + grows * (square * signal + self.noise))

    def _spare(self, df2: Array, left2: Array) -> Array:
        """T − Σ S²."""
        samples, rank = self.samples, self.population.rank
        return np.where(rank > 2 * samples, samples - df2, (samples - rank) + left2)

    def corrected(self, theta: Array) -> CleanParts:
        """The parts of the error to order 1, at effective ridges, shape (…, fits)."""
        samples, theta = np.broadcast_arrays(self.samples, theta)
        found = corrections(self.population, samples.ravel(), theta.ravel())
        truth, noise = (np.stack(pair).reshape(2, *theta.shape) for pair in (found.truth, found.noise))
        return clean_parts(truth, noise, self.noise)
