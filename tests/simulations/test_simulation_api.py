"""The resource through ASGI, its shards computed in this process: real PostgreSQL, no other processes."""

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from chains import BODY, OUTCOMES, compute, reductions_waiting, resharded, submitted
from sqlalchemy import select, text

from service.app import create_app
from service.database.engine import Database
from service.database.schema import shards, simulations
from service.jobs.compute import shard_outcomes, to_bytes
from service.settings import Settings
from service.simulations import results
from service.simulations.works import Works

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client(database_url: str, tmp_path: Path, anyio_backend: str) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(Settings(database_url=database_url, data_dir=tmp_path, _env_file=None))  # type: ignore[call-arg]
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client
    await app.state.database.dispose()


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
                "training_mix": BODY["training_mix"] | {"samples": 60_000},
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
