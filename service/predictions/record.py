"""Computed answers, stored for audit: a database that is away does not cost the client the numbers."""

from typing import Protocol

from pydantic import BaseModel

from service.database import idempotency
from service.database.engine import Database
from service.database.grouping import GroupedWrites
from service.errors import DatabaseUnavailable
from service.predictions import store
from service.predictions.responses import Record

STORED = Record(stored=True, reason=None)


class Recordable(Protocol):
    """An answer with an identity."""

    @property
    def id(self) -> str:
        """Content-addressed."""
        ...

    @property
    def input_hash(self) -> str:
        """Of the request with every default filled in."""
        ...

    @property
    def engine_version(self) -> str:
        """The version that computed it."""
        ...

    def model_dump_json(self) -> str:
        """As JSON."""
        ...


def audit_of(request: BaseModel, answer: Recordable, request_id: str) -> store.Audit:
    """What is stored of an answer."""
    return store.Audit(
        answer.id,
        answer.input_hash,
        answer.engine_version,
        request.model_dump_json(),
        answer.model_dump_json(),
        request_id,
    )


class Records:
    """The way into the audit; what concurrent requests store is committed together."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._writes = GroupedWrites(database, store.save)

    async def keep(self, audit: store.Audit, scope: str, key: str | None, asked: str) -> Record:
        """Store an answer; the record says why where it could not be.

        ``scope``: of the idempotency ``key``; ``asked``: digest of what the key stands for, body and parameters.
        Raises IdempotencyConflict.
        """
        try:
            if key is None:
                await self._writes.add(audit)
            else:
                async with self._database.transaction() as connection:
                    await idempotency.claim(connection, scope, key, asked)
                    await idempotency.bind(connection, scope, key, audit.prediction_id)
                    await store.save(connection, [audit])
        except DatabaseUnavailable as error:
            return Record(stored=False, reason=error.detail)
        return STORED

    async def close(self) -> None:
        """Return once everything is written."""
        await self._writes.close()
