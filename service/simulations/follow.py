"""Following a simulation: waiting for its end, and its changes as they happen."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from service.database.engine import Database
from service.errors import DatabaseUnavailable, NotFound
from service.simulations import store
from service.simulations.resource import SimulationSummary

ENDED: Final = frozenset({"succeeded", "failed", "cancelled"})
MAX_WAIT: Final = 60.0
"""Seconds that a request waits at most: proxies lose patience soon after."""

_LOOK: Final = 0.25  # seconds between looks at the database
_OUTAGE: Final = 1.0  # and while it is away
_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?=$|[,;])", re.IGNORECASE)


@dataclass(frozen=True)
class Change:
    """What a simulation has become; ``id`` names it, so that a client that comes back says what it has seen."""

    id: str
    event: str
    summary: SimulationSummary


def waiting_time(prefer: str | None) -> float | None:
    """Seconds of ``Prefer: wait=SECONDS`` (RFC 7240), at most MAX_WAIT; None without one that can be read."""
    found = _WAIT.search(prefer or "")
    return min(float(found[1]), MAX_WAIT) if found else None


async def wait_for_end(database: Database, simulation_id: str, seconds: float) -> None:
    """Return once the simulation has ended, or after so many seconds. Raises NotFound."""
    deadline = time.monotonic() + seconds
    while await _state(database, simulation_id) not in ENDED:
        left = deadline - time.monotonic()
        if left <= 0:
            return
        await asyncio.sleep(min(_LOOK, left))


async def changes(
    database: Database, simulation_id: str, seen: str | None, retention_days: float
) -> AsyncIterator[Change]:
    """What becomes of a simulation, until it ends or is gone: always its latest state, never twice the same.

    ``seen``: the id of the last change that the client knows. While the database is away nothing becomes of it.
    """
    while True:
        try:
            change = await latest(database, simulation_id, retention_days)
        except NotFound:
            return
        except DatabaseUnavailable:
            await asyncio.sleep(_OUTAGE)
            continue
        if change.id != seen:
            yield change
            seen = change.id
        if change.summary.state in ENDED:
            return
        await asyncio.sleep(_LOOK)


async def latest(database: Database, simulation_id: str, retention_days: float) -> Change:
    """What it has become last. Raises NotFound."""
    async with database.transaction() as connection:
        summary = await store.summary(connection, simulation_id, retention_days)
    ended = summary.state in ENDED
    # a retried simulation may come by the same numbers again: the start tells them apart
    began = int(summary.started_at.timestamp() * 1e6) if summary.started_at else 0
    return Change(
        id=f"{summary.state}-{summary.progress.completed}-{summary.progress.total}-{began}",
        event=summary.state if ended else "progress",
        summary=summary,
    )


async def _state(database: Database, simulation_id: str) -> str:
    async with database.transaction() as connection:
        return await store.state(connection, simulation_id)
