"""Simulations in PostgreSQL."""

import asyncio
import base64
import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import Row, Select, func, insert, select, text, update
from sqlalchemy import delete as delete_from
from sqlalchemy.ext.asyncio import AsyncConnection

from service import __version__
from service.database import idempotency
from service.database.pages import Cursor, newest_first
from service.database.schema import shards, simulations
from service.errors import Conflict, NotFound, TooManyRequests
from service.jobs import turns
from service.jobs.deferral import defer_next
from service.jobs.shards import again, stop_all
from service.settings import Settings
from service.simulations import places, results
from service.simulations.registry import KINDS
from service.simulations.resource import (
    Failure,
    Place,
    Progress,
    SimulationPage,
    SimulationSummary,
)
from service.simulations.submit import Plan, cost

_ACTIVE = ("queued", "running")


# Arrays as text: the driver takes a hundred times as long to write 10,000 numbers, on the event loop.
_SHARDS = text("""
    INSERT INTO shards (simulation_id, index, first, last)
    SELECT :id, ordinality - 1, first, last
    FROM unnest(CAST(:firsts AS integer[]), CAST(:lasts AS integer[])) WITH ORDINALITY AS given(first, last)
""")


def new_id() -> str:
    """``sim_`` and 26 random lower-case letters and digits."""
    return f"sim_{base64.b32encode(secrets.token_bytes(17)).decode().lower()[:26]}"


async def create(
    connection: AsyncConnection, plan: Plan, request_id: str, submitter: str = "anonymous"
) -> str:
    """Store a simulation with its shards and defer their jobs, all in the caller's transaction."""
    simulation_id = new_id()
    request = plan.request
    await connection.execute(
        insert(simulations).values(
            id=simulation_id,
            kind=plan.kind.name,
            request_id=request_id,
            engine_version=__version__,
            request=request.model_dump(mode="json"),
            points=plan.planned.points,
            outcomes=plan.planned.outcomes,
            replicates=plan.replicates,
            shard_count=len(plan.shards),
            wanted_shards=plan.wanted_shards,
            relative_standard_error=request.relative_standard_error,
            max_seconds=request.max_seconds,
            priority=request.priority,
            submitter=submitter,
            turn=await turns.reached(connection),
            flops=plan.flops,
        )
    )
    firsts, lasts = (f"{{{','.join(map(str, ends))}}}" for ends in zip(*plan.shards, strict=True))
    await connection.execute(_SHARDS, {"id": simulation_id, "firsts": firsts, "lasts": lasts})
    await defer_next(connection, simulation_id, turns.WINDOW)
    return simulation_id


async def admit(connection: AsyncConnection, submitter: str, most: int) -> None:
    """Raise TooManyRequests where a submitter has so many active simulations already.

    Until the caller's transaction ends, nobody else is admitted for the same submitter.
    """
    await connection.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"), {"key": submitter}
    )
    active = await connection.scalar(
        select(func.count())
        .select_from(simulations)
        .where(simulations.c.submitter == submitter, simulations.c.state.in_(_ACTIVE))
    )
    if int(active or 0) >= most:
        raise TooManyRequests(
            f"{active} simulations of submitter {submitter} are queued or running, at most {most} may be: wait for"
            " one to end, or cancel one.",
            headers={"Retry-After": "10"},
        )


async def fetch(connection: AsyncConnection, simulation_id: str, settings: Settings) -> Any:
    """A simulation with its results, or its estimates so far: its kind's answer. Raises NotFound."""
    row = (await connection.execute(_summaries().where(simulations.c.id == simulation_id))).first()
    if row is None:
        raise NotFound(f"There is no simulation {simulation_id}.")
    kind = KINDS[row.kind]
    found: Any = row.result
    if found is None:
        outcomes = await results.outcomes_so_far(connection, simulation_id, row.outcomes)
        found = (await asyncio.to_thread(kind.result, row.request, row.points, outcomes)).model_dump()
    place = await _place(connection, row.id, settings.stalled_after) if row.state in _ACTIVE else None
    summary = _summary(row, settings.retention_days)
    simulation: Any = kind.simulation
    return simulation(**summary.model_dump() | {"place": place}, request=row.request, **found)


async def _place(connection: AsyncConnection, simulation_id: str, stalled_after: float) -> Place | None:
    active = await places.standings(connection)
    mine = next((one for one in active if one.id == simulation_id), None)
    return places.place(active, mine, await places.cores(connection, stalled_after)) if mine else None


async def place_of(connection: AsyncConnection, plan: Plan, stalled_after: float) -> Place:
    """Where a simulation would stand if it were stored now."""
    mine = places.Standing("", True, plan.request.priority, plan.cost.core_seconds)
    return places.place(
        await places.standings(connection), mine, await places.cores(connection, stalled_after)
    )


async def summary(
    connection: AsyncConnection, simulation_id: str, retention_days: float
) -> SimulationSummary:
    """A simulation without its results. Raises NotFound."""
    row = (await connection.execute(_summaries().where(simulations.c.id == simulation_id))).first()
    if row is None:
        raise NotFound(f"There is no simulation {simulation_id}.")
    return _summary(row, retention_days)


async def state(connection: AsyncConnection, simulation_id: str) -> str:
    """Its state alone. Raises NotFound."""
    found: str | None = await connection.scalar(
        select(simulations.c.state).where(simulations.c.id == simulation_id)
    )
    if found is None:
        raise NotFound(f"There is no simulation {simulation_id}.")
    return found


async def page(
    connection: AsyncConnection,
    *,
    filters: Mapping[str, str | None],
    cursor: str | None,
    limit: int,
    retention_days: float,
) -> SimulationPage:
    """A page of simulations with these columns, newest first. Raises InvalidInput on a foreign cursor."""
    query = newest_first(_summaries(), simulations, cursor, limit)
    for name, value in filters.items():
        if value is not None:
            query = query.where(simulations.c[name] == value)
    rows = (await connection.execute(query)).all()
    more = len(rows) > limit
    rows = rows[:limit]
    return SimulationPage(
        items=[_summary(row, retention_days) for row in rows],
        next_cursor=Cursor(rows[-1].created_at, rows[-1].id).encode() if more else None,
    )


async def cancel(connection: AsyncConnection, simulation_id: str) -> None:
    """Cancel an active simulation; a cancelled one stays so. Raises NotFound, Conflict once it has ended."""
    found = await _locked(connection, simulation_id)
    if found in ("succeeded", "failed"):
        raise Conflict(f"This simulation has already {found}; only a queued or running one is cancelled.")
    if found in _ACTIVE:
        await stop_all(connection, simulation_id)
        await connection.execute(
            update(simulations)
            .where(simulations.c.id == simulation_id)
            .values(state="cancelled", finished_at=func.now())
        )


async def retry(connection: AsyncConnection, simulation_id: str) -> None:
    """Take up a failed or cancelled simulation again: what succeeded is kept, the rest is computed.

    An active one is left alone. Raises NotFound, Conflict where it has succeeded.
    """
    found = await _locked(connection, simulation_id)
    if found == "succeeded":
        raise Conflict("This simulation has succeeded: there is nothing to retry.")
    if found not in _ACTIVE:
        await again(connection, simulation_id)


async def delete(connection: AsyncConnection, simulation_id: str) -> None:
    """Delete an ended simulation, its results and its Idempotency-Keys. Raises NotFound, Conflict while active."""
    found = await _locked(connection, simulation_id)
    if found in _ACTIVE:
        raise Conflict(f"This simulation is {found}: cancel it first.")
    await connection.execute(delete_from(simulations).where(simulations.c.id == simulation_id))
    await idempotency.forget(connection, simulation_id)


async def _locked(connection: AsyncConnection, simulation_id: str) -> str:
    found: str | None = await connection.scalar(
        select(simulations.c.state).where(simulations.c.id == simulation_id).with_for_update(key_share=True)
    )
    if found is None:
        raise NotFound(f"There is no simulation {simulation_id}.")
    return found


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


def _summary(row: Row[Any], retention_days: float) -> SimulationSummary:
    kept = timedelta(days=retention_days)
    return SimulationSummary(
        id=row.id,
        kind=row.kind,
        state=row.state,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        engine_version=row.engine_version,
        priority=row.priority,
        submitter=row.submitter,
        stopped=row.stopped,
        expires_at=row.finished_at + kept if row.finished_at and retention_days else None,
        progress=Progress(completed=row.completed, total=row.replicates),
        cost=cost(row.point_count, row.replicates, row.shard_count, row.flops),
        failure=Failure(**row.failure) if row.failure else None,
    )
