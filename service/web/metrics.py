"""Prometheus metrics of the API process; the gauges are read from the database when they are scraped."""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, Counter, Gauge, Histogram, generate_latest
from starlette.types import Scope

from service.database.monitoring import backlog
from service.errors import DatabaseUnavailable
from service.web.dependencies import DatabaseDep, SettingsDep

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SIMULATION_STATES = ("queued", "running", "succeeded", "failed", "cancelled")

REQUESTS = Counter(
    "collapse_http_requests", "Requests answered, by route, method and status.", ["method", "route", "status"]
)
SECONDS = Histogram(
    "collapse_http_request_seconds", "Time to answer, by route.", ["method", "route"], buckets=BUCKETS
)
DATABASE_UP = Gauge("collapse_database_up", "1 when the database answered this scrape, else 0.")
SIMULATIONS = Gauge("collapse_simulations", "Stored simulations, by state.", ["state"])
SHARDS = Gauge("collapse_shards", "Unfinished shards, by state.", ["state"])
OLDEST = Gauge("collapse_oldest_queued_seconds", "Age of the oldest simulation that has a shard waiting.")
SHARD_RATE = Gauge("collapse_shards_per_second", "Shards that succeeded, per second of the last minute.")
SHARD_FAILURES = Gauge("collapse_shards_failing", "Unfinished shards of which an attempt has failed.")
WORKERS = Gauge("collapse_workers", "Workers with a recent heartbeat.")

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

router = APIRouter()


def observe(scope: Scope, status: int, seconds: float) -> None:
    """Count one answered request under its route's template, so that ids make no labels."""
    is_asset = scope["path"].startswith("/static/")
    route = "/static" if is_asset else getattr(scope.get("route"), "path", "unmatched")
    method = scope["method"] if scope["method"] in METHODS else "other"
    REQUESTS.labels(method, route, str(status)).inc()
    SECONDS.labels(method, route).observe(seconds)


@router.get(
    "/metrics",
    tags=["operations"],
    response_class=Response,
    responses={200: {"description": "Prometheus text format.", "content": {"text/plain": {}}}},
)
async def metrics(database: DatabaseDep, settings: SettingsDep) -> Response:
    """Metrics for Prometheus; they answer with the database down as well."""
    try:
        async with database.transaction() as connection:
            now = await backlog(connection, settings.stalled_after)
    except DatabaseUnavailable:
        DATABASE_UP.set(0)
    else:
        DATABASE_UP.set(1)
        for state in SIMULATION_STATES:
            SIMULATIONS.labels(state).set(now.simulations.get(state, 0))
        for state in ("queued", "running"):
            SHARDS.labels(state).set(now.shards.get(state, 0))
        OLDEST.set(now.oldest_queued_seconds)
        SHARD_RATE.set(now.shards_per_second)
        SHARD_FAILURES.set(now.attempts_failed)
        WORKERS.set(now.live_workers)
    return Response(generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})
