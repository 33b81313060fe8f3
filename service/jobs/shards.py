"""The life of a shard: claimed, computed, stored once; handed back when a worker stops.

Every transition first locks the simulation's row: that orders the shards of one simulation, finds the last one,
and keeps a worker that was declared dead from undoing what happened meanwhile.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.database.engine import durable
from service.database.schema import shards, simulations
from service.jobs import queue
from service.jobs.deferral import defer_again, defer_next
from service.jobs.turns import WINDOW, reached

ACTIVE: Final = ("queued", "running")
# The simulation's row is locked before the shard's, as everywhere.
_BEGIN = text("""
    WITH simulation AS (
        SELECT id, state FROM simulations WHERE id = :id AND state IN ('queued', 'running') FOR NO KEY UPDATE)
    UPDATE shards SET state = 'running', attempts = attempts + 1, worker_id = :worker, started_at = clock_timestamp()
    FROM simulation
    WHERE simulation_id = simulation.id AND index = :index AND shards.state IN ('queued', 'running')
    RETURNING simulation.state, first, last, attempts
""")
_SUCCEED = text("""
    WITH simulation AS (
        SELECT id, wanted_shards FROM simulations WHERE id = :id AND state IN ('queued', 'running')
        FOR NO KEY UPDATE),
    finished AS (
        UPDATE shards SET state = 'succeeded', finished_at = clock_timestamp(), reason = NULL
        FROM simulation
        WHERE simulation_id = simulation.id AND index = :index AND shards.state IN ('queued', 'running')
        RETURNING wanted_shards),
    stored AS (
        INSERT INTO shard_results (simulation_id, index, test_errors)
        SELECT :id, :index, :test_errors FROM finished
        ON CONFLICT DO NOTHING)
    SELECT wanted_shards FROM finished
""")
_UNFINISHED = text("""
    SELECT EXISTS (
        SELECT FROM shards
        WHERE simulation_id = :id AND state IN ('queued', 'running') AND index < :wanted)
""")
# How many shards from the first on have succeeded.
_PREFIX = text("""
    SELECT coalesce(min(index) FILTER (WHERE state <> 'succeeded'), count(*)) FROM shards WHERE simulation_id = :id
""")


@dataclass(frozen=True)
class Claim:
    """A shard to compute: replicates first <= r < last; ``attempt`` counts from 1."""

    simulation_id: str
    index: int
    first: int
    last: int
    attempt: int


async def claim(connection: AsyncConnection, simulation_id: str, index: int, worker_id: str) -> Claim | None:
    """Begin an attempt; None where there is nothing to do (any more)."""
    named = {"id": simulation_id, "index": index, "worker": worker_id}
    begun = (await connection.execute(_BEGIN, named)).first()
    if begun is None:
        return None
    if begun.state == "queued":
        await connection.execute(
            update(simulations)
            .where(simulations.c.id == simulation_id)
            .values(state="running", started_at=func.now())
        )
    return Claim(simulation_id, index, begun.first, begun.last, begun.attempts)


async def succeed(connection: AsyncConnection, shard: Claim, test_errors: bytes) -> None:
    """Store the shard's result unless it is there already; the last shard defers the reduction."""
    simulation_id = shard.simulation_id
    done = (
        await connection.execute(
            _SUCCEED, {"id": simulation_id, "index": shard.index, "test_errors": test_errors}
        )
    ).first()
    if done is None:
        return  # another worker was faster, with the same numbers, or the simulation has ended
    # A statement of its own: it sees what others committed while this one waited for the simulation's row.
    if not await connection.scalar(_UNFINISHED, {"id": simulation_id, "wanted": done.wanted_shards}):
        await queue.defer_reduction(connection, simulation_id)
    elif done.wanted_shards > WINDOW:
        await defer_next(connection, simulation_id)  # one out, one in


async def hand_back(connection: AsyncConnection, shard: Claim) -> None:
    """The worker stops before the shard is done: that was no attempt."""
    if await lock_active(connection, shard.simulation_id):
        await connection.execute(
            update(shards)
            .where(
                shards.c.simulation_id == shard.simulation_id,
                shards.c.index == shard.index,
                shards.c.state == "running",
                shards.c.attempts == shard.attempt,
            )
            .values(state="queued", attempts=shards.c.attempts - 1, worker_id=None)
        )


async def stop_all(connection: AsyncConnection, simulation_id: str) -> None:
    """Stop the unfinished shards of a simulation whose row the caller has locked."""
    await queue.cancel_shards(connection, simulation_id)
    await connection.execute(
        update(shards)
        .where(shards.c.simulation_id == simulation_id, shards.c.state.in_(ACTIVE))
        .values(state="cancelled", finished_at=func.now())
    )


async def again(connection: AsyncConnection, simulation_id: str) -> None:
    """Take up what failed or was cancelled of a simulation whose row the caller has locked, with tries anew."""
    unfinished = await connection.scalars(
        update(shards)
        .where(shards.c.simulation_id == simulation_id, shards.c.state.in_(("failed", "cancelled")))
        .values(
            state="queued",
            attempts=0,
            failures=0,
            losses=0,
            job_id=None,
            worker_id=None,
            started_at=None,
            finished_at=None,
            reason=None,
        )
        .returning(shards.c.index)
    )
    wanted = await connection.scalar(
        select(simulations.c.wanted_shards).where(simulations.c.id == simulation_id)
    )
    indices = [index for index in unfinished if index < wanted]
    first = await reached(connection) if indices else 0
    state = "queued" if indices else "running"
    await connection.execute(
        update(simulations)
        .where(simulations.c.id == simulation_id)
        .values(
            state=state,
            failure=None,
            started_at=None if indices else func.now(),
            finished_at=None,
            turn=first,
        )
    )
    if indices:
        await defer_next(connection, simulation_id, WINDOW)
    else:
        await queue.defer_reduction(connection, simulation_id)


async def fail_simulation(
    connection: AsyncConnection, simulation_id: str, failure: Mapping[str, object]
) -> None:
    """End an active simulation with a reason."""
    if await lock_active(connection, simulation_id):
        await durable(connection)
        await stop_all(connection, simulation_id)
        await connection.execute(
            update(simulations)
            .where(simulations.c.id == simulation_id)
            .values(state="failed", failure=dict(failure), finished_at=func.now())
        )


async def lock_active(connection: AsyncConnection, simulation_id: str) -> bool:
    """Lock a simulation's row; False where it has ended, or is gone."""
    row = (
        await connection.execute(
            select(simulations.c.state)
            .where(simulations.c.id == simulation_id)
            .with_for_update(key_share=True)
        )
    ).first()
    return row is not None and row.state in ACTIVE


async def take_up(connection: AsyncConnection, simulation_id: str, indices: list[int]) -> None:
    """New jobs for unfinished shards that have lost theirs."""
    if await lock_active(connection, simulation_id):
        await defer_again(connection, simulation_id, indices)


async def stop_in_time(connection: AsyncConnection, simulation_id: str) -> None:
    """End an active simulation whose time is over with what it has: the longest run of shards from the first on.

    Its result is that of a simulation with so many replicates. One that has not finished its first shard fails.
    """
    if not await lock_active(connection, simulation_id):
        return
    done = int(await connection.scalar(_PREFIX, {"id": simulation_id}) or 0)
    if done == 0:
        failure = {"code": "time_limit", "message": "Its first shard was not done within max_seconds."}
        await fail_simulation(connection, simulation_id, failure)
        return
    await queue.cancel_shards(connection, simulation_id, done)
    await conclude(connection, simulation_id, done, "time")
    await queue.defer_reduction(connection, simulation_id)


async def conclude(connection: AsyncConnection, simulation_id: str, count: int, stopped: str) -> None:
    """Settle on the first ``count`` shards as the whole of a simulation whose row the caller has locked."""
    last = await connection.scalar(
        select(shards.c.last).where(shards.c.simulation_id == simulation_id, shards.c.index == count - 1)
    )
    await connection.execute(
        delete(shards).where(shards.c.simulation_id == simulation_id, shards.c.index >= count)
    )
    await connection.execute(
        update(simulations)
        .where(simulations.c.id == simulation_id)
        .values(
            stopped=stopped,
            wanted_shards=count,
            shard_count=count,
            flops=simulations.c.flops * last / simulations.c.replicates,
            replicates=last,
        )
    )
