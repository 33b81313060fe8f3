"""What concurrent requests write, several of them in one transaction: commits are what a small write costs."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

from service.database.engine import Connection, Database
from service.errors import DatabaseUnavailable

_MOST: Final = 256  # rows in one transaction

Row = TypeVar("Row")


class GroupedWrites(Generic[Row]):
    """Writes rows that may be written together; while one transaction is under way the next one gathers.

    ``write``: stores rows in a transaction; doing so twice must be harmless.
    """

    def __init__(
        self, database: Database, write: Callable[[Connection, Sequence[Row]], Awaitable[None]]
    ) -> None:
        self._database = database
        self._write = write
        self._waiting: list[tuple[Row, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def add(self, row: Row) -> None:
        """Return once the row is committed. Raises DatabaseUnavailable, and what ``write`` raises for this row.

        Cancelling the caller leaves the row to be written.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((row, done))
        if self._writer is None:
            self._writer = asyncio.create_task(self._drain())
        await done

    async def close(self) -> None:
        """Return once everything is written."""
        if self._writer is not None:
            await self._writer

    async def _drain(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
                await self._settle(group)
        finally:
            self._writer = None

    async def _settle(self, group: list[tuple[Row, asyncio.Future[None]]]) -> None:
        try:
            async with self._database.transaction() as connection:
                await self._write(connection, [row for row, _ in group])
        except Exception as error:
            if len(group) > 1 and not isinstance(error, DatabaseUnavailable):
                for one in group:  # a row that cannot be written costs the others nothing
                    await self._settle([one])
                return
            for _, done in group:
                if not done.done():
                    done.set_exception(error)
            return
        for _, done in group:
            if not done.done():
                done.set_result(None)
