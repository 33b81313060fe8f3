"""Predictions in PostgreSQL: content-addressed, immutable, with every request for them on record."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from service.database.schema import prediction_requests, predictions


async def save(
    connection: AsyncConnection,
    *,
    prediction_id: str,
    input_hash: str,
    engine_version: str,
    request: dict[str, Any],
    response: dict[str, Any],
    request_id: str,
) -> None:
    """Store a prediction unless it is there, and that ``request_id`` asked for it."""
    await connection.execute(
        insert(predictions)
        .values(
            id=prediction_id,
            input_hash=input_hash,
            engine_version=engine_version,
            request=request,
            response=response,
        )
        .on_conflict_do_nothing()
    )
    await connection.execute(
        insert(prediction_requests)
        .values(request_id=request_id, prediction_id=prediction_id)
        .on_conflict_do_nothing()
    )


async def load(connection: AsyncConnection, prediction_id: str) -> dict[str, Any] | None:
    """The stored response, or None."""
    row = await connection.execute(select(predictions.c.response).where(predictions.c.id == prediction_id))
    response: dict[str, Any] | None = row.scalar_one_or_none()
    return response
