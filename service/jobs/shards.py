"""The life of a shard: claimed, computed, stored once; tried three times; handed back when a worker stops.

Every transition first locks the simulation's row: that orders the shards of one simulation, finds the last one,
and keeps a worker that was declared dead from undoing what happened meanwhile.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from service.database.schema import shard_results, shards, simulations
from service.jobs import queue
from service.jobs.turns import WINDOW, reached, turn

TRIES: Final = 3
_ACTIVE: Final = ("queued", "running")
_BOUND = text("""
    UPDATE shards SET job_id = given.job
    FROM unnest(CAST(:indices AS integer[]), CAST(:jobs AS bigint[])) AS given(index, job)
    WHERE simulation_id = :id AND shards.index = given.index
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
    """Begin an attempt; None where there is nothing to do (any more).

    Counts the attempt before it is made, so that a shard that kills its worker is given up after three tries.
    """
    if not await _lock_active(connection, simulation_id):
        return None
    where = (shards.c.simulation_id == simulation_id, shards.c.index == index, shards.c.state.in_(_ACTIVE))
    shard = (
        await connection.execute(select(shards.c.attempts, shards.c.reason).where(*where).with_for_update())
    ).first()
    if shard is None:
        return None
    if shard.attempts >= TRIES:
        await _give_up(connection, simulation_id, index, shard.reason or "Its workers were lost.")
        return None
    begun = (
        await connection.execute(
            update(shards)
            .where(*where)
            .values(
                state="running",
                attempts=shards.c.attempts + 1,
                worker_id=worker_id,
                started_at=func.now(),
            )
            .returning(shards.c.first, shards.c.last, shards.c.attempts)
        )
    ).one()
    await connection.execute(
        update(simulations)
        .where(simulations.c.id == simulation_id, simulations.c.state == "queued")
        .values(state="running", started_at=func.now())
    )
    return Claim(simulation_id, index, begun.first, begun.last, begun.attempts)


async def succeed(connection: AsyncConnection, shard: Claim, test_errors: bytes) -> None:
    """Store the shard's result unless it is there already; the last shard defers the reduction."""
    if not await _lock_active(connection, shard.simulation_id):
        return
    finished = await connection.execute(
        update(shards)
        .where(
            shards.c.simulation_id == shard.simulation_id,
            shards.c.index == shard.index,
            shards.c.state.in_(_ACTIVE),
        )
        .values(state="succeeded", finished_at=func.now(), reason=None)
    )
    if finished.rowcount == 0:
        return  # another worker was faster, with the same numbers
    await connection.execute(
        insert(shard_results)
        .values(simulation_id=shard.simulation_id, index=shard.index, test_errors=test_errors)
        .on_conflict_do_nothing()
    )
    unfinished = (
        select(shards.c.index)
        .join(simulations, simulations.c.id == shards.c.simulation_id)
        .where(
            shards.c.simulation_id == shard.simulation_id,
            shards.c.state.in_(_ACTIVE),
            shards.c.index < simulations.c.wanted_shards,
        )
        .limit(1)
    )
    if (await connection.execute(unfinished)).first() is None:
        await queue.defer_reduction(connection, shard.simulation_id)
    else:
        await defer_next(connection, shard.simulation_id)  # one out, one in


async def fail(connection: AsyncConnection, simulation_id: str, index: int, reason: str) -> bool:
    """Note a failed attempt; True where the shard is to be tried again, else its simulation has failed."""
    if not await _lock_active(connection, simulation_id):
        return False
    failed = (
        await connection.execute(
            update(shards)
            .where(
                shards.c.simulation_id == simulation_id, shards.c.index == index, shards.c.state.in_(_ACTIVE)
            )
            .values(state="queued", reason=reason)
            .returning(shards.c.attempts)
        )
    ).first()
    if failed is None:
        return False
    if failed.attempts < TRIES:
        return True
    await _give_up(connection, simulation_id, index, reason)
    return False


async def hand_back(connection: AsyncConnection, shard: Claim) -> None:
    """The worker stops before the shard is done: that was no attempt."""
    if await _lock_active(connection, shard.simulation_id):
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
        .where(shards.c.simulation_id == simulation_id, shards.c.state.in_(_ACTIVE))
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
    if await _lock_active(connection, simulation_id):
        await stop_all(connection, simulation_id)
        await connection.execute(
            update(simulations)
            .where(simulations.c.id == simulation_id)
            .values(state="failed", failure=dict(failure), finished_at=func.now())
        )


async def _lock_active(connection: AsyncConnection, simulation_id: str) -> bool:
    row = (
        await connection.execute(
            select(simulations.c.state)
            .where(simulations.c.id == simulation_id)
            .with_for_update(key_share=True)
        )
    ).first()
    return row is not None and row.state in _ACTIVE


async def _give_up(connection: AsyncConnection, simulation_id: str, index: int, reason: str) -> None:
    given_up = (
        await connection.execute(
            update(shards)
            .where(shards.c.simulation_id == simulation_id, shards.c.index == index)
            .values(state="failed", reason=reason, finished_at=func.now())
            .returning(shards.c.first, shards.c.last, shards.c.attempts)
        )
    ).one()
    await fail_simulation(
        connection,
        simulation_id,
        {
            "code": "shard_failed",
            "message": (
                f"Replicates {given_up.first} to {given_up.last - 1} failed {given_up.attempts} times; "
                f"the last time: {reason}"
            ),
            "shard": index,
            "attempts": given_up.attempts,
        },
    )


async def defer(connection: AsyncConnection, simulation_id: str, indices: Sequence[int]) -> None:
    """New jobs for these shards of a simulation whose row the caller has locked or made."""
    found = (
        await connection.execute(
            select(simulations.c.turn, simulations.c.priority).where(simulations.c.id == simulation_id)
        )
    ).one()
    turns = {index: turn(found.turn, found.priority, index) for index in indices}
    jobs = await queue.defer_shards(connection, simulation_id, turns)
    await connection.execute(
        _BOUND, {"id": simulation_id, "indices": list(jobs), "jobs": list(jobs.values())}
    )


async def defer_next(connection: AsyncConnection, simulation_id: str, count: int = 1) -> None:
    """Jobs for the next shards that have had none, of those that the result needs."""
    waiting = await connection.scalars(
        select(shards.c.index)
        .join(simulations, simulations.c.id == shards.c.simulation_id)
        .where(
            shards.c.simulation_id == simulation_id,
            shards.c.state == "queued",
            shards.c.job_id.is_(None),
            shards.c.index < simulations.c.wanted_shards,
        )
        .order_by(shards.c.index)
        .limit(count)
    )
    if indices := list(waiting):
        await defer(connection, simulation_id, indices)


async def defer_again(connection: AsyncConnection, simulation_id: str, indices: Sequence[int]) -> None:
    """New jobs for unfinished shards that have lost theirs."""
    if await _lock_active(connection, simulation_id):
        await defer(connection, simulation_id, indices)


async def stop_in_time(connection: AsyncConnection, simulation_id: str) -> None:
    """End an active simulation whose time is over with what it has: the longest run of shards from the first on.

    Its result is that of a simulation with so many replicates. One that has not finished its first shard fails.
    """
    if not await _lock_active(connection, simulation_id):
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
