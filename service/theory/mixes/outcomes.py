"""What the theory says about many mixes side by side.

What is not regular (thresholds, no data, optima at an end of their range) is marked and left to the general engine,
the referee of all.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

import numpy as np

from service.theory.effective_samples import effective_samples_at
from service.theory.mixes.adjoint import origins
from service.theory.mixes.errors import CleanParts, Errors, asymptotic, corrected
from service.theory.mixes.last import LastStage
from service.theory.mixes.fits import Fits
from service.theory.mixes.real_fits import RealFits, RealPoints
from service.theory.mixes.scenarios import Mixes
from service.theory.mixes.solved import Solved
from service.theory.model import Array, Mask, Population
from service.theory.penalty import interpolated_minima

_INTERPOLATION: Final = 1e-6  # a value of the interpolant this right vouches for the place of its minimum
_ROOM: Final = 1e-9  # next to a threshold what is left of the samples is rounding


@dataclass(frozen=True, eq=False)
class Optima:
    """Of the mix and of the clean stage: effective ridge and value of the least error, and where they are regular;
    shapes (2, scenarios). ``curve``: of the mix on the grid, infinite where no penalty leads."""

    theta: Array
    value: Array
    regular: Mask
    curve: Array


@dataclass(frozen=True, eq=False)
class Point:
    """The last stage at one penalty: its fits, the clean stage's there, and the errors of ``order``."""

    penalty: Array
    fits: Fits
    clean: RealPoints
    errors: Errors


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What the theory says about scenarios, shape (scenarios or 1,).

    ``regular``: where it holds; ``small``: where the corrections of order 1 are (everywhere in order 0).
    """

    regular: Mask
    small: Mask
    optima: Optima
    given: Point
    best: Point
    clean_penalty: Array
    clean_total: Array
    total_at_clean: Array
    effective_samples: Array


def outcomes(population: Population, mixes: Mixes, order: Literal[0, 1] = 0) -> Outcomes:
    """The outcomes of mixes that ``is_mixed`` takes, values of this order."""
    with np.errstate(all="ignore"):  # what overflows or is not defined is not regular
        return Batch(population, mixes).outcomes(order)


class Batch:
    """Scenarios on one population; what their outcomes share is computed once."""

    def __init__(self, population: Population, mixes: Mixes) -> None:
        self.population, self.mixes = population, mixes
        self.solved = Solved(population, mixes)
        last = mixes.numbers[-1]
        self.designs = self.solved.designs
        self.last = LastStage(population, mixes.links[-1], self.designs, last.noise, self.solved.moments)
        self.count = max(
            len(self.designs.active), len(last.noise), len(mixes.real_noise), len(self.solved.moments.matrix)
        )
        self.clean = RealFits(population, last.samples.sum(axis=1), np.ones(1), mixes.real_noise)
        # then the clean stage's response is the mix's own
        self.same = bool((self.designs.common & (self.designs.largest == 1)).all()) and bool(
            (self.designs.active == self.designs.total).all()
        )

    @cached_property
    def optima(self) -> Optima:
        """See Optima."""
        grid, count = self.population.grid, self.count
        mix, reached = self.last.on_grid()
        clean, clean_reached, clean_floor = self.clean.on_grid()
        curves = np.empty((2, count, grid.theta.size))
        allowed = np.empty(curves.shape, dtype=bool)
        curves[0], curves[1], allowed[0], allowed[1] = mix, clean, reached, clean_reached
        theta, value = interpolated_minima(
            grid.log_theta, curves.reshape(2 * count, -1), allowed.reshape(2 * count, -1)
        )
        theta, value = theta.reshape(2, count), value.reshape(2, count)
        holds = np.empty((2, count), dtype=bool)
        holds[0], holds[1] = self.last.floor() > value[0], clean_floor > value[1]
        if not holds.all():  # penalty 0 may be the best of all
            holds |= self._at_zero() > value
        return Optima(theta, value, holds & (value < np.inf), np.where(allowed[0], curves[0], np.inf))

    def _at_zero(self) -> Array:
        """The errors at penalty 0, nan at the threshold; shape (2, scenarios)."""
        fits = self._fits([self.solved.at(np.zeros(1))], self.count)
        clean = self.clean.at(self.clean.ridges(np.zeros(1)))
        found = np.empty((2, self.count))
        found[0] = self.last.at(fits)
        found[1] = clean.bias + clean.ratio * self.clean.noise
        return found

    def outcomes(self, order: Literal[0, 1]) -> Outcomes:
        """See Outcomes."""
        best_theta, clean_theta = self.optima.theta
        best_shares, best_penalty = self.solved.shares_at(best_theta)
        clean_best = self.clean.at(clean_theta)
        given_theta, given_shares, penalty = self.solved.given(best_theta, best_shares, best_penalty)
        rows = max(self.count, penalty.size)
        if self.same:
            theta, shares, ridges = clean_theta, best_shares, [given_theta, best_theta]
        else:
            theta, shares = self.solved.at(clean_best.penalty)
            ridges = [self.clean.ridges(penalty), self.clean.ridges(best_penalty)]
        cleans = [*(self.clean.at(ridge) for ridge in ridges), clean_best]
        found = self._errors(
            order, rows, [(given_theta, given_shares), (best_theta, best_shares), (theta, shares)], cleans
        )
        least, clean_total = found[1][2], clean_best.bias + clean_best.ratio * self.clean.noise
        samples, worth = effective_samples_at(
            self.population, np.broadcast_to(self.mixes.real_noise, least.shape), least
        )
        signal, value = self.population.signal, self.optima.value
        regular = self.optima.regular.all(axis=0) & worth & (least < (1.0 - _INTERPOLATION) * signal)
        regular = regular & (np.abs(least - value[0]) <= _INTERPOLATION * least)
        regular = regular & (np.abs(clean_total - value[1]) <= _INTERPOLATION * clean_total)
        for fits, _, total in found:
            regular = regular & (fits.room > _ROOM) & (total < np.inf)
        for fits in self.solved.fits:
            regular = regular & (fits.room > _ROOM)
        given, best, clean = (errors for _, errors, _ in found)
        return Outcomes(
            regular,
            given.small & best.small & clean.small,
            self.optima,
            Point(penalty, found[0][0], cleans[0], given),
            Point(best_penalty, found[1][0], cleans[1], best),
            clean_best.penalty,
            clean.bias + clean.variance if order else clean_total,
            clean.total,
            samples,
        )

    def _errors(
        self,
        order: Literal[0, 1],
        rows: int,
        kinds: list[tuple[Array, Array]],
        cleans: list[RealPoints],
    ) -> list[tuple[Fits, Errors, Array]]:
        """Fits, errors and asymptotic totals at effective ridges and shares; the first for ``rows`` scenarios."""
        groups = [kinds] if rows == self.count else [kinds[:1], kinds[1:]]
        noises = [numbers.noise for numbers in self.mixes.numbers]
        found: list[tuple[Fits, Errors, Array]] = []
        for group in groups:
            size = rows if len(groups) == 2 and not found else self.count
            fits = self._fits(group, size)
            totals = self.last.at(fits).reshape(len(group), size)
            origin = origins(
                self.mixes.links, self.solved.fits, fits, len(group), order + 1, self.population.weight
            )
            for k in range(len(group)):
                clean = cleans[len(found)]
                if order == 0:
                    parts = CleanParts(clean.bias, clean.ratio, np.ones(1, dtype=bool))
                    errors = asymptotic(origin, k, totals[k], parts, noises, self.mixes.real_noise)
                else:
                    parts = self.clean.corrected(clean.theta)
                    errors = corrected(origin, k, parts, noises, self.mixes.real_noise)
                found.append((fits.part(slice(k * size, (k + 1) * size)), errors, totals[k]))
        return found

    def at(self, theta: Array) -> tuple[Array, Array]:
        """Penalties and asymptotic errors of the only scenario at effective ridges of its last stage."""
        shares, penalties = self.solved.shares_at(theta)
        shares = np.broadcast_to(shares, (theta.size, shares.shape[1]))
        return penalties, self.last.at(Fits(self.population, self.designs, theta, shares))

    def _fits(self, kinds: list[tuple[Array, Array]], rows: int) -> Fits:
        """Of the last stage: ``rows`` scenarios of each kind."""
        theta = np.concatenate([np.broadcast_to(theta, rows) for theta, _ in kinds])
        shares = np.concatenate([np.broadcast_to(shares, (rows, shares.shape[1])) for _, shares in kinds])
        designs = self.designs if len(self.designs.active) == 1 else self.designs.repeated(len(kinds))
        return Fits(self.population, designs, theta, shares)
