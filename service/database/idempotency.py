"""One resource per Idempotency-Key, decided by a primary key in the transaction that creates the resource."""

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from service.database.schema import idempotency_keys
from service.errors import IdempotencyConflict


async def claim(connection: AsyncConnection, scope: str, key: str, body_hash: str) -> str | None:
    """Claim ``key`` within ``scope`` for a body, in the caller's transaction.

    Returns the id of the resource that an earlier request made with this key, or None: then the caller
    creates the resource and calls ``bind`` before it commits. A second request with the same key waits here
    until the first has committed (and gets its resource) or rolled back (and goes ahead).

    Raises IdempotencyConflict where the key was used with another body.
    """
    claimed = await connection.execute(
        insert(idempotency_keys)
        .values(scope=scope, key=key, body_hash=body_hash)
        .on_conflict_do_nothing()
        .returning(idempotency_keys.c.key)
    )
    if claimed.first() is not None:
        return None
    return await find(connection, scope, key, body_hash)


async def find(connection: AsyncConnection, scope: str, key: str, body_hash: str) -> str | None:
    """The resource that an earlier, finished request made with this key; None where there is none.

    Raises IdempotencyConflict where the key was used with another body.
    """
    row = (
        await connection.execute(
            select(idempotency_keys.c.body_hash, idempotency_keys.c.resource_id).where(
                idempotency_keys.c.scope == scope, idempotency_keys.c.key == key
            )
        )
    ).first()
    if row is None:
        return None
    if row.body_hash != body_hash:
        raise IdempotencyConflict(
            "This Idempotency-Key was used with another body, or another order: send the same request again, or "
            "choose a new key."
        )
    resource_id: str | None = row.resource_id
    return resource_id


async def bind(connection: AsyncConnection, scope: str, key: str, resource_id: str) -> None:
    """Remember which resource the claimed key made; in the transaction that claimed it."""
    await connection.execute(
        update(idempotency_keys)
        .where(idempotency_keys.c.scope == scope, idempotency_keys.c.key == key)
        .values(resource_id=resource_id)
    )


async def forget(connection: AsyncConnection, resource_id: str) -> None:
    """Let go of the keys of a resource that is deleted: they may make another one."""
    await connection.execute(delete(idempotency_keys).where(idempotency_keys.c.resource_id == resource_id))
