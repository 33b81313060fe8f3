"""Attempts, cancelling and outages: what a simulation survives, and what ends it."""

import json

import httpx
import numpy as np
import pytest
from chains import BODY, compute, resharded, submitted
from sqlalchemy import select, text

from service.database.engine import Database
from service.database.schema import shard_results, shards, simulations
from service.jobs.compute import from_bytes, to_bytes
from service.jobs.shards import Claim, claim, hand_back, succeed
from service.jobs.tries import fail
from service.simulations import results

pytestmark = pytest.mark.anyio


async def test_cancelling(client: httpx.AsyncClient, database: Database) -> None:
    simulation_id = (await submitted(client))["id"]
    cancelled = await client.post(f"/v1/simulations/{simulation_id}:cancel")
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    assert (await client.post(f"/v1/simulations/{simulation_id}:cancel")).json() == cancelled.json()
    async with database.transaction() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM queue.procrastinate_jobs")) == 0
        assert await claim(connection, simulation_id, 0, "late") is None
        # a result that comes too late is dropped
        await succeed(connection, Claim(simulation_id, 0, 0, 6, 1), b"")
        assert (await connection.execute(select(shard_results))).first() is None


async def test_a_finished_one_cannot_be_cancelled(client: httpx.AsyncClient, database: Database) -> None:
    simulation_id = (await submitted(client))["id"]
    await resharded(database, simulation_id, [(0, 6)])
    await compute(database, simulation_id, 0)
    async with database.transaction() as connection:
        await results.finish(connection, simulation_id)
    assert (await client.post(f"/v1/simulations/{simulation_id}:cancel")).status_code == 409


async def test_three_tries_then_it_fails_with_the_reason(
    client: httpx.AsyncClient, database: Database
) -> None:
    simulation_id = (await submitted(client))["id"]
    await resharded(database, simulation_id, [(0, 4), (4, 6)])
    for attempt in (1, 2, 3):
        async with database.transaction() as connection:
            claimed = await claim(connection, simulation_id, 1, "w")
            assert claimed is not None
            assert claimed.attempt == attempt
            assert await fail(connection, claimed, "MemoryError: no room") is (attempt < 3)
    failed = (await client.get(f"/v1/simulations/{simulation_id}")).json()
    assert failed["state"] == "failed"
    assert failed["failure"] == {
        "code": "shard_failed",
        "message": "Replicates 4 to 5 failed 3 times; the last time: MemoryError: no room",
        "shard": 1,
        "attempts": 3,
    }
    async with database.transaction() as connection:
        states = (await connection.execute(select(shards.c.state).order_by(shards.c.index))).scalars().all()
    assert states == ["cancelled", "failed"]


async def test_a_failure_of_an_attempt_that_others_took_over_is_none(
    client: httpx.AsyncClient, database: Database
) -> None:
    simulation_id = (await submitted(client))["id"]
    async with database.transaction() as connection:
        frozen = await claim(connection, simulation_id, 0, "frozen")
        later = await claim(connection, simulation_id, 0, "w")
        assert frozen is not None
        assert later is not None
        for _ in range(5):
            assert not await fail(connection, frozen, "It took more than 1 seconds and was stopped.")
        assert await fail(connection, later, "MemoryError: no room")


async def test_handing_back_is_no_attempt(client: httpx.AsyncClient, database: Database) -> None:
    simulation_id = (await submitted(client))["id"]
    for _ in range(5):
        async with database.transaction() as connection:
            claimed = await claim(connection, simulation_id, 0, "w")
            assert claimed is not None
            assert claimed.attempt == 1
            await hand_back(connection, claimed)


async def test_a_result_counts_once(client: httpx.AsyncClient, database: Database) -> None:
    simulation_id = (await submitted(client))["id"]
    await resharded(database, simulation_id, [(0, 3), (3, 6)])
    async with database.transaction() as connection:
        first = await claim(connection, simulation_id, 0, "frozen")
        second = await claim(connection, simulation_id, 0, "other")
    assert first is not None
    assert second is not None
    right = to_bytes(np.ones((3, 3)))
    async with database.transaction() as connection:
        await succeed(connection, second, right)
    async with database.transaction() as connection:
        await succeed(connection, first, right)
        stored = (await connection.execute(select(shard_results.c.test_errors))).scalars().all()
    assert stored == [right]


def test_bytes_keep_every_bit() -> None:
    errors = np.array([[0.1, 1e-320, np.inf], [-0.0, 1 / 3, 1e308]])
    back = from_bytes(to_bytes(errors), 2)
    assert back.tobytes() == errors.tobytes()
    assert json.dumps(back.tolist()) == json.dumps(errors.tolist())


async def test_outage_is_a_503_and_then_over(client: httpx.AsyncClient, database: Database) -> None:
    """A connection that the server closed is replaced, at the latest on the next request."""
    await submitted(client)
    async with database.transaction() as connection:
        await connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    assert (await client.get("/v1/simulations")).status_code == 200


async def test_rows_are_not_lost_to_a_failed_transaction(
    client: httpx.AsyncClient, database: Database
) -> None:
    """A submit whose transaction fails leaves neither rows nor jobs."""
    async with database.transaction() as connection:
        await connection.execute(text("ALTER TABLE shards ADD CONSTRAINT no CHECK (first > 0)"))
    assert (await client.post("/v1/simulations", json=BODY)).status_code == 500
    async with database.transaction() as connection:
        assert (await connection.execute(select(simulations))).first() is None
        assert await connection.scalar(text("SELECT count(*) FROM queue.procrastinate_jobs")) == 0
