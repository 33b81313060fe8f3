"""The prediction of a mix with covariance matrices: totals, decomposition, baselines, the penalty to use."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf, nan

import numpy as np

from service.theory.effective_samples import effective_samples
from service.theory.errors import NotConverged, Unsupported
from service.theory.joint_penalties import evaluations, with_best_penalties
from service.theory.matrices.chain import History, LastFit, origins
from service.theory.matrices.response import MatrixResponse, StageSolver, respond
from service.theory.matrices.search import Curve
from service.theory.model import OPTIMAL, Population, Source, Stage, TrainingMix
from service.theory.penalty_general import minimize_penalty, penalty_range
from service.theory.response import Regime
from service.theory.results import (
    Baseline,
    Best,
    Decomposition,
    FlatRange,
    GenerationParts,
    Prediction,
    Regularization,
    SourceNoise,
    assemble,
)
from service.theory.stages import clean_stage, real_noise, real_stage

MAX_MODES = 2000
MAX_PRODUCTS = 200
"""Products of d × d matrices, at d = 2,000, that one prediction may take: two minutes of one core."""

_SEARCHED = 128  # modes up to which every penalty is tried
_LEAST = 1e-13  # penalty over tr Σ/N, below which it is none

Predict = Callable[[TrainingMix], Prediction]


def products(population: Population, mix: TrainingMix) -> float:
    """A measure of a prediction's cost: about how many products of d × d matrices, in units of those at d = 2,000."""
    size = population.eigenvalues.size
    earlier = sum(10 * (1 + _full(stage)) + 2 * len(stage.sources) ** 2 for stage in mix.stages[:-1])
    last = mix.stages[-1]
    trial, once = 2 + 3 * _full(last), 10 + 3 * len(last.sources) ** 2
    count = earlier + once + (84 if size <= _SEARCHED else 20) * trial
    searches = evaluations(mix, last_too=True)
    if searches > 1:
        count += searches * (earlier + once + trial)
    return float(count * (size / MAX_MODES) ** 3)


def _full(stage: Stage) -> int:
    """How many covariance matrices a stage has."""
    return len({id(source.covariance) for source in stage.sources if source.covariance is not None})


def matrix_prediction(population: Population, mix: TrainingMix, predict: Predict) -> Prediction:
    """The prediction of a mix in which a source has a covariance matrix; ``predict``: of mixes without any.

    Deterministic equivalents, as prediction.predict, to which it reduces for diagonal matrices; populations with one
    mode to each entry. Up to 128 modes the recommended penalty is searched for over all penalties, beyond that around
    the one that is best if the matrices' diagonals were all. Cost: O(stages × sources² × d³). Raises NotConverged,
    Unsupported.
    """
    return _Engine(population, _resolved(population, mix, predict), predict).predict()


def matrix_error(population: Population, mix: TrainingMix, predict: Predict) -> float:
    """The total alone."""
    engine = _Engine(population, _resolved(population, mix, predict), predict)
    return engine.best.total if engine.final.penalty == OPTIMAL else engine.total(float(engine.final.penalty))


def _resolved(population: Population, mix: TrainingMix, predict: Predict) -> TrainingMix:
    """With every "optimal" penalty before the last stage found; the last one's is searched for beside them."""

    def errors(mixes: Sequence[TrainingMix]) -> list[float]:
        return [_error_or_infinity(population, one, predict) for one in mixes]

    return with_best_penalties(population, mix, errors, last_too=True)


def _error_or_infinity(population: Population, mix: TrainingMix, predict: Predict) -> float:
    try:
        return matrix_error(population, mix, predict)
    except (NotConverged, Unsupported):  # next to a threshold
        return inf


def diagonal(mix: TrainingMix) -> TrainingMix:
    """The mix with every matrix's diagonal in its place."""

    def source(one: Source) -> Source:
        if one.covariance is None:
            return one
        return replace(one, covariance=None, eigenvalues=one.covariance.diagonal().copy())

    stages = tuple(replace(s, sources=tuple(source(one) for one in s.sources)) for s in mix.stages)
    return TrainingMix(stages)


@dataclass(frozen=True, eq=False)
class _Point:
    """The last stage at a penalty; ``response``: None where the penalty is infinite."""

    penalty: float
    total: float
    response: MatrixResponse | None


class _Engine:
    def __init__(self, population: Population, mix: TrainingMix, predict: Predict) -> None:
        if np.any(population.multiplicities != 1):
            raise Unsupported("covariance matrices need a population of single modes")
        self.population, self.mix, self.final, self.predict_clean = population, mix, mix.stages[-1], predict
        self.noise = np.array([source.noise_variance for source in self.final.sources])
        self.real_noise = real_noise(population, self.final)

    def predict(self) -> Prediction:
        """See matrix_prediction."""
        population, best = self.population, self.best
        penalty = best.penalty if self.final.penalty == OPTIMAL else float(self.final.penalty)
        given = self._point(penalty)
        at_best = given if penalty == best.penalty else self._point(best.penalty)
        clean = clean_stage(population, self.final)
        clean_best = self.predict_clean(
            TrainingMix((replace(clean, penalty=OPTIMAL),))
        ).regularization.recommended
        error, recommended = (self._decomposition(point, clean) for point in (given, at_best))
        responses = [*self.earlier, *([] if given.response is None else [given.response])]
        cost = self.total(clean_best.penalty) - at_best.total
        samples = sum(source.samples for source in clean.sources)
        open_ = [r.openness for r in responses]
        rooms = [r.samples_to_spare for r in responses]
        return Prediction(
            replace(self.mix, stages=(*self.mix.stages[:-1], replace(self.final, penalty=penalty))),
            tuple(response.regime for response in responses),
            error,
            Baseline(samples, error.bias + error.variance, error.bias, error.variance, clean_best),
            self._real_baseline(penalty),
            population.signal,
            Regularization(
                penalty,
                Best(best.penalty, at_best.total),
                self._flat_range(best),
                recommended,
                clean_best.penalty,
                max(cost, 0.0),
                effective_samples(population, self.real_noise, self.final.width, at_best.total),
            ),
            population.noise_variance,
            min(open_, default=1.0),
            1.0 / max(min(rooms, default=inf), 1.0),
        )

    # --- errors ---------------------------------------------------------------------------------

    @cached_property
    def earlier(self) -> tuple[MatrixResponse, ...]:
        """The responses of all stages but the last; equal designs are solved once."""
        known: dict[tuple[object, ...], MatrixResponse] = {}
        found = []
        for stage in self.mix.stages[:-1]:
            key = (
                stage.penalty,
                stage.width,
                tuple((s.samples, s.weight, id(s.eigenvalues), id(s.covariance)) for s in stage.sources),
            )
            if key not in known:
                known[key] = respond(self.population, stage, float(stage.penalty))
            found.append(known[key])
        return tuple(found)

    @cached_property
    def history(self) -> History:
        """What the last stage is fitted on."""
        return History(self.population, self.mix.stages, self.earlier)

    def _point(self, penalty: float) -> _Point:
        if penalty == inf:
            return _Point(penalty, self.population.signal, None)
        response = self._solver.at(penalty)
        if self.history.spoilt and response.regime is not Regime.EMPTY:
            return _Point(penalty, inf, response)
        total = self._fit.error(response)
        return _Point(penalty, total if np.isfinite(total) else inf, response)

    @cached_property
    def _solver(self) -> StageSolver:
        return StageSolver(self.population, self.final)

    @cached_property
    def _fit(self) -> LastFit:
        return LastFit(self.population, self.final, self._solver.sigma, self.history.labels, self.noise)

    def total(self, penalty: float) -> float:
        """The test error at a penalty of the last stage."""
        return self._point(penalty).total

    def _decomposition(self, point: _Point, clean: Stage) -> Decomposition:
        population = self.population
        bias, variance = population.signal, 0.0
        if point.penalty < inf:
            real = self.predict_clean(TrainingMix((replace(clean, penalty=point.penalty),))).test_error
            bias, variance = real.bias, real.variance
        names = [
            (stage.name, source.name, source.noise_variance)
            for stage in self.mix.stages[:-1]
            for source in stage.sources
        ]
        if point.response is None:
            nothing = tuple(SourceNoise(stage, source, 0.0) for stage, source, _ in names)
            return assemble(point.total, bias, variance, nothing, shift=0.0, mismatch=0.0)
        if not np.isfinite(point.total + bias + variance):
            unknown = tuple(SourceNoise(stage, source, nan) for stage, source, _ in names)
            parts = GenerationParts(nan, nan, nan, nan)
            return Decomposition(point.total, bias, variance, nan, parts, unknown)
        found = origins(population, self.mix.stages, (*self.earlier, point.response))
        derivatives = np.concatenate([np.zeros(0), *found.noise[:-1]]).tolist()
        by_source = tuple(
            SourceNoise(stage, source, value * noise)
            for (stage, source, noise), value in zip(names, derivatives, strict=True)
        )
        mismatch = float(found.noise[-1] @ (self.noise - self.real_noise))
        return assemble(point.total, bias, variance, by_source, shift=found.shift, mismatch=mismatch)

    def _real_baseline(self, penalty: float) -> Baseline | None:
        """The real samples alone, with their own covariances."""
        stage = real_stage(self.final)
        if stage is None:
            return None
        stage = replace(stage, penalty=penalty)
        mix = TrainingMix((stage,))
        samples = sum(source.samples for source in stage.sources)
        if not mix.has_matrices:
            best = self.predict_clean(
                TrainingMix((replace(stage, penalty=OPTIMAL),))
            ).regularization.recommended
            if penalty == inf:
                return Baseline(samples, self.population.signal, self.population.signal, 0.0, best)
            error = self.predict_clean(mix).test_error
            variance = error.variance + error.parts.noise_mismatch
            return Baseline(samples, error.total, error.total - variance, variance, best)
        engine = _Engine(self.population, mix, self.predict_clean)
        point = engine._point(penalty)
        if point.response is None or not np.isfinite(point.total):
            return Baseline(samples, point.total, point.total, 0.0, engine.best)
        silent = np.zeros(len(stage.sources))
        bias = LastFit(self.population, stage, engine._solver.sigma, engine.history.labels, silent).error(
            point.response
        )
        return Baseline(samples, point.total, bias, point.total - bias, engine.best)

    # --- penalties ------------------------------------------------------------------------------

    @property
    def _scale(self) -> float:
        """tr Σ/N."""
        return self.population.trace / max(sum(source.samples for source in self.final.sources), 1.0)

    def _tried(self, penalty: float) -> float:
        """The total, infinite next to a threshold."""
        try:
            return self.total(penalty)
        except (NotConverged, Unsupported):
            return inf

    @cached_property
    def best(self) -> Best:
        """The best penalty of the last stage and the error there."""
        signal = self.population.signal
        if self.history.spoilt or self.population.rank == 0:
            return Best(inf, signal)
        if self.population.eigenvalues.size <= _SEARCHED:
            return minimize_penalty(self._tried, self._scale, signal)
        guess = self.predict_clean(diagonal(self.mix)).regularization.recommended.penalty
        return self._curve.best(guess if 0 < guess < inf else self._scale)

    @cached_property
    def _curve(self) -> Curve:
        return Curve(self._tried, self.population.signal)

    def _flat_range(self, best: Best) -> FlatRange:
        """See FlatRange."""
        if not best.total < self.population.signal:
            return FlatRange(inf, inf)
        if self.population.eigenvalues.size <= _SEARCHED:
            return penalty_range(self._tried, best, self._scale, self.population.signal)
        return self._curve.flat_range(best, self._scale * _LEAST)
