"""What the theory says of every stage of every point, equal stages once."""

from dataclasses import asdict, dataclass, field
from itertools import accumulate
from math import inf, isfinite
from typing import Any, Final

from service.errors import InvalidInput
from service.predictions.responses import GenerationParts
from service.predictions.schemas import TrainingMix as AskedMix
from service.simulation.process import Process
from service.simulations.processes import process, stage_mixes
from service.simulations.schemas import PredictedError
from service.theory import results
from service.theory.errors import NotConverged, Unsupported
from service.theory.general import expected_relative_error
from service.theory.leverage import RowsError, rows_error
from service.theory.model import OPTIMAL, Population, Shift, TrainingMix
from service.theory.passes import passes_error
from service.theory.prediction import predict
from service.theory.stages import solve

MAX_PREDICTIONS: Final = 600
"""Distinct stages that are predicted, at most: each takes about a millisecond, some several."""


@dataclass(frozen=True)
class StagePrediction:
    """The prediction of one stage as its last, or why there is none; ``mix`` with every penalty found.

    ``rows``: how far real rows are expected to be off, a part of the prediction's expected relative error.
    """

    mix: TrainingMix
    prediction: PredictedError | None
    missing: str | None
    rows: RowsError | None = None


@dataclass
class Predictions:
    """Predictions of the stages of a grid; a stage that several points have in common is predicted once."""

    _known: dict[object, StagePrediction] = field(default_factory=dict)

    def point(
        self, parameters: dict[str, int | float], asked: AskedMix, population: Population, mix: TrainingMix
    ) -> tuple[dict[str, Any], Process]:
        """What is stored of a point, and its process, with every penalty a number. Raises InvalidInput."""
        last = self._of(population, mix)
        resolved = last.mix
        penalties = [_number(stage.penalty, last.missing) for stage in resolved.stages]
        simulated = process(asked, population, resolved)
        before = [self._of(population, one) for one in stage_mixes(asked, population, resolved)[:-1]]
        described = {
            "parameters": parameters,
            "penalties": penalties,
            "stages": [
                {
                    "name": stage.name,
                    "prediction": found.prediction.model_dump(mode="json") if found.prediction else None,
                    "prediction_missing": found.missing,
                    "size": size,
                    "rows_error": asdict(found.rows) if found.rows else None,
                }
                for stage, found, size in zip(
                    simulated.mix.stages, [*before, last], _sizes(population, simulated.mix), strict=True
                )
            ],
        }
        return described, simulated

    def _of(self, population: Population, mix: TrainingMix) -> StagePrediction:
        key = (_population_key(population), _mix_key(mix))
        if key not in self._known:
            if len(self._known) >= MAX_PREDICTIONS:
                raise InvalidInput.at(
                    "/grid",
                    "too_large",
                    f"The grid has more than {MAX_PREDICTIONS} different stages, generations counted: take fewer"
                    " points or fewer generations.",
                )
            self._known[key] = _predicted(population, mix)
        return self._known[key]


def _predicted(population: Population, mix: TrainingMix) -> StagePrediction:
    try:
        if mix.stages[-1].passes:
            return _of_passes(population, mix)
        found = predict(population, mix, order=1)
    except (Unsupported, NotConverged) as error:
        return StagePrediction(mix, None, str(error))
    if found.test_error.diverged:
        reason = "divergent: the theory puts the error at infinity (some fit interpolates its samples)"
        return StagePrediction(found.mix, None, reason)
    rows = rows_error(population, found.mix)
    expected = min(found.expected_relative_error + (rows.total if rows else 0.0), 1.0)
    return StagePrediction(found.mix, _error(found.test_error, expected), None, rows)


def _of_passes(population: Population, mix: TrainingMix) -> StagePrediction:
    """Of the last of several fits on one design."""
    error = passes_error(population, mix.stages[0])
    if error.diverged:
        return StagePrediction(mix, None, "divergent: the theory puts the error at infinity")
    responses = [solve(population, stage, float(stage.penalty)) for stage in mix.stages]
    rows = rows_error(population, mix)
    expected = expected_relative_error(mix.stages, responses) + (rows.total if rows else 0.0)
    return StagePrediction(mix, _error(error, min(expected, 1.0)), None, rows)


def _sizes(population: Population, mix: TrainingMix) -> list[float]:
    """Of every stage: the least number of samples, features or random features that a fit up to it has."""
    sizes = (
        min(sum(source.samples for source in stage.sources), population.rank, stage.width or inf)
        for stage in mix.stages
    )
    return list(accumulate(sizes, min))


def _population_key(population: Population) -> object:
    return (
        population.eigenvalues.tobytes(),
        population.multiplicities.tobytes(),
        population.target_power.tobytes(),
        None if population.target is None else population.target.tobytes(),
        population.noise_variance,
    )


def _mix_key(mix: TrainingMix) -> object:
    """All that a prediction of the last stage depends on."""
    return mix.keeps_data, tuple(
        (
            stage.name,
            stage.penalty,
            stage.width,
            stage.passes,
            tuple(
                (
                    source.labels.power.tobytes() if isinstance(source.labels, Shift) else source.labels,
                    source.samples,
                    source.noise_variance,
                    source.weight,
                    source.covariance_key,
                )
                for source in stage.sources
            ),
        )
        for stage in mix.stages
    )


def _number(penalty: float | str, missing: str | None) -> float:
    if penalty == OPTIMAL:
        raise InvalidInput.at(
            "/training_mix",
            "no_optimal_penalty",
            f'"optimal" needs a prediction, and there is none: {missing}.',
        )
    if not isfinite(float(penalty)):
        raise InvalidInput.at(
            "/training_mix",
            "no_optimal_penalty",
            'No penalty does better than predicting zero, so there is no "optimal" one to simulate.',
        )
    return float(penalty)


def _error(error: results.Decomposition, expected_relative_error: float) -> PredictedError:
    parts = error.parts
    return PredictedError(
        total=_finite(error.total),
        bias=_finite(error.bias),
        variance=_finite(error.variance),
        generation=_finite(error.generation),
        generation_parts=GenerationParts(
            label_noise=_finite(parts.label_noise),
            distortion=_finite(parts.distortion),
            shift=_finite(parts.shift),
            noise_mismatch=_finite(parts.noise_mismatch),
        ),
        expected_relative_error=expected_relative_error,
    )


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None
