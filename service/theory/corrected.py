"""A prediction to order 1: every error in it with its finite-size correction (finite_size.py).

The recommended penalties stay where the asymptotic error is least: moving them by a share of O(1/N) would change the
error there by O(1/N²) only. Limits, flat ranges and effective samples are asymptotic too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from service.theory.chain import Chain, label_indices
from service.theory.errors import NotConverged, Unsupported
from service.theory.finite_size import Contributions, contributions
from service.theory.model import Array, Population, Stage, TrainingMix
from service.theory.plain_correction import (
    NotSmall,
    added,
    continued,
    has_closed_form,
    left_over,
    plain_corrected,
)
from service.theory.response import Regime, Response
from service.theory.results import Baseline, Best, Decomposition, Prediction, SourceNoise, assemble
from service.theory.stages import clean_stage, real_noise, real_stage, samples_to_spare, solve, solve_all

MAX_WORK = 20_000_000  # modes × Σ over stages of (sources + 1)³: beyond it a correction would take seconds
_ASYMPTOTIC = (
    1.2  # of the correction: covers the asymptotic error of 19 in 20 random mixes (docs/finite-size.md)
)
_NEGLIGIBLE = 1e-3  # share of the total below which a contribution does not decide


def corrected(population: Population, prediction: Prediction) -> Prediction:
    """The prediction to order 1, or as it is where a correction is not available or not small: ``order`` says which."""
    try:
        if has_closed_form(prediction):
            return plain_corrected(population, prediction)
        return _Corrector(population, prediction.mix).apply(prediction)
    except (NotSmall, NotConverged, Unsupported, np.linalg.LinAlgError):
        return prediction


def with_expected_error(population: Population, prediction: Prediction) -> Prediction:
    """An asymptotic prediction with the relative error that its correction shows it to have."""
    moved = corrected(population, prediction).moved
    if moved is None:
        return prediction
    return replace(prediction, expected_relative_error=min(_ASYMPTOTIC * moved, 1.0))


@dataclass(frozen=True, eq=False)
class _Errors:
    """What a final error consists of.

    ``truth``: what is not learned; ``noise[f][s]``: its derivative by the noise variance of source s of stage f;
    ``shift``: of all shifts together; ``moved``: see Prediction.
    """

    truth: float
    noise: list[Array]
    shift: float
    moved: float

    @staticmethod
    def of(stages: Sequence[Stage], found: Contributions) -> "_Errors":
        """To order 1. Raises NotSmall."""
        variances = [[source.noise_variance for source in stage.sources] for stage in stages]
        shift = sum((parts.sum(axis=1) for parts in found.shift), np.zeros(2))
        noise = sum((part @ v for part, v in zip(found.noise, variances, strict=True)), np.zeros(2))
        total = float(found.truth[0] + shift[0] + noise[0])
        least = _NEGLIGIBLE * total
        moved = abs(found.truth[1]) + abs(shift[1])
        moved += sum(abs(part[1]) @ v for part, v in zip(found.noise, variances, strict=True))

        def by_noise(part: Array, variance: list[float]) -> Array:
            return np.array([
                continued(value, correction, least / s2 if s2 else inf)
                for value, correction, s2 in zip(*part.tolist(), variance, strict=True)
            ])  # fmt: skip

        return _Errors(
            added(float(found.truth[0]), float(found.truth[1]), least),
            [by_noise(part, v) for part, v in zip(found.noise, variances, strict=True)],
            added(float(shift[0]), float(shift[1]), least),
            float(moved) / total if total > 0 else 0.0,
        )

    def total(self, stages: tuple[Stage, ...]) -> float:
        """The test error."""
        variances = ([source.noise_variance for source in stage.sources] for stage in stages)
        return self.truth + self.shift + sum(float(p @ v) for p, v in zip(self.noise, variances, strict=True))


@dataclass(frozen=True)
class _Point:
    """The mix at a penalty; ``moved``: see Prediction; ``room``: the least samples to spare of a fit."""

    error: Decomposition
    moved: float
    room: float


class _Corrector:
    """The errors that one prediction is made of; the earlier stages are solved once."""

    def __init__(self, population: Population, mix: TrainingMix) -> None:
        self.population, self.stages, self.final = population, mix.stages, mix.stages[-1]
        work = sum((len(stage.sources) + 1) ** 3 for stage in mix.stages) * population.eigenvalues.size
        if work > MAX_WORK:
            raise NotSmall
        self.earlier = solve_all(population, mix.stages[:-1])
        self.labels = label_indices(mix.stages)
        self.real_noise = real_noise(population, self.final)
        self.known: dict[float, _Point] = {}

    def apply(self, found: Prediction) -> Prediction:
        """The prediction with all its errors corrected."""
        regularization = found.regularization
        given = self.at(regularization.penalty)
        error, at_best = given.error, self.at(regularization.recommended.penalty).error
        clean_penalty = regularization.clean_optimal_penalty
        cost = inf
        if regularization.cost_of_clean_choice < inf:
            cost = max(self.at(clean_penalty).error.total - at_best.total, 0.0)
        clean = Baseline(
            found.clean.samples, error.bias + error.variance, error.bias, error.variance,
            Best(clean_penalty, sum(self.bias_and_variance(clean_stage(self.population, self.final), clean_penalty))),
        )  # fmt: skip
        return replace(
            found,
            test_error=error,
            clean=clean,
            real_only=None
            if found.real_only is None
            else self.real_only(found.real_only, regularization.penalty),
            regularization=replace(
                regularization,
                recommended=Best(regularization.recommended.penalty, at_best.total),
                at_recommended=at_best,
                cost_of_clean_choice=cost,
            ),
            expected_relative_error=left_over(given.moved, given.room),
            moved=given.moved,
            order=1,
        )

    def at(self, penalty: float) -> _Point:
        """The mix at a penalty of its last stage."""
        if penalty not in self.known:
            stages = (*self.stages[:-1], replace(self.final, penalty=penalty))
            responses = (*self.earlier, solve(self.population, self.final, penalty))
            found = self.errors(stages, responses, self.labels)
            bias, variance = self.bias_and_variance(clean_stage(self.population, self.final), penalty)
            by_source = tuple(
                SourceNoise(stage.name, source.name, value * source.noise_variance)
                for stage, parts in zip(stages[:-1], found.noise, strict=False)
                for source, value in zip(stage.sources, parts.tolist(), strict=True)
            )
            noise = np.array([source.noise_variance for source in self.final.sources])
            error = assemble(
                found.total(stages), bias, variance, by_source,
                shift=found.shift, mismatch=float(found.noise[-1] @ (noise - self.real_noise)),
            )  # fmt: skip
            room = min(samples_to_spare(*pair) for pair in zip(stages, responses, strict=True))
            self.known[penalty] = _Point(error, found.moved, room)
        return self.known[penalty]

    def errors(
        self, stages: tuple[Stage, ...], responses: tuple[Response, ...], labels: list[tuple[int, ...]]
    ) -> _Errors:
        """Of any stages. Raises NotSmall, at an interpolation threshold too."""
        if any(response.regime is Regime.THRESHOLD for response in responses):
            raise NotSmall
        return _Errors.of(stages, contributions(Chain(self.population, stages, responses, labels)))

    def bias_and_variance(self, stage: Stage, penalty: float) -> tuple[float, float]:
        """Of a stage whose labels are all real."""
        found = self.errors((stage,), (solve(self.population, stage, penalty),), label_indices((stage,)))
        return found.truth, found.total((stage,)) - found.truth

    def real_only(self, found: Baseline, penalty: float) -> Baseline:
        """The real samples alone."""
        stage = real_stage(self.final)
        assert stage is not None
        bias, variance = self.bias_and_variance(stage, penalty)
        best = Best(found.best.penalty, sum(self.bias_and_variance(stage, found.best.penalty)))
        return Baseline(found.samples, bias + variance, bias, variance, best)
