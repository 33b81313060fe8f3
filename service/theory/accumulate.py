"""Accumulated data: every fit sees all rows so far, the real ones and those that earlier fits labelled.

With the sum of squared losses and a fixed penalty λ_u ‖w‖² (not per sample), G_k the Gram matrix of the T_1 + … + T_k
rows of fit k and ε_k the noise of the rows that it adds,

    ŵ_k = ŵ_{k-1} + (G_k + λ_u)^-1 X_k' ε_k        exactly,

so the increments are uncorrelated, and rows being exchangeable, with C_k = T_1 + … + T_k and B, V the bias and the
variance (for noise of variance 1) of a plain ridge fit on C_k rows with penalty λ_u/C_k per sample,

    E = B(C_1) + Σ_k σ_k² (T_k/C_k) V(C_k).

Source: Gerstgrasser et al., Is Model Collapse Inevitable? (arXiv 2404.01413), there without penalty and with equal T:
Σ_k (1/k) σ² d/(kT − d − 1), at most π²/6 of its first term. The bias of the first fit is never repaired.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import exp, inf, log

import numpy as np
from scipy.optimize import minimize_scalar

from service.theory.effective_samples import effective_samples
from service.theory.exact import unpenalized_bias, unpenalized_variance
from service.theory.flatness import EXCESS, crossing
from service.theory.model import OPTIMAL, REAL, Array, Population, Source, Stage, TrainingMix
from service.theory.plain_correction import NotSmall, left_over
from service.theory.response import regime
from service.theory.results import (
    Best,
    Decomposition,
    FlatRange,
    GenerationParts,
    Method,
    Prediction,
    Regularization,
    SourceNoise,
    assemble,
)
from service.theory.ridge_fits import Fits, effective_ridges, fits, ridge_sums, room_above

_CHUNK = 1_000_000
_STEP = log(10.0) / 3.0
_BEYOND = log(10.0) * 3.0
_SEEN = 48


class _Accumulated:
    """One prediction; ``clean``: predicts the same number of rows, all real."""

    def __init__(
        self, population: Population, mix: TrainingMix, clean: Callable[[TrainingMix], Prediction], order: int
    ) -> None:
        self.population, self.mix, self.stages, self.clean, self.order = (
            population,
            mix,
            mix.stages,
            clean,
            order,
        )
        self.added = np.array([float(stage.sources[0].samples) for stage in mix.stages])
        self.noise = np.array([stage.sources[0].noise_variance for stage in mix.stages])
        self.rows = np.cumsum(self.added)
        self.shares = np.divide(self.added, self.rows, out=np.zeros_like(self.rows), where=self.rows > 0)

    def predict(self, *, flat_range: bool) -> Prediction:
        """See accumulated_prediction."""
        population, total = self.population, float(self.rows[-1])
        best, final = self._best(), self.stages[-1]
        penalty_sum = best.penalty if final.penalty == OPTIMAL else self._given
        at = self._fits(penalty_sum)
        error = self._decomposition(at)
        at_best = error if penalty_sum == best.penalty else self._decomposition(self._fits(best.penalty))
        clean = self._real("clean", total, penalty_sum)
        real = self._real("real", float(self.rows[0]), penalty_sum)
        found = self._flat_range(best) if flat_range else FlatRange(np.nan, np.nan)
        per_sample = 1.0 / max(total, 1.0)
        flat = FlatRange(found.low * per_sample, found.high * per_sample)
        clean_best = clean.regularization.recommended.penalty * total if total > 0 else inf
        stages = tuple(
            replace(stage, penalty=penalty_sum / max(rows, 1.0))
            for stage, rows in zip(self.stages, self.rows.tolist(), strict=True)
        )
        open_ = at.room[self.rows > 0]
        exact = (
            self.order > 0
            and penalty_sum == 0
            and all(unpenalized_variance(population, float(T)) is not None for T in self.rows)
            and unpenalized_bias(population, float(self.rows[0])) is not None
        )
        return Prediction(
            replace(self.mix, stages=stages),
            tuple(regime(T, population.rank, None, penalty_sum) for T in self.rows.tolist()),
            error,
            clean.clean,
            real.clean,
            population.signal,
            Regularization(
                penalty_sum * per_sample,
                Best(best.penalty * per_sample, at_best.total),
                flat,
                at_best,
                clean.regularization.recommended.penalty,
                max(self._decomposition(self._fits(clean_best)).total - at_best.total, 0.0),
                effective_samples(population, float(self.noise[0]), None, best.total),
            ),
            population.noise_variance,
            float((open_ / self.rows[self.rows > 0]).min()) if open_.size else 1.0,
            0.0 if exact or not open_.size else self._expected_error(penalty_sum, at),
            Method.EXACT if exact else Method.EQUIVALENT,
            1 if self.order > 0 else 0,
        )

    def total(self) -> float:
        """The error at the given penalty, or at the best where that is "optimal"."""
        return self._best().total if self.stages[-1].penalty == OPTIMAL else self._total(self._given)

    @property
    def _given(self) -> float:
        return float(self.stages[-1].penalty) * max(float(self.rows[-1]), 1.0)

    # --- errors ---------------------------------------------------------------------------------

    def _fits(self, penalty_sum: float) -> Fits:
        return fits(self.population, self.rows, penalty_sum, self.order)

    def _total(self, penalty_sum: float) -> float:
        """Of the deterministic equivalents, by which penalties are chosen."""
        at = fits(self.population, self.rows, penalty_sum, 0)
        return float(at.bias[0]) + float(_products(self.noise * self.shares, at.variance).sum())

    def _expected_error(self, penalty_sum: float, at: Fits) -> float:
        """Of the total, relative: see left_over; of asymptotic fits one over the samples to spare."""
        live = self.rows > 0
        rooms = at.room[live]
        room = float(rooms.min())
        if self.order == 0:
            return 1.0 / max(room, 1.0)
        closeness = float(((1.0 - rooms / self.rows[live]) / rooms).max()) if room > 0 else inf
        before, noise = fits(self.population, self.rows, penalty_sum, 0), self.noise * self.shares
        total = float(before.bias[0]) + float(_products(noise, before.variance).sum())
        if not 0 < total < inf:
            return 0.0
        moved = abs(float(at.bias[0] - before.bias[0]))
        moved += float(_products(noise, abs(at.variance - before.variance)).sum())
        return left_over(moved / total, room, closeness)

    def _decomposition(self, at: Fits) -> Decomposition:
        """What the noise of each batch adds, less what it would add if all rows were real."""
        noises = _products(self.noise * self.shares, at.variance)
        total = float(at.bias[0]) + float(noises.sum())
        share = self.added / self.rows[-1] if self.rows[-1] > 0 else np.zeros_like(self.added)
        V = float(at.variance[-1])
        bias, variance = float(at.bias[-1]), float(_products(self.noise[:1], at.variance[-1:])[0])
        names = [(stage.name, stage.sources[0].name) for stage in self.stages[:-1]]
        if not np.isfinite(total + variance + bias):
            parts = GenerationParts(np.nan, np.nan, np.nan, np.nan)
            unknown = tuple(SourceNoise(*name, np.nan) for name in names)
            return Decomposition(total, bias, variance, np.nan, parts, unknown)
        extra = noises - _products(self.noise * share, np.full_like(share, V))
        by_source = tuple(
            SourceNoise(*name, value) for name, value in zip(names, extra.tolist(), strict=False)
        )
        mismatch = float(((self.noise - self.noise[0]) * share).sum()) * (V if np.isfinite(V) else 0.0)
        return assemble(total, bias, variance, by_source, shift=0.0, mismatch=mismatch)

    def _real(self, name: str, samples: float, penalty_sum: float) -> Prediction:
        source = Source(REAL, REAL, samples, float(self.noise[0]))
        return self.clean(TrainingMix((Stage(name, (source,), penalty_sum / max(samples, 1.0)),)))

    # --- the best penalty -----------------------------------------------------------------------

    def _best(self) -> Best:
        """The least error over λ_u >= 0: seen at three points a decade, then by Brent's method; see _scan."""
        signal = self.population.signal
        if self.rows[-1] == 0 or self.population.rank == 0:
            return Best(inf, signal)
        low, high = self._range()
        points = np.arange(low, high + _STEP, _STEP)
        i = int(np.argmin(self._scan(np.exp(points))))
        bounds = (float(points[max(i - 1, 0)]), float(points[min(i + 1, points.size - 1)]))
        found = minimize_scalar(
            lambda x: self._total(exp(x)), bounds=bounds, method="bounded", options={"xatol": 1e-6}
        )
        best = Best(exp(float(found.x)), float(found.fun))
        at_zero = self._total(0.0)
        if at_zero <= best.total:
            best = Best(0.0, at_zero)
        return best if best.total < signal else Best(inf, signal)

    def _flat_range(self, best: Best) -> FlatRange:
        """λ_u around the best between which the error stays within one per cent of the least."""
        if best.total == 0 or self.rows[-1] == 0 or self.population.rank == 0:
            return FlatRange(0.0 if best.total > 0 else best.penalty, best.penalty)
        limit = (1.0 + EXCESS) * best.total
        first, last = self._range()
        # a best penalty of 0 or infinity is approached from where nothing changes any more
        at = log(best.penalty) if best.penalty > 0 else -inf
        low = self._crossing(min(at, last + _BEYOND), -1.0, limit)
        high = self._crossing(max(at, first - _BEYOND), 1.0, limit)
        return FlatRange(0.0 if best.penalty == 0 or low is None else low, inf if high is None else high)

    def _crossing(self, x: float, direction: float, limit: float) -> float | None:
        """The first λ_u from e^x downwards or upwards where the error is ``limit``; None where it never is."""
        first, last = self._range()
        if self._total(exp(x)) > limit:
            return exp(x)
        while x > first - _BEYOND if direction < 0 else x < last + _BEYOND:
            y = x + direction * _STEP
            if self._total(exp(y)) > limit:
                return exp(crossing(lambda z: self._total(exp(z)), x, y, limit))
            x = y
        return None

    def _range(self) -> tuple[float, float]:
        """ln λ_u between which the error changes: the grid's θ, times rows, and what little or much noise asks for.

        With equal eigenvalues the best λ_u is σ² d/‖w‖² (the Bayes estimate), whatever they are. To first order in
        1/λ_u only Σ σ² w² is learned, and the error least at Σ σ² (Σ_k T_k σ_k²)/(T_1 Σ σ² w²) of it, where that is
        far above the spectrum.
        """
        grid, live = self.population.grid.log_theta, self.rows[self.rows > 0]
        low, high = float(grid[0]) + log(live[0]), float(grid[-1]) + log(live[-1])
        power = float(self.population.multiplicities @ self.population.target_power)
        if power > 0 and (noise := float(self.noise[self.noise > 0].min(initial=inf))) < inf:
            bayes = log(noise) + log(self.population.rank) - log(power)
            low = min(low, bayes - _BEYOND)
        squares = self.population.eigenvalues * self.population.weight
        learned = float(self.rows[0]) * float(squares @ self.population.target_power)
        drive = float(self.noise @ self.added) * float(squares.sum())
        if learned > 0 and 0 < drive < inf:
            high = max(high, log(drive) - log(learned) + _BEYOND)
        return low, high

    def _scan(self, penalties: Array) -> Array:
        """The error at these λ_u > 0, shape (points,); of very many fits some stand for their neighbours."""
        noise = self.noise * self.shares
        live = np.flatnonzero(self.rows > 0)
        groups = (
            live
            if live.size <= _SEEN
            else np.unique(np.geomspace(1, live.size, _SEEN).astype(int) - 1) + live[0]
        )
        weights = np.add.reduceat(noise, groups)
        rows = np.tile(self.rows[groups], penalties.size)
        theta = effective_ridges(self.population, rows, np.repeat(penalties, groups.size))
        df2, left2, signal = (np.concatenate(parts) for parts in zip(*self._summed(theta), strict=True))
        room = room_above(self.population, rows, df2, left2)
        shape = (penalties.size, groups.size)
        bias = (rows * signal / room).reshape(shape)[:, 0] if groups[0] == 0 else self.population.signal
        return np.asarray(bias + (df2 / room).reshape(shape) @ weights)

    def _summed(self, theta: Array) -> list[tuple[Array, Array, Array]]:
        step = max(1, _CHUNK // self.population.eigenvalues.size)
        return [ridge_sums(self.population, theta[i : i + step]) for i in range(0, theta.size, step)]


def accumulated_error(population: Population, mix: TrainingMix) -> float:
    """The total alone, of deterministic equivalents. Raises NotConverged."""
    return _Accumulated(population, mix, _no_baselines, 0).total()


def _no_baselines(mix: TrainingMix) -> Prediction:
    raise AssertionError(mix)  # the total alone compares with nothing


def accumulated_prediction(
    population: Population,
    mix: TrainingMix,
    clean: Callable[..., Prediction],
    order: int,
    *,
    flat_range: bool,
) -> Prediction:
    """The prediction of a mix that keeps its data; ``clean`` predicts mixes that do not. Raises NotConverged.

    Excess test error of the last fit. Holds for Gaussian features: exact at penalty 0 with T_1 >= d + 2 (``order`` 1),
    else with the deterministic equivalents of B and V, corrected for finite size where that is small (``order`` 1).
    Reduces to plain ridge regression without generations.
    """
    if order > 0:
        try:
            return _Accumulated(population, mix, partial(clean, order=1), 1).predict(flat_range=flat_range)
        except NotSmall:
            pass
    return _Accumulated(population, mix, partial(clean, order=0), 0).predict(flat_range=flat_range)


def _products(noise: Array, variance: Array) -> Array:
    """noise × variance, 0 where there is no noise."""
    return np.multiply(
        noise, variance, out=np.zeros(np.broadcast_shapes(noise.shape, variance.shape)), where=noise > 0
    )
