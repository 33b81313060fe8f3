"""Recursions of one source a stage, of weight 1, one covariance and no random features: the mix that is asked for most.

The general engine's formulas for many such recursions on one population side by side: a sweep is one call. A single
prediction goes through plain_one.py where it can, and is a batch of one where it cannot. Everything about the last
stage is a sum over modes with Q² = 1/(σ+θ)² (see grid.py), so that the curve over penalties, the points of interest and
their derivatives are matrix products. What is not regular (thresholds, no data, optima at an end of their range) is
marked and left to the general engine, the referee of all.
"""

from dataclasses import replace
from typing import Final

import numpy as np

from service.theory.effective_samples import effective_samples, effective_samples_at
from service.theory.freedom import Freedom
from service.theory.grid import Sums
from service.theory.model import Array, Mask, Population
from service.theory.penalty import Minima, interpolated_minima, settled
from service.theory.recursion import Fits, Recursion
from service.theory.ridges import effective_ridges
from service.theory.scenarios import Outcomes, Point, Scenarios

INTERPOLATION: Final = 1e-6  # a value of the interpolant this right vouches for the place of its minimum
_ROUNDING: Final = 1e-15


def outcomes(population: Population, scenarios: Scenarios) -> Outcomes:
    """The outcomes of scenarios; every mode of the population has variance, its own noise is not used."""
    with np.errstate(all="ignore"):  # what overflows or is not defined is not regular
        return _Batch(population, scenarios).outcomes()


def condensed_outcomes(population: Population, scenarios: Scenarios) -> Outcomes:
    """The same by the few modes of the condensed population.

    Not regular where the last labels may carry nothing of the truth: that is a matter of quotients, mode by mode.
    """
    found = outcomes(population.condensed, scenarios)
    if population.condensation is None:
        return found
    useful = found.best.total < (1.0 - INTERPOLATION) * population.signal
    return replace(found, regular=found.regular & useful)


class _Batch:
    def __init__(self, population: Population, scenarios: Scenarios) -> None:
        self.population, self.given, self.grid = population, scenarios, population.grid
        self.samples = scenarios.samples
        self.thetas = self._ridges()
        runs = scenarios.run_samples.shape[1]
        fits = [Fits(population, self.thetas[k], scenarios.run_samples[:, k]) for k in range(runs)]
        self.rooms = [fit.room for fit in fits]
        self.past = Recursion(
            population, list(zip(scenarios.runs, fits, strict=True)), scenarios.generator_noise
        )

    def _ridges(self) -> list[Array]:
        """Effective ridges of each run of generators, and of the last stage at the given penalties."""
        s = self.given
        runs, last = s.run_samples.shape[1], np.broadcast(s.samples, s.penalty).size
        samples = [*s.run_samples.T, s.samples if s.samples.size == last else np.repeat(s.samples, last)]
        penalties = [*s.run_penalties.T, s.penalty if s.penalty.size == last else np.repeat(s.penalty, last)]
        found = effective_ridges(self.population, np.concatenate(samples), np.concatenate(penalties))
        size = s.run_samples.shape[0]
        return [found[k * size : (k + 1) * size] for k in range(runs)] + [found[runs * size :]]

    def outcomes(self) -> Outcomes:
        """See Outcomes."""
        theta, value, holds = self._optima()
        regular = holds[0]
        useful = regular & (value[0] < (1.0 - INTERPOLATION) * self.population.signal)
        useless = None if useful.all() else self._useless()
        if useless is not None:
            theta[0] = np.where(useless, theta[1], theta[0])  # any number: what is there is replaced below
        count = theta.shape[1]  # optima do not depend on the given penalty
        best, clean = theta
        given, penalty = self.thetas[-1], self.given.penalty
        if given.size < count:
            given = np.repeat(given, count)
        chosen = np.isnan(penalty)
        if chosen.any():
            given = np.where(chosen, best, given)
        points = Points(self.population, self.given, self.past, np.concatenate([given, best, clean]))
        a, b, c = given.size, given.size + count, given.size + 2 * count
        there, best_there, clean_there = slice(0, a), slice(a, b), slice(b, c)
        totals, clean_totals = points.totals, points.bias + points.variance
        best_total, clean_total = totals[best_there], clean_totals[clean_there]
        regular &= np.abs(best_total - value[0]) <= INTERPOLATION * best_total
        regular &= best_total < self.population.signal
        samples, found = effective_samples_at(self.population, self.given.real_noise, best_total)
        for i in np.flatnonzero(regular & ~found):
            noise = float(self.given.real_noise[i if self.given.real_noise.size > 1 else 0])
            samples[i] = effective_samples(self.population, noise, None, float(best_total[i]))
        if useless is not None:
            samples = np.where(useless, 0.0, samples)
            regular = (regular | useless) & ~(useless & chosen)
        regular &= holds[1] & (np.abs(clean_total - value[1]) <= INTERPOLATION * clean_total)
        responses = points.noise_responses(b)
        at_given = points.point(there, np.where(chosen, points.penalties[there], penalty), responses)
        at_best = points.point(best_there, points.penalties[best_there], responses)
        rooms = np.array(self.rooms).T if self.rooms else np.empty((1, 0))
        return Outcomes(
            regular & (at_given.total < np.inf),
            at_given,
            at_best if useless is None else at_best.zeroed(useless, self.population.signal, self.samples),
            points.penalties[clean_there],
            clean_total,
            totals[clean_there],
            samples,
            rooms,
            tuple(self.thetas[:-1]),
            (given, best, clean),
            self.past,
        )

    def _useless(self) -> Mask | None:
        """Where the last generator's labels carry nothing of the truth, to rounding: predicting zero is best.

        No shrinkage S of a model m lowers Σ σ E (S m − w)² by more than Σ σ E[m w]²/E m².
        """
        past, population = self.past, self.population
        overlap = population.target_power + past.cross
        most = (overlap * overlap / past.model).dot(population.weight)[:, 0]
        useless = most <= _ROUNDING * population.signal
        return np.asarray(useless) if useless.any() else None

    # --- penalties ------------------------------------------------------------------------------

    def _optima(self) -> tuple[Array, Array, Mask]:
        """θ and value of the least error of the mix and of the clean stage, shape (2, optima); where both hold."""
        grid, moments = self.grid, self.past.moments
        rows = moments.reshape(-1, moments.shape[-1])
        found, holds = self._minima(grid.log_theta, grid.base, grid.products(rows))
        theta, value, bend = (part.reshape(2, -1) for part in (found.theta, found.value, found.bend))
        if np.isnan(value).any():  # labels may be so noisy that the best penalty lies beyond the grid
            log_theta, base = self.grid.continued
            further, _ = self._minima(log_theta, base, grid.products(rows, base.theta))
            beyond = np.isnan(value) & ~np.isnan(further.value.reshape(value.shape))
            for mine, other in ((theta, further.theta), (value, further.value), (bend, further.bend)):
                mine[beyond] = other.reshape(mine.shape)[beyond]
            holds |= beyond
        theta = settled(
            Minima(theta.ravel(), value.ravel(), bend.ravel()),
            lambda theta: slopes(self.population, self.given, self.past, theta),
        ).reshape(theta.shape)
        if not holds.all():
            holds |= self._at_zero(theta.shape[1]) > value
        return theta, value, holds

    def _at_zero(self, count: int) -> Array:
        """The error of the mix and of the clean stage at penalty 0, nan at its threshold; shape (2, optima)."""
        theta = effective_ridges(self.population, self.samples, np.zeros_like(self.samples))
        points = Points(self.population, self.given, self.past, np.repeat(theta, count // theta.size))
        return np.array([points.totals, points.bias + points.variance])

    def _minima(self, log_theta: Array, base: Sums, products: Array) -> tuple[Minima, Mask]:
        """As interpolated on points of equal distance in ln θ; ``products``: sums of the moments' rows there."""
        s, theta, freedom, samples = self.given, base.theta, base.freedom, self.samples[:, None]
        reached = np.atleast_2d(freedom.above_first(samples) >= 0)  # elsewhere no penalty >= 0 leads
        room = np.atleast_2d(freedom.above_second(samples))
        ratio = freedom.df2 / room
        sums = products.reshape(-1, 3, theta.size)
        bias = sums[:, 0] - 2.0 * theta * sums[:, 1] + base.signal
        drive = theta * theta * sums[:, 2] + s.noise[:, None]
        mix = bias + ratio * drive
        clean = base.signal + ratio * (base.signal + s.real_noise[:, None])
        count = max(len(mix), len(clean))
        curves = np.empty((2, count, theta.size))
        curves[0], curves[1] = mix, clean
        curves = np.where(
            room > 0, curves, np.inf
        )  # it goes on smoothly below penalty 0, as far as room is left
        allowed = np.empty(curves.shape, dtype=bool)
        allowed[:] = reached
        first = reached.argmax(axis=1)
        peak = ratio[np.arange(first.size), first]
        found = interpolated_minima(log_theta, curves.reshape(2 * count, -1), allowed.reshape(2 * count, -1))
        value = found.value.reshape(2, count)
        # where label noise alone exceeds the minimum at smaller θ, penalty 0 is not the best
        holds = np.empty((2, count), dtype=bool)
        holds[0], holds[1] = peak * s.noise > value[0], peak * s.real_noise > value[1]
        return found, holds


def slopes(population: Population, scenarios: Scenarios, past: Recursion, theta: Array) -> Array:
    """Derivatives by ln θ of the errors of the mix and, below them, of the clean stage; shape (2 optima,)."""
    s, count = scenarios, theta.size // 2
    total = population.eigenvalues + theta[:, None]
    squares = total * total
    np.divide(1.0, squares, out=squares)
    cubes = np.divide(squares, total, out=total)
    df2, spread, left, signal, _, b, m = _both(population, past, squares)
    df2_falls, _, _, signal_falls, a_falls, b_falls, m_falls = 2.0 * theta * _both(population, past, cubes)
    noise, samples = np.empty(theta.size), np.empty(theta.size)
    noise[:count], noise[count:], samples[:count], samples[count:] = (
        s.noise,
        s.real_noise,
        s.samples,
        s.samples,
    )
    spread, square = theta * spread, theta * theta
    left1 = spread + square * left
    room = Freedom(population.rank, df2 + spread, df2, left1, left1 + spread).above_second(samples)
    ratio = df2 / room
    bias_rises = square * (2.0 * signal - signal_falls) - a_falls - 2.0 * theta * (b - b_falls)
    drive_rises = square * (2.0 * m - m_falls)
    drive = square * m + noise
    return np.asarray(bias_rises + ratio * (drive_rises - df2_falls / df2 * samples / room * drive))


def _both(population: Population, past: Recursion, rows: Array) -> Array:
    """Of rows of the mix and, below them, of the clean stage: sums of the base rows and of the moments."""
    count = len(rows) // 2
    sums = np.zeros((7, 2 * count))
    sums[:4] = population.grid.base_rows.dot(rows.T)
    sums[4:, :count] = _sums(past.moments, rows[:count])
    sums[6, count:] = sums[3, count:]  # true labels: E e = 0
    return sums


class Points:
    """The last stage at effective ridges θ, as many for each scenario: all scenarios at the first, at the second, …"""

    def __init__(self, population: Population, scenarios: Scenarios, past: Recursion, theta: Array) -> None:
        self.population, self.past, self.theta = population, past, theta
        Q = 1.0 / (population.eigenvalues + theta[:, None])
        self.squares = Q * Q
        sums = population.grid.base_rows.dot(self.squares.T)
        df2, spread, left2, left = sums
        spread, square = theta * spread, theta * theta
        left1 = spread + square * left2
        freedom = Freedom(population.rank, df2 + spread, df2, left1, left1 + spread)
        samples = self._aligned(scenarios.samples)
        self.room: Array = freedom.above_second(samples)
        self.ratio = df2 / self.room
        self.penalties: Array = theta * freedom.above_first(samples) / samples
        left = square * left
        moments = _sums(past.moments, self.squares)
        noise, real_noise = self._aligned(scenarios.noise), self._aligned(scenarios.real_noise)
        mean = moments[0] - 2.0 * theta * moments[1] + left
        self.totals = mean + self.ratio * (square * moments[2] + noise)
        self.bias, self.variance = left * (1.0 + self.ratio), self.ratio * real_noise
        self.mismatch = self.ratio * (noise - real_noise)

    def _aligned(self, values: Array) -> Array:
        """One number for all points, or one for each."""
        return values if values.size == 1 else np.tile(values, self.theta.size // values.size)

    def point(self, part: slice, penalty: Array, responses: Array) -> Point:
        """Some of the points, at these penalties; ``responses``: noise_responses of them all."""
        return Point(
            penalty,
            self.totals[part],
            self.bias[part],
            self.variance[part],
            self.mismatch[part],
            responses[part],
            self.room[part],
        )

    def noise_responses(self, count: int) -> Array:
        """Of the first ``count`` points, see Point; shape (count, generations)."""
        past, population = self.past, self.population
        if past.noise.shape[1] == 0:
            return np.empty((count, 0))
        sigma, square = population.eigenvalues, (self.ratio * self.theta * self.theta)[:count]
        gradient = self.squares[:count] * (population.weight * (sigma * sigma + square[:, None]))
        responses = past.noise_responses(_grouped(gradient, len(past.moments)))
        return responses.swapaxes(0, 1).reshape(count, -1)


def _sums(moments: Array, rows: Array) -> Array:
    """Sums over modes of Recursion.moments with rows of points, as Q²; shape (3, points)."""
    if len(moments) == 1:
        return np.asarray(moments[0].dot(rows.T))
    values = moments @ _grouped(rows, len(moments)).swapaxes(1, 2)
    return np.asarray(values.transpose(1, 2, 0).reshape(values.shape[1], -1))


def _grouped(rows: Array, count: int) -> Array:
    """Rows of all points, those of one recursion together: shape (recursions, points of one, modes)."""
    return rows[None] if count == 1 else rows.reshape(-1, count, rows.shape[-1]).swapaxes(0, 1)
