"""From the shards' outcomes to what is reported; the same for a running and for a finished simulation."""

import asyncio
from typing import Any

import numpy as np
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.database.schema import shard_results, simulations
from service.jobs.compute import from_bytes
from service.simulation.plan import PARTS
from service.simulations.comparison import Compared, compared
from service.theory.model import Array

__all__ = ["Compared", "compared", "errors_so_far", "finish", "outcome_count"]


def outcome_count(points: list[dict[str, Any]]) -> int:
    """Rows of the stored outcomes of these points: the parts of every stage."""
    return len(PARTS) * sum(len(point["stages"]) for point in points)


async def errors_so_far(connection: AsyncConnection, simulation_id: str, outcomes: int) -> Array:
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
            select(simulations.c.request, simulations.c.points, simulations.c.replicates)
            .where(simulations.c.id == simulation_id, simulations.c.state == "running")
            .with_for_update(key_share=True)
        )
    ).first()
    if row is None:
        return
    errors = await errors_so_far(connection, simulation_id, outcome_count(row.points))
    if errors.shape[1] != row.replicates:
        raise ValueError(f"{errors.shape[1]} replicates are stored, not {row.replicates}")
    found = await asyncio.to_thread(compared, row.request, row.points, errors)
    await connection.execute(
        update(simulations)
        .where(simulations.c.id == simulation_id)
        .values(state="succeeded", result=found.model_dump(mode="json"), finished_at=func.now())
    )
