"""Simulations in PostgreSQL."""

import asyncio
import base64
import secrets
from typing import Any

from sqlalchemy import Row, Select, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service import __version__
from service.database.pages import Cursor, newest_first
from service.database.schema import shards, simulations
from service.errors import Conflict, NotFound
from service.jobs import queue
from service.jobs.shards import stop_all
from service.simulations import results
from service.simulations.registry import KINDS
from service.simulations.resource import Failure, Progress, SimulationPage, SimulationSummary
from service.simulations.submit import Plan, cost

_ACTIVE = ("queued", "running")


def new_id() -> str:
    """``sim_`` and 26 random lower-case letters and digits."""
    return f"sim_{base64.b32encode(secrets.token_bytes(17)).decode().lower()[:26]}"


async def create(connection: AsyncConnection, plan: Plan, request_id: str) -> str:
    """Store a simulation with its shards and defer their jobs, all in the caller's transaction."""
    simulation_id = new_id()
    await connection.execute(
        insert(simulations).values(
            id=simulation_id,
            kind=plan.kind.name,
            request_id=request_id,
            engine_version=__version__,
            request=plan.request.model_dump(mode="json"),
            points=plan.planned.points,
            outcomes=plan.planned.outcomes,
            replicates=plan.request.replicates,
            shard_count=len(plan.shards),
            wanted_shards=len(plan.shards),
            flops=plan.flops,
        )
    )
    jobs = await queue.defer_shards(connection, simulation_id, range(len(plan.shards)))
    await connection.execute(
        insert(shards),
        [
            {"simulation_id": simulation_id, "index": i, "first": first, "last": last, "job_id": jobs[i]}
            for i, (first, last) in enumerate(plan.shards)
        ],
    )
    return simulation_id


async def fetch(connection: AsyncConnection, simulation_id: str) -> Any:
    """A simulation with its results, or its estimates so far: its kind's answer. Raises NotFound."""
    row = (await connection.execute(_summaries().where(simulations.c.id == simulation_id))).first()
    if row is None:
        raise NotFound(f"There is no simulation {simulation_id}.")
    kind = KINDS[row.kind]
    found: Any = row.result
    if found is None:
        outcomes = await results.outcomes_so_far(connection, simulation_id, row.outcomes)
        found = (await asyncio.to_thread(kind.result, row.request, row.points, outcomes)).model_dump()
    simulation: Any = kind.simulation
    return simulation(**_summary(row).model_dump(), request=row.request, **found)


async def page(
    connection: AsyncConnection, *, state: str | None, cursor: str | None, limit: int
) -> SimulationPage:
    """A page of simulations, newest first. Raises InvalidInput on a foreign cursor."""
    query = newest_first(_summaries(), simulations, cursor, limit)
    if state is not None:
        query = query.where(simulations.c.state == state)
    rows = (await connection.execute(query)).all()
    more = len(rows) > limit
    rows = rows[:limit]
    return SimulationPage(
        items=[_summary(row) for row in rows],
        next_cursor=Cursor(rows[-1].created_at, rows[-1].id).encode() if more else None,
    )


async def cancel(connection: AsyncConnection, simulation_id: str) -> None:
    """Cancel an active simulation; a cancelled one stays so. Raises NotFound, Conflict once it has ended."""
    row = (
        await connection.execute(
            select(simulations.c.state)
            .where(simulations.c.id == simulation_id)
            .with_for_update(key_share=True)
        )
    ).first()
    if row is None:
        raise NotFound(f"There is no simulation {simulation_id}.")
    if row.state in ("succeeded", "failed"):
        raise Conflict(f"This simulation has already {row.state}; only a queued or running one is cancelled.")
    if row.state in _ACTIVE:
        await stop_all(connection, simulation_id)
        await connection.execute(
            update(simulations)
            .where(simulations.c.id == simulation_id)
            .values(state="cancelled", finished_at=func.now())
        )


def _summaries() -> Select[Any]:
    completed = (
        select(func.coalesce(func.sum(shards.c.last - shards.c.first), 0))
        .where(shards.c.simulation_id == simulations.c.id, shards.c.state == "succeeded")
        .correlate(simulations)
        .scalar_subquery()
    )
    return select(
        simulations,
        func.jsonb_array_length(simulations.c.points).label("point_count"),
        completed.label("completed"),
    )


def _summary(row: Row[Any]) -> SimulationSummary:
    return SimulationSummary(
        id=row.id,
        kind=row.kind,
        state=row.state,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        engine_version=row.engine_version,
        progress=Progress(completed=row.completed, total=row.replicates),
        cost=cost(row.point_count, row.replicates, row.shard_count, row.flops),
        failure=Failure(**row.failure) if row.failure else None,
    )
