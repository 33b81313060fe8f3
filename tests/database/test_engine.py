"""What a worker's commits wait for."""

import pytest
from sqlalchemy import text

from service.database.engine import Database, durable

pytestmark = pytest.mark.anyio

_SHOWN = text("SHOW synchronous_commit")


async def test_only_what_can_be_done_again_does_not_wait_for_the_disk(database_url: str) -> None:
    careful, repeatable = Database(database_url), Database(database_url, repeatable=True)
    async with careful.transaction() as connection:
        assert await connection.scalar(_SHOWN) == "on"
    for _ in range(2):  # for one transaction at a time
        async with repeatable.transaction() as connection:
            assert await connection.scalar(_SHOWN) == "off"
            await durable(connection)
            assert await connection.scalar(_SHOWN) == "on"
    await careful.dispose()
    await repeatable.dispose()
