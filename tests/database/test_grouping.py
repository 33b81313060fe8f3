"""Rows that are written together: all of them, few transactions, and none that harms another."""

import asyncio
from collections.abc import Sequence

import pytest
from sqlalchemy import text

from service.database.engine import Connection, Database
from service.database.grouping import GroupedWrites
from service.errors import DatabaseUnavailable

pytestmark = pytest.mark.anyio


class Numbers:
    """A table of whole numbers; counts the transactions that write to it."""

    def __init__(self) -> None:
        self.transactions = 0

    async def write(self, connection: Connection, rows: Sequence[int]) -> None:
        self.transactions += 1
        await connection.execute(
            text("INSERT INTO numbers SELECT unnest(CAST(:rows AS integer[]))"), {"rows": list(rows)}
        )


@pytest.fixture
async def numbers(database: Database) -> Numbers:
    async with database.transaction() as connection:
        await connection.execute(text("CREATE TABLE numbers (n integer PRIMARY KEY CHECK (n >= 0))"))
    return Numbers()


async def stored(database: Database) -> list[int]:
    async with database.transaction() as connection:
        return list((await connection.execute(text("SELECT n FROM numbers ORDER BY n"))).scalars())


async def test_concurrent_rows_share_transactions(database: Database, numbers: Numbers) -> None:
    writes = GroupedWrites(database, numbers.write)
    await asyncio.gather(*(writes.add(n) for n in range(600)))
    assert await stored(database) == list(range(600))
    assert numbers.transactions <= 4  # the first row alone, then 256 at a time


async def test_a_row_that_cannot_be_written_harms_no_other(database: Database, numbers: Numbers) -> None:
    writes = GroupedWrites(database, numbers.write)
    done = await asyncio.gather(*(writes.add(n) for n in (1, -2, 3, -4, 5)), return_exceptions=True)
    assert [isinstance(one, Exception) for one in done] == [False, True, False, True, False]
    assert await stored(database) == [1, 3, 5]


async def test_who_leaves_loses_nothing(database: Database, numbers: Numbers) -> None:
    writes = GroupedWrites(database, numbers.write)
    callers = [asyncio.create_task(writes.add(n)) for n in range(5)]
    await asyncio.sleep(0)
    for caller in callers[1:]:
        caller.cancel()
    await writes.close()
    await asyncio.gather(*callers, return_exceptions=True)
    assert await stored(database) == list(range(5))


async def test_a_database_that_is_away_is_said_and_not_for_ever(numbers: Numbers, database: Database) -> None:
    away = Database("postgresql://nobody@127.0.0.1:1/none")
    writes = GroupedWrites(away, numbers.write)
    done = await asyncio.gather(*(writes.add(n) for n in range(3)), return_exceptions=True)
    assert all(isinstance(one, DatabaseUnavailable) for one in done)
    await away.dispose()
    writes._database = database  # it is back
    await writes.add(7)
    assert await stored(database) == [7]
