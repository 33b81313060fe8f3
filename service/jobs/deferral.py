"""Jobs for shards: bound to them in the same transaction, a window of each simulation at a time."""

from collections.abc import Mapping
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from service.jobs import queue
from service.jobs.turns import turn

_NEXT: Final = text("""
    SELECT shard.index AS shard_index, simulation.turn, simulation.priority
    FROM shards AS shard JOIN simulations AS simulation ON simulation.id = shard.simulation_id
    WHERE simulation_id = :id AND shard.state = 'queued' AND job_id IS NULL AND index < wanted_shards
    ORDER BY index LIMIT :count
""")
_BOUND: Final = text("""
    UPDATE shards SET job_id = given.job
    FROM unnest(CAST(:indices AS integer[]), CAST(:jobs AS bigint[])) AS given(index, job)
    WHERE simulation_id = :id AND shards.index = given.index
""")


async def defer_next(connection: AsyncConnection, simulation_id: str, count: int = 1) -> None:
    """Jobs for the next shards that have had none, of those that the result needs.

    The caller has locked or made the simulation's row.
    """
    rows = (await connection.execute(_NEXT, {"id": simulation_id, "count": count})).all()
    await defer(
        connection,
        simulation_id,
        {row.shard_index: turn(row.turn, row.priority, row.shard_index) for row in rows},
    )


async def defer(connection: AsyncConnection, simulation_id: str, turns: Mapping[int, int]) -> None:
    """New jobs for shards, with these turns by their index."""
    if turns:
        jobs = await queue.defer_shards(connection, simulation_id, turns)
        await connection.execute(
            _BOUND, {"id": simulation_id, "indices": list(jobs), "jobs": list(jobs.values())}
        )
