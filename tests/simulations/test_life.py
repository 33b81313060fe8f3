"""Turns, limits, places, retry, deletion."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from simulation_support import SMALL, carried_out, next_shard, submitted
from sqlalchemy import select, text, update

from service.database.engine import Database
from service.database.schema import shard_results, shards, simulations, workers
from service.jobs import turns
from service.jobs.rescue import end_what_is_over
from service.jobs.shards import claim
from service.jobs.tries import fail
from service.simulations import store
from service.simulations.places import Standing, place
from service.simulations.regression import REGRESSION
from service.simulations.schemas import SimulationRequest
from service.simulations.submit import plan

pytestmark = pytest.mark.anyio


async def stored(database: Database, count: int, priority: str = "normal") -> str:
    """A simulation of so many shards of one replicate."""
    from dataclasses import replace

    request = SimulationRequest.model_validate(SMALL | {"replicates": count, "priority": priority})
    planned = replace(plan(REGRESSION, request, None, 3600.0), shards=[(r, r + 1) for r in range(count)])
    async with database.transaction() as connection:
        return await store.create(connection, planned, "test")


async def served(database: Database, count: int) -> list[str]:
    """The simulations whose shards a worker would take, in order."""
    order = []
    async with database.transaction() as connection:
        worker = await connection.scalar(
            text("INSERT INTO queue.procrastinate_workers DEFAULT VALUES RETURNING id")
        )
        for _ in range(count):
            job = (
                await connection.execute(
                    text("SELECT args FROM procrastinate_fetch_job_v2(ARRAY['shards'], :worker)"),
                    {"worker": worker},
                )
            ).one()
            order.append(job.args["simulation_id"])
    return order


async def test_a_late_small_simulation_takes_turns_with_a_huge_one(database: Database) -> None:
    huge = await stored(database, 300)
    await served(database, 100)
    small = await stored(database, 10)
    order = await served(database, 20)
    assert order.count(small) in (9, 10)  # every other one
    assert order.count(huge) in (10, 11)


async def test_a_stream_of_small_ones_does_not_starve_a_huge_one(database: Database) -> None:
    huge = await stored(database, 200)
    await served(database, 100)
    taken = []
    for _ in range(10):
        await stored(database, 5)
        taken += await served(database, 5)
    assert taken.count(huge) >= 10  # of 50, with up to ten others at a time


@pytest.mark.parametrize(("priority", "share"), [("high", 4), ("low", 1 / 4)])
async def test_priority_is_a_share_of_the_turns(database: Database, priority: str, share: float) -> None:
    normal, other = await stored(database, 250), await stored(database, 250, priority)
    order = await served(database, 100)
    assert order.count(other) / order.count(normal) == pytest.approx(share, rel=0.1)


async def test_who_comes_later_does_not_wait_for_the_next_shard_of_a_lower_priority(
    database: Database,
) -> None:
    low = await stored(database, 20, "low")
    await served(database, 1)
    high = await stored(database, 20, "high")
    assert await served(database, 15) == 15 * [high]
    assert low in await served(database, 2)


async def test_a_shard_that_is_tried_again_does_not_set_the_turns_back(database: Database) -> None:
    huge = await stored(database, 200)
    await served(database, 100)
    async with database.transaction() as connection:  # the first one is all that is under way
        done = "DELETE FROM queue.procrastinate_jobs WHERE status = 'doing' AND priority < 0"
        await connection.execute(text(done))
    await stored(database, 50)
    assert (await served(database, 12)).count(huge) >= 4


async def test_ten_thousand_shards_enter_the_queue_bit_by_bit(database: Database) -> None:
    simulation_id = await stored(database, 10_000)
    jobs = text("SELECT count(*) FROM queue.procrastinate_jobs WHERE status = 'todo'")
    async with database.transaction() as connection:
        assert await connection.scalar(jobs) == turns.WINDOW
        assert await connection.scalar(text("SELECT count(*) FROM shards")) == 10_000
    assert await next_shard(database, simulation_id)
    async with database.transaction() as connection:
        last = select(shards.c.index).where(shards.c.job_id.is_not(None)).order_by(shards.c.index.desc())
        assert await connection.scalar(last.limit(1)) == turns.WINDOW


async def test_retry_keeps_what_succeeded(client: httpx.AsyncClient, database: Database) -> None:
    simulation_id = await stored(database, 4)
    where = f"/v1/simulations/{simulation_id}"
    assert await next_shard(database, simulation_id)
    for _ in range(3):
        async with database.transaction() as connection:
            claimed = await claim(connection, simulation_id, 1, "w")
            assert claimed is not None
            await fail(connection, claimed, "It broke.")
    failed = (await client.get(where)).json()
    assert (failed["state"], failed["failure"]["shard"], failed["place"]) == ("failed", 1, None)
    async with database.transaction() as connection:
        kept = (await connection.execute(select(shard_results.c.created_at))).all()
    again = (await client.post(f"{where}:retry")).json()
    assert (again["state"], again["failure"], again["finished_at"]) == ("queued", None, None)
    assert again["progress"]["completed"] == 1
    assert (await client.post(f"{where}:retry")).json()["state"] == "queued"  # active: nothing to do
    await carried_out(database, simulation_id)
    done = (await client.get(where)).json()
    assert done["state"] == "succeeded"
    async with database.transaction() as connection:
        rows = (await connection.execute(select(shards.c.index, shards.c.attempts).order_by("index"))).all()
        assert kept[0] in (await connection.execute(select(shard_results.c.created_at))).all()
    assert [tuple(row) for row in rows] == [(0, 1), (1, 1), (2, 1), (3, 1)]
    assert (await client.post(f"{where}:retry")).status_code == 409


async def test_a_cancelled_one_can_be_taken_up_again(client: httpx.AsyncClient, database: Database) -> None:
    simulation_id = await stored(database, 3)
    await next_shard(database, simulation_id)
    assert (await client.post(f"/v1/simulations/{simulation_id}:cancel")).json()["state"] == "cancelled"
    assert (await client.post(f"/v1/simulations/{simulation_id}:retry")).json()["state"] == "queued"
    await carried_out(database, simulation_id)
    assert (await client.get(f"/v1/simulations/{simulation_id}")).json()["state"] == "succeeded"


async def test_deleting(client: httpx.AsyncClient, database: Database) -> None:
    headers = {"Idempotency-Key": "k"}
    first = (await client.post("/v1/simulations", json=SMALL | {"replicates": 2}, headers=headers)).json()
    where = f"/v1/simulations/{first['id']}"
    assert (await client.delete(where)).status_code == 409  # active
    await carried_out(database, first["id"])
    assert (await client.delete(where)).status_code == 204
    assert (await client.delete(where)).status_code == 404
    async with database.transaction() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM shard_results")) == 0
    second = await client.post("/v1/simulations", json=SMALL | {"replicates": 2}, headers=headers)
    assert second.status_code == 202
    assert second.json()["id"] != first["id"]


async def test_what_ended_long_ago_expires(database: Database) -> None:
    ended, active = await stored(database, 2), await stored(database, 2)
    await carried_out(database, ended)
    async with database.transaction() as connection:
        await connection.execute(
            update(simulations).where(simulations.c.id == ended).values(
                finished_at=datetime.now(UTC) - timedelta(days=8)
            )
        )  # fmt: skip
        await end_what_is_over(connection, 9.0)
        assert set(await connection.scalars(select(simulations.c.id))) == {ended, active}
        await end_what_is_over(connection, 7.0)
        assert set(await connection.scalars(select(simulations.c.id))) == {active}


async def test_a_submitter_has_a_limit(client: httpx.AsyncClient, database: Database) -> None:
    body = SMALL | {"replicates": 2}

    async def post(who: str) -> httpx.Response:
        return await client.post("/v1/simulations", json=body, headers={"X-Submitter": who})

    made = [(await post("ann")).json()["id"] for _ in range(3)]
    refused = await post("ann")
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
    assert refused.headers["Retry-After"] == "10"
    assert (await post("bob")).status_code == 202
    await carried_out(database, made[0])
    assert (await post("ann")).status_code == 202
    of_bob = (await client.get("/v1/simulations", params={"submitter": "bob"})).json()["items"]
    assert [one["submitter"] for one in of_bob] == ["bob"]
    assert (await client.get("/v1/simulations", params={"kind": "tail"})).json()["items"] == []


def shared(active: list[Standing], cores: int, mine: str) -> float:
    """Processor sharing by small steps: the referee of the formula."""
    left = {one.id: one.core_seconds for one in active}
    weight = {one.id: 1 / turns.STRIDES[one.priority] for one in active}
    now, step = 0.0, 1e-3
    while left[mine] > 0:
        total = sum(weight[i] for i in left if left[i] > 0)
        left = {i: r - step * cores * weight[i] / total if r > 0 else 0.0 for i, r in left.items()}
        now += step
    return now


@pytest.mark.parametrize("mine", ["a", "b", "c", "d"])
def test_the_expected_finish_is_that_of_processor_sharing(mine: str) -> None:
    active = [
        Standing("a", False, "normal", 4.0),
        Standing("b", True, "high", 7.0),
        Standing("c", True, "low", 2.0),
        Standing("d", True, "normal", 9.0),
    ]
    me = next(one for one in active if one.id == mine)
    found = place(active, me, 3)
    assert found.position == {"a": 0, "b": 1, "c": 2, "d": 3}[mine]
    assert found.expected_finish_at is not None
    seconds = (found.expected_finish_at - datetime.now(UTC)).total_seconds()
    assert seconds == pytest.approx(shared(active, 3, mine), abs=0.1)
    assert place(active, me, 0).expected_finish_at is None


async def test_place_in_the_queue(client: httpx.AsyncClient, database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(
            workers.insert().values(
                id="w", hostname="h", pid=1, version="0", concurrency=2, state="running"
            )
        )  # fmt: skip
    first, second = await submitted(client, replicates=9), await submitted(client, replicates=9)
    assert (first["place"]["position"], second["place"]["position"]) == (1, 2)
    assert first["place"]["expected_finish_at"] is not None
    estimate = await client.post(
        "/v1/simulations", json=SMALL | {"replicates": 9}, params={"validate_only": "true"}
    )
    answer: dict[str, Any] = estimate.json()
    assert answer["place"]["position"] == 3
    assert answer["cost"]["core_seconds"] == pytest.approx(answer["place"]["core_seconds_left"])
    await next_shard(database, first["id"])
    await carried_out(database, first["id"])
    now = (await client.get(f"/v1/simulations/{second['id']}")).json()
    assert now["place"]["position"] == 1
