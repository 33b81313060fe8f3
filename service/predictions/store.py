"""The rows of predictions: content-addressed, written once, never changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import select, text

from service.database.engine import Connection
from service.database.schema import predictions


@dataclass(frozen=True)
class Audit:
    """An answer, and that ``request_id`` asked for it; ``request`` and ``response`` are JSON."""

    prediction_id: str
    input_hash: str
    engine_version: str
    request: str
    response: str
    request_id: str


_SAVE: Final = text("""
    WITH saved AS (
        INSERT INTO predictions (id, input_hash, engine_version, request, response)
        SELECT id, input_hash, engine_version, request, response
        FROM ROWS FROM (
            unnest(CAST(:ids AS text[])), unnest(CAST(:input_hashes AS text[])),
            unnest(CAST(:engine_versions AS text[])),
            jsonb_array_elements(CAST(:requests AS jsonb)), jsonb_array_elements(CAST(:responses AS jsonb))
        ) AS given (id, input_hash, engine_version, request, response)
        ON CONFLICT DO NOTHING
    )
    INSERT INTO prediction_requests (request_id, prediction_id)
    SELECT request_id, prediction_id
    FROM unnest(CAST(:request_ids AS text[]), CAST(:prediction_ids AS text[]))
        AS given (request_id, prediction_id)
    ON CONFLICT DO NOTHING
""")


async def save(connection: Connection, audits: Sequence[Audit]) -> None:
    """Store answers unless they are there, and who asked for them; harmless when repeated."""
    if not audits:
        return
    # in order of their ids: two processes that store the same answers wait for each other, never in a circle
    answers = sorted({audit.prediction_id: audit for audit in audits}.items())
    await connection.execute(
        _SAVE,
        {
            "ids": [name for name, _ in answers],
            "input_hashes": [one.input_hash for _, one in answers],
            "engine_versions": [one.engine_version for _, one in answers],
            # one array of JSON each: an array of texts would have every quote of theirs escaped
            "requests": f"[{','.join(one.request for _, one in answers)}]",
            "responses": f"[{','.join(one.response for _, one in answers)}]",
            "request_ids": [one.request_id for one in audits],
            "prediction_ids": [one.prediction_id for one in audits],
        },
    )


async def load(connection: Connection, prediction_id: str) -> dict[str, Any] | None:
    """The stored response, or None."""
    row = await connection.execute(select(predictions.c.response).where(predictions.c.id == prediction_id))
    response: dict[str, Any] | None = row.scalar_one_or_none()
    return response
