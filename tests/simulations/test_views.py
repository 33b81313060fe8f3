"""Tables, plots, events, waiting."""

import asyncio
import csv
import io
import json
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest
from pyarrow import parquet
from simulation_support import carried_out, next_shard, submitted

from service.database.engine import Database
from service.errors import DatabaseUnavailable
from service.simulations import follow
from service.simulations.follow import MAX_WAIT, changes, waiting_time
from service.simulations.store import cancel
from service.web.tables import chosen

pytestmark = pytest.mark.anyio

GRID = [
    {"pointer": "/training_mix/penalty", "values": [0.1, 0.2]},
    {"pointer": "/training_mix/generations", "values": [0, 1, 2]},
]


async def test_results_as_json_csv_and_parquet(client: httpx.AsyncClient, database: Database) -> None:
    answer = await submitted(client, replicates=6, grid=GRID)
    where = f"/v1/simulations/{answer['id']}/results"
    before = (await client.get(where)).json()
    assert (before["state"], before["kind"]) == ("queued", "regression")
    assert before["rows"][0]["simulated_total"] is None
    await carried_out(database, answer["id"])
    done = (await client.get(f"/v1/simulations/{answer['id']}")).json()
    response = await client.get(where)
    rows = response.json()["rows"]
    stages = [(point, stage) for point in done["points"] for stage in point["stages"]]
    assert len(rows) == len(stages) == 12
    for row, (point, stage) in zip(rows, stages, strict=True):
        assert row["/training_mix/generations"] == point["parameters"]["/training_mix/generations"]
        assert row["simulated_total"] == stage["test_error"]["mean"]
        assert row["predicted_bias"] == stage["prediction"]["bias"]
        assert row["z_score_total"] == stage["z_score"]
        assert row["p50"] == stage["test_error"]["quantiles"]["p50"]
    table = await client.get(where, headers={"Accept": "text/csv"})
    assert table.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert f'filename="{answer["id"]}.csv"' in table.headers["Content-Disposition"]
    read = list(csv.DictReader(io.StringIO(table.text)))
    assert [float(row["simulated_total"]) for row in read] == [row["simulated_total"] for row in rows]
    assert list(read[0]) == list(rows[0])
    packed = await client.get(where, params={"format": "parquet"}, headers={"Accept": "text/html"})
    assert parquet.read_table(io.BytesIO(packed.content)).to_pylist() == rows
    etag = response.headers["ETag"]
    assert (await client.get(where, headers={"If-None-Match": etag})).status_code == 304
    refused = await client.get(where, headers={"Accept": "image/png"})
    assert (refused.status_code, refused.json()["code"]) == (406, "not_acceptable")


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, "json"),
        ("*/*", "json"),
        ("text/*", "csv"),
        ("application/*;q=0.5, text/csv", "csv"),
        ("text/csv;q=0.2, application/json;q=0.1", "csv"),
        ("application/vnd.apache.parquet", "parquet"),
        ("*/*;q=0.1, application/json;q=0", "csv"),
        ("TEXT/CSV", "csv"),
    ],
)
def test_the_format_by_accept(accept: str | None, expected: str) -> None:
    assert chosen(accept, None) == expected


@pytest.mark.parametrize("grid", [[], GRID[1:], GRID])
async def test_plot(client: httpx.AsyncClient, database: Database, grid: list[Any]) -> None:
    answer = await submitted(client, replicates=4, grid=grid)
    where = f"/v1/simulations/{answer['id']}/plot.svg"
    planned = await client.get(where)
    await carried_out(database, answer["id"])
    done = await client.get(where)
    assert done.headers["Content-Type"] == "image/svg+xml"
    assert done.content == (await client.get(where)).content  # the same numbers, the same bytes
    assert done.content != planned.content
    for plot in (planned, done):
        assert ElementTree.fromstring(plot.content).tag.endswith("svg")
    assert (await client.get(where, headers={"If-None-Match": done.headers["ETag"]})).status_code == 304


def events(text: str) -> list[dict[str, str]]:
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and line[0] != ":")
        if fields:
            found.append(fields)
    return found


async def test_events_until_the_end_and_resumed(client: httpx.AsyncClient, database: Database) -> None:
    answer = await submitted(client, relative_standard_error=0.001, max_replicates=64)
    where = f"/v1/simulations/{answer['id']}/events"
    stream = asyncio.create_task(client.get(where))
    await asyncio.sleep(0.6)
    await next_shard(database, answer["id"])
    await asyncio.sleep(0.6)
    await carried_out(database, answer["id"])
    response = await asyncio.wait_for(stream, 30)
    assert response.headers["Content-Type"].startswith("text/event-stream")
    seen = events(response.text)
    assert [one["event"] for one in seen][-1] == "succeeded"
    assert {one["event"] for one in seen[:-1]} == {"progress"}
    completed = [json.loads(one["data"])["progress"]["completed"] for one in seen]
    assert completed == sorted(completed)
    assert completed[-1] == 64
    assert len({one["id"] for one in seen}) == len(seen)
    # seen all but the last; seen everything; seen nothing that is still so
    again = await client.get(where, headers={"Last-Event-ID": seen[-2]["id"]})
    assert [one["id"] for one in events(again.text)] == [seen[-1]["id"]]
    over = await client.get(where, headers={"Last-Event-ID": seen[-1]["id"]})
    assert (over.status_code, over.content) == (204, b"")  # an EventSource does not come back
    assert len(events((await client.get(where, headers={"Last-Event-ID": "unknown"})).text)) == 1
    missing = await client.get("/v1/simulations/sim_aaaaaaaaaaaaaaaaaaaaaaaaaa/events")
    assert (missing.status_code, missing.headers["Content-Type"]) == (404, "application/problem+json")


async def test_a_stream_outlives_an_outage_and_ends_with_its_simulation(
    client: httpx.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = await submitted(client, replicates=2)
    real, looks = follow.latest, 0

    async def latest(*arguments: Any) -> follow.Change:
        nonlocal looks
        looks += 1
        if looks in (2, 3):
            raise DatabaseUnavailable("no connection")
        return await real(*arguments)

    monkeypatch.setattr(follow, "latest", latest)
    monkeypatch.setattr(follow, "_OUTAGE", 0.01)
    stream = changes(database, answer["id"], None, 0.0)
    assert (await anext(stream)).event == "progress"
    assert (await client.post(f"/v1/simulations/{answer['id']}:cancel")).status_code == 200
    assert (await anext(stream)).event == "cancelled"
    assert looks >= 4
    assert (await client.delete(f"/v1/simulations/{answer['id']}")).status_code == 204
    assert [one async for one in changes(database, answer["id"], None, 0.0)] == []


async def test_changes_are_never_told_twice(client: httpx.AsyncClient, database: Database) -> None:
    answer = await submitted(client, replicates=2)
    stream = changes(database, answer["id"], None, 0.0)
    first = await anext(stream)
    assert (first.event, first.summary.state) == ("progress", "queued")
    following = asyncio.create_task(anext(stream))
    await asyncio.sleep(0.6)
    assert not following.done()
    async with database.transaction() as connection:
        await cancel(connection, answer["id"])
    assert (await asyncio.wait_for(following, 30)).event == "cancelled"
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_waiting_for_the_end(client: httpx.AsyncClient, database: Database) -> None:
    answer = await submitted(client, replicates=3)
    where = f"/v1/simulations/{answer['id']}"
    unfinished = await client.get(where, headers={"Prefer": "wait=1"})
    assert unfinished.json()["state"] == "queued"
    assert unfinished.headers["Preference-Applied"] == "wait=1"
    waiting = asyncio.create_task(client.get(where, headers={"Prefer": "respond-async, wait=50"}))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    await carried_out(database, answer["id"])
    assert (await asyncio.wait_for(waiting, 40)).json()["state"] == "succeeded"


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        (None, None), ("", None), ("wait=x", None), ("wait=-1", None), ("await=3", None), ("wait=5", 5.0),
        ("respond-async; wait = 7", 7.0), ('WAIT="8"', 8.0), ("wait=0", 0.0), ("wait=999999999", MAX_WAIT),
        ("wait=9999999999", None),
    ],
)  # fmt: skip
def test_the_time_to_wait(prefer: str | None, seconds: float | None) -> None:
    assert waiting_time(prefer) == seconds


async def test_workers_and_metrics(client: httpx.AsyncClient, database: Database) -> None:
    from service.database.schema import workers

    assert (await client.get("/v1/workers")).json() == {"items": []}
    answer = await submitted(client, relative_standard_error=0.001, max_replicates=64)
    async with database.transaction() as connection:
        await connection.execute(
            workers.insert().values(
                id="here", hostname="h", pid=1, version="0", concurrency=2, state="running"
            )
        )
    await next_shard(database, answer["id"])
    [worker] = (await client.get("/v1/workers")).json()["items"]
    assert (worker["id"], worker["state"], worker["shards_succeeded"]) == ("here", "running", 1)
    metrics = (await client.get("/metrics")).text
    assert f"collapse_shards_per_second {1 / 60}" in metrics
    assert "collapse_shards_failing 0.0" in metrics
