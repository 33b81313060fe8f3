"""How a simulation is cut into shards: about a second or two of one core each."""

import itertools
import math
from typing import Final

from service.simulation.costs import FLOPS_PER_SECOND

SECONDS_PER_SHARD: Final = 1.5
MAX_SHARDS: Final = 10_000


def shard_ranges(replicates: int, flops_per_replicate: float, least: int = 1) -> list[tuple[int, int]]:
    """Ranges (first, last) that partition 0 <= r < replicates, of nearly equal length, in order.

    ``least``: shards, where there are replicates enough. The result of a simulation does not depend on them: a
    replicate's random numbers depend on the seed and its own number alone.
    """
    if replicates < 1:
        raise ValueError("a simulation has at least one replicate")
    work = replicates * flops_per_replicate / (FLOPS_PER_SECOND * SECONDS_PER_SHARD)
    count = min(replicates, MAX_SHARDS, max(least, math.ceil(work)))
    edges = [replicates * index // count for index in range(count + 1)]
    return list(itertools.pairwise(edges))
