"""What concurrent requests write, several of them in one transaction: commits are what a small write costs."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

from service.database.engine import Connection, Database
from service.errors import DatabaseUnavailable

_MOST: Final = 256  # rows in one transaction
# A transaction takes the event loop about two milliseconds, whatever it writes. Where rows came in during one, the next
# one waits for more as long as they come: a single caller waits for nobody.
_GATHERING: Final = 0.002  # seconds without a new row that end the wait
_LONGEST: Final = 5  # waits at the most

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
                if self._waiting:
                    await self._gather()
        finally:
            self._writer = None

    async def _gather(self) -> None:
        for _ in range(_LONGEST):
            known = len(self._waiting)
            await asyncio.sleep(_GATHERING)
            if len(self._waiting) in (known, _MOST):
                return

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
