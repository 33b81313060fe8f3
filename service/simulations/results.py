"""From the shards' outcomes to what is reported; the same for a running and for a finished simulation."""

import asyncio
from typing import Any

import numpy as np
from sqlalchemy import Row, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.database.engine import durable
from service.database.schema import shard_results, shards, simulations
from service.jobs.compute import from_bytes
from service.jobs.deferral import defer_next
from service.jobs.shards import conclude
from service.jobs.turns import WINDOW
from service.simulations import precision
from service.simulations.registry import KINDS
from service.theory.model import Array


async def outcomes_so_far(
    connection: AsyncConnection, simulation_id: str, outcomes: int, count: int | None = None
) -> Array:
    """Outcomes of every replicate that is done, in order, shape (outcomes, replicates).

    ``count``: of the first so many shards alone.
    """
    query = (
        select(shard_results.c.test_errors)
        .where(shard_results.c.simulation_id == simulation_id)
        .order_by(shard_results.c.index)
    )
    if count is not None:
        query = query.where(shard_results.c.index < count)
    done = [from_bytes(row.test_errors, outcomes) for row in await connection.execute(query)]
    return np.concatenate(done, axis=1) if done else np.empty((outcomes, 0))


async def finish(connection: AsyncConnection, simulation_id: str) -> None:
    """Reduce a simulation whose wanted shards have all succeeded, or want more; a second time changes nothing."""
    found = (
        await connection.execute(
            select(simulations)
            .where(simulations.c.id == simulation_id, simulations.c.state == "running")
            .with_for_update(key_share=True)
        )
    ).first()
    if found is None:
        return
    outcomes = await outcomes_so_far(connection, simulation_id, found.outcomes, found.wanted_shards)
    ends = await _ends(connection, simulation_id)
    if outcomes.shape[1] < ends[found.wanted_shards - 1]:
        if found.relative_standard_error is None:
            raise ValueError(f"{outcomes.shape[1]} replicates are stored, not {found.replicates}")
        return  # a reduction deferred twice: more shards are wanted already
    if found.relative_standard_error is not None and found.stopped is None:
        more = await _more(connection, found, outcomes, ends)
        if more:
            return
    await durable(connection)
    result = await asyncio.to_thread(KINDS[found.kind].result, found.request, found.points, outcomes)
    await connection.execute(
        update(simulations)
        .where(simulations.c.id == simulation_id)
        .values(state="succeeded", result=result.model_dump(mode="json"), finished_at=func.now())
    )


async def _more(connection: AsyncConnection, found: Row[Any], outcomes: Array, ends: list[int]) -> bool:
    """Want more shards, or settle on those that are done."""
    rows = KINDS[found.kind].wanted(found.points)
    worst = float(np.max(precision.relative_errors(outcomes, rows)))
    wanted = precision.next_look(ends, found.wanted_shards, worst, found.relative_standard_error)
    if wanted is None:
        stopped = "precision" if worst <= found.relative_standard_error else "replicates"
        await conclude(connection, found.id, found.wanted_shards, stopped)
        return False
    await connection.execute(
        update(simulations).where(simulations.c.id == found.id).values(wanted_shards=wanted)
    )
    await defer_next(connection, found.id, WINDOW)
    return True


async def _ends(connection: AsyncConnection, simulation_id: str) -> list[int]:
    found = await connection.scalars(
        select(shards.c.last).where(shards.c.simulation_id == simulation_id).order_by(shards.c.index)
    )
    return list(found)
