"""A precision to reach, and time as a limit."""

from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulation_support import carried_out, next_shard, submitted
from sqlalchemy import select, text

from service.database.engine import Database
from service.database.schema import shard_results, shards, simulations
from service.jobs.rescue import end_what_is_over
from service.jobs.shards import stop_in_time
from service.simulations import precision, results


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=80),
    st.floats(1e-4, 10),
    st.floats(1e-4, 1),
    st.randoms(use_true_random=False),
)
def test_looks_go_forward_and_end(sizes: list[int], worst: float, target: float, random: Any) -> None:
    ends = np.cumsum(sizes).tolist()
    done, looks = precision.first_look(ends), 0
    assert ends[done - 1] >= min(precision.LEAST, ends[-1])
    while (following := precision.next_look(ends, done, worst, target)) is not None:
        assert done < following <= len(ends)
        # no more than four times the replicates, but for the shard that the bound falls into
        assert following == done + 1 or ends[following - 2] < 4 * ends[done - 1]
        done, worst, looks = following, worst * random.uniform(0.5, 1.2), looks + 1
    assert worst <= target or done == len(ends)


def test_relative_errors() -> None:
    values = np.array([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0], [-1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    found = precision.relative_errors(values, [])
    assert found[0] == pytest.approx(1.0 / np.sqrt(3) / 2.0)
    assert found[1] == found[3] == 0.0
    assert found[2] == np.inf
    assert precision.relative_errors(values, [1]).tolist() == [0.0]
    assert np.isnan(precision.relative_errors(values[:, :1], [])).all()


@pytest.mark.anyio
async def test_it_stops_as_soon_as_the_precision_is_reached(
    client: httpx.AsyncClient, database: Database
) -> None:
    answer = await submitted(client, relative_standard_error=0.05, max_replicates=4000)
    where = f"/v1/simulations/{answer['id']}"
    assert answer["progress"] == {"completed": 0, "total": 4000}
    await next_shard(database, answer["id"])
    so_far = (await client.get(where)).json()
    assert so_far["state"] == "running"
    assert so_far["points"][0]["test_error"]["standard_error"] > 0  # the estimate so far
    await carried_out(database, answer["id"])
    done = (await client.get(where)).json()
    assert (done["state"], done["stopped"]) == ("succeeded", "precision")
    error = done["points"][0]["test_error"]
    assert error["standard_error"] <= 0.05 * error["mean"]
    count = error["replicates"]
    assert done["progress"] == {"completed": count, "total": count}
    assert 32 <= count < 2000
    # the very same as a simulation of so many replicates
    plain = await submitted(client, replicates=count)
    await carried_out(database, plain["id"])
    assert (await client.get(f"/v1/simulations/{plain['id']}")).json()["points"] == done["points"]
    assert done["cost"]["flops"] == pytest.approx(plain["cost"]["flops"], rel=1e-12)


@pytest.mark.anyio
async def test_the_cap_ends_it_otherwise(client: httpx.AsyncClient, database: Database) -> None:
    answer = await submitted(client, relative_standard_error=0.001, max_replicates=50)
    await carried_out(database, answer["id"])
    done = (await client.get(f"/v1/simulations/{answer['id']}")).json()
    assert (done["state"], done["stopped"]) == ("succeeded", "replicates")
    assert done["points"][0]["test_error"]["replicates"] == 50


@pytest.mark.anyio
async def test_time_ends_it_with_the_replicates_from_the_first_on(
    client: httpx.AsyncClient, database: Database
) -> None:
    answer = await submitted(client, relative_standard_error=0.001, max_replicates=6400, max_seconds=3600)
    await next_shard(database, answer["id"])
    async with database.transaction() as connection:
        # all further shards are wanted, and the third is done before the second
        await connection.execute(simulations.update().values(wanted_shards=64))
        first = (await connection.execute(select(shard_results))).one()
        await connection.execute(shards.update().where(shards.c.index == 2).values(state="succeeded"))
        await connection.execute(
            shard_results.insert().values(simulation_id=answer["id"], index=2, test_errors=first.test_errors)
        )
        await end_what_is_over(connection, 0.0)
        assert await connection.scalar(select(simulations.c.stopped)) is None
        await connection.execute(text("UPDATE simulations SET started_at = now() - interval '2 hours'"))
        await end_what_is_over(connection, 0.0)
    await carried_out(database, answer["id"])
    done = (await client.get(f"/v1/simulations/{answer['id']}")).json()
    assert (done["state"], done["stopped"]) == ("succeeded", "time")
    assert done["progress"] == {"completed": 100, "total": 100}
    assert done["points"][0]["test_error"]["replicates"] == 100


@pytest.mark.anyio
async def test_no_result_in_time_is_a_failure(client: httpx.AsyncClient, database: Database) -> None:
    answer = await submitted(client, replicates=3, max_seconds=1)
    async with database.transaction() as connection:
        await stop_in_time(connection, answer["id"])
        await results.finish(connection, answer["id"])
    failed = (await client.get(f"/v1/simulations/{answer['id']}")).json()
    assert (failed["state"], failed["failure"]["code"]) == ("failed", "time_limit")


@pytest.mark.anyio
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"replicates": 5, "relative_standard_error": 0.1},
        {"replicates": 5, "max_replicates": 10},
        {"relative_standard_error": 0.0},
        {"relative_standard_error": 0.1, "max_replicates": 10_001},
        {"replicates": 5, "max_seconds": 0},
        {"replicates": 5, "priority": "urgent"},
    ],
)
async def test_what_does_not_go_together(client: httpx.AsyncClient, changes: dict[str, Any]) -> None:
    from simulation_support import SMALL

    response = await client.post("/v1/simulations", json=SMALL | changes)
    assert response.status_code == 422
    assert response.json()["errors"]
