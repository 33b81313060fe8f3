"""POST and GET /v1/simulations, POST /v1/simulations/{id}:cancel."""

import asyncio
import hashlib
import re
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response

from service.database import idempotency
from service.database.engine import Connection
from service.errors import Conflict, DatabaseUnavailable, InvalidInput, NotFound, RowsDeleted
from service.predictions.identity import canonical
from service.simulations import store, submit
from service.simulations.schemas import (
    Simulation,
    SimulationEstimate,
    SimulationPage,
    SimulationRequest,
    State,
)
from service.simulations.workload import Stored, stored
from service.web.conditional import matches
from service.web.dependencies import DatabaseDep, IdempotencyKey, RequestId, SettingsDep
from service.web.problems import responses

router = APIRouter(prefix="/v1/simulations", tags=["simulations"])

_SCOPE: Final = "simulations"
_ID: Final = re.compile(r"sim_[a-z0-9]{26}")
_NOT_MODIFIED: Final[dict[int | str, dict[str, Any]]] = {304: {"description": "Not modified."}}


@router.post(
    "",
    status_code=202,
    responses={
        200: {"model": SimulationEstimate, "description": "validate_only: what it would cost."},
        202: {"headers": {"Location": {"schema": {"type": "string"}, "description": "Where to follow it."}}},
        **responses(InvalidInput, NotFound, Conflict, RowsDeleted, DatabaseUnavailable),
    },
)
async def create_simulation(
    *,
    request: SimulationRequest,
    response: Response,
    database: DatabaseDep,
    settings: SettingsDep,
    request_id: RequestId,
    idempotency_key: IdempotencyKey = None,
    validate_only: Annotated[
        bool, Query(description="Make every check and estimate the cost; store nothing.")
    ] = False,
) -> Simulation | SimulationEstimate:
    """Simulate a training mix literally, next to its prediction, at every point of a grid.

    The answer comes at once; workers compute. Follow it at the address in Location.
    """
    data: Stored | None = None
    if idempotency_key is not None or isinstance(request.dataset, str):
        async with database.transaction() as connection:
            if idempotency_key is not None and not validate_only:
                known = await idempotency.find(connection, _SCOPE, idempotency_key, _hash(request))
                if known is not None:
                    return await _accepted(connection, known, response)
            data = await stored(connection, request.dataset, settings.rows_dir)
    plan = await asyncio.to_thread(submit.plan, request, data, settings.shard_timeout)
    if validate_only:
        response.status_code = 200
        return plan.estimate()
    async with database.transaction() as connection:
        simulation_id: str | None = None
        if idempotency_key is not None:
            simulation_id = await idempotency.claim(connection, _SCOPE, idempotency_key, _hash(request))
        if simulation_id is None:
            simulation_id = await store.create(connection, plan, request_id)
            if idempotency_key is not None:
                await idempotency.bind(connection, _SCOPE, idempotency_key, simulation_id)
        return await _accepted(connection, simulation_id, response)


@router.get("", responses=responses(InvalidInput, DatabaseUnavailable))
async def list_simulations(
    database: DatabaseDep,
    state: Annotated[State | None, Query(description="Only those in this state.")] = None,
    cursor: Annotated[
        str | None, Query(max_length=200, description="next_cursor of the page before.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> SimulationPage:
    """Simulations, newest first."""
    async with database.transaction() as connection:
        return await store.page(connection, state=state, cursor=cursor, limit=limit)


@router.get("/{simulation_id}", responses={**_NOT_MODIFIED, **responses(NotFound, DatabaseUnavailable)})
async def get_simulation(
    simulation_id: str, request: Request, response: Response, database: DatabaseDep
) -> Simulation:
    """A simulation: its state, its progress, and its results or the estimates so far."""
    _known_form(simulation_id)
    async with database.transaction() as connection:
        simulation = await store.fetch(connection, simulation_id)
    etag = _etag(simulation)
    if matches(request, etag):
        return Response(status_code=304, headers={"ETag": etag})  # type: ignore[return-value]
    response.headers["ETag"] = etag
    response.headers["Cache-Control"] = "no-cache"
    return simulation


@router.post("/{simulation_id}:cancel", responses=responses(NotFound, Conflict, DatabaseUnavailable))
async def cancel_simulation(simulation_id: str, database: DatabaseDep) -> Simulation:
    """Stop a simulation; what is being computed is stopped within a second. Cancelling twice is no error."""
    _known_form(simulation_id)
    async with database.transaction() as connection:
        await store.cancel(connection, simulation_id)
        return await store.fetch(connection, simulation_id)


async def _accepted(connection: Connection, simulation_id: str, response: Response) -> Simulation:
    response.headers["Location"] = f"{router.prefix}/{simulation_id}"
    return await store.fetch(connection, simulation_id)


def _known_form(simulation_id: str) -> None:
    if not _ID.fullmatch(simulation_id):
        raise NotFound("There is no such simulation: ids are sim_ and 26 lower-case letters and digits.")


def _hash(request: SimulationRequest) -> str:
    return hashlib.sha256(canonical(request.model_dump(mode="json")).encode()).hexdigest()


def _etag(simulation: Simulation) -> str:
    return f'"{hashlib.sha256(simulation.model_dump_json().encode()).hexdigest()[:32]}"'
