"""The prediction of one mix, from its outcome; see alone/."""

from dataclasses import replace
from typing import Literal

import numpy as np

from service.theory.curves import ErrorCurve
from service.theory.design import Design
from service.theory.flatness import EXCESS, flat_range, vouched
from service.theory.mixes.alone.design import NotRegular
from service.theory.mixes.alone.errors import Errors, Parts, asymptotic, corrected
from service.theory.mixes.alone.outcome import One
from service.theory.mixes.scenarios import condensed_powers, structure
from service.theory.model import Population, TrainingMix
from service.theory.one_covariance import OneCovariance, effective_ridge
from service.theory.plain_correction import NotSmall, left_over
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


def mixed_prediction(population: Population, mix: TrainingMix, order: Literal[0, 1] = 0) -> Prediction | None:
    """The prediction of a mix that ``is_mixed`` takes, or None where the general engine must look.

    ``order`` 1: with the finite-size correction where that is small.
    """
    links, powers = structure(population, mix)
    for condensation in dict.fromkeys((population.condensation, None)):
        own = population if condensation is None else condensation.population
        try:
            with np.errstate(all="ignore"):  # what overflows or is not defined is not regular
                one = One(own, mix, links, condensed_powers(powers, condensation))
                return _Answer(mix, one, order).prediction()
        except (NotRegular, ArithmeticError):
            pass
    return None


class _Answer:
    """``errors``: of order 0 where the corrections are not small."""

    def __init__(self, mix: TrainingMix, one: One, order: Literal[0, 1]) -> None:
        self.mix, self.one, self.final, self.population = mix, one, mix.stages[-1], one.population
        self.found = one.outcome()
        self.fits = [*one.fits, self.found.points[0].fit]
        self.spare = min(fit.spare for fit in self.fits)
        self.errors = self._errors(order)

    def _errors(self, order: Literal[0, 1]) -> Errors:
        if order == 1 and self.spare >= 1:
            try:
                return corrected(self.one, self.found)
            except NotSmall:
                pass
        return asymptotic(self.one, self.found)

    def prediction(self) -> Prediction:
        """See ``mixed_prediction``."""
        found, errors = self.found, self.errors
        error, at_best = self._decomposition(errors.given), self._decomposition(errors.best)
        penalty, best = found.points[0].fit.solved.penalty, found.points[-1].fit.solved.penalty
        if errors.moved is None:
            expected = 1.0 / max(self.spare, 1.0)
        else:
            expected = left_over(errors.moved, self.spare, max(fit.crowding for fit in self.fits))
        clean_penalty = found.clean.penalty
        return Prediction(
            self.mix if penalty == self.final.penalty else self._resolved(penalty),
            self._regimes(penalty),
            error,
            Baseline(
                self.one.design.total, error.bias + error.variance, error.bias, error.variance,
                Best(clean_penalty, errors.clean),
            ),
            self._real_only(),
            self.population.signal,
            Regularization(
                penalty,
                Best(best, at_best.total),
                self._flat_range(),
                at_best,
                clean_penalty,
                max(errors.total_at_clean - at_best.total, 0.0),
                found.effective_samples,
            ),
            self.population.noise_variance,
            min(fit.room for fit in self.fits),
            expected,
            order=0 if errors.moved is None else 1,
            moved=errors.moved,
        )  # fmt: skip

    def _resolved(self, penalty: float) -> TrainingMix:
        return replace(self.mix, stages=(*self.mix.stages[:-1], replace(self.final, penalty=penalty)))

    def _regimes(self, penalty: float) -> tuple[Regime, ...]:
        penalties = [*(float(stage.penalty) for stage in self.mix.stages[:-1]), penalty]
        return tuple(
            regime(fit.design.active, self.population.rank, None, value)
            for fit, value in zip(self.fits, penalties, strict=True)
        )

    def _decomposition(self, parts: Parts) -> Decomposition:
        by_source = [
            SourceNoise(stage.name, source.name, value)
            for stage, values in zip(self.mix.stages[:-1], parts.by_source, strict=True)
            for source, value in zip(stage.sources, values, strict=True)
        ]
        return assemble(
            parts.total,
            parts.bias,
            parts.variance,
            tuple(by_source),
            shift=parts.shift,
            mismatch=parts.mismatch,
        )

    def _real_only(self) -> Baseline | None:
        """The real samples alone."""
        if self.errors.real is None or self.one.real is None or self.found.real is None:
            return None
        bias, variance, least = self.errors.real
        best = Best(self.found.real[1].penalty, least)
        return Baseline(self.one.real.design.total, bias + variance, bias, variance, best)

    def _flat_range(self) -> FlatRange:
        """As interpolated where the exact error there vouches for it, else by search."""
        population, best, one = self.population, self.found.points[-1], self.one
        limit = (1.0 + EXCESS) * best.total
        if self.found.ends:
            (low, at_low), (high, at_high) = self.found.ends
            if vouched(at_low, limit) and vouched(at_high, limit):
                return FlatRange(low, high)
        design = Design.of(self.final)
        curve = ErrorCurve(population, design, np.array(one.noise[-1]), one.labels())

        def penalty(theta: float) -> float:
            return OneCovariance.at(population, design, theta, Regime.RIDGE).penalty(design)

        return flat_range(
            population.grid, curve, self.found.curve, penalty,
            theta=best.fit.solved.theta, least=best.total, lowest=effective_ridge(population, design, 0.0),
        )  # fmt: skip
