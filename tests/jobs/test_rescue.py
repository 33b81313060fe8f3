"""Work that nobody is doing, made by hand in the queue's tables."""

from typing import Any

import pytest
from sqlalchemy import insert, select, text

from service.database.engine import Database
from service.database.schema import shards, simulations
from service.jobs.deferral import defer_next
from service.jobs.rescue import lost_jobs, rescue
from service.jobs.shards import claim, fail_simulation, succeed

pytestmark = pytest.mark.anyio

STALLED_AFTER = 1.0


async def simulation(database: Database, shard_count: int = 1, simulation_id: str = "sim_x") -> str:
    async with database.transaction() as connection:
        await connection.execute(
            insert(simulations).values(
                id=simulation_id, kind="regression", request_id="r", engine_version="0", request={}, points=[],
                outcomes=1, replicates=shard_count, shard_count=shard_count, wanted_shards=shard_count, turn=0,
                flops=1.0,
            )
        )  # fmt: skip
        for index in range(shard_count):
            await connection.execute(
                insert(shards).values(simulation_id=simulation_id, index=index, first=index, last=index + 1)
            )
        await defer_next(connection, simulation_id, shard_count)
    return simulation_id


async def worker(database: Database, heartbeat_seconds_ago: float) -> int:
    async with database.transaction() as connection:
        return int(
            await connection.scalar(
                text(
                    "INSERT INTO queue.procrastinate_workers (last_heartbeat)"
                    " VALUES (now() - make_interval(secs => :ago)) RETURNING id"
                ),
                {"ago": heartbeat_seconds_ago},
            )
        )


async def fetch(database: Database, worker_id: int) -> int | None:
    async with database.transaction() as connection:
        job_id: int | None = await connection.scalar(
            text("SELECT id FROM procrastinate_fetch_job_v2(NULL, :worker)"), {"worker": worker_id}
        )
    return job_id


async def jobs(database: Database) -> list[tuple[Any, ...]]:
    async with database.transaction() as connection:
        rows = await connection.execute(
            text("SELECT task_name, status::text FROM queue.procrastinate_jobs ORDER BY id")
        )
        return [tuple(row) for row in rows]


async def run_rescue(database: Database) -> None:
    async with database.transaction() as connection:
        # a server that has just started is left alone
        await connection.execute(
            text(
                "SELECT pg_sleep(greatest(0, :age - extract(epoch FROM now() - pg_postmaster_start_time())))"
            ),
            {"age": STALLED_AFTER + 0.1},
        )
    async with database.transaction() as connection:
        await rescue(connection, STALLED_AFTER)


async def test_a_shard_whose_workers_are_lost_three_times_is_given_up(database: Database) -> None:
    simulation_id = await simulation(database)
    for attempt in (1, 2, 3):
        await fetch(database, await worker(database, 2.0))
        async with database.transaction() as connection:
            claimed = await claim(connection, simulation_id, 0, "w")
        assert claimed is not None
        assert claimed.attempt == attempt
        await run_rescue(database)
        if attempt < 3:
            assert await jobs(database) == [("shard", "todo")]
    assert await jobs(database) == []
    async with database.transaction() as connection:
        row = (await connection.execute(select(simulations.c.state, simulations.c.failure))).one()
    assert row.state == "failed"
    assert "3 times" in row.failure["message"]
    assert "worker was lost" in row.failure["message"]


async def test_a_job_fetched_but_never_begun_is_no_attempt(database: Database) -> None:
    simulation_id = await simulation(database)
    for _ in range(5):
        await fetch(database, await worker(database, 2.0))
        await run_rescue(database)
    async with database.transaction() as connection:
        claimed = await claim(connection, simulation_id, 0, "w")
    assert claimed is not None
    assert claimed.attempt == 1


async def test_a_worker_with_a_heartbeat_is_left_alone(database: Database) -> None:
    await simulation(database)
    await fetch(database, await worker(database, -60.0))
    await run_rescue(database)
    assert await jobs(database) == [("shard", "doing")]


async def test_after_an_outage_everybody_gets_the_time_for_a_heartbeat(database: Database) -> None:
    await simulation(database)
    await fetch(database, await worker(database, 10.0**9))
    async with database.transaction() as connection:
        up = await connection.scalar(text("SELECT extract(epoch FROM now() - pg_postmaster_start_time())"))
        await rescue(connection, float(up) + 60.0)
    assert await jobs(database) == [("shard", "doing")]


async def test_jobs_of_a_worker_that_is_not_there_any_more(database: Database) -> None:
    await simulation(database)
    worker_id = await worker(database, 0.0)
    await fetch(database, worker_id)
    async with database.transaction() as connection:
        await connection.execute(text("DELETE FROM queue.procrastinate_workers"))
    await run_rescue(database)
    assert await jobs(database) == [("shard", "todo")]


async def test_shards_and_reductions_that_lost_their_jobs_get_new_ones(database: Database) -> None:
    simulation_id = await simulation(database, 2)
    async with database.transaction() as connection:
        await connection.execute(text("DELETE FROM queue.procrastinate_jobs"))
    await run_rescue(database)
    assert await jobs(database) == [("shard", "todo")] * 2
    for index in (0, 1):
        async with database.transaction() as connection:
            claimed = await claim(connection, simulation_id, index, "w")
            assert claimed is not None
            await succeed(connection, claimed, b"")
    assert await jobs(database) == [("shard", "todo")] * 2 + [("reduction", "todo")]
    async with database.transaction() as connection:
        await connection.execute(text("DELETE FROM queue.procrastinate_jobs"))
    for _ in range(2):
        await run_rescue(database)
        assert await jobs(database) == [("reduction", "todo")]


async def test_an_ended_simulation_gets_no_new_jobs(database: Database) -> None:
    simulation_id = await simulation(database)
    await fetch(database, await worker(database, 2.0))
    async with database.transaction() as connection:
        await fail_simulation(connection, simulation_id, {"code": "x", "message": "y"})
    await run_rescue(database)
    assert await jobs(database) == []


async def test_a_lost_answer_is_found_when_seen_twice(database: Database) -> None:
    """The queue handed out a job, the connection broke, and the worker never heard of it."""
    await simulation(database, 2)
    worker_id = await worker(database, 0.0)
    known, lost = await fetch(database, worker_id), await fetch(database, worker_id)
    assert known is not None
    suspected: set[int] = set()
    for statuses in (["doing", "doing"], ["doing", "todo"]):
        async with database.transaction() as connection:
            suspected = await lost_jobs(connection, [worker_id], {known}, suspected)
        assert suspected == {lost}
        assert [status for _, status in await jobs(database)] == statuses


async def test_the_shards_of_simulations_take_turns(database: Database) -> None:
    """A later, small simulation does not wait for all of a huge one."""
    await simulation(database, 5)
    await simulation(database, 2, "sim_small")
    worker_id, order = await worker(database, 0.0), []
    while (job_id := await fetch(database, worker_id)) is not None:
        async with database.transaction() as connection:
            arguments = await connection.scalar(
                text("SELECT args FROM queue.procrastinate_jobs WHERE id = :id"), {"id": job_id}
            )
        order.append((arguments["simulation_id"], arguments["index"]))
    assert order[:4] == [("sim_x", 0), ("sim_small", 0), ("sim_x", 1), ("sim_small", 1)]
