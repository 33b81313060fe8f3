"""What an operator watches: the backlog of the queue, the states of simulations, the live workers."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import case, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from service.database.schema import shards, simulations, workers


@dataclass(frozen=True)
class Backlog:
    """Counts by state, the age of the oldest waiting shard in seconds (0 when none waits), live workers.

    ``shards_per_second``: that succeeded, over the last minute; ``attempts_failed``: of the unfinished shards.
    """

    simulations: dict[str, int]
    shards: dict[str, int]
    oldest_queued_seconds: float
    live_workers: int
    shards_per_second: float
    attempts_failed: int


async def backlog(connection: AsyncConnection, stalled_after: float) -> Backlog:
    """The backlog now; a worker counts as alive for ``stalled_after`` seconds after its heartbeat."""
    by_state = select(simulations.c.state, func.count().label("number")).group_by(simulations.c.state)
    unfinished = (
        select(shards.c.state, func.count().label("number"))
        .where(shards.c.state.in_(("queued", "running")))
        .group_by(shards.c.state)
    )
    minute = func.now() - func.make_interval(0, 0, 0, 0, 0, 1)
    finished = (
        select(func.count())
        .select_from(shards)
        .where(shards.c.state == "succeeded", shards.c.finished_at > minute)
    )
    failed = (
        select(func.count())
        .select_from(shards)
        .where(shards.c.state.in_(("queued", "running")), shards.c.reason.is_not(None))
    )
    oldest = (
        select(func.extract("epoch", func.now() - func.min(simulations.c.created_at)))
        .join(shards, shards.c.simulation_id == simulations.c.id)
        .where(shards.c.state == "queued")
    )
    age = await connection.scalar(oldest)
    return Backlog(
        simulations={row.state: row.number for row in await connection.execute(by_state)},
        shards={row.state: row.number for row in await connection.execute(unfinished)},
        oldest_queued_seconds=max(0.0, float(age or 0.0)),
        live_workers=await live_workers(connection, stalled_after),
        shards_per_second=int(await connection.scalar(finished) or 0) / 60,
        attempts_failed=int(await connection.scalar(failed) or 0),
    )


async def live_workers(connection: AsyncConnection, stalled_after: float) -> int:
    """How many workers sent a heartbeat within the last ``stalled_after`` seconds."""
    recent = func.now() - func.make_interval(0, 0, 0, 0, 0, 0, stalled_after)
    alive = select(func.count()).select_from(workers).where(workers.c.heartbeat_at > recent)
    return int(await connection.scalar(alive) or 0)


async def known_workers(connection: AsyncConnection, stalled_after: float) -> list[dict[str, Any]]:
    """Every worker that has not signed off, with its shards; ``state`` is lost without a recent heartbeat."""
    recent = func.now() - func.make_interval(0, 0, 0, 0, 0, 0, stalled_after)
    per_worker = (
        select(
            shards.c.worker_id,
            func.count().filter(shards.c.state == "running").label("running"),
            func.count().filter(shards.c.state == "succeeded").label("succeeded"),
        )
        .where(shards.c.worker_id.in_(select(workers.c.id)))
        .group_by(shards.c.worker_id)
        .subquery()
    )
    rows = await connection.execute(
        select(
            workers.c.id,
            workers.c.hostname,
            workers.c.pid,
            workers.c.version,
            case((workers.c.heartbeat_at > recent, workers.c.state), else_="lost").label("state"),
            workers.c.concurrency,
            func.coalesce(per_worker.c.running, 0).label("shards_running"),
            func.coalesce(per_worker.c.succeeded, 0).label("shards_succeeded"),
            workers.c.started_at,
            workers.c.heartbeat_at,
        )
        .outerjoin(per_worker, per_worker.c.worker_id == workers.c.id)
        .order_by(workers.c.started_at, workers.c.id)
    )
    return [dict(row._mapping) for row in rows]


async def queue_answers(connection: AsyncConnection) -> None:
    """One look at the queue's own table; raises what the database raises."""
    await connection.execute(text("SELECT id FROM queue.procrastinate_jobs LIMIT 1"))
