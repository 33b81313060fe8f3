"""When a simulation will be done: its place among the others, if the workers stay as they are.

Simulations take turns by the weight of their priority (jobs/turns.py), which is processor sharing: with core
seconds r_i left and weights w_i on C cores, simulation j is done after Σ_i min(r_i, r_j w_i / w_j) / C seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from service.jobs.turns import STRIDES
from service.simulation.costs import FLOPS_PER_SECOND
from service.simulations.resource import Place

_FAR: Final = 1e9  # seconds, thirty years: nobody waits that long
_LEFT: Final = text("""
    SELECT simulation.id, simulation.state = 'queued' AS waits, simulation.priority,
           sum(shard.last - shard.first) FILTER (WHERE shard.state <> 'succeeded') AS replicates_left,
           simulation.flops / simulation.replicates AS flops,
           sum(extract(epoch FROM shard.finished_at - shard.started_at))
             FILTER (WHERE shard.state = 'succeeded') AS seconds,
           sum(shard.last - shard.first) FILTER (WHERE shard.state = 'succeeded') AS replicates_done
    FROM simulations AS simulation
    JOIN shards AS shard ON shard.simulation_id = simulation.id AND shard.index < simulation.wanted_shards
    WHERE simulation.state IN ('queued', 'running')
    GROUP BY simulation.id
    ORDER BY simulation.created_at, simulation.id
""")
_CORES: Final = text("""
    SELECT coalesce(sum(concurrency), 0) FROM workers
    WHERE state = 'running' AND heartbeat_at > now() - make_interval(secs => CAST(:stalled_after AS float))
""")


@dataclass(frozen=True)
class Standing:
    """An active simulation: what is left of it, in seconds of one core."""

    id: str
    waits: bool
    priority: str
    core_seconds: float


async def standings(connection: AsyncConnection) -> list[Standing]:
    """Every active simulation, the oldest first; by its own speed once a shard is done."""
    rows = await connection.execute(_LEFT)
    return [
        Standing(
            row.id,
            row.waits,
            row.priority,
            int(row.replicates_left or 0)
            * (
                float(row.seconds) / row.replicates_done
                if row.replicates_done
                else row.flops / FLOPS_PER_SECOND
            ),
        )
        for row in rows
    ]


async def cores(connection: AsyncConnection, stalled_after: float) -> int:
    """Shards that the live workers compute at once."""
    return int(await connection.scalar(_CORES, {"stalled_after": stalled_after}) or 0)


def place(active: Sequence[Standing], mine: Standing, cores: int) -> Place:
    """Where ``mine`` stands among the active simulations; the last one if it is not among them yet."""
    known = [one.id for one in active]
    before = active[: known.index(mine.id)] if mine.id in known else active
    share = mine.core_seconds * STRIDES[mine.priority]
    others = sum(min(one.core_seconds, share / STRIDES[one.priority]) for one in active if one.id != mine.id)
    seconds = (mine.core_seconds + others) / cores if cores else inf
    return Place(
        position=1 + sum(one.waits for one in before) if mine.waits else 0,
        core_seconds_left=mine.core_seconds,
        expected_finish_at=datetime.now(UTC) + timedelta(seconds=seconds) if seconds < _FAR else None,
    )
