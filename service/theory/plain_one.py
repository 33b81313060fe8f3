"""One plain recursion: the formulas of plain_chain.py in plain numbers, which arrays of one would take longer for.

Where something is not regular (optima at an end of their range or next to it, labels that carry nothing of the truth)
plain_chain.py must look, which knows more of what may be the case.
"""

from math import exp
from typing import Final

import numpy as np

from service.theory.effective_samples import effective_samples
from service.theory.flat_spectrum import FlatStage
from service.theory.flatness import EXCESS, interpolated_ends
from service.theory.model import Array, Population
from service.theory.penalty import CLOSE, interpolated_minimum
from service.theory.plain_chain import INTERPOLATION, Points
from service.theory.recursion import Fits, Recursion
from service.theory.ridges import effective_ridges
from service.theory.scenarios import Outcomes, Scenarios

_REGULAR: Final = np.ones(1, dtype=bool)


def regular_outcome(population: Population, scenario: Scenarios) -> Outcomes | None:
    """The outcome of the only scenario with the ends of its flat optimum, None where not all of it is regular."""
    with np.errstate(all="ignore"):  # what overflows or is not defined is not regular
        return _One(population, scenario).outcome()


class _One:
    def __init__(self, population: Population, scenario: Scenarios) -> None:
        self.population, self.scenario = population, scenario
        s = scenario
        runs = len(s.runs)
        samples, penalties = [*s.run_samples[0], s.samples[0]], [*s.run_penalties[0], s.penalty[0]]
        self.theta = effective_ridges(population, np.array(samples), np.array(penalties))
        fits = [Fits(population, self.theta[k : k + 1], s.run_samples[:, k]) for k in range(runs)]
        self.rooms = np.array([[fit.room[0] for fit in fits]])
        self.past = Recursion(population, list(zip(s.runs, fits, strict=True)), s.generator_noise)
        self.flat_penalties: list[float] | None = None  # the best ones of a flat spectrum, exactly

    def outcome(self) -> Outcomes | None:
        """See ``regular_outcome``."""
        population, s, grid = self.population, self.scenario, self.population.grid
        optima = self._optima()
        if optima is None:
            return None
        (best, least), (clean, clean_least), curve = optima
        given = float(self.theta[-1])
        if chosen := bool(np.isnan(s.penalty[0])):
            given = best
        ends = interpolated_ends(grid.theta, curve, best, (1.0 + EXCESS) * least)
        far = [] if ends.low is None or ends.high is None else [ends.low, ends.high]
        theta = np.array([given, best, clean, *far])
        points = Points(population, s, self.past, theta)
        if self.flat_penalties is not None:
            points.penalties[1:3] = self.flat_penalties
        total, best_total, total_at_clean = points.totals[:3].tolist()
        clean_total = float(points.bias[2] + points.variance[2])
        regular = (
            total < np.inf
            and best_total < population.signal
            and abs(best_total - least) <= INTERPOLATION * best_total
            and abs(clean_total - clean_least) <= INTERPOLATION * clean_total
        )
        if not regular:
            return None
        samples = effective_samples(population, float(s.real_noise[0]), None, best_total)
        responses, penalties = points.noise_responses(2), points.penalties
        return Outcomes(
            _REGULAR,
            points.point(slice(0, 1), penalties[:1] if chosen else s.penalty, responses),
            points.point(slice(1, 2), penalties[1:2], responses),
            penalties[2:3],
            np.array([clean_total]),
            np.array([total_at_clean]),
            np.array([samples]),
            self.rooms,
            tuple(self.theta[k : k + 1] for k in range(len(s.runs))),
            (theta[:1], theta[1:2], theta[2:3]),
            self.past,
            (penalties[3:], points.totals[3:]) if far else None,
        )

    def _optima(self) -> tuple[tuple[float, float], tuple[float, float], Array] | None:
        """θ and value of the least errors of the mix and of the clean stage, and the mix's error on the grid.

        None unless both lie well inside the range of penalties, and the mix's well below that of predicting zero.
        """
        population, s, grid = self.population, self.scenario, self.population.grid
        base, theta, freedom = grid.base, grid.theta, grid.base.freedom
        samples, noise, real_noise = float(s.samples[0]), float(s.noise[0]), float(s.real_noise[0])
        first = int(freedom.above_first(samples).searchsorted(0.0))  # from here on a penalty >= 0 leads
        if first == theta.size:
            return None
        room = freedom.above_second(samples)
        ratio = freedom.df2 / room
        of_second, of_cross, of_model = grid.products(self.past.moments[0])
        mix = of_second - 2.0 * theta * of_cross + base.signal + ratio * (theta * theta * of_model + noise)
        clean = base.signal + ratio * (base.signal + real_noise)
        # below penalty 0 they go on smoothly, as far as room is left
        roomless = int(room.searchsorted(0.0, side="right"))
        mix[:roomless] = clean[:roomless] = np.inf
        if population.eigenvalues.size == 1:
            mix[:first] = np.inf
            flat = self._flat()
            return None if flat is None else (*flat, mix)
        found = []
        for curve in (mix, clean):
            i = first + int(curve[first:].argmin())
            if i == first:
                return None
            found.append(interpolated_minimum(grid.log_theta, curve, i))
        places, (least, clean_least), bends = zip(*found, strict=True)
        # where label noise alone exceeds the minimum at smaller θ, penalty 0 is not the best
        if not (ratio[first] * noise > least and ratio[first] * real_noise > clean_least):
            at_zero, clean_at_zero = self._at_zero()
            if not (at_zero > least and clean_at_zero > clean_least):
                return None
        if not least < (1.0 - INTERPOLATION) * population.signal:
            return None
        mix[:first] = np.inf
        best = self._settled(places[0], bends[0], noise, self.past.moments[0])
        clean_best = self._settled(places[1], bends[1], real_noise, None)
        if best is None or clean_best is None:
            return None
        return (best, least), (clean_best, clean_least), mix

    def _flat(self) -> tuple[tuple[float, float], tuple[float, float]] | None:
        """θ and value of both least errors where all modes have one variance; see flat_spectrum.py."""
        population, past, s = self.population, self.past, self.scenario
        sigma, samples = float(population.eigenvalues[0]), float(s.samples[0])
        mix = FlatStage.of(population, past, samples, float(s.noise[0]))
        clean = FlatStage(population.rank, samples, 0.0, 0.0, population.signal, float(s.real_noise[0]))
        v, clean_v = mix.least(), clean.least()
        if v is None or clean_v is None:
            return None
        theta = np.array([sigma * mix.ridge(v), sigma * clean.ridge(clean_v)])
        self.flat_penalties = [sigma * mix.penalty(v), sigma * clean.penalty(clean_v)]
        points = Points(population, s, past, theta)
        values = float(points.totals[0]), float(points.bias[1] + points.variance[1])
        return (float(theta[0]), values[0]), (float(theta[1]), values[1])

    def _settled(self, theta: float, bend: float, noise: float, moments: Array | None) -> float | None:
        """See penalty.settled; None where one step does not do. ``moments``: None on real labels."""
        step = -self._slope(theta, noise, moments) / bend if bend > 0 else np.inf
        return theta * exp(step) if abs(step) <= CLOSE else None

    def _slope(self, theta: float, noise: float, moments: Array | None) -> float:
        """See plain_chain.slopes."""
        population, samples, rows = (
            self.population,
            float(self.scenario.samples[0]),
            self.population.grid.base_rows,
        )
        total = population.eigenvalues + theta
        squares = 1.0 / (total * total)
        cubes = squares / total
        square, twice = theta * theta, 2.0 * theta
        df2, spread, left, signal = rows.dot(squares).tolist()
        df2_falls, _, _, signal_falls = rows.dot(cubes).tolist()
        bias_rises, m, m_falls = square * (2.0 * signal - twice * signal_falls), signal, signal_falls
        if moments is not None:
            _, b, m = moments.dot(squares).tolist()
            a_falls, b_falls, m_falls = moments.dot(cubes).tolist()
            bias_rises -= twice * (a_falls + b - twice * b_falls)
        room = samples - df2
        if population.rank <= 2 * samples:
            room = (samples - population.rank) + 2.0 * theta * spread + square * left
        drive_rises, drive = square * (2.0 * m - twice * m_falls), square * m + noise
        rises = drive_rises - twice * df2_falls / df2 * samples / room * drive
        return float(bias_rises + df2 / room * rises)

    def _at_zero(self) -> tuple[float, float]:
        """The errors of the mix and of the clean stage at penalty 0, nan at its threshold."""
        theta = effective_ridges(self.population, self.scenario.samples, np.zeros(1))
        points = Points(self.population, self.scenario, self.past, theta)
        return float(points.totals[0]), float(points.bias[0] + points.variance[0])
