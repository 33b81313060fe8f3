"""One plain recursion: the formulas of plain_chain.py in plain numbers, which arrays of one would take longer for.

Where something is not regular (optima at an end of their range or next to it, labels that carry nothing of the truth)
plain_chain.py must look, which knows more of what may be the case.
"""

from math import exp, isnan
from typing import Final, NamedTuple, Self

import numpy as np

from service.theory.effective_samples import effective_samples, regular_effective_samples
from service.theory.flat_spectrum import FlatStage
from service.theory.flatness import EXCESS, interpolated_ends
from service.theory.grid import Sums
from service.theory.model import Array, Population
from service.theory.penalty import CLOSE, REACH, interpolated_minimum
from service.theory.plain_chain import INTERPOLATION
from service.theory.recursion import Fits, Recursion
from service.theory.ridges import one_effective_ridge
from service.theory.scenarios import Outcomes, Point, Scenarios

_INFINITE: Final = float("inf")


class Fit(NamedTuple):
    """The last stage at one penalty, see scenarios.Point."""

    penalty: float
    total: float
    bias: float
    variance: float
    mismatch: float
    room: float
    noise_responses: list[float]

    @classmethod
    def of(cls, point: Point) -> Self:
        """The only one of these."""
        return cls(
            float(point.penalty[0]),
            float(point.total[0]),
            float(point.bias[0]),
            float(point.variance[0]),
            float(point.mismatch[0]),
            float(point.room[0]),
            point.noise_responses[0].tolist(),
        )


class Outcome(NamedTuple):
    """What the theory says about one recursion, see scenarios.Outcomes; ``ends``: penalties and errors where its grid
    shows the error one per cent above the least."""

    given: Fit
    best: Fit
    clean_penalty: float
    clean_total: float
    total_at_clean: float
    effective_samples: float
    run_rooms: list[float]
    run_ridges: list[float]
    ridges: tuple[float, float, float]
    past: Recursion
    ends: list[tuple[float, float]]

    @classmethod
    def of(cls, found: Outcomes) -> Self:
        """The only one of these."""
        given, best, clean = (float(ridge[0]) for ridge in found.ridges)
        return cls(
            Fit.of(found.given),
            Fit.of(found.best),
            float(found.clean_penalty[0]),
            float(found.clean_total[0]),
            float(found.total_at_clean[0]),
            float(found.effective_samples[0]),
            found.run_rooms[0].tolist(),
            [float(ridge[0]) for ridge in found.run_ridges],
            (given, best, clean),
            found.past,
            [],
        )


def regular_outcome(population: Population, scenario: Scenarios) -> Outcome | None:
    """The outcome of the only scenario with the ends of its flat optimum, None where not all of it is regular."""
    with np.errstate(all="ignore"):  # what overflows or is not defined is not regular
        return _One(population, scenario).outcome()


class _One:
    def __init__(self, population: Population, scenario: Scenarios) -> None:
        self.population, s = population, scenario
        self.samples, self.penalty = s.samples.item(), s.penalty.item()
        self.noise, self.real_noise = s.noise.item(), s.real_noise.item()
        self.few = population.rank > 2 * self.samples  # see freedom.py
        self.excess = self.samples - population.rank
        self.run_ridges: list[float] = []
        self.run_rooms: list[float] = []
        runs = []
        fitted = zip(s.runs, s.run_samples[0].tolist(), s.run_penalties[0].tolist(), strict=True)
        for k, (length, samples, penalty) in enumerate(fitted):
            theta = one_effective_ridge(population, samples, penalty)
            fits = Fits(population, np.array([theta]), s.run_samples[:, k])
            runs.append((length, fits))
            self.run_ridges.append(theta)
            self.run_rooms.append(fits.room.item())
        self.past = Recursion(population, runs, s.generator_noise)
        # what is summed with Q²
        self.rows = np.concatenate([population.grid.base_rows, self.past.moments[0]])

    def outcome(self) -> Outcome | None:
        """See ``regular_outcome``."""
        population = self.population
        optima = self._optima()
        if optima is None:
            return None
        best, least, clean, clean_least, points, curve, penalties = optima
        chosen = isnan(self.penalty)
        given = best if chosen else one_effective_ridge(population, self.samples, self.penalty)
        theta, limit = [given, best, clean], (1.0 + EXCESS) * least
        low, high = interpolated_ends(points, curve, best, limit)
        endless = population.signal <= limit and not (curve[points.searchsorted(best) :] > limit).any()
        if low is not None and (high is not None or endless):
            theta.append(low)
            theta += [] if high is None else [high]
        (at_given, at_best, at_clean, *ends), responses = self._at(theta, 2)
        error, clean_error = at_best.total, at_clean.bias + at_clean.variance
        regular = (
            at_given.total < _INFINITE
            and error < population.signal
            and abs(error - least) <= INTERPOLATION * error
            and abs(clean_error - clean_least) <= INTERPOLATION * clean_error
        )
        if not regular:
            return None
        samples = regular_effective_samples(population, self.real_noise, error)
        if samples is None:
            samples = effective_samples(population, self.real_noise, None, error)
        best_penalty, clean_penalty = penalties or (at_best.penalty, at_clean.penalty)
        return Outcome(
            at_given._replace(penalty=best_penalty if chosen else self.penalty, noise_responses=responses[0]),
            at_best._replace(penalty=best_penalty, noise_responses=responses[1]),
            clean_penalty,
            clean_error,
            at_clean.total,
            samples,
            self.run_rooms,
            self.run_ridges,
            (given, best, clean),
            self.past,
            [(end.penalty, end.total) for end in ends] + [(_INFINITE, limit)] * (len(ends) == 1),
        )

    def _at(self, theta: list[float], answered: int = 0) -> tuple[list[Fit], list[list[float]]]:
        """The last stage at effective ridges, and the noise responses of the first ``answered`` of them."""
        population, samples, noise, real_noise = self.population, self.samples, self.noise, self.real_noise
        Q = 1.0 / (population.eigenvalues + np.array(theta)[:, None])
        squares = Q * Q
        found, drives = [], []
        for x, sums in zip(theta, squares.dot(self.rows.T).tolist(), strict=True):
            df2, spread, left2, left, second, cross, model = sums
            spread, square = x * spread, x * x
            left1, left = spread + square * left2, square * left
            room = samples - df2 if self.few else self.excess + (left1 + spread)
            ratio = df2 / room if room else _INFINITE
            penalty = x * (samples - (df2 + spread) if self.few else self.excess + left1) / samples
            total = second - 2.0 * x * cross + left + ratio * (square * model + noise)
            mismatch = ratio * (noise - real_noise)
            found.append(Fit(penalty, total, left * (1.0 + ratio), ratio * real_noise, mismatch, room, []))
            drives.append([ratio * square])
        if not answered or not self.past.blocks:
            return found, [[]] * answered
        drive = np.array(drives[:answered])
        gradient = squares[:answered] * (population.weight * (population.eigenvalues**2 + drive))
        return found, self.past.noise_responses(gradient[None])[0].tolist()

    def _optima(self) -> "_Optima | None":
        """None unless both lie well inside the range of penalties, and the mix's well below that of predicting zero."""
        population, samples, noise, real_noise = self.population, self.samples, self.noise, self.real_noise
        grid, rows = population.grid, self.rows[4:]
        log_theta, theta = grid.log_theta, grid.theta
        first = int(grid.base.freedom.above_first(samples).searchsorted(0.0))
        if first == theta.size:  # from here on a penalty >= 0 leads
            return None
        mix, clean, ratio = self._curves(grid.base, grid.products(rows))
        if population.eigenvalues.size == 1:
            mix[:first] = np.inf
            return self._flat(mix)
        least_at = [first + int(curve[first:].argmin()) for curve in (mix, clean)]
        if max(least_at) >= theta.size - REACH:  # labels so noisy that the best penalty lies beyond the grid
            further, sums = grid.continued
            kept = int(log_theta.searchsorted(further[0]))
            more = self._curves(sums, grid.products(rows, sums.theta))
            log_theta, theta, mix, clean = (
                np.concatenate([one[:kept], other])
                for one, other in zip(
                    (log_theta, theta, mix, clean), (further, sums.theta, *more[:2]), strict=True
                )
            )
            least_at = [first + int(curve[first:].argmin()) for curve in (mix, clean)]
        if min(least_at) == first:
            return None
        found = [
            interpolated_minimum(log_theta, curve, i) for curve, i in zip((mix, clean), least_at, strict=True)
        ]
        (best, least, bend), (clean_best, clean_least, clean_bend) = found
        # where label noise alone exceeds the minimum at smaller θ, penalty 0 is not the best
        peak = float(ratio[first])
        if not (peak * noise > least and peak * real_noise > clean_least):
            fits, _ = self._at([one_effective_ridge(population, samples, 0.0)])
            if not (fits[0].total > least and fits[0].bias + fits[0].variance > clean_least):
                return None
        if not (least < (1.0 - INTERPOLATION) * population.signal and bend > 0 and clean_bend > 0):
            return None
        mix[:first] = np.inf
        slope, clean_slope = self._slopes(best, clean_best)
        step, clean_step = -slope / bend, -clean_slope / clean_bend
        if not (abs(step) <= CLOSE and abs(clean_step) <= CLOSE):
            return None  # one step does not do, see penalty.settled
        return _Optima(best * exp(step), least, clean_best * exp(clean_step), clean_least, theta, mix, None)

    def _curves(self, sums: Sums, products: Array) -> tuple[Array, Array, Array]:
        """The errors of the mix and of the clean stage at some θ, and df2/room; ``products``: sums of the moments."""
        theta, signal, freedom = sums.theta, sums.signal, sums.freedom
        room = freedom.above_second(self.samples)
        ratio = freedom.df2 / room
        of_second, of_cross, of_model = products
        mix = of_second - 2.0 * theta * of_cross + signal + ratio * (theta * theta * of_model + self.noise)
        clean = signal + ratio * (signal + self.real_noise)
        # below penalty 0 they go on smoothly, as far as room is left
        roomless = int(room.searchsorted(0.0, side="right"))
        mix[:roomless] = clean[:roomless] = np.inf
        return mix, clean, ratio

    def _flat(self, curve: Array) -> "_Optima | None":
        """Where all modes have one variance; see flat_spectrum.py."""
        population, samples = self.population, self.samples
        sigma = float(population.eigenvalues[0])
        mix = FlatStage.of(population, self.past, samples, self.noise)
        clean = FlatStage(population.rank, samples, 0.0, 0.0, population.signal, self.real_noise)
        v, clean_v = mix.least(), clean.least()
        if v is None or clean_v is None:
            return None
        theta = [sigma * mix.ridge(v), sigma * clean.ridge(clean_v)]
        (at_best, at_clean), _ = self._at(theta)
        return _Optima(
            theta[0], at_best.total, theta[1], at_clean.bias + at_clean.variance, population.grid.theta, curve,
            (sigma * mix.penalty(v), sigma * clean.penalty(clean_v)),
        )  # fmt: skip

    def _slopes(self, mix: float, clean: float) -> tuple[float, float]:
        """Derivatives by ln θ of the error of the mix at one θ and of the clean stage at another; see
        plain_chain.slopes."""
        population = self.population
        total = population.eigenvalues + np.array([[mix], [clean]])
        squares = 1.0 / (total * total)
        sums = squares.dot(self.rows.T).tolist()
        falls = (squares / total).dot(self.rows.T).tolist()
        # true labels: E e = 0, and what is left of a model is what is left of the target
        sums[1][4:], falls[1][4:] = (0.0, 0.0, sums[1][3]), (0.0, 0.0, falls[1][3])
        return (
            self._slope(mix, self.noise, sums[0], falls[0]),
            self._slope(clean, self.real_noise, sums[1], falls[1]),
        )

    def _slope(self, theta: float, noise: float, sums: list[float], falls: list[float]) -> float:
        """From the sums of ``rows`` with Q² and Q³."""
        df2, spread, left, signal, _, b, m = sums
        df2_falls, _, _, signal_falls, a_falls, b_falls, m_falls = falls
        square, twice = theta * theta, 2.0 * theta
        bias_rises = square * (2.0 * signal - twice * signal_falls) - twice * (a_falls + b - twice * b_falls)
        room = self.samples - df2 if self.few else self.excess + twice * spread + square * left
        drive_rises, drive = square * (2.0 * m - twice * m_falls), square * m + noise
        return bias_rises + df2 / room * (drive_rises - twice * df2_falls / df2 * self.samples / room * drive)


class _Optima(NamedTuple):
    """θ and value of the least errors of the mix and of the clean stage, points θ and the mix's error there, and the
    best penalties where they are known better than by θ."""

    best: float
    least: float
    clean: float
    clean_least: float
    points: Array
    curve: Array
    penalties: tuple[float, float] | None
