"""The prediction of one mix: a batch of one, see outcomes.py."""

from dataclasses import replace
from typing import Literal

import numpy as np

from service.theory.chain import Labels
from service.theory.curves import ErrorCurve
from service.theory.design import Design
from service.theory.flatness import EXCESS, flat_range, vouched
from service.theory.mixes.outcomes import Batch, Outcomes, Point
from service.theory.mixes.real_fits import RealFits
from service.theory.mixes.scenarios import Mixes
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
from service.theory.stages import real_stage


def mixed_prediction(population: Population, mix: TrainingMix, order: Literal[0, 1] = 0) -> Prediction | None:
    """The prediction of a mix that ``is_mixed`` takes, or None where the general engine must look.

    ``order`` 1: with the finite-size correction where that is small.
    """
    mixes = Mixes.of(population, mix)
    found = _prediction(population.condensed, mix, mixes.condensed(population.condensation), order)
    if found is None and population.condensation is not None:
        found = _prediction(population, mix, mixes, order)
    return found


def _prediction(
    population: Population, mix: TrainingMix, mixes: Mixes, order: Literal[0, 1]
) -> Prediction | None:
    try:
        with np.errstate(all="ignore"):  # what overflows or is not defined is not regular
            one = _One(population, mix, mixes)
            try:
                return one.prediction(order)
            except NotSmall:
                return one.prediction(0)
    except _NotRegular:
        return None


class _NotRegular(Exception):
    """Something that only the general engine can find."""


class _One:
    def __init__(self, population: Population, mix: TrainingMix, mixes: Mixes) -> None:
        self.population, self.mix, self.final = population, mix, mix.stages[-1]
        self.mixes, self.real = mixes, _real_fit(population, mix)
        self.batch = Batch(population, mixes, self.real)

    def prediction(self, order: Literal[0, 1]) -> Prediction:
        """See ``mixed_prediction``. Raises NotSmall in order 1."""
        found = self.batch.outcomes(order, ends=True)
        if not found.regular[0]:
            raise _NotRegular
        fits = [*self.batch.solved.fits, found.given.fits]
        room = min(float(fit.samples_to_spare[0]) for fit in fits)
        if order == 1 and (room < 1 or not found.small[0]):
            raise NotSmall
        error, at_best = self._decomposition(found.given), self._decomposition(found.best)
        penalty, best = float(found.given.penalty[0]), float(found.best.penalty[0])
        moved = float(found.given.errors.moved[0])
        if order == 0:
            expected = 1.0 / max(room, 1.0)
        else:
            expected = left_over(moved, room, max(float(fit.crowding[0]) for fit in fits))
        samples, clean_penalty = sum(s.samples for s in self.final.sources), float(found.clean_penalty[0])
        return Prediction(
            self.mix if penalty == self.final.penalty else self._resolved(penalty),
            self._regimes(penalty),
            error,
            Baseline(
                samples, error.bias + error.variance, error.bias, error.variance,
                Best(clean_penalty, float(found.clean_total[0])),
            ),
            self._real_only(found),
            self.population.signal,
            Regularization(
                penalty,
                Best(best, at_best.total),
                self._flat_range(found),
                at_best,
                clean_penalty,
                max(float(found.total_at_clean[0]) - at_best.total, 0.0),
                float(found.effective_samples[0]),
            ),
            self.population.noise_variance,
            min(float(fit.room[0]) for fit in fits),
            expected,
            order=order,
            moved=moved if order else None,
        )  # fmt: skip

    def _resolved(self, penalty: float) -> TrainingMix:
        return replace(self.mix, stages=(*self.mix.stages[:-1], replace(self.final, penalty=penalty)))

    def _regimes(self, penalty: float) -> tuple[Regime, ...]:
        penalties = [*(float(stage.penalty) for stage in self.mix.stages[:-1]), penalty]
        return tuple(
            regime(sum(s.samples for s in stage.sources if s.weight > 0), self.population.rank, None, value)
            for stage, value in zip(self.mix.stages, penalties, strict=True)
        )

    def _decomposition(self, point: Point) -> Decomposition:
        errors = point.errors
        by_source = [
            SourceNoise(stage.name, source.name, value)
            for stage, values in zip(self.mix.stages[:-1], errors.by_source, strict=True)
            for source, value in zip(stage.sources, values[0].tolist(), strict=True)
        ]
        return assemble(
            float(errors.total[0]), float(errors.bias[0]), float(errors.variance[0]), tuple(by_source),
            shift=float(errors.shift[0]), mismatch=float(errors.mismatch[0]),
        )  # fmt: skip

    def _real_only(self, found: Outcomes) -> Baseline | None:
        """The real samples alone."""
        if self.real is None:
            return None
        parts, noise = found.real_parts, float(self.real.noise[0])
        if not parts.small[[0, 2], 1].all():
            raise NotSmall
        bias, variance = parts.bias[:, 1].tolist(), (parts.by_noise[:, 1] * noise).tolist()
        return Baseline(
            float(self.real.samples[0]), bias[0] + variance[0], bias[0], variance[0],
            Best(float(found.real.penalty[2, 1]), bias[2] + variance[2]),
        )  # fmt: skip

    def _flat_range(self, found: Outcomes) -> FlatRange:
        """As interpolated where the exact error there vouches for it, else by search."""
        population, optima = self.population, found.optima
        theta, least = float(optima.theta[0]), float(optima.value[0])
        limit = (1.0 + EXCESS) * least
        if found.ends is not None:
            penalties, totals = found.ends
            if all(vouched(total, limit) for total in totals.tolist()):
                low, high = penalties.tolist()
                return FlatRange(low, high)
        design = Design.of(self.final)
        curve = ErrorCurve(population, design, self.mixes.numbers[-1].noise[0], self._labels())

        def penalty(theta: float) -> float:
            return OneCovariance.at(population, design, theta, Regime.RIDGE).penalty(design)

        return flat_range(
            population.grid, curve, optima.curve[0], penalty,
            theta=theta, least=least, lowest=effective_ridge(population, design, 0.0),
        )  # fmt: skip

    def _labels(self) -> Labels:
        """The moments of the last stage's labels, source by source."""
        links, M = self.mixes.links[-1], self.batch.solved.moments[0]
        second = np.einsum("su,tv,uvm->stm", links.placed, links.placed, M)
        for power, s in zip(self.mixes.powers[-1][0], links.shifted, strict=True):
            second[s, s] = power
        return Labels(links.placed @ M[0], second)


def _real_fit(population: Population, mix: TrainingMix) -> RealFits | None:
    """The last stage's real samples alone, None where it has none. Raises _NotRegular unless they have one weight."""
    stage = real_stage(mix.stages[-1])
    if stage is None:
        return None
    design = Design.of(stage)
    if design.common_weight is None or design.active != design.total:
        raise _NotRegular
    noise = float(design.active_shares @ [source.noise_variance for source in stage.sources])
    return RealFits(population, *(np.array([x]) for x in (design.total, design.common_weight, noise)))
