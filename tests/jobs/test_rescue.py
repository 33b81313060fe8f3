"""Work that nobody is doing, made by hand in the queue's tables."""

from typing import Any

import pytest
from sqlalchemy import insert, select, text

from service.database.engine import Database
from service.database.schema import shards, simulations
from service.jobs.deferral import defer_next
from service.jobs.rescue import lost_jobs, rescue
from service.jobs.shards import Claim, claim, fail_simulation, succeed
from service.jobs.tries import LOSSES, TRIES, fail, pause

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


async def lost(database: Database, simulation_id: str, index: int = 0) -> Claim:
    """A worker begins the next shard, which is this one, and is lost."""
    async with database.transaction() as connection:  # whatever it is to wait for
        await connection.execute(text("UPDATE queue.procrastinate_jobs SET scheduled_at = NULL"))
    await fetch(database, await worker(database, 2.0))
    async with database.transaction() as connection:
        claimed = await claim(connection, simulation_id, index, "w")
    assert claimed is not None
    await run_rescue(database)
    return claimed


async def test_a_shard_whose_workers_are_lost_is_given_up_in_the_end(database: Database) -> None:
    simulation_id = await simulation(database)
    for loss in range(1, LOSSES + 1):
        assert (await lost(database, simulation_id)).attempt == loss
        assert await jobs(database) == ([("shard", "todo")] if loss < LOSSES else [])
    async with database.transaction() as connection:
        row = (await connection.execute(select(simulations.c.state, simulations.c.failure))).one()
    assert row.state == "failed"
    assert row.failure == {
        "code": "shard_failed",
        "message": f"{LOSSES} workers were lost while computing replicates 0 to 0 (killed, out of memory, or cut off).",
        "shard": 0,
        "attempts": LOSSES,
    }


async def test_lost_workers_leave_a_shard_all_its_own_tries(database: Database) -> None:
    simulation_id = await simulation(database)
    for _ in range(TRIES):
        await lost(database, simulation_id)
    for failure in range(1, TRIES + 1):
        async with database.transaction() as connection:
            claimed = await claim(connection, simulation_id, 0, "w")
            assert claimed is not None
            assert await fail(connection, claimed, "MemoryError") is (failure < TRIES)
    async with database.transaction() as connection:
        failure = await connection.scalar(select(simulations.c.failure))
    assert failure["message"] == f"Replicates 0 to 0 failed {TRIES} times; the last time: MemoryError"
    assert failure["attempts"] == 2 * TRIES


async def test_a_shard_that_lost_several_workers_waits_before_it_meets_the_next(database: Database) -> None:
    simulation_id = await simulation(database)
    for loss in range(1, 6):
        await lost(database, simulation_id)
        async with database.transaction() as connection:
            waits = await connection.scalar(
                text("SELECT extract(epoch FROM scheduled_at - now()) FROM queue.procrastinate_jobs")
            )
        assert float(waits) <= (0.0 if loss == 1 else 2.0 ** (loss - 2))
        assert loss < 4 or float(waits) > 0.5 * 2.0 ** (loss - 2) - 1.0  # less what passed meanwhile
    assert await fetch(database, await worker(database, 0.0)) is None


def test_pauses_grow_to_a_minute() -> None:
    assert pause(1) == 0.0
    for losses in range(2, 40):
        longest = min(2.0 ** (losses - 2), 60.0)
        assert longest / 2 <= pause(losses) <= longest


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


async def test_a_reduction_whose_workers_are_lost_is_given_up_in_the_end(database: Database) -> None:
    simulation_id = await simulation(database)
    await fetch(database, await worker(database, 0.0))
    async with database.transaction() as connection:
        claimed = await claim(connection, simulation_id, 0, "w")
        assert claimed is not None
        await succeed(connection, claimed, b"")
        await connection.execute(text("DELETE FROM queue.procrastinate_jobs WHERE task_name = 'shard'"))
    for _ in range(LOSSES):
        assert await jobs(database) == [("reduction", "todo")]
        async with database.transaction() as connection:
            await connection.execute(text("UPDATE queue.procrastinate_jobs SET scheduled_at = NULL"))
        await fetch(database, await worker(database, 2.0))
        await run_rescue(database)
    assert await jobs(database) == []
    async with database.transaction() as connection:
        failure = await connection.scalar(select(simulations.c.failure))
    assert failure["code"] == "reduction_failed"


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
