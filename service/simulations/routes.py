"""The resource /v1/simulations: made, listed, followed, cancelled, retried, deleted."""

import hashlib
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Header, Query, Request, Response

from service.errors import Conflict, DatabaseUnavailable, InvalidInput, NotFound
from service.simulations import store
from service.simulations.create import PREFIX, Submission, created
from service.simulations.follow import MAX_WAIT, wait_for_end, waiting_time
from service.simulations.known import SimulationId
from service.simulations.registry import KINDS
from service.simulations.regression import REGRESSION
from service.simulations.resource import SimulationPage, SimulationSummary, State
from service.simulations.schemas import RegressionEstimate, Simulation, SimulationRequest
from service.web.conditional import matches
from service.web.dependencies import DatabaseDep, SettingsDep
from service.web.problems import responses

router = APIRouter(prefix=PREFIX, tags=["simulations"])

if TYPE_CHECKING:
    AnySimulation = SimulationSummary
else:  # as the document tells it: every kind's answer
    AnySimulation = reduce(or_, (kind.simulation for kind in KINDS.values()))

_NOT_MODIFIED: Final[dict[int | str, dict[str, Any]]] = {304: {"description": "Not modified."}}


@router.post("", status_code=202, responses=created(REGRESSION))
async def create_simulation(
    request: SimulationRequest, submission: Submission
) -> Simulation | RegressionEstimate:
    """Simulate a training mix, next to its prediction, at every point of a grid.

    The answer comes at once; workers compute. Follow it at the address in Location.
    """
    answer: Simulation | RegressionEstimate = await submission.accepted(REGRESSION, request)
    return answer


@router.get("", responses=responses(InvalidInput, DatabaseUnavailable))
async def list_simulations(
    *,
    database: DatabaseDep,
    settings: SettingsDep,
    state: Annotated[State | None, Query(description="Only those in this state.")] = None,
    kind: Annotated[str | None, Query(max_length=50, description="Only those of this kind.")] = None,
    submitter: Annotated[
        str | None, Query(max_length=100, description="Only those of this submitter.")
    ] = None,
    cursor: Annotated[
        str | None, Query(max_length=200, description="next_cursor of the page before.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> SimulationPage:
    """Simulations, newest first."""
    async with database.transaction() as connection:
        return await store.page(
            connection,
            filters={"state": state, "kind": kind, "submitter": submitter},
            cursor=cursor,
            limit=limit,
            retention_days=settings.retention_days,
        )


@router.get("/{simulation_id}", responses={**_NOT_MODIFIED, **responses(NotFound, DatabaseUnavailable)})
async def get_simulation(
    *,
    simulation_id: SimulationId,
    request: Request,
    response: Response,
    database: DatabaseDep,
    settings: SettingsDep,
    prefer: Annotated[
        str | None,
        Header(max_length=200, description=f"wait=SECONDS: answer at its end, {MAX_WAIT:g} s later at most."),
    ] = None,
) -> AnySimulation:
    """A simulation: its state, its progress, and its results or the estimates so far."""
    seconds = waiting_time(prefer)
    if seconds is not None:
        await wait_for_end(database, simulation_id, seconds)
        response.headers["Preference-Applied"] = f"wait={seconds:g}"
    async with database.transaction() as connection:
        simulation: AnySimulation = await store.fetch(connection, simulation_id, settings)
    etag = _etag(simulation)
    if matches(request, etag):
        return Response(status_code=304, headers={"ETag": etag})  # type: ignore[return-value]
    response.headers["ETag"] = etag
    response.headers["Cache-Control"] = "no-cache"
    return simulation


@router.post("/{simulation_id}:cancel", responses=responses(NotFound, Conflict, DatabaseUnavailable))
async def cancel_simulation(
    simulation_id: SimulationId, database: DatabaseDep, settings: SettingsDep
) -> AnySimulation:
    """Stop a simulation; what is being computed is stopped within a second. Cancelling twice is no error."""
    async with database.transaction() as connection:
        await store.cancel(connection, simulation_id)
        simulation: AnySimulation = await store.fetch(connection, simulation_id, settings)
    return simulation


@router.post("/{simulation_id}:retry", responses=responses(NotFound, Conflict, DatabaseUnavailable))
async def retry_simulation(
    simulation_id: SimulationId, database: DatabaseDep, settings: SettingsDep
) -> AnySimulation:
    """Take up a failed or cancelled simulation again: shards that succeeded are kept, the others are computed."""
    async with database.transaction() as connection:
        await store.retry(connection, simulation_id)
        simulation: AnySimulation = await store.fetch(connection, simulation_id, settings)
    return simulation


@router.delete(
    "/{simulation_id}", status_code=204, responses=responses(NotFound, Conflict, DatabaseUnavailable)
)
async def delete_simulation(simulation_id: SimulationId, database: DatabaseDep) -> None:
    """Delete a simulation that has ended, with its results; its Idempotency-Key is free again."""
    async with database.transaction() as connection:
        await store.delete(connection, simulation_id)


def _etag(simulation: SimulationSummary) -> str:
    """Its place is a forecast, of a moment: another one alone is no news."""
    shown = simulation.model_dump_json(exclude={"place"})
    return f'"{hashlib.sha256(shown.encode()).hexdigest()[:32]}"'
