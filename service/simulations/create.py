"""The way from a request to a stored simulation, the same for every kind."""

import hashlib
from typing import Annotated, Any, Final

from fastapi import Depends, Header, Query, Response

from service.database import idempotency
from service.database.engine import Connection
from service.errors import (
    Conflict,
    DatabaseUnavailable,
    InvalidInput,
    NotFound,
    RowsDeleted,
    TooManyRequests,
)
from service.predictions.identity import canonical
from service.simulations import store, submit
from service.simulations.kinds import Kind
from service.simulations.resource import SimulationOptions
from service.web.dependencies import AsideDep, DatabaseDep, IdempotencyKey, RequestId, SettingsDep
from service.web.problems import responses

PREFIX: Final = "/v1/simulations"


def created(kind: Kind[Any, Any]) -> dict[int | str, dict[str, Any]]:
    """The documented responses of a route that creates simulations of this kind, with status 202."""
    return {
        200: {"model": kind.estimate, "description": "validate_only: what it would cost."},
        202: {"headers": {"Location": {"schema": {"type": "string"}, "description": "Where to follow it."}}},
        **responses(InvalidInput, NotFound, Conflict, RowsDeleted, TooManyRequests, DatabaseUnavailable),
    }


class Submissions:
    """Checks and stores the simulation that one HTTP request asks for."""

    def __init__(
        self,
        *,
        response: Response,
        database: DatabaseDep,
        settings: SettingsDep,
        aside: AsideDep,
        request_id: RequestId,
        idempotency_key: IdempotencyKey = None,
        validate_only: Annotated[
            bool, Query(description="Make every check and estimate the cost; store nothing.")
        ] = False,
        submitter: Annotated[
            str,
            Header(
                alias="X-Submitter",
                max_length=100,
                pattern=r"^[\x21-\x7e]+$",
                description="Who asks, for the limit on simulations at a time; a proxy that knows should set it.",
            ),
        ] = "anonymous",
    ) -> None:
        self._response = response
        self._database = database
        self._settings = settings
        self._aside = aside
        self._request_id = request_id
        self._key = idempotency_key
        self._validate_only = validate_only
        self._submitter = submitter

    async def accepted(self, kind: Kind[Any, Any], request: SimulationOptions) -> Any:
        """The stored simulation, an instance of ``kind.simulation``; for validate_only ``kind.estimate``."""
        digest = hashlib.sha256(canonical(request.model_dump(mode="json")).encode()).hexdigest()
        async with self._database.transaction() as connection:
            if self._key is not None and not self._validate_only:
                known = await idempotency.find(connection, self._scope(kind), self._key, digest)
                if known is not None:
                    return await self._answer(connection, known)
            data = await kind.load(connection, request, self._settings.rows_dir)
        seconds = kind.seconds(request) + self._aside.compilation_seconds
        plan = await self._aside.run(seconds, submit.plan, kind, request, data, self._settings.shard_timeout)
        if self._validate_only:
            self._response.status_code = 200
            async with self._database.transaction() as connection:
                place = await store.place_of(connection, plan, self._settings.stalled_after)
            return plan.estimate(place)
        async with self._database.transaction() as connection:
            simulation_id: str | None = None
            if self._key is not None:
                simulation_id = await idempotency.claim(connection, self._scope(kind), self._key, digest)
            if simulation_id is None:
                await store.admit(connection, self._submitter, self._settings.max_active_simulations)
                simulation_id = await store.create(connection, plan, self._request_id, self._submitter)
                if self._key is not None:
                    await idempotency.bind(connection, self._scope(kind), self._key, simulation_id)
            return await self._answer(connection, simulation_id)

    @staticmethod
    def _scope(kind: Kind[Any, Any]) -> str:
        return "simulations" if kind.name == "regression" else f"simulations/{kind.name}"

    async def _answer(self, connection: Connection, simulation_id: str) -> Any:
        self._response.headers["Location"] = f"{PREFIX}/{simulation_id}"
        return await store.fetch(connection, simulation_id, self._settings)


Submission = Annotated[Submissions, Depends()]
