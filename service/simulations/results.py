"""From the shards' outcomes to what is reported; the same for a running and for a finished simulation."""

import asyncio

import numpy as np
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.database.schema import shard_results, simulations
from service.jobs.compute import from_bytes
from service.simulations.registry import KINDS
from service.theory.model import Array


async def outcomes_so_far(connection: AsyncConnection, simulation_id: str, outcomes: int) -> Array:
    """Outcomes of every replicate that is done, in order, shape (outcomes, replicates)."""
    rows = await connection.execute(
        select(shard_results.c.test_errors)
        .where(shard_results.c.simulation_id == simulation_id)
        .order_by(shard_results.c.index)
    )
    done = [from_bytes(row.test_errors, outcomes) for row in rows]
    return np.concatenate(done, axis=1) if done else np.empty((outcomes, 0))


async def finish(connection: AsyncConnection, simulation_id: str) -> None:
    """Reduce a simulation whose shards have all succeeded; a second time changes nothing."""
    row = (
        await connection.execute(
            select(simulations)
            .where(simulations.c.id == simulation_id, simulations.c.state == "running")
            .with_for_update(key_share=True)
        )
    ).first()
    if row is None:
        return
    outcomes = await outcomes_so_far(connection, simulation_id, row.outcomes)
    if outcomes.shape[1] != row.replicates:
        raise ValueError(f"{outcomes.shape[1]} replicates are stored, not {row.replicates}")
    found = await asyncio.to_thread(KINDS[row.kind].result, row.request, row.points, outcomes)
    await connection.execute(
        update(simulations)
        .where(simulations.c.id == simulation_id)
        .values(state="succeeded", result=found.model_dump(mode="json"), finished_at=func.now())
    )
