"""A computed answer, stored for audit: a database that is away does not cost the client the numbers."""

from collections.abc import Mapping
from typing import Any, Protocol, Self, TypeVar

from pydantic import BaseModel

from service.database import idempotency
from service.database.engine import Database
from service.errors import DatabaseUnavailable
from service.predictions import responses, store


class Recordable(Protocol):
    """An answer with an identity and a ``record``."""

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

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        """As JSON values."""
        ...

    def model_copy(self, *, update: Mapping[str, Any] | None = None) -> Self:
        """With some fields replaced."""
        ...


Stored = TypeVar("Stored", bound=Recordable)


async def recorded(  # noqa: PLR0917 (what every stored answer consists of)
    database: Database, scope: str, request: BaseModel, answer: Stored, request_id: str, key: str | None
) -> Stored:
    """The answer, stored; its ``record`` says why where it could not be. ``scope``: of the idempotency ``key``."""
    try:
        async with database.transaction() as connection:
            if key is not None:
                await idempotency.claim(connection, scope, key, answer.input_hash)
                await idempotency.bind(connection, scope, key, answer.id)
            await store.save(
                connection,
                prediction_id=answer.id,
                input_hash=answer.input_hash,
                engine_version=answer.engine_version,
                request=request.model_dump(mode="json"),
                response=answer.model_dump(mode="json"),
                request_id=request_id,
            )
    except DatabaseUnavailable as error:
        return answer.model_copy(update={"record": responses.Record(stored=False, reason=error.detail)})
    return answer
