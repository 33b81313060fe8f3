"""Health, readiness and metrics, with the database there, not migrated, and away."""

from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import func, insert

import service
from service.app import create_app
from service.database.engine import Database
from service.database.schema import shards, simulations, workers
from service.settings import Settings
from tests.web.asking import assert_problem, client_of

pytestmark = pytest.mark.anyio


async def samples(http: httpx.AsyncClient) -> dict[tuple[str, ...], float]:
    """Every sample of the exposition by its name and label values, read by Prometheus' own parser."""
    answer = await http.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def test_healthz_looks_at_nothing_else(http_without_database: httpx.AsyncClient) -> None:
    answer = await http_without_database.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "version": service.__version__})


async def test_ready_with_a_database_at_head(http: httpx.AsyncClient, database: Database) -> None:
    expected = {"status": "ready", "version": service.__version__, "live_workers": 0}
    answer = await http.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, expected)
    async with database.transaction() as connection:
        worker = {"hostname": "h", "pid": 1, "version": "1", "concurrency": 1, "state": "running"}
        await connection.execute(insert(workers).values(id="alive", **worker))
        long_ago = func.now() - timedelta(hours=1)
        await connection.execute(insert(workers).values(id="dead", heartbeat_at=long_ago, **worker))
    assert (await http.get("/readyz")).json() == {**expected, "live_workers": 1}


async def test_not_ready_before_the_migrations(empty_database_url: str, tmp_path: Path) -> None:
    app = create_app(Settings(database_url=empty_database_url, data_dir=tmp_path))
    async with client_of(app) as client:
        body = assert_problem(await client.get("/readyz"), 503, "not_ready")
        assert "collapse migrate" in str(body["detail"])
    await app.state.database.dispose()


async def test_requests_are_counted_under_their_route(http: httpx.AsyncClient) -> None:
    route = "/v1/simulations/{simulation_id}"
    name = "collapse_http_requests_total"
    before = await samples(http)
    for number in range(3):
        await http.get(f"/v1/simulations/sim_{number:026}")
        await http.get(f"/nothing/{number}")
    after = await samples(http)

    def grown(*key: str) -> float:
        return after[key] - before.get(key, 0.0)

    assert grown(name, "GET", route, "404") == 3
    assert grown(name, "GET", "unmatched", "404") == 3
    assert grown("collapse_http_request_seconds_count", "GET", route) == 3
    assert not any("sim_" in label for key in after for label in key)


async def test_every_route_is_counted_under_its_whole_path(http: httpx.AsyncClient) -> None:
    paths = (await http.get("/openapi.json")).json()["paths"]
    asked = [path for path, methods in paths.items() if "post" in methods and "{" not in path]
    for path in asked:
        await http.post(path, json=None)
    counted = {key[2] for key in await samples(http) if key[0] == "collapse_http_requests_total"}
    assert counted >= set(asked)


async def test_the_backlog_is_read_from_the_database(http: httpx.AsyncClient, database: Database) -> None:
    async with database.transaction() as connection:
        simulation = {
            "request_id": "r", "engine_version": "1", "request": {}, "points": [], "replicates": 9,
            "kind": "regression", "outcomes": 1, "wanted_shards": 3, "turn": 0,
            "shard_count": 3, "flops": 1.0, "created_at": func.now() - timedelta(seconds=100),
        }  # fmt: skip
        await connection.execute(insert(simulations).values(id="sim_1", state="running", **simulation))
        await connection.execute(insert(simulations).values(id="sim_2", state="queued", **simulation))
        for index, state in enumerate(("succeeded", "running", "queued")):
            shard = {"index": index, "first": index, "last": index + 1, "state": state}
            await connection.execute(insert(shards).values(simulation_id="sim_1", **shard))
    found = await samples(http)
    assert found["collapse_database_up",] == 1
    assert found["collapse_simulations", "running"] == 1
    assert found["collapse_simulations", "queued"] == 1
    assert found["collapse_simulations", "failed"] == 0
    assert found["collapse_shards", "queued"] == 1
    assert found["collapse_shards", "running"] == 1
    assert 100 <= found["collapse_oldest_queued_seconds",] < 160
    assert found["collapse_workers",] == 0


async def test_metrics_answer_with_the_database_away(http_without_database: httpx.AsyncClient) -> None:
    assert (await samples(http_without_database))["collapse_database_up",] == 0
