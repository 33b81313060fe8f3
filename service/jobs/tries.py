"""What becomes of a shard whose attempt went wrong: tried again, or given up with its simulation.

A shard computes in a child of its own. Where that raises, dies (out of memory, say) or takes too long, the shard is to
blame: ``TRIES`` times. Where the whole worker is lost, it probably is not: machines go, and everything that the worker
had in hand goes with them. But a shard may take its worker along, where the memory of a container is at its end for
instance: ``LOSSES`` times, with a growing pause before each, so that neither its neighbours nor the next worker meet
it at once.
"""

import random
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, case, func, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.database.schema import shards
from service.jobs.shards import ACTIVE, Claim, fail_simulation, lock_active

TRIES: Final = 3
"""Attempts that failed by themselves, after which a shard is given up."""

LOSSES: Final = 10
"""Workers lost while computing a shard, after which it is given up."""

_LONGEST_PAUSE: Final = 60.0  # seconds
_LOST: Final = "Its worker was lost while computing it (killed, out of memory, or cut off)."


async def fail(connection: AsyncConnection, shard: Claim, reason: str) -> bool:
    """Note an attempt that failed by itself; True where the shard is to be tried again.

    Else its simulation fails, or the attempt was not the latest one any more: its worker had been frozen.
    """
    latest = shards.c.attempts == shard.attempt
    values = {"reason": reason, "failures": shards.c.failures + 1}
    failed = await _noted(connection, shard.simulation_id, shard.index, values, latest)
    if failed is None:
        return False
    if failed.failures < TRIES:
        return True
    replicates = f"Replicates {failed.first} to {failed.last - 1}"
    message = f"{replicates} failed {failed.failures} times; the last time: {reason}"
    await _give_up(connection, shard.simulation_id, shard.index, message)
    return False


async def lose(connection: AsyncConnection, simulation_id: str, index: int) -> float | None:
    """The worker that had a shard is lost: seconds until it is to be tried again, None where it is not.

    One that the worker had not begun has lost nothing.
    """
    begun = shards.c.state == "running"
    values = {
        "reason": case((begun, _LOST), else_=shards.c.reason),
        "losses": shards.c.losses + case((begun, 1), else_=0),
    }
    lost = await _noted(connection, simulation_id, index, values)
    if lost is None:
        return None
    if lost.losses < LOSSES:
        return pause(lost.losses)
    message = (
        f"{lost.losses} workers were lost while computing replicates {lost.first} to {lost.last - 1} (killed, out of "
        "memory, or cut off)."
    )
    await _give_up(connection, simulation_id, index, message)
    return None


def pause(losses: int) -> float:
    """Seconds before a shard is tried again: none after a first loss, then 1, 2, 4, …, by chance up to half as long."""
    return 0.0 if losses < 2 else min(2.0 ** (losses - 2), _LONGEST_PAUSE) * random.uniform(0.5, 1.0)


async def _noted(
    connection: AsyncConnection,
    simulation_id: str,
    index: int,
    values: Mapping[str, Any],
    *conditions: ColumnElement[bool],
) -> Row[Any] | None:
    """What went wrong with an unfinished shard of an active simulation, which waits again."""
    if not await lock_active(connection, simulation_id):
        return None
    return (
        await connection.execute(
            update(shards)
            .where(
                shards.c.simulation_id == simulation_id,
                shards.c.index == index,
                shards.c.state.in_(ACTIVE),
                *conditions,
            )
            .values(state="queued", **values)
            .returning(shards.c.first, shards.c.last, shards.c.failures, shards.c.losses)
        )
    ).first()


async def _give_up(connection: AsyncConnection, simulation_id: str, index: int, message: str) -> None:
    attempts = await connection.scalar(
        update(shards)
        .where(shards.c.simulation_id == simulation_id, shards.c.index == index)
        .values(state="failed", finished_at=func.now())
        .returning(shards.c.attempts)
    )
    failure = {"code": "shard_failed", "message": message, "shard": index, "attempts": attempts}
    await fail_simulation(connection, simulation_id, failure)
