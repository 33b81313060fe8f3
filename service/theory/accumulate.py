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
from math import inf

import numpy as np

from service.theory.accumulate_penalty import SumPenalties, products
from service.theory.effective_samples import effective_samples
from service.theory.exact import unpenalized_bias, unpenalized_variance
from service.theory.model import OPTIMAL, REAL, Population, Source, Stage, TrainingMix
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
from service.theory.ridge_fits import Fits, fits


class _Accumulated:
    """One prediction; ``clean``: predicts the same number of rows, all real."""

    def __init__(
        self, population: Population, mix: TrainingMix, clean: Callable[[TrainingMix], Prediction], order: int
    ) -> None:
        population = population.condensed  # maybe hundreds of fits for each of dozens of penalties
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
        self.penalties = SumPenalties(population, self.added, self.noise)
        self.shares = self.penalties.shares

    def predict(self, *, flat_range: bool) -> Prediction:
        """See accumulated_prediction."""
        population, total = self.population, float(self.rows[-1])
        best, final = self.penalties.best, self.stages[-1]
        penalty_sum = best.penalty if final.penalty == OPTIMAL else self._given
        clean = self._real("clean", total, penalty_sum)
        real = self._real("real", float(self.rows[0]), penalty_sum).clean if flat_range else None
        clean_best = clean.regularization.recommended.penalty * total if total > 0 else inf
        at, *others = self._fits(penalty_sum, best.penalty, clean_best)
        error, at_best, at_clean = (self._decomposition(one) for one in (at, *others))
        found = self.penalties.flat_range() if flat_range else FlatRange(np.nan, np.nan)
        per_sample = 1.0 / max(total, 1.0)
        flat = FlatRange(found.low * per_sample, found.high * per_sample)
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
            real,
            population.signal,
            Regularization(
                penalty_sum * per_sample,
                Best(best.penalty * per_sample, at_best.total),
                flat,
                at_best,
                clean.regularization.recommended.penalty,
                max(at_clean.total - at_best.total, 0.0),
                effective_samples(population, float(self.noise[0]), None, best.total),
            ),
            population.noise_variance,
            float((open_ / self.rows[self.rows > 0]).min()) if open_.size else 1.0,
            0.0 if exact or not open_.size else self._expected_error(at),
            Method.EXACT if exact else Method.EQUIVALENT,
            1 if self.order > 0 else 0,
        )

    def total(self) -> float:
        """The error at the given penalty, or at the best where that is "optimal"."""
        return (
            self.penalties.best.total
            if self.stages[-1].penalty == OPTIMAL
            else self.penalties.total(self._given)
        )

    @property
    def _given(self) -> float:
        return float(self.stages[-1].penalty) * max(float(self.rows[-1]), 1.0)

    # --- errors ---------------------------------------------------------------------------------

    def _fits(self, *penalty_sums: float) -> list[Fits]:
        """At each of these."""
        count = len(penalty_sums)
        rows, penalties = np.tile(self.rows, count), np.repeat(penalty_sums, self.rows.size)
        return fits(self.population, rows, penalties, self.order).parts(count)

    def _expected_error(self, at: Fits) -> float:
        """Of the total, relative: see left_over; of asymptotic fits one over the samples to spare."""
        live = self.rows > 0
        rooms = at.room[live]
        room = float(rooms.min())
        if self.order == 0:
            return 1.0 / max(room, 1.0)
        closeness = float(((1.0 - rooms / self.rows[live]) / rooms).max()) if room > 0 else inf
        (bias, variance), noise = at.asymptotic, self.noise * self.shares
        total = float(bias[0]) + float(products(noise, variance).sum())
        if not 0 < total < inf:
            return 0.0
        moved = abs(float(at.bias[0] - bias[0]))
        moved += float(products(noise, abs(at.variance - variance)).sum())
        return left_over(moved / total, room, closeness)

    def _decomposition(self, at: Fits) -> Decomposition:
        """What the noise of each batch adds, less what it would add if all rows were real."""
        noises = products(self.noise * self.shares, at.variance)
        total = float(at.bias[0]) + float(noises.sum())
        share = self.added / self.rows[-1] if self.rows[-1] > 0 else np.zeros_like(self.added)
        V = float(at.variance[-1])
        bias, variance = float(at.bias[-1]), float(products(self.noise[:1], at.variance[-1:])[0])
        names = [(stage.name, stage.sources[0].name) for stage in self.stages[:-1]]
        if not np.isfinite(total + variance + bias):
            parts = GenerationParts(np.nan, np.nan, np.nan, np.nan)
            unknown = tuple(SourceNoise(*name, np.nan) for name in names)
            return Decomposition(total, bias, variance, np.nan, parts, unknown)
        extra = noises - products(self.noise * share, np.full_like(share, V))
        by_source = tuple(
            SourceNoise(*name, value) for name, value in zip(names, extra.tolist(), strict=False)
        )
        mismatch = float(((self.noise - self.noise[0]) * share).sum()) * (V if np.isfinite(V) else 0.0)
        return assemble(total, bias, variance, by_source, shift=0.0, mismatch=mismatch)

    def _real(self, name: str, samples: float, penalty_sum: float) -> Prediction:
        source = Source(REAL, REAL, samples, float(self.noise[0]))
        return self.clean(TrainingMix((Stage(name, (source,), penalty_sum / max(samples, 1.0)),)))


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
