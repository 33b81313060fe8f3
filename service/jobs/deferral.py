"""Jobs for shards: bound to them in the same transaction, a window of each simulation at a time."""

from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from service.jobs import queue
from service.jobs.turns import TURN

# One statement: hundreds of jobs made in Python would hold up the event loop of the API.
_DEFER: Final = text(f"""
    WITH next AS (
        SELECT shard.index, -({TURN}) AS priority, row_number() OVER (ORDER BY shard.index) AS number
        FROM shards AS shard JOIN simulations AS simulation ON simulation.id = shard.simulation_id
        WHERE simulation.id = :id AND shard.state = 'queued' AND job_id IS NULL AND index < wanted_shards
        ORDER BY index LIMIT :count),
    job AS (
        SELECT * FROM unnest(procrastinate_defer_jobs_v1(ARRAY(
            SELECT CAST(ROW(
                CAST(:queue AS text), CAST(:task AS text), CAST(priority AS integer), NULL, NULL,
                jsonb_build_object('simulation_id', CAST(:id AS text), 'index', index), NULL
            ) AS procrastinate_job_to_defer_v1) FROM next ORDER BY number
        ))) WITH ORDINALITY AS deferred(id, number))
    UPDATE shards SET job_id = job.id FROM next JOIN job USING (number)
    WHERE simulation_id = :id AND shards.index = next.index
""")
_FREE: Final = text("""
    UPDATE shards SET job_id = NULL, state = 'queued'
    WHERE simulation_id = :id AND index = ANY(:indices) AND state IN ('queued', 'running')
""")


async def defer_next(connection: AsyncConnection, simulation_id: str, count: int = 1) -> None:
    """Jobs for the next shards that have none, of those that the result needs.

    The caller has locked or made the simulation's row.
    """
    named = {"queue": queue.SHARD_QUEUE, "task": queue.SHARD_TASK}
    await connection.execute(_DEFER, {"id": simulation_id, "count": count, **named})


async def defer_again(connection: AsyncConnection, simulation_id: str, indices: list[int]) -> None:
    """New jobs for unfinished shards that have lost theirs; the caller has locked the simulation's row."""
    await connection.execute(_FREE, {"id": simulation_id, "indices": indices})
    await defer_next(connection, simulation_id, len(indices))
