"""From a request of any kind to a plan that can be stored: checked, predicted, within its limits, cut into shards."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from service.errors import InvalidInput
from service.jobs.plan import shard_ranges
from service.simulation.costs import FLOPS_PER_SECOND
from service.simulations import precision
from service.simulations.kinds import Kind, Planned
from service.simulations.resource import (
    MAX_OUTCOMES,
    MAX_REPLICATES,
    Cost,
    Place,
    SimulationEstimate,
    SimulationOptions,
)

MAX_FLOPS: Final = 5e15  # two days of one core
MAX_NUMBERS: Final = 9e7  # 720 MB: a worker's child stays below a GiB


@dataclass(frozen=True)
class Plan:
    """A simulation that can be stored; ``replicates``: at most."""

    kind: Kind[Any, Any]
    request: SimulationOptions
    planned: Planned
    replicates: int
    shards: list[tuple[int, int]]

    @property
    def flops(self) -> float:
        """Of all replicates."""
        return self.planned.flops * self.replicates

    @property
    def cost(self) -> Cost:
        """What it takes."""
        return cost(len(self.planned.points), self.replicates, len(self.shards), self.flops)

    @property
    def wanted_shards(self) -> int:
        """How many to compute at first: all, unless a precision is to be reached."""
        if self.request.relative_standard_error is None:
            return len(self.shards)
        return precision.first_look([last for _, last in self.shards])

    def estimate(self, place: Place) -> SimulationEstimate:
        """The answer to validate_only."""
        nothing = self.kind.result(
            self.request.model_dump(mode="json"), self.planned.points, np.empty((self.planned.outcomes, 0))
        )
        shown = {name: value for name, value in nothing if name in self.kind.estimate.model_fields}
        return self.kind.estimate(cost=self.cost, place=place, **shown)


def cost(points: int, replicates: int, shards: int, flops: float) -> Cost:
    """The cost of a simulation, in operations and in seconds of one core."""
    return Cost(
        points=points,
        replicates=replicates,
        shards=shards,
        flops=flops,
        core_seconds=flops / FLOPS_PER_SECOND,
    )


def plan(kind: Kind[Any, Any], request: SimulationOptions, data: object, shard_timeout: float) -> Plan:
    """Check, predict and cut a simulation; takes seconds at worst, no database. Raises InvalidInput."""
    planned = kind.plan(request, data)
    replicates = _replicates(request, planned)
    if planned.outcomes * replicates > MAX_OUTCOMES:
        raise InvalidInput.at(
            "/replicates",
            "too_large",
            f"{planned.outcomes} numbers of each of {replicates} replicates; at most {MAX_OUTCOMES} are"
            f" kept: take at most {MAX_OUTCOMES // planned.outcomes} replicates, or fewer points.",
        )
    _affordable(planned, replicates, shard_timeout)
    least = 1 if request.relative_standard_error is None else precision.LOOKS
    return Plan(kind, request, planned, replicates, shard_ranges(replicates, planned.flops, least))


def _replicates(request: SimulationOptions, planned: Planned) -> int:
    """As asked for; the cap of a precision, unless it is given, is what is affordable."""
    if request.replicates is not None:
        return request.replicates
    if request.max_replicates is not None:
        return request.max_replicates
    affordable = MAX_FLOPS / planned.flops if planned.flops > 0 else MAX_REPLICATES
    return max(1, min(MAX_REPLICATES, int(affordable), MAX_OUTCOMES // planned.outcomes))


def _affordable(planned: Planned, replicates: int, shard_timeout: float) -> None:
    if planned.numbers > MAX_NUMBERS:
        raise InvalidInput.at(
            "",
            "too_large",
            f"One replicate would hold {planned.numbers:.2g} numbers at once; at most {MAX_NUMBERS:.2g}: take fewer"
            " samples. The prediction has no such limit.",
        )
    flops = planned.flops
    longest = shard_timeout * FLOPS_PER_SECOND / 3  # a slow machine has time enough, too
    if flops > longest:
        raise InvalidInput.at(
            "",
            "too_large",
            f"One replicate takes {flops:.2g} operations; at most {longest:.2g}: take fewer samples, generations"
            " or points.",
        )
    if flops * replicates > MAX_FLOPS:
        raise InvalidInput.at(
            "/replicates",
            "too_large",
            f"{replicates} replicates take {flops * replicates:.2g} operations; at most {MAX_FLOPS:.2g}:"
            f" take at most {int(MAX_FLOPS / flops)}.",
        )
