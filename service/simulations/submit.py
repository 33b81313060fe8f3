"""Every check of a simulation before it is stored: its points, their predictions, its cost."""

from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

from service.errors import InvalidInput
from service.jobs.plan import FLOPS_PER_SECOND, shard_ranges
from service.predictions.engine import work_of
from service.predictions.responses import GenerationParts
from service.simulations.grid import GridPoint, expand
from service.simulations.results import planned
from service.simulations.schemas import (
    MAX_ERRORS,
    Cost,
    PredictedError,
    SimulationEstimate,
    SimulationRequest,
)
from service.simulations.workload import Stored, compile_point, flops_per_replicate, groups
from service.theory import results
from service.theory.errors import NotConverged, Unsupported
from service.theory.model import OPTIMAL, Population, TrainingMix
from service.theory.prediction import predict

MAX_FLOPS: Final = 2e15  # two days of one core
MAX_PREDICTION_WORK: Final = 100e6
_FIT_OVERHEAD: Final = 1e6  # of a fit's bookkeeping, in the currency of flops


@dataclass(frozen=True)
class Plan:
    """A simulation that can be stored: what each point is, and the shards."""

    request: SimulationRequest
    points: list[dict[str, Any]]
    shards: list[tuple[int, int]]
    flops: float

    @property
    def cost(self) -> Cost:
        """What it takes."""
        return cost(len(self.points), self.request.replicates, len(self.shards), self.flops)

    def estimate(self) -> SimulationEstimate:
        """The answer to validate_only."""
        return SimulationEstimate(cost=self.cost, points=planned(self.points))


def cost(points: int, replicates: int, shards: int, flops: float) -> Cost:
    """The cost of a simulation, in operations and in seconds of one core."""
    return Cost(
        points=points,
        replicates=replicates,
        shards=shards,
        flops=flops,
        core_seconds=flops / FLOPS_PER_SECOND,
    )


def plan(request: SimulationRequest, data: Stored | None, shard_timeout: float) -> Plan:
    """Check, predict and cut a simulation; takes seconds at worst, no database. Raises InvalidInput."""
    grid = expand(request)
    if len(grid) * request.replicates > MAX_ERRORS:
        raise InvalidInput.at(
            "/replicates",
            "too_large",
            f"{len(grid)} grid points × {request.replicates} replicates; at most {MAX_ERRORS} test errors"
            " are kept: take fewer of either.",
        )
    compiled = [compile_point(point, data) for point in grid]
    work = sum(work_of(population, mix) for population, mix in compiled)
    if work > MAX_PREDICTION_WORK:
        raise InvalidInput.at(
            "/grid",
            "too_large",
            f"Grid points × stages × sources × modes is {work:.2g}; at most {MAX_PREDICTION_WORK:.2g}.",
        )
    points, mixes = [], []
    for point, (population, mix) in zip(grid, compiled, strict=True):
        described, resolved = _predicted(point, population, mix)
        points.append(described)
        mixes.append(resolved)
    fits = groups([population for population, _ in compiled], mixes, data)
    flops = flops_per_replicate(fits) + _FIT_OVERHEAD * sum(len(mix.stages) for mix in mixes)
    _affordable(flops, request.replicates, shard_timeout)
    return Plan(request, points, shard_ranges(request.replicates, flops), flops * request.replicates)


def _affordable(flops: float, replicates: int, shard_timeout: float) -> None:
    longest = shard_timeout * FLOPS_PER_SECOND / 4  # a slow machine has time enough, too
    if flops > longest:
        raise InvalidInput.at(
            "/training_mix",
            "too_large",
            f"One replicate takes {flops:.2g} operations; at most {longest:.2g}: take fewer samples or points.",
        )
    if flops * replicates > MAX_FLOPS:
        raise InvalidInput.at(
            "/replicates",
            "too_large",
            f"{replicates} replicates take {flops * replicates:.2g} operations; at most {MAX_FLOPS:.2g}:"
            f" take at most {int(MAX_FLOPS / flops)}.",
        )


def _predicted(
    point: GridPoint, population: Population, mix: TrainingMix
) -> tuple[dict[str, Any], TrainingMix]:
    """What is stored of a point, and its mix with every penalty a number."""
    missing: str | None = None
    prediction: PredictedError | None = None
    try:
        found = predict(population, mix)
    except (Unsupported, NotConverged) as error:
        missing = str(error)
    else:
        mix = found.mix
        if found.test_error.diverged:
            missing = "divergent: the theory puts the error at infinity (some fit interpolates its samples)"
        else:
            prediction = _error(found)
    penalties = [_number(stage.penalty, missing) for stage in mix.stages]
    described = {
        "parameters": point.parameters,
        "prediction": prediction.model_dump(mode="json") if prediction else None,
        "prediction_missing": missing,
        "penalties": penalties,
    }
    return described, mix


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


def _error(found: results.Prediction) -> PredictedError:
    error = found.test_error
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
        expected_relative_error=found.expected_relative_error,
    )


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None
