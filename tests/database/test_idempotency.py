import asyncio

import pytest

from service.database.engine import Database
from service.database.idempotency import bind, claim
from service.errors import IdempotencyConflict

pytestmark = pytest.mark.anyio


async def test_same_key_and_body_give_the_same_resource(database: Database) -> None:
    async with database.transaction() as connection:
        assert await claim(connection, "simulations", "k", "h") is None
        await bind(connection, "simulations", "k", "sim_1")
    async with database.transaction() as connection:
        assert await claim(connection, "simulations", "k", "h") == "sim_1"
        # Another scope is another key.
        assert await claim(connection, "datasets", "k", "h") is None


async def test_another_body_is_a_conflict(database: Database) -> None:
    async with database.transaction() as connection:
        await claim(connection, "simulations", "k", "h")
        await bind(connection, "simulations", "k", "sim_1")
    with pytest.raises(IdempotencyConflict):
        async with database.transaction() as connection:
            await claim(connection, "simulations", "k", "other")


async def test_a_rolled_back_claim_leaves_nothing(database: Database) -> None:
    async def fails() -> None:
        async with database.transaction() as connection:
            await claim(connection, "simulations", "k", "h")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fails()
    async with database.transaction() as connection:
        assert await claim(connection, "simulations", "k", "h") is None


@pytest.mark.parametrize("first_commits", [True, False])
async def test_a_concurrent_second_waits_for_the_first(database: Database, first_commits: bool) -> None:
    claimed, finish = asyncio.Event(), asyncio.Event()

    async def first() -> None:
        async with database.transaction() as connection:
            await claim(connection, "s", "k", "h")
            claimed.set()
            await finish.wait()
            await bind(connection, "s", "k", "first")
            if not first_commits:
                raise RuntimeError

    async def second() -> str | None:
        async with database.transaction() as connection:
            return await claim(connection, "s", "k", "h")

    one = asyncio.create_task(first())
    await claimed.wait()
    two = asyncio.create_task(second())
    _, waiting = await asyncio.wait([two], timeout=0.2)
    assert waiting == {two}
    finish.set()
    await asyncio.wait([one])
    assert (one.exception() is None) == first_commits
    assert await two == ("first" if first_commits else None)


async def test_many_at_once_create_one(database: Database) -> None:
    async def submit(name: str) -> str:
        async with database.transaction() as connection:
            known = await claim(connection, "s", "k", "h")
            if known is None:
                await bind(connection, "s", "k", name)
            return known or name

    assert len(set(await asyncio.gather(*(submit(f"r{i}") for i in range(12))))) == 1
