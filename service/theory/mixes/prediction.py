"""The prediction of one mix: a batch of one, see outcomes.py."""

from dataclasses import replace
from typing import Final, Literal

import numpy as np

from service.theory.chain import Labels
from service.theory.curves import ErrorCurve
from service.theory.design import Design
from service.theory.flatness import EXCESS, flat_range, interpolated_ends, vouched
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

_INTERPOLATION: Final = 1e-6  # a value of the interpolant this right vouches for the place of its minimum


def mixed_prediction(population: Population, mix: TrainingMix, order: Literal[0, 1] = 0) -> Prediction | None:
    """The prediction of a mix that ``is_mixed`` takes, or None where the general engine must look.

    ``order`` 1: with the finite-size correction where that is small.
    """
    try:
        with np.errstate(all="ignore"):  # what overflows or is not defined is not regular
            one = _One(population, mix)
            try:
                return one.prediction(order)
            except NotSmall:
                return one.prediction(0)
    except _NotRegular:
        return None


class _NotRegular(Exception):
    """Something that only the general engine can find."""


class _One:
    def __init__(self, population: Population, mix: TrainingMix) -> None:
        self.population, self.mix, self.final = population, mix, mix.stages[-1]
        self.mixes = Mixes.of(population, mix)
        self.batch = Batch(population, self.mixes)

    def prediction(self, order: Literal[0, 1]) -> Prediction:
        """See ``mixed_prediction``. Raises NotSmall in order 1."""
        found = self.batch.outcomes(order)
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
            self._real_only(penalty, order),
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

    def _real_only(self, penalty: float, order: Literal[0, 1]) -> Baseline | None:
        """The real samples alone, if they have one loss weight."""
        stage = real_stage(self.final)
        if stage is None:
            return None
        design = Design.of(stage)
        if design.common_weight is None or design.active != design.total:
            raise _NotRegular
        noise = float(design.active_shares @ [source.noise_variance for source in stage.sources])
        fits = RealFits(
            self.population, *(np.array([x]) for x in (design.total, design.common_weight, noise))
        )
        theta, least, regular = fits.best()
        ridges = np.concatenate([fits.ridges(np.array([penalty])), theta])
        points = fits.at(ridges)
        totals = points.bias + points.ratio * noise
        if not (regular[0] and np.isfinite(totals).all()) or least[0] >= self.population.signal:
            raise _NotRegular
        if abs(totals[1] - least[0]) > _INTERPOLATION * totals[1]:
            raise _NotRegular
        bias, by_noise = points.bias, points.ratio
        if order == 1:
            parts = fits.corrected(ridges)
            if not parts.small.all():
                raise NotSmall
            bias, by_noise = parts.bias, parts.by_noise
        variance = by_noise * noise
        return Baseline(
            design.total, float(bias[0] + variance[0]), float(bias[0]), float(variance[0]),
            Best(float(points.penalty[1]), float(bias[1] + variance[1])),
        )  # fmt: skip

    def _flat_range(self, found: Outcomes) -> FlatRange:
        """As interpolated where the exact error there vouches for it, else by search."""
        population, optima = self.population, found.optima
        theta, least = float(optima.theta[0, 0]), float(optima.value[0, 0])
        limit = (1.0 + EXCESS) * least
        ends = interpolated_ends(population.grid.theta, optima.curve[0], theta, limit)
        if ends.low is not None and ends.high is not None:
            penalties, totals = self.batch.at(np.array([ends.low, ends.high]))
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
        links, moments = self.mixes.links[-1], self.batch.solved.moments
        members, M = links.members, moments.matrix[0]
        models = len(links.models)
        places = [moments.places.of[u] for u in links.models]
        own = M[np.ix_(places, places)]
        by_model = members[:models]
        second = np.einsum("vs,ut,vum->stm", by_model, by_model, own)
        for k, s in enumerate(links.shifted):
            second[s, s] = links.powers[k]
        return Labels(by_model.T @ M[0, places], second)
