"""What an operator watches: the backlog of the queue, the states of simulations, the live workers."""

from dataclasses import dataclass

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from service.database.schema import shards, simulations, workers


@dataclass(frozen=True)
class Backlog:
    """Counts by state, the age of the oldest waiting shard in seconds (0 when none waits), live workers."""

    simulations: dict[str, int]
    shards: dict[str, int]
    oldest_queued_seconds: float
    live_workers: int


async def backlog(connection: AsyncConnection, stalled_after: float) -> Backlog:
    """The backlog now; a worker counts as alive for ``stalled_after`` seconds after its heartbeat."""
    by_state = select(simulations.c.state, func.count().label("number")).group_by(simulations.c.state)
    unfinished = (
        select(shards.c.state, func.count().label("number"))
        .where(shards.c.state.in_(("queued", "running")))
        .group_by(shards.c.state)
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
    )


async def live_workers(connection: AsyncConnection, stalled_after: float) -> int:
    """How many workers sent a heartbeat within the last ``stalled_after`` seconds."""
    recent = func.now() - func.make_interval(0, 0, 0, 0, 0, 0, stalled_after)
    alive = select(func.count()).select_from(workers).where(workers.c.heartbeat_at > recent)
    return int(await connection.scalar(alive) or 0)


async def queue_answers(connection: AsyncConnection) -> None:
    """One look at the queue's own table; raises what the database raises."""
    await connection.execute(text("SELECT id FROM queue.procrastinate_jobs LIMIT 1"))
