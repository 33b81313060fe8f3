"""A small grid of chains through ASGI: submitting it, and its shards computed and cut anew in this process."""

from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import text

from service.database.engine import Database
from service.database.schema import shards, simulations
from service.jobs.compute import shard_outcomes
from service.jobs.shards import claim, succeed
from service.simulations.works import Works

BODY: dict[str, Any] = {
    "dataset": {
        "spectrum": {"kind": "power_law", "dimension": 20, "exponent": 1.0},
        "target": {"kind": "isotropic", "squared_norm": 1.0},
        "noise_variance": 0.25,
    },
    "training_mix": {
        "kind": "recursive",
        "generations": 1,
        "generator": {"samples": 100, "noise_variance": 1.0},
        "samples": 80,
        "penalty": 0.01,
    },
    "replicates": 6,
    "seed": 7,
    "grid": [{"pointer": "/training_mix/generations", "values": [0, 1, 2]}],
}


OUTCOMES = 18  # total, bias and variance of 1, 2 and 3 stages


async def submitted(client: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    response = await client.post("/v1/simulations", json=BODY | changes)
    assert response.status_code == 202, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def compute(database: Database, simulation_id: str, index: int) -> bytes:
    """What a worker does with one shard."""
    workload = await Works(database, Path("unused")).get(simulation_id)
    async with database.transaction() as connection:
        claimed = await claim(connection, simulation_id, index, "here")
    assert claimed is not None
    stored = shard_outcomes(workload.pickled, workload.outcomes, workload.seed, claimed.first, claimed.last)
    async with database.transaction() as connection:
        await succeed(connection, claimed, stored)
    return stored


async def resharded(database: Database, simulation_id: str, ranges: list[tuple[int, int]]) -> None:
    async with database.transaction() as connection:
        await connection.execute(shards.delete().where(shards.c.simulation_id == simulation_id))
        for index, (first, last) in enumerate(ranges):
            await connection.execute(
                shards.insert().values(simulation_id=simulation_id, index=index, first=first, last=last)
            )
        await connection.execute(
            simulations.update()
            .where(simulations.c.id == simulation_id)
            .values(shard_count=len(ranges), wanted_shards=len(ranges))
        )


async def reductions_waiting(database: Database) -> int:
    async with database.transaction() as connection:
        return int(
            await connection.scalar(
                text("SELECT count(*) FROM queue.procrastinate_jobs WHERE task_name = 'reduction'")
            )
        )
