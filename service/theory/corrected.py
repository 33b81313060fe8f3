"""A prediction to order 1: every error in it with its finite-size correction (finite_size.py).

The recommended penalties stay where the asymptotic error is least: moving them by a share of O(1/N) would change the
error there by O(1/N²) only. Limits, flat ranges and effective samples are asymptotic too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import inf

import numpy as np

from service.theory.chain import Chain, label_indices
from service.theory.corrected_errors import Answer, Errors, features_to_spare, lost_in_features
from service.theory.errors import NotConverged, Unsupported
from service.theory.finite_size import contributions
from service.theory.matrices import finite_size as matrices
from service.theory.matrices.response import MatrixResponse, StageSolver
from service.theory.mixes.prediction import mixed_prediction
from service.theory.mixes.scenarios import is_mixed
from service.theory.model import Population, Stage, TrainingMix
from service.theory.plain_correction import (
    LARGEST,
    NotSmall,
    left_over,
)
from service.theory.plain_prediction import is_plain, plain_prediction
from service.theory.response import Regime, Response
from service.theory.results import Baseline, Best, Decomposition, Prediction, SourceNoise, assemble
from service.theory.stages import (
    clean_stage,
    crowding,
    real_noise,
    real_stage,
    samples_to_spare,
    solve,
    solve_all,
)

_LEAST_MODES = 500  # a stage takes its time however few modes there are
MAX_WORK = 20_000_000  # modes × Σ over stages of (sources + 1)³: beyond it a correction would take seconds
_ASYMPTOTIC = 1.2  # of the correction: covers the asymptotic error of 19 in 20 mixes (docs/finite-size.md)


def corrected(population: Population, prediction: Prediction) -> Prediction:
    """The prediction to order 1, or as it is where a correction is not available or not small: ``order`` says which."""
    try:
        return _Corrector(population, prediction.mix).apply(prediction)
    except (NotSmall, NotConverged, Unsupported, np.linalg.LinAlgError):
        hidden = _hidden_by_features(population, prediction)
        return replace(
            prediction, expected_relative_error=min(prediction.expected_relative_error + hidden, 1.0)
        )


def correctable(population: Population, mix: TrainingMix) -> bool:
    """Whether the correction takes less than seconds."""
    modes = max(population.eigenvalues.size, _LEAST_MODES)
    work = sum((len(stage.sources) + 1) ** 3 for stage in mix.stages) * modes
    return work <= MAX_WORK


def with_expected_error(population: Population, prediction: Prediction) -> Prediction:
    """An asymptotic prediction with the relative error that its correction, where there is one, shows it to have."""
    if prediction.mix.keeps_data:
        return prediction
    mix, full = prediction.mix, None
    if is_plain(population, mix):
        full = plain_prediction(population, mix, 1)
    elif is_mixed(population, mix) and correctable(population, mix):
        full = mixed_prediction(population, mix, 1)
    if full is None or full.order == 0:
        full = corrected(population, prediction)
    if full.moved is None:
        return replace(prediction, expected_relative_error=full.expected_relative_error)
    expected = _ASYMPTOTIC * full.moved + full.expected_relative_error
    return replace(prediction, expected_relative_error=min(expected, 1.0))


@dataclass(frozen=True)
class _Point:
    """The mix at a penalty.

    ``moved``: see Prediction; ``hidden``: see Errors; ``room``, ``closeness``: see left_over.
    """

    error: Decomposition
    moved: float
    hidden: float
    room: float
    closeness: float


class _Corrector:
    """The errors that one prediction is made of; the earlier stages are solved once."""

    def __init__(self, population: Population, mix: TrainingMix) -> None:
        self.population, self.stages, self.final = population, mix.stages, mix.stages[-1]
        self.matrices = mix.has_matrices
        if self.matrices:
            if matrices.products(population, mix) > matrices.MAX_PRODUCTS:
                raise NotSmall
        elif not correctable(population, mix):
            raise NotSmall
        if any(stage.passes for stage in mix.stages):
            raise Unsupported("the correction is known for one fit of a design, not for several in a row")
        self.earlier: Sequence[Answer] = (
            [StageSolver(population, stage).at(float(stage.penalty)) for stage in mix.stages[:-1]]
            if self.matrices
            else solve_all(population, mix.stages[:-1])
        )
        self.real_noise = real_noise(population, self.final)

    def apply(self, found: Prediction) -> Prediction:
        """The prediction with all its errors corrected."""
        chosen = found.regularization
        best, clean_best = chosen.recommended.penalty, chosen.clean_optimal_penalty
        penalties = [chosen.penalty, best]
        if chosen.cost_of_clean_choice < inf:
            penalties.append(clean_best)
        clean = self.clean([*penalties[:2], clean_best])
        points = self.at(penalties, clean)
        given, at_best = points[0], points[1].error
        error, optimum = given.error, clean[2]
        try:
            real_only = found.real_only and self.real_only(found.real_only, chosen.penalty)
        except NotSmall:
            real_only = found.real_only
        cost = max(points[2].error.total - at_best.total, 0.0) if len(points) == 3 else inf
        return replace(
            found,
            test_error=error,
            clean=Baseline(
                found.clean.samples, error.bias + error.variance, error.bias, error.variance,
                Best(clean_best, optimum.truth + optimum.variance(self.real_noise)),
            ),
            real_only=real_only,
            asymptotic_real_only=real_only is not None and real_only is found.real_only,
            regularization=replace(
                chosen,
                recommended=Best(best, at_best.total),
                at_recommended=at_best,
                cost_of_clean_choice=cost,
            ),
            expected_relative_error=min(left_over(given.moved, given.room, given.closeness) + given.hidden, 1.0),
            moved=given.moved,
            order=1,
        )  # fmt: skip

    def at(self, penalties: Sequence[float], clean: Sequence[Errors]) -> list[_Point]:
        """The mix at penalties of its last stage; ``clean``: the same with all samples real."""
        last = self._solved(self.final, penalties, matrices=self.matrices)
        noise = np.array([source.noise_variance for source in self.final.sources])
        points = []
        for found, real, response in zip(
            self.errors(self.stages, self.earlier, last), clean, last, strict=False
        ):
            by_source = tuple(
                SourceNoise(stage.name, source.name, value * source.noise_variance)
                for stage, parts in zip(self.stages[:-1], found.noise, strict=False)
                for source, value in zip(stage.sources, parts.tolist(), strict=True)
            )
            error = assemble(
                found.total(self.stages), real.truth, real.variance(self.real_noise), by_source,
                shift=found.shift, mismatch=float(found.noise[-1] @ (noise - self.real_noise)),
            )  # fmt: skip
            fits = list(zip(self.stages, (*self.earlier, response), strict=True))
            room, closeness = min(_room(*fit) for fit in fits), max(_crowding(*fit) for fit in fits)
            if room < 1 or found.moved > LARGEST:
                raise NotSmall
            points.append(_Point(error, found.moved, found.hidden, room, closeness))
        return points

    def _solved(self, stage: Stage, penalties: Sequence[float], *, matrices: bool) -> list[Answer]:
        """A stage at several penalties."""
        at = StageSolver(self.population, stage).at if matrices else partial(solve, self.population, stage)
        return [at(penalty) for penalty in penalties]

    def errors(
        self, stages: tuple[Stage, ...], earlier: Sequence[Answer], last: Sequence[Answer]
    ) -> list[Errors]:
        """Of any stages. Raises NotSmall, at an interpolation threshold too."""
        if any(response.regime is Regime.THRESHOLD for response in (*earlier, *last)):
            raise NotSmall
        if any(isinstance(response, MatrixResponse) for response in last):
            return [
                Errors.of(
                    self.population, stages, chain, matrices.contributions(self.population, stages, chain)
                )
                for chain in (_matrices((*earlier, one)) for one in last)
            ]
        chain = Chain(self.population, stages, (*_modes(earlier), *_modes(last[:1])), label_indices(stages))
        return [
            Errors.of(self.population, stages, (*earlier, one), found)
            for one, found in zip(last, contributions(chain, _modes(last)), strict=True)
        ]

    def clean(self, penalties: Sequence[float]) -> list[Errors]:
        """The last stage with all its samples real."""
        stage = clean_stage(self.population, self.final)
        return self.errors((stage,), (), [solve(self.population, stage, penalty) for penalty in penalties])

    def real_only(self, found: Baseline, penalty: float) -> Baseline:
        """The real samples alone."""
        stage = real_stage(self.final)
        assert stage is not None
        own = TrainingMix((stage,)).has_matrices
        alone = self._solved(stage, [penalty, found.best.penalty], matrices=own)
        given, best = self.errors((stage,), (), alone)
        total = given.total((stage,))
        return Baseline(
            found.samples,
            total,
            given.truth,
            total - given.truth,
            Best(found.best.penalty, best.total((stage,))),
        )


def _matrices(responses: Sequence[Answer]) -> list[MatrixResponse]:
    return [response for response in responses if isinstance(response, MatrixResponse)]


def _modes(responses: Sequence[Answer]) -> list[Response]:
    return [response for response in responses if isinstance(response, Response)]


def _room(stage: Stage, response: Answer) -> float:
    if isinstance(response, MatrixResponse):
        return response.samples_to_spare
    return samples_to_spare(stage, response)


def _crowding(stage: Stage, response: Answer) -> float:
    if isinstance(response, MatrixResponse):
        room = response.samples_to_spare
        return (1.0 - response.openness) / room if room > 0 else inf
    return crowding(stage, response)


def _hidden_by_features(population: Population, prediction: Prediction) -> float:
    """What of an asymptotic error samples to spare do not show, as a share of it; later stages keep it all."""
    total, mix = prediction.test_error.total, prediction.mix
    if mix.has_matrices or not 0 < total < inf or all(stage.width is None for stage in mix.stages):
        return 0.0
    power, hidden = population.weight * population.target_power, 0.0
    for stage, response in zip(mix.stages, solve_all(population, mix.stages), strict=True):
        if stage.width is not None:
            room = features_to_spare(population, stage.width, response)
            lost = power @ (response.unlearned * (1.0 - response.unlearned))
            hidden += lost_in_features(stage.width, room) * float(lost)
    return hidden / total
