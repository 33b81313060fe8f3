"""Recursions of one source a stage, of weight 1, one covariance and no random features: the mix that is asked for most.

The same formulas as the general engine's, with the points of interest (the given penalty, the best one, the clean
optimum) side by side in one array, so that a prediction is some two hundred array operations. Whatever is not regular
(thresholds, no data, optima at an end of their range) is left to the general engine.
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from service.theory.chain import Labels
from service.theory.curves import ErrorCurve
from service.theory.design import Design
from service.theory.flatness import EXCESS, Ends, flat_range, interpolated_ends, vouched
from service.theory.freedom import Freedom
from service.theory.model import OPTIMAL, REAL, Array, Population, TrainingMix
from service.theory.one_covariance import OneCovariance, effective_ridge
from service.theory.penalty import interpolated_minimum
from service.theory.response import Regime, regime
from service.theory.results import (
    Baseline,
    Best,
    Decomposition,
    FlatRange,
    Prediction,
    Regularization,
    SourceNoise,
    assemble,
)

_INTERPOLATION = 1e-6  # a value of the interpolant this right vouches for the place of its minimum


def is_plain(population: Population, mix: TrainingMix) -> bool:
    """Whether every stage has one source of weight 1, labelled by the stage before, the first by the truth."""
    if mix.keeps_data or population.null_modes > 0 or mix.stages[0].sources[0].labels != REAL:
        return False
    if any(stage.penalty in (OPTIMAL, np.inf) for stage in mix.stages[:-1]):
        return False
    for stage in mix.stages:
        source = stage.sources[0]
        if len(stage.sources) > 1 or stage.width is not None or source.eigenvalues is not None:
            return False
        if source.weight != 1 or source.samples == 0:
            return False
    return all(b.sources[0].labels == a.name for a, b in pairwise(mix.stages))


@dataclass(frozen=True, eq=False)
class _Fits:
    """Fits at effective ridges θ, side by side: arrays of shape (fits, modes), numbers of shape (fits,)."""

    S: Array
    U: Array
    SS: Array
    UU: Array
    gain: Array
    freedom: Freedom[Array]

    @staticmethod
    def at(population: Population, theta: Array) -> "_Fits":
        """At these θ >= 0; every mode has variance."""
        multiplicity = population.multiplicities
        inverse = 1.0 / (population.eigenvalues + theta[:, None])
        S, U = population.eigenvalues * inverse, theta[:, None] * inverse
        SS, UU = S * S, U * U
        left1 = U.dot(multiplicity)
        freedom = Freedom(
            population.rank,
            S.dot(multiplicity),
            SS.dot(multiplicity),
            left1,
            2.0 * left1 - UU.dot(multiplicity),
        )
        return _Fits(S, U, SS, UU, S * inverse, freedom)


class _Generator(NamedTuple):
    """One generation: its samples, the noise of its labels, and which fit it is."""

    samples: float
    noise: float
    fit: int


def plain_prediction(population: Population, mix: TrainingMix) -> Prediction | None:
    """The prediction of a plain mix, or None where the general engine must look. Raises NotConverged."""
    return _PlainChain(population, mix).predict()


class _PlainChain:
    def __init__(self, population: Population, mix: TrainingMix) -> None:
        self.population, self.mix, self.grid = population, mix, population.grid
        self.final = mix.stages[-1]
        source = self.final.sources[0]
        self.samples, self.noise = float(source.samples), source.noise_variance
        # only without generations are the last stage's labels real
        self.real_noise = self.noise if len(mix.stages) == 1 else population.noise_variance
        self.thetas: list[float] = []
        self.generators: list[_Generator] = []
        self.regimes: list[Regime] = []
        self.ends = Ends(None, None)

    def predict(self) -> Prediction | None:
        """See plain_prediction."""
        if not self._solve():
            return None
        fits = _Fits.at(self.population, np.array(self.thetas)) if self.thetas else None
        cross, second = self._forward(fits)
        model = second + 2.0 * cross
        found = self._optima(cross, second, model)
        return None if found is None else self._assemble(fits, cross, second, model, found)

    # --- fixed points ---------------------------------------------------------------------------

    def _solve(self) -> bool:
        """The effective ridges of the generators, equal ones once; False where a stage is at its threshold."""
        known: dict[tuple[float, float], int] = {}
        for stage in self.mix.stages[:-1]:
            source, penalty = stage.sources[0], float(stage.penalty)
            key = (float(source.samples), penalty)
            if key not in known:
                kind = regime(key[0], self.population.rank, None, penalty)
                if kind is Regime.THRESHOLD:
                    return False
                known[key] = len(self.thetas)
                self.thetas.append(self._ridge(*key))
            self.regimes.append(regime(key[0], self.population.rank, None, penalty))
            self.generators.append(_Generator(key[0], source.noise_variance, known[key]))
        return True

    def _ridge(self, samples: float, penalty: float) -> float:
        return effective_ridge(self.population, Design.make([samples], [1.0]), penalty)

    # --- moments --------------------------------------------------------------------------------

    def _forward(self, fits: _Fits | None) -> tuple[Array, Array]:
        """E[e w] and E e² of the last generator's model."""
        signal, weight = self.population.target_power, self.population.weight
        cross = second = np.zeros_like(signal)
        if fits is None:
            return cross, second
        left = fits.U * signal
        overlap, squared_left, residual_weight = 2.0 * fits.S * fits.U, fits.U * left, fits.UU * weight
        room = fits.freedom
        model = signal
        for samples, noise, k in self.generators:
            drive = (noise + float(residual_weight[k].dot(model))) / float(room.above_second(samples)[k])
            second = fits.SS[k] * second - overlap[k] * cross + squared_left[k] + drive * fits.gain[k]
            cross = fits.S[k] * cross - left[k]
            model = second + 2.0 * cross + signal
        return cross, second

    # --- penalties ------------------------------------------------------------------------------

    def _optima(self, cross: Array, second: Array, model: Array) -> tuple[tuple[float, float], ...] | None:
        """(θ, value) of the mix's least error and of the clean stage's; None where either is not regular."""
        weight, base = self.population.weight, self.grid.base
        sigma, theta = self.population.eigenvalues, self.grid.theta
        moments = weight * np.array([sigma * sigma * second, sigma * cross, model])
        ss, su, uu = self.grid.products(moments)
        su, uu = theta * su, theta * theta * uu
        open_ = base.freedom.above_second(self.samples)
        first = int(np.count_nonzero(base.freedom.above_first(self.samples) < 0))
        if first >= open_.size:
            return None
        ratio = base.freedom.df2[first:] / open_[first:]
        signal = base.signal[first:]
        curves = (
            (ss[first:] - 2.0 * su[first:] + signal, uu[first:] + signal + self.noise, self.noise),
            (signal, signal + self.real_noise, self.real_noise),
        )
        optima = []
        for bias, drive, noise in curves:
            values = bias + ratio * drive
            found = interpolated_minimum(self.grid.log_theta[first:], values)
            # label noise alone exceeds the minimum at smaller θ: penalty 0 is not the best
            if found is None or ratio[0] * noise <= found[1]:
                return None
            optima.append(found)
            if len(optima) == 1:
                limit = (1.0 + EXCESS) * found[1]
                self.ends = interpolated_ends(self.grid.theta[first:], values, found[0], limit)
        return tuple(optima)

    def _flat_range(self, cross: Array, second: Array, best: float, least: float) -> FlatRange:
        """The flat range where the grid does not show both ends."""
        population, design = self.population, Design.of(self.final)
        labels = Labels(cross[None], second[None, None])
        curve = ErrorCurve(population, design, np.array([self.noise]), labels)
        values, _ = curve(self.grid.on_grid(curve.columns, features=False))

        def penalty(theta: float) -> float:
            return OneCovariance.at(population, design, theta, Regime.RIDGE).penalty(design)

        lowest = effective_ridge(population, design, 0.0)
        return flat_range(self.grid, curve, values, penalty, theta=best, least=least, lowest=lowest)

    def _effective_samples(self, target: float) -> float | None:
        """See SamplesCurve; None where its maximum is not regular."""
        base = self.grid.base
        h = base.freedom.df2
        with np.errstate(over="ignore", divide="ignore"):
            rate = (target - base.signal) / h / (self.real_noise + target)
        values = np.where(np.isfinite(rate) & (rate * base.freedom.df1 <= 1.0), -rate, np.inf)
        found = interpolated_minimum(self.grid.log_theta, values)
        if found is None or -target / h[0] / (self.real_noise + target) <= found[1] or found[1] >= 0:
            return None
        return -1.0 / found[1]

    # --- the answer -----------------------------------------------------------------------------

    def _assemble(
        self,
        fits: _Fits | None,
        cross: Array,
        second: Array,
        model: Array,
        optima: tuple[tuple[float, float], ...],
    ) -> Prediction | None:
        population, T = self.population, self.samples
        (best, best_value), (clean, clean_value) = optima
        given = best
        if self.final.penalty != OPTIMAL:
            kind = regime(T, population.rank, None, float(self.final.penalty))
            if kind is Regime.THRESHOLD:
                return None
            given = self._ridge(T, float(self.final.penalty))
        thetas = np.array([given, best, clean, self.ends.low or best, self.ends.high or best])
        points = _Fits.at(population, thetas)
        weight, signal = population.weight, population.target_power
        open_ = points.freedom.above_second(T)
        ratio = points.freedom.df2 / open_
        left = points.UU.dot(weight * signal)
        mean = points.SS.dot(weight * second) - 2.0 * (points.S * points.U).dot(weight * cross) + left
        totals = mean + ratio * (points.UU.dot(weight * model) + left + self.noise)
        biases, variances = left * (1.0 + ratio), ratio * self.real_noise
        penalties = (thetas * points.freedom.above_first(T) / T).tolist()
        if self.final.penalty != OPTIMAL:
            penalties[0] = float(self.final.penalty)
        total, bias, variance = totals.tolist(), biases.tolist(), variances.tolist()
        if abs(total[1] - best_value) > _INTERPOLATION * total[1] or total[1] >= population.signal:
            return None
        if abs(bias[2] + variance[2] - clean_value) > _INTERPOLATION * clean_value:
            return None
        samples = self._effective_samples(total[1])
        if samples is None:
            return None
        limit = (1.0 + EXCESS) * total[1]
        flat = FlatRange(penalties[3], penalties[4])
        if not (vouched(total[3], limit) and vouched(total[4], limit)):
            flat = self._flat_range(cross, second, best, total[1])
        error, at_best = self._decompositions(fits, points, total, bias, variance)
        best_clean = Best(penalties[2], bias[2] + variance[2])
        baseline = Baseline(T, bias[0] + variance[0], bias[0], variance[0], best_clean)
        rooms = [(float(open_[0]), T)]
        if fits is not None:
            used = {(g.samples, g.fit) for g in self.generators}
            rooms += [(float(fits.freedom.above_second(samples)[k]), samples) for samples, k in used]
        kind = regime(T, population.rank, None, penalties[0])
        return Prediction(
            replace(self.mix, stages=(*self.mix.stages[:-1], replace(self.final, penalty=penalties[0]))),
            (*self.regimes, kind),
            error,
            baseline,
            baseline if len(self.mix.stages) == 1 else None,
            population.signal,
            Regularization(
                penalties[0],
                Best(penalties[1], total[1]),
                flat,
                at_best,
                penalties[2],
                max(total[2] - total[1], 0.0),
                samples,
            ),
            population.noise_variance,
            min(room / samples for room, samples in rooms),
            1.0 / max(min(room for room, _ in rooms), 1.0),
        )

    def _decompositions(
        self, fits: _Fits | None, points: _Fits, total: list[float], bias: list[float], variance: list[float]
    ) -> list[Decomposition]:
        """At the given penalty and at the best: the gradient passes back through S² and the residuals' U²."""
        weight, T = self.population.weight, self.samples
        z = points.freedom.df2[:2] / points.freedom.above_second(T)[:2]
        gradient = weight * (points.SS[:2] + z[:, None] * points.UU[:2])
        mismatch = (z * (self.noise - self.real_noise)).tolist()
        response: list[list[float]] = []
        if fits is not None:
            residual_weight = fits.UU * weight
            for samples, _, k in reversed(self.generators):
                z = gradient.dot(fits.gain[k]) / float(fits.freedom.above_second(samples)[k])
                response.append(z.tolist())
                gradient = gradient * fits.SS[k] + z[:, None] * residual_weight[k]
            response.reverse()
        return [
            assemble(
                total[i],
                bias[i],
                variance[i],
                tuple(
                    SourceNoise(
                        stage.name, stage.sources[0].name, values[i] * stage.sources[0].noise_variance
                    )
                    for stage, values in zip(self.mix.stages[:-1], response, strict=True)
                ),
                shift=0.0,
                mismatch=mismatch[i],
            )
            for i in range(2)
        ]
