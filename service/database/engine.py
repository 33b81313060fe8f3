"""The way to PostgreSQL: one async engine per process, one transaction per request."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import psycopg
from sqlalchemy import URL, make_url, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from service.errors import DatabaseUnavailable

Connection = AsyncConnection  # what routes pass on to stores

CONNECT_TIMEOUT: Final = 2  # seconds; libpq takes whole seconds and no less than 2
# What the driver raises when the connection has gone; the second is no OperationalError to it.
LOST: Final = (psycopg.OperationalError, psycopg.errors.IdleInTransactionSessionTimeout)
POOL_TIMEOUT: Final = 10.0  # seconds that a request waits for a free connection
IDLE_IN_TRANSACTION: Final = 60.0  # seconds
# The queue's schema is on the path, so that a job is deferred in the transaction of the rows it is about.
SEARCH_PATH: Final = "public,queue"


def sqlalchemy_url(url: str) -> URL:
    """The URL with this service's driver, whatever the scheme said (postgres://, postgresql+other://)."""
    return make_url(url.replace("postgres://", "postgresql://", 1)).set(drivername="postgresql+psycopg")


def libpq_url(url: str) -> str:
    """The URL as libpq, psql and psycopg understand it."""
    return sqlalchemy_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def connect_args(
    url: str, idle_in_transaction: float = IDLE_IN_TRANSACTION, *, repeatable: bool = False
) -> dict[str, Any]:
    """libpq parameters of every connection; ``options`` of the URL are kept.

    ``idle_in_transaction``: seconds after which the server ends a transaction whose client does nothing: a process
    that froze in the middle of one must not keep its locks. ``repeatable``: what is committed can be done again, so a
    commit does not wait for the disk, unless ``durable`` is called: a server that crashes forgets at most the last
    second of such commits, always the latest ones first.
    """
    options = sqlalchemy_url(url).query.get("options", "")
    given = options if isinstance(options, str) else " ".join(options)
    return {
        "connect_timeout": CONNECT_TIMEOUT,
        "options": (
            f"{given} -c search_path={SEARCH_PATH}"
            f" -c idle_in_transaction_session_timeout={round(1000 * idle_in_transaction)}"
            f"{' -c synchronous_commit=off' if repeatable else ''}"
        ).strip(),
        # A server that vanished from the network is noticed, not waited for.
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 20_000,
        "application_name": "collapse",
    }


async def durable(connection: AsyncConnection) -> None:
    """Have this transaction's commit, and with it all before it, on the disk before it is told."""
    await connection.execute(text("SET LOCAL synchronous_commit = on"))


class Database:
    """A pool of connections to one PostgreSQL database."""

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 10,
        idle_in_transaction: float = IDLE_IN_TRANSACTION,
        repeatable: bool = False,
    ) -> None:
        """``repeatable``: whoever uses it repeats what fails, and what was forgotten (see ``connect_args``)."""
        self.url = url
        self._engine: AsyncEngine = create_async_engine(
            sqlalchemy_url(url),
            connect_args=connect_args(url, idle_in_transaction, repeatable=repeatable),
            pool_pre_ping=not repeatable,  # a restarted server costs one reconnection, not an error
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_timeout=POOL_TIMEOUT,
        )

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A connection in a transaction: committed at the end, rolled back on an exception.

        Raises DatabaseUnavailable when the server cannot be reached or goes away.
        """
        try:
            async with self._engine.begin() as connection:
                yield connection
        except DBAPIError as error:
            if not is_lost(error):
                raise
            raise DatabaseUnavailable(f"The database did not answer: {_summary(error)}.") from error
        except PoolTimeoutError as error:
            raise DatabaseUnavailable(
                f"No database connection became free within {POOL_TIMEOUT:g} seconds.",
                headers={"Retry-After": "2"},
            ) from error

    async def ping(self) -> None:
        """One round trip; raises DatabaseUnavailable."""
        async with self.transaction() as connection:
            await connection.execute(text("SELECT 1"))

    async def dispose(self) -> None:
        """Close every connection."""
        await self._engine.dispose()


def is_lost(error: DBAPIError) -> bool:
    """Whether the connection or the server is the matter, not the statement."""
    return (
        error.connection_invalidated
        or isinstance(error, OperationalError | InterfaceError)
        or isinstance(error.orig, LOST)
    )


def _summary(error: DBAPIError) -> str:
    """What the driver said, without addresses or SQL: enough for a client, the rest is in the log."""
    state = getattr(error.orig, "sqlstate", None)
    name = type(error.orig).__name__ if error.orig is not None else type(error).__name__
    return f"{name} (SQLSTATE {state})" if state else "no connection"
