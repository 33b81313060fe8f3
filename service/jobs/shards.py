"""The life of a shard: claimed, computed, stored once; tried three times; handed back when a worker stops.

Every transition first locks the simulation's row: that orders the shards of one simulation, finds the last one,
and keeps a worker that was declared dead from undoing what happened meanwhile.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from service.database.schema import shard_results, shards, simulations
from service.jobs import queue

TRIES: Final = 3
_ACTIVE: Final = ("queued", "running")


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
        .where(shards.c.simulation_id == shard.simulation_id, shards.c.state.in_(_ACTIVE))
        .limit(1)
    )
    if (await connection.execute(unfinished)).first() is None:
        await queue.defer_reduction(connection, shard.simulation_id)


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


async def defer_again(connection: AsyncConnection, simulation_id: str, indices: Sequence[int]) -> None:
    """New jobs for unfinished shards that have none."""
    if not await _lock_active(connection, simulation_id):
        return
    for index, job_id in (await queue.defer_shards(connection, simulation_id, indices)).items():
        await connection.execute(
            update(shards)
            .where(shards.c.simulation_id == simulation_id, shards.c.index == index)
            .values(job_id=job_id)
        )
