"""The queue: procrastinate in the schema ``queue``; jobs are deferred in the transaction of their rows."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, LiteralString, TypeVar

import procrastinate
import psycopg
import structlog
from procrastinate.connector import Notify
from procrastinate.exceptions import ConnectorException
from psycopg_pool import AsyncConnectionPool
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from service.database.engine import LOST, connect_args, libpq_url

T = TypeVar("T")

SHARD_TASK: Final = "shard"
REDUCTION_TASK: Final = "reduction"
SHARD_QUEUE: Final = "shards"
REDUCTION_QUEUE: Final = "reductions"
_BACKOFF: Final = (0.1, 0.2, 0.5, 1.0)  # seconds between attempts; the last one repeats

_log = structlog.get_logger(__name__)
# The library's info lines carry the arguments of every job.
logging.getLogger("procrastinate").setLevel(logging.WARNING)
# The pool tells of every failed attempt during an outage; the connector below tells of the outage.
logging.getLogger("psycopg.pool").setLevel(logging.ERROR)

# Never opened: it makes jobs, which travel on the caller's connection.
_deferring = procrastinate.App(connector=procrastinate.PsycopgConnector())


async def defer_reduction(connection: AsyncConnection, simulation_id: str) -> None:
    """Defer the reduction of a simulation in the caller's transaction."""
    driver = (await connection.get_raw_connection()).driver_connection
    deferrer = _deferring.configure_task(REDUCTION_TASK, queue=REDUCTION_QUEUE, connection=driver)
    await deferrer.defer_async(simulation_id=simulation_id)


async def cancel_shards(connection: AsyncConnection, simulation_id: str, first: int = 0) -> None:
    """Remove a simulation's waiting jobs and tell workers to stop those under way, at commit; from ``first`` on."""
    await connection.execute(
        text(
            "SELECT procrastinate_cancel_job_v1(job_id, true, true) FROM shards"
            " WHERE simulation_id = :simulation_id AND state IN ('queued', 'running') AND job_id IS NOT NULL"
            " AND index >= :first"
        ),
        {"simulation_id": simulation_id, "first": first},
    )


async def _autocommit(connection: psycopg.AsyncConnection[Any]) -> None:
    await connection.set_autocommit(True)


def _unchecked_pool(**arguments: Any) -> AsyncConnectionPool[Any]:
    return AsyncConnectionPool(**arguments | {"check": None})


class PatientConnector(procrastinate.PsycopgConnector):
    """A connector that waits for a server that went away, so that a worker survives a restart of PostgreSQL.

    The library's worker stops at the first lost connection; here a query is repeated until it is answered. A
    job that was fetched while its answer was lost is found again by ``lost_jobs`` in rescue.py.
    """

    def __init__(self, url: str, *, pool_size: int, idle_in_transaction: float) -> None:
        super().__init__(
            conninfo=libpq_url(url),
            kwargs=connect_args(url, idle_in_transaction, repeatable=True),
            min_size=1,
            max_size=pool_size,
            timeout=5.0,
            # The pool's own pauses double up to this many seconds: short ones, so that it is back soon.
            reconnect_timeout=3.0,
            # Every query of the library is one statement, and a broken connection is found by using it: no BEGIN,
            # COMMIT and look whether it is alive around each.
            configure=_autocommit,
            pool_factory=_unchecked_pool,
        )
        self.gives_up = False

    async def execute_query_async(self, query: LiteralString, **arguments: Any) -> None:
        """As the library's, repeated while there is no connection."""
        await self._patiently(lambda: super(PatientConnector, self).execute_query_async(query, **arguments))

    async def execute_query_one_async(self, query: LiteralString, **arguments: Any) -> dict[str, Any]:
        """As the library's, repeated while there is no connection."""
        return await self._patiently(
            lambda: super(PatientConnector, self).execute_query_one_async(query, **arguments)
        )

    async def execute_query_all_async(self, query: LiteralString, **arguments: Any) -> list[dict[str, Any]]:
        """As the library's, repeated while there is no connection."""
        return await self._patiently(
            lambda: super(PatientConnector, self).execute_query_all_async(query, **arguments)
        )

    async def listen_notify(self, on_notification: Notify, channels: Iterable[str]) -> None:
        """As the library's, reconnecting for ever."""
        names = list(channels)
        await self._patiently(
            lambda: super(PatientConnector, self).listen_notify(
                on_notification=on_notification, channels=names
            )
        )

    async def _patiently(self, query: Callable[[], Awaitable[T]]) -> T:
        attempt = 0
        while True:
            try:
                return await query()
            except ConnectorException as error:
                if self.gives_up or not isinstance(error.__cause__, LOST):
                    raise
                if attempt == 0:
                    _log.warning("queue_waits_for_database", cause=type(error.__cause__).__name__)
            await asyncio.sleep(_BACKOFF[min(attempt, len(_BACKOFF) - 1)])
            attempt += 1
