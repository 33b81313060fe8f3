"""Every check of a simulation before it is stored: its points, their predictions, its cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from service.errors import InvalidInput
from service.jobs.plan import FLOPS_PER_SECOND, shard_ranges
from service.predictions.engine import work_of
from service.simulations.comparison import compared
from service.simulations.grid import expand
from service.simulations.predicted import Predictions
from service.simulations.schemas import MAX_ERRORS, Cost, SimulationEstimate, SimulationRequest
from service.simulations.workload import Stored, compile_point, flops_per_replicate, groups

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
        nothing = compared(self.request.model_dump(mode="json"), self.points, np.empty((0, 0)))
        return SimulationEstimate(cost=self.cost, points=nothing.points)


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
    compiled = [compile_point(point, data) for point in grid]
    _storable(request, [len(mix.stages) for _, mix in compiled])
    work = sum(work_of(population, mix) * (1 + len(mix.stages)) / 2 for population, mix in compiled)
    if work > MAX_PREDICTION_WORK:
        raise InvalidInput.at(
            "/grid",
            "too_large",
            f"Grid points × stages² × sources × modes is {work:.2g}; at most {MAX_PREDICTION_WORK:.2g}.",
        )
    predictions = Predictions()
    points, processes = [], []
    for point, (population, mix) in zip(grid, compiled, strict=True):
        described, process = predictions.point(point.parameters, point.request.training_mix, population, mix)
        points.append(described)
        processes.append(process)
    counts = [len(process.mix.stages) for process in processes]
    _storable(request, counts)  # generators that the theory takes together are several fits
    fits = groups(request, [population for population, _ in compiled], processes, data)
    flops = flops_per_replicate(fits) + _FIT_OVERHEAD * sum(counts)
    _affordable(flops, request.replicates, shard_timeout)
    return Plan(request, points, shard_ranges(request.replicates, flops), flops * request.replicates)


def _storable(request: SimulationRequest, stages: Sequence[int]) -> None:
    if sum(stages) * request.replicates > MAX_ERRORS:
        raise InvalidInput.at(
            "/replicates",
            "too_large",
            f"{sum(stages)} stages of {len(stages)} grid points × {request.replicates} replicates; at most"
            f" {MAX_ERRORS} test errors are kept: take fewer of any.",
        )


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
