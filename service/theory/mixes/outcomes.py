"""What the theory says about many mixes side by side.

What is not regular (thresholds, no data, optima at an end of their range) is marked and left to the general engine,
the referee of all.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, Literal

import numpy as np

from service.theory.effective_samples import effective_samples_at
from service.theory.mixes.adjoint import origins
from service.theory.mixes.errors import CleanParts, Errors, asymptotic, asymptotic_parts, corrected
from service.theory.mixes.fits import Fits
from service.theory.mixes.last import LastStage
from service.theory.mixes.real_fits import RealFits, RealPoints
from service.theory.mixes.scenarios import Mixes
from service.theory.mixes.solved import Solved
from service.theory.model import Array, Mask, Population
from service.theory.penalty import apart, difference, interpolated_minima, settled

INTERPOLATION: Final = 1e-6  # a value of the interpolant this right vouches for the place of its minimum
ROOM: Final = 1e-9  # next to a threshold what is left of the samples is rounding


@dataclass(frozen=True, eq=False)
class Optima:
    """The least errors of the mix and of the clean stage.

    ``theta``, ``value``: effective ridge and value, ``regular``: where they are what they seem; shapes (scenarios,)
    and, for ``real_…``, (clean stages,).
    """

    theta: Array
    value: Array
    regular: Mask
    real_theta: Array
    real_value: Array
    real_regular: Mask


@dataclass(frozen=True, eq=False)
class Point:
    """The last stage at one penalty: its errors of the order that was asked for."""

    penalty: Array
    errors: Errors


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What the theory says about scenarios, shape (scenarios or 1,).

    ``regular``: where it holds; ``small``: where the corrections of order 1 are (everywhere in order 0).
    """

    regular: Mask
    small: Mask
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
        self.solved, last = Solved(population, mixes), mixes.numbers[-1]
        self.designs = self.solved.designs
        self.last = LastStage(population, mixes, self.designs, self.solved.moments)
        self.count = max(
            len(self.designs.active), last.penalty.size, len(last.noise), len(mixes.real_noise),
            len(self.solved.moments), len(mixes.powers[-1]),
        )  # fmt: skip
        self.real = RealFits(population, last.samples.sum(axis=1), np.ones(1), mixes.real_noise)

    @cached_property
    def optima(self) -> Optima:
        """See Optima."""
        grid, (mix, reached), (real, real_reached, floor) = (
            self.population.grid, self.last.on_grid(), self.real.on_grid()
        )  # fmt: skip
        found = interpolated_minima(
            grid.log_theta, np.concatenate([mix, real]), np.concatenate([reached, real_reached])
        )
        n = len(mix)
        theta, value = settled(found, lambda theta: self._slopes(theta, n)), found.value
        holds = np.concatenate([np.broadcast_to(self.last.floor(), len(mix)), floor]) > value
        if not holds.all():  # penalty 0 may be the best of all
            holds |= self._at_zero(len(mix), len(real)) > value
        holds &= value < np.inf
        return Optima(theta[:n], value[:n], holds[:n], theta[n:], value[n:], holds[n:])

    def _slopes(self, theta: Array, mixes: int) -> Array:
        """Derivatives by ln θ of the errors of mixes and, below them, of the real fits."""
        near = apart(theta[:mixes])
        sides = near[None] if len(self.designs.active) == 1 else near.reshape(2, -1)
        kinds = [(side, self.solved.shares_at(side)[0]) for side in sides]
        totals = self.last.at(self.fits(kinds, sides.shape[1]))
        return np.concatenate([difference(totals), self.real.slopes(theta[mixes:])])

    def _at_zero(self, mixes: int, reals: int) -> Array:
        """The errors at penalty 0, nan at the threshold."""
        found, real = np.empty(mixes + reals), self.real.at(self.real.ridges(np.zeros(reals)))
        found[:mixes] = self.last.at(self.fits([self.solved.at(np.zeros(1))], mixes))
        found[mixes:] = real.bias + real.ratio * self.real.noise
        return found

    def outcomes(self, order: Literal[0, 1]) -> Outcomes:
        """See Outcomes."""
        optima = self.optima
        best = optima.theta
        shares, penalties = self.solved.shares_at(best)
        given, given_shares, penalty = self.solved.given(best, shares, penalties)
        thetas = self._real_ridges(penalty, penalties, optima.real_theta)
        real = self.real.at(thetas)
        own = real.part(2, slice(0, optima.real_theta.size))
        kinds = [(given, given_shares), (best, shares), self.solved.at(own.penalty)]
        fits = self.fits(kinds, self.count)
        totals = self.last.at(fits).reshape(len(kinds), self.count)
        parts = self.real.corrected(thetas) if order else asymptotic_parts(real.bias, real.ratio)
        errors = self._errors(order, fits, totals, parts)
        given_error, best_error, clean_error = errors
        real_totals = parts.bias[2] + parts.by_noise[2] * self.real.noise
        samples, worth = effective_samples_at(
            self.population, np.broadcast_to(self.mixes.real_noise, self.count), totals[1]
        )
        known = np.isfinite(parts.bias[0] + parts.by_noise[0])  # the clean stage at the given penalty
        return Outcomes(
            self._regular(totals, own) & worth & self.roomy(fits) & known,
            given_error.small & best_error.small & clean_error.small & np.asarray(parts.small.all(axis=0)),
            Point(penalty, given_error),
            Point(penalties, best_error),
            own.penalty,
            real_totals,
            clean_error.total,
            samples,
        )

    def _real_ridges(self, given: Array, best: Array, own: Array) -> Array:
        """Effective ridges of the real fits at the given and the best penalties and at their own; (3, real fits)."""
        penalties = np.empty((2, max(given.size, best.size, own.size)))
        penalties[0], penalties[1] = given, best
        found = np.empty((3, penalties.shape[1]))
        found[:2], found[2] = self.real.ridges(penalties), own
        return found

    def _errors(self, order: Literal[0, 1], fits: Fits, totals: Array, parts: CleanParts) -> list[Errors]:
        """At the given, the best and the clean-optimal penalty; of the last in order 0 the total alone matters."""
        noises, count = [numbers.noise for numbers in self.mixes.numbers], self.count
        kinds = 3 if order else 2
        found = origins(
            self.mixes.links, self.mixes.powers, self.solved.fits, fits.part(slice(0, kinds * count)),
            points=kinds, orders=order + 1,
        )  # fmt: skip
        real_noise, own = self.mixes.real_noise, [parts.part(k) for k in range(3)]
        if order:
            return [corrected(found, k, own[k], noises, real_noise) for k in range(3)]
        errors = [asymptotic(found, k, totals[k], own[k], noises, real_noise) for k in range(2)]
        return [*errors, replace(errors[1], total=totals[2])]

    def _regular(self, totals: Array, own: RealPoints) -> Mask:
        """Whether the optima are where their values are, and all errors finite."""
        optima, signal = self.optima, self.population.signal
        least, value = totals[1], optima.value
        real = own.bias + own.ratio * self.real.noise
        fine = optima.real_regular & (np.abs(real - optima.real_value) <= INTERPOLATION * real)
        fine &= real < (1.0 - INTERPOLATION) * signal
        regular = optima.regular & fine & (np.abs(least - value) <= INTERPOLATION * least)
        return np.asarray(
            regular & (least < (1.0 - INTERPOLATION) * signal) & (totals[:3] < np.inf).all(axis=0)
        )

    def roomy(self, fits: Fits) -> Mask:
        """Whether no fit is so close to its threshold that its room is rounding."""
        roomy = (fits.room.reshape(-1, self.count) > ROOM).all(axis=0)
        for one in {id(one): one for one in self.solved.fits}.values():
            roomy = roomy & (one.room > ROOM)
        return np.asarray(roomy)

    def fits(self, kinds: list[tuple[Array, Array]], rows: int) -> Fits:
        """Of the last stage: ``rows`` scenarios of each kind of effective ridges and shares."""
        theta = np.concatenate([_repeated(theta, rows) for theta, _ in kinds])
        shares = np.concatenate([_repeated(shares, rows) for _, shares in kinds])
        designs = self.designs if len(self.designs.active) == 1 else self.designs.repeated(len(kinds))
        return Fits(self.population, designs, theta, shares)


def _repeated(values: Array, rows: int) -> Array:
    """As many rows of values that have one for all, or one for each."""
    return values if len(values) == rows else np.broadcast_to(values, (rows, *values.shape[1:]))
