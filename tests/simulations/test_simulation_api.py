"""The resource through ASGI, its shards computed in this process: real PostgreSQL, no other processes."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from sqlalchemy import select, text

from service.app import create_app
from service.database.engine import Database
from service.database.schema import shard_results, shards, simulations
from service.jobs.compute import from_bytes, shard_outcomes, to_bytes
from service.jobs.shards import Claim, claim, fail, hand_back, succeed
from service.settings import Settings
from service.simulations import results
from service.simulations.works import Works

pytestmark = pytest.mark.anyio

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


@pytest.fixture
async def client(database_url: str, tmp_path: Path, anyio_backend: str) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(Settings(database_url=database_url, data_dir=tmp_path, _env_file=None))  # type: ignore[call-arg]
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client
    await app.state.database.dispose()


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


async def test_submitting(client: httpx.AsyncClient, database: Database) -> None:
    response = await client.post("/v1/simulations", json=BODY, headers={"X-Request-ID": "mine"})
    assert response.status_code == 202
    answer = response.json()
    assert response.headers["Location"] == f"/v1/simulations/{answer['id']}"
    assert answer["state"] == "queued"
    assert answer["progress"] == {"completed": 0, "total": 6}
    assert [point["parameters"] for point in answer["points"]] == [
        {"/training_mix/generations": n} for n in (0, 1, 2)
    ]
    assert all(point["test_error"] is None for point in answer["points"])
    assert answer == (await client.get(response.headers["Location"])).json()
    async with database.transaction() as connection:
        row = (await connection.execute(select(simulations))).one()
        jobs = (await connection.execute(text("SELECT id, args FROM queue.procrastinate_jobs"))).all()
        stored = (await connection.execute(select(shards.c.job_id))).scalars().all()
    assert row.request_id == "mine"
    assert [job.id for job in jobs] == list(stored)
    assert jobs[0].args == {"simulation_id": answer["id"], "index": 0}


async def test_the_prediction_beside_is_that_of_the_predictions_resource(client: httpx.AsyncClient) -> None:
    answer = await submitted(client)
    for point, generations in zip(answer["points"], (0, 1, 2), strict=True):
        mix = BODY["training_mix"] | {"generations": generations}
        response = await client.post(
            "/v1/predictions", json={"dataset": BODY["dataset"], "training_mix": mix}
        )
        for part in ("total", "bias", "variance", "generation", "generation_parts"):
            assert point["prediction"][part] == response.json()["test_error"][part]


async def test_life_of_a_simulation(client: httpx.AsyncClient, database: Database) -> None:
    simulation_id = (await submitted(client))["id"]
    await resharded(database, simulation_id, [(0, 2), (2, 3), (3, 6)])
    where = f"/v1/simulations/{simulation_id}"
    await compute(database, simulation_id, 1)
    running = (await client.get(where)).json()
    assert (running["state"], running["progress"]["completed"]) == ("running", 1)
    assert running["points"][0]["test_error"]["replicates"] == 1
    assert running["points"][0]["test_error"]["standard_error"] is None
    assert running["points"][0]["z_score"] is None
    await compute(database, simulation_id, 0)
    assert await reductions_waiting(database) == 0
    await compute(database, simulation_id, 2)
    assert await reductions_waiting(database) == 1
    for _ in range(2):  # a second reduction changes nothing
        async with database.transaction() as connection:
            await results.finish(connection, simulation_id)
        done = (await client.get(where)).json()
    assert (done["state"], done["progress"]["completed"]) == ("succeeded", 6)
    async with database.transaction() as connection:
        errors = await results.outcomes_so_far(connection, simulation_id, OUTCOMES)
    assert errors.shape == (OUTCOMES, 6)
    totals = errors[[0, 6, 15]]  # of the last stages: 1, 2 and 3 stages of three parts each
    for point, measured in zip(done["points"], totals, strict=True):
        mean, error = sum(measured) / 6, np.sqrt(np.var(measured, ddof=1) / 6)
        assert point["test_error"]["mean"] == pytest.approx(mean, rel=1e-14)
        assert point["test_error"]["standard_error"] == pytest.approx(error, rel=1e-12)
        assert point["test_error"]["quantiles"]["p50"] == pytest.approx(np.median(measured), rel=1e-14)
        difference = mean - point["prediction"]["total"]
        assert point["difference"] == pytest.approx(difference, rel=1e-9)
        assert point["relative_difference"] == pytest.approx(
            difference / point["prediction"]["total"], rel=1e-9
        )
        assert point["z_score"] == pytest.approx(difference / error, rel=1e-9)


@pytest.mark.parametrize(
    "ranges", [[(0, 6)], [(0, 1), (1, 6)], [(0, 5), (5, 6)], [(i, i + 1) for i in range(6)]]
)
async def test_the_sharding_does_not_change_a_bit(
    client: httpx.AsyncClient, database: Database, ranges: list[tuple[int, int]]
) -> None:
    simulation_id = (await submitted(client))["id"]
    workload = await Works(database, Path("unused")).get(simulation_id)
    whole = shard_outcomes(workload.pickled, workload.outcomes, workload.seed, 0, 6)
    await resharded(database, simulation_id, ranges)
    for index in reversed(range(len(ranges))):
        await compute(database, simulation_id, index)
    async with database.transaction() as connection:
        assert to_bytes(await results.outcomes_so_far(connection, simulation_id, OUTCOMES)) == whole


async def test_results_agree_with_theory(client: httpx.AsyncClient, database: Database) -> None:
    """Finite-size effects are of order 1/N: 300 replicates at N = 400, d = 20 must agree within 4 errors + 5 %."""
    mix = BODY["training_mix"] | {"samples": 400, "generator": {"samples": 500, "noise_variance": 1.0}}
    simulation_id = (await submitted(client, training_mix=mix, replicates=300))["id"]
    await resharded(database, simulation_id, [(0, 300)])
    await compute(database, simulation_id, 0)
    for point in (await client.get(f"/v1/simulations/{simulation_id}")).json()["points"]:
        allowed = 4 * point["test_error"]["standard_error"] + 0.05 * point["prediction"]["total"]
        assert abs(point["difference"]) < allowed


async def test_finished_ones_are_immutable_and_sent_once(
    client: httpx.AsyncClient, database: Database
) -> None:
    simulation_id = (await submitted(client))["id"]
    where = f"/v1/simulations/{simulation_id}"
    queued = (await client.get(where)).headers["ETag"]
    await resharded(database, simulation_id, [(0, 6)])
    await compute(database, simulation_id, 0)
    async with database.transaction() as connection:
        await results.finish(connection, simulation_id)
    etag = (await client.get(where)).headers["ETag"]
    assert etag != queued
    again = await client.get(where, headers={"If-None-Match": etag})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", etag)
    assert (await client.get(where, headers={"If-None-Match": queued})).status_code == 200


async def test_idempotency_key(client: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "once"}
    answers = await asyncio.gather(
        *(client.post("/v1/simulations", json=BODY, headers=headers) for _ in range(4))
    )
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len((await client.get("/v1/simulations")).json()["items"]) == 1
    other = await client.post("/v1/simulations", json=BODY | {"seed": 8}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")


async def test_validate_only_stores_nothing(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/simulations?validate_only=true", json=BODY)
    assert response.status_code == 200
    answer = response.json()
    assert answer["cost"]["points"] == 3
    assert answer["cost"]["core_seconds"] > 0
    assert answer["points"][0]["prediction"]["total"] > 0
    assert (await client.get("/v1/simulations")).json() == {"items": [], "next_cursor": None}


async def test_optimal_penalties_are_those_of_the_prediction(
    client: httpx.AsyncClient, database: Database
) -> None:
    optimal = BODY["training_mix"] | {"penalty": "optimal"}
    response = await client.post(
        "/v1/predictions", json={"dataset": BODY["dataset"], "training_mix": optimal}
    )
    penalty = response.json()["regularization"]["penalty"]
    ids = [
        (await submitted(client, grid=[], training_mix=optimal | {"penalty": p}))["id"]
        for p in ("optimal", penalty)
    ]
    results_of = []
    for simulation_id in ids:
        await resharded(database, simulation_id, [(0, 6)])
        results_of.append(await compute(database, simulation_id, 0))
    assert results_of[0] == results_of[1]


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"replicates": 0}, "/replicates"),
        ({"replicates": 10_001}, "/replicates"),
        ({"replicates": True}, "/replicates"),
        ({"seed": -1}, "/seed"),
        ({"seed": 2**63}, "/seed"),
        ({"method": "guess"}, "/method"),
        ({"misspelt": 1}, "/misspelt"),
        ({"grid": [{"pointer": "/replicates", "values": [1]}]}, "/grid/0/pointer"),
        ({"grid": [{"pointer": "/training_mix/penalty", "values": []}]}, "/grid/0/values"),
        (
            {"grid": [{"pointer": "/training_mix/penalty", "values": [0.1] * 200}], "replicates": 10_000},
            "/replicates",
        ),
        (
            {
                "dataset": BODY["dataset"]
                | {"spectrum": {"kind": "power_law", "dimension": 5000, "exponent": 1.0}}
            },
            "/dataset",
        ),
        ({"training_mix": BODY["training_mix"] | {"samples": 10**9}}, "/training_mix"),
        (
            {
                "dataset": BODY["dataset"] | {"spectrum": {"kind": "isotropic", "dimension": 1900}},
                "training_mix": BODY["training_mix"] | {"samples": 20_000},
                "replicates": 10_000,
            },
            "/replicates",
        ),
    ],
)
async def test_what_is_refused_names_the_field(
    client: httpx.AsyncClient, changes: dict[str, Any], pointer: str
) -> None:
    for query in ("", "?validate_only=true"):
        response = await client.post(f"/v1/simulations{query}", json=BODY | changes)
        assert response.status_code == 422, response.text
        assert response.headers["Content-Type"] == "application/problem+json"
        assert pointer in [error["pointer"] for error in response.json()["errors"]]
    assert (await client.get("/v1/simulations")).json()["items"] == []


async def test_a_divergent_prediction_is_null_with_the_reason(client: httpx.AsyncClient) -> None:
    mix = BODY["training_mix"] | {"samples": 20, "penalty": 0.0}
    for point in (await submitted(client, training_mix=mix))["points"]:
        assert point["prediction"] is None
        assert point["prediction_missing"].startswith("divergent")


async def test_unknown_ones(client: httpx.AsyncClient) -> None:
    for unknown in ("sim_" + "a" * 26, "nonsense", "sim_%00"):
        assert (await client.get(f"/v1/simulations/{unknown}")).status_code == 404
        assert (await client.post(f"/v1/simulations/{unknown}:cancel")).status_code == 404
    missing = await client.post("/v1/simulations", json=BODY | {"dataset": "dst_" + "a" * 26})
    assert missing.status_code == 404


async def test_pages(client: httpx.AsyncClient, database: Database) -> None:
    ids = [(await submitted(client, seed=seed))["id"] for seed in range(5)]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        query = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await client.get("/v1/simulations", params=query)).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        await submitted(client, seed=99)  # a newer one does not shift the pages
    assert seen == ids[::-1]
    await client.post(f"/v1/simulations/{ids[2]}:cancel")
    cancelled = (await client.get("/v1/simulations", params={"state": "cancelled"})).json()["items"]
    assert [item["id"] for item in cancelled] == [ids[2]]


@pytest.mark.parametrize(
    "cursor", ["x", "!", "a" * 200, base64.urlsafe_b64encode(b"2020-01-01T00:00:00 x").decode(), "MjAyMA=="]
)
async def test_foreign_cursors(client: httpx.AsyncClient, cursor: str) -> None:
    assert (await client.get("/v1/simulations", params={"cursor": cursor})).status_code == 422


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
            assert await fail(connection, simulation_id, 1, "MemoryError: no room") is (attempt < 3)
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
