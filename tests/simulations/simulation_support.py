"""Simulations through ASGI, their shards computed in this process."""

from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import select, text

from service.database.engine import Database
from service.database.schema import shards
from service.jobs.compute import shard_outcomes
from service.jobs.shards import claim, succeed
from service.simulations import results
from service.simulations.works import Works

# Fits of noise: the label noise makes up nearly all of the error, so that its relative spread is stable.
SMALL: dict[str, Any] = {
    "dataset": {
        "spectrum": {"kind": "isotropic", "dimension": 5},
        "target": {"kind": "isotropic", "squared_norm": 1.0},
        "noise_variance": 1.0,
    },
    "training_mix": {"kind": "recursive", "generations": 0, "generator": {"samples": 40}, "samples": 40,
                     "penalty": 0.01},
    "seed": 3,
}  # fmt: skip


async def submitted(client: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    response = await client.post("/v1/simulations", json=SMALL | changes)
    assert response.status_code == 202, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def next_shard(database: Database, simulation_id: str) -> bool:
    """Compute the shard whose turn it is; False where none has a job."""
    async with database.transaction() as connection:
        index = await connection.scalar(
            select(shards.c.index)
            .where(
                shards.c.simulation_id == simulation_id,
                shards.c.state == "queued",
                shards.c.job_id.is_not(None),
            )
            .order_by(shards.c.index)
            .limit(1)
        )
        if index is None:
            return False
        claimed = await claim(connection, simulation_id, index, "here")
        assert claimed is not None
    work = await Works(database, Path("unused")).get(simulation_id)
    stored = shard_outcomes(work.pickled, work.outcomes, work.seed, claimed.first, claimed.last)
    async with database.transaction() as connection:
        await succeed(connection, claimed, stored)
    return True


async def carried_out(database: Database, simulation_id: str) -> None:
    """All that workers would do, until there is nothing left to do."""
    while True:
        while await next_shard(database, simulation_id):
            pass
        async with database.transaction() as connection:
            waiting = await connection.scalar(
                text(
                    "DELETE FROM queue.procrastinate_jobs WHERE task_name = 'reduction'"
                    " AND args->>'simulation_id' = :id RETURNING id"
                ),
                {"id": simulation_id},
            )
            if waiting is None:
                return
            await results.finish(connection, simulation_id)
